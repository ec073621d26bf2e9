"""Sequencer of the token core: reads the program, and gives each unit its commands."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ..engine.loader import job_layout
from ..gearbox import Gearbox
from .attention import attention_command
from .cache_writer import cache_command
from .config import K_MAX, TokenConfig, check_core_config
from .element import ELEMENT
from .heads import heads_command
from .instruction import instruction_layout
from .limits import illegal_instruction
from .memory_port import read_request, read_word
from .normalizer import normalizer_command
from .offsets import Offsets, Step, multiply
from .passes import Pass, collect_pass, core_command
from .peak import peak_command
from .program import FLAGS, INSTRUCTION_BYTES, Op
from .requests import units
from .scaler import scaler_command
from .tokens import token_number
from .writer import writer_command

__all__ = ["Sequencer", "fetch_shape"]


def fetch_shape() -> data.StructLayout:
    """Layout of a request for weights: number of the first beat, and count of beats."""
    return data.StructLayout({"first": 32, "beats": 32})


class _State(enum.Enum, shape=3):
    """States of the sequencer; ``Sequencer`` has their cycles."""

    IDLE = 0
    FETCH = 1
    MULTIPLY = 2
    WAIT = 3
    SEND = 4


class Sequencer(wiring.Component):
    """Runs the program once for each pass, in the order of ``CoreModel.forward``.

    An instruction waits for results that no stream brings to it, then sends its commands, each when
    its unit takes it. Streams order the rest: products whose input is the same overlap.

    - ``FETCH``: 1 cycle, if the instruction has come from memory
    - ``WAIT``: 1 cycle, or until units are idle: vectors and heads at ``HEADS``, heads at
      ``ATTEND``; vectors, normalizer and attention at the end
    - ``SEND``: up to the cycle after the last command is taken; 2 cycles if no unit waits
    - ``MULTIPLY`` (``SETUP``): for each token 2 cycles, and 1 for each bit of the larger of the
      token and the first position

    A pass begins with the command without ``more``. ``ANGLES``, ``EMBED``, ``HEADS`` and ``ATTEND``
    go from ``SEND`` to ``WAIT`` again, until they have run for each token. ``PRODUCT`` runs once
    for all tokens, and commands the normalizer for each of them. ``HEAD`` takes the last token.

    Throughput: an instruction in 4 cycles or more. Example: token 300 at position 5 has 9 bits, and
    ``SETUP`` takes 1 + 1 + 11 cycles. ``END``, ``HEAD`` with k = 0, and a fault end the pass; the
    rest of the program is dropped. A reset drops the pass.

    A fault lets the running instructions end, begins no other one, and drops the answers. When all
    units are idle, the pass ends, ``fault`` rises, and the next command is accepted. Faults are:

    - an instruction that ``illegal_instruction`` refuses, which includes requests of 0 words,
    - a program without words, or one whose words end before ``END``,
    - ``END`` without ``HEAD``, if the command asks for answers,
    - a token, a position or k that the model does not have,
    - positions of a pass that do not follow one another, or more than T commands, and
    - an error of the memory, for this token and for all later ones. An error behind the first
      answer does not count: an answer that is offered must stay.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    commands : In(stream of ``core_command``); accepted when the token before is done
    program_words : In(32); memory words of the program at address 0
    program_requests : Out(stream of ``read_request``)
    program : In(stream of ``read_word``)
    jobs, fetch, scaler, writer, normalizer, gained, heads, cache, attention : Out(streams of the
        units' commands)
    busy_vectors, busy_normalizer, busy_heads, busy_attention : In(1); units that are not idle
    memory_error : In(1); sticky; the memory answered with an error
    answers : In(1); an answer can be offered
    waits, scale, have_scale : In; see ``Requester``
    embeds : In(1); see ``CoreMemory``
    begins : Out(1); an instruction sends its commands from the next cycle on
    instruction : Out(512); the instruction, until the next one begins
    embedding_offset, angle_offset : Out(32); see ``Requester``
    op : Out(8); the instruction
    flags : Out(``FLAGS``); its flags
    kappa : Out(element); constant of the scores
    others : Out; tokens of the pass behind the first one
    number : Out; number of the token that the instruction runs for
    token : Out; this token
    k : Out; logits to answer with
    answering : Out(1); answers are offered: the program has come to ``END``
    dropping : Out(1); answers are dropped
    busy : Out(1); a token is not done, or its program is still read
    fault : Out(1); a token ends by a fault, high for one cycle
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        self._streams = {
            "jobs": job_layout(config.engine),
            "fetch": fetch_shape(),
            "scaler": scaler_command(config),
            "writer": writer_command(config),
            "normalizer": normalizer_command(config),
            "gained": peak_command(config),
            "heads": heads_command(config),
            "cache": cache_command(config),
            "attention": attention_command(config),
        }
        super().__init__(
            {
                "commands": In(stream.Signature(core_command(config))),
                "program_words": In(32),
                "program_requests": Out(stream.Signature(read_request(config))),
                "program": In(stream.Signature(read_word(config))),
                **{name: Out(stream.Signature(shape)) for name, shape in self._streams.items()},
                "busy_vectors": In(1),
                "busy_normalizer": In(1),
                "busy_heads": In(1),
                "busy_attention": In(1),
                "memory_error": In(1),
                "answers": In(1),
                "waits": In(1),
                "embeds": In(1),
                "scale": In(ELEMENT),
                "have_scale": In(1),
                "begins": Out(1),
                "instruction": Out(8 * INSTRUCTION_BYTES),
                "embedding_offset": Out(config.address_bits),
                "angle_offset": Out(config.address_bits),
                "op": Out(8),
                "flags": Out(data.StructLayout(dict.fromkeys(FLAGS, 1))),
                "kappa": Out(ELEMENT),
                "others": Out(token_number(config)),
                "number": Out(token_number(config)),
                "token": Out(range(config.vocabulary_max)),
                "k": Out(range(K_MAX + 1)),
                "answering": Out(1),
                "dropping": Out(1),
                "busy": Out(1),
                "fault": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        word_bytes = config.memory_width // 8
        m.submodules.gearbox = gearbox = Gearbox(in_bytes=word_bytes, out_bytes=INSTRUCTION_BYTES)
        state = Signal(_State)
        accepted = self.commands.valid & self.commands.ready
        run = collect_pass(m, config, self.commands.p, accepted)
        # The instruction stays here until the next one is fetched: units read its fields in place.
        bits = Signal(8 * INSTRUCTION_BYTES, reset_less=True)
        # All instructions share their first word, so that any layout reads ``op`` and the flags.
        now = {op: data.View(instruction_layout(op), bits) for op in Op}
        head = now[Op.END]
        requested, fetching = Signal(), Signal()
        some = self.program_words != 0
        m.d.comb += [
            gearbox.i.p.data.eq(self.program.p.data),
            gearbox.i.p.count.eq(word_bytes // gearbox.unit_bytes),
            gearbox.i.p.last.eq(self.program.p.last),
            gearbox.i.valid.eq(self.program.valid),
            self.program.ready.eq(gearbox.i.ready),
            # Behind the last instruction that is run, the rest of the program is dropped.
            gearbox.o.ready.eq((state == _State.FETCH) | (state == _State.IDLE)),
            self.commands.ready.eq((state == _State.IDLE) & ~fetching & gearbox.empty),
            self.program_requests.valid.eq(requested),
            self.program_requests.p.words.eq(self.program_words),
            self.instruction.eq(bits),
            self.op.eq(head.op),
            *(self.flags[name].eq(head[name]) for name in FLAGS),
            self.others.eq(run.others),
            self.token.eq(run.token(self.number)),
            self.k.eq(run.k),
            self.busy.eq((state != _State.IDLE) | fetching | run.begun),
        ]
        with m.If(self.program_requests.ready):
            m.d.sync += requested.eq(0)
        with m.If(self.program.valid & self.program.ready & self.program.p.last):
            m.d.sync += fetching.eq(0)

        conditions = self._conditions(head)
        wanted = {name: Signal(name=f"wanted_{name}") for name in conditions}
        ready, faulty, headed = Signal(), Signal(), Signal()
        stops = self._stops(m, state, head, faulty, headed)
        m.d.comb += ready.eq(~self._waits(head, run))
        ends = (head.op == Op.END) | ((head.op == Op.HEAD) & (run.k == 0))
        working = self.busy_vectors | self.busy_normalizer | self.busy_heads | self.busy_attention
        # An instruction is whole, and behind the last word of the program none is left.
        whole = gearbox.o.valid & (gearbox.o.p.count == INSTRUCTION_BYTES // gearbox.unit_bytes)
        # A prompt's tokens need no logits: HEAD ends the token like END, behind the last write.
        with m.Switch(state):
            with m.Case(_State.IDLE):
                m.d.sync += headed.eq(0)
                more = self.commands.p.more
                with m.If(accepted & ~more if len(more) else accepted):
                    m.d.sync += state.eq(_State.FETCH)
                    m.d.sync += [requested.eq(some), fetching.eq(some)]
            with m.Case(_State.FETCH):
                with m.If(gearbox.o.valid | ~fetching):
                    m.d.sync += [bits.eq(gearbox.o.p.data), state.eq(_State.WAIT)]
                    illegal = illegal_instruction(config, gearbox.o.p.data)
                    m.d.sync += faulty.eq(~whole | illegal | run.faulty)
            with m.Case(_State.WAIT):
                with m.If(stops):
                    with m.If(~working):
                        m.d.comb += self.fault.eq(1)
                        m.d.sync += state.eq(_State.IDLE)
                with m.Elif(ready & (head.op == Op.SETUP)):
                    m.d.sync += state.eq(_State.MULTIPLY)
                with m.Elif(ready & ends):
                    m.d.sync += state.eq(_State.IDLE)
                with m.Elif(ready):
                    m.d.comb += self.begins.eq(1)
                    m.d.sync += state.eq(_State.SEND)
                    m.d.sync += headed.eq(head.op == Op.HEAD)
                    m.d.sync += [wanted[name].eq(value) for name, value in conditions.items()]
            with m.Case(_State.SEND):
                with m.If(~Cat(wanted.values()).any() & ~self.waits):
                    m.d.sync += state.eq(_State.FETCH)
        repeats = Signal()
        step = Step(
            multiplies=state == _State.MULTIPLY,
            fetches=state == _State.FETCH,
            repeats=repeats,
            number=self.number,
        )
        offsets = multiply(m, config, run, now[Op.SETUP], step)
        m.d.comb += [
            self.embedding_offset.eq(offsets.embedding),
            self.angle_offset.eq(offsets.angles),
            self.kappa.eq(offsets.kappa),
        ]
        with m.If(offsets.refused):
            m.d.sync += [state.eq(_State.WAIT), faulty.eq(1)]
        with m.If(offsets.done):
            m.d.sync += state.eq(_State.FETCH)
        self._send(m, now, wanted, run, offsets)
        self._send_attention(m, now, run, offsets.cache + offsets.cache_bytes)
        if config.tokens > 1:
            self._repeat(m, state, wanted, run, repeats)
            with m.If(offsets.done & (self.number != run.others)):
                m.d.sync += [state.eq(_State.MULTIPLY), self.number.eq(self.number + 1)]
        return m

    def _repeat(
        self,
        m: Module,
        state: Signal,
        wanted: dict[str, Signal],
        run: Pass,
        repeats: Signal,
    ) -> None:
        """Run an instruction for each token of the pass before the next one is fetched.

        ``PRODUCT`` runs once for all tokens, and commands the normalizer for each of them.

        Parameters
        ----------
        m : module that gets the logic
        state : state of the sequencer
        wanted : commands of the instruction that are not sent
        run : the pass
        repeats : driven here: the instruction begins again
        """
        number, normalizer = self.number, self.normalizer
        left = number != run.others
        each = (Op.ANGLES, Op.EMBED, Op.HEADS, Op.ATTEND)
        sent = (state == _State.SEND) & ~Cat(wanted.values()).any() & ~self.waits
        m.d.comb += repeats.eq(sent & left & Cat(self.op == one for one in each).any())
        with m.If(state == _State.FETCH):
            m.d.sync += number.eq(0)
        with m.If(repeats):
            m.d.sync += [number.eq(number + 1), state.eq(_State.WAIT)]
        with m.If(normalizer.valid & normalizer.ready & left & (self.op == Op.PRODUCT)):
            m.d.sync += [number.eq(number + 1), wanted["normalizer"].eq(1)]

    def _conditions(self, head: data.View) -> dict[str, Value]:
        """Commands that an instruction sends, by the streams' names."""
        product, embed = head.op == Op.PRODUCT, head.op == Op.EMBED
        attend, last = head.op == Op.ATTEND, head.op == Op.HEAD
        return {
            "jobs": product,
            "fetch": product | last if self._config.head_on_weights else product,
            "scaler": product | embed,
            "writer": product | embed,
            "normalizer": (product & head.load) | last,
            "gained": (product | embed | attend) & head.track,
            "heads": head.op == Op.HEADS,
            "cache": (head.op == Op.HEADS) & head.cache,
            "attention": attend | last,
        }

    def _stops(
        self, m: Module, state: Signal, head: data.View, faulty: Signal, headed: Signal
    ) -> Signal:
        """Whether a fault ends the token here; answers are offered at ``END``, or dropped.

        Parameters
        ----------
        m : module that gets the logic
        state : state of the sequencer
        head : the instruction
        faulty : it must not run
        headed : the instruction before was ``HEAD``
        """
        stops, offered = Signal(), Signal()
        end = (state == _State.WAIT) & (head.op == Op.END)
        unasked = end & (self.k != 0) & ~headed
        m.d.comb += [
            stops.eq(faulty | unasked | (self.memory_error & ~offered)),
            self.answering.eq(end & ~stops),
            self.dropping.eq((state == _State.WAIT) & stops),
        ]
        with m.If(self.answering & self.answers):
            m.d.sync += offered.eq(1)
        with m.If(state == _State.IDLE):
            m.d.sync += offered.eq(0)
        return stops

    def _waits(self, head: data.View, run: Pass) -> Value:
        """Whether an instruction must wait for results that no stream brings to it."""
        ends = (head.op == Op.END) | ((head.op == Op.HEAD) & (run.k == 0))
        heads, waits = head.op == Op.HEADS, Value.cast(0)
        if self._config.tokens > 1:
            # Heads of the next token follow at once. A row of the embedding needs its channel.
            heads &= self.number == 0
            waits = (head.op == Op.EMBED) & self.embeds
        return (
            (heads & (self.busy_vectors | self.busy_heads))
            | ((head.op == Op.ATTEND) & self.busy_heads)
            | (ends & (self.busy_vectors | self.busy_normalizer | self.busy_attention))
            | waits
        )

    def _send(
        self,
        m: Module,
        now: dict[Op, data.View],
        wanted: dict[str, Signal],
        run: Pass,
        offsets: Offsets,
    ) -> None:
        """Commands of all units but the attention's.

        ``PRODUCT`` and ``EMBED`` share a command's fields; a field counts only if it is wanted.
        """
        product, embed, heads = now[Op.PRODUCT], now[Op.EMBED], now[Op.HEADS]
        embedding, last, whole = (self.op == op for op in (Op.EMBED, Op.HEAD, Op.PRODUCT))
        beats = {name: product[name] for name in ("first_beat", "beats")}
        if self._config.head_on_weights:
            # The head asks while the last product still runs: its rows come behind the weights.
            beats = {name: Mux(last, now[Op.HEAD][name], value) for name, value in beats.items()}
        # Units take their commands in any order, each once.
        for name in self._streams:
            port = getattr(self, name)
            m.d.comb += port.valid.eq(wanted[name])
            with m.If(port.valid & port.ready):
                m.d.sync += wanted[name].eq(0)
        m.d.comb += [
            # The head waits until the last vector is in the query buffer.
            self.attention.valid.eq(
                wanted["attention"]
                & ~(last & (wanted["normalizer"] | self.busy_normalizer | self.busy_heads))
            ),
            self.jobs.p.n.eq(product.n),
            self.jobs.p.k.eq(product.k),
            self.jobs.p.tokens.eq(run.others + 1 if len(run.others) else 1),
            self.jobs.p.group_chunks.eq(product.group_chunks),
            self.jobs.p.reuse.eq(~product.load),
            self.fetch.p.first.eq(beats["first_beat"]),
            self.fetch.p.beats.eq(beats["beats"]),
            self.scaler.valid.eq(wanted["scaler"] & (~embedding | self.have_scale)),
            self.scaler.p.bytes.eq(embedding),
            self.scaler.p.count.eq(Mux(embedding, embed.count, product.n)),
            self.scaler.p.groups.eq(Mux(embedding, 1, product.groups)),
            self.scaler.p.table.eq(product.table & ~embedding),
            self.scaler.p.others.eq(Mux(embedding, 0, run.others)),
            Value.cast(self.scaler.p.scale).eq(
                Mux(embedding, Value.cast(self.scale), product.scale[8:])
            ),
            Value.cast(self.writer.p.mode).eq(Cat(product.mode0, product.mode1, product.mode2)),
            self.writer.p.source.eq(product.destination),
            self.writer.p.destination.eq(Mux(embedding, embed.destination, product.destination)),
            self.writer.p.track.eq(product.track),
            self.writer.p.token.eq(Mux(embedding, self.number, 0)),
            self.writer.p.others.eq(Mux(embedding, 0, run.others)),
            self.gained.p.gained.eq(product.peak_gained),
            self.gained.p.first.eq(Mux(whole, 0, self.number)),
            self.gained.p.final.eq(Mux(whole, run.others, self.number)),
            self.heads.p.source.eq(heads.source),
            self.heads.p.heads.eq(heads.heads),
            self.heads.p.half.eq(heads.half),
            self.heads.p.turn.eq(heads.turn),
            self.heads.p.token.eq(self.number),
            self.cache.p.row.eq(heads.rows + offsets.cache),
            self.cache.p.scale.eq(heads.scales + (run.position_of(self.number) << 3)),
            self.cache.p.step.eq(heads.step),
            self.cache.p.heads.eq(heads.heads),
            self.normalizer.p.gained.eq(product.gained),
            self.normalizer.p.epsilon.eq(offsets.epsilon),
            # The head takes the last token alone.
            self.normalizer.p.token.eq(Mux(last, run.others, self.number)),
        ]
        for view, condition in ((product, ~last), (now[Op.HEAD], last)):
            with m.If(condition):
                m.d.comb += [
                    self.normalizer.p.source.eq(view.source),
                    self.normalizer.p.words.eq(units(view.k, self._config.vector_lanes)),
                    Value.cast(self.normalizer.p.inverse).eq(view.inverse[8:]),
                ]

    def _send_attention(
        self,
        m: Module,
        now: dict[Op, data.View],
        run: Pass,
        cache_end: Value,
    ) -> None:
        """Command of the attention unit: over the positions so far, or for the logits."""
        config = self._config
        word_bytes, row_bytes = config.memory_width // 8, config.row_bytes
        attend, head = now[Op.ATTEND], now[Op.HEAD]
        part = self.attention.p
        # The token's own key and value are in the cache already.
        positions = run.position_of(self.number) + 1
        with m.If(self.op == Op.HEAD):
            m.d.comb += [
                part.head.eq(1),
                part.groups.eq(1),
                part.vectors.eq(1),
                part.rows.eq(head.vocabulary),
            ]
            names = ("chunks", "address", "scale_step", "scale_words", "row_words")
            m.d.comb += [part[name].eq(head[name]) for name in names]
        with m.Else():
            names = (
                "groups", "vectors", "chunks", "query_step", "address", "scale_step", "row_step",
                "words", "destination",
            )  # fmt: skip
            m.d.comb += [
                *(part[name].eq(attend[name]) for name in names),
                part.rows.eq(positions),
                part.token.eq(self.number),
                # Whole chunks: with several segments, up to a multiple of so many positions.
                part.scale_words.eq(
                    units(
                        units(positions, config.segments) << (8 * config.segments).bit_length() - 1,
                        word_bytes,
                    )
                ),
                part.row_words.eq(
                    units(cache_end, row_bytes) << (row_bytes // word_bytes).bit_length() - 1
                ),
            ]

"""Attention over the cache, and the products of the head."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .dots import DotUnit, byte_row, query_words
from .element import ELEMENT
from .memory_port import read_request
from .mixer import Mixer
from .multiplier import ElementMultiplier
from .pipeline import delay
from .scaler import vector_word
from .scores import ScoreScaler, score_shape
from .softmax import Softmax
from .unpacker import ElementUnpacker
from .writer import vector_depth, vector_write

__all__ = ["AttentionUnit", "attention_command"]


def attention_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``AttentionUnit``.

    Counts of chunks are for rows that are padded to ``TokenConfig.row_bytes``.

    Fields
    ------
    head : compute logits, and no attention; ``query_step``, ``row_step``, ``words`` and
        ``destination`` are then ignored
    groups : heads of keys and values, 1 or more; 1 with ``head``
    vectors : heads of queries that share one of them, 1 to ``shared_max``; 1 with ``head``
    chunks : chunks of a row, 1 or more
    query_step : ``vectors · chunks``
    rows : positions, or tokens of the vocabulary
    scale_words, row_words : memory words of the scales of these rows, and of the rows
    address : byte address of the first scales
    scale_step, row_step : bytes that the cache keeps for the scales, and for the rows, of one list
        of a group, up to the longest context; with ``head``, ``scale_step`` leads to the rows
    words : words of a head in the vector memory
    destination : first word that is written
    """
    words = query_words(config)
    rows = max(config.context_max, config.vocabulary_max)
    address = config.address_bits
    return data.StructLayout(
        {
            "head": 1,
            "groups": range(config.kv_heads_max + 1),
            "vectors": range(config.shared_max + 1),
            "chunks": range(words + 1),
            "query_step": range(words + 1),
            "rows": range(rows + 1),
            "scale_words": address,
            "row_words": address,
            "address": address,
            "scale_step": address,
            "row_step": address,
            "words": range(-(-config.head_size_max // config.vector_lanes) + 1),
            "destination": range(vector_depth(config)),
        }
    )


class AttentionUnit(wiring.Component):
    """Computes the attention of a token over the cache, or its logits.

    The golden functions are ``attend``, and the logits of ``CoreModel.forward``.

    A group is a head of keys and values, and the V heads of queries that share it. For each group
    memory has the scales of the keys, the scales of the values, the keys, and the values, in this
    order. A request does not wait for the computation, but for its channel of the memory port. The
    channel takes one request at a time, and fetches ahead as far as its queue goes.

    The head of the model is the first half of the same: rows of int8 with a scale each, and dot
    products that leave as logits.

    P is the number of positions, C the chunks of a row, and W the words of a head in the vector
    memory. T is ``tree_latency(attention_lanes)``. The command is accepted in cycle 0, and memory
    never makes the unit wait.

    ===================================  =========================================================
    cycle                                group that begins in cycle 0
    ===================================  =========================================================
    1                                    commands to dot products and scales; first requests
    2 to 1 + P · V · C                   chunks of keys
    8 + C · V + T                        score of the last head of the first position
    s = 8 + P · V · C + T                last score
    s + 2 on                             exponentials, one score per cycle
    w = s + 19 + V · P + 11 · V          first weight and first chunk of values
    w + P · V · C + 7                    first word at ``writes``
    e = w + P · V · C + 6 + V · W        last word; the next group begins as if in this cycle
    ===================================  =========================================================

    Latency: a group takes ``33 + T + V · (2 · P · C + P + 11 + W)`` cycles. The next command is
    accepted one cycle after the last word. Logits of P tokens take ``9 + P · C + T`` cycles.
    Throughput: a chunk of a query per cycle, in the scores and again in the mixture.

    Example: 64 lanes (T = 6), 2 groups of 2 heads of 64 elements, L = 4 and 100 positions. Here
    C = 1 and W = 16. A group takes 39 + 2 · (200 + 100 + 11 + 16) = 693 cycles.

    - First position: P is 1. The mixed vector is the value, as its weights are 127 and its factor
      is about its scale / 127.
    - Last partial word: bytes of a row beyond its head are 0. Elements of a scale request beyond P
      are dropped, L per cycle, which may delay the first exponential.
    - Stalls: if the user of ``writes`` or ``logits`` waits, the pipelines behind it wait. Scores
      also wait for the scales of their keys, and exponentials for the scales of their values.
    - Reset: it drops the command. Queries and their scales must come again after ``clear``.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    clear : In(1); the ``queries`` and ``query_scales`` after this cycle are the first ones
    queries : In(stream of ``byte_row``); chunks of all heads of queries; always ready
    query_scales : In(stream of an element); of each head; always ready
    kappa : In(element); constant that joins the scales of the queries: ``score_factor`` of the head
        size, and 1 for logits; used in the cycle of a query scale
    commands : In(stream of ``attention_command``); accepted when the command before has ended
    element_requests, row_requests : Out(stream of ``read_request``); for each group the keys' list,
        then the values'
    elements : In(stream of L ``elements`` and ``last``); ``last`` ends a request
    rows : In(stream of ``byte_row``); words of ``row_requests``, cut into chunks
    writes : Out(stream of ``vector_write``); mixed values of head after head; ``track`` is set, and
        ``last`` ends the last group
    logits : Out(stream of ``score_shape``); of the tokens from 0 on
    busy : Out(1); a command is not finished
    overflow : Out(1); a value of a part was too large; high for at least one cycle
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        elements = data.StructLayout({"elements": vector_word(config), "last": 1})
        super().__init__(
            {
                "clear": In(1),
                "queries": In(stream.Signature(byte_row(config))),
                "query_scales": In(stream.Signature(ELEMENT)),
                "kappa": In(ELEMENT),
                "commands": In(stream.Signature(attention_command(config))),
                "element_requests": Out(stream.Signature(read_request(config))),
                "row_requests": Out(stream.Signature(read_request(config))),
                "elements": In(stream.Signature(elements)),
                "rows": In(stream.Signature(byte_row(config))),
                "writes": Out(stream.Signature(vector_write(config))),
                "logits": Out(stream.Signature(score_shape(config))),
                "busy": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the parts; the other methods walk over the memory and over the heads.

        ``mixing`` chooses the user of both streams from memory: dot products and their scales
        before it, the mixture and the softmax from it on.
        """
        m = Module()
        config = self._config
        m.submodules.dots = dots = DotUnit(config)
        m.submodules.scaler = scaler = ScoreScaler(config)
        m.submodules.softmax = softmax = Softmax(config)
        m.submodules.mixer = mixer = Mixer(config)
        m.submodules.unpacker = unpacker = ElementUnpacker(config)
        command = Signal(attention_command(config), reset_less=True)
        start, mixing = Signal(), Signal()
        with m.If(start):
            m.d.sync += command.eq(self.commands.p)
        # The lists of both channels: what they step over, and what the other one does.
        scale_step, row_step = command.scale_step, command.row_step
        # Rows of keys follow two lists of scales, and the head's rows one.
        begin = self.commands.p
        self._request(
            m, self.element_requests, start, command.scale_words, (scale_step, row_step),
            begin.address,
        )  # fmt: skip
        self._request(
            m, self.row_requests, start, command.row_words, (row_step, scale_step),
            begin.address + (begin.scale_step << ~begin.head),
        )  # fmt: skip
        self._groups(m, command, start, mixing)
        wiring.connect(m, wiring.flipped(self.queries), dots.queries)
        wiring.connect(m, wiring.flipped(self.elements), unpacker.words)
        wiring.connect(m, dots.sums, scaler.sums)
        wiring.connect(m, softmax.weights, mixer.weights)
        scores, scales = scaler.scores, unpacker.elements
        m.d.comb += [
            dots.clear.eq(self.clear),
            # Keys and their scales, then values and theirs.
            dots.rows.p.eq(self.rows.p),
            mixer.rows.p.eq(self.rows.p),
            dots.rows.valid.eq(self.rows.valid & ~mixing),
            mixer.rows.valid.eq(self.rows.valid & mixing),
            self.rows.ready.eq(Mux(mixing, mixer.rows.ready, dots.rows.ready)),
            scaler.scales.p.eq(scales.p),
            softmax.scales.p.eq(scales.p),
            scaler.scales.valid.eq(scales.valid & ~mixing),
            softmax.scales.valid.eq(scales.valid & mixing),
            scales.ready.eq(Mux(mixing, softmax.scales.ready, scaler.scales.ready)),
            softmax.scores.p.eq(scores.p),
            self.logits.p.eq(scores.p),
            softmax.scores.valid.eq(scores.valid & ~command.head),
            self.logits.valid.eq(scores.valid & command.head),
            scores.ready.eq(Mux(command.head, self.logits.ready, softmax.scores.ready)),
            mixer.factors.eq(softmax.factors),
        ]
        m.d.comb += self.overflow.eq(scaler.overflow | softmax.overflow | mixer.overflow)
        self._query_factors(m, scaler, command)
        self._write(m, mixer, command, start)
        return m

    def _request(
        self,
        m: Module,
        requests: wiring.PureInterface,
        start: Signal,
        words: Value,
        steps: tuple[Value, Value],
        begin: Value,
    ) -> None:
        """Request the scales, or the rows, of the keys and the values of each group.

        Keys and values are one own step apart; to the next group it is two of the other's more.
        Example: steps of 64 bytes for scales and 1,024 for rows put a group's lists at 0, 64, 128
        and 1,152. The next group begins at 2,176.

        Parameters
        ----------
        m : module that gets the logic
        requests : stream of the requests, driven here
        start : a command is accepted
        words : words of each request
        steps : bytes of an own list, and of one of the other channel
        begin : address of the first list, in the cycle of ``start``
        """
        own, other = steps
        command = self.commands.p
        # ``odd`` is set at the lists of values.
        address, left, odd = Signal(len(own)), Signal(len(command.groups) + 1), Signal()
        m.d.comb += [
            requests.valid.eq(left != 0),
            requests.p.address.eq(address),
            requests.p.words.eq(words),
        ]
        with m.If(start):
            m.d.sync += [
                address.eq(begin),
                left.eq(Mux(command.head, 1, command.groups << 1)),
                odd.eq(0),
            ]
        with m.Elif(requests.valid & requests.ready):
            m.d.sync += [
                address.eq(address + own + Mux(odd, other << 1, 0)),
                left.eq(left - 1),
                odd.eq(~odd),
            ]

    def _groups(self, m: Module, command: data.View, start: Signal, mixing: Signal) -> None:
        """Start the parts for each head of keys and values: first the scores, then the mixture.

        Parameters
        ----------
        m : module that gets the logic
        command : the running command
        start : driven here, set while a command is accepted
        mixing : driven here, set from the last score of a group to its last word
        """
        # mixing is also the place of a group: 0 from its start to its last score, then 1.
        dots, mixer = m.submodules.dots, m.submodules.mixer
        unpacker, scores = m.submodules.unpacker, m.submodules.scaler.scores
        active = Signal()
        # Commands that are still to be sent. Each part is idle then, and accepts its own at once.
        # Only the unpacker may still drop the rest of a request.
        to_dots, to_mixer, to_unpacker = Signal(), Signal(), Signal()
        group, base = Signal.like(command.groups), Signal.like(dots.commands.p.base)
        head = Signal(range(self._config.heads_max))
        self._group, self._first_head = group, head
        scored = scores.valid & scores.ready & scores.p.last
        mixed = mixer.words.valid & mixer.words.ready & mixer.words.p.last
        last_group = group == command.groups - 1
        m.d.comb += [
            start.eq(self.commands.valid & ~active),
            self.commands.ready.eq(~active),
            self.busy.eq(active),
            dots.commands.valid.eq(to_dots),
            dots.commands.p.base.eq(base),
            dots.commands.p.vectors.eq(command.vectors),
            dots.commands.p.chunks.eq(command.chunks),
            dots.commands.p.rows.eq(command.rows),
            mixer.commands.valid.eq(to_mixer),
            mixer.commands.p.vectors.eq(command.vectors),
            mixer.commands.p.chunks.eq(command.chunks),
            mixer.commands.p.rows.eq(command.rows),
            mixer.commands.p.words.eq(command.words),
            unpacker.counts.valid.eq(to_unpacker),
            unpacker.counts.p.eq(command.rows),
        ]
        for sent, port in (
            (to_dots, dots.commands), (to_mixer, mixer.commands), (to_unpacker, unpacker.counts),
        ):  # fmt: skip
            with m.If(port.ready):
                m.d.sync += sent.eq(0)
        with m.If(start):
            m.d.sync += [active.eq(1), to_dots.eq(1), to_unpacker.eq(1)]
            m.d.sync += [group.eq(0), base.eq(0), head.eq(0)]
        # Scores and mixture of a group follow each other, as the softmax needs all scores.
        with m.If(scored & command.head):
            m.d.sync += active.eq(0)
        with m.Elif(scored):
            m.d.sync += [mixing.eq(1), to_mixer.eq(1), to_unpacker.eq(1)]
        with m.If(mixed):
            m.d.sync += [mixing.eq(0), group.eq(group + 1), active.eq(~last_group)]
            m.d.sync += [to_dots.eq(~last_group), to_unpacker.eq(~last_group)]
            m.d.sync += [base.eq(base + command.query_step), head.eq(head + command.vectors)]

    def _query_factors(self, m: Module, scaler: ScoreScaler, command: data.View) -> None:
        """Multiply the scales of the queries with the constant, and keep them.

        The scaler reads the factor of a head in the cycle of its dot product. Factors of a group
        begin at its first head.

        The factor is never too large: a scale of ``HeadUnit`` is below 2¹²², and κ below 2.
        """
        config = self._config
        m.submodules.constant = constant = ElementMultiplier()
        m.submodules.factors = factors = memory.Memory(
            shape=ELEMENT.size, depth=max(config.heads_max, 2), init=[]
        )
        # The factor is needed in the cycle of its dot product: the read port has no register.
        write, read = factors.write_port(), factors.read_port(domain="comb")
        # factor = round(query scale · κ): a product of each head, and not of each score. A factor
        # has its place from the cycle of its scale on, so that ``clear`` may follow at once.
        place = Signal.like(write.addr)
        taken = self.query_scales.valid
        m.d.comb += [
            self.query_scales.ready.eq(1),
            constant.a.eq(self.query_scales.p),
            constant.b.eq(self.kappa),
            write.addr.eq(delay(m, place, ElementMultiplier.LATENCY)),
            write.data.eq(constant.product),
            write.en.eq(delay(m, taken, ElementMultiplier.LATENCY)),
            read.addr.eq(self._first_head + scaler.vector),
            Value.cast(scaler.factor).eq(read.data),
        ]
        with m.If(taken):
            m.d.sync += place.eq(place + 1)
        with m.If(self.clear):
            m.d.sync += place.eq(0)

    def _write(self, m: Module, mixer: Mixer, command: data.View, start: Signal) -> None:
        """Write the mixed heads behind one another.

        A head fills whole words, so that the address counts on over heads and groups. Example: with
        16 words for each head, the second head begins 16 words behind ``destination``.
        """
        # The next product quantizes the mixed vector, and needs its peaks: all words are tracked.
        address = Signal.like(command.destination)
        last_group = self._group == command.groups - 1
        m.d.comb += [
            self.writes.valid.eq(mixer.words.valid),
            self.writes.p.address.eq(address),
            self.writes.p.elements.eq(mixer.words.p.elements),
            self.writes.p.last.eq(mixer.words.p.last & last_group),
            self.writes.p.track.eq(1),
            mixer.words.ready.eq(self.writes.ready),
        ]
        with m.If(start):
            m.d.sync += address.eq(self.commands.p.destination)
        with m.Elif(self.writes.valid & self.writes.ready):
            m.d.sync += address.eq(address + 1)

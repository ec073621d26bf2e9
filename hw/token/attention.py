"""Attention over the cache, and the products of the head."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .dots import DotUnit, byte_row, query_piece, query_words
from .element import ELEMENT
from .memory_port import read_request
from .mixer import Mixer
from .multiplier import ElementMultiplier
from .pipeline import delay
from .router import element_words
from .scores import ScoreScaler, logit_shape
from .softmax import Softmax
from .tokens import token_number, token_place
from .unpacker import ScaleUnpacker
from .writer import vector_depth, vector_write

__all__ = ["AttentionUnit", "attention_command"]


def attention_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``AttentionUnit``.

    Rows of the cache are padded to ``TokenConfig.cache_row_bytes``, and chunks have a row in each
    segment. Rows of the head are padded to ``TokenConfig.row_bytes``.

    Fields
    ------
    head : compute logits, and no attention; ``query_step``, ``row_step``, ``words`` and
        ``destination`` are then ignored
    groups : heads of keys and values, 1 or more; 1 with ``head``
    vectors : heads of queries that share one of them, 1 to ``shared_max``; 1 with ``head``
    chunks : chunks of a row, 1 or more
    query_step : ``vectors · chunks``
    rows : positions, or tokens of the vocabulary
    scale_words, row_words : memory words of the scales of a group, or of the head; and of its keys,
        which are as many as those of its values. Both are for whole chunks
    address : byte address of the first scales
    scale_step, row_step : bytes that the cache keeps for the scales of a group, and for its keys or
        values, up to the longest context; with ``head``, ``scale_step`` leads to the rows
    words : words of a head in the vector memory
    destination : first word that is written
    token : number of the token. Its queries and their scales follow those of the token before
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
            "token": token_number(config),
        }
    )


class AttentionUnit(wiring.Component):
    """Computes the attention of a token over the cache, or its logits.

    The golden functions are ``attend``, and the logits of ``CoreModel.forward``.

    A group is a head of keys and values, and the V heads of queries that share it. For each group
    memory has pairs of scales, the keys, and the values, in this order. Rows are read as K0, K1,
    V0, K2, V1 and so on up to the last V: scores of a group are computed while the group before
    passes the exponentials. A request does not wait for the computation, but for its channel of the
    memory port, which fetches ahead as far as its queue goes.

    The head of the model is the first half of the same: rows of int8 with a scale each, and dot
    products that leave as logits.

    N is V times the chunks of a list: C for each of ``ceil(P / G)`` rows, with P positions, G
    segments, and C chunks of a row. W is the words of a head in the vector memory. T is
    ``tree_latency(attention_lanes)``, and t is log₂ G. S is N / C, the words of scores. The command
    is accepted in cycle 0, and memory never makes the unit wait.

    ===================================  =========================================================
    cycle                                first of several groups
    ===================================  =========================================================
    1                                    commands to dot products and scales; first requests
    2 to 1 + N                           chunks of keys
    s = 8 + N + T                        last score
    3 + N to 2 + 2 · N                   chunks of the keys of the second group
    w = s + 18 + 2 · t + S + 11 · V      first weights; chunks of values from here on, behind those
                                         of the second group's keys
    ===================================  =========================================================

    Every list takes N cycles. A list of keys follows a list of values in the next cycle, and a list
    of keys one cycle later. A list of values also waits for its weights, and for the mixer: its
    last word of the group before must have left two cycles before.

    Latency: the last word of a group leaves ``7 + t + V · W`` cycles after its last chunk of
    values. That of a single group leaves in cycle ``32 + T + 3 · t + 2 · N + S + V · (11 + W)``.
    The next command is accepted one cycle later. The last of P logits leaves in cycle
    ``8 + P · C + T``. Throughput: a chunk of a query per cycle, in the scores and again in the
    mixture.

    Example: 256 lanes, heads of 128, 512 positions, 5 groups of 4 heads and L = 8. A chunk has 2
    rows, and N and S are 1,024. The ten lists take 10,240 cycles, and the last word leaves in cycle
    10,469. With a word of 512 bits in every cycle, memory takes 10,560 cycles for rows and scales.

    - First position: P is 1. The mixed vector is the value, as its weights are 127 and its factor
      is about its scale / 127.
    - Last chunk: segments behind the last position have a weight of 0, whatever memory has there.
    - Rows of the head: with ``TokenConfig.head_on_weights`` they are weight beats, and none are
      requested from memory.
    - Padding: bytes of a row beyond its head are 0. Elements of a scale request beyond P are
      dropped, L per cycle.
    - Stalls: if the user of ``writes`` or ``logits`` waits, the pipelines behind it wait. Scores
      also wait for the scales of their keys.
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
    head : In(1); used with ``clear``: the next of ``queries`` is the vector in front of the head
    queries : In(stream of ``query_piece``); all heads of queries; always ready
    query_scales : In(stream of an element); of each head; always ready
    kappa : In(element); constant that joins the scales of the queries: ``score_factor`` of the head
        size, and 1 for logits; used in the cycle of a query scale
    commands : In(stream of ``attention_command``); accepted when the command before has ended
    element_requests : Out(stream of ``read_request``); the scales of each group
    row_requests : Out(stream of ``read_request``); the lists of keys and values, in their order; or
        the rows of the head
    elements : In(stream of ``element_words``); ``last`` ends a request
    rows : In(stream of ``byte_row``); chunks of the lists, or of the head's rows
    writes : Out(stream of ``vector_write``); mixed values of head after head; ``track`` is set, and
        ``last`` ends the last group
    logits : Out(stream of ``logit_shape``); of the tokens from 0 on
    busy : Out(1); a command is not finished
    overflow : Out(1); a value of a part was too large; high for at least one cycle
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "clear": In(1),
                "head": In(1),
                "queries": In(stream.Signature(query_piece(config))),
                "query_scales": In(stream.Signature(ELEMENT)),
                "kappa": In(ELEMENT),
                "commands": In(stream.Signature(attention_command(config))),
                "element_requests": Out(stream.Signature(read_request(config))),
                "row_requests": Out(stream.Signature(read_request(config))),
                "elements": In(stream.Signature(element_words(config))),
                "rows": In(stream.Signature(byte_row(config))),
                "writes": Out(stream.Signature(vector_write(config))),
                "logits": Out(stream.Signature(logit_shape())),
                "busy": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the parts; the other methods walk over the memory and over the heads."""
        m = Module()
        config = self._config
        m.submodules.dots = dots = DotUnit(config)
        m.submodules.scaler = scaler = ScoreScaler(config)
        m.submodules.softmax = softmax = Softmax(config)
        m.submodules.mixer = mixer = Mixer(config)
        m.submodules.unpacker = unpacker = ScaleUnpacker(config)
        command = Signal(attention_command(config), reset_less=True)
        start = Signal()
        with m.If(start):
            m.d.sync += command.eq(self.commands.p)
        self._request_scales(m, command, start)
        self._request_rows(m, command, start)
        self._commands(m, command, start)
        wiring.connect(m, wiring.flipped(self.queries), dots.queries)
        wiring.connect(m, wiring.flipped(self.elements), unpacker.words)
        wiring.connect(m, dots.sums, scaler.sums)
        wiring.connect(m, softmax.weights, mixer.weights)
        # Rows that arrive belong to the list whose turn it is.
        values, _ = self._lists(m, start, dots.ends | mixer.ends)
        scores, scales = scaler.scores, unpacker.scales
        m.d.comb += [
            dots.clear.eq(self.clear),
            dots.head.eq(self.head),
            dots.rows.p.eq(self.rows.p),
            mixer.rows.p.eq(self.rows.p),
            dots.rows.valid.eq(self.rows.valid & ~values),
            mixer.rows.valid.eq(self.rows.valid & values),
            self.rows.ready.eq(Mux(values, mixer.rows.ready, dots.rows.ready)),
            # Both scales of a position leave together: the value's waits in the softmax.
            scaler.scales.p.eq(scales.p.keys),
            scaler.scales.valid.eq(scales.valid),
            scales.ready.eq(scaler.scales.ready),
            softmax.scales.p.elements.eq(scales.p.values),
            softmax.scales.p.last.eq(dots.sums.p.last),
            softmax.scales.valid.eq(scales.valid & scales.ready & ~command.head),
            softmax.scores.p.eq(scores.p),
            self.logits.p.value.eq(scores.p.values[0]),
            self.logits.p.last.eq(scores.p.last),
            softmax.scores.valid.eq(scores.valid & ~command.head),
            self.logits.valid.eq(scores.valid & command.head),
            scores.ready.eq(Mux(command.head, self.logits.ready, softmax.scores.ready)),
            mixer.factors.eq(softmax.factors),
            self.overflow.eq(scaler.overflow | softmax.overflow | mixer.overflow),
        ]
        self._query_factors(m, scaler, command, start)
        self._write(m, mixer, softmax, command, start)
        return m

    def _lists(self, m: Module, start: Signal, done: Value) -> tuple[Value, Value]:
        """Walk over the lists of rows: K0, K1, V0, K2, V1 and so on up to the last V.

        Keys are at most two lists ahead of the values. With ``head`` there is one list alone, in
        the place of K0.

        Parameters
        ----------
        m : module that gets the logic
        start : a command is accepted
        done : the list is done

        Returns
        -------
        Whether the list has values, and whether there is one
        """
        command = self.commands.p
        keys, values = Signal.like(command.groups), Signal.like(command.groups)
        ahead, turn = Signal(2), Signal()
        m.d.comb += turn.eq((ahead == 2) | (keys == 0))
        with m.If(start):
            m.d.sync += [keys.eq(command.groups), values.eq(Mux(command.head, 0, command.groups))]
            m.d.sync += ahead.eq(0)
        with m.Elif(done & turn):
            m.d.sync += [values.eq(values - 1), ahead.eq(ahead - 1)]
        with m.Elif(done):
            m.d.sync += [keys.eq(keys - 1), ahead.eq(ahead + 1)]
        return turn, (keys | values) != 0

    def _request_scales(self, m: Module, command: data.View, start: Signal) -> None:
        """Request the scales of each group, or of the head.

        Example: steps of 128 bytes for scales and 1,024 for rows put the scales of the groups at 0,
        2,176 and 4,352. Their keys are at 128, and their values at 1,152.

        Parameters
        ----------
        m : module that gets the logic
        command : the running command
        start : a command is accepted
        """
        requests, begin = self.element_requests, self.commands.p
        address, left = Signal.like(begin.address), Signal.like(begin.groups)
        m.d.comb += [
            requests.valid.eq(left != 0),
            requests.p.address.eq(address),
            requests.p.words.eq(command.scale_words),
        ]
        with m.If(start):
            m.d.sync += [address.eq(begin.address), left.eq(begin.groups)]
        with m.Elif(requests.valid & requests.ready):
            m.d.sync += [address.eq(address + self._group_step(command)), left.eq(left - 1)]

    def _request_rows(self, m: Module, command: data.View, start: Signal) -> None:
        """Request the lists of rows in their order.

        Parameters
        ----------
        m : module that gets the logic
        command : the running command
        start : a command is accepted
        """
        requests, begin = self.row_requests, self.commands.p
        keys, values = Signal.like(begin.address), Signal.like(begin.address)
        accepted = requests.valid & requests.ready
        turn, valid = self._lists(m, start, accepted)
        if self._config.head_on_weights:
            valid &= ~command.head
        m.d.comb += [
            requests.valid.eq(valid),
            requests.p.address.eq(Mux(turn, values, keys)),
            requests.p.words.eq(command.row_words),
        ]
        first = begin.address + begin.scale_step
        with m.If(start):
            m.d.sync += [keys.eq(first), values.eq(first + begin.row_step)]
        with m.Elif(accepted):
            for address, condition in ((keys, ~turn), (values, turn)):
                with m.If(condition):
                    m.d.sync += address.eq(address + self._group_step(command))

    @staticmethod
    def _group_step(command: data.View) -> Value:
        """Bytes from a group in the cache to the next one: scales, keys and values."""
        return command.scale_step + (command.row_step << 1)

    def _commands(self, m: Module, command: data.View, start: Signal) -> None:
        """Command the parts for each head of keys and values; each takes its own when it is free.

        Parameters
        ----------
        m : module that gets the logic
        command : the running command
        start : driven here, set while a command is accepted
        """
        dots, mixer = m.submodules.dots, m.submodules.mixer
        unpacker = m.submodules.unpacker
        active, group = Signal(), Signal.like(command.groups)
        base = Signal.like(dots.commands.p.base)
        self._group = group
        begin, scores = self.commands.p, m.submodules.scaler.scores
        m.d.comb += [
            start.eq(self.commands.valid & ~active),
            self.commands.ready.eq(~active),
            self.busy.eq(active),
            dots.commands.p.head.eq(command.head),
            dots.commands.p.base.eq(base),
            dots.commands.p.vectors.eq(command.vectors),
            dots.commands.p.chunks.eq(command.chunks),
            dots.commands.p.rows.eq(command.rows),
            mixer.commands.p.vectors.eq(command.vectors),
            mixer.commands.p.chunks.eq(command.chunks),
            mixer.commands.p.rows.eq(command.rows),
            mixer.commands.p.words.eq(command.words),
            unpacker.commands.p.single.eq(command.head),
            unpacker.commands.p.rows.eq(command.rows),
        ]
        for port, groups in (
            (dots.commands, begin.groups),
            (mixer.commands, Mux(begin.head, 0, begin.groups)),
            (unpacker.commands, begin.groups),
        ):
            left = Signal.like(begin.groups)
            m.d.comb += port.valid.eq(left != 0)
            with m.If(start):
                m.d.sync += left.eq(groups)
            with m.Elif(port.valid & port.ready):
                m.d.sync += left.eq(left - 1)
        with m.If(start):
            m.d.sync += [active.eq(1), group.eq(0)]
        with m.If(self._first(start)):
            m.d.sync += base.eq(0)
        with m.If(dots.commands.valid & dots.commands.ready):
            m.d.sync += base.eq(base + command.query_step)
        mixed = mixer.words.valid & mixer.words.ready & mixer.words.p.last
        with m.If(mixed):
            m.d.sync += [group.eq(group + 1), active.eq(group != command.groups - 1)]
        with m.If(command.head & scores.valid & scores.ready & scores.p.last):
            m.d.sync += active.eq(0)

    def _first(self, start: Value) -> Value:
        """Whether a command that is accepted is that of the first token."""
        token = self.commands.p.token
        return start & (token == 0) if len(token) else start

    def _query_factors(
        self, m: Module, scaler: ScoreScaler, command: data.View, start: Signal
    ) -> None:
        """Multiply the scales of the queries with the constant, and keep them.

        The scaler reads the factor of a head in the cycle of its dot product. Factors of a group
        begin at its first head.

        The factor is never too large: a scale of ``HeadUnit`` is below 2¹²², and κ below 2.
        """
        config = self._config
        m.submodules.constant = constant = ElementMultiplier()
        m.submodules.factors = factors = memory.Memory(
            shape=ELEMENT.size, depth=max(config.heads_max * config.tokens, 2), init=[]
        )
        # The factor is needed in the cycle of its dot product: the read port has no register.
        write, read = factors.write_port(), factors.read_port(domain="comb")
        # factor = round(query scale · κ): a product of each head, and not of each score. A factor
        # has its place from the cycle of its scale on, so that ``clear`` may follow at once.
        heads = range(config.heads_max * config.tokens)
        place, head = Signal.like(write.addr), Signal(heads)
        sums, taken = scaler.sums, self.query_scales.valid
        m.d.comb += [
            self.query_scales.ready.eq(1),
            constant.a.eq(self.query_scales.p),
            constant.b.eq(self.kappa),
            write.addr.eq(delay(m, place, ElementMultiplier.LATENCY)),
            write.data.eq(constant.product),
            write.en.eq(delay(m, taken, ElementMultiplier.LATENCY)),
            read.addr.eq(head + scaler.vector),
            Value.cast(scaler.factor).eq(read.data),
        ]
        with m.If(taken):
            m.d.sync += place.eq(place + 1)
        with m.If(self.clear):
            m.d.sync += place.eq(0)
        with m.If(self._first(start)):
            m.d.sync += head.eq(0)
        with m.Elif(sums.valid & sums.ready & sums.p.last):
            m.d.sync += head.eq(head + command.vectors)

    def _write(
        self, m: Module, mixer: Mixer, softmax: Softmax, command: data.View, start: Signal
    ) -> None:
        """Write the mixed heads behind one another.

        A head fills whole words, so that the address counts on over heads and groups. Example: with
        16 words for each head, the second head begins 16 words behind ``destination``.
        """
        # The next product quantizes the mixed vector, and needs its peaks: all words are tracked.
        address = Signal.like(command.destination)
        last_group = self._group == command.groups - 1
        m.d.comb += [
            self.writes.valid.eq(mixer.words.valid),
            self.writes.p.address.eq(token_place(address, command.token)),
            self.writes.p.elements.eq(mixer.words.p.elements),
            self.writes.p.last.eq(mixer.words.p.last & last_group),
            self.writes.p.track.eq(1),
            mixer.words.ready.eq(self.writes.ready),
            softmax.used.eq(self.writes.valid & self.writes.ready & mixer.words.p.last),
        ]
        with m.If(start):
            m.d.sync += address.eq(self.commands.p.destination)
        with m.Elif(self.writes.valid & self.writes.ready):
            m.d.sync += address.eq(address + 1)

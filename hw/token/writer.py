"""Last step of a product: residual, gate, or nothing; then to the vector memory."""

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.elements import LOG2_E
from .adder import ElementAdder
from .config import TokenConfig, check_core_config
from .element import ELEMENT, constant
from .multiplier import ElementMultiplier
from .pipeline import delay
from .scaler import vector_word
from .special import Function, SpecialFunction

__all__ = ["VectorWriter", "WriteMode", "vector_write", "writer_command"]


class WriteMode(enum.Enum, shape=3):
    """What ``VectorWriter`` computes of a word w, and of the stored word s.

    - ``STORE``: w
    - ``ADD``: ``round(w + s)``, the residual stream
    - ``RELU2``: ``round(max(w, 0)²)``, a gate
    - ``SILU``: ``round(w · sigmoid(w))``, a gate
    - ``MULTIPLY``: ``round(w · s)``, a gated vector
    """

    STORE = 0
    ADD = 1
    RELU2 = 2
    SILU = 3
    MULTIPLY = 4


def vector_depth(config: TokenConfig) -> int:
    """Words of the vector memory: the residual stream, and behind it the largest other vector."""
    lanes = config.vector_lanes
    return -(-config.hidden_max // lanes) + -(-config.work_max // lanes)


def writer_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``VectorWriter``.

    Fields
    ------
    mode : ``WriteMode``
    source : address of the first stored word, for the modes that read
    destination : address of the first word that is written
    track : the peaks of the vector are wanted
    """
    address = range(vector_depth(config))
    fields = {"mode": WriteMode, "source": address, "destination": address, "track": 1}
    return data.StructLayout(fields)


def vector_write(config: TokenConfig) -> data.StructLayout:
    """Layout of a write to the vector memory.

    Fields
    ------
    address : address of the word
    elements : the word
    last : it ends the vector
    track : the peaks of the vector are wanted
    """
    address = range(vector_depth(config))
    fields = {"address": address, "elements": vector_word(config), "last": 1, "track": 1}
    return data.StructLayout(fields)


class VectorWriter(wiring.Component):
    """Adds scaled results to the residual stream, gates them, or stores them as they are.

    The golden functions are those of ``CoreModel``, as ``WriteMode`` lists them. The sigmoid is
    ``reciprocal(round(1 + exp2(round(w · −log₂ e))))``.

    Latency: ``LATENCY`` = 4 cycles from a word to its write, and ``SILU_LATENCY`` = 16 with
    ``SILU``. Throughput: one word per cycle.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    commands : In(stream of ``writer_command``); accepted after the last write of the vector before
    words : In(stream of ``elements`` and ``last``)
    address : Out; address of the stored word
    stored : In(``vector_word``); the stored word, one cycle after its address; it must stay while
        ``enable`` is low
    enable : Out(1); enable of the read port
    writes : Out(stream of ``vector_write``)
    busy : Out(1); a command is not finished
    overflow : Out(1); a result was too large
    """

    #: Cycles from a word to its write, without and with ``SILU``.
    LATENCY, SILU_LATENCY = 4, 16

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        word = vector_word(config)
        super().__init__(
            {
                "commands": In(stream.Signature(writer_command(config))),
                "words": In(stream.Signature(data.StructLayout({"elements": word, "last": 1}))),
                "address": Out(range(vector_depth(config))),
                "stored": In(word),
                "enable": Out(1),
                "writes": Out(stream.Signature(vector_write(config))),
                "busy": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = Module()
        command = Signal(writer_command(self._config), reset_less=True)
        active, ending = Signal(), Signal()
        advance = Signal()
        m.submodules.lanes = EnableInserter(advance)(lanes)
        m.d.comb += [
            self.commands.ready.eq(~active),
            self.busy.eq(active),
            self.words.ready.eq(active & ~ending & advance),
            self.address.eq(command.source),
            self.enable.eq(advance),
        ]
        taken = self.words.valid & self.words.ready
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += [command.eq(self.commands.p), active.eq(1)]
        with m.If(taken):
            m.d.sync += command.source.eq(command.source + 1)
            m.d.sync += ending.eq(self.words.p.last)
        written = self.writes.valid & self.writes.ready
        with m.If(written):
            m.d.sync += command.destination.eq(command.destination + 1)
            with m.If(self.writes.p.last):
                m.d.sync += [active.eq(0), ending.eq(0)]

        silu = command.mode == WriteMode.SILU
        last = self.words.p.last
        plain = delay(lanes, Cat(taken & ~silu, last), self.LATENCY)
        slow = delay(lanes, Cat(taken & silu, last), self.SILU_LATENCY)
        valid, last = plain[0] | slow[0], Mux(silu, slow[1], plain[1])
        overflows = []
        for lane in range(self._config.vector_lanes):
            element, overflow = self._lane(lanes, lane, command.mode)
            m.d.comb += Value.cast(self.writes.p.elements[lane]).eq(element)
            overflows.append(overflow)
        m.d.comb += [
            self.writes.valid.eq(valid),
            self.writes.p.last.eq(last),
            self.writes.p.address.eq(command.destination),
            self.writes.p.track.eq(command.track),
            self.overflow.eq(valid & Cat(overflows).any()),
            advance.eq(self.writes.ready | ~valid),
        ]
        return m

    def _lane(self, m: Module, lane: int, mode: Value) -> tuple[Value, Value]:
        """One lane: the element to write, and whether it was too large.

        The adder and the second multiplier serve all modes.
        """
        m.submodules += [
            power := ElementMultiplier(),
            exponential := SpecialFunction(),
            adder := ElementAdder(),
            sigmoid := SpecialFunction(),
            product := ElementMultiplier(),
        ]
        silu = mode == WriteMode.SILU
        word = delay(m, self.words.p.elements[lane], 1)
        stored = Value.cast(self.stored[lane])
        positive = Mux(word[-1], 0, word)
        waited = delay(m, word, self.SILU_LATENCY - 3)
        m.d.comb += [
            Value.cast(power.a).eq(word),
            Value.cast(power.b).eq(constant(-LOG2_E)),
            exponential.function.eq(Function.EXP2),
            exponential.x.eq(power.product),
            Value.cast(adder.a).eq(Mux(silu, exponential.value, word)),
            Value.cast(adder.b).eq(Mux(silu, constant(1.0), stored)),
            sigmoid.function.eq(Function.RECIPROCAL),
            sigmoid.x.eq(adder.total),
        ]
        with m.Switch(mode):
            with m.Case(WriteMode.SILU):
                m.d.comb += [
                    Value.cast(product.a).eq(waited),
                    product.b.eq(sigmoid.value),
                ]
            with m.Case(WriteMode.RELU2):
                m.d.comb += [
                    Value.cast(product.a).eq(positive),
                    Value.cast(product.b).eq(positive),
                ]
            with m.Default():
                m.d.comb += [
                    Value.cast(product.a).eq(word),
                    Value.cast(product.b).eq(stored),
                ]
        # Words, sums and products meet LATENCY cycles after the word.
        result, overflow = Signal(ELEMENT.size), Signal()
        product_later = delay(m, Cat(product.product, product.overflow), 1)
        with m.Switch(mode):
            with m.Case(WriteMode.STORE):
                m.d.comb += result.eq(delay(m, word, 3))
            with m.Case(WriteMode.ADD):
                m.d.comb += [result.eq(adder.total), overflow.eq(adder.overflow)]
            with m.Case(WriteMode.SILU):
                m.d.comb += [result.eq(product.product), overflow.eq(product.overflow)]
            with m.Default():
                m.d.comb += Cat(result, overflow).eq(product_later)
        return result, overflow

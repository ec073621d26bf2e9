"""Last step of a product: residual, gate, or nothing; then to the vector memory."""

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.elements import LOG2_E
from .adder import ElementAdder
from .config import TokenConfig, check_core_config
from .element import ELEMENT, constant
from .multiplier import ElementMultiplier
from .pipeline import delay
from .program import WriteMode
from .scaler import scaled_words, vector_word
from .special import Function, SpecialFunction
from .tokens import is_token, token_number, token_place

__all__ = ["VectorWriter", "vector_depth", "vector_place", "vector_write", "writer_command"]


def vector_depth(config: TokenConfig) -> int:
    """Words of a token in the vector memory: the residual stream, then the largest other vector.

    Example: with 4 lanes, a stream of 256 elements and another vector of 512 take 192 words.
    """
    lanes = config.vector_lanes
    return -(-config.hidden_max // lanes) + -(-config.work_max // lanes)


def vector_place(config: TokenConfig) -> range:
    """Shape of a place in the vector memory; see ``token_place``."""
    return range(vector_depth(config) * config.tokens)


def writer_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``VectorWriter``.

    Fields
    ------
    mode : ``WriteMode``
    source : address of the first stored word, for ``ADD`` and ``MULTIPLY``
    destination : address of the first word that is written; may equal ``source``
    track : the peaks of the vector are wanted
    token : number of the first token
    others : tokens behind the first one, whose words come in turn
    """
    address, token = range(vector_depth(config)), token_number(config)
    fields = {"mode": WriteMode, "source": address, "destination": address, "track": 1}
    return data.StructLayout(fields | {"token": token, "others": token})


def vector_write(config: TokenConfig) -> data.StructLayout:
    """Layout of a write to the vector memory.

    Fields
    ------
    address : place of the word; its lowest bits are the number of the token
    elements : the word
    last : it ends the vector of its token
    track : the peaks of the vector are wanted
    """
    address = vector_place(config)
    fields = {"address": address, "elements": vector_word(config), "last": 1, "track": 1}
    return data.StructLayout(fields)


class VectorWriter(wiring.Component):
    """Adds scaled results to the residual stream, gates them, or stores them as they are.

    The golden functions are the steps of ``CoreModel`` that ``WriteMode`` lists. The sigmoid is
    ``reciprocal(round(1 + exp2(round(w · −log₂ e))))``, where −log₂ e is an element too.

    A word that is accepted in cycle 0 passes these stages, if no stage stalls.

    =======  ==================================  ===============================================
    cycle    ``STORE``, ``ADD``, ``RELU2``,      ``SILU``
             ``MULTIPLY``
    =======  ==================================  ===============================================
    0        ``words``, and ``address``          ``words``
    1        a register of the lane; ``stored``  a register of the lane
    2        the operators                       ``power``
    3        likewise; products are there        ``power`` has ``w · −log₂ e``
    4        ``writes``                          ``exponential``
    7                                            ``exponential`` has the power of two
    10                                           ``adder`` has 1 plus this power
    14                                           ``sigmoid`` has its reciprocal; meets the word
    16                                           ``writes``
    =======  ==================================  ===============================================

    Latency: ``LATENCY`` = 4 cycles from a word to its write, and ``SILU_LATENCY`` = 16 with
    ``SILU``. Throughput: one word per cycle. After the last word of a vector, the first word of the
    next one is accepted ``latency + 2`` cycles later: the next command waits for the last write.

    - **Tokens.** Words of several tokens come in turn: word 0 of each, word 1 of each, and so on.
      The vector ends with the last word of the last token.
    - **In place.** A stored word is read in the cycle of its word, and written later. ``source``
      and ``destination`` may therefore be equal.
    - **Zero.** A computed result of 0 is positive. ``RELU2`` of a negative element is 0.
    - **Residual.** A small w may be lost: 131,072 + 1.5 is 131,072, whose neighbor is 131,076.
    - **Sigmoid.** It is exactly 1 for w above 11.1, and exactly 0 below −87.4. There the power of
      two is too small to change the 1, or its reciprocal is below the smallest element.
    - **Large values.** A sum or a product that is too large becomes the largest element, and raises
      ``overflow`` with its write. A power of two that is too large raises nothing: its sigmoid is
      0.
    - **Stall.** A write that is not taken waits outside the lanes. They stop in the cycle after
      its offer, until the cycle after it is taken. ``enable`` is low then, and no word is accepted.
      The lanes thus do not depend on the ready of the same cycle, which comes late.
    - **Reset.** The vector and its words are dropped.

    Example: w = 3 and s = 0.25 give 3 with ``STORE``, 3.25 with ``ADD``, 9 with ``RELU2`` and 0.75
    with ``MULTIPLY``. With ``SILU``, w = 1 gives 0.73105, and w = −1 gives −0.26894. A vector of 2
    words with ``ADD`` that enter in cycles 0 and 1 is written in cycles 4 and 5. The next command
    is accepted in cycle 6, and its first word in cycle 7.

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
    words : In(stream of ``scaled_words``); ready depends on registers alone
    address : Out; address of the stored word, in the cycle in which its word is accepted
    stored : In(``vector_word``); the stored word, one cycle after its address; it must stay while
        ``enable`` is low; ignored by ``STORE``, ``RELU2`` and ``SILU``
    enable : Out(1); enable of the read port; low while a write waits outside the lanes
    writes : Out(stream of ``vector_write``); addresses follow each other from ``destination`` on
    busy : Out(1); a command is not finished; low one cycle after the last write
    overflow : Out(1); an element of ``writes`` was too large
    """

    #: Cycles from a word to its write, without and with ``SILU``.
    LATENCY, SILU_LATENCY = 4, 16

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        word = vector_word(config)
        super().__init__(
            {
                "commands": In(stream.Signature(writer_command(config))),
                "words": In(stream.Signature(scaled_words(config))),
                "address": Out(vector_place(config)),
                "stored": In(word),
                "enable": Out(1),
                "writes": Out(stream.Signature(vector_write(config))),
                "busy": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Count the addresses of a vector; the lanes are one pipeline with a common enable.

        ``active`` lasts from the command to the last write, ``ending`` from the last word on.
        """
        m = Module()
        lanes = Module()
        command = Signal(writer_command(self._config), reset_less=True)
        active, ending = Signal(), Signal()
        advance = Signal()
        word, write = self.words.p, self.writes.p
        m.submodules.lanes = EnableInserter(advance)(lanes)
        m.d.comb += [
            self.commands.ready.eq(~active),
            self.busy.eq(active),
            self.words.ready.eq(active & ~ending & advance),
            # The address runs ahead of the writes, and moves with each word that is accepted.
            self.address.eq(token_place(command.source, command.token | word.token)),
            self.enable.eq(advance),
        ]
        taken = self.words.valid & self.words.ready
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += [command.eq(self.commands.p), active.eq(1)]
        # Words of one place come for all tokens in turn.
        with m.If(is_token(taken, word.token, command.others)):
            m.d.sync += command.source.eq(command.source + 1)
            m.d.sync += ending.eq(word.last)
        written = self.writes.valid & self.writes.ready
        token = Signal.like(word.token)
        with m.If(is_token(written, token, command.others)):
            m.d.sync += command.destination.eq(command.destination + 1)
            with m.If(write.last):
                m.d.sync += [active.eq(0), ending.eq(0)]

        # The mode stays until the last write, so that only one of the two paths is ever in use.
        silu = command.mode == WriteMode.SILU
        flags = Cat(word.last, word.token)
        plain = delay(lanes, Cat(taken & ~silu, flags), self.LATENCY)
        slow = delay(lanes, Cat(taken & silu, flags), self.SILU_LATENCY)
        valid, flags = plain[0] | slow[0], Mux(silu, slow[1:], plain[1:])
        elements, overflows = [], []
        for lane in range(self._config.vector_lanes):
            element, overflow = self._lane(lanes, lane, command.mode)
            elements.append(element)
            overflows.append(overflow)
        made = Cat(elements, flags)
        kept, waits = Signal(len(made), reset_less=True), Signal()
        with m.If(~waits):
            m.d.sync += kept.eq(made)
        m.d.sync += waits.eq(self.writes.valid & ~self.writes.ready)
        m.d.comb += [
            self.writes.valid.eq(waits | valid),
            Cat(write.elements, write.last, token).eq(Mux(waits, kept, made)),
            write.address.eq(token_place(command.destination, command.token | token)),
            write.track.eq(command.track),
            self.overflow.eq(valid & Cat(overflows).any()),
            # A write that waits stops the lanes and the read port, whose word waits as well.
            advance.eq(~waits),
        ]
        return m

    def _lane(self, m: Module, lane: int, mode: Value) -> tuple[Value, Value]:
        """One lane: the element to write, and whether it was too large.

        ``ADD`` and ``SILU`` share the adder. ``RELU2``, ``MULTIPLY`` and ``SILU`` share the
        multiplier ``product``.

        Parameters
        ----------
        m : module of the lanes, which stops as a whole
        lane : number of the lane
        mode : ``WriteMode`` of the vector
        """
        m.submodules += [
            power := ElementMultiplier(),
            exponential := SpecialFunction(),
            adder := ElementAdder(),
            sigmoid := SpecialFunction(),
            product := ElementMultiplier(),
        ]
        silu = mode == WriteMode.SILU
        word = delay(m, self.words.p.elements[lane], 1, reset_less=True)
        stored = Value.cast(self.stored[lane])
        # max(w, 0): the top bit of an element is its sign.
        positive = Mux(word[-1], 0, word)
        # The word waits for its sigmoid, which takes 2 + 4 + 3 + 4 cycles.
        waited = delay(m, word, self.SILU_LATENCY - 3, reset_less=True)
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
        # Words, sums and products meet LATENCY cycles after the word. A product is a cycle faster
        # than a sum, except for that of SILU, which is the last operation.
        result, overflow = Signal(ELEMENT.size), Signal()
        product_later = delay(m, Cat(product.product, product.overflow), 1, reset_less=True)
        with m.Switch(mode):
            with m.Case(WriteMode.STORE):
                m.d.comb += result.eq(delay(m, word, 3, reset_less=True))
            with m.Case(WriteMode.ADD):
                m.d.comb += [result.eq(adder.total), overflow.eq(adder.overflow)]
            with m.Case(WriteMode.SILU):
                m.d.comb += [result.eq(product.product), overflow.eq(product.overflow)]
            with m.Default():
                m.d.comb += Cat(result, overflow).eq(product_later)
        return result, overflow

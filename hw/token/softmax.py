"""Softmax of the scores of heads that share keys, with the scales of the values folded in."""

from dataclasses import dataclass

from amaranth.hdl import Array, Cat, Const, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.elements import BIAS, SIGNIFICAND_BITS
from .adder import ElementAdder
from .config import TokenConfig, check_core_config
from .converter import IntegerConverter
from .element import ELEMENT, constant, significand
from .multiplier import ElementMultiplier
from .pipeline import delay
from .quantizer import ElementQuantizer
from .scores import score_shape
from .special import Function, SpecialFunction
from .tree import greater, larger

__all__ = ["Softmax"]

#: Bits below the binary point of an exponential.
_POINT = 16


class _Step(enum.Enum, shape=2):
    """Steps of the heads that share keys, in order.

    - ``SCORES``: take the scores, and find the largest one of each head
    - ``EXPONENTIALS``: replace each score by u; sum e, and find the largest u
    - ``FACTORS``: compute two factors for each head
    - ``WEIGHTS``: quantize u, and hand on the weights
    """

    SCORES = 0
    EXPONENTIALS = 1
    FACTORS = 2
    WEIGHTS = 3


@dataclass(frozen=True, kw_only=True)
class _Walk:
    """Walk over the scores, by position, then by head.

    Parameters
    ----------
    place : address of the score
    vector : number of its head
    row_end : the position's last head
    last : the last score
    """

    place: Signal
    vector: Signal
    row_end: Value
    last: Value

    def advance(self, m: Module) -> None:
        """Go to the next score, or back to the first.

        Parameters
        ----------
        m : module that gets the logic, within the condition of the caller
        """
        m.d.sync += [self.place.eq(self.place + 1), self.vector.eq(self.vector + 1)]
        with m.If(self.row_end):
            m.d.sync += self.vector.eq(0)
        with m.If(self.last):
            m.d.sync += self.place.eq(0)


class Softmax(wiring.Component):
    """Turns scores into int8 weights, and a factor for each head.

    The golden function is the middle of ``attend``. For each head that shares the keys:

    - ``e = rint(2¹⁶ · exp2(round(score − max score)))``, and ``total = round(2⁻¹⁶ · Σ e)``
    - ``u = round(e · 2⁻¹⁶ · value scale)``
    - ``weight = rint(u · r)`` with ``r = round(127 · reciprocal(max u))``
    - ``factor = round(round(max u · round(1 / 127)) · reciprocal(total))``

    Scores are powers of two already: log₂ e is in the factor of the queries. The scores wait in a
    buffer, which the second pass overwrites by u. All steps share one adder, one multiplier, one
    converter and one special function.

    N scores are positions times heads, and H is the number of heads. The last score is taken in
    cycle 0. Scales and the user of the weights never wait.

    ====================  ========================================================================
    cycle                 step
    ====================  ========================================================================
    1 to N                pass 2: addresses of the scores
    10 to N + 9           ``e`` is added to the sum of its head
    14 to N + 13          ``u`` is written back, and compared with the largest one
    N + 15 on             11 cycles for each head: ``r``, and the factor
    N + 15 + 11 · H on    pass 3: addresses of u
    N + 18 + 11 · H       first weight at ``weights``
    2 · N + 17 + 11 · H   last weight; the next score is taken in the following cycle
    ====================  ========================================================================

    A score in pass 2 passes these registers. Its address is there in cycle 0.

    ==========  ==================================================================================
    cycle       register
    ==========  ==================================================================================
    1           score at the read port of the buffer
    4           ``round(score − max score)``
    8           power of two
    9           ``e``, 17 bits
    11          ``e · 2⁻¹⁶`` as an element
    13          ``u``
    ==========  ==================================================================================

    Latency: ``N + 18 + 11 · H`` cycles from the last score to the first weight. Throughput: one
    score per cycle in each of the three passes.

    Example: one head has the scores 3 and 4, and both values have the scale 1. The exponentials e
    are 32,768 and 65,536, so that the total is 1.5. With u of 0.5 and 1, r is 127. The weights are
    64 (63.5, half to even) and 127. The factor is about 1 / 127 / 1.5 = 0.00525.

    - One position: e is 65,536, the total is 1, and the weight is 127.
    - Far scores: at 17 or more below the largest one, e and the weight are 0.
    - Scales of 0: if all u of a head are 0, its weights and its factor are 0.
    - Largest values: the sum of e has room for ``context_max`` exponentials of 1. A difference of
      scores, or r, that is too large becomes the largest element, and raises ``overflow``. The
      others cannot be too large: u is at most a scale of ``HeadUnit``, which is below 2¹²².
    - Stalls: in pass 2 a position waits for its scale. In pass 3 the pipeline and the read port
      keep their state while a weight is not taken. Scores wait during pass 2 and pass 3.
    - Reset: the unit takes scores again, from the first position on.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    scores : In(stream of ``score_shape``); by position, then by head; ``last`` ends them
    scales : In(stream of an element); the scale of each position's value; taken in pass 2, with the
        position's last head; its ready depends on its valid
    weights : Out(stream of ``value``, a signed byte, and ``row_end``); by position, then by head;
        depends on registers alone
    factors : Out(``shared_max`` elements); of the heads; they are there with the first weight, and
        stay until pass 2 over the next scores has ended
    overflow : Out(1); a value was too large; high for at least one cycle
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        weight = data.StructLayout({"value": signed(8), "row_end": 1})
        super().__init__(
            {
                "scores": In(stream.Signature(score_shape(config))),
                "scales": In(stream.Signature(ELEMENT)),
                "weights": Out(stream.Signature(weight)),
                "factors": Out(data.ArrayLayout(ELEMENT, config.shared_max)),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Take the scores; each later step has a method of its own.

        The steps share the operators. Each connects their operands under a condition, so that one
        multiplexer in front of each operand has an input for each step.
        """
        m = Module()
        config = self._config
        heads, depth = config.shared_max, config.context_max * config.shared_max
        m.submodules.buffer = buffer = memory.Memory(shape=ELEMENT.size, depth=depth, init=[])
        write, read = buffer.write_port(), buffer.read_port()
        m.submodules += [
            adder := ElementAdder(),
            special := SpecialFunction(),
            converter := IntegerConverter(width=_POINT + config.context_max.bit_length() + 2),
            multiplier := ElementMultiplier(),
        ]
        self._operators = adder, special, converter, multiplier
        self._step = step = Signal(_Step)
        place, vector = Signal(range(depth)), Signal(range(heads))
        end, last_vector = Signal.like(place), Signal.like(vector)
        walk = _Walk(place=place, vector=vector, row_end=vector == last_vector, last=place == end)
        # State of each head: its largest score, its sum of exponentials, and its largest u.
        peaks = Array(Signal(ELEMENT.size, name=f"peak{i}") for i in range(heads))
        sums = Array(Signal(len(converter.integer) - 1, name=f"sum{i}") for i in range(heads))
        tops = Array(Signal(ELEMENT.size - 1, name=f"top{i}") for i in range(heads))

        score = self.scores.p
        value, first = Value.cast(score.value), Signal(init=1)
        taken = self.scores.valid & self.scores.ready
        m.d.comb += [
            self.scores.ready.eq(step == _Step.SCORES),
            write.addr.eq(place),
            write.data.eq(value),
            write.en.eq(taken),
            read.addr.eq(place),
            read.en.eq(1),
            converter.exponent.eq(-_POINT),
        ]
        # The first position's scores are the largest so far, whatever the scores before were.
        with m.If(taken):
            m.d.sync += [place.eq(place + 1), first.eq(first & ~score.row_end)]
            with m.If(first | greater(_order(value), _order(peaks[score.vector]))):
                m.d.sync += peaks[score.vector].eq(value)
            with m.If(score.last):
                m.d.sync += [step.eq(_Step.EXPONENTIALS), place.eq(0), first.eq(1)]
                m.d.sync += [end.eq(place), last_vector.eq(score.vector), vector.eq(0)]
                m.d.sync += [part.eq(0) for part in (*sums, *tops)]
        self._exponentials(m, walk, read, write, peaks, sums, tops)
        quantizers = self._factors(m, walk, sums, tops)
        self._weights(m, walk, read, quantizers)
        return m

    def _exponentials(
        self,
        m: Module,
        walk: _Walk,
        read: memory.ReadPort,
        write: memory.WritePort,
        peaks: Array,
        sums: Array,
        tops: Array,
    ) -> None:
        """Replace the scores by u, sum the exponentials, and find the largest u.

        The write follows its address by 13 cycles, so that no score is overwritten before it is
        read.

        Parameters
        ----------
        m : module that gets the logic
        walk : place in the buffer, from its first score on
        read, write : ports of the buffer
        peaks : the largest score of each head
        sums, tops : sum of e, and largest u, of each head; both are 0 at the start
        """
        adder, special, converter, multiplier = self._operators
        now = self._step == _Step.EXPONENTIALS
        issuing, done = Signal(), Signal()
        issue = now & ~done & self.scales.valid
        m.d.comb += [issuing.eq(issue), self.scales.ready.eq(issue & walk.row_end)]
        with m.If(issuing):
            walk.advance(m)
            m.d.sync += done.eq(walk.last)
        # Cycles from the address to each operand. The 1 at the end is the register of e, which
        # keeps the shifter of ``_fixed`` out of the path of the sum.
        at_difference = 1 + ElementAdder.LATENCY
        at_sum = at_difference + SpecialFunction.LATENCY + 1
        at_scale = at_sum + IntegerConverter.LATENCY
        at_write = at_scale + ElementMultiplier.LATENCY
        vectors = {
            cycles: delay(m, walk.vector, cycles, reset_less=True)
            for cycles in (1, at_sum, at_write)
        }
        valids = {cycles: delay(m, issuing, cycles) for cycles in (at_difference, at_sum, at_write)}
        scale = delay(m, self.scales.p, at_scale, reset_less=True)
        place = delay(m, walk.place, at_write, reset_less=True)
        over = delay(m, issuing & walk.last, at_write + 1)
        # e is at most 2¹⁶, which takes a bit above the binary point.
        e = Signal(_POINT + 1)
        m.d.sync += e.eq(_fixed(m, special.value))
        product = Value.cast(multiplier.product)
        # No other step has a use for the adder.
        m.d.comb += [
            Value.cast(adder.a).eq(read.data),
            Value.cast(adder.b).eq(peaks[vectors[1]]),
            adder.subtract.eq(1),
        ]
        with m.If(now):
            m.d.comb += [
                special.function.eq(Function.EXP2),
                special.x.eq(adder.total),
                converter.integer.eq(e),
                multiplier.a.eq(converter.element),
                Value.cast(multiplier.b).eq(scale),
                write.addr.eq(place),
                write.data.eq(product),
                write.en.eq(valids[at_write]),
                self.overflow.eq(adder.overflow & valids[at_difference]),
            ]
            with m.If(valids[at_sum]):
                m.d.sync += sums[vectors[at_sum]].eq(sums[vectors[at_sum]] + e)
            # u is not negative: magnitudes compare like elements.
            with m.If(valids[at_write]):
                top = tops[vectors[at_write]]
                m.d.sync += top.eq(larger(product[:-1], top))
            with m.If(over):
                m.d.sync += [self._step.eq(_Step.FACTORS), done.eq(0)]

    def _factors(self, m: Module, walk: _Walk, sums: Array, tops: Array) -> Array:
        """Compute for each head the factor of its weights' quantizer, and that of its results.

        A head takes 11 cycles of ``timer``, from 0 on.

        ======  ====================================================================================
        timer   operators
        ======  ====================================================================================
        0       the reciprocal of the largest u, and ``max u · round(1 / 127)``, start
        2       the product is kept as ``scale``
        4       ``127 · reciprocal(max u)`` and the reciprocal of the total start
        6       the product is kept as the factor of the quantizer
        8       ``scale · reciprocal(total)`` starts
        10      the product is kept as the factor of the results
        ======  ====================================================================================

        Parameters
        ----------
        m : module that gets the logic
        walk : its ``vector`` is the number of the head; it ends at 0
        sums, tops : sum of e, and largest u, of each head

        Returns
        -------
        Factor of the quantizer, for each head
        """
        _, special, converter, multiplier = self._operators
        heads = self._config.shared_max
        now = self._step == _Step.FACTORS
        quantizers = Array(Signal(ELEMENT.size, name=f"quantizer{i}") for i in range(heads))
        outputs = Array(Value.cast(self.factors[i]) for i in range(heads))
        factors = Array(Signal(ELEMENT.size, name=f"factor{i}") for i in range(heads))
        m.d.comb += [outputs[i].eq(factors[i]) for i in range(heads)]
        scale = Signal(ELEMENT.size)
        product = Value.cast(multiplier.product)
        # The reciprocal of the largest u, then that of the sum; a product while each is computed.
        one, two = SpecialFunction.LATENCY, ElementMultiplier.LATENCY
        timer = Signal(range(2 * one + two + 1))
        with m.If(now):
            m.d.comb += [
                special.function.eq(Function.RECIPROCAL),
                Value.cast(special.x).eq(
                    Mux(timer < one, tops[walk.vector], Value.cast(converter.element))
                ),
                converter.integer.eq(sums[walk.vector]),
            ]
            with m.If(timer < one):
                m.d.comb += Value.cast(multiplier.a).eq(tops[walk.vector])
                m.d.comb += Value.cast(multiplier.b).eq(constant(1 / 127))
            with m.Elif(timer < 2 * one):
                m.d.comb += multiplier.a.eq(special.value)
                m.d.comb += Value.cast(multiplier.b).eq(constant(127.0))
            with m.Else():
                m.d.comb += multiplier.a.eq(special.value)
                m.d.comb += Value.cast(multiplier.b).eq(scale)
            # The total is an integer times 2⁻¹⁶; its sum does not change in this step.
            m.d.sync += timer.eq(timer + 1)
            with m.If(timer == two):
                m.d.sync += scale.eq(product)
            with m.If(timer == one + two):
                m.d.sync += quantizers[walk.vector].eq(product)
                m.d.comb += self.overflow.eq(multiplier.overflow)
            with m.If(timer == 2 * one + two):
                m.d.sync += [factors[walk.vector].eq(product), timer.eq(0)]
                m.d.sync += walk.vector.eq(Mux(walk.row_end, 0, walk.vector + 1))
                with m.If(walk.row_end):
                    m.d.sync += self._step.eq(_Step.WEIGHTS)
        return quantizers

    def _weights(self, m: Module, walk: _Walk, read: memory.ReadPort, quantizers: Array) -> None:
        """Quantize u; the pipeline stops while a weight is not taken.

        An address in cycle 0 has its u at the read port in cycle 1, and its weight in cycle 3.

        Parameters
        ----------
        m : module that gets the logic
        walk : place in the buffer, from its first u on
        read : port of the buffer; it keeps its word while the pipeline stops
        quantizers : factor of the quantizer, for each head
        """
        now = self._step == _Step.WEIGHTS
        pipeline = Module()
        pipeline.submodules.quantizer = quantizer = ElementQuantizer()
        advance, done = Signal(), Signal()
        m.submodules.pipeline = EnableInserter(advance)(pipeline)
        issuing = now & ~done
        issued = delay(pipeline, Cat(issuing, walk.row_end, walk.last), 1)
        out = delay(pipeline, issued, ElementQuantizer.LATENCY)
        m.d.comb += [
            advance.eq(self.weights.ready | ~self.weights.valid),
            self.weights.valid.eq(out[0]),
            self.weights.p.value.eq(quantizer.integer),
            self.weights.p.row_end.eq(out[1]),
            Value.cast(quantizer.a).eq(read.data),
            Value.cast(quantizer.b).eq(
                quantizers[delay(pipeline, walk.vector, 1, reset_less=True)]
            ),
        ]
        with m.If(now):
            m.d.comb += read.en.eq(advance)
            with m.If(advance & issuing):
                walk.advance(m)
                m.d.sync += done.eq(walk.last)
            with m.If(out[0] & out[2] & self.weights.ready):
                m.d.sync += [self._step.eq(_Step.SCORES), done.eq(0)]


def _order(element: Value) -> Value:
    """A number of 24 bits that grows with the element.

    Example: −1, 0 and 1 give 0x407FFF, 0x800000 and 0xBF8000.
    """
    negative = element[-1]
    return Cat(element[:-1] ^ negative.replicate(len(element) - 1), ~negative)


def _fixed(m: Module, element: data.View) -> Value:
    """An element from 0 to 1 in 16 bits below the binary point, rounded half to even.

    Example: 1 gives 65,536, and 2⁻¹⁷ gives 0, which is the even neighbor.

    Parameters
    ----------
    m : module that gets the logic
    element : 0 to 1, a result of 2ˣ
    """
    # 1 has the bits of its significand one place higher, and every halving shifts by one. Zeros
    # below keep all bits, so that a tie is seen.
    most = SIGNIFICAND_BITS + 1
    places, shifted = Signal(8), Signal(most + 1 + SIGNIFICAND_BITS)
    m.d.comb += [
        places.eq(BIAS - element.exponent),
        shifted.eq(Cat(Const(0, most + 1), significand(element)) >> places[:5]),
    ]
    whole, round_bit = shifted[most:], shifted[most - 1]
    sticky = shifted[: most - 1].any()
    return Mux(places > most, 0, whole + (round_bit & (sticky | whole[0])))

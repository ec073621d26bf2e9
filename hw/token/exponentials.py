"""Exponentials of the scores of heads that share keys, and the factors that follow from them."""

from dataclasses import dataclass

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from ...golden.elements import BIAS, SIGNIFICAND_BITS
from .adder import ElementAdder
from .config import TokenConfig, check_core_config
from .converter import IntegerConverter
from .element import ELEMENT, constant, significand
from .multiplier import ElementMultiplier
from .pipeline import delay
from .scores import segment_elements
from .special import Function, SpecialFunction
from .tree import larger, tree, tree_latency

__all__ = ["ExponentialPass", "Walk", "score_chunks", "score_words", "walk_end"]

#: Bits below the binary point of an exponential.
_POINT = 16


def score_chunks(config: TokenConfig) -> int:
    """Chunks of the longest context, each with a position for each segment."""
    return -(-config.context_max // config.segments)


def score_words(config: TokenConfig) -> int:
    """Words of a score buffer: for each chunk, and for each head that shares the keys."""
    return score_chunks(config) * config.shared_max


def walk_end(config: TokenConfig) -> data.StructLayout:
    """Layout of the place where the scores of a group end.

    Fields
    ------
    place : the last word of the score buffer
    chunk : the last chunk
    vector : the last head
    others : segments of the last chunk, behind the first one, that have a position
    """
    return data.StructLayout(
        {
            "place": range(score_words(config)),
            "chunk": range(score_chunks(config)),
            "vector": range(config.shared_max),
            "others": config.segments - 1,
        }
    )


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Walk over the words of a score buffer, by chunk, then by head.

    Parameters
    ----------
    now : place, chunk and head of the word; ``others`` is not used
    end : those of the last word
    """

    now: data.View
    end: data.View

    @property
    def row_end(self) -> Value:
        """The last head of a chunk."""
        return self.now.vector == self.end.vector

    @property
    def last(self) -> Value:
        """The last word."""
        return self.now.place == self.end.place

    def advance(self, m: Module) -> None:
        """Go to the next word, or back to the first.

        Parameters
        ----------
        m : module that gets the logic, within the condition of the caller
        """
        now = self.now
        m.d.sync += [now.place.eq(now.place + 1), now.vector.eq(now.vector + 1)]
        with m.If(self.row_end):
            m.d.sync += [now.vector.eq(0), now.chunk.eq(now.chunk + 1)]
        with m.If(self.last):
            m.d.sync += [now.place.eq(0), now.chunk.eq(0)]


class _Step(enum.Enum, shape=1):
    """Steps of the heads that share keys, in order.

    - ``EXPONENTIALS``: replace each score by u; sum e, and find the largest u
    - ``FACTORS``: compute two factors for each head
    """

    EXPONENTIALS = 0
    FACTORS = 1


class ExponentialPass(wiring.Component):
    """Replaces the scores of a group by u, and computes the factors of its heads.

    The golden function is the middle of ``attend``. For each head:

    - ``e = rint(2¹⁶ · exp2(round(score − max score)))``, and ``total = round(2⁻¹⁶ · Σ e)``
    - ``u = round(e · 2⁻¹⁶ · value scale)``
    - ``quantizer = round(127 · reciprocal(max u))``
    - ``factor = round(round(max u · round(1 / 127)) · reciprocal(total))``

    Each of the G segments has an adder, a special function, a converter and a multiplier. The
    factors use those of the first one. t is log₂ G.

    ``go`` rises in cycle 0. N is the number of words, which is chunks times heads.

    ====================  ========================================================================
    cycle                 step
    ====================  ========================================================================
    0 to N − 1            addresses of the scores
    9 + t to N + 8 + t    the e of a word are added to the sum of its head
    13 to N + 12          the u are at ``u``, to be written
    13 + t to N + 12 + t  the largest u of the word is compared with that of its head
    N + 14 + t on         11 cycles for each head
    ====================  ========================================================================

    A word of scores passes these registers. Its address is there in cycle 0.

    ==========  ==================================================================================
    cycle       register
    ==========  ==================================================================================
    1           scores and scales come from their memories
    4           ``round(score − max score)``
    8           powers of two
    9           ``e``, 17 bits
    11          ``e · 2⁻¹⁶`` as elements
    13          ``u``
    ==========  ==================================================================================

    Latency: ``N + 13 + t + 11 · H`` cycles from ``go`` to ``done``, for H heads. Throughput: a word
    of G scores per cycle. The next group may begin in the cycle after ``done``.

    Example: one head has the scores 3 and 4, and both values have the scale 1. The exponentials e
    are 32,768 and 65,536, so that the total is 1.5. With u of 0.5 and 1, the quantizer is 127. The
    factor is about 1 / 127 / 1.5 = 0.00525.

    - One position: e is 65,536, and the total is 1.
    - Far scores: at 17 or more below the largest one, e is 0.
    - Scales of 0: if all u of a head are 0, its quantizer and its factor are 0.
    - Segments without a position: their e and u are 0, whatever their scores and scales are.
    - Largest values: the sum of e has room for ``context_max`` exponentials of 1. A difference of
      scores, or a quantizer, that is too large becomes the largest element, and raises
      ``overflow``. The others cannot be too large: u is at most a scale of ``HeadUnit``, which is
      below 2¹²².
    - Stalls: ``hold`` delays the factors. Nothing else waits.
    - Reset: it drops the group.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    go : In(1); the scores of a group are complete; high until ``done``
    hold : In(1); the factors of an earlier group are still used
    end : In(``walk_end``); of this group; stays until ``done``
    peaks : In(``shared_max`` elements); the largest score of each head
    place, chunk : Out; word and chunk of the scores and of the scales that are read
    scores, scales : In(``segment_elements``); one cycle after ``place`` and ``chunk``
    written : Out(1); ``u`` is to be written to ``target``
    target : Out; word of u
    u : Out(``segment_elements``)
    vector : Out; head of ``quantizer`` and ``factor``
    quantizer, factor : Out(element); each is there in the cycle of its valid
    have_quantizer, have_factor : Out(1)
    done : Out(1); the last factor is there
    overflow : Out(1); a value was too large; high for at least one cycle
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        words, vectors = score_words(config), range(config.shared_max)
        elements = segment_elements(config)
        super().__init__(
            {
                "go": In(1),
                "hold": In(1),
                "end": In(walk_end(config)),
                "peaks": In(data.ArrayLayout(ELEMENT, config.shared_max)),
                "place": Out(range(words)),
                "chunk": Out(range(score_chunks(config))),
                "scores": In(elements),
                "scales": In(elements),
                "written": Out(1),
                "target": Out(range(words)),
                "u": Out(elements),
                "vector": Out(vectors),
                "quantizer": Out(ELEMENT),
                "factor": Out(ELEMENT),
                "have_quantizer": Out(1),
                "have_factor": Out(1),
                "done": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Make the operators of each segment; both steps share those of the first one.

        Each step connects their operands under a condition, so that one multiplexer in front of
        each operand has an input for each step.
        """
        m = Module()
        config = self._config
        self._width = _POINT + config.context_max.bit_length() + 2
        self._operators = []
        for segment in range(config.segments):
            m.submodules += [
                adder := ElementAdder(),
                special := SpecialFunction(),
                # Only the first one also converts the sums; e takes 17 bits and a sign.
                converter := IntegerConverter(width=self._width if segment == 0 else _POINT + 2),
                multiplier := ElementMultiplier(),
            ]
            m.d.comb += converter.exponent.eq(-_POINT)
            self._operators.append((adder, special, converter, multiplier))
        self._step = Signal(_Step)
        walk = Walk(now=Signal(walk_end(config)), end=self.end)
        # State of each head: its sum of exponentials, and its largest u.
        heads = range(config.shared_max)
        sums = Array(Signal(self._width - 1, name=f"sum{i}") for i in heads)
        tops = Array(Signal(ELEMENT.size - 1, name=f"top{i}") for i in heads)
        m.d.comb += [
            self.place.eq(walk.now.place),
            self.chunk.eq(walk.now.chunk),
            self.vector.eq(walk.now.vector),
        ]
        self._exponentials(m, walk, sums, tops)
        self._factors(m, walk, sums, tops)
        with m.If(self.done):
            m.d.sync += [part.eq(0) for part in (*sums, *tops)]
        return m

    def _exponentials(self, m: Module, walk: Walk, sums: Array, tops: Array) -> None:
        """Replace the scores by u, sum the exponentials, and find the largest u.

        The write follows its address by 13 cycles, so that no score is overwritten before it is
        read.

        Parameters
        ----------
        m : module that gets the logic
        walk : place in the buffer, from its first score on
        sums, tops : sum of e, and largest u, of each head; both are 0 at the start
        """
        now = self._step == _Step.EXPONENTIALS
        issuing, done = Signal(), Signal()
        m.d.comb += issuing.eq(now & self.go & ~done)
        with m.If(issuing):
            walk.advance(m)
            m.d.sync += done.eq(walk.last)
        # Cycles from the address to each register. The 1 at the end is the register of e, which
        # keeps the shifter of ``_fixed`` out of the path of the sum.
        at_difference = 1 + ElementAdder.LATENCY
        at_e = at_difference + SpecialFunction.LATENCY + 1
        at_scale = at_e + IntegerConverter.LATENCY
        at_write = at_scale + ElementMultiplier.LATENCY
        tree_cycles = tree_latency(self._config.segments)
        at_sum, at_top = at_e + tree_cycles, at_write + tree_cycles
        vectors = {
            cycles: delay(m, walk.now.vector, cycles, reset_less=True)
            for cycles in (1, at_sum, at_top)
        }
        valids = {cycles: delay(m, issuing, cycles) for cycles in (at_sum, at_write, at_top)}
        over = delay(m, issuing & walk.last, at_top + 1)
        end = (walk.now.chunk == walk.end.chunk).replicate(self._config.segments - 1)
        others = delay(m, walk.end.others | ~end, at_difference)
        subtracted = Cat(1, others) & delay(m, issuing, at_difference).replicate(len(others) + 1)
        present = Cat(1, delay(m, others, SpecialFunction.LATENCY))
        scales = delay(m, self.scales, at_scale - 1, reset_less=True)
        m.d.comb += [
            self.written.eq(valids[at_write]),
            self.target.eq(delay(m, walk.now.place, at_write, reset_less=True)),
        ]
        # e is at most 2¹⁶, which takes a bit above the binary point.
        all_e, magnitudes, overflows = [], [], []
        for segment, (adder, special, converter, multiplier) in enumerate(self._operators):
            e = Signal(_POINT + 1, name=f"e{segment}")
            m.d.sync += e.eq(Mux(present[segment], _fixed(m, special.value), 0))
            # No other step has a use for the adder.
            m.d.comb += [
                adder.a.eq(self.scores[segment]),
                adder.b.eq(self.peaks[vectors[1]]),
                adder.subtract.eq(1),
            ]
            with m.If(now):
                m.d.comb += [
                    special.function.eq(Function.EXP2),
                    special.x.eq(adder.total),
                    converter.integer.eq(e),
                    multiplier.a.eq(converter.element),
                    Value.cast(multiplier.b).eq(scales.word_select(segment, ELEMENT.size)),
                ]
            overflows.append(adder.overflow & subtracted[segment])
            m.d.comb += self.u[segment].eq(multiplier.product)
            all_e.append(e)
            # u is not negative: magnitudes compare like elements.
            magnitudes.append(Value.cast(multiplier.product)[:-1])
        total = tree(m, all_e, lambda a, b: a + b)
        largest = tree(m, magnitudes, larger)
        with m.If(now):
            m.d.comb += self.overflow.eq(Cat(overflows).any())
            with m.If(valids[at_sum]):
                m.d.sync += sums[vectors[at_sum]].eq(sums[vectors[at_sum]] + total)
            with m.If(valids[at_top]):
                top = tops[vectors[at_top]]
                m.d.sync += top.eq(larger(largest, top))
            with m.If(over):
                m.d.sync += [self._step.eq(_Step.FACTORS), done.eq(0)]

    def _factors(self, m: Module, walk: Walk, sums: Array, tops: Array) -> None:
        """Compute for each head the factor of its weights' quantizer, and that of its results.

        A head takes 11 cycles of ``timer``, from 0 on.

        ======  ====================================================================================
        timer   operators
        ======  ====================================================================================
        0       the reciprocal of the largest u, and ``max u · round(1 / 127)``, start
        2       the product is kept as ``scale``
        4       ``127 · reciprocal(max u)`` and the reciprocal of the total start
        6       the product is the factor of the quantizer
        8       ``scale · reciprocal(total)`` starts
        10      the product is the factor of the results
        ======  ====================================================================================

        Parameters
        ----------
        m : module that gets the logic
        walk : its ``vector`` is the number of the head; it ends at 0
        sums, tops : sum of e, and largest u, of each head
        """
        _, special, converter, multiplier = self._operators[0]
        vector = walk.now.vector
        now = self._step == _Step.FACTORS
        scale = Signal(ELEMENT.size)
        # The reciprocal of the largest u, then that of the sum; a product while each is computed.
        one, two = SpecialFunction.LATENCY, ElementMultiplier.LATENCY
        timer = Signal(range(2 * one + two + 1))
        m.d.comb += [
            self.quantizer.eq(multiplier.product),
            self.factor.eq(multiplier.product),
            self.have_quantizer.eq(now & (timer == one + two)),
            self.have_factor.eq(now & (timer == 2 * one + two)),
            self.done.eq(self.have_factor & walk.row_end),
        ]
        with m.If(now):
            m.d.comb += [
                special.function.eq(Function.RECIPROCAL),
                Value.cast(special.x).eq(
                    Mux(timer < one, tops[vector], Value.cast(converter.element))
                ),
                converter.integer.eq(sums[vector]),
            ]
            with m.If(timer < one):
                m.d.comb += Value.cast(multiplier.a).eq(tops[vector])
                m.d.comb += Value.cast(multiplier.b).eq(constant(1 / 127))
            with m.Elif(timer < 2 * one):
                m.d.comb += multiplier.a.eq(special.value)
                m.d.comb += Value.cast(multiplier.b).eq(constant(127.0))
            with m.Else():
                m.d.comb += multiplier.a.eq(special.value)
                m.d.comb += Value.cast(multiplier.b).eq(scale)
            m.d.comb += self.overflow.eq(self.have_quantizer & multiplier.overflow)
            # The total is an integer times 2⁻¹⁶; its sum does not change in this step.
            m.d.sync += timer.eq(timer + ~self.hold)
            with m.If(timer == two):
                m.d.sync += scale.eq(Value.cast(multiplier.product))
            with m.If(self.have_factor):
                m.d.sync += timer.eq(0)
                m.d.sync += vector.eq(Mux(walk.row_end, 0, vector + 1))
            with m.If(self.done):
                m.d.sync += self._step.eq(_Step.EXPONENTIALS)


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

"""Reciprocal, reciprocal root and power of two, by one table and one interpolation."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, enum, memory, wiring
from amaranth.lib.wiring import In, Out

from ...golden.elements import BIAS, SEGMENT_BITS, TABLES
from .element import ELEMENT, FRACTION_BITS, pack_element, significand

__all__ = ["Function", "SpecialFunction"]

#: Order of the tables in each segment of the memory.
_ORDER = ("reciprocal", "exp2", "root_even", "root_odd")


#: One segment of a table.
_SEGMENT = data.StructLayout({"base": 19, "slope": signed(11)})


class Function(enum.Enum, shape=2):
    """Functions of ``SpecialFunction``.

    - ``RECIPROCAL``: 1/x, and 0 for 0
    - ``EXP2``: 2ˣ
    - ``ROOT``: 1/√x, and 0 for 0
    """

    RECIPROCAL = 0
    EXP2 = 1
    ROOT = 2


class SpecialFunction(wiring.Component):
    """Computes 1/x, 2ˣ or 1/√x of an element, from a table of 256 straight segments each.

    The golden functions are ``reciprocal``, ``exp2`` and ``reciprocal_root``. The reciprocal root
    has a table for each parity of the exponent, so that the memory has 1,024 words of 30 bits. The
    interpolation takes one 11 × 7 multiplier. There is no handshake: every cycle starts a function.

    Each function is a power of two times a table's value from ½ to 1. With x = 2ᵉ · (1 + p):

    ===========  ============  =======================  ==========================================
    function     power of two  table                    position in the table
    ===========  ============  =======================  ==========================================
    1/x          2⁻ᵉ           1 / (1 + p)              p, the fraction of x
    1/√x         2^−⌊e/2⌋      1 / √(1 + p), even e     p
    1/√x         2^−⌊e/2⌋      1 / √(2 + 2 · p), odd e  p
    2ˣ           2^(⌊x⌋ + 1)   2^(p − 1)                p = x − ⌊x⌋, x rounded to 15 places
    ===========  ============  =======================  ==========================================

    A position has 15 bits. The upper 8 number the segment, and the lower 7 the place within it.
    The value is ``base + ((slope · place) >> 7)``, with 18 bits below the binary point.

    An argument that arrives in cycle 0 passes these registers:

    =====  =====================================================================================
    cycle  what holds the function
    =====  =====================================================================================
    1      ``segment``, which is the address of the memory; ``place``; the power of two ``scale``
    2      the output of the memory: base and slope
    3      ``product`` of the slope and the place
    4      ``value`` and ``overflow``, rounded
    =====  =====================================================================================

    Latency: ``LATENCY`` = 4 cycles. Throughput: one function per cycle, in any order of functions.

    Example: for 1/x the element 1.70001 has position 22,938, which is segment 179 and place 26. The
    segment's base is 154,273 and its slope −354. The value is 154,273 − 72 = 154,201, which rounds
    to 38,550 / 2¹⁶ = 0.588226. The exact reciprocal is 0.588231.

    Corner cases:

    - The reciprocal and the root of 0 are 0. They ignore the sign of x.
    - A reciprocal below 2⁻¹²⁶, of an x above 2¹²⁶, is 0.
    - An exact power of two has place 0 in segment 0, and its reciprocal is exact.
    - 2ˣ of 0, or of a magnitude of 2⁻¹⁶ or less, is 1.
    - 2ˣ saturates from x = 128 on, and is 0 below x = −126.
    - A reset clears the outputs. Functions on their way are not valid afterwards.

    Members
    -------
    function : In(``Function``); counts in the cycle of its argument
    x : In(element); the sign is ignored except by 2ˣ
    value : Out(element); never negative
    overflow : Out(1); 2ˣ was too large, and ``value`` is the largest element
    """

    #: Cycles from the argument to the value.
    LATENCY = 4

    def __init__(self) -> None:
        super().__init__(
            {"function": In(Function), "x": In(ELEMENT), "value": Out(ELEMENT), "overflow": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = memory.Memory(
            shape=_SEGMENT,
            depth=4 * 256,
            init=[
                {
                    "base": int(TABLES[name].bases[segment]),
                    "slope": int(TABLES[name].slopes[segment]),
                }
                for segment in range(256)
                for name in _ORDER
            ],
        )
        read = table.read_port()
        position, segment, scale, zero, large = self._position(m)
        m.d.comb += read.addr.eq(segment)

        # Second register: the memory's output. The rest waits beside it.
        place = Signal(SEGMENT_BITS, reset_less=True)
        m.d.sync += place.eq(position)
        # Third register: the product of the slope.
        product = Signal(signed(11 + SEGMENT_BITS), reset_less=True)
        base = Signal(19, reset_less=True)
        m.d.sync += [product.eq(read.data.slope * place), base.eq(read.data.base)]
        held = Cat(scale, zero, large)
        for stage in (2, 3):
            register = Signal(len(held), name=f"held{stage}", reset_less=True)
            m.d.sync += register.eq(held)
            held = register
        scale, zero, large = held[: len(scale)].as_signed(), held[-2], held[-1]

        # Fourth register: the value from a half to 1, rounded. Only the first entry of a table that
        # starts with 1 has the top bit. It is exact, and one binary place higher than the others.
        value = Signal(19)
        m.d.comb += value.eq(base + (product >> SEGMENT_BITS))
        one = value[-1]
        exponent = Signal(signed(11))
        m.d.comb += exponent.eq(Mux(large, 255, scale + BIAS + one))
        element, overflow = pack_element(
            exponent=exponent,
            fraction=Mux(one, 0, value[2 : 2 + FRACTION_BITS]),
            round_bit=value[1] & ~one,
            sticky=value[0] & ~one,
            zero=zero,
        )
        m.d.sync += [self.value.eq(element), self.overflow.eq(overflow)]
        return m

    def _position(self, m: Module) -> tuple[Signal, Signal, Signal, Signal, Signal]:
        """First register: place in a segment, segment, power of two, and results without a table.

        An argument of 2ˣ first becomes an integer with 15 bits below the binary point. Arguments of
        256 or more in magnitude do not fit it: they overflow, or give 0 if they are negative.

        Returns
        -------
        Place, segment with the number of its table in the lowest bits, power of two less one,
        whether the result is zero, and whether it is too large
        """
        x = self.x
        power, root = self.function == Function.EXP2, self.function == Function.ROOT
        exponent = Signal(signed(9))
        m.d.comb += exponent.eq(x.exponent - BIAS)
        # The significand moves right by 8 − e places. From 26 places on it is less than a half.
        tiny, huge = x.exponent < BIAS + 8 - 25, x.exponent >= BIAS + 8
        places = (BIAS + 8 - x.exponent)[:5]
        # Zeros below the significand keep all its bits, so that a tie is seen.
        shifted = Signal(18 + 8 + 16)
        m.d.comb += shifted.eq(Cat(Const(0, 18 + 8), significand(x)) >> places)
        whole = Mux(tiny, 0, shifted[18:])
        up = shifted[17] & (shifted[:17].any() | shifted[18]) & ~tiny
        # −n is ~n + 1: a negative integer is rounded up where its magnitude is not.
        fixed = Signal(signed(25))
        m.d.comb += fixed.eq(
            (Cat(whole, 0) ^ x.negative.replicate(25)).as_signed() + (up ^ x.negative)
        )

        place = Signal(SEGMENT_BITS, reset_less=True)
        segment = Signal(10, reset_less=True)
        scale = Signal(signed(10), reset_less=True)
        zero, large = Signal(reset_less=True), Signal(reset_less=True)
        fraction = Mux(power, fixed[:FRACTION_BITS], x.fraction)
        table = Mux(root, Cat(exponent[0], 1), Cat(power, 0))
        m.d.sync += [
            place.eq(fraction),
            segment.eq(Cat(table, fraction[SEGMENT_BITS:])),
            zero.eq(Mux(power, huge & x.negative, x.exponent == 0)),
            large.eq(power & huge & ~x.negative),
        ]
        with m.If(power):
            m.d.sync += scale.eq(fixed >> FRACTION_BITS)
        with m.Elif(root):
            m.d.sync += scale.eq(~(exponent >> 1))
        with m.Else():
            m.d.sync += scale.eq(~exponent)
        return place, segment, scale, zero, large

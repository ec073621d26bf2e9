"""Element of an integer."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_integer
from ...golden.elements import BIAS
from .element import ELEMENT, FRACTION_BITS, pack_element
from .leading import leading_zeros, shift_left

__all__ = ["IntegerConverter"]


class IntegerConverter(wiring.Component):
    """Converts a signed integer times a power of two to an element, and rounds it once.

    The golden function is ``round_element(ldexp(integer, exponent))``. There is no handshake: every
    cycle starts a conversion. An integer that arrives in cycle 0 passes these registers:

    =====  =====================================================================================
    cycle  what holds the number
    =====  =====================================================================================
    1      ``held``, its magnitude; ``held_zeros``, the zeros above the leading one
    2      ``element`` and ``overflow``, normalized and rounded
    =====  =====================================================================================

    Latency: ``LATENCY`` = 2 cycles. Throughput: one conversion per cycle.

    Example: with a width of 18 and exponent 0, the integer 98,305 lies half-way between the
    elements 98,304 and 98,306. It has one leading zero in 18 bits. The result is
    98,304, because its significand 49,152 is even. The stored exponent is 127 + 17 − 1 = 143.

    Corner cases:

    - The smallest integer, ``−2^(width − 1)``, has a magnitude that just fits ``width`` bits.
    - An integer of up to 16 significant bits is exact, unless its exponent is out of range.
    - A number below 2⁻¹²⁶ after rounding becomes the positive zero.
    - An integer of more than 53 bits is also rounded once. NumPy's float64 would round it twice.
    - A reset clears the outputs. Conversions on their way are not valid afterwards.

    Parameters
    ----------
    width : 2 to 64; bits of the integer

    Raises
    ------
    TypeError
        If ``width`` is not an integer.
    ValueError
        If it is not legal.

    Members
    -------
    integer : In(signed(width))
    exponent : In(signed(10)); power of two, −512 to 511
    element : Out(element); zero is positive
    overflow : Out(1); the number was too large, and ``element`` is the largest element of its sign
    """

    #: Cycles from the integer to the element.
    LATENCY = 2

    def __init__(self, *, width: int) -> None:
        self._width = width = check_integer("width", width, 2, 64)
        super().__init__(
            {
                "integer": In(signed(width)),
                "exponent": In(signed(10)),
                "element": Out(ELEMENT),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self._width
        negative = self.integer[-1]
        magnitude = Signal(width)
        m.d.comb += magnitude.eq(Mux(negative, -self.integer, self.integer))
        zeros = leading_zeros(magnitude)
        held = Signal(width, reset_less=True)
        held_zeros = Signal(len(zeros), reset_less=True)
        held_negative = Signal(reset_less=True)
        # Stored exponent of a magnitude whose top bit is set: from −322 to 701 at 64 bits.
        top_exponent = Signal(signed(11), reset_less=True)
        m.d.sync += [
            held.eq(magnitude),
            held_zeros.eq(zeros),
            held_negative.eq(negative),
            top_exponent.eq(self.exponent + (BIAS + width - 1)),
        ]
        # Bits for the fraction, the round bit and a sticky bit lie below the leading one.
        room = max(width, FRACTION_BITS + 3)
        normalized = shift_left(m, Cat(Const(0, room - width), held), held_zeros)
        below = room - 1 - FRACTION_BITS
        stored = Signal(signed(12))
        m.d.comb += stored.eq(top_exponent - held_zeros)
        element, overflow = pack_element(
            negative=held_negative,
            exponent=stored,
            fraction=normalized[below:][:FRACTION_BITS],
            round_bit=normalized[below - 1],
            sticky=normalized[: below - 1].any(),
            zero=~normalized[-1],
        )
        m.d.sync += [self.element.eq(element), self.overflow.eq(overflow)]
        return m

"""Sum of two elements."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.elements import SIGNIFICAND_BITS
from ..engine.dot import add_or_subtract
from .element import ELEMENT, FRACTION_BITS, pack_element, significand
from .leading import leading_zeros, shift_left
from .tree import greater

__all__ = ["ElementAdder"]

#: Bits below a significand that decide how a sum rounds: guard, round and sticky.
_GUARD_BITS = 3


class ElementAdder(wiring.Component):
    """Adds two elements, and rounds the sum once.

    The golden function is ``round_element(a + b)``. The smaller operand is shifted to the larger
    one's exponent. Two bits below the significand and the ``or`` of all lower bits decide the
    rounding. There is no handshake: every cycle starts a sum.

    Operands that arrive in cycle 0 pass these registers:

    =====  =====================================================================================
    cycle  what holds the sum
    =====  =====================================================================================
    1      ``larger`` and ``smaller``, in order of magnitude, and ``distance`` of their exponents
    2      ``total``, the sum or the difference of the magnitudes, not normalized
    3      the outputs ``total`` and ``overflow``, normalized and rounded
    =====  =====================================================================================

    Latency: ``LATENCY`` = 3 cycles. Throughput: one sum per cycle.

    Three bits below the significand suffice. With a distance of 0 to 2 no bit is lost. With a
    distance of 3 or more a difference loses at most its leading bit. Two bits then remain to round
    by: the second guard bit, and the ``or`` of the rest.

    Example: 1 + 2⁻¹⁶ lies half-way between the elements 1 and 1 + 2⁻¹⁵. The operands are 16 places
    apart, and only the first guard bit is set. The sum is the even neighbor, 1. With
    1 + 2⁻¹⁵ in place of 1 the even neighbor is 1 + 2⁻¹⁴. The difference 1 − (1 − 2⁻¹⁶) is exact: it
    has 17 leading zeros in 20 bits, and the stored exponent becomes 127 + 1 − 17 = 111.

    Corner cases:

    - An operand with exponent 0 is zero. The sum is then exactly a, b or −b.
    - Equal operands of opposite sign give the positive zero.
    - A difference below 2⁻¹²⁶ in magnitude gives the positive zero, because there are no
      subnormals.
    - A sum of 2¹²⁸ − 2¹¹¹ or more in magnitude rounds beyond the largest element. It saturates with
      its sign, and ``overflow`` is set.
    - An operand that is 18 or more places below the other one counts as a sticky bit alone.
    - A reset clears the outputs. Sums on their way are not valid afterwards.

    Members
    -------
    a, b : In(element)
    subtract : In(1); compute ``a − b``
    total : Out(element); a sum that is zero is positive
    overflow : Out(1); the sum was too large, and ``total`` is the largest element of its sign; in
        the cycle of ``total``
    """

    #: Cycles from the operands to the sum.
    LATENCY = 3

    def __init__(self) -> None:
        super().__init__(
            {
                "a": In(ELEMENT),
                "b": In(ELEMENT),
                "subtract": In(1),
                "total": Out(ELEMENT),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = SIGNIFICAND_BITS + _GUARD_BITS
        a, b, negative_b = self.a, self.b, self.b.negative ^ self.subtract
        swap = Signal()
        m.d.comb += swap.eq(greater(Cat(b.fraction, b.exponent), Cat(a.fraction, a.exponent)))

        # First register: operands in order, and the distance of their exponents. Both distances are
        # computed beside the comparison, which then chooses one.
        exponent = Signal(8, reset_less=True)
        negative = Signal(reset_less=True)
        opposite = Signal(reset_less=True)
        larger = Signal(SIGNIFICAND_BITS, reset_less=True)
        smaller = Signal(SIGNIFICAND_BITS, reset_less=True)
        distance = Signal(8, reset_less=True)
        m.d.sync += [
            exponent.eq(Mux(swap, b.exponent, a.exponent)),
            negative.eq(Mux(swap, negative_b, a.negative)),
            opposite.eq(a.negative ^ negative_b),
            larger.eq(Mux(swap, significand(b), significand(a))),
            smaller.eq(
                Mux(
                    swap,
                    Mux(a.exponent == 0, 0, significand(a)),
                    Mux(b.exponent == 0, 0, significand(b)),
                )
            ),
            distance.eq(Mux(swap, b.exponent - a.exponent, a.exponent - b.exponent)),
        ]

        # Second register: the sum of the magnitudes, at most 2 times the larger significand. A
        # distance of 31 already leaves nothing but the sticky bit, and stands for all above it.
        far = distance >= 2**5
        shifted = Signal(2**5 + SIGNIFICAND_BITS)
        m.d.comb += shifted.eq(Cat(Const(0, 2**5), smaller) >> Mux(far, 2**5 - 1, distance[:5]))
        kept = shifted[2**5 - _GUARD_BITS + 1 :][: width - 1]
        lost = shifted[: 2**5 - _GUARD_BITS + 1].any()
        aligned = Cat(lost, kept)
        padded = Cat(Const(0, _GUARD_BITS), larger, 0)
        total = Signal(width + 1, reset_less=True)
        total_exponent = Signal(8, reset_less=True)
        total_negative = Signal(reset_less=True)
        m.d.sync += [
            total.eq(add_or_subtract(padded, Cat(aligned, 0), opposite, width + 1)),
            total_exponent.eq(exponent),
            total_negative.eq(negative),
        ]

        # Third register: normalized and rounded. The leading bit of a sum without a carry has the
        # weight of the larger exponent, and one zero above it.
        zeros = leading_zeros(total)
        normalized = shift_left(m, total, zeros)
        below = width - FRACTION_BITS
        stored = Signal(signed(11))
        m.d.comb += stored.eq(total_exponent + 1 - zeros)
        packed, overflow = pack_element(
            negative=total_negative,
            exponent=stored,
            fraction=normalized[below:][:FRACTION_BITS],
            round_bit=normalized[below - 1],
            sticky=normalized[: below - 1].any(),
            zero=(total_exponent == 0) | ~normalized[-1],
        )
        m.d.sync += [self.total.eq(packed), self.overflow.eq(overflow)]
        return m

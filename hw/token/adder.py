"""Sum of two elements."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.elements import SIGNIFICAND_BITS
from .element import ELEMENT, FRACTION_BITS, pack_element, significand
from .leading import leading_zeros

__all__ = ["ElementAdder"]

#: Bits below a significand that decide how a sum rounds: guard, round and sticky.
_GUARD_BITS = 3


class ElementAdder(wiring.Component):
    """Adds two elements, and rounds the sum once.

    The golden function is ``round_element(a + b)``. The smaller operand is shifted to the larger
    one's exponent. Two bits below the significand and the ``or`` of all lower bits decide the
    rounding. There is no handshake: every cycle starts a sum.

    Latency: ``LATENCY`` = 3 cycles: a register behind the comparison, one behind the sum, and one
    behind the rounding. Throughput: one sum per cycle.

    Members
    -------
    a, b : In(element)
    subtract : In(1); compute ``a − b``
    total : Out(element); a sum that is zero is positive
    overflow : Out(1); the sum was too large, and ``total`` is the largest element
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
        swap = Signal()
        m.d.comb += swap.eq(
            Cat(self.b.fraction, self.b.exponent) > Cat(self.a.fraction, self.a.exponent)
        )
        large, small = Signal(ELEMENT), Signal(ELEMENT)
        negative_b = self.b.negative ^ self.subtract
        signed_b = Cat(self.b.fraction, self.b.exponent, negative_b)
        m.d.comb += [large.eq(Mux(swap, signed_b, self.a)), small.eq(Mux(swap, self.a, signed_b))]

        # First register: operands in order, and the distance of their exponents.
        exponent = Signal(8, reset_less=True)
        negative = Signal(reset_less=True)
        opposite = Signal(reset_less=True)
        larger = Signal(SIGNIFICAND_BITS, reset_less=True)
        smaller = Signal(SIGNIFICAND_BITS, reset_less=True)
        distance = Signal(8, reset_less=True)
        m.d.sync += [
            exponent.eq(large.exponent),
            negative.eq(large.negative),
            opposite.eq(large.negative ^ small.negative),
            larger.eq(significand(large)),
            smaller.eq(Mux(small.exponent == 0, 0, significand(small))),
            distance.eq(large.exponent - small.exponent),
        ]

        # Second register: the sum of the magnitudes, below 4 times the larger significand.
        far = distance >= 2**5
        shifted = Signal(2**5 + SIGNIFICAND_BITS)
        m.d.comb += shifted.eq(Cat(Const(0, 2**5), smaller) >> Mux(far, 2**5 - 1, distance[:5]))
        kept = shifted[2**5 - _GUARD_BITS + 1 :][: width - 1]
        lost = shifted[: 2**5 - _GUARD_BITS + 1].any()
        aligned = Cat(lost, kept)
        padded = Cat(Const(0, _GUARD_BITS), larger)
        total = Signal(width + 1, reset_less=True)
        total_exponent = Signal(8, reset_less=True)
        total_negative = Signal(reset_less=True)
        m.d.sync += [
            total.eq(Mux(opposite, padded - aligned, padded + aligned)),
            total_exponent.eq(exponent),
            total_negative.eq(negative),
        ]

        # Third register: normalized and rounded.
        zeros = leading_zeros(m, total)
        normalized = Signal(width + 1)
        m.d.comb += normalized.eq(total << zeros)
        below = width - FRACTION_BITS
        stored = Signal(signed(11))
        m.d.comb += stored.eq(total_exponent + 1 - zeros)
        magnitude, overflow = pack_element(
            exponent=stored,
            fraction=normalized[below:][:FRACTION_BITS],
            round_bit=normalized[below - 1],
            sticky=normalized[: below - 1].any(),
            zero=(total_exponent == 0) | ~normalized[-1],
        )
        m.d.sync += [
            self.total.eq(Cat(magnitude, total_negative & magnitude.any())),
            self.overflow.eq(overflow),
        ]
        return m

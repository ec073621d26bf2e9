"""Product of two elements."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.elements import BIAS, SIGNIFICAND_BITS
from .element import ELEMENT, FRACTION_BITS, pack_element, significand

__all__ = ["ElementMultiplier"]


class ElementMultiplier(wiring.Component):
    """Multiplies two elements, and rounds the product once.

    The golden function is ``round_element(a * b)``. The product of the significands takes one
    16 × 16 multiplier. There is no handshake: every cycle starts a product. Factors that arrive in
    cycle 0 pass these registers:

    =====  =====================================================================================
    cycle  what holds the product
    =====  =====================================================================================
    1      ``exact``, the 32-bit product of the significands, and the sum of the exponents
    2      ``product`` and ``overflow``, normalized and rounded
    =====  =====================================================================================

    Latency: ``LATENCY`` = 2 cycles. Throughput: one product per cycle.

    Example: (1 + 2⁻¹⁵)² is 1 + 2⁻¹⁴ + 2⁻³⁰, and rounds to 1 + 2⁻¹⁴. The product 1.5 · 1.5 = 2.25 is
    above 2: the top bit of ``exact`` is set, and the stored exponent is 127 + 1.

    Corner cases:

    - A factor with exponent 0 is zero, and its product is the positive zero.
    - A product below 2⁻¹²⁶ after rounding becomes the positive zero.
    - A factor of 1 hands the other one on unchanged.
    - A reset clears the outputs. Products on their way are not valid afterwards.

    Members
    -------
    a, b : In(element)
    product : Out(element); a product that is zero is positive
    overflow : Out(1); the product was too large, and ``product`` is the largest element of its
        sign
    """

    #: Cycles from the factors to the product.
    LATENCY = 2

    def __init__(self) -> None:
        super().__init__(
            {"a": In(ELEMENT), "b": In(ELEMENT), "product": Out(ELEMENT), "overflow": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        exact = Signal(2 * SIGNIFICAND_BITS, reset_less=True)
        exponent = Signal(signed(11), reset_less=True)
        negative = Signal(reset_less=True)
        zero = Signal(reset_less=True)
        m.d.sync += [
            exact.eq(significand(self.a) * significand(self.b)),
            exponent.eq(self.a.exponent + self.b.exponent - BIAS),
            negative.eq(self.a.negative ^ self.b.negative),
            zero.eq((self.a.exponent == 0) | (self.b.exponent == 0)),
        ]
        # The product of two numbers from 1 to 2 is from 1 to 4: from 2 on its top bit is set.
        top = exact[-1]
        aligned = Mux(top, exact, Cat(0, exact[:-1]))
        low = SIGNIFICAND_BITS - 1
        product, overflow = pack_element(
            negative=negative,
            exponent=(exponent + top).as_signed(),
            fraction=aligned[low + 1 :][:FRACTION_BITS],
            round_bit=aligned[low],
            sticky=aligned[:low].any(),
            zero=zero,
        )
        m.d.sync += [self.product.eq(product), self.overflow.eq(overflow)]
        return m

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
    16 × 16 multiplier. There is no handshake: every cycle starts a product.

    Latency: ``LATENCY`` = 2 cycles: a register behind the multiplier, and one behind the rounding.
    Throughput: one product per cycle.

    Members
    -------
    a, b : In(element)
    product : Out(element); a product that is zero is positive
    overflow : Out(1); the product was too large, and ``product`` is the largest element
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
        # The product of two numbers from 1 to 2 is from 1 to 4: above 2 its top bit is set.
        top = exact[-1]
        aligned = Mux(top, exact, Cat(0, exact[:-1]))
        low = SIGNIFICAND_BITS - 1
        magnitude, overflow = pack_element(
            exponent=(exponent + top).as_signed(),
            fraction=aligned[low + 1 :][:FRACTION_BITS],
            round_bit=aligned[low],
            sticky=aligned[:low].any(),
            zero=zero,
        )
        m.d.sync += [
            self.product.eq(Cat(magnitude, negative & magnitude.any())),
            self.overflow.eq(overflow),
        ]
        return m

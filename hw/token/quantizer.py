"""Quantization of an element to an integer of eight bits."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.elements import BIAS, SIGNIFICAND_BITS
from .element import ELEMENT, significand

__all__ = ["ElementQuantizer"]

#: Bits of the exact product of two significands below the binary point.
_POINT = 2 * (SIGNIFICAND_BITS - 1)


class ElementQuantizer(wiring.Component):
    """Multiplies an element with a factor, and rounds the product to an integer, half to even.

    The golden function is ``rint(a * b)``, as in ``quantize_elements``, whose integers are from
    −127 to 127. The product is exact, so that it is rounded once. There is no handshake: every
    cycle starts a product. Factors that arrive in cycle 0 pass these registers:

    =====  =====================================================================================
    cycle  what holds the product
    =====  =====================================================================================
    1      ``exact``, the 32-bit product of the significands, and ``exponent``
    2      ``integer``
    =====  =====================================================================================

    Latency: ``LATENCY`` = 2 cycles. Throughput: one integer per cycle.

    Example: the elements 1, −0.25, 0.5 and 0 have the largest magnitude 1, and the factor is 127.
    Their products 127, −31.75, 63.5 and 0 give the integers 127, −32, 64 and 0.

    Corner cases:

    - A factor with exponent 0 is zero, and so is the integer. There is no negative zero.
    - A product of 0.5 in magnitude is a tie, and becomes 0.
    - A product above 127.49 in magnitude is not saturated: the integer is then undefined.
    - A reset clears ``integer``. Products on their way are not valid afterwards.

    Members
    -------
    a, b : In(element); their product is at most 127.49 in magnitude
    integer : Out(signed(8)); −127 to 127
    """

    #: Cycles from the factors to the integer.
    LATENCY = 2

    def __init__(self) -> None:
        super().__init__({"a": In(ELEMENT), "b": In(ELEMENT), "integer": Out(signed(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        exact = Signal(2 * SIGNIFICAND_BITS, reset_less=True)
        # The integer is the product shifted right by _POINT − exponent.
        exponent = Signal(signed(11), reset_less=True)
        negative = Signal(reset_less=True)
        zero = Signal(reset_less=True)
        m.d.sync += [
            exact.eq(significand(self.a) * significand(self.b)),
            exponent.eq(self.a.exponent + self.b.exponent - 2 * BIAS),
            negative.eq(self.a.negative ^ self.b.negative),
            zero.eq((self.a.exponent == 0) | (self.b.exponent == 0)),
        ]
        # Exponents from −2 to 6 matter: below them the product is less than a half. Zeros below the
        # product keep all its bits, so that a tie is seen.
        places = Signal(4)
        m.d.comb += places.eq(6 - exponent)
        shifted = Signal(len(exact) + 9)
        m.d.comb += shifted.eq(Cat(Const(0, 9), exact) >> places)
        point = _POINT - 6 + 9
        whole = shifted[point:]
        round_bit = shifted[point - 1]
        sticky = shifted[: point - 1].any()
        magnitude = Signal(8)
        m.d.comb += magnitude.eq(whole + (round_bit & (sticky | whole[0])))
        m.d.sync += self.integer.eq(
            Mux(zero | (exponent < -2), 0, Mux(negative, -magnitude, magnitude))
        )
        return m

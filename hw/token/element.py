"""The element of the token core's vectors as a layout, and what its operators share."""

from amaranth.hdl import Cat, Const, Mux, Value, ValueLike
from amaranth.lib import data

from ...golden.elements import SIGNIFICAND_BITS, element_bits, round_element

__all__ = ["ELEMENT", "FRACTION_BITS", "constant", "pack_element", "significand"]

#: Stored bits of a significand.
FRACTION_BITS = SIGNIFICAND_BITS - 1

#: A 24-bit float, as ``trilith.golden.elements`` defines it. Its bits are those of
#: ``element_bits``. Exponent 0 means zero, whatever the fraction and the sign say.
ELEMENT = data.StructLayout({"fraction": FRACTION_BITS, "exponent": 8, "negative": 1})


def significand(element: data.View) -> Value:
    """Significand of an element that is not zero: 16 bits, the leading one included.

    An element with exponent 0 also gets a leading one. The user must check its exponent.
    """
    return Cat(element.fraction, Const(1, 1))


def constant(value: float) -> Const:
    """Element nearest to a number, as a constant of 24 bits.

    Example: 1.0 is 0x3F8000, and −2.5 is 0xC02000.
    """
    return Const(int(element_bits(round_element(value))), ELEMENT.size)


def pack_element(
    *,
    negative: ValueLike = 0,
    exponent: Value,
    fraction: Value,
    round_bit: Value,
    sticky: Value,
    zero: Value,
) -> tuple[Value, Value]:
    """Round a normalized number half to even, and clear or saturate what does not fit.

    Exponent and fraction are one number, to which the rounding adds 0 or 1. A carry out of the
    fraction therefore raises the exponent, and leaves the fraction 0. The exponent is judged as it
    is after the rounding: a magnitude just below 2⁻¹²⁶ may still round up to it. The judgment does
    not wait for the sum, because the carry is known from the fraction.

    Parameters
    ----------
    negative : sign of the number; by default it is positive
    exponent : signed stored exponent before rounding, at least 9 bits
    fraction : ``FRACTION_BITS`` bits below the leading one
    round_bit : the bit below ``fraction``
    sticky : whether a lower bit is set
    zero : whether the magnitude is zero

    Returns
    -------
    The element, whose zero is positive, and whether the magnitude was too large
    """
    # Half to even: up above the half, and at the half if the fraction is odd.
    up = round_bit & (sticky | fraction[0])
    carry = up & fraction.all()
    stored, above = exponent[:8], exponent[8:-1].any()
    below_one = exponent[-1] | (~above & (stored == 0) & ~carry)
    too_large = ~exponent[-1] & (above | (stored == 255) | ((stored == 254) & carry))
    clear = zero | below_one
    rounded = (Cat(fraction, stored) + up)[: FRACTION_BITS + 8]
    largest = Const((254 << FRACTION_BITS) | (2**FRACTION_BITS - 1), FRACTION_BITS + 8)
    element = Mux(clear, 0, Cat(Mux(too_large, largest, rounded), negative))
    return element, too_large & ~zero

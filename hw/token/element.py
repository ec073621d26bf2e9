"""The element of the token core's vectors as a layout, and what its operators share."""

from amaranth.hdl import Cat, Const, Mux, Value
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
    *, exponent: Value, fraction: Value, round_bit: Value, sticky: Value, zero: Value
) -> tuple[Value, Value]:
    """Round a normalized magnitude half to even, and clear or saturate what does not fit.

    Exponent and fraction are one number, to which the rounding adds 0 or 1. A carry out of the
    fraction therefore raises the exponent, and leaves the fraction 0. The exponent is judged after
    the rounding: a magnitude just below 2⁻¹²⁶ may still round up to it.

    Parameters
    ----------
    exponent : signed stored exponent before rounding, at least 9 bits
    fraction : ``FRACTION_BITS`` bits below the leading one
    round_bit : the bit below ``fraction``
    sticky : whether a lower bit is set
    zero : whether the magnitude is zero

    Returns
    -------
    Fraction and exponent of the element (23 bits), and whether the magnitude was too large
    """
    # Half to even: up above the half, and at the half if the fraction is odd.
    joined = Cat(fraction, exponent).as_signed() + (round_bit & (sticky | fraction[0]))
    rounded = joined[FRACTION_BITS:].as_signed()
    overflow = (rounded >= 255) & ~zero
    largest = Const((254 << FRACTION_BITS) | (2**FRACTION_BITS - 1), FRACTION_BITS + 8)
    clear = zero | (rounded <= 0)
    magnitude = Mux(clear, 0, Mux(overflow, largest, joined[: FRACTION_BITS + 8]))
    return magnitude, overflow

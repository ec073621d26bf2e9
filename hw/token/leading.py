"""Leading zeros: their count, and the shift that removes them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

__all__ = ["leading_zeros", "shift_left"]


def leading_zeros(value: Value) -> Value:
    """Count the zeros above the highest one of a value, by halving.

    The logic is combinational. Both halves count at the same time, so that it has about
    ``log2(width)`` levels. Example: 00010110 has 3 leading zeros, 011 in binary. Its upper half
    0001 is not empty, which gives 0. The upper half 00 of that is empty, which gives 1. The upper
    half 0 of the rest 01 is empty too, which gives 1.

    Parameters
    ----------
    value : unsigned, of any width

    Returns
    -------
    As many bits as the largest count takes, and at least one. For the value 0 it is all ones, which
    is not the width: after a shift by the count, the top bit tells whether the value was 0.
    """
    # Zeros below the value fill it to a power of two, and leave the count as it is.
    width = 1 << max(1, (len(value) - 1).bit_length())
    return _zeros(Cat(Const(0, width - len(value)), value))


def _zeros(value: Value) -> Value:
    """Count of a value whose width is a power of two, and at least two."""
    half = len(value) // 2
    empty = ~value[half:].any()
    if half == 1:
        return empty
    return Cat(Mux(empty, _zeros(value[:half]), _zeros(value[half:])), empty)


def shift_left(m: Module, value: Value, places: Value) -> Value:
    """Shift a value left within its width, by the highest bit of ``places`` first.

    The operator ``<<`` begins with the lowest bit. That of a count of leading zeros comes last.

    Parameters
    ----------
    m : module that gets the logic
    value : unsigned
    places : unsigned

    Returns
    -------
    The shifted value, as wide as before; bits above its top are lost
    """
    for level in reversed(range(len(places))):
        shifted = Signal(len(value), name=f"shifted{level}")
        moved = Cat(Const(0, 2**level), value)[: len(value)]
        m.d.comb += shifted.eq(Mux(places[level], moved, value))
        value = shifted
    return value

"""Count of leading zeros."""

from amaranth.hdl import Cat, Const, Module, Signal, Value

__all__ = ["leading_zeros"]


def leading_zeros(m: Module, value: Value) -> Signal:
    """Count the zeros above the highest one of a value, by halving.

    The logic is combinational, with ``ceil(log2(width))`` levels. Example: 00010110 has 3 leading
    zeros, 011 in binary. Its upper half 0001 is not empty, which gives 0. The upper half 00 of that
    is empty, which gives 1. The upper half 0 of the rest 01 is empty too, which gives 1.

    Parameters
    ----------
    m : module that gets the logic
    value : unsigned, of any width

    Returns
    -------
    A signal wide enough for the largest count. For the value 0 it is all ones, which is not the
    width: after a shift by the count, the top bit tells whether the value was 0.
    """
    width = max(1, (len(value) - 1).bit_length())
    # Zeros below the value fill it to a power of two, and leave the count as it is.
    rest = Cat(Const(0, 2**width - len(value)), value)
    bits = []
    for level in reversed(range(width)):
        half = 2**level
        upper, lower = rest[half:], rest[:half]
        empty = ~upper.any()
        narrowed = Signal(half, name=f"half{half}")
        with m.If(empty):
            m.d.comb += narrowed.eq(lower)
        with m.Else():
            m.d.comb += narrowed.eq(upper)
        bits.append(empty)
        rest = narrowed
    zeros = Signal(width, name="zeros")
    m.d.comb += zeros.eq(Cat(reversed(bits)))
    return zeros

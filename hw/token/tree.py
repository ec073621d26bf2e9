"""Pipelined trees over the lanes."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Module, Mux, Shape, Signal, Value

__all__ = ["greater", "larger", "tree", "tree_latency"]


def greater(a: Value, b: Value) -> Value:
    """Whether ``a > b``, for unsigned values.

    It is the sign of ``b − a``. On an FPGA this is the end of one carry chain, while a comparison
    may become a tree of look-up tables.
    """
    return (b - a)[-1]


def larger(a: Value, b: Value) -> Value:
    """Larger one of two unsigned values; magnitudes of elements compare like their bits."""
    return Mux(greater(a, b), a, b)


def tree_latency(count: int) -> int:
    """Cycles of a tree over ``count`` values, 1 or more: ``ceil(log2(count))``."""
    return (count - 1).bit_length()


def tree(m: Module, values: Sequence[Value], join: Callable[[Value, Value], Value]) -> Value:
    """Join values in pairs, with a register behind each level.

    Throughput: one joined value per cycle. A register is as wide as its join needs: sums grow by a
    bit at each level. The registers have no reset. Example: 5 values become 3, 2 and 1 in 3 cycles.

    Parameters
    ----------
    m : module that gets the logic
    values : one or more; a single one is returned as it is
    join : joins two values; any pairing must give the same result

    Returns
    -------
    The joined value, ``tree_latency(len(values))`` cycles later
    """
    while len(values) > 1:
        level = []
        # The last one of an odd number waits a cycle for the next level.
        for a, b in zip(values[::2], [*values[1::2], None], strict=False):
            joined = a if b is None else join(a, b)
            register = Signal(Shape.cast(joined.shape()), reset_less=True)
            m.d.sync += register.eq(joined)
            level.append(register)
        values = level
    return values[0]

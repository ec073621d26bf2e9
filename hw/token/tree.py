"""Pipelined trees over the lanes."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Module, Mux, Shape, Signal, Value

__all__ = ["larger", "tree", "tree_latency"]


def larger(a: Value, b: Value) -> Value:
    """The larger of two values."""
    return Mux(a > b, a, b)


def tree_latency(count: int) -> int:
    """Cycles of a tree over ``count`` values: a register for each level."""
    return (count - 1).bit_length()


def tree(m: Module, values: Sequence[Value], join: Callable[[Value, Value], Value]) -> Value:
    """Join values in pairs, with a register behind each level.

    Parameters
    ----------
    m : module that gets the logic
    values : one or more
    join : joins two values

    Returns
    -------
    The joined value, ``tree_latency(len(values))`` cycles later
    """
    while len(values) > 1:
        level = []
        for a, b in zip(values[::2], [*values[1::2], None], strict=False):
            joined = a if b is None else join(a, b)
            register = Signal(Shape.cast(joined.shape()), reset_less=True)
            m.d.sync += register.eq(joined)
            level.append(register)
        values = level
    return values[0]

"""Registers that let a value wait for slower ones."""

from amaranth.hdl import Module, Signal, Value, ValueLike

__all__ = ["delay"]


def delay(m: Module, value: ValueLike, cycles: int) -> Value:
    """Delay a value.

    Parameters
    ----------
    m : module that gets the registers; a reset clears them
    value : any value
    cycles : registers in a row, 0 or more

    Returns
    -------
    The value so many cycles later, without its sign.
    """
    value = Value.cast(value)
    for _ in range(cycles):
        register = Signal(len(value))
        m.d.sync += register.eq(value)
        value = register
    return value

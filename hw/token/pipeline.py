"""Registers that let a value wait for slower ones."""

from amaranth.hdl import Module, Signal, Value, ValueLike

__all__ = ["delay"]


def delay(m: Module, value: ValueLike, cycles: int, *, reset_less: bool = False) -> Value:
    """Delay a value by registers in a row.

    The registers step in every cycle of the module. In a module under ``EnableInserter`` they stop
    together with its operators, so that flags stay beside their data.

    Parameters
    ----------
    m : module that gets the registers
    value : any value
    cycles : registers in a row, 0 or more
    reset_less : a reset leaves the registers as they are. Data need none, if a flag beside them
        tells whether they count. Flags need it.

    Returns
    -------
    The value so many cycles later, without its sign. With 0 cycles it is the value itself.
    """
    delayed = Value.cast(value)
    for _ in range(cycles):
        register = Signal(len(delayed), reset_less=reset_less)
        m.d.sync += register.eq(delayed)
        delayed = register
    return delayed

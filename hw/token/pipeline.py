"""Registers that let a value wait for slower ones."""

from amaranth.hdl import Module, Signal, Value, ValueLike

__all__ = ["delay"]


def delay(m: Module, value: ValueLike, cycles: int) -> Value:
    """Delay a value by registers in a row.

    The registers step in every cycle of the module. In a module under ``EnableInserter`` they stop
    together with its operators, so that flags stay beside their data.

    Parameters
    ----------
    m : module that gets the registers; a reset clears them
    value : any value
    cycles : registers in a row, 0 or more

    Returns
    -------
    The value so many cycles later, without its sign. With 0 cycles it is the value itself.
    """
    delayed = Value.cast(value)
    # Valid flags pass here, and must be 0 after a reset. Data share their registers.
    for _ in range(cycles):
        register = Signal(len(delayed))
        m.d.sync += register.eq(delayed)
        delayed = register
    return delayed

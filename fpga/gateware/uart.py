"""Bytes on a serial line: 8 data bits, no parity, one stop bit (8N1)."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_integer

__all__ = ["UartReceiver", "UartTransmitter"]


class UartReceiver(wiring.Component):
    """Receives bytes; each bit is sampled once, in its middle.

    The line passes two registers, because it is asynchronous. A falling edge begins a byte. Half a
    bit later the start bit must still be low, or the edge was noise. From there on the line is
    sampled once per bit: eight data bits, the lowest first, and the stop bit. A byte whose stop bit
    is low is dropped.

    The middle of the stop bit lies 9.5 bits behind the edge, and the sample must lie within that
    bit. A difference of 4 % between the rates moves it by 0.38 bits, which is less than half a bit.

    Latency: a byte comes at most 4 cycles after the middle of its stop bit. Throughput: that of the
    line, whose rate may be up to 4 % off.

    Parameters
    ----------
    divisor : cycles per bit, 4 or more

    Members
    -------
    rx : In(1); the line, asynchronous, high when idle
    data : Out(8); a byte, valid with ``strobe``
    strobe : Out(1); for one cycle: a byte has come

    Raises
    ------
    TypeError
        If the divisor is not an integer.
    ValueError
        If the divisor is less than 4.
    """

    def __init__(self, *, divisor: int) -> None:
        self._divisor = check_integer("divisor", divisor, 4)
        super().__init__({"rx": In(1, init=1), "data": Out(8), "strobe": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        busy = Signal()
        count = Signal(range(self._divisor))
        bit = Signal(range(10))
        m.d.sync += self.strobe.eq(0)
        # The middle of the start bit lies half a bit behind its falling edge.
        with m.If(~busy):
            m.d.sync += [busy.eq(~line), count.eq(self._divisor // 2 - 1), bit.eq(0)]
        with m.Elif(count != 0):
            m.d.sync += count.eq(count - 1)
        with m.Else():
            m.d.sync += [count.eq(self._divisor - 1), bit.eq(bit + 1)]
            with m.If(bit == 0):
                m.d.sync += busy.eq(~line)
            with m.Elif(bit == 9):
                m.d.sync += [busy.eq(0), self.strobe.eq(line)]
            with m.Else():
                m.d.sync += self.data.eq(Cat(self.data[1:], line))
        return m


class UartTransmitter(wiring.Component):
    """Sends bytes.

    A byte leaves as ten bits: a low start bit, eight data bits, the lowest first, and a high stop
    bit. They stand in a shift register, whose lowest bit is the line.

    Latency: the start bit of a byte begins in the cycle after the byte was taken. Throughput: a
    byte in ``10 · divisor`` cycles.

    Parameters
    ----------
    divisor : cycles per bit, 4 or more

    Members
    -------
    data : In(stream of bytes)
    tx : Out(1); the line, high when idle
    busy : Out(1); a byte is being sent

    Raises
    ------
    TypeError
        If the divisor is not an integer.
    ValueError
        If the divisor is less than 4.
    """

    def __init__(self, *, divisor: int) -> None:
        self._divisor = check_integer("divisor", divisor, 4)
        super().__init__(
            {"data": In(stream.Signature(8)), "tx": Out(1, init=1), "busy": Out(1)},
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shift = Signal(10, init=1)
        count = Signal(range(self._divisor))
        left = Signal(range(11))
        # A byte is taken in the last cycle of the stop bit before it, so that none is lost between.
        m.d.comb += [
            self.tx.eq(shift[0]),
            self.busy.eq(left != 0),
            self.data.ready.eq((count == 0) & (left <= 1)),
        ]
        with m.If(self.data.valid & self.data.ready):
            m.d.sync += [
                shift.eq(Cat(Const(0, 1), self.data.p, Const(1, 1))),
                left.eq(10),
                count.eq(self._divisor - 1),
            ]
        with m.Elif(count != 0):
            m.d.sync += count.eq(count - 1)
        with m.Elif(left != 0):
            m.d.sync += [
                shift.eq(Cat(shift[1:], Const(1, 1))),
                left.eq(left - 1),
                count.eq(self._divisor - 1),
            ]
        return m

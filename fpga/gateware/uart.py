"""Serial bytes, 8N1."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter"]


def _check(divisor: int) -> int:
    if not isinstance(divisor, int) or divisor < 4:
        raise ValueError(f"divisor must be an integer of 4 or more, not {divisor!r}")
    return divisor


class UartReceiver(wiring.Component):
    """Receives bytes, each bit sampled once, in its middle.

    A byte whose stop bit is low is dropped. Latency: a byte is out 4 clocks after the middle of its
    stop bit at most. Throughput: the line's, with a clock rate up to 4 % off.

    Parameters
    ----------
    divisor : clocks per bit, 4 or more

    Members
    -------
    rx : In(1); the line, asynchronous
    data, strobe : Out; a byte, for one clock

    Raises
    ------
    ValueError
        If the divisor is not legal.
    """

    def __init__(self, *, divisor: int) -> None:
        self._divisor = _check(divisor)
        super().__init__({"rx": In(1, init=1), "data": Out(8), "strobe": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        busy = Signal()
        count = Signal(range(self._divisor))
        bit = Signal(range(10))
        m.d.sync += self.strobe.eq(0)
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
    """Sends bytes. Throughput: a byte in ``10 · divisor`` clocks.

    Parameters
    ----------
    divisor : clocks per bit, 4 or more

    Members
    -------
    data : In(stream of bytes)
    tx : Out(1); the line
    busy : Out(1)

    Raises
    ------
    ValueError
        If the divisor is not legal.
    """

    def __init__(self, *, divisor: int) -> None:
        self._divisor = _check(divisor)
        super().__init__(
            {"data": In(stream.Signature(8)), "tx": Out(1, init=1), "busy": Out(1)},
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shift = Signal(10, init=1)
        count = Signal(range(self._divisor))
        left = Signal(range(11))
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

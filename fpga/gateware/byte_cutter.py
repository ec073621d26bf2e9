"""Values as bytes."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_integer

__all__ = ["ByteCutter"]


class ByteCutter(wiring.Component):
    """Cuts values into bytes, the lowest first.

    A value is shifted out of a register by eight bits at a time. The next one is taken when the
    register is empty, because the link is slower by far.

    Latency: the first byte is offered in the cycle after the value was taken. Throughput: a value
    of n bytes in n + 1 cycles if every byte is taken at once.

    Parameters
    ----------
    size : 1 or more; bytes of the largest value

    Raises
    ------
    TypeError
        If ``size`` is not an integer.
    ValueError
        If it is not legal.

    Members
    -------
    values : In(stream of ``value`` and ``bytes``); the bytes of the value that count, from 1 on
    bytes : Out(stream of bytes)
    busy : Out(1); bytes of a value are still to come
    """

    def __init__(self, size: int) -> None:
        self._size = size = check_integer("size", size, 1)
        shape = data.StructLayout({"value": 8 * size, "bytes": range(size + 1)})
        super().__init__(
            {
                "values": In(stream.Signature(shape)),
                "bytes": Out(stream.Signature(8)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = Signal(8 * self._size, reset_less=True)
        left = Signal(range(self._size + 1))
        m.d.comb += [
            self.busy.eq(left != 0),
            self.values.ready.eq(left == 0),
            self.bytes.p.eq(value[:8]),
            self.bytes.valid.eq(left != 0),
        ]
        with m.If(self.values.valid & self.values.ready):
            m.d.sync += [value.eq(self.values.p.value), left.eq(self.values.p.bytes)]
        with m.Elif(self.bytes.valid & self.bytes.ready):
            m.d.sync += [value.eq(value >> 8), left.eq(left - 1)]
        return m

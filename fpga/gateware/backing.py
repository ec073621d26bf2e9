"""The port of the memory behind the arbiter, and a block RAM with this port."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_integer

__all__ = ["BlockMemory", "backing_port"]


def backing_port(width: int, address_bits: int) -> wiring.Signature:
    """Signature of the port of a memory, from the side of its user. LiteDRAM's ports are like it.

    The address counts backing words of ``width`` bits. The memory executes its commands in order.

    Parameters
    ----------
    width : bits of a backing word, a multiple of 8
    address_bits : bits of an address

    Members
    -------
    commands : Out(stream of ``address`` and ``write``)
    write_data : Out(stream of ``data`` and ``strobes``); a word for each write, valid from the
        cycle of its command on; a strobe for each byte, the lowest byte's lowest
    read_data : In(``data`` and ``valid``); a word for each read, in order, without a ready
    """
    command = data.StructLayout({"address": address_bits, "write": 1})
    written = data.StructLayout({"data": width, "strobes": width // 8})
    return wiring.Signature(
        {
            "commands": Out(stream.Signature(command)),
            "write_data": Out(stream.Signature(written)),
            "read_data": In(wiring.Signature({"data": Out(width), "valid": Out(1)})),
        }
    )


class BlockMemory(wiring.Component):
    """Block RAM behind a backing port.

    Latency: 2 cycles from a read to its word. Throughput: one command per cycle.

    Parameters
    ----------
    width : 8 or more, a multiple of 8; bits of a word
    address_bits : 1 to 24; the memory has 2 ** ``address_bits`` words

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is not legal.

    Members
    -------
    port : In(``backing_port``); the commands' ready is always high
    """

    def __init__(self, *, width: int, address_bits: int) -> None:
        self._width = check_integer("width", width, 8)
        if width % 8:
            raise ValueError(f"width must be a multiple of 8, not {width}")
        self._depth = 1 << check_integer("address_bits", address_bits, 1, 24)
        super().__init__({"port": In(backing_port(width, address_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port = self.port
        m.submodules.words = words = memory.Memory(
            shape=self._width, depth=self._depth, init=[], attrs={"ram_style": "block"}
        )
        write, read = words.write_port(granularity=8), words.read_port()
        writes, reads = Signal(), Signal()
        m.d.comb += [
            port.commands.ready.eq(1),
            writes.eq(port.commands.valid & port.commands.p.write),
            port.write_data.ready.eq(writes),
            write.addr.eq(port.commands.p.address),
            write.data.eq(port.write_data.p.data),
            write.en.eq(port.write_data.p.strobes & writes.replicate(self._width // 8)),
            read.addr.eq(port.commands.p.address),
            read.en.eq(port.commands.valid & ~port.commands.p.write),
        ]
        # Block RAMs are slow: the word leaves through a register.
        m.d.sync += [
            reads.eq(read.en),
            port.read_data.valid.eq(reads),
            port.read_data.data.eq(read.data),
        ]
        return m

"""Keys and values on their way to the cache."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..gearbox import Gearbox
from .config import TokenConfig, check_core_config
from .element import ELEMENT
from .memory_port import memory_write
from .padder import byte_piece

__all__ = ["CacheWriter", "cache_command"]


def cache_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``CacheWriter``.

    Fields
    ------
    row : byte address of the first head's row, a multiple of the bytes of a memory word
    scale : byte address of its scale, a multiple of 4; the scale of a value is behind its key's
    step : bytes from one head to the next, for rows and for scales; a multiple of a memory word
    heads : heads to write, 1 or more
    """
    address = config.address_bits
    heads = range(config.kv_heads_max + 1)
    return data.StructLayout({"row": address, "scale": address, "step": address, "heads": heads})


class CacheWriter(wiring.Component):
    """Writes the rows of heads to memory, and after each row the scale of its head.

    Bytes are packed into memory words by a gearbox, which needs no command: the bytes may come
    before it. A word is written as a whole. A scale is a float32 among those of other positions:
    its write sets only its 4 strobes.

    A row of one word, whose last bytes are accepted in cycle 0, is written like this:

    =====  =====================================================================================
    cycle  event
    =====  =====================================================================================
    1      ``writes`` offers the word, if a command is held
    2      ``writes`` offers the scale, if it has come; the gearbox may fill with the next row
    3      ``busy`` is low after the last head, and the next command is accepted
    =====  =====================================================================================

    Latency: 1 cycle from the last bytes of a word to its write, 2 to that of the scale. Throughput:
    L bytes per cycle, if ``writes`` has no pause and the scales do not come late. A memory word of
    W bits then takes W / (8 · L) cycles, which is 4 or more. The scale's write falls between two
    words, and costs no cycle.

    Example: words of 64 bytes, keys of 64 elements, 2 heads and position 5. The row is at base
    8,192 + 5 · 64 = 8,512, and the scale at 4,096 + 8 · 5 = 4,136. The writes are the word at
    8,512, then the word at 4,096 with strobes 40 to 43, then both again ``step`` bytes on.

    Corner cases:

    - A row of several words has ascending addresses. Its scale follows the last word.
    - The scale is in every lane of its word, and the strobes choose one. With words of 32 bits
      there is one lane alone.
    - A scale that comes early waits, and so does a word whose command has not come.
    - Rows must end with a whole word, as ``RowPadder`` makes them.
    - A reset drops the command and all bytes in the gearbox.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    commands : In(stream of ``cache_command``); ready unless ``busy``
    bytes : In(stream of ``byte_piece``); rows of ``TokenConfig.cache_row_bytes`` or a multiple
    scales : In(stream of an element); of each head; ready only after the row's last word, and
        depends on the ready of ``writes``
    writes : Out(stream of ``memory_write``); for scales, valid depends on that of ``scales``
    busy : Out(1); a command is not finished; high from the cycle after its acceptance
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "commands": In(stream.Signature(cache_command(config))),
                "bytes": In(stream.Signature(byte_piece(config))),
                "scales": In(stream.Signature(ELEMENT)),
                "writes": Out(stream.Signature(memory_write(config))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        word_bytes = config.memory_width // 8
        m.submodules.gearbox = gearbox = Gearbox(in_bytes=config.vector_lanes, out_bytes=word_bytes)
        command = Signal(cache_command(config), reset_less=True)
        # Address of the row's next word, and whether the scale is next.
        address, scaling = Signal(config.address_bits), Signal()
        # Elements are the upper 24 bits of float32 words in memory.
        float32 = Cat(Const(0, 8), self.scales.p)
        offset_bits = (word_bytes - 1).bit_length()
        # Number of the scale within its word; nothing at words of 32 bits.
        lane = command.scale[2:offset_bits]
        start = Signal()
        m.d.comb += [
            gearbox.i.p.data.eq(self.bytes.p.values),
            gearbox.i.p.count.eq(config.vector_lanes // gearbox.unit_bytes),
            gearbox.i.p.last.eq(self.bytes.p.last),
            gearbox.i.valid.eq(self.bytes.valid),
            self.bytes.ready.eq(gearbox.i.ready),
            self.commands.ready.eq(~self.busy),
            start.eq(self.commands.valid & self.commands.ready),
        ]
        # The row's words and the scale exclude each other, so that they share the port.
        with m.If(scaling):
            m.d.comb += [
                self.writes.valid.eq(self.scales.valid),
                self.scales.ready.eq(self.writes.ready),
                self.writes.p.address.eq(Cat(Const(0, offset_bits), command.scale[offset_bits:])),
                self.writes.p.data.eq(float32.replicate(word_bytes // 4)),
                self.writes.p.strobes.eq(0b1111 << Cat(Const(0, 2), lane)),
            ]
        with m.Else():
            m.d.comb += [
                self.writes.valid.eq(self.busy & gearbox.o.valid),
                gearbox.o.ready.eq(self.busy & self.writes.ready),
                self.writes.p.address.eq(address),
                self.writes.p.data.eq(gearbox.o.p.data),
                self.writes.p.strobes.eq((1 << word_bytes) - 1),
            ]
        written = self.writes.valid & self.writes.ready
        with m.If(start):
            m.d.sync += [command.eq(self.commands.p), address.eq(self.commands.p.row)]
            m.d.sync += self.busy.eq(1)
        with m.Elif(written & scaling):
            m.d.sync += [
                scaling.eq(0),
                command.row.eq(command.row + command.step),
                address.eq(command.row + command.step),
                command.scale.eq(command.scale + command.step),
                command.heads.eq(command.heads - 1),
                self.busy.eq(command.heads != 1),
            ]
        with m.Elif(written):
            m.d.sync += [address.eq(address + word_bytes), scaling.eq(gearbox.o.p.last)]
        return m

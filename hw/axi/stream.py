"""AXI4-Stream words to beats and back."""

from math import gcd

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BUS_BITS", "AxiStreamReader", "AxiStreamWriter", "Gearbox", "axi_stream"]

#: Legal data widths.
BUS_BITS = (32, 64, 128, 256, 512, 1024)


def axi_stream(bits: int) -> wiring.Signature:
    """AXI4-Stream as its source sees it: TDATA of ``bits``, TKEEP, TLAST, TVALID and TREADY."""
    return wiring.Signature(
        {
            "tdata": Out(bits),
            "tkeep": Out(bits // 8),
            "tlast": Out(1),
            "tvalid": Out(1),
            "tready": In(1),
        }
    )


class Gearbox(wiring.Component):
    """Cuts a stream of bytes anew: pieces of ``in_bytes`` to pieces of ``out_bytes``.

    Bytes move in units of ``unit_bytes``, the greatest common divisor. A piece in has ``count``
    units, the lowest ones; all pieces out are full but the one that ends a packet. A packet ends
    with ``last``, and the next begins a piece out. A piece without units does nothing but end.

    Latency: a piece out is offered in the clock after its last byte came. Throughput: a piece in
    per clock if ``in_bytes <= out_bytes``, else a piece out per clock, as long as the other side
    keeps up.

    Parameters
    ----------
    in_bytes, out_bytes : 1 or more

    Members
    -------
    i : In(stream of ``data``, ``count`` and ``last``)
    o : Out(stream of the same)
    clear : In(1); drop everything but the piece that is offered
    empty : Out(1); nothing is held
    """

    def __init__(self, *, in_bytes: int, out_bytes: int) -> None:
        self._unit = gcd(in_bytes, out_bytes)
        self._in = in_bytes // self._unit
        self._out = out_bytes // self._unit
        super().__init__(
            {
                "i": In(stream.Signature(self._shape(self._in))),
                "o": Out(stream.Signature(self._shape(self._out))),
                "clear": In(1),
                "empty": Out(1),
            }
        )

    @property
    def unit_bytes(self) -> int:
        """Bytes that always stay together."""
        return self._unit

    def _shape(self, units: int) -> data.StructLayout:
        return data.StructLayout(
            {
                "data": data.ArrayLayout(8 * self._unit, units),
                "count": range(units + 1),
                "last": 1,
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A piece in always finds room where less than a piece out is held.
        places = self._in + self._out - 1
        held = [Signal(8 * self._unit, name=f"held{i}", reset_less=True) for i in range(places)]
        level = Signal(range(places + 1))
        ended = Signal()  # What is held is the end of a packet.
        full = Signal()
        pop = Signal()
        push = Signal()
        after = Signal.like(level)
        m.d.comb += [
            full.eq(level >= self._out),
            self.o.valid.eq(full | (ended & (level != 0))),
            self.o.p.data.eq(Cat(held[: self._out])),
            self.o.p.count.eq(Mux(full, self._out, level)),
            self.o.p.last.eq(ended & (level <= self._out)),
            pop.eq(self.o.valid & self.o.ready),
            after.eq(Mux(pop, Mux(full, (level - self._out)[: len(level)], 0), level)),
            self.i.ready.eq(Mux(ended, after == 0, after < self._out) & ~self.clear),
            push.eq(self.i.valid & self.i.ready),
            self.empty.eq(level == 0),
        ]
        with m.If(pop):
            for place in range(places - self._out):
                m.d.sync += held[place].eq(held[place + self._out])
        with m.If(push):
            with m.Switch(after):
                for first in range(self._out):
                    with m.Case(first) if first < self._out - 1 else m.Default():
                        m.d.sync += Cat(held[first : first + self._in]).eq(self.i.p.data)
        m.d.sync += level.eq(after + Mux(push, self.i.p.count, 0))
        with m.If(push):
            m.d.sync += ended.eq(self.i.p.last)
        with m.If(self.clear):
            # Of a full piece that waits, the rest is dropped; a packet's last piece stays its last.
            m.d.sync += level.eq(Mux(pop | ~self.o.valid, 0, self.o.p.count))
            with m.If(~self.o.p.last):
                m.d.sync += ended.eq(0)
        return m


def _length(thermometer: Value) -> Value:
    """How many of the lowest bits are set; 2ⁿ bits, of which the set ones are the lowest."""
    if len(thermometer) == 1:
        return thermometer
    half = len(thermometer) // 2
    low, high = thermometer[:half], thermometer[half:]
    # The lower half is full: the higher counts. All bits set is one more than the bits can say.
    rest = _length(Mux(low[-1], high, low))
    return rest + Mux(low[-1], half, 0)


class AxiStreamReader(wiring.Component):
    """Beats from an AXI4-Stream, packed byte after byte, the lowest first.

    A packet, ended by TLAST, holds whole beats; TLAST is not needed. Only the word with TLAST may
    be partial: its TKEEP has the lowest bytes. A word without any byte does nothing but what its
    TLAST says. Another TKEEP raises ``keep``, and the word counts as full. Where a packet ends
    inside a beat, the beat's bytes are dropped and ``frame`` is raised.

    With w bus bytes and B beat bytes, n beats back to back take ceil(n·B / w) words. Latency: a
    beat is offered in the clock after its last byte. Throughput: a word per clock if w <= B, so a
    beat every B / w clocks on average; else a beat per clock.

    Parameters
    ----------
    bus_bits : one of ``BUS_BITS``
    beat_bytes : of a beat

    Members
    -------
    axis : In(``axi_stream``); not ready in the first clock after a reset
    beats : Out(stream of ``8 · beat_bytes`` bits)
    frame, keep : Out(1); errors, one clock each
    """

    def __init__(self, *, bus_bits: int, beat_bytes: int) -> None:
        self._bus_bytes = bus_bits // 8
        self._beat_bytes = beat_bytes
        super().__init__(
            {
                "axis": In(axi_stream(bus_bits)),
                "beats": Out(stream.Signature(8 * beat_bytes)),
                "frame": Out(1),
                "keep": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.gearbox = gearbox = Gearbox(
            in_bytes=self._bus_bytes, out_bytes=self._beat_bytes
        )
        unit = gearbox.unit_bytes
        keep, last = self.axis.tkeep, self.axis.tlast
        first_bytes, last_bytes = keep[::unit], keep[unit - 1 :: unit]
        awake = Signal()
        legal = Signal()
        taken = Signal()
        torn = Signal()  # A unit is not whole, so the packet ends inside a beat.
        partial = Signal()
        m.d.sync += awake.eq(1)
        m.d.comb += [
            # The bytes that are kept are the lowest, and all or none unless the packet ends.
            legal.eq(~(keep[1:] & ~keep[:-1]).any() & (last | (keep[0] == keep[-1]))),
            torn.eq(legal & (first_bytes & ~last_bytes).any()),
            gearbox.i.p.data.eq(self.axis.tdata),
            gearbox.i.p.count.eq(Mux(legal, _length(last_bytes), len(last_bytes))),
            gearbox.i.p.last.eq(last),
            gearbox.i.valid.eq(self.axis.tvalid & awake),
            self.axis.tready.eq(gearbox.i.ready & awake),
            taken.eq(gearbox.i.valid & gearbox.i.ready),
            partial.eq(gearbox.o.p.count != len(gearbox.o.p.data)),
            self.beats.p.eq(gearbox.o.p.data),
            self.beats.valid.eq(gearbox.o.valid & ~partial),
            gearbox.o.ready.eq(self.beats.ready | partial),
            self.keep.eq(taken & ~legal),
            self.frame.eq((taken & torn) | (gearbox.o.valid & partial)),
        ]
        return m


class AxiStreamWriter(wiring.Component):
    """Puts beats on an AXI4-Stream, packed byte after byte, the lowest first.

    ``last`` ends a packet: its last word has TLAST, and TKEEP for the bytes that are there. With w
    bus bytes and B beat bytes, a packet of n beats takes ceil(n·B / w) words. Latency: a word is
    offered in the clock after its last byte. Throughput: a beat per clock if B <= w; else a word
    per clock, so a beat every B / w clocks on average.

    Parameters
    ----------
    beat_bytes : of a beat
    bus_bits : one of ``BUS_BITS``

    Members
    -------
    beats : In(stream of ``data`` and ``last``)
    axis : Out(``axi_stream``)
    clear : In(1); drop everything but the word that is offered, which AXI forbids to withdraw
    empty : Out(1); nothing is held
    """

    def __init__(self, *, beat_bytes: int, bus_bits: int) -> None:
        self._beat_bytes = beat_bytes
        self._bus_bytes = bus_bits // 8
        beat = data.StructLayout({"data": 8 * beat_bytes, "last": 1})
        super().__init__(
            {
                "beats": In(stream.Signature(beat)),
                "axis": Out(axi_stream(bus_bits)),
                "clear": In(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.gearbox = gearbox = Gearbox(
            in_bytes=self._beat_bytes, out_bytes=self._bus_bytes
        )
        units = len(gearbox.o.p.data)
        m.d.comb += [
            gearbox.clear.eq(self.clear),
            self.empty.eq(gearbox.empty),
            gearbox.i.p.data.eq(self.beats.p.data),
            gearbox.i.p.count.eq(len(gearbox.i.p.data)),
            gearbox.i.p.last.eq(self.beats.p.last),
            gearbox.i.valid.eq(self.beats.valid),
            self.beats.ready.eq(gearbox.i.ready),
            self.axis.tdata.eq(gearbox.o.p.data),
            self.axis.tkeep.eq(
                Cat(
                    (gearbox.o.p.count > place).replicate(gearbox.unit_bytes)
                    for place in range(units)
                )
            ),
            self.axis.tlast.eq(gearbox.o.p.last),
            self.axis.tvalid.eq(gearbox.o.valid),
            gearbox.o.ready.eq(self.axis.tready),
        ]
        return m

"""Conversion of AXI4-Stream words to beats, and back."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice, check_integer
from ..gearbox import Gearbox

__all__ = ["BUS_BITS", "AxiStreamReader", "AxiStreamWriter", "axi_stream"]

#: Legal widths of TDATA, in bits.
BUS_BITS = (32, 64, 128, 256, 512, 1024)


def axi_stream(bits: int) -> wiring.Signature:
    """Signature of AXI4-Stream from the transmitter's side.

    The names are those of AMBA AXI4-Stream (ARM IHI 0051), in lower case.

    Parameters
    ----------
    bits : width of TDATA, a multiple of 8; TKEEP has one bit for each byte
    """
    return wiring.Signature(
        {
            "tdata": Out(bits),
            "tkeep": Out(bits // 8),
            "tlast": Out(1),
            "tvalid": Out(1),
            "tready": In(1),
        }
    )


def _length(thermometer: Value) -> Value:
    """Number of set bits in a thermometer code of 2ⁿ bits: all set bits are the lowest ones."""
    if len(thermometer) == 1:
        return thermometer
    half = len(thermometer) // 2
    low, high = thermometer[:half], thermometer[half:]
    # If the lower half is full, the upper half decides. The sum has one bit more than n, because
    # all 2ⁿ bits may be set.
    rest = _length(Mux(low[-1], high, low))
    return rest + Mux(low[-1], half, 0)


class AxiStreamReader(wiring.Component):
    """Reads beats from an AXI4-Stream, which carries them byte after byte, the lowest first.

    A packet ends with TLAST and holds whole beats; TLAST is optional. Only the word with TLAST may
    be partial: its TKEEP marks the lowest bytes. A word without bytes only ends its packet. Any
    other TKEEP raises ``keep``, and the word counts as full. If a packet ends inside a beat, the
    bytes of this beat are dropped and ``frame`` is raised.

    With w bytes in a bus word and B bytes in a beat, n beats back to back take ceil(n · B / w)
    words. Latency: 1 cycle from the last byte of a beat to its offer. Throughput: one beat every
    max(1, B / w) cycles on average. Example: on a bus of 64 bits, two beats of 20 bytes take 5
    words.

    Parameters
    ----------
    bus_bits : one of ``BUS_BITS``; width of TDATA
    beat_bytes : 1 or more; bytes of a beat

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If ``bus_bits`` is not one of ``BUS_BITS``, or ``beat_bytes`` is less than 1.

    Members
    -------
    axis : In(``axi_stream``); not ready from the second cycle of a reset to the first one after it;
        otherwise TREADY depends on the ready of ``beats`` in the same cycle
    beats : Out(stream of ``8 · beat_bytes`` bits); depends on registers alone
    frame : Out(1); error, high in the cycle of a word that ends inside a unit of the ``Gearbox``,
        and in the cycle in which whole units of an incomplete beat are dropped
    keep : Out(1); error, high in the cycle in which the word is accepted
    """

    def __init__(self, *, bus_bits: int, beat_bytes: int) -> None:
        bus_bits = check_choice("bus_bits", bus_bits, BUS_BITS)
        self._bus_bytes = bus_bits // 8
        self._beat_bytes = beat_bytes = check_integer("beat_bytes", beat_bytes, 1)
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
        # A reset clears this flag, so that no word is accepted in the first cycle after it.
        awake = Signal()
        legal = Signal()
        taken = Signal()
        torn = Signal()  # A unit is incomplete: the packet ends inside a beat.
        partial = Signal()
        m.d.sync += awake.eq(1)
        m.d.comb += [
            # The marked bytes must be the lowest ones, and all or none unless the packet ends.
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
    """Writes beats to an AXI4-Stream, byte after byte, the lowest first.

    ``last`` ends a packet: its last word has TLAST, and TKEEP marks the bytes of the packet. With w
    bytes in a bus word and B bytes in a beat, a packet of n beats takes ceil(n · B / w) words.

    Latency: 1 cycle from the last byte of a word to its offer. Throughput: one beat every
    max(1, B / w) cycles on average. Example: on a bus of 64 bits, a packet of one beat of 20 bytes
    takes 3 words, and TKEEP of the last one is 0x0F.

    Parameters
    ----------
    beat_bytes : 1 or more; bytes of a beat
    bus_bits : one of ``BUS_BITS``; width of TDATA

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If ``bus_bits`` is not one of ``BUS_BITS``, or ``beat_bytes`` is less than 1.

    Members
    -------
    beats : In(stream of ``data`` and ``last``); ready depends on ``clear`` and TREADY in the same
        cycle
    axis : Out(``axi_stream``); depends on registers alone; TLAST and TKEEP have no meaning without
        TVALID
    clear : In(1); drop everything except for an offered word, which AXI forbids to withdraw
    empty : Out(1); the writer holds no byte
    """

    def __init__(self, *, beat_bytes: int, bus_bits: int) -> None:
        self._beat_bytes = beat_bytes = check_integer("beat_bytes", beat_bytes, 1)
        bus_bits = check_choice("bus_bits", bus_bits, BUS_BITS)
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

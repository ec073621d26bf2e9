"""AXI4 master that reads weight beats."""

from functools import reduce
from math import gcd
from operator import add

from amaranth.hdl import Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice, check_integer
from ..gearbox import Gearbox
from ..token.sequencer import fetch_shape
from .full import ADDRESS_BITS, BURST_WORDS, BurstCutter, axi_read, burst_signals, largest_burst
from .stream import BUS_BITS

__all__ = ["AxiWeightReader", "WordTrimmer"]

#: Requests that wait in front of the master.
_QUEUED_REQUESTS = 4

#: Requests whose words are under way, if a word can have beats of two of them.
_REQUESTS_UNDER_WAY = 8


def _times(value: Value, factor: int) -> Value:
    """A number times a constant, as a sum of shifts: exports have no sign of a multiplication."""
    return reduce(add, (value << at for at in range(factor.bit_length()) if factor >> at & 1))


class WordTrimmer(wiring.Component):
    """Cuts from bus words the units that no request asked for.

    A request begins at unit ``skip`` of its first word, and has ``units`` units. The words of one
    request follow those of another. The wanted units of a word leave in its lowest places.

    Latency: 0 cycles. Throughput: one word per cycle. Example: words of 4 units, and a request of 7
    units with ``skip`` 3. Its three words leave with 1, 4 and 2 units.

    - A word waits for its request, and is taken in the cycle in which its units are.
    - Units above ``count`` are undefined.

    Parameters
    ----------
    unit_bytes : 1 or more; bytes of a unit
    word_units : 2 or more; units of a word
    count_bits : 1 or more; bits of ``units``

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is too small.

    Members
    -------
    requests : In(stream of ``skip`` and ``units``); ready depends on the other streams
    words : In(stream of a word); ready depends on the other streams
    pieces : Out(stream of ``data`` and ``count``); depends on ``requests`` and ``words``
    """

    def __init__(self, *, unit_bytes: int, word_units: int, count_bits: int) -> None:
        self._unit_bytes = check_integer("unit_bytes", unit_bytes, 1)
        self._word_units = check_integer("word_units", word_units, 2)
        count_bits = check_integer("count_bits", count_bits, 1)
        request = data.StructLayout({"skip": range(word_units), "units": count_bits})
        bits = 8 * unit_bytes * word_units
        piece = data.StructLayout({"data": bits, "count": range(word_units + 1)})
        super().__init__(
            {
                "requests": In(stream.Signature(request)),
                "words": In(stream.Signature(bits)),
                "pieces": Out(stream.Signature(piece)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        requests, words, pieces, units = self.requests, self.words, self.pieces, self._word_units
        left, begun = Signal.like(requests.p.units), Signal()
        skip, wanted = Signal(range(units)), Signal.like(left)
        there, ends, taken = Signal(range(units + 1)), Signal(), Signal()
        m.d.comb += [
            skip.eq(Mux(begun, 0, requests.p.skip)),
            wanted.eq(Mux(begun, left, requests.p.units)),
            there.eq(units - skip),
            ends.eq(wanted <= there),
            pieces.p.count.eq(Mux(ends, wanted, there)),
            pieces.valid.eq(words.valid & (begun | requests.valid)),
            taken.eq(pieces.valid & pieces.ready),
            words.ready.eq(taken),
            requests.ready.eq(taken & ~begun),
        ]
        with m.Switch(skip):
            for place in range(1, units):
                with m.Case(place):
                    m.d.comb += pieces.p.data.eq(words.p[8 * self._unit_bytes * place :])
            with m.Default():
                m.d.comb += pieces.p.data.eq(words.p)
        with m.If(taken):
            m.d.sync += [left.eq(wanted - there), begun.eq(~ends)]
        return m


class AxiWeightReader(wiring.Component):
    """Reads weight beats over AXI4: requests for beats become bursts, and words become beats again.

    Beat n lies at byte n · ``beat_bytes`` behind ``base``, the lowest byte first. A bus word may be
    wider or narrower than a beat, and may have parts of two beats. A burst is asked for only when
    the buffer has room for all its words, so that RREADY is always high.

    A request of an idle master passes these stages:

    =====  =======================================================================================
    cycle  stage
    =====  =======================================================================================
    0      the request is accepted
    1      its first byte and its count of bytes are computed
    4      ARVALID is high for the first burst
    R      the first word is accepted
    R + 3  the first beat is offered, if a word has a whole beat; with a word of 1 / n beat, at
           R + 2 + n
    =====  =======================================================================================

    Latency: 4 cycles from the request to ARVALID, 3 from the last word of a beat to the beat.
    Throughput: one word per cycle, if the first word of a burst comes at most
    ``buffer_words − burst`` cycles after its address. A latency of memory within this bound costs
    nothing. Words that two requests share are read twice.

    Example: beats of 320 bits and a bus of 128 bits. A request for 3 beats from beat 5 on reads the
    bytes 200 to 319: the 8 words from byte 192 on. Its first 8 bytes are dropped.

    - Order: all bursts have the same ID, so that words come in the order of their addresses.
    - Errors: a word with SLVERR or DECERR counts like any other, and raises ``error``.
    - No beats: a request of 0 beats is dropped.
    - ``clear``: words that come are dropped, and so is everything that is not offered at the bus.
      It must stay until ``idle`` is high.

    Parameters
    ----------
    beat_bytes : 1 or more; bytes of a weight beat
    bus_bits : one of ``BUS_BITS``; width of RDATA
    longest : one of ``BURST_WORDS``; words of the longest burst
    buffer_words : at least the words of the largest burst; words that are kept or under way

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is not legal.

    Members
    -------
    base : In(64); address of beat 0, a multiple of 4,096; its lowest 12 bits are ignored
    fetch : In(stream of ``fetch_shape``); depends on registers alone
    beats : Out(stream of a beat); depends on registers alone
    axi : Out(``axi_read``); depends on registers alone
    clear : In(1); drop everything
    idle : Out(1); no burst is asked for or under way
    error : Out(1); high in the cycle in which a word with an error is accepted
    """

    def __init__(
        self, *, beat_bytes: int, bus_bits: int, longest: int = 64, buffer_words: int = 512
    ) -> None:
        self._beat_bytes = check_integer("beat_bytes", beat_bytes, 1)
        bus_bits = check_choice("bus_bits", bus_bits, BUS_BITS)
        self._word_bytes = bus_bits // 8
        self._longest = check_choice("longest", longest, BURST_WORDS)
        largest = largest_burst(self._word_bytes, longest)
        self._buffer_words = check_integer("buffer_words", buffer_words, largest)
        super().__init__(
            {
                "base": In(ADDRESS_BITS),
                "fetch": In(stream.Signature(fetch_shape())),
                "beats": Out(stream.Signature(8 * beat_bytes)),
                "axi": Out(axi_read(bus_bits)),
                "clear": In(1),
                "idle": Out(1),
                "error": Out(1),
            }
        )

    @property
    def _offset_bits(self) -> int:
        """Bits of the offset of a byte."""
        return 32 + self._beat_bytes.bit_length()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi, depth = self.axi, self._buffer_words
        m.submodules.cutter = cutter = BurstCutter(
            word_bytes=self._word_bytes,
            longest=self._longest,
            offset_bits=self._offset_bits,
            count_bits=self._offset_bits + 1,
        )
        buffer = fifo.SyncFIFOBuffered(width=8 * self._word_bytes, depth=depth)
        m.submodules.buffer = ResetInserter(self.clear)(buffer)
        self._connect_requests(m, cutter)
        # Words under way, and places that neither hold a word nor wait for one.
        asked, room = Signal(range(depth + 1)), Signal(range(depth + 1), init=depth)
        bursts, words = cutter.bursts, Signal(9)
        granted, arrives = Signal(), Signal()
        m.d.comb += [
            cutter.base.eq(self.base),
            cutter.clear.eq(self.clear),
            words.eq(bursts.p.length + 1),
            *(
                getattr(axi, name).eq(value)
                for name, value in burst_signals("ar", self._word_bytes).items()
            ),
            axi.araddr.eq(bursts.p.address),
            axi.arlen.eq(bursts.p.length),
            # Room only grows while a burst waits, so that ARVALID stays.
            axi.arvalid.eq(bursts.valid & (room >= words)),
            granted.eq(axi.arvalid & axi.arready),
            bursts.ready.eq(granted),
            axi.rready.eq(1),
            arrives.eq(axi.rvalid & axi.rready),
            self.error.eq(arrives & axi.rresp[1]),
            buffer.w_data.eq(axi.rdata),
            buffer.w_en.eq(arrives),
            self.idle.eq(~cutter.busy & (asked == 0)),
        ]
        taken = buffer.r_rdy & buffer.r_en
        m.d.sync += [
            asked.eq(asked + Mux(granted, words, 0) - arrives),
            room.eq(room - Mux(granted, words, 0) + taken),
        ]
        with m.If(self.clear):
            # All words that come are dropped. A burst that waits for room may leave.
            m.d.sync += room.eq(depth)
        self._connect_words(m, buffer)
        return m

    def _connect_requests(self, m: Module, cutter: BurstCutter) -> None:
        """Turn requests for beats into requests for words, and note where their beats begin."""
        size, word_bits = self._beat_bytes, self._word_bytes.bit_length() - 1
        unit = gcd(size, self._word_bytes)
        queue = fifo.SyncFIFO(width=fetch_shape().size, depth=_QUEUED_REQUESTS)
        m.submodules.queue = ResetInserter(self.clear)(queue)
        fetch = data.View(fetch_shape(), queue.r_data)
        # The bytes of a request: the first one, and their count.
        first, count = Signal(self._offset_bits), Signal(self._offset_bits)
        known, accepted = Signal(), Signal()
        skip = first[:word_bits]
        self._trimmer = trimmer = None
        if unit != self._word_bytes:
            trimmer = WordTrimmer(
                unit_bytes=unit,
                word_units=self._word_bytes // unit,
                count_bits=self._offset_bits - unit.bit_length() + 1,
            )
            m.submodules.trimmer = ResetInserter(self.clear)(trimmer)
            self._trimmer = trimmer
            shape = trimmer.requests.p.shape()
            cuts = fifo.SyncFIFO(width=shape.size, depth=_REQUESTS_UNDER_WAY)
            m.submodules.cuts = ResetInserter(self.clear)(cuts)
            noted = data.View(shape, cuts.w_data)
            m.d.comb += [
                noted.skip.eq(skip >> (unit.bit_length() - 1)),
                noted.units.eq(count >> (unit.bit_length() - 1)),
                cuts.w_en.eq(accepted),
                trimmer.requests.p.eq(cuts.r_data),
                trimmer.requests.valid.eq(cuts.r_rdy),
                cuts.r_en.eq(trimmer.requests.ready),
            ]
            free = cuts.w_rdy
        else:
            free = Const(1)
        m.d.comb += [
            queue.w_data.eq(self.fetch.p),
            queue.w_en.eq(self.fetch.valid),
            self.fetch.ready.eq(queue.w_rdy),
            queue.r_en.eq(~known | accepted),
            cutter.requests.p.offset.eq(first & ~(self._word_bytes - 1)),
            cutter.requests.p.words.eq((skip + count + (self._word_bytes - 1)) >> word_bits),
            cutter.requests.valid.eq(known & free),
            accepted.eq(cutter.requests.valid & cutter.requests.ready),
        ]
        with m.If(queue.r_en):
            m.d.sync += [
                first.eq(_times(fetch.first, size)),
                count.eq(_times(fetch.beats, size)),
                known.eq(queue.r_rdy & (fetch.beats != 0)),
            ]
        with m.If(self.clear):
            m.d.sync += known.eq(0)

    def _connect_words(self, m: Module, buffer: fifo.SyncFIFOBuffered) -> None:
        """Turn words into beats."""
        gearbox = Gearbox(in_bytes=self._word_bytes, out_bytes=self._beat_bytes)
        m.submodules.gearbox = ResetInserter(self.clear)(gearbox)
        trimmer = self._trimmer
        m.d.comb += [
            self.beats.p.eq(gearbox.o.p.data),
            self.beats.valid.eq(gearbox.o.valid),
            gearbox.o.ready.eq(self.beats.ready),
        ]
        if trimmer is None:
            m.d.comb += [
                gearbox.i.p.data.eq(buffer.r_data),
                gearbox.i.p.count.eq(self._word_bytes // gearbox.unit_bytes),
                gearbox.i.valid.eq(buffer.r_rdy),
                buffer.r_en.eq(gearbox.i.ready),
            ]
        else:
            m.d.comb += [
                trimmer.words.p.eq(buffer.r_data),
                trimmer.words.valid.eq(buffer.r_rdy),
                buffer.r_en.eq(trimmer.words.ready),
                gearbox.i.p.data.eq(trimmer.pieces.p.data),
                gearbox.i.p.count.eq(trimmer.pieces.p.count),
                gearbox.i.valid.eq(trimmer.pieces.valid),
                trimmer.pieces.ready.eq(gearbox.i.ready),
            ]

"""AXI4 master behind the memory port of the token core."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice
from ..token.config import TokenConfig, check_core_config
from ..token.memory_port import memory_request, memory_response
from .full import (
    ADDRESS_BITS,
    BURST_WORDS,
    BurstCutter,
    axi_read,
    axi_write,
    burst_signals,
    largest_burst,
)

__all__ = ["AxiMemoryMaster"]

#: Most words that are asked for and have not come. The core asks for no more than it can keep.
_READS = 1024

#: Most bursts that write and are not answered; most of them whose data has not left.
_WRITES, _WRITES_WITHOUT_DATA = 15, 4


class AxiMemoryMaster(wiring.Component):
    """Carries the requests of ``MemoryPort`` over AXI4, and its words in both directions.

    A request of an idle master passes these stages:

    =====  =======================================================================================
    cycle  stage
    =====  =======================================================================================
    0      the request is accepted
    2      ARVALID is high for the first burst of a read
    3      AWVALID is high for the first burst of a write
    4      WVALID is high for its first word, if the word was offered in cycle 3
    =====  =======================================================================================

    Words that are read pass in the cycle in which they come.

    Latency: 2 cycles from a read to ARVALID, 3 from a write to AWVALID, and 0 for the words that
    are read. Throughput: one word per cycle in each direction; a request takes a cycle, and one for
    each burst.

    Order of reads and writes: requests leave in the order in which they come, and all have the same
    ID. AXI does not order reads behind writes. A read waits until all writes are answered if its
    page of 4 KB lies between the lowest and the highest page of the writes that are not answered.
    It then sees what they wrote. A write may pass an earlier read: the core never writes what it
    has asked for and not got.

    Example: the core writes a key at byte 9,000, and reads a gain from byte 100 and then keys from
    byte 8,192 on. The gain does not wait. The keys wait for the answer to the write.

    - Errors of reads: a word with SLVERR or DECERR gets the error flag. The others of its burst
      count as they are.
    - Errors of writes: ``write_error`` is raised with the answer. If ``failed`` is high from the
      next cycle on, a read of the same page gets the error flag.
    - ``clear``: words that come are dropped, and data that is owed leaves without strobes, because
      AXI can take back neither. It must stay until ``idle`` is high.

    Parameters
    ----------
    config : configuration of the core; a bus word is a word of its memory port
    longest : one of ``BURST_WORDS``; words of the longest burst

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``, or ``longest`` is not an integer.
    ValueError
        If ``longest`` is not legal.

    Members
    -------
    base : In(64); address of byte 0, a multiple of 4,096; its lowest 12 bits are ignored
    requests : In(stream of ``memory_request``); ready depends on registers and ``clear``
    write_data : In(stream of ``data`` and ``strobes``); a word for each word of a write; ready
        depends on WREADY and ``clear``
    read_data : Out(stream of ``memory_response``); depends on the bus and ``failed``
    read : Out(``axi_read``); RREADY is the ready of ``read_data``; the others depend on registers
    write : Out(``axi_write``); depends on registers alone
    failed : In(1); all words get the error flag
    clear : In(1); drop everything
    idle : Out(1); no burst is asked for or under way
    read_error, write_error : Out(1); high in the cycle in which an answer with an error is accepted
    """

    def __init__(self, config: TokenConfig, *, longest: int = 64) -> None:
        self._config = config = check_core_config(config)
        self._longest = check_choice("longest", longest, BURST_WORDS)
        width = config.memory_width
        written = data.StructLayout({"data": width, "strobes": width // 8})
        super().__init__(
            {
                "base": In(ADDRESS_BITS),
                "requests": In(stream.Signature(memory_request(config))),
                "write_data": In(stream.Signature(written)),
                "read_data": Out(stream.Signature(memory_response(config))),
                "read": Out(axi_read(width)),
                "write": Out(axi_write(width)),
                "failed": In(1),
                "clear": In(1),
                "idle": Out(1),
                "read_error": Out(1),
                "write_error": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, requests = self._config, self.requests
        m.submodules.cutter = self._cutter = cutter = BurstCutter(
            word_bytes=config.memory_width // 8,
            longest=self._longest,
            offset_bits=config.address_bits,
            count_bits=len(requests.p.words),
        )
        bursts = cutter.bursts
        self._words = Signal(9)  # Words of the burst.
        m.d.comb += [
            cutter.base.eq(self.base),
            cutter.clear.eq(self.clear),
            cutter.requests.p.offset.eq(requests.p.address),
            cutter.requests.p.words.eq(requests.p.words),
            cutter.requests.p.write.eq(requests.p.write),
            cutter.requests.valid.eq(requests.valid),
            requests.ready.eq(cutter.requests.ready),
            self._words.eq(bursts.p.length + 1),
        ]
        written, hidden, writing = self._write(m)
        granted, reading = self._read(m, hidden)
        m.d.comb += [
            bursts.ready.eq(Mux(bursts.p.write, written, granted)),
            self.idle.eq(~cutter.busy & ~writing & ~reading),
        ]
        return m

    def _read(self, m: Module, hidden: Signal) -> tuple[Signal, Signal]:
        """Read channels.

        Parameters
        ----------
        m : module that gets the logic
        hidden : a read of the burst's page must wait

        Returns
        -------
        The burst is taken; words are under way.
        """
        read, bursts = self.read, self._cutter.bursts
        word_bytes = self._config.memory_width // 8
        asked = Signal(range(_READS + 1))
        granted, arrives = Signal(), Signal()
        most = _READS - largest_burst(word_bytes, self._longest)
        m.d.comb += [
            *(
                getattr(read, name).eq(value)
                for name, value in burst_signals("ar", word_bytes).items()
            ),
            read.araddr.eq(bursts.p.address),
            read.arlen.eq(bursts.p.length),
            # Neither reason to wait can come back before the burst is taken: ARVALID stays.
            read.arvalid.eq(bursts.valid & ~bursts.p.write & ~hidden & (asked <= most)),
            granted.eq(read.arvalid & read.arready),
            read.rready.eq(self.read_data.ready | self.clear),
            arrives.eq(read.rvalid & read.rready),
            self.read_data.p.data.eq(read.rdata),
            self.read_data.p.error.eq(read.rresp[1] | self.failed),
            self.read_data.valid.eq(read.rvalid & ~self.clear),
            self.read_error.eq(arrives & read.rresp[1]),
        ]
        m.d.sync += asked.eq(asked + Mux(granted, self._words, 0) - arrives)
        return granted, asked != 0

    def _write(self, m: Module) -> tuple[Signal, Signal, Signal]:
        """Write channels, and the pages that are written.

        Returns
        -------
        The burst is taken; a read of its page must wait; writes are not answered.
        """
        write, bursts, data_in = self.write, self._cutter.bursts, self.write_data
        m.submodules.lengths = lengths = fifo.SyncFIFO(width=8, depth=_WRITES_WITHOUT_DATA)
        unanswered = Signal(range(_WRITES + 1))
        taken, hidden, answered = Signal(), Signal(), Signal()
        page = bursts.p.page
        lowest, highest = Signal.like(page), Signal.like(page)
        m.d.comb += [
            *(
                getattr(write, name).eq(value)
                for name, value in burst_signals("aw", self._config.memory_width // 8).items()
            ),
            # Address and data leave independently: a memory may wait for both.
            taken.eq(
                bursts.valid
                & bursts.p.write
                & (~write.awvalid | write.awready)
                & lengths.w_rdy
                & (unanswered != _WRITES)
            ),
            lengths.w_data.eq(bursts.p.length),
            lengths.w_en.eq(taken),
            write.bready.eq(1),
            answered.eq(write.bvalid & write.bready),
            self.write_error.eq(answered & write.bresp[1]),
            hidden.eq((unanswered != 0) & (page >= lowest) & (page <= highest)),
        ]
        m.d.sync += unanswered.eq(unanswered + taken - answered)
        with m.If(write.awready):
            m.d.sync += write.awvalid.eq(0)
        with m.If(taken):
            m.d.sync += [
                write.awvalid.eq(1),
                write.awaddr.eq(bursts.p.address),
                write.awlen.eq(bursts.p.length),
            ]
            with m.If((unanswered == 0) | (page < lowest)):
                m.d.sync += lowest.eq(page)
            with m.If((unanswered == 0) | (page > highest)):
                m.d.sync += highest.eq(page)

        # Words of the oldest burst whose data has not left.
        sent, free, moves = Signal(8), Signal(), Signal()
        last = sent == lengths.r_data
        m.d.comb += [
            free.eq(lengths.r_rdy & (~write.wvalid | write.wready)),
            data_in.ready.eq(free & ~self.clear),
            moves.eq(free & (data_in.valid | self.clear)),
            lengths.r_en.eq(moves & last),
        ]
        with m.If(write.wready):
            m.d.sync += write.wvalid.eq(0)
        with m.If(moves):
            m.d.sync += [
                write.wvalid.eq(1),
                write.wdata.eq(data_in.p.data),
                write.wstrb.eq(Mux(self.clear, 0, data_in.p.strobes)),
                write.wlast.eq(last),
                sent.eq(Mux(last, 0, sent + 1)),
            ]
        return taken, hidden, unanswered != 0

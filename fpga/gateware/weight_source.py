"""Source of weight beats: the first ones from block RAM, the others read ahead from memory."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import enum, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice, check_integer, check_kind
from ...hw.token.memory_port import BURST
from ...hw.token.sequencer import fetch_shape
from .memory_arbiter import client_port
from .weight_memory import MemoryShape, WeightMemory

__all__ = ["WeightSource"]

#: Words that are asked for and have not come. They cover the latency of the memory.
_UNDER_WAY = 64

#: Bits of the number of a beat.
_BEAT_BITS = 24


class _State(enum.Enum, shape=3):
    """States of the source; ``WeightSource`` has their cycles."""

    EMPTY = 0
    BEGIN = 1
    COPY = 2
    IDLE = 3
    SPLIT = 4
    GO = 5
    PASS = 6


class _ReadAhead(wiring.Component):
    """Reads a ring of beats from memory into a queue, over and over.

    Latency: 1 cycle from ``restart`` to the first request, and 3 from the last word of a beat to
    the beat. Throughput: one word per cycle.

    Parameters
    ----------
    beat_bytes, word_bits, address_bits, queue : see ``WeightSource``

    Members
    -------
    memory : Out(``client_port``)
    base : In; byte address of beat 0
    low, high : In; with ``turn``: the ring has the beats from ``low`` to before ``high``; none if
        they are equal
    restart : In(1); drop all beats, and go on at ``start``
    turn : In(1); with ``restart``: the ring is new, and ``start`` is ``low``
    start : In; number of the next beat
    beats : Out(stream of a beat)
    position : Out; number of the beat that is next at ``beats``
    """

    def __init__(self, beat_bytes: int, word_bits: int, address_bits: int, queue: int) -> None:
        self._beat_bytes, self._word_bits, self._queue = beat_bytes, word_bits, queue
        super().__init__(
            {
                "memory": Out(client_port(word_bits, address_bits)),
                "base": In(address_bits),
                "low": In(_BEAT_BITS),
                "high": In(_BEAT_BITS),
                "restart": In(1),
                "turn": In(1),
                "start": In(_BEAT_BITS),
                "beats": Out(stream.Signature(8 * beat_bytes)),
                "position": Out(_BEAT_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Ask for bursts while there is room, and gather words to beats.

        ``room`` counts beats of the queue that neither hold a beat nor wait for one.
        """
        m = Module()
        requests, words = self.memory.requests, self.memory.read_data
        beat_words = 8 * self._beat_bytes // self._word_bits
        beat_bits = self._beat_bytes.bit_length() - 1
        burst = BURST // beat_words  # Beats of the longest burst.
        address, low_address = Signal.like(self.base), Signal.like(self.base)
        target = Signal.like(self.base)
        room = Signal(range(self._queue + 1), init=self._queue)
        asked = Signal(range(_UNDER_WAY // beat_words + 1))
        dropped = Signal.like(asked)  # Beats under way that are dropped when they come.
        asks, count = Signal(), Signal(range(burst + 1))
        # The ring, and its beats that are not asked for before it begins anew.
        low, high, size = Signal(_BEAT_BITS), Signal(_BEAT_BITS), Signal(_BEAT_BITS)
        rest, turns = Signal(_BEAT_BITS), Signal()
        m.d.comb += [
            turns.eq(rest <= burst),
            count.eq(Mux(turns, rest, burst)),
            target.eq(self.base + (self.start << beat_bits)),
            asks.eq(
                (rest != 0)
                & ~self.restart
                & (~requests.valid | requests.ready)
                & (room >= burst)
                & (asked <= _UNDER_WAY // beat_words - burst)
            ),
        ]
        with m.If(requests.ready):
            m.d.sync += requests.valid.eq(0)
        with m.If(asks):
            m.d.sync += [
                requests.valid.eq(1),
                requests.p.address.eq(address),
                requests.p.words.eq(count << (beat_words.bit_length() - 1)),
                rest.eq(Mux(turns, size, rest - burst)),
                address.eq(Mux(turns, low_address, address + (burst << beat_bits))),
            ]

        part = Signal(range(beat_words))
        beat, arrives, come = Signal(8 * self._beat_bytes), Signal(), Signal()
        m.submodules.queue = queue = ResetInserter(self.restart)(
            fifo.SyncFIFOBuffered(width=len(beat), depth=self._queue)
        )
        leaves = Signal()
        m.d.comb += [
            words.ready.eq(1),
            arrives.eq(words.valid & (part == beat_words - 1)),
            queue.w_data.eq(beat),
            queue.w_en.eq(come),
            self.beats.p.eq(queue.r_data),
            self.beats.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.beats.ready),
            leaves.eq(self.beats.valid & self.beats.ready),
        ]
        with m.If(words.valid):
            m.d.sync += [
                beat.eq(Cat(beat, words.p.data)[-len(beat) :]),
                part.eq(Mux(arrives, 0, part + 1)),
            ]
        left = Signal.like(asked)
        m.d.comb += left.eq(asked - arrives)
        m.d.sync += [
            come.eq(arrives & (dropped == 0) & ~self.restart),
            asked.eq(left + Mux(asks, count, 0)),
            room.eq(room - Mux(asks, count, 0) + leaves),
            dropped.eq(dropped - (arrives & (dropped != 0))),
        ]
        with m.If(leaves):
            m.d.sync += self.position.eq(Mux(self.position + 1 == high, low, self.position + 1))
        with m.If(self.restart):
            m.d.sync += [
                rest.eq(Mux(self.turn, self.high, high) - self.start),
                address.eq(target),
                self.position.eq(self.start),
                room.eq(self._queue),
                # A request that is offered stays: its words are dropped, too.
                dropped.eq(left),
            ]
            with m.If(self.turn):
                m.d.sync += [
                    low.eq(self.low),
                    high.eq(self.high),
                    size.eq(self.high - self.start),
                    low_address.eq(target),
                ]
        return m


class WeightSource(wiring.Component):
    """Weight beats of a model: its first ones lie in block RAM, the others in external memory.

    Beat n lies in memory at byte ``base`` + n · ``beat_bytes``. ``load`` begins a model: it copies
    the first ``resident`` beats to block RAM. The other beats are a ring: behind the last one comes
    the first one that is not resident. The source reads them ahead into a queue, over the end of a
    fetch. A fetch that does not begin where the queue does drops the queue, and begins to read at
    its own beat. A fetch may have beats of both kinds, the resident ones first.

    =====  =======================================================================================
    cycle  stage of a fetch
    =====  =======================================================================================
    0      it is accepted (``IDLE``)
    1      its resident beats are counted (``SPLIT``)
    2      the block RAM begins to read, or the queue begins anew (``GO``)
    3      the first beat that waits in the queue is offered (``PASS``)
    4      the first beat of a block RAM in one part is offered, see ``WeightMemory``
    =====  =======================================================================================

    Latency: as in the table. A fetch that drops the queue waits for a request to memory. ``load``
    copies a beat in 1 cycle or more. Throughput: one beat per cycle; streamed beats that do not
    wait in the queue come as fast as the memory. A fetch takes 3 more cycles, or 4 if it has
    resident beats.

    Example: with words of 128 bits, a beat of 64 bytes is 4 words, and a burst has 4 beats. Of 300
    beats 100 are resident. A fetch of 20 beats from beat 90 on has 10 beats of each kind. The queue
    began at beat 100, so that none of them waits for memory.

    - Under way: up to 64 words are asked for and have not come.
    - Reset: a request is dropped, and the source forgets the words under way. The arbiter's
      ``clear`` must be high until it is idle. Then a model must begin.

    Parameters
    ----------
    beat_bytes : bytes of a beat: 1 to 16 words, a power of two of them
    word_bits : 32, 64, 128, 256 or 512; bits of a word of the memory
    address_bits : 24 to 64; bits of a byte address
    resident : shape of the block RAM, with one word per beat; None without one
    rows : rows of weights in a beat, see ``WeightMemory``
    queue : beats of the queue, at least those of 64 words

    Raises
    ------
    TypeError
        If ``resident`` is not a ``MemoryShape``, or a number is not an integer.
    ValueError
        If a number is not legal, or a beat has two words of the block RAM.

    Members
    -------
    fetch : In(stream of ``fetch_shape``); the beats must be those of the model
    beats : Out(stream of a beat)
    memory : Out(``client_port``); it never writes, and always takes what it reads
    base : In; byte address of beat 0, a multiple of the bytes of a word
    count : In(24); beats of the model
    resident : In(24); beats that are resident, at most ``count`` and those of the block RAM;
        ignored without a block RAM
    load : In(1); begin a model; not while a fetch is under way; the inputs above must stay
    loading : Out(1); beats are copied, no fetch is accepted
    """

    def __init__(
        self,
        *,
        beat_bytes: int,
        word_bits: int,
        address_bits: int,
        resident: MemoryShape | None = None,
        rows: int = 1,
        queue: int = 512,
    ) -> None:
        word_bytes = check_choice("word_bits", word_bits, (32, 64, 128, 256, 512)) // 8
        sizes = tuple(word_bytes << size for size in range(BURST.bit_length()))
        self._beat_bytes = check_choice("beat_bytes", beat_bytes, sizes)
        self._word_bits, self._shape, self._rows = word_bits, resident, rows
        self._address_bits = check_integer("address_bits", address_bits, _BEAT_BITS, 64)
        self._queue = check_integer("queue", queue, _UNDER_WAY * word_bytes // beat_bytes)
        if resident is not None:
            check_kind("resident", resident, MemoryShape)
            if resident.words_per_beat != 1:
                raise ValueError(
                    f"resident.words_per_beat must be 1, not {resident.words_per_beat}"
                )
        super().__init__(
            {
                "fetch": In(stream.Signature(fetch_shape())),
                "beats": Out(stream.Signature(8 * beat_bytes)),
                "memory": Out(client_port(word_bits, address_bits)),
                "base": In(address_bits),
                "count": In(_BEAT_BITS),
                "resident": In(_BEAT_BITS),
                "load": In(1),
                "loading": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ahead = ahead = _ReadAhead(
            self._beat_bytes, self._word_bits, self._address_bits, self._queue
        )
        wiring.connect(m, ahead.memory, wiring.flipped(self.memory))
        block = None
        if self._shape is not None:
            block = WeightMemory(self._shape, beat_bytes=self._beat_bytes, rows=self._rows)
            m.submodules.block = block
        resident: Value = self.resident if block is not None else Value.cast(0)
        state = Signal(_State)
        first, beats = Signal(_BEAT_BITS), Signal(_BEAT_BITS)
        # Beats of the fetch that are still to come, of each kind, and the first one of the others.
        here, there = Signal(_BEAT_BITS), Signal(_BEAT_BITS)
        start, inside = Signal(_BEAT_BITS), Signal(_BEAT_BITS)
        # Whether there are any of each kind: a beat has too many bits to wait for a comparison.
        local, remote = Signal(), Signal()
        free, passes = Signal(), Signal()  # The block RAM can begin; a beat is taken.
        m.d.comb += [
            self.loading.eq((state == _State.BEGIN) | (state == _State.COPY)),
            self.fetch.ready.eq(state == _State.IDLE),
            ahead.base.eq(self.base),
            # Resident beats are copied by the same reader: they are its ring for a while.
            ahead.low.eq(Mux(self.loading & (here != 0), 0, resident)),
            ahead.high.eq(Mux(self.loading & (here != 0), resident, self.count)),
            ahead.start.eq(ahead.low),
            inside.eq(Mux(first < resident, resident - first, 0)),
            passes.eq(self.beats.valid & self.beats.ready),
            free.eq(~block.reading if block is not None else 1),
        ]
        with m.Switch(state):
            with m.Case(_State.BEGIN):
                m.d.comb += [ahead.restart.eq(free), ahead.turn.eq(1)]
                with m.If(free):
                    m.d.sync += state.eq(Mux(here != 0, _State.COPY, _State.IDLE))
            with m.Case(_State.IDLE):
                m.d.sync += [first.eq(self.fetch.p.first), beats.eq(self.fetch.p.beats)]
                with m.If(self.fetch.valid):
                    m.d.sync += state.eq(_State.SPLIT)
            with m.Case(_State.SPLIT):
                m.d.sync += [
                    here.eq(Mux(beats < inside, beats, inside)),
                    there.eq(Mux(beats < inside, 0, beats - inside)),
                    start.eq(Mux(first < resident, resident, first)),
                    local.eq((beats != 0) & (first < resident)),
                    remote.eq(beats > inside),
                    state.eq(_State.GO),
                ]
            with m.Case(_State.GO):
                m.d.comb += ahead.start.eq(start)
                with m.If(~local | free):
                    m.d.comb += ahead.restart.eq(remote & (ahead.position != start))
                    m.d.sync += state.eq(_State.PASS)
            with m.Case(_State.PASS):
                with m.If(local):
                    m.d.sync += [here.eq(here - passes), local.eq(~(passes & (here == 1)))]
                with m.Else():
                    m.d.comb += [
                        self.beats.p.eq(ahead.beats.p),
                        self.beats.valid.eq(ahead.beats.valid & remote),
                        ahead.beats.ready.eq(self.beats.ready & remote),
                    ]
                    m.d.sync += there.eq(there - passes)
                    with m.If(passes & (there == 1)):
                        m.d.sync += remote.eq(0)
                last = Mux(local, (here == 1) & ~remote, there == 1)
                with m.If((~local & ~remote) | (passes & last)):
                    m.d.sync += state.eq(_State.IDLE)
        if block is not None:
            self._resident(m, block, ahead.beats, state, first, here, local, free)
        with m.If(self.load):
            m.d.sync += [state.eq(_State.BEGIN), here.eq(resident), there.eq(0)]
        return m

    def _resident(
        self,
        m: Module,
        block: WeightMemory,
        ahead: wiring.PureInterface,
        state: Signal,
        first: Signal,
        here: Signal,
        local: Signal,
        free: Signal,
    ) -> None:
        """Copy the resident beats, and read those of a fetch.

        Parameters
        ----------
        m : module that gets the logic
        block : the block RAM
        ahead : beats that are read ahead
        state : state of the source
        first : first beat of the fetch
        here : beats that are still to be copied, or to be read
        local : it is not 0
        free : the block RAM can begin
        """
        copied = Signal()
        begins = (state == _State.BEGIN) | ((state == _State.GO) & local)
        m.d.comb += [
            block.load.eq(begins & free),
            block.address.eq(Mux(state == _State.GO, first, 0)),
            block.count.eq(Mux(state == _State.GO, here, 0)),
            block.write.p.eq(ahead.p),
        ]
        with m.If(state == _State.COPY):
            m.d.comb += [
                block.write.valid.eq(ahead.valid & (here != 0)),
                ahead.ready.eq(block.write.ready & (here != 0)),
                copied.eq(block.write.valid & block.write.ready),
            ]
            m.d.sync += here.eq(here - copied)
            # The other beats become the ring when the last resident one is written.
            with m.If(here == 0):
                m.d.sync += state.eq(_State.BEGIN)
        with m.If((state == _State.PASS) & local):
            m.d.comb += [
                self.beats.p.eq(block.beats.p),
                self.beats.valid.eq(block.beats.valid),
                block.beats.ready.eq(self.beats.ready),
            ]

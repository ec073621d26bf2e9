"""The memory port: requests, words, and the channels that share it."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config

__all__ = [
    "MemoryPort",
    "memory_request",
    "memory_response",
    "memory_write",
    "read_request",
    "read_word",
]

#: Most words of one request at the port.
BURST = 16

#: Words that a channel keeps, or has asked for.
DEPTH = 64


def read_request(config: TokenConfig) -> data.StructLayout:
    """Layout of a request of a channel.

    Fields
    ------
    address : byte address, a multiple of the bytes of a word
    words : words to read, 1 or more; a request of 0 words is dropped as an error
    """
    return data.StructLayout({"address": config.address_bits, "words": config.address_bits})


def read_word(config: TokenConfig) -> data.StructLayout:
    """Layout of a word of a channel: its data, and whether it ends the request."""
    return data.StructLayout({"data": config.memory_width, "last": 1})


def memory_write(config: TokenConfig) -> data.StructLayout:
    """Layout of a write of one word.

    Fields
    ------
    address : byte address, a multiple of the bytes of a word
    data : the word, its lowest byte at this address
    strobes : a bit for each byte that is written, the lowest byte's lowest
    """
    width = config.memory_width
    return data.StructLayout({"address": config.address_bits, "data": width, "strobes": width // 8})


def memory_request(config: TokenConfig) -> data.StructLayout:
    """Layout of a request at the port.

    Fields
    ------
    address : byte address, a multiple of the bytes of a word
    words : words that follow one another, 1 to ``BURST``; 1 for a write
    write : write the word of ``write_data``
    """
    return data.StructLayout(
        {"address": config.address_bits, "words": range(BURST + 1), "write": 1}
    )


def memory_response(config: TokenConfig) -> data.StructLayout:
    """Layout of a word that is read: its data, and whether the memory failed.

    A word with ``error`` counts like any other, so that the order of the reads stays known.
    """
    return data.StructLayout({"data": config.memory_width, "error": 1})


class _Channel(wiring.Component):
    """Cuts requests into bursts, and keeps their words until they are taken.

    A burst is asked for only if there is room for all its words, so that no channel waits behind
    another one. The channel accepts a request when all bursts of the one before are granted, and
    all words of the one before that have left the queue. A word leaves it when it is offered first.
    Bursts of two requests thus follow without a pause.

    Latency: 1 cycle from a request to its first burst; 2 cycles from a word that arrives to its
    offer. Throughput: one word per cycle, if a burst's first word is offered at most
    ``DEPTH − BURST`` = 48 cycles after the burst is granted.

    Example: a request of 40 words leaves as bursts of 16, 16 and 8 words. A request of 100 words
    stops after 64 words if none leaves, and goes on when 16 have left.

    Parameters
    ----------
    config : configuration of the core

    Members
    -------
    requests : In(stream of ``read_request``)
    words : Out(stream of ``read_word``); ``last`` ends a request
    bursts : Out(stream of ``memory_request``); valid may fall only after a burst is taken
    data : In; the word that arrives
    arrives : In(1); a word of this channel arrives
    empty : Out(1); a request of 0 words is dropped in this cycle
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config
        super().__init__(
            {
                "requests": In(stream.Signature(read_request(config))),
                "words": Out(stream.Signature(read_word(config))),
                "bursts": Out(stream.Signature(memory_request(config))),
                "data": In(config.memory_width),
                "arrives": In(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Cut the request, count the free places, and queue the words.

        ``room`` counts places of the queue that neither hold a word nor wait for one.
        """
        m = Module()
        word_bytes = self._config.memory_width // 8
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(
            width=self._config.memory_width, depth=DEPTH
        )
        address, asked = Signal(self._config.address_bits), Signal(self._config.address_bits)
        # Words still to leave the queue: of the request whose words leave, and of the next one.
        left, next_left = Signal(self._config.address_bits), Signal(self._config.address_bits)
        room = Signal(range(DEPTH + 1), init=DEPTH)
        burst, words = Signal(), Signal(range(BURST + 1))
        kept, kept_last = Signal(self._config.memory_width, reset_less=True), Signal()
        waits, leaves = Signal(), Signal()
        # A request has words, so that 0 stands for none.
        accepted, ends = Signal(), Signal()
        m.d.comb += [
            self.requests.ready.eq((asked == 0) & (next_left == 0)),
            accepted.eq(self.requests.valid & self.requests.ready),
            ends.eq((left == 0) | (leaves & (left == 1))),
            words.eq(Mux(asked < BURST, asked, BURST)),
            self.bursts.valid.eq((asked != 0) & (room >= words)),
            self.bursts.p.address.eq(address),
            self.bursts.p.words.eq(words),
            burst.eq(self.bursts.valid & self.bursts.ready),
            queue.w_data.eq(self.data),
            queue.w_en.eq(self.arrives),
            self.words.p.data.eq(Mux(waits, kept, queue.r_data)),
            self.words.p.last.eq(Mux(waits, kept_last, left == 1)),
            self.words.valid.eq(waits | queue.r_rdy),
            queue.r_en.eq(~waits),
            leaves.eq(queue.r_rdy & ~waits),
        ]
        # A word that is not taken at once waits outside the queue. It has left, so that no count
        # depends on the ready of the same cycle, which comes late.
        m.d.sync += waits.eq(self.words.valid & ~self.words.ready)
        with m.If(~waits):
            m.d.sync += [kept.eq(queue.r_data), kept_last.eq(left == 1)]
        with m.If(accepted):
            m.d.comb += self.empty.eq(self.requests.p.words == 0)
            m.d.sync += [address.eq(self.requests.p.address), asked.eq(self.requests.p.words)]
        with m.If(burst):
            m.d.sync += [
                asked.eq(asked - words),
                address.eq(address + Cat(Const(0, (word_bytes - 1).bit_length()), words)),
            ]
        # The next request moves up when the last word of the one before leaves the queue.
        with m.If(ends):
            m.d.sync += [left.eq(Mux(accepted, self.requests.p.words, next_left)), next_left.eq(0)]
        with m.Else():
            m.d.sync += left.eq(Mux(leaves, left - 1, left))
            with m.If(accepted):
                m.d.sync += next_left.eq(self.requests.p.words)
        rest = Signal.like(room)
        m.d.comb += rest.eq(Mux(burst, room - words, room))
        m.d.sync += room.eq(Mux(leaves, rest + 1, rest))
        return m


class MemoryPort(wiring.Component):
    """Shares one memory between channels that read and one that writes.

    Requests leave in the order in which they are granted: a write first, then the lowest channel.
    The memory answers reads in this order. A word with an error is handed on as it is, and
    ``error`` stays set.

    A request of an idle channel passes these stages. The memory answers with the first word in
    cycle R.

    ==========  ==================================================================================
    cycle       stage
    ==========  ==================================================================================
    0           the channel accepts the request
    1           its first burst is granted, if no write and no lower channel waits
    2           the burst is offered at ``requests``
    R           the first word is in ``read_data``; R is 3 or more
    R + 2       the first word is offered at ``channel_words``
    ==========  ==================================================================================

    A write that is accepted in cycle 0 is offered in cycle 1, at ``requests`` and at
    ``write_data``. Both are taken independently.

    Latency: 2 cycles from a request to the port, and 2 from a word to its channel. Throughput: one
    request per cycle, one word that is read per cycle in all, and one write per cycle. A channel
    has up to ``DEPTH`` words under way, and a request has up to ``BURST``.

    Example: a word of 512 bits has 64 bytes. A request of 40 words from address 4,096 on leaves as
    16 words from 4,096, 16 from 5,120 and 8 from 6,144.

    - Order of writes and reads: a read that is granted after a write leaves after it. A read that
      leaves earlier does not see the write; a user must wait for it.
    - No words: a request of 0 words is dropped, and sets ``error``.
    - Stalls: a channel whose words are not taken holds at most ``DEPTH + 1`` words, and delays
      no other. A write that waits for ``write_data`` delays all reads.
    - Early answers: a word in the cycle of its request waits for one cycle.
    - Reset: it drops requests and words. The memory must then not answer reads from before.

    Parameters
    ----------
    config : configuration of the core
    channels : 1 or more; channels that read; it is not checked

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    requests : Out(stream of ``memory_request``); depends on registers alone
    write_data : Out(stream of ``memory_write`` without its address); a word for each write
    read_data : In(stream of ``memory_response``); ready from the cycle after the request's offer on
    error : Out(1); sticky; a word came with an error, or a request had no words
    channel_requests : In(streams of ``read_request``), one for each channel
    channel_words : Out(streams of ``read_word``), one for each channel
    writes : In(stream of ``memory_write``); ready depends on the ready of ``requests`` and
        ``write_data``
    """

    def __init__(self, config: TokenConfig, *, channels: int) -> None:
        self._config = config = check_core_config(config)
        self._channels = channels
        width = config.memory_width
        written = data.StructLayout({"data": width, "strobes": width // 8})
        super().__init__(
            {
                "requests": Out(stream.Signature(memory_request(config))),
                "write_data": Out(stream.Signature(written)),
                "read_data": In(stream.Signature(memory_response(config))),
                "error": Out(1),
                "channel_requests": In(stream.Signature(read_request(config))).array(channels),
                "channel_words": Out(stream.Signature(read_word(config))).array(channels),
                "writes": In(stream.Signature(memory_write(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the channels: choose a request for the port, and hand words back in order."""
        m = Module()
        config = self._config
        channels = []
        for index in range(self._channels):
            m.submodules[f"channel{index}"] = channel = _Channel(config)
            wiring.connect(m, wiring.flipped(self.channel_requests[index]), channel.requests)
            wiring.connect(m, channel.words, wiring.flipped(self.channel_words[index]))
            channels.append(channel)
        # Reads under way, in order: the channel and the words of each.
        read = data.StructLayout(
            {"channel": range(max(2, len(channels))), "words": range(BURST + 1)}
        )
        # Bursts may have a single word: each word of each channel may take a place.
        depth = self._channels * DEPTH
        m.submodules.order = order = fifo.SyncFIFOBuffered(width=read.size, depth=depth)
        granted, answered = data.View(read, order.w_data), data.View(read, order.r_data)

        # A request stays until it is taken, as the rules of streams ask for: a write that comes
        # later must not replace it.
        held = Signal(memory_request(config))
        offered = Signal()
        free = ~offered | self.requests.ready
        m.d.comb += [self.requests.valid.eq(offered), self.requests.p.eq(held)]
        with m.If(self.requests.ready):
            m.d.sync += offered.eq(0)
        written = Signal()  # The data of a write waits.
        with m.If(self.write_data.ready):
            m.d.sync += written.eq(0)
        m.d.comb += self.write_data.valid.eq(written)
        writes = self.writes
        m.d.comb += writes.ready.eq(free & (~written | self.write_data.ready))
        with m.If(writes.valid & writes.ready):
            m.d.sync += [
                offered.eq(1),
                held.address.eq(writes.p.address),
                held.words.eq(1),
                held.write.eq(1),
                written.eq(1),
                self.write_data.p.data.eq(writes.p.data),
                self.write_data.p.strobes.eq(writes.p.strobes),
            ]
        # A write that cannot leave yet still goes first. Otherwise later reads could pass it.
        waiting = writes.valid
        for index, channel in enumerate(channels):
            chosen = Signal(name=f"chosen{index}")
            m.d.comb += [
                chosen.eq(channel.bursts.valid & ~waiting & order.w_rdy),
                channel.bursts.ready.eq(chosen & free),
            ]
            with m.If(chosen & free):
                m.d.sync += [offered.eq(1), held.eq(channel.bursts.p)]
                m.d.comb += [
                    granted.channel.eq(index),
                    granted.words.eq(channel.bursts.p.words),
                    order.w_en.eq(1),
                ]
            waiting = waiting | channel.bursts.valid

        # Words that arrived for the oldest read.
        arrived = Signal(range(BURST + 1))
        arrives = self.read_data.valid & order.r_rdy
        end = arrived == answered.words - 1
        m.d.comb += [self.read_data.ready.eq(order.r_rdy), order.r_en.eq(arrives & end)]
        with m.If(arrives):
            m.d.sync += arrived.eq(Mux(end, 0, arrived + 1))
        failed = arrives & self.read_data.p.error
        with m.If(failed | Cat(channel.empty for channel in channels).any()):
            m.d.sync += self.error.eq(1)
        for index, channel in enumerate(channels):
            m.d.comb += [
                channel.data.eq(self.read_data.p.data),
                channel.arrives.eq(arrives & (answered.channel == index)),
            ]
        return m

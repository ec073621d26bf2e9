"""Holds finished results until the consumer takes them."""

from amaranth.hdl import Array, Cat, Module, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import MatVecConfig

__all__ = ["ResultQueue", "queue_words", "results_shape"]


def results_shape(config: MatVecConfig) -> data.StructLayout:
    """A beat of the ``results`` stream: ``rows`` accumulators of one token, and ``last``."""
    return data.StructLayout(
        {"values": data.ArrayLayout(signed(config.acc_width), config.rows), "last": 1}
    )


def queue_words(depth: int) -> int:
    """Words in the memory of a queue of ``depth`` beats: the next power of two above ``depth``.

    Words outnumber beats, so that equal pointers always mean an empty queue.
    """
    return 2 ** depth.bit_length()


class ResultQueue(wiring.Component):
    """Captures the sums of a result group, one register per row and token, and queues its beats.

    The data path in front of it never stops: whoever feeds it captures no group that finds no room,
    and leaves at least as many clocks between two captures as the first has tokens. ``depth`` is
    the room in beats.

    Latency: a group captured in clock 0 enters the queue from clock 1 on, a token per clock, and
    leaves it from clock 3 on. Throughput: a beat per clock.

    Members
    -------
    capture : In(1); take ``sums`` now
    sums : In(tokens × rows signed values)
    clear : In(rows); take 0 instead; set only with ``capture``
    tokens : In; tokens of the group
    last : In(1); the group is the job's final one
    results : Out(stream)
    busy : Out(1); a beat is captured or queued
    """

    def __init__(self, config: MatVecConfig, *, depth: int) -> None:
        self._config = config
        self._depth = depth
        super().__init__(
            {
                "capture": In(1),
                "sums": In(
                    data.ArrayLayout(
                        data.ArrayLayout(signed(config.acc_width), config.rows), config.tokens
                    )
                ),
                "clear": In(config.rows),
                "tokens": In(range(config.tokens + 1)),
                "last": In(1),
                "results": Out(stream.Signature(results_shape(config))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        places = queue_words(self._depth)
        m.submodules.beats = beats = memory.Memory(
            shape=results_shape(config).size, depth=places, init=[]
        )
        write = beats.write_port()
        read = beats.read_port()
        produce = Signal(range(places))
        consume = Signal(range(places))
        waiting = Signal()
        take = Signal()
        held = Signal.like(self.sums, reset_less=True)
        held_last = Signal(reset_less=True)
        left = Signal.like(self.tokens)
        values = Value.cast(held[0])
        if config.tokens > 1:
            token = Signal(range(config.tokens), reset_less=True)
            values = Array(Value.cast(held[t]) for t in range(config.tokens))[token]
            with m.If(self.capture):
                m.d.sync += token.eq(0)
            with m.Else():
                m.d.sync += token.eq(token + 1)

        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(self.capture):
            m.d.sync += [held_last.eq(self.last), left.eq(self.tokens)]
        for row in range(config.rows):
            with m.If(self.clear[row]):
                m.d.sync += [held[t][row].eq(0) for t in range(config.tokens)]
            with m.Elif(self.capture):
                m.d.sync += [held[t][row].eq(self.sums[t][row]) for t in range(config.tokens)]
        m.d.comb += [
            write.en.eq(left != 0),
            write.addr.eq(produce),
            write.data.eq(Cat(values, held_last & (left == 1))),
            waiting.eq(produce != consume),
            take.eq(waiting & read.en),
            read.addr.eq(consume),
            # Also where nothing waits: what is read then is not valid, and is read again.
            read.en.eq(self.results.ready | ~self.results.valid),
            self.results.p.eq(read.data),
            self.busy.eq((left != 0) | waiting | self.results.valid),
        ]
        with m.If(write.en):
            m.d.sync += produce.eq(produce + 1)
        with m.If(take):
            m.d.sync += [consume.eq(consume + 1), self.results.valid.eq(1)]
        with m.Elif(self.results.ready):
            m.d.sync += self.results.valid.eq(0)
        return m

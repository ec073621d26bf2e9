"""Queue of finished results, in front of the ``results`` stream."""

from amaranth.hdl import Array, Cat, Module, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_integer
from ..config import MatVecConfig, check_config

__all__ = ["ResultQueue", "queue_words", "results_shape"]


def results_shape(config: MatVecConfig) -> data.StructLayout:
    """Layout of a beat of the ``results`` stream.

    Fields
    ------
    values : ``rows`` accumulators of one token, signed, ``acc_width`` bits each
    last : 1 in the final beat of a job
    """
    return data.StructLayout(
        {"values": data.ArrayLayout(signed(config.acc_width), config.rows), "last": 1}
    )


def queue_words(depth: int) -> int:
    """Words in the memory of a queue of ``depth`` beats: the next power of two above ``depth``.

    Words outnumber beats, so that equal pointers always mean an empty queue.
    """
    return 2 ** depth.bit_length()


class ResultQueue(wiring.Component):
    """Captures the sums of a result group, and queues one beat for each of its tokens.

    The data path in front of the queue never stops. The engine therefore keeps two rules. It
    captures a group only if the queue has room for all of its beats. After a capture of T tokens,
    the next one follows T cycles later at the earliest.

    A capture of T tokens in cycle 0 passes these stages. If beats of earlier groups wait, the last
    two stages come later.

    ==========  ==================================================================================
    cycle       stage
    ==========  ==================================================================================
    1           ``held`` has the sums, with zeros for rows to clear; ``left`` is T
    1 + t       the beat of token t is written to the memory; ``left`` is T − t
    2 + t       the beat of token t is read from the memory
    3 + t       the beat of token t is offered at ``results``
    ==========  ==================================================================================

    Latency: 3 cycles from the capture to the first beat; the beats enter the queue one per cycle
    from the cycle after the capture on. Throughput: one beat per cycle. Example: the beats of 4
    tokens are offered in cycles 3 to 6, and the next capture comes in cycle 4 or later.

    ``depth`` counts the beats that are captured, in the memory, or offered. The memory has more
    words than that (``queue_words``), so that it never overflows under the first rule. No output
    depends on an input of the same cycle. A reset drops all beats.

    Parameters
    ----------
    config : the configuration of the engine
    depth : 1 or more; beats that the queue has room for

    Raises
    ------
    TypeError
        If ``config`` is not a ``MatVecConfig``, or ``depth`` is not an integer.
    ValueError
        If ``depth`` is less than 1.

    Members
    -------
    capture : In(1); capture ``sums`` in this cycle
    sums : In(tokens × rows signed values); used only with ``capture``
    clear : In(rows); capture 0 instead, for rows beyond N; set only with ``capture``, or while no
        captured beat is left
    tokens : In(range(tokens + 1)); tokens of the group, 1 or more; used only with ``capture``
    last : In(1); the group is the final one of the job; used only with ``capture``
    results : Out(stream of ``results_shape``); by group, then by token; ``last`` is set in the beat
        of the final token of a group with ``last``
    busy : Out(1); a beat is captured or queued
    """

    def __init__(self, config: MatVecConfig, *, depth: int) -> None:
        self._config = config = check_config(config)
        self._depth = check_integer("depth", depth, 1)
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
        """Registers of the captured group, the memory with its two pointers, and its read stage.

        ``produce`` counts written words and ``consume`` read ones, both modulo the words of the
        memory. A read word stays at ``results`` until the consumer takes it.
        """
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
        # The tokens of the captured group follow each other, one beat per cycle.
        values = Value.cast(held[0])
        if config.tokens > 1:
            token = Signal(range(config.tokens), reset_less=True)
            values = Array(Value.cast(held[t]) for t in range(config.tokens))[token]
            with m.If(self.capture):
                m.d.sync += token.eq(0)
            with m.Else():
                m.d.sync += token.eq(token + 1)

        # Beats of the captured group that are not in the queue yet.
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
            # The read is enabled even if no beat waits. Its word is not valid then, and is read
            # again.
            read.en.eq(self.results.ready | ~self.results.valid),
            self.results.p.eq(read.data),
            # No other part reads ``busy``. It stays because names of wires change the placement on
            # ECP5: without it nextpnr estimates 76.3 MHz after placement of the ULX3S (seed 1),
            # which must reach 80 MHz.
            self.busy.eq((left != 0) | waiting | self.results.valid),
        ]
        with m.If(write.en):
            m.d.sync += produce.eq(produce + 1)
        with m.If(take):
            m.d.sync += [consume.eq(consume + 1), self.results.valid.eq(1)]
        with m.Elif(self.results.ready):
            m.d.sync += self.results.valid.eq(0)
        return m

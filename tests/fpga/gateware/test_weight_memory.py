# amaranth: UnusedElaboratable=no
"""The weight memory, clock by clock."""

import re

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from trilith.fpga.gateware.weight_memory import MemoryShape, WeightMemory

ROWS, BEAT_BYTES, BEATS = 2, 24, 64
#: Shape, clocks from ``load`` to the first beat, of a beat, and of a word that is written.
SHAPES = {
    "one part": (MemoryShape(beats=BEATS), 3, 1, 1),
    "two words": (MemoryShape(beats=BEATS, words_per_beat=2), 4, 2, 1),
    "two parts": (MemoryShape(beats=BEATS, parts=2), 7, 1, 3),
    "as many parts as there may be": (MemoryShape(beats=BEATS, parts=12), 17, 1, 13),
}


@pytest.fixture(params=SHAPES)
def case(request):
    return SHAPES[request.param]


def simulate(design, testbench):
    simulator = Simulator(design)
    simulator.add_clock(1e-6)
    ended = False

    async def bench(ctx):
        nonlocal ended
        await ctx.tick().repeat(2)
        await testbench(ctx)
        ended = True

    simulator.add_testbench(bench)
    simulator.run_until(1e-6 * 20_000)
    assert ended


def run(shape, testbench):
    dut = WeightMemory(shape, beat_bytes=BEAT_BYTES, rows=ROWS)
    simulate(dut, lambda ctx: testbench(ctx, dut))


async def load(ctx, dut, address, count):
    ctx.set(dut.address, address)
    ctx.set(dut.count, count)
    ctx.set(dut.load, 1)
    await ctx.tick()
    ctx.set(dut.load, 0)


async def write(ctx, dut, words):
    """Write words one after the other; the clocks that it took."""
    clocks = 0
    ctx.set(dut.write.valid, 1)
    for word in words:
        ctx.set(dut.write.p, word)
        ready = 0
        while not ready:
            *_, ready = await ctx.tick().sample(dut.write.ready)
            clocks += 1
            assert clocks < 5000
    ctx.set(dut.write.valid, 0)
    ctx.set(dut.write.p, 0)
    return clocks


async def read(ctx, dut, count, ready):
    """Take ``count`` beats where ``ready`` has ones; in which clock each was taken, and all."""
    clocks, beats, clock = [], [], 0
    held = None
    while len(beats) < count:
        taking = next(ready)
        ctx.set(dut.beats.ready, taking)
        *_, valid, beat, reading = await ctx.tick().sample(
            dut.beats.valid, dut.beats.p, dut.reading
        )
        clock += 1
        assert reading
        assert clock < 5000
        assert held is None or (valid and beat == held)
        held = beat if valid and not taking else None
        if valid and taking:
            clocks.append(clock)
            beats.append(beat)
    ctx.set(dut.beats.ready, 1)
    return clocks, beats


def ones():
    while True:
        yield 1


def words_of(shape, beats):
    bits = 8 * BEAT_BYTES // shape.words_per_beat
    return [
        beat >> bits * word & (1 << bits) - 1
        for beat in beats
        for word in range(shape.words_per_beat)
    ]


def random_beats(seed, count):
    rng = np.random.default_rng(seed)
    return [int.from_bytes(rng.bytes(BEAT_BYTES), "little") for _ in range(count)]


def test_beats_come_at_full_rate(case):
    shape, latency, beat_clocks, word_clocks = case
    beats = random_beats(1, BEATS)

    async def testbench(ctx, dut):
        await load(ctx, dut, 0, 0)
        clocks = await write(ctx, dut, words_of(shape, beats))
        assert clocks == word_clocks * BEATS * shape.words_per_beat
        assert not ctx.get(dut.reading)
        await load(ctx, dut, 0, BEATS)
        clocks, got = await read(ctx, dut, BEATS, ones())
        assert got == beats
        # ``load`` was a clock before.
        assert clocks == [latency - 1 + beat_clocks * index for index in range(BEATS)]
        assert not ctx.get(dut.reading)

    run(shape, testbench)


def test_a_consumer_that_stalls_loses_nothing(case):
    shape, *_ = case
    beats = random_beats(2, BEATS)
    rng = np.random.default_rng(3)

    def bursts():
        while True:
            yield from [1] * int(rng.integers(1, 40))
            yield from [0] * int(rng.integers(1, 40))

    def coin():
        while True:
            yield int(rng.integers(2))

    async def testbench(ctx, dut):
        await load(ctx, dut, 0, 0)
        await write(ctx, dut, words_of(shape, beats))
        for first, count, ready in ((0, BEATS, bursts()), (5, 50, coin()), (63, 1, coin())):
            await load(ctx, dut, first, count)
            _, got = await read(ctx, dut, count, ready)
            assert got == beats[first : first + count]

    run(shape, testbench)


def test_nothing_is_left_of_what_was_read_before_a_reset(case):
    shape, *_ = case
    beats = random_beats(6, BEATS)
    reset = Signal()
    dut = WeightMemory(shape, beat_bytes=BEAT_BYTES, rows=ROWS)

    async def testbench(ctx):
        await load(ctx, dut, 0, 0)
        await write(ctx, dut, words_of(shape, beats))
        for clocks in (1, 2, 6, 30):
            await load(ctx, dut, 7, 40)
            await read(ctx, dut, 2, ones())
            ctx.set(dut.beats.ready, 0)
            await ctx.tick().repeat(clocks)
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            await ctx.tick().until(~dut.reading)
            await load(ctx, dut, 3, 9)
            _, got = await read(ctx, dut, 9, ones())
            assert got == beats[3:12]

    simulate(ResetInserter(reset)(dut), testbench)


def test_words_are_written_where_the_address_says(case):
    shape, *_ = case
    old, new = random_beats(4, BEATS), random_beats(5, 3)

    async def testbench(ctx, dut):
        await load(ctx, dut, 0, 0)
        await write(ctx, dut, words_of(shape, old))
        await load(ctx, dut, 20, 0)
        await write(ctx, dut, words_of(shape, new))
        await load(ctx, dut, 0, BEATS)
        _, got = await read(ctx, dut, BEATS, ones())
        assert got == [*old[:20], *new, *old[23:]]

    run(shape, testbench)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"beats": 0}, "beats must be from 1 to 16777215, not 0"),
        ({"beats": 1, "words_per_beat": 3}, "words_per_beat must be from 1 to 2, not 3"),
        ({"beats": 16_385, "spram": True}, "beats must be at most 16384 in SPRAM, not 16385"),
        ({"beats": 1, "parts": 0}, "parts must be from 1 to 12, not 0"),
        ({"beats": 1, "parts": 13}, "parts must be from 1 to 12, not 13"),
        ({"beats": 1, "parts": 2, "words_per_beat": 2}, "parts must be from 1 to 1, not 2"),
        ({"beats": 1, "parts": 2, "spram": True}, "parts must be from 1 to 1, not 2"),
    ],
)
def test_shapes_that_are_not_legal_are_refused(fields, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        MemoryShape(**fields)


def test_a_part_without_bytes_is_refused():
    message = (
        "each part must have one of the 10 bytes of a beat in 2 rows; parts must be fewer, not 6"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        WeightMemory(MemoryShape(beats=8, parts=6), beat_bytes=10, rows=2)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"shape": 8}, TypeError, "shape must be a MemoryShape, not 8"),
        ({"beat_bytes": 2.0}, TypeError, "beat_bytes must be an integer, not 2.0"),
        ({"beat_bytes": 0}, ValueError, "beat_bytes must be at least 1, not 0"),
        ({"rows": 0}, ValueError, "rows must be at least 1, not 0"),
        (
            {"shape": MemoryShape(beats=8, words_per_beat=2), "beat_bytes": 3},
            ValueError,
            "beat_bytes must be a multiple of 2, not 3",
        ),
        (
            {"shape": MemoryShape(beats=8, spram=True), "beat_bytes": 4},
            ValueError,
            "words of SPRAM must have 64 bits, not 32",
        ),
    ],
)
def test_parameters_that_are_not_legal_are_refused(parameters, error, message):
    legal = {"shape": MemoryShape(beats=8), "beat_bytes": 8, "rows": 1}
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        WeightMemory(**legal | parameters)

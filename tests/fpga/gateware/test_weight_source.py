# amaranth: UnusedElaboratable=no
"""The source of weight beats, in front of a memory whose words come late and slowly."""

import re
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from backing_memory import Backing, simulate

from trilith.fpga.gateware.memory_arbiter import MemoryArbiter
from trilith.fpga.gateware.weight_memory import MemoryShape
from trilith.fpga.gateware.weight_source import WeightSource

WORD_BITS, BEAT_BYTES, BASE, BEATS = 32, 8, 4096, 100
ONE_PART, PARTS = MemoryShape(beats=40), MemoryShape(beats=40, parts=2)


def make(resident=None):
    return WeightSource(
        beat_bytes=BEAT_BYTES, word_bits=WORD_BITS, address_bits=32, resident=resident, queue=32
    )


def beat(number):
    """A beat of the model, and the words in which it lies in memory."""
    return (number * 0x9E3779B97F4A7C15 + 1) & (1 << 64) - 1


class Memory:
    """The client's port of an arbiter: a word in each ``interval`` cycles, ``latency`` late."""

    def __init__(self, port, *, latency=20, interval=1):
        self.port, self.latency, self.interval = port, latency, interval
        self.asked = []

    async def run(self, ctx):
        port, due, free, cycle = self.port, deque(), 0, 0
        ctx.set(port.requests.ready, 1)
        request, bits = Value.cast(port.requests.p), 32
        async for _, _, valid, value in ctx.tick().sample(port.requests.valid, request):
            cycle += 1
            if valid:
                address, words = value & (1 << bits) - 1, value >> bits & 31
                assert not value >> bits + 5
                self.asked.append((cycle, address, words))
                for place in range(address - BASE, address - BASE + 4 * words, 4):
                    free = max(free + self.interval, cycle + self.latency)
                    due.append((free, beat(place // 8) >> 8 * (place % 8) & 0xFFFFFFFF))
            comes = bool(due) and due[0][0] <= cycle
            ctx.set(port.read_data.valid, int(comes))
            if comes:
                ctx.set(port.read_data.p.data, due.popleft()[1])


async def begin(ctx, dut, resident):
    ctx.set(dut.base, BASE)
    ctx.set(dut.count, BEATS)
    ctx.set(dut.resident, resident)
    ctx.set(dut.load, 1)
    await ctx.tick()
    ctx.set(dut.load, 0)
    while ctx.get(dut.loading):
        await ctx.tick()


async def fetch(ctx, dut, first, count, goes=lambda: True):
    """Fetch beats; the cycles from the acceptance of the fetch to each of them."""
    ctx.set(dut.fetch.p, {"first": first, "beats": count})
    ctx.set(dut.fetch.valid, 1)
    await ctx.tick().until(dut.fetch.ready)
    ctx.set(dut.fetch.valid, 0)
    cycles, got, cycle = [], [], 0
    while len(got) < count:
        ready = int(goes())
        ctx.set(dut.beats.ready, ready)
        *_, valid, value = await ctx.tick().sample(dut.beats.valid, dut.beats.p)
        cycle += 1
        if valid and ready:
            got.append(value)
            cycles.append(cycle)
    ctx.set(dut.beats.ready, 1)
    assert got == [beat(first + index) for index in range(count)]
    return cycles


SHAPES = {
    "all stream": (None, 0),
    "some are resident": (ONE_PART, 30),
    "some are resident, in parts": (PARTS, 40),
    "a single one is resident": (ONE_PART, 1),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("interval", [1, 4])
def test_fetches_at_random_give_their_beats(shape, interval):
    block, resident = SHAPES[shape]
    dut = make(block)
    memory = Memory(dut.memory, interval=interval)
    rng = np.random.default_rng(interval)

    async def work(ctx):
        place = 0
        await begin(ctx, dut, resident)
        for _ in range(14):
            jump = rng.random() < 0.3
            first = int(rng.integers(BEATS)) if jump else place
            count = min(int(rng.integers(0, 40)), BEATS - first)
            pauses = rng.random() < 0.3
            await fetch(ctx, dut, first, count, lambda p=pauses: not p or rng.random() < 0.5)
            place = (first + count) % BEATS
            await ctx.tick().repeat(int(rng.integers(1, 30)))

    simulate(dut, work, background=[memory.run])
    assert all(words <= 16 for *_, words in memory.asked)


def test_all_beats_may_be_resident():
    dut = make(MemoryShape(beats=BEATS))
    memory = Memory(dut.memory)

    async def work(ctx):
        await begin(ctx, dut, BEATS)
        memory.asked.clear()
        for first, count in ((0, BEATS), (7, 20), (99, 1)):
            cycles = await fetch(ctx, dut, first, count)
            assert cycles == [4 + index for index in range(count)]

    simulate(dut, work, background=[memory.run])
    assert not memory.asked


@pytest.mark.parametrize("interval", [1, 3])
def test_beats_come_as_fast_as_the_memory(interval):
    """Fetches in reading order, over the end of the model: no cycle is lost for latency."""
    dut = make()
    memory = Memory(dut.memory, latency=30, interval=interval)

    async def work(ctx):
        await begin(ctx, dut, 0)
        await ctx.tick().repeat(35)
        clock = 0
        for _ in range(2):
            for first, count in ((0, 33), (33, 1), (34, 50), (84, 16)):
                cycles = await fetch(ctx, dut, first, count)
                clock += cycles[-1] + 1
        # Beats have two words. What waited in the queue at first makes up for the fetches' cycles.
        assert clock <= 200 * 2 * interval + 8

    simulate(dut, work, background=[memory.run])


def test_beats_that_were_read_ahead_come_in_each_cycle():
    dut = make(ONE_PART)
    memory = Memory(dut.memory, interval=4)

    async def work(ctx):
        await begin(ctx, dut, 10)
        await ctx.tick().repeat(400)
        assert await fetch(ctx, dut, 5, 5) == [4, 5, 6, 7, 8]
        assert await fetch(ctx, dut, 10, 15) == list(range(3, 18))
        await ctx.tick().repeat(400)
        assert await fetch(ctx, dut, 25, 20) == list(range(3, 23))

    simulate(dut, work, background=[memory.run])


def test_a_wrong_prediction_drops_what_was_read():
    dut = make()
    memory = Memory(dut.memory, latency=10)

    async def work(ctx):
        await begin(ctx, dut, 0)
        await ctx.tick().repeat(3)
        for first in (50, 20, 90, 3, 60):
            memory.asked.clear()
            await fetch(ctx, dut, first, 2)
            # Up to four bursts were under way.
            addresses = [address for _, address, _ in memory.asked]
            assert BASE + 8 * first in addresses[:5]

    simulate(dut, work, background=[memory.run])


def behind_an_arbiter():
    m = Module()
    m.submodules.arbiter = arbiter = MemoryArbiter(
        word_bits=WORD_BITS, backing_bits=16, address_bits=32, backing_address_bits=12, clients=2
    )
    source, reset = make(ONE_PART), Signal()
    m.submodules.source = ResetInserter(reset)(source)
    wiring.connect(m, source.memory, arbiter.clients[1])
    memory = Backing(arbiter.backing, 16, 1 << 12, stalls=0.2, latency=8)
    memory.words[BASE // 2 : BASE // 2 + 4 * BEATS] = [
        beat(number) >> 16 * part & 0xFFFF for number in range(BEATS) for part in range(4)
    ]
    return m, SimpleNamespace(source=source, reset=reset, arbiter=arbiter, memory=memory)


@pytest.mark.parametrize("after", [1, 30, 77, 150, 400])
def test_a_reset_drops_the_words_under_way(after):
    m, parts = behind_an_arbiter()
    dut, arbiter = parts.source, parts.arbiter

    async def session(ctx):
        ctx.set(dut.beats.ready, 1)
        ctx.set(dut.base, BASE)
        ctx.set(dut.count, BEATS)
        ctx.set(dut.resident, 10)
        ctx.set(dut.fetch.p, {"first": 5, "beats": 60})
        ctx.set(dut.fetch.valid, 1)
        ctx.set(dut.load, 1)
        await ctx.tick()
        ctx.set(dut.load, 0)
        await ctx.tick().repeat(after)
        ctx.set(dut.fetch.valid, 0)
        ctx.set(parts.reset, 1)
        ctx.set(arbiter.clear, 2)
        await ctx.tick().repeat(2)
        while not ctx.get(arbiter.idle) & 2:
            await ctx.tick()
        ctx.set(parts.reset, 0)
        ctx.set(arbiter.clear, 0)
        await begin(ctx, dut, 7)
        await fetch(ctx, dut, 3, 12)
        await fetch(ctx, dut, 40, 3)

    simulate(m, session, background=[parts.memory.run])


RIGHT = {"beat_bytes": 64, "word_bits": 128, "address_bits": 32}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"word_bits": 16}, ValueError, "word_bits must be 32, 64, 128, 256 or 512, not 16"),
        ({"beat_bytes": 40}, ValueError, "beat_bytes must be 16, 32, 64, 128 or 256, not 40"),
        ({"address_bits": 23}, ValueError, "address_bits must be from 24 to 64, not 23"),
        ({"queue": 15}, ValueError, "queue must be at least 16, not 15"),
        ({"resident": 8}, TypeError, "resident must be a MemoryShape, not 8"),
        (
            {"resident": MemoryShape(beats=8, words_per_beat=2)},
            ValueError,
            "resident.words_per_beat must be 1, not 2",
        ),
    ],
)
def test_parameters_are_checked(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        WeightSource(**RIGHT | change)

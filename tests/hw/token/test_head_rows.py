"""Rows of the head that come as weight beats, against the bytes of the beats."""

import random
from dataclasses import replace

import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

from trilith.hw import MatVecConfig
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.head_rows import HeadRows

#: Lanes and rows of engines whose beats have 16, 20, 64, 256 and 13 bytes.
ENGINES = {16: (16, 5), 20: (20, 5), 64: (64, 5), 256: (64, 20), 13: (13, 5)}
PAIRS = [(beat, lanes) for beat in (16, 20, 64, 256) for lanes in (8, 64, 256, 512)]


def unit(beat, lanes):
    """The unit for beats of some bytes, and for so many attention lanes."""
    engine = MatVecConfig(lanes=ENGINES[beat][0], rows=ENGINES[beat][1], k_max=128, n_max=160)
    assert engine.weight_bytes == beat
    return HeadRows(replace(CORE_PRESETS["small"], engine=engine, attention_lanes=lanes))


def heads(beat, lanes, counts, *, gap=0.0, stall=0.0):
    """Send heads of so many chunks, each between beats of a product and chunks from memory.

    Returns
    -------
    Whether the engine got its beats, the attention its chunks, and cycles of each head
    """
    dut, rng = unit(beat, lanes), random.Random(1)
    cycles = []

    def number(size):
        return rng.getrandbits(8 * size)

    async def send(ctx, source, target, values):
        """Pass values from a stream to another one, while the unit is off."""
        for value in values:
            ctx.set(Value.cast(source.payload), value)
            ctx.set(source.valid, 1)
            ctx.set(target.ready, 0)
            assert (ctx.get(target.valid), ctx.get(source.ready)) == (1, 0)
            ctx.set(target.ready, 1)
            assert ctx.get(source.ready) == 1
            assert ctx.get(Value.cast(target.payload)) == value
            await ctx.tick()
        ctx.set(source.valid, 0)

    async def head(ctx, count):
        """Pass the beats of some chunks."""
        beats = [number(beat) for _ in range(-(-count * lanes // beat))]
        whole = sum(value << 8 * beat * index for index, value in enumerate(beats))
        wanted = [(whole >> 8 * lanes * index) % (1 << 8 * lanes) for index in range(count)]
        found, sent, clock = [], 0, 0
        ctx.set(dut.on, 1)
        offers = False
        while len(found) < count:
            offers = sent < len(beats) and (offers or rng.random() >= gap)
            take = rng.random() >= stall
            ctx.set(dut.weights.valid, offers)
            ctx.set(dut.weights.payload, beats[min(sent, len(beats) - 1)])
            ctx.set(dut.rows.ready, take)
            assert not ctx.get(dut.engine.valid)
            assert not ctx.get(dut.memory.ready)
            if ctx.get(dut.rows.valid) and take:
                found.append(ctx.get(Value.cast(dut.rows.payload)))
            if offers and ctx.get(dut.weights.ready):
                sent, offers = sent + 1, False
            await ctx.tick()
            clock += 1
            assert clock < 10_000
        assert sent == len(beats)
        assert found == wanted
        ctx.set(dut.weights.valid, 0)
        ctx.set(dut.rows.ready, 0)
        await ctx.tick()
        ctx.set(dut.on, 0)
        await ctx.tick()
        cycles.append(clock)

    async def bench(ctx):
        for count in counts:
            await send(ctx, dut.weights, dut.engine, [number(beat) for _ in range(3)])
            await send(ctx, dut.memory, dut.rows, [number(lanes) for _ in range(3)])
            await head(ctx, count)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return cycles


@pytest.mark.parametrize(("beat", "lanes"), [*PAIRS, (13, 32)])
def test_beats_become_chunks_at_the_rate_of_the_narrower_side(beat, lanes):
    counts = [40, 1, 37, 2]
    for count, cycles in zip(counts, heads(beat, lanes, counts), strict=True):
        beats = -(-count * lanes // beat)
        # A cycle more from the last beat of a chunk to the chunk.
        assert cycles <= max(beats, count) + 2 * -(-lanes // beat)
        assert cycles >= max(beats, count) + 1


@pytest.mark.parametrize(("beat", "lanes"), [(20, 64), (256, 8), (13, 32), (64, 64)])
def test_pauses_change_no_byte(beat, lanes):
    heads(beat, lanes, [15, 3, 31, 1], gap=0.5, stall=0.5)

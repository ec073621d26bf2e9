"""A reset ends the dot products that are under way."""

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from trilith.hw.baselines import BASELINES, DotConfig


@pytest.mark.parametrize("name", BASELINES)
def test_no_result_comes_from_before_a_reset(name):
    unit = BASELINES[name].unit(DotConfig(lanes=8 if "sherry" in name else 2, k_max=64))
    reset = Signal()
    seen = []

    async def bench(ctx):
        ctx.set(unit.valid, 1)
        ctx.set(unit.last, 1)
        for _ in range(unit.latency + 2):
            await ctx.tick()
        seen.append(ctx.get(unit.done))
        ctx.set(unit.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for _ in range(unit.latency + 2):
            seen.append(ctx.get(unit.done))
            await ctx.tick()

    simulator = Simulator(ResetInserter(reset)(unit))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [1] + (unit.latency + 2) * [0]

"""Choices of a unit, and the cycle of its results."""

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from trilith.hw.baselines import BASELINES, DotConfig
from trilith.hw.baselines.config import Choice


def unit(name, *choices, lanes=8):
    return BASELINES[name].unit(DotConfig(lanes=lanes, k_max=64, choices=choices))


def test_fast_adders_take_one_cycle():
    slow = unit("fp16xfp16-fp32-tree")
    fast = unit("fp16xfp16-fp32-tree", Choice.FAST_ADDERS)
    assert (slow.interleave, fast.interleave) == (2, 1)
    # Three levels of the tree for eight lanes, and the accumulator.
    assert slow.latency - fast.latency == 4


def test_a_tree_that_saves_carries_has_no_subtraction():
    """A tree of magnitudes subtracts; yosys saves carries only in a tree of sums."""

    def cells(kind, *choices):
        text = rtlil.convert(unit("fp16xfp16-fp32-fused", *choices), name="top", emit_src=False)
        return text.count(f"cell ${kind} ")

    # The tree of eight lanes has seven adders.
    assert cells("sub") - cells("sub", Choice.CARRY_SAVE) >= 7
    assert cells("add", Choice.CARRY_SAVE) - cells("add") >= 7


@pytest.mark.parametrize("lanes", [3, 4, 5, 6, 7, 16, 23, 24, 25, 40])
def test_the_cycle_of_a_binary_sum(lanes):
    dut = unit("binaryxbinary", lanes=lanes)
    found = []

    async def bench(ctx):
        ctx.set(dut.weights, 2**lanes - 1)
        ctx.set(dut.activations, 2**lanes - 1)
        ctx.set(dut.valid, 1)
        ctx.set(dut.last, 1)
        for cycle in range(dut.latency + 3):
            await ctx.tick()
            ctx.set(dut.weights, 0)
            ctx.set(dut.valid, cycle == 0)
            found.append((ctx.get(dut.done), ctx.get(dut.total)))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    sums = {cycle: total for cycle, (done, total) in enumerate(found, 1) if done}
    # All bits agree in the first beat, and none in the second.
    assert sums == {dut.latency: lanes, dut.latency + 1: 2 ** len(dut.total) - lanes}

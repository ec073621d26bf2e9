import itertools

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.sim import Simulator

from trilith.hw import DotProduct
from trilith.hw.engine.dot import add_or_subtract


def test_add_or_subtract_exhaustively():
    m = Module()
    a, b, subtract, total = Signal(signed(4)), Signal(signed(3)), Signal(), Signal(signed(6))
    m.d.comb += total.eq(add_or_subtract(a, b, subtract, 6))

    async def testbench(ctx):
        for x in range(-8, 8):
            for y in range(-4, 4):
                for minus in (0, 1):
                    ctx.set(a, x)
                    ctx.set(b, y)
                    ctx.set(subtract, minus)
                    assert ctx.get(total) == (x - y if minus else x + y)

    simulator = Simulator(m)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize(
    ("lanes", "tokens", "act_bits", "levels_per_stage", "form", "latency"),
    [
        (5, 1, 8, 1, "fpga", 5),
        (7, 2, 4, 2, "fpga", 4),
        (9, 1, 2, 3, "fpga", 4),
        (16, 1, 8, 4, "fpga", 3),
        (1, 1, 8, 1, "fpga", 2),
        (5, 1, 8, 1, "compact-fpga", 5),
        (7, 2, 4, 2, "compact-fpga", 4),
        (9, 1, 2, 3, "compact-fpga", 4),
        (16, 1, 8, 4, "compact-fpga", 3),
        (33, 1, 8, 2, "compact-fpga", 5),
        (1, 1, 8, 1, "compact-fpga", 2),
        (5, 1, 8, 1, "asic", 4),
        (7, 2, 4, 2, "asic", 3),
        (9, 1, 2, 3, "asic", 3),
        (16, 1, 8, 4, "asic", 2),
        (1, 1, 8, 1, "asic", 1),
        (5, 1, 8, 1, "pairs", 4),
        (7, 2, 4, 2, "pairs", 3),
        (9, 1, 2, 3, "pairs", 3),
        (16, 1, 8, 4, "pairs", 2),
        (2, 2, 8, 1, "pairs", 2),
        (1, 1, 8, 1, "pairs", 1),
    ],
)
def test_a_dot_product_of_each_token_per_clock(
    lanes, tokens, act_bits, levels_per_stage, form, latency
):
    dut = DotProduct(
        lanes=lanes,
        tokens=tokens,
        act_bits=act_bits,
        levels_per_stage=levels_per_stage,
        target="asic" if form == "pairs" else form,
        operands="pairs" if form == "pairs" else "lanes",
        place=lanes % 5,
    )
    rng = np.random.default_rng(lanes)
    clocks = 40
    low, high = (-1 if act_bits == 2 else -(2 ** (act_bits - 1))), 2 ** (act_bits - 1) - 1
    trits = rng.integers(-1, 2, (clocks, lanes))
    x = rng.integers(low, high + 1, (clocks, tokens, lanes))
    x[0], trits[0] = low, -1  # The largest sum there is.
    x[1], trits[1] = low, 1
    expected = np.einsum("cl,ctl->ct", trits, x)

    async def testbench(ctx):
        for clock in range(clocks + latency):
            if clock < clocks:
                ctx.set(dut.zero, sum(int(w == 0) << i for i, w in enumerate(trits[clock])))
                # A zero's sign means nothing: give it either.
                signs = np.where(trits[clock] == 0, rng.integers(0, 2, lanes), trits[clock] < 0)
                ctx.set(dut.negative, sum(int(s) << i for i, s in enumerate(signs)))
            if 1 <= clock <= clocks:
                for t in range(tokens):
                    for lane in range(lanes):
                        ctx.set(dut.activations[t][lane], int(x[clock - 1, t, lane]))
            if clock >= latency:
                sign = -1 if ctx.get(dut.subtract) else 1
                got = [sign * ctx.get(dut.sums[t]) for t in range(tokens)]
                assert got == expected[clock - latency].tolist()
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def test_operands_of_pairs_exhaustively():
    dut = DotProduct(
        lanes=2,
        tokens=1,
        act_bits=4,
        levels_per_stage=1,
        target="asic",
        operands="pairs",
        without=["sum"],
    )

    async def testbench(ctx):
        for trits in itertools.product((-1, 0, 1), repeat=2):
            for junk in (0, 1):
                ctx.set(dut.zero, sum((t == 0) << i for i, t in enumerate(trits)))
                signs = [t < 0 or (t == 0 and junk) for t in trits]
                ctx.set(dut.negative, sum(sign << i for i, sign in enumerate(signs)))
                await ctx.tick()
                for x in itertools.product(range(-8, 8), repeat=2):
                    for lane in range(2):
                        ctx.set(dut.activations[0][lane], x[lane])
                    sign = -1 if ctx.get(dut.subtract) else 1
                    assert sign * ctx.get(dut.sums[0]) == trits[0] * x[0] + trits[1] * x[1]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()

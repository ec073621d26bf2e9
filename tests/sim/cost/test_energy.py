import json
import re

import pytest

from trilith.sim.cost.energy import Product, buffered, matmul_energy, ternary_ratios
from trilith.sim.cost.memories import DRAM, find_dram
from trilith.sim.cost.model_shapes import GPT3, MODELS
from trilith.sim.cost.paper import paper_energy, paper_ratio
from trilith.sim.cost.profiles import (
    FORMATS,
    MissingFigureError,
    accumulator_bits,
    find_format,
    find_profile,
)
from trilith.sim.gatelevel import table
from trilith.sim.gatelevel.table import load_table
from trilith.sim.tools.errors import EstimateError

#: BitNet (arXiv 2310.11453), Table 1: J for 512 tokens; 7 nm MUL and ADD, 45 nm MUL and ADD.
TABLE1 = {
    ("6.7b", 32): (4.41, 1.28, 12.46, 3.03),
    ("6.7b", 16): (1.14, 0.54, 3.70, 1.35),
    ("6.7b", 1): (0.02, 0.04, 0.08, 0.13),
    ("13b", 32): (8.58, 2.49, 24.23, 5.89),
    ("13b", 16): (2.23, 1.05, 7.20, 2.62),
    ("13b", 1): (0.04, 0.06, 0.12, 0.24),
    ("30b", 32): (20.09, 5.83, 56.73, 13.80),
    ("30b", 16): (5.21, 2.45, 16.87, 6.13),
    ("30b", 1): (0.06, 0.14, 0.20, 0.53),
}


def test_the_recipe_gives_table_1():
    equal, others = 0, []
    for (size, bits), published in TABLE1.items():
        model = GPT3[f"gpt3-{size}"]
        new = paper_energy(model, bits=bits)
        old = paper_energy(model, bits=bits, profile=find_profile("horowitz45"))
        for value, cell in zip(
            (new.multiply, new.add, old.multiply, old.add), published, strict=True
        ):
            if round(value, 2) == cell:
                equal += 1
            else:
                others.append(abs(value - cell))
    assert equal == 34
    assert max(others) < 0.01


def test_the_recipe_gives_the_ratios():
    published = (8.8, 11.0, 15.0, 18.6, 21.7, 29.1, 32.9, 38.8, 41.2)
    for model, ratio in zip(GPT3.values(), published, strict=True):
        assert paper_ratio(model) == pytest.approx(ratio, abs=0.1)


@pytest.mark.parametrize(
    ("name", "bits", "joules"),
    [
        ("llama3.2-1b", 16, 0.258),
        ("gemma3-1b", 16, 0.186),
        ("qwen2.5-1.5b", 16, 0.347),
        ("smollm2-1.7b", 16, 0.425),
        ("minicpm-2b", 16, 0.649),
        ("bitnet-2b4t", 1, 0.028),
    ],
)
def test_the_recipe_gives_the_2b4t_report(name, bits, joules):
    """Table 1 of arXiv 2504.12285, which the recipe was not made from."""
    assert round(paper_energy(MODELS[name], bits=bits).total, 3) == joules


def test_what_71_leaves_out():
    new = ternary_ratios(find_profile("jouppi7"), (8, 20, 24, 32))
    assert {bits: round(ratio, 1) for bits, ratio in new.items()} == {
        8: 71.4,
        20: 28.6,
        24: 23.8,
        32: 16.7,
    }
    assert ternary_ratios(find_profile("horowitz45"), (8,))[8] == pytest.approx(50.0, abs=1e-9)
    moved = FORMATS["fp16"].weight_bits
    assert moved / FORMATS["ternary-2.0"].weight_bits == 8.0
    assert moved / FORMATS["ternary-1.6"].weight_bits == 10.0


def test_accumulators_are_as_wide_as_the_engines():
    assert accumulator_bits(FORMATS["ternary-1.6"], 2560) == 20
    assert accumulator_bits(FORMATS["ternary-1.6"], 6912) == 21
    assert accumulator_bits(FORMATS["ternary-1.6"], 23040) == 23
    # 2560 products of -128 and -128.
    assert accumulator_bits(FORMATS["int8"], 2560) == (2560 * 2**14).bit_length() + 1


def test_wider_additions_cost_more_and_the_published_widths_what_is_published():
    for name, published in (
        ("jouppi7", {8: 0.007, 32: 0.03}),
        ("horowitz45", {8: 0.03, 16: 0.05, 32: 0.1}),
    ):
        profile = find_profile(name)
        costs = [profile.integer_add(bits).pj for bits in range(1, 41)]
        assert costs == sorted(costs)
        for bits, pj in published.items():
            assert profile.integer_add(bits).pj == pj
            assert profile.integer_add(bits).label == "published"
        assert profile.integer_add(20).label == "modelled"


def test_a_product_by_hand():
    profile = find_profile("jouppi7")
    parts = matmul_energy(
        Product(n=32, k=2560, tokens=4, rows=16, pass_tokens=2),
        FORMATS["ternary-1.6"],
        profile,
        DRAM["lpddr5"],
    )
    assert parts.mac == pytest.approx(32 * 2560 * 4 * 0.0175)
    # Each activation is read for two groups of 16 rows; results have 20 bits.
    assert parts.sram == pytest.approx((8 * 2560 * 4 * 2 + 20 * 32 * 4) * 7.5 / 64)
    assert parts.dram == pytest.approx(1.6 * 32 * 2560 * 2 * 9)
    assert parts.total == parts.mac + parts.sram + parts.dram
    paper, fp16 = (
        matmul_energy(
            Product(n=32, k=2560, tokens=4), FORMATS[name], find_profile("bitnet-paper"), None
        )
        for name in ("ternary-1.6", "fp16")
    )
    assert fp16.mac / paper.mac == pytest.approx(0.5 / 0.007)
    assert paper.dram == 0


def test_what_no_source_has_is_refused():
    profile = find_profile("jouppi7")
    message = r"^profile jouppi7 has no figure for 'fp8 mul'; it has int8 add, "
    with pytest.raises(MissingFigureError, match=message):
        profile.mac(FORMATS["fp8"], 100)
    assert find_profile("horowitz45").mac(FORMATS["int4"], 100)["multiply"].pj == 0.137
    with pytest.raises(MissingFigureError, match="'int8 x int4 mul'"):
        profile.mac(FORMATS["int4"], 100)


def stored_row(unit, clock_ghz, energy_fj, area, met=True):
    return {
        **{
            "unit": unit,
            "lanes": 16,
            "rows": 1,
            "levels_per_stage": 1,
            "interleave": 1,
            "latency": 9,
        },
        **{"clock_ghz": clock_ghz, "met": met, "max_ghz": 1.0, "energy_fj": energy_fj},
        **{"internal_fj": 1.0, "switching_fj": 1.0, "leakage_fj": 1.0, "refused": 0.0},
        **{
            "ports_fj": 1.0,
            "opensta_internal_fj": 2.0,
            "glitches_fj": None,
            "glitch_transitions": None,
        },
        **{"parts_fj": {"clock": 13.0}, "area": area, "cells": 10, "flip_flops": 5, "results": 9},
        **{"operands": "trained", "beats": 99, "zero_weights": 0.4, "zero_activations": 0.2},
        **{"provenance": 0, "key": "0"},
    }


def stored_table():
    macro = {"name": "m", "words": 1024, "bits": 64, "read_pj": 64.0, "write_pj": 128.0}
    return {
        "library": "demo",
        "node": "7 nm, 0.7 V",
        "provenance": [{"files": [], "voltage": "0.7"}],
        "sram": [macro | {"area": 1.0, "leakage_nw": 1.0, "source": "a file"}],
        "rows": [
            stored_row("ternaryxint8-escape", 1.0, 39.0, 320.0),
            stored_row("ternaryxint8-escape", 0.5, 40.0, 320.0),
            stored_row("fp16xfp16-fp32-fused", 1.0, 279.0, 2400.0, met=False),
            stored_row("fp16xfp16-fp32-fused", 0.5, 280.0, 2400.0),
        ],
    }


def test_a_measured_profile(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_DATA", tmp_path)
    message = (
        "the energy profile must be one of horowitz45, jouppi7, bitnet-paper, not 'gate:demo'; "
        "no file sim/gatelevel/data/gate-demo.json has measured figures for it"
    )
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        find_profile("gate:demo")
    (tmp_path / "gate-demo.json").write_text(json.dumps(stored_table()))
    profile = find_profile("gate:demo")
    assert (profile.name, profile.node) == ("gate:demo", "7 nm, 0.7 V")
    parts = matmul_energy(Product(n=1, k=1000, tokens=1), FORMATS["ternary-1.6"], profile, None)
    # 40 fJ at the frequency that FP16 meets too, 13 of them for clock pins; the charge of these
    # pins is 1 fJ more. A read is 64 pJ, and a result has 18 bits.
    assert (parts.mac, parts.register) == (pytest.approx(27), pytest.approx(14))
    assert parts.sram == pytest.approx(8 * 1000 + 18)
    assert profile.figure("ternaryxint8-escape mac").label == "measured"
    assert profile.areas == {"ternaryxint8-escape": 20, "fp16xfp16-fp32-fused": 150}
    with pytest.raises(MissingFigureError, match="'int8 mul'"):
        profile.mac(FORMATS["int8"], 100)
    # The width of a measured adder is fixed.
    message = (
        "adder_bits must not be given with profile gate:demo, not 20: its units were measured with "
        "adders as wide as their sums; leave it out, or choose a published profile"
    )
    for number_format in FORMATS.values():
        with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
            profile.mac(number_format, 100, 20)
    # Four banks of the only macro.
    assert profile.sram_bit(32) == profile.sram_bit(8) == 1
    assert profile.figure("sram 32 KB").label == "modelled"
    with pytest.raises(MissingFigureError, match="'sram 1024 KB'"):
        profile.sram_bit(1024)
    (tmp_path / "gate-demo.json").write_text('{"rows": {"a": 1}}')
    with pytest.raises(EstimateError, match="must be a table of measured figures: "):
        find_profile("gate:demo")


def test_the_activation_buffer_is_shared_by_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_DATA", tmp_path)
    (tmp_path / "gate-demo.json").write_text(json.dumps(stored_table()))
    found = {(one.unit, one.rows): one for one in buffered(load_table("demo"), (1, 4), n=10)}
    # Ten outputs: ten reads or three, and a write, of 8 or 16 bits at 1 and 2 pJ.
    for rows, reads in ((1, 10), (4, 3)):
        ternary = found["ternaryxint8-escape", rows]
        assert (ternary.mac_fj, ternary.label) == (41, "measured")
        assert ternary.buffer_fj == pytest.approx(8 * 1000 * (reads * 1 + 2) / 10)
        assert found["fp16xfp16-fp32-fused", rows].buffer_fj == 2 * ternary.buffer_fj
    assert len(found) == 4
    bare = stored_table() | {"sram": []}
    (tmp_path / "gate-demo.json").write_text(json.dumps(bare))
    assert buffered(load_table("demo"), (1,), n=10) == []
    # Another process of the same node is published.
    (tmp_path / "gate-asap7.json").write_text(json.dumps(bare))
    (first, *_) = buffered(load_table("asap7"), (1,), n=10)
    assert first.label == "published"
    assert first.buffer_fj == pytest.approx(8 * 1000 * 7.5 / 64 * 11 / 10)


@pytest.mark.parametrize(
    ("find", "name", "start"),
    [
        (find_profile, "tsmc", "the energy profile must be one of horowitz45, jouppi7, "),
        (find_format, "int3", "the number format must be one of fp32, fp16, "),
        (find_dram, "sdram", "the kind of DRAM must be one of ddr3, ddr4, "),
    ],
)
def test_unknown_names_list_the_known(find, name, start):
    with pytest.raises(EstimateError, match=f"^{re.escape(start)}.*, not {name!r}$"):
        find(name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n": 0}, "n must be an integer from 1 to 2**31, not 0"),
        ({"tokens": -1}, "tokens must be an integer from 1 to 2**31, not -1"),
        ({"sram_kilobytes": 5}, "sram_kilobytes must be one of 8, 32, 1024, not 5"),
        ({"adder_bits": 0}, "adder_bits must be from 1 to 64, not 0"),
    ],
)
def test_bad_sizes(values, message):
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        Product(**{"n": 1, "k": 1, "tokens": 1} | values)

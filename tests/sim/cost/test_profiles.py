import json
import re
from dataclasses import replace

import pytest

from trilith.golden.codes import CODES
from trilith.hw import MatVecConfig
from trilith.sim.cost.energy import Product, matmul_energy
from trilith.sim.cost.formats import FORMATS, accumulator_bits, engine_format, find_format
from trilith.sim.cost.profiles import MissingFigureError, find_profile, measured_profile
from trilith.sim.gatelevel import table
from trilith.sim.tools.errors import EstimateError

ARRAY = MatVecConfig(lanes=64, rows=16, k_max=2560, n_max=2560)


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


#: pJ at 45 nm (Horowitz, ISSCC 2014) and at 7 nm (Jouppi et al., ISCA 2021).
PUBLISHED = {
    "horowitz45": {
        **{"int8 add": 0.03, "int16 add": 0.05, "int32 add": 0.1, "fp16 add": 0.4},
        **{"fp32 add": 0.9, "int8 mul": 0.2, "int32 mul": 3.1, "fp16 mul": 1.1, "fp32 mul": 3.7},
        **{"sram 8 KB": 10, "sram 32 KB": 20, "sram 1024 KB": 100, "int8 x int4 mul": 0.137},
    },
    "jouppi7": {
        **{"int8 add": 0.007, "int32 add": 0.03, "bf16 add": 0.11, "fp16 add": 0.16},
        **{"fp32 add": 0.38, "int8 mul": 0.07, "int32 mul": 1.48, "bf16 mul": 0.21},
        **{"fp16 mul": 0.34, "fp32 mul": 1.31},
        **{"sram 8 KB": 7.5, "sram 32 KB": 8.5, "sram 1024 KB": 14},
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures_are_those_of_the_papers(name):
    figures = find_profile(name).figures
    assert {key: figure.pj for key, figure in figures.items()} == PUBLISHED[name]
    assert {figure.label for figure in figures.values()} == {"published"}


def test_the_paper_has_jouppis_figures_and_adds_eight_bits():
    profile = find_profile("bitnet-paper")
    assert profile.figures == find_profile("jouppi7").figures
    assert profile.mac(FORMATS["ternary-1.6"], 2560)["add"].pj == 0.007


@pytest.mark.parametrize("kilobytes", [8, 32, 1024])
def test_a_library_without_memories_has_the_published_ones_of_its_node(kilobytes):
    assert not table.load_table("asap7").sram
    figure = find_profile("gate:asap7").figure(f"sram {kilobytes} KB")
    assert figure.pj == PUBLISHED["jouppi7"][f"sram {kilobytes} KB"]
    assert figure.label == "published"


#: Stored bits of a weight and of an activation, and bits of a product where it is an integer:
#: -128 times -128 has 15 bits beside its sign, -128 times -8 has 11, and -128 times -1 has 8.
BITS = {
    **{"fp32": (32, 32, 0), "fp16": (16, 16, 0), "bf16": (16, 16, 0), "fp8": (8, 8, 0)},
    **{"w4a16": (4, 16, 0), "int8": (8, 8, 15), "int4": (4, 8, 11), "binary": (1, 8, 8)},
    **{"ternary-2.0": (2, 8, 8), "ternary-1.6": (1.6, 8, 8), "ternary-1.25": (1.25, 8, 8)},
}


def test_formats_store_their_bits():
    found = {
        one.name: (one.weight_bits, one.act_bits, one.product_bits) for one in FORMATS.values()
    }
    assert found == BITS


def test_what_no_source_has_is_refused():
    profile = find_profile("jouppi7")
    message = r"^profile jouppi7 has no figure for 'fp8 mul'; it has int8 add, "
    with pytest.raises(MissingFigureError, match=message):
        profile.mac(FORMATS["fp8"], 100)
    assert find_profile("horowitz45").mac(FORMATS["int4"], 100)["multiply"].pj == 0.137
    with pytest.raises(MissingFigureError, match="'int8 x int4 mul'"):
        profile.mac(FORMATS["int4"], 100)


def test_every_weight_code_has_one_number_format():
    for name, code in CODES.items():
        (one,) = [one for one in FORMATS.values() if name in one.codes]
        assert one.weight_bits == code.bits_per_trit


@pytest.mark.parametrize(("act_bits", "width"), [(8, 20), (4, 16), (2, 13)])
def test_an_engines_activations_and_accumulators_are_its_own(act_bits, width):
    config = replace(ARRAY, act_bits=act_bits, k_max=2560)
    number_format = engine_format(config)
    assert (number_format.act_bits, number_format.weight_bits) == (act_bits, 1.6)
    assert accumulator_bits(number_format, 2560) == config.acc_width == width
    assert f"{number_format.measured} mac" in find_profile("gate:asap7").figures


def test_a_measured_profile(tmp_path, monkeypatch, stored_table):
    monkeypatch.setattr(table, "_DATA", tmp_path)
    message = (
        "the energy profile must be one of horowitz45, jouppi7, bitnet-paper, not 'gate:demo'; "
        "no file sim/gatelevel/data/gate-demo.json has measured figures for it"
    )
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        find_profile("gate:demo")
    (tmp_path / "gate-demo.json").write_text(json.dumps(stored_table))
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


@pytest.mark.parametrize(
    ("find", "name", "start"),
    [
        (find_profile, "tsmc", "the energy profile must be one of horowitz45, jouppi7, "),
        (find_format, "int3", "the number format must be one of fp32, fp16, "),
    ],
)
def test_unknown_names_list_the_known(find, name, start):
    with pytest.raises(EstimateError, match=f"^{re.escape(start)}.*, not {name!r}$"):
        find(name)


@pytest.mark.parametrize(("method", "stale"), [(table.METHOD, 0), (table.METHOD - 1, 1), (None, 1)])
def test_a_measured_profile_says_that_an_earlier_method_is_in_it(method, stale):
    stored = table.load_table("asap7")
    row = replace(stored.row("int8xint8"), provenance={"method": method})
    profile = measured_profile(replace(stored, rows=(row,)))
    assert profile.boundary.endswith("; 1 of 1 units are of an earlier method") == bool(stale)
    source = profile.figures["int8xint8 mac"].source
    assert source.endswith(", by an earlier method (docs/energy.md)") == bool(stale)

"""Technology files."""

import re
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from trilith.sim.cost.designs import DESIGNS
from trilith.sim.cost.memories import find_memory
from trilith.sim.cost.model_shapes import MODELS
from trilith.sim.cost.profiles import find_profile, profile_names
from trilith.sim.cost.provenance import used_figures
from trilith.sim.cost.system import estimate
from trilith.sim.cost.technology import Price, Technology, read_technology, technology_text
from trilith.sim.tools.errors import EstimateError

BITNET, ARRAY = MODELS["bitnet-2b4t"], DESIGNS["array-1024"]
TEXT = """
name = "mine"
node = "3 nm"
boundary = "arithmetic only"

[[energy]]
source = "a measurement"
label = "measured"
pj = { "int8 add" = 0.004, "int8 mul" = 0.05, "fp16 mul" = 0.2, "fp16 add" = 0.1 }

[[energy]]
source = "a memory compiler"
pj = { "sram 8 KB" = 3, "sram 32 KB" = 4.5, "sram 1024 KB" = 9 }

[[area]]
source = "a synthesis"
um2 = { "int8 add" = 2.0, "int8 mul" = 20.0 }

[memory.stack]
gb_s = 800
gb = 16
pj_per_bit = 2.5
boundary = "device"
source = "a data sheet"

[price]
usd_per_machine = 400
usd_per_kwh = 0.25
source = "a shop"
"""


def written(tmp_path, text):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", profile_names())
def test_the_file_of_each_profile_has_the_same_figures(tmp_path, name):
    technology = Technology(
        profile=find_profile(name),
        memories={"lpddr5": find_memory("lpddr5"), "on-chip": find_memory("on-chip")},
        price=Price(usd_per_kwh=0.25, source='a "shop"\n'),
    )
    found = read_technology(written(tmp_path, technology_text(technology)))
    assert found.profile == technology.profile
    assert found.price == technology.price
    assert found.memories["on-chip"] == replace(find_memory("on-chip"), name="on-chip")
    if "sram 8 KB" not in found.profile.figures:
        return  # The library has no memory, and no estimate.
    one, other = (
        estimate(BITNET, ARRAY, memory, profile=profile)
        for memory, profile in (
            (find_memory("lpddr5"), technology.profile),
            (found.memory("lpddr5"), found.profile),
        )
    )
    assert (one.seconds, one.parts) == (other.seconds, other.parts)
    assert one.attention_pj == other.attention_pj


def test_every_figure_and_its_origin(tmp_path):
    technology = read_technology(written(tmp_path, TEXT))
    memory = technology.memory(None)
    assert (memory.name, memory.gigabytes, memory.dram.pj_per_bit) == ("stack", 16, 2.5)
    assert technology.memory("ddr4") == find_memory("ddr4")
    assert technology.text == f"mine of {technology.file}: 3 nm; arithmetic only"
    used = used_figures(BITNET, [ARRAY], memory, technology.profile)
    assert {name: (one.pj, one.label, one.source) for name, one in used.items()} == {
        "ternary-1.6, add": (
            pytest.approx(0.004 * 21 / 8),
            "modelled",
            "21/8 of the 8-bit add (a measurement)",
        ),
        "int8, multiply": (0.05, "measured", "a measurement"),
        "int8, add": (
            pytest.approx(0.004 * 27 / 8),
            "modelled",
            "27/8 of the 8-bit add (a measurement)",
        ),
        "fp16, multiply": (0.2, "measured", "a measurement"),
        "fp16, add": (0.1, "measured", "a measurement"),
        "64 bits of SRAM, 32 KB": (4.5, "published", "a memory compiler"),
        "bit of memory": (2.5, "published", "a data sheet; device"),
    }


def test_the_example_of_the_documentation(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "estimates.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    technology = read_technology(written(tmp_path, example))
    memory = technology.memory(None)
    assert (memory.name, memory.gigabytes_per_second) == ("stack", 800)
    assert estimate(BITNET, ARRAY, memory, profile=technology.profile).joules_per_token > 0


def test_a_file_may_begin_with_the_figures_of_a_profile(tmp_path):
    text = """
name = "mine"
node = "7 nm"
boundary = "arithmetic only"
based_on = "jouppi7"
[[energy]]
source = "a measurement"
pj = { "fp16 mul" = 0.5 }
"""
    found, base = read_technology(written(tmp_path, text)).profile, find_profile("jouppi7")
    changed = {name for name in base.figures if found.figures[name] != base.figures[name]}
    assert changed == {"fp16 mul"}
    assert (found.figure("fp16 mul").pj, len(found.figures)) == (0.5, len(base.figures))
    paper = read_technology(written(tmp_path, text.replace("jouppi7", "bitnet-paper"))).profile
    assert (found.adder_bits, paper.adder_bits) == (None, 8)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('node = "3 nm"', "", "the key 'node' is missing; add it"),
        ('node = "3 nm"', "node = 3", "the key 'node' must be of type str, not 3"),
        ('node = "3 nm"', 'node = "3 nm"\nvolt = 1', "the key 'volt' is unknown; legal keys are "),
        ("0.004", "-0.004", "energy 1: the key 'int8 add' of pj must be a number from 0 to 1e9, "),
        ("0.004", "nan", "energy 1: the key 'int8 add' of pj must be a number from 0 to 1e9, not"),
        ("0.004", "inf", "energy 1: the key 'int8 add' of pj must be a number from 0 to 1e9, not"),
        (
            "0.004",
            "1.05e9",
            "energy 1: the key 'int8 add' of pj must be a number from 0 to 1e9, no",
        ),
        ("0.004", "true", "energy 1: the key 'int8 add' of pj must be a number from 0 to 1e9, no"),
        ("0.004", '"4 fJ"', "energy 1: the key 'int8 add' of pj must be a number from 0 to 1e9, "),
        ('"int8 add" = 0.004', '"int8 ad" = 1', "energy 1: the key 'int8 ad' of pj is unknown; "),
        ('label = "measured"', 'label = "guessed"', "energy 1: the label must be published, mea"),
        ('source = "a measurement"', "", "energy 1: the key 'source' is missing; add it"),
        ('"int8 add" = 2.0', '"int8 add" = -2', "area 1: the key 'int8 add' of um2 must be a num"),
        ('"int8 add" = 2.0', '"gates" = 2', "area 1: the key 'gates' of um2 is unknown; legal "),
        ("gb_s = 800", "gb_s = -1", "memory.stack: gb_s must be from 0.001 to 1e6, not -1"),
        ("gb_s = 800", "gb_s = nan", "memory.stack: the key 'gb_s' must be of type float, not nan"),
        ("gb_s = 800", "mb_s = 8", "memory.stack: the key 'mb_s' is unknown; legal keys are gb_s"),
        ("gb = 16", "gb = 0", "memory.stack: gb must be from 1e-06 to 1e6, not 0"),
        ("pj_per_bit = 2.5", "", "memory.stack: the key pj_per_bit is missing; add the energy to"),
        (
            "pj_per_bit = 2.5",
            "pj_per_bit = 2.5\non_chip = true",
            "memory.stack: on_chip must not be true with pj_per_bit = 2.5; leave one out",
        ),
        ("= 2.5", "= -2.5", "memory.stack: pj_per_bit must be from 0 to 1000000.0, not -2.5"),
        ("= 400", "= 0", "price: usd_per_machine must be from 1e-06 to 1000000000.0, not 0"),
        ("= 400", "= 400\neur = 1", "price: the key 'eur' is unknown; legal keys are usd_per_mac"),
        ("[price]", "[[price]]", "the key 'price' must be a table, not [{"),
        ("[[area]]", "[area]", "the key 'area' must be of type list, not {"),
        ('name = "mine"', "name = ", "must be TOML: "),
        ('name = "mine"', 'name = "mine"\nadder_bits = 0', "adder_bits must be from 1 to 64, not"),
        (
            'name = "mine"',
            'name = "mine"\nbased_on = "tsmc"',
            "based_on: the energy profile must be one of horowitz45, ",
        ),
    ],
)
def test_what_is_refused(tmp_path, old, new, message):
    assert old in TEXT
    file = written(tmp_path, TEXT.replace(old, new, 1))
    with pytest.raises(EstimateError, match=f"^{re.escape(f'{file}: {message}')}"):
        read_technology(file)


ZEROS = """
[[zeros]]
unit = "ternaryxint8-escape"
source = "a measurement"
share = [0.0, 0.5, 1.0]
factor = [1.0, 0.8, 0.2]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("escape", "sherry", "zeros 1: the energy 'ternaryxint8-sherry mac' is missing; add it"),
        ("0.5", "-0.5", "zeros 1: share must ascend from 0 to 1 at most, not [0.0, -0.5, 1.0]"),
        ("0.2]", "]", "zeros 1: factor must have a number from 0 on for each share, not [1.0, 0"),
        ("0.2", "-1.0", "zeros 1: factor must have a number from 0 on for each share, not [1.0,"),
    ],
)
def test_energies_by_share_of_zeros(tmp_path, old, new, message):
    unit = '"ternaryxint8-escape mac" = 0.01, "ternaryxint8-escape register" = 0.01, '
    text = TEXT.replace('pj = { "int8 add"', f'pj = {{ {unit}"int8 add"', 1) + ZEROS
    profile = read_technology(written(tmp_path, text)).profile
    for share, factor in ((0, 1.0), (0.25, 0.9), (0.5, 0.8), (0.75, 0.5), (1, 0.2)):
        figure = profile.with_zeros(share).figure("ternaryxint8-escape mac")
        assert figure.pj == pytest.approx(0.01 * factor)
        assert figure.source.endswith(f"; times {factor:.3f} for {share:.1%} zeros")
        assert figure.label == "modelled"
    assert text.rindex(old) > text.index("[[zeros]]")
    place = text.rindex(old)
    file = written(tmp_path, text[:place] + new + text[place + len(old) :])
    with pytest.raises(EstimateError, match=f"^{re.escape(f'{file}: {message}')}"):
        read_technology(file)


def test_measured_energies_by_share_of_zeros():
    """Each library has the same unit with five shares; the stored figure is that of its own."""
    for name in profile_names():
        profile = find_profile(name)
        assert bool(profile.zeros) == profile.measured
        for unit, pairs in profile.zeros.items():
            shares = [share for share, _ in pairs]
            assert shares == pytest.approx([0, 0.2, 0.4, 0.6, 0.8], abs=2e-3)
            factors = [factor for _, factor in pairs]
            assert factors[-1] == min(factors) < 1 < max(factors)
            own = profile.with_zeros(0.306).figure(f"{unit} mac").pj
            assert own == pytest.approx(profile.figure(f"{unit} mac").pj, rel=2e-3)
            # Nothing is extrapolated.
            assert profile.with_zeros(0.95).figure(f"{unit} mac").pj == pytest.approx(
                profile.figure(f"{unit} mac").pj * factors[-1]
            )


def test_files_that_cannot_be_read(tmp_path):
    for file, message in (
        (tmp_path / "none.toml", "must be a technology file that can be read: No such file or"),
        (tmp_path, "must be a technology file, not a folder"),
        (written(tmp_path, ""), "must be a technology file, not an empty file; "),
    ):
        with pytest.raises(EstimateError, match=f"^{re.escape(f'{file}: {message}')}"):
            read_technology(file)
    large = tmp_path / "large.toml"
    large.write_text("#" * (2**22 + 1))
    message = f"{large}: must be a technology file of at most 4194304 bytes, not 4194305"
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        read_technology(large)


def test_a_memory_without_a_limit():
    """The figures of a memory on chip are those of the largest SRAM."""
    memory = replace(find_memory("on-chip"), gigabytes=inf)
    used = used_figures(BITNET, [ARRAY], memory, find_profile("jouppi7"))
    assert used["64 bits of SRAM, 1024 KB"].pj == 14
    assert "bit of memory" not in used

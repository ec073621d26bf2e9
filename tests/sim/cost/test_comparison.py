from dataclasses import replace
from math import inf

import pytest

from trilith.sim.cost.comparison import Equal, mac_area, rival
from trilith.sim.cost.designs import DESIGNS
from trilith.sim.cost.formats import FORMATS
from trilith.sim.cost.memories import find_memory
from trilith.sim.cost.model_shapes import MODELS
from trilith.sim.cost.profiles import find_profile
from trilith.sim.cost.system import estimate
from trilith.sim.tools.errors import EstimateError

BITNET = MODELS["bitnet-2b4t"]
ARRAY = DESIGNS["array-1024"]
LPDDR5 = find_memory("lpddr5")


def test_what_is_held_equal():
    profile = find_profile("jouppi7")
    for number_format in ("fp16", "int8"):
        ours, macs = rival(ARRAY, number_format, mode="macs", k=2560)
        assert (ours, macs.full_rate) == (ARRAY, 1024)
        _, area = rival(ARRAY, number_format, mode="area", k=2560)
        ternary = mac_area(FORMATS["ternary-1.6"], 2560) * 1024
        assert mac_area(FORMATS[number_format], 2560) * area.full_rate == pytest.approx(ternary)
        _, power = rival(ARRAY, number_format, mode="power", k=2560, profile=profile)
        each = sum(one.pj for one in profile.mac(FORMATS[number_format], 2560).values())
        assert each * power.full_rate == pytest.approx(1024 * 0.0175)
        ours, bandwidth = rival(ARRAY, number_format, mode="bandwidth", k=2560)
        assert ours.full_rate == bandwidth.full_rate == inf
    # FP16: multiplier and adder; ternary: an adder of 20 bits.
    assert mac_area(FORMATS["fp16"], 2560) == 3000
    assert mac_area(FORMATS["ternary-1.6"], 2560) == 90


@pytest.mark.parametrize(
    ("name", "head", "bits", "attention"),
    [
        ("fp32", "fp32", 32, "fp32"),
        ("fp16", "fp16", 16, "fp16"),
        ("bf16", "bf16", 16, "bf16"),
        ("fp8", "fp8", 8, "fp8"),
        ("w4a16", "fp16", 16, "fp16"),
        ("int8", "int8", 8, "int8"),
        ("int4", "int4", 8, "int8"),
        ("ternary-2.0", "int8", 8, "int8"),
        ("binary", "int8", 8, "int8"),
    ],
)
def test_a_rival_has_one_format_throughout(name, head, bits, attention):
    """Integers leave attention as it is in the given design."""
    assert name in FORMATS
    stored = replace(FORMATS["int8"], name="Q6_K", weight_bits=6.5625)
    ours = replace(ARRAY, attention_format="int8", stored_head=stored)
    for mode in ("macs", "bandwidth"):
        same, theirs = rival(ours, name, mode=mode, k=2560)
        assert same.head == stored
        assert (theirs.head.name, theirs.kv_bits, theirs.attention_format) == (
            head,
            bits,
            attention,
        )
    assert {name for name in FORMATS if name.startswith("ternary")} == {
        name for name, one in FORMATS.items() if one.head == "int8" and name != "binary"
    }


def test_areas_of_a_profile_of_ones_own():
    profile = replace(find_profile("jouppi7"), areas={"int8 add": 2.0, "int8 mul": 20.0})
    assert mac_area(FORMATS["ternary-1.6"], 2560, profile) == 2 * 20 / 8
    assert mac_area(FORMATS["int8"], 2560, profile) == 20 + 2 * 27 / 8
    message = (
        "equal area needs the area of 'fp16 mul', which is unknown for profile jouppi7; known "
    )
    with pytest.raises(EstimateError, match=f"^{message}"):
        mac_area(FORMATS["fp16"], 2560, profile)


def test_equal_bandwidth_at_batch_1_gives_the_ratio_of_bits():
    bare = replace(ARRAY, vector_elements_per_cycle=inf, attention_macs_per_cycle=inf)
    ours, theirs = rival(bare, "fp16", mode="bandwidth", k=2560)
    one, other = (estimate(BITNET, design, LPDDR5) for design in (ours, theirs))
    assert other.linear_memory / one.linear_memory == pytest.approx(10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: rival(ARRAY, "fp16", mode="price", k=1),
            f"equal must be one of {', '.join(Equal)}, not 'price'",
        ),
        (
            lambda: rival(ARRAY, "int4", mode="area", k=1),
            "equal area needs the area of 'int8 x int4 mul', which is unknown for 45 nm; known .*",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(EstimateError, match=f"^{message}$"):
        make()

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

import re
from dataclasses import replace
from math import inf, nan

import pytest

from trilith.sim.cost.memories import DRAM, MEMORIES, find_dram, find_memory
from trilith.sim.tools.errors import EstimateError


@pytest.mark.parametrize(
    ("find", "name", "start"),
    [
        (find_memory, "ddr9", "the memory must be one of ddr3-1333x16, "),
        (find_dram, "sdram", "the kind of DRAM must be one of ddr3, ddr4, "),
    ],
)
def test_unknown_names_list_the_known(find, name, start):
    with pytest.raises(EstimateError, match=f"^{re.escape(start)}.*, not {name!r}$"):
        find(name)


def test_short_names():
    assert find_memory("lpddr5") is MEMORIES["lpddr5-6400x64"]
    assert find_memory("hbm2") is MEMORIES["hbm2"]


def test_every_memory_has_an_energy():
    for memory in MEMORIES.values():
        assert memory.dram in DRAM.values() or memory.gigabytes_per_second == inf


@pytest.mark.parametrize("value", [0, -1.0, nan, -inf, 1e30])
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("gigabytes_per_second", "from 0.001 to 1000000.0"),
        ("gigabytes", "from 1e-06 to 1000000.0"),
    ],
)
def test_bad_amounts(name, rule, value):
    message = re.escape(f"{name} must be {rule}, not {value!r}")
    with pytest.raises(EstimateError, match=f"^{message}$"):
        replace(find_memory("ddr4"), **{name: value})

import re
from math import inf

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
        assert memory.dram in DRAM or memory.gigabytes_per_second == inf

from dataclasses import replace

import pytest

from trilith.sim.cost.designs import DESIGNS, find_design, sustained
from trilith.sim.cost.memories import EFFICIENCY, find_memory
from trilith.sim.tools.errors import EstimateError

ARRAY = DESIGNS["array-1024"]


def test_energy_of_other_machines_is_called_a_lower_bound():
    for name, design in DESIGNS.items():
        ours = design.source.startswith("modelled: the engine's exact cycles")
        assert design.ours == ours
        expected = f"for {name} arithmetic and memory, lower bound, dynamic only"
        assert design.energy_boundary == ("dynamic only" if ours else expected)


def test_the_fabric_sustains_another_share_of_hbm():
    assert sustained(ARRAY, find_memory("lpddr5")) is EFFICIENCY["fabric"]
    assert sustained(ARRAY, find_memory("hbm2e")) is EFFICIENCY["fabric-hbm"]
    assert sustained(DESIGNS["gpu-bf16"], find_memory("hbm2")) is EFFICIENCY["gpu"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: find_design("tpu"), "the design must be one of micro, line, .*, not 'tpu'"),
        (lambda: replace(ARRAY, clock_mhz=0), "clock_mhz must be from 0.001 to 100000, not 0"),
        (lambda: replace(ARRAY, clock_mhz=1e9), r"clock_mhz must be from 0.001 to 100000, not 1.*"),
        (lambda: replace(ARRAY, reader="dma"), "reader must be one of fabric, .*, not 'dma'"),
        (
            lambda: replace(ARRAY, weight_format="ternary-1.6"),
            "array-1024: exactly one of config and weight_format must be given, not both",
        ),
        (
            lambda: replace(ARRAY, config=None),
            "array-1024: exactly one of config and weight_format must be given, not none",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(EstimateError, match=f"^{message}$"):
        make()

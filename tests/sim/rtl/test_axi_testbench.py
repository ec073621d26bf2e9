"""Runs the testbenches of the AXI wrapper; cocotbext-axi drives its buses."""

from pathlib import Path

import pytest

from trilith.hw import MatVecConfig
from trilith.hw.axi.wrapper import BusWidths
from trilith.sim.rtl.axi_testbench import run_axi_testbench
from trilith.sim.rtl.suite import AXI_CASES

#: The folder of the package ``testbenches``.
TESTS = Path(__file__).parents[2]

#: Besides those of ``make sim``: half the rate of the engine, results in words of their own.
HALF = (
    MatVecConfig(lanes=8, rows=5, tokens=2, act_bits=4, code="escape", k_max=100, n_max=24),
    BusWidths(weights=32, activations=32, results=128),
)

#: Other codes, and buses that are wider or narrower than a beat, whole parts of it or not.
MORE = (
    (
        MatVecConfig(lanes=40, rows=3, code="tq1", k_max=400, n_max=20),
        BusWidths(weights=1024, activations=512, results=64),
    ),
    (
        MatVecConfig(lanes=33, rows=2, tokens=3, code="binary", k_max=300, n_max=20),
        BusWidths(weights=64, activations=1024, results=32),
    ),
    (
        MatVecConfig(lanes=80, rows=1, k_max=800, n_max=30),
        BusWidths(weights=128, activations=64, results=64),
    ),
    (
        MatVecConfig(lanes=64, rows=5, tokens=4, code="escape", k_max=512, n_max=40),
        BusWidths(weights=512, activations=256, results=512),
    ),
)


def ident(case: tuple[MatVecConfig, BusWidths]) -> str:
    config, widths = case
    return f"{config.code}-{widths.weights}-{widths.activations}-{widths.results}"


@pytest.mark.parametrize(
    "case",
    [
        *AXI_CASES,
        HALF,
        *(pytest.param(case, marks=pytest.mark.long, id=ident(case)) for case in MORE),
    ],
    ids=ident,
)
def test_axi(case: tuple[MatVecConfig, BusWidths]) -> None:
    passed, reports = run_axi_testbench(*case, "testbenches.axi", path=[TESTS])
    assert passed == 27
    assert [report["jobs"] for report in reports] == [14] * 5

"""Results of cases, without simulations."""

from trilith.hw import PRESETS
from trilith.sim import SimulationError
from trilith.sim.rtl import suite
from trilith.sim.rtl.cases import case_result
from trilith.sim.rtl.parts import Part
from trilith.sim.rtl.product import Work

CONFIG = PRESETS["micro"]


def result(**work):
    return case_result(CONFIG, Work(**work), part=Part.SWEEP, name="case", shape="1x1x1")


def test_rates():
    case = result(macs=80, cycles=4, seconds=0.5)
    assert (case.utilization, case.macs_per_second) == (0.5, 160)
    assert case.passed
    assert case.engine == "8x5x1"


def test_a_case_without_cycles_or_seconds_has_no_rates():
    assert (result().utilization, result().macs_per_second) == (0, 0)
    assert result(macs=40, cycles=1).utilization == 1
    assert result(macs=40, cycles=1).macs_per_second == 0


def test_wrong_results_are_told():
    case = result(macs=40, cycles=1, seconds=1.0, wrong=2)
    assert not case.passed
    assert case.detail == "2 results differ from the golden model"


def test_a_failed_testbench_is_a_failed_case(monkeypatch):
    def failing(config, widths):
        raise SimulationError("testbench: tests jobs_are_exact failed; 5 ran")

    monkeypatch.setattr(suite, "run_axi_testbench", failing)
    (case,) = suite._axi(*suite.AXI_CASES[0])
    assert not case.passed
    assert case.detail == "testbench: tests jobs_are_exact failed; 5 ran"
    assert (case.cycles, case.utilization, case.macs_per_second) == (0, 0, 0)

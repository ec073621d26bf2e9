"""Results of cases, without simulations."""

from types import SimpleNamespace

import pytest

from trilith.golden import ternary_matmul
from trilith.hw import PRESETS
from trilith.hw.jobs import Job, golden_results
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


def test_the_engines_of_a_plan():
    plan = suite._plan([Part.SWEEP, Part.DIGITS, Part.LANGUAGE], None, None, 0)
    block = PRESETS["block"]
    assert [config for config, _ in plan] == [*suite.SWEEP_CONFIGS, block, suite._SHERRY, block]


class Golden:
    """Stands for the simulated engine: gives what the golden model gives."""

    def __init__(self, config):
        self.config = config
        self.jobs = []

    def run(self, trits, q, **gaps):
        self.jobs.append(Job(trits=trits, activations=q))
        counters = SimpleNamespace(seconds=1.0)
        return SimpleNamespace(results=ternary_matmul(trits, q), cycles=1, counters=counters)

    def run_jobs(self, jobs, **gaps):
        self.jobs += jobs
        runs = [SimpleNamespace(results=golden_results(self.config, job)) for job in jobs]
        return runs, SimpleNamespace(seconds=1.0, first_job=1, last_result=9, error=False)


@pytest.mark.parametrize("config", suite.SWEEP_CONFIGS, ids=str)
def test_the_sweep_of_each_engine(config):
    engine = Golden(config)
    cases = list(suite._sweep(engine))
    assert all(case.passed for case in cases)
    lanes, rows, tokens = config.lanes, config.rows, config.tokens
    k = min(4 * lanes, config.k_max // lanes * lanes)
    assert [case.shape for case in cases[:2]] == [
        f"{3 * rows}x{k}x{tokens}",
        f"{2 * rows + 1}x{k - lanes // 2}x{tokens}",
    ]
    assert max(job.trits.shape[1] for job in engine.jobs) == config.k_max
    assert all(len(job.trits) <= config.n_max for job in engine.jobs)
    assert any(job.reuse for job in engine.jobs)


def test_a_failed_testbench_is_a_failed_case(monkeypatch):
    def failing(config, widths):
        raise SimulationError("testbench: tests jobs_are_exact failed; 5 ran")

    monkeypatch.setattr(suite, "run_axi_testbench", failing)
    (case,) = suite._axi(*suite.AXI_CASES[0])
    assert not case.passed
    assert case.detail == "testbench: tests jobs_are_exact failed; 5 ran"
    assert (case.cycles, case.utilization, case.macs_per_second) == (0, 0, 0)

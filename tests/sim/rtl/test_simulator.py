import os
import re
import signal

import numpy as np
import pytest

from trilith.golden import ternary_matmul
from trilith.golden.network.random_model import random_model
from trilith.hw import MatVecConfig
from trilith.hw.jobs import golden_results
from trilith.sim import Job, MatVecSimulator, SimulationError
from trilith.sim.rtl.product import EngineMatmul
from trilith.sim.rtl.suite import SWEEP_CONFIGS

#: Cycles from a group's last weight beat to its first result by levels per stage, from the RTL.
LATENCY = {1: 9, 2: 8, 3: 7, 4: 7}


@pytest.fixture(scope="module")
def simulator():
    with MatVecSimulator(SWEEP_CONFIGS[0]) as simulator:  # 7 lanes, 2 rows, 1 token
        yield simulator


def operands(n, k, t, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-1, 2, (n, k), np.int8), rng.integers(-128, 128, (t, k), np.int8)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 7), (3, 8), (64, 100), (9, 50)])
def test_results_and_exact_cycles(simulator, n, k):
    trits, q = operands(n, k, 1)
    run = simulator.run(trits, q)
    np.testing.assert_array_equal(run.results, ternary_matmul(trits, q))
    chunks, groups = -(-k // 7), -(-n // 2)
    # The job is accepted in cycle 0 and the first weight beat in cycle 3 + chunks.
    assert run.cycles == 3 + chunks + groups * chunks + LATENCY[1]
    assert run.counters.weight_beats == groups * chunks
    assert run.counters.utilization == 1
    assert run.counters.activation_beats == chunks
    assert run.counters.result_beats == groups


def test_group_scales_of_qwen3_on_the_engine(simulator):
    """Each group of inputs is a product of its own, and the logits are those of NumPy."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 12, "vocab_size": 9}
    model = random_model(
        {"model_type": "qwen3", "rms_norm_eps": 1e-6, **sizes, **heads}, seed=1, groups=2
    )
    assert {"self_attn.q_norm", "self_attn.k_norm"} <= set(model.layers[0].gains)
    expected = model.forward([1, 5])
    multiply = EngineMatmul(simulator)
    for linear in model.layers[0].linears.values():
        object.__setattr__(linear, "matmul", multiply)
    np.testing.assert_array_equal(model.forward([1, 5]), expected)
    assert multiply.wrong == 0
    assert sum(product.macs for product in multiply.products.values()) == 2 * (
        16 * 24 + 2 * 16 * 12 + 24 * 16 + 3 * 16 * 24
    )


def test_passes_where_tokens_exceed_the_engine(simulator):
    trits, q = operands(5, 20, 4)
    run = simulator.run(trits, q)
    assert run.results.shape == (4, 5)
    np.testing.assert_array_equal(run.results, ternary_matmul(trits, q))


def test_gaps_and_stalls_cost_cycles_and_nothing_else(simulator):
    trits, q = operands(9, 30, 1)
    free = simulator.run(trits, q)
    for gaps in (
        {"weight_gaps": [3] * 100},
        {"activation_gaps": [2] * 100},
        {"result_stalls": [9] * 100},
        {"weight_gaps": iter([0, 5]), "result_stalls": iter([1])},
    ):
        run = simulator.run(trits, q, **gaps)
        np.testing.assert_array_equal(run.results, free.results)
        assert run.cycles > free.cycles
    exact = simulator.run(trits, q, weight_gaps=[0, 5, 0, 2])
    assert exact.cycles == free.cycles + 7


def test_jobs_back_to_back_with_reuse_and_groups(simulator):
    rng = np.random.default_rng(3)
    first, q = operands(6, 33, 1)
    jobs = [
        Job(trits=first, activations=q),
        Job(trits=operands(3, 33, 1, 1)[0], activations=q, reuse=True),
        Job(trits=operands(4, 33, 1, 2)[0], activations=q, reuse=True, group_chunks=2),
        Job(trits=first, activations=rng.integers(-128, 128, (1, 33), np.int8), group_chunks=1),
    ]
    runs, counters = simulator.run_jobs(jobs)
    for job, run in zip(jobs, runs, strict=True):
        np.testing.assert_array_equal(run.results, golden_results(simulator.config, job))
    assert runs[2].results.shape == (3, 1, 4)
    assert runs[3].results.shape == (5, 1, 6)
    assert not counters.error
    # The first weight beat of a job follows the last one of the job before in the next cycle.
    assert counters.weight_beats == counters.last_weight - counters.first_weight + 1


def test_loading_the_next_activations_costs_no_cycle(simulator):
    trits, q = operands(64, 98, 1)
    jobs = [Job(trits=trits, activations=q), Job(trits=trits, activations=q)]
    _, counters = simulator.run_jobs(jobs)
    assert counters.weight_beats == 2 * 32 * 14
    assert counters.utilization == 1


def test_every_run_starts_with_a_reset(simulator):
    trits, q = operands(4, 20, 1)
    # Nothing is loaded that the job could reuse: the engine drops the job and delivers nothing.
    message = (
        "the engine did not finish its jobs after cycle 2: {'weight_beats': 0, 'weight_stalls': 0, "
        "'first_weight': 0, 'last_weight': 0, 'activation_beats': 0, 'result_beats': 0, "
        "'result_stalls': 0, 'error': 0}"
    )
    with pytest.raises(SimulationError, match=f"^{re.escape(message)}$"):
        simulator.run_jobs([Job(trits=trits, activations=q, reuse=True)])
    np.testing.assert_array_equal(simulator.run(trits, q).results, ternary_matmul(trits, q))


@pytest.mark.parametrize(
    ("trits", "q", "kind", "message"),
    [
        (
            np.full((2, 3), 2, np.int8),
            np.zeros((1, 3), np.int8),
            ValueError,
            "trits must be from -1 to 1, not 2 at [0, 0]",
        ),
        (
            np.zeros(3, np.int8),
            np.zeros((1, 3), np.int8),
            ValueError,
            "trits must have two non-empty dimensions, not shape (3,)",
        ),
        (
            [[1, 0, -1]],
            np.zeros((1, 3), np.int8),
            TypeError,
            "trits must be a NumPy array, not list",
        ),
        (
            np.zeros((2, 3), np.int8),
            np.zeros((1, 3)),
            TypeError,
            "activations must have an integer type, not float64",
        ),
        (
            np.zeros((2, 3), np.int8),
            np.full((1, 3), 128),
            ValueError,
            "activations must be from -128 to 127, not 128 at [0, 0]",
        ),
        (
            np.zeros((2, 101), np.int8),
            np.zeros((1, 101), np.int8),
            ValueError,
            "K must be at most 100, the engine's maximum, not 101",
        ),
        (
            np.zeros((65, 3), np.int8),
            np.zeros((1, 3), np.int8),
            ValueError,
            "N must be at most 64, the engine's maximum, not 65",
        ),
        (
            np.zeros((2, 3), np.int8),
            np.zeros((1, 4), np.int8),
            ValueError,
            "trits and activations must share K, not have 3 and 4",
        ),
    ],
)
def test_bad_operands(simulator, trits, q, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        simulator.run(trits, q)


def test_wrong_gaps_are_refused(simulator):
    trits, q = operands(2, 3, 1)
    with pytest.raises(ValueError, match=r"^weight_gaps must be from 0 to 65535, not -1$"):
        simulator.run(trits, q, weight_gaps=[-1])


def test_a_run_without_jobs_is_refused(simulator):
    with pytest.raises(ValueError, match=r"^a run must have one job or more, not none$"):
        simulator.run_jobs([])


def test_the_name_of_a_preset_is_not_a_configuration():
    message = "config must be a MatVecConfig, such as PRESETS['micro'], not 'micro'"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        MatVecSimulator("micro")


def test_a_dead_process_is_told_and_replaced():
    with MatVecSimulator(SWEEP_CONFIGS[0]) as simulator:
        trits, q = operands(2, 3, 1)
        simulator.run(trits, q)
        os.kill(simulator._process.pid, signal.SIGKILL)
        message = (
            "the process of the simulation was ended by SIGKILL, as where the memory is full "
            r"before it answered 'done': .+ \(all of its output: .*/failed/simulation\.log\)$"
        )
        with pytest.raises(SimulationError, match=f"^{message}"):
            simulator.run(trits, q)
        np.testing.assert_array_equal(simulator.run(trits, q).results, ternary_matmul(trits, q))


def test_four_bit_and_ternary_activations():
    config = MatVecConfig(lanes=5, rows=3, act_bits=2, code="two_bit", k_max=40, n_max=20)
    rng = np.random.default_rng(0)
    trits, q = rng.integers(-1, 2, (7, 33), np.int8), rng.integers(-1, 2, (2, 33), np.int8)
    with MatVecSimulator(config) as simulator:
        np.testing.assert_array_equal(simulator.run(trits, q).results, ternary_matmul(trits, q))
        with pytest.raises(
            ValueError, match=r"^activations must be from -1 to 1, not -2 at \[0, 0\]$"
        ):
            simulator.run(trits, np.full((1, 33), -2, np.int8))

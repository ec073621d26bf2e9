import re

import numpy as np
import pytest
from amaranth.hdl import Const

from trilith.golden.matmul import activation_range, ternary_matmul
from trilith.hw import PRESETS, MatVecConfig
from trilith.hw.engine.loader import job_layout
from trilith.hw.jobs import (
    Job,
    JobShape,
    check_job,
    golden_beats,
    golden_results,
    job_fields,
    job_word,
)

CONFIG = MatVecConfig(lanes=7, rows=2, tokens=3, k_max=100, n_max=64)
TRITS, ACTIVATIONS = np.zeros((2, 3), np.int8), np.zeros((1, 3), np.int8)


def random_job(n, k, tokens, group_chunks, seed=0):
    rng = np.random.default_rng(seed)
    return Job(
        trits=rng.integers(-1, 2, (n, k), np.int8),
        activations=rng.integers(-128, 128, (tokens, k), np.int8),
        group_chunks=group_chunks,
    )


@pytest.mark.parametrize("config", [CONFIG, *PRESETS.values()])
def test_the_word_is_the_layout_in_amaranth(config):
    shape = JobShape(n=config.n_max, k=3, tokens=config.tokens, group_chunks=1, reuse=True)
    fields = {"n": config.n_max, "k": 3, "tokens": config.tokens, "group_chunks": 1, "reuse": 1}
    assert job_word(config, shape) == job_layout(config).const(fields).as_bits()
    assert sum(job_fields(config).values()) == job_layout(config).size
    ranges = {"n": config.n_max, "k": config.k_max, "tokens": config.tokens}
    for name, most in (ranges | {"group_chunks": config.max_chunks, "reuse": 1}).items():
        assert job_layout(config)[name].width == Const(most).shape().width


@pytest.mark.parametrize(
    ("n", "k", "tokens", "group_chunks"),
    [(1, 1, 1, 0), (5, 33, 3, 0), (5, 33, 3, 1), (4, 33, 2, 2), (6, 28, 1, 2), (3, 20, 2, 14)],
)
def test_results_come_by_group_of_rows_then_result_group_then_token(n, k, tokens, group_chunks):
    job = random_job(n, k, tokens, group_chunks)
    beats = []
    span = CONFIG.lanes * group_chunks or k
    for row in range(0, n, CONFIG.rows):
        for start in range(0, k, span):
            part = slice(start, start + span)
            for values in ternary_matmul(
                job.trits[row : row + CONFIG.rows, part], job.activations[:, part]
            ):
                beats.append([*values, *[0] * (CONFIG.rows - len(values))])
    np.testing.assert_array_equal(golden_beats(CONFIG, job), beats)
    assert job.shape.result_beats(CONFIG) == len(beats)
    results = golden_results(CONFIG, job)
    count = job.shape.result_groups(CONFIG)
    assert results.shape == ((count, tokens, n) if group_chunks else (tokens, n))
    total = results.sum(axis=0) if group_chunks else results
    np.testing.assert_array_equal(total, ternary_matmul(job.trits, job.activations))


def test_numpy_integers_are_integers():
    job = Job(
        trits=TRITS,
        activations=ACTIVATIONS,
        group_chunks=np.int64(1),  # type: ignore[arg-type]
        reuse=np.True_,  # type: ignore[arg-type]
    )
    assert job.shape == JobShape(n=2, k=3, tokens=1, group_chunks=1, reuse=True)
    assert (type(job.group_chunks), type(job.reuse)) == (int, bool)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"group_chunks": -1}, ValueError, "group_chunks must be at least 0, not -1"),
        ({"group_chunks": 1.0}, TypeError, "group_chunks must be an integer, not 1.0"),
        ({"group_chunks": True}, TypeError, "group_chunks must be an integer, not True"),
        ({"reuse": 1}, TypeError, "reuse must be True or False, not 1"),
        (
            {"trits": np.zeros(3, np.int8)},
            ValueError,
            "trits must have two non-empty dimensions, not shape (3,)",
        ),
        (
            {"activations": np.zeros((0, 3), np.int8)},
            ValueError,
            "activations must have two non-empty dimensions, not shape (0, 3)",
        ),
        ({"trits": [[1]]}, TypeError, "trits must be a NumPy array, not list"),
        (
            {"activations": np.zeros((1, 4), np.int8)},
            ValueError,
            "trits and activations must share K, not have 3 and 4",
        ),
    ],
)
def test_illegal_jobs(change, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        Job(**{"trits": TRITS, "activations": ACTIVATIONS} | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 65}, "N must be at most 64, the engine's maximum, not 65"),
        ({"k": 101}, "K must be at most 100, the engine's maximum, not 101"),
        ({"tokens": 4}, "tokens of a job must be at most 3, the engine's maximum, not 4"),
        ({"group_chunks": 16}, "group_chunks must be at most 15, the engine's maximum, not 16"),
        ({"n": 0}, "n must be at least 1, not 0"),
    ],
)
def test_shapes_that_the_engine_cannot_run(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        job_word(CONFIG, JobShape(**{"n": 1, "k": 1, "tokens": 1} | change))


def test_jobs_that_the_engine_cannot_run():
    check_job(CONFIG, random_job(64, 100, 3, 15))
    with pytest.raises(ValueError, match=r"^N must be at most 64, the engine's maximum, not 65$"):
        check_job(CONFIG, random_job(65, 100, 3, 15))
    config = MatVecConfig(lanes=7, rows=2, act_bits=4, k_max=100, n_max=64)
    job = Job(trits=TRITS, activations=np.full((1, 3), 8, np.int8))
    with pytest.raises(ValueError, match=r"^activations must be from -8 to 7, not 8 at \[0, 0\]$"):
        check_job(config, job)


def test_activation_ranges():
    assert [activation_range(bits) for bits in (8, 4, 2)] == [(-128, 127), (-8, 7), (-1, 1)]

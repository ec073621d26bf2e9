"""The formula of cycles: sums by hand, and jobs that are skipped."""

import pytest

from trilith.hw import MatVecConfig
from trilith.hw.engine.timing import EngineTiming, JobChain, job_times
from trilith.hw.jobs import JobShape

CONFIG = MatVecConfig(lanes=8, rows=2, tokens=3, k_max=64, n_max=64)
TIMING = EngineTiming(job_latency=3, latency=7)


@pytest.mark.parametrize(
    ("n", "k", "tokens", "weight_beats"),
    [(2, 8, 1, 1), (6, 20, 1, 9), (7, 20, 3, 12), (4, 8, 3, 4)],
)
def test_a_job_alone_by_hand(n, k, tokens, weight_beats):
    """Chunks of 8, groups of 2 rows; two groups end at least as many cycles apart as tokens."""
    job = JobShape(n=n, k=k, tokens=tokens)
    (times,) = job_times(CONFIG, [job], timing=TIMING)
    chunks = -(-k // 8)
    assert times.accepted == 0
    assert times.first_weight == 3 + tokens * chunks
    assert times.last_weight == times.first_weight + weight_beats - 1
    assert times.last_result == times.last_weight + 7 + tokens - 1
    assert times.cycles == times.last_result + 1


def test_a_job_that_reuses_its_activations_loads_none():
    jobs = [JobShape(n=6, k=20, tokens=2), JobShape(n=6, k=20, tokens=2, reuse=True)]
    first, second = job_times(CONFIG, jobs, timing=TIMING)
    # It is handed over in the last weight beat of the job before.
    assert second.accepted == first.first_weight
    assert second.first_weight == first.last_weight + 1


@pytest.mark.parametrize(("n", "k", "tokens"), [(6, 20, 1), (2, 60, 3), (12, 8, 3)])
def test_a_chain_that_skips_equal_jobs_goes_on_as_one_that_runs_them(n, k, tokens):
    job, other = JobShape(n=n, k=k, tokens=tokens), JobShape(n=3, k=33, tokens=2)
    running, skipping = JobChain(CONFIG, TIMING), JobChain(CONFIG, TIMING)
    times = [running.run(job) for _ in range(12)]
    for _ in range(6):
        skipping.run(job)
    skipping.skip(6 * (times[-1].last_weight - times[-2].last_weight))
    assert skipping.run(other) == running.run(other)
    assert skipping.run(job) == running.run(job)

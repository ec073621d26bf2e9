"""Writes a self-checking Verilog testbench for an engine, its vectors taken from golden."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...golden.codes import CODES
from ...golden.matmul import activation_range
from ...golden.templates import render
from ..beats import activation_beats, weight_beats
from ..config import MatVecConfig
from ..engine.loader import activations_shape, job_layout
from ..engine.results import results_shape
from ..engine.timing import EngineTiming, job_times
from ..jobs import Job, golden_beats, job_word

__all__ = ["example_jobs", "example_trits", "selfcheck_verilog", "worked_example"]


def example_jobs(config: MatVecConfig) -> list[Job]:
    """Whole and partial shapes, reuse, scale groups, extreme values, groups shorter than tokens.

    Small enough to be read: at most some hundred beats. The same for the same configuration.
    """
    rng = np.random.default_rng(20)
    low, high = activation_range(config.act_bits)

    def job(n: int, k: int, tokens: int = config.tokens, group_chunks: int = 0) -> Job:
        n, k = min(n, config.n_max), min(k, config.k_max)
        return Job(
            trits=rng.choice(np.array(CODES[config.code].values, np.int8), (n, k)),
            activations=rng.integers(low, high + 1, (tokens, k), np.int8),
            group_chunks=min(group_chunks, config.max_chunks),
        )

    lanes, rows = config.lanes, config.rows
    partial = job(rows + 1, lanes + lanes // 2)
    again = job(2 * rows + 1, lanes + lanes // 2)
    extreme_k = min(4 * lanes, config.k_max)
    return [
        job(2 * rows, 2 * lanes),
        partial,
        Job(trits=again.trits, activations=partial.activations, reuse=True),
        job(1, 1, 1),
        job(rows, 3 * lanes - 1, group_chunks=2),
        job(4 * rows - 1, lanes, group_chunks=1),
        Job(
            trits=np.full((min(rows, config.n_max), extreme_k), -1, np.int8),
            activations=np.full((config.tokens, extreme_k), low, np.int8),
        ),
    ]


def example_trits(code: str) -> list[list[int]]:
    """The two rows of the worked example; a code without zero has +1 in its place."""
    rows = [[1, 0, -1, 1, 1, -1, 0, 1, -1], [-1, -1, 0, 0, 1, 1, 1, 0, 1]]
    return [[t if t in CODES[code].values else 1 for t in row] for row in rows]


def worked_example(code: str) -> list[bytes]:
    """The weight beats of ``example_trits`` on an engine of 7 lanes and 2 rows."""
    config = MatVecConfig(lanes=7, rows=2, code=code, k_max=9, n_max=2)
    return [beat.tobytes() for beat in weight_beats(config, np.array(example_trits(code), np.int8))]


def _numbers(beats: NDArray[np.uint8]) -> list[int]:
    return [int.from_bytes(beat.tobytes(), "little") for beat in beats]


def selfcheck_verilog(
    config: MatVecConfig,
    *,
    top: str,
    timing: EngineTiming,
    stem: str,
    jobs: Sequence[Job] | None = None,
) -> str:
    """A Verilog-2005 testbench ``<top>_tb`` that needs no other file than the engine's.

    It runs the jobs twice: first without gaps, measuring the first job's clocks, then with gaps on
    every stream. It prints PASS, or FAIL with the first difference, and ends.

    Parameters
    ----------
    config : the engine's
    top : the engine's module
    timing : the engine's latencies
    stem : the engine stands in ``<stem>.v``; only comments say so
    jobs : by default ``example_jobs``
    """
    if jobs is None:
        jobs = example_jobs(config)
    layout, result_layout = job_layout(config), results_shape(config)
    words = [job_word(config, job.shape) for job in jobs]
    activations = [
        beat
        for job in jobs
        if not job.reuse
        for beat in _numbers(activation_beats(config, job.activations))
    ]
    weights = [beat for job in jobs for beat in _numbers(weight_beats(config, job.trits))]
    results, places = [], []
    mask = 2**config.acc_width - 1
    for index, job in enumerate(jobs):
        shape = job.shape
        order = (shape.row_groups(config), shape.result_groups(config), shape.tokens)
        for values, (group, partial, token) in zip(
            golden_beats(config, job).tolist(), np.ndindex(order), strict=True
        ):
            results.append(
                sum((value & mask) << row * config.acc_width for row, value in enumerate(values))
            )
            places.append(index << 96 | group * config.rows << 64 | partial << 32 | token)
        results[-1] |= 1 << result_layout["last"].offset
    # In the second run a beat waits four cycles on average; a hundred mean that it hangs.
    beats = len(words) + len(activations) + len(weights) + len(results)
    limit = 1000 + 100 * beats + 100 * timing.latency
    return render(
        "trilith.hw.export",
        "testbench.v.jinja",
        top=top,
        stem=stem,
        job_bits=layout.size,
        activation_bits=activations_shape(config).size,
        weight_bits=8 * config.weight_bytes,
        result_bits=result_layout.size,
        jobs=words,
        activations=activations,
        weights=weights,
        results=results,
        places=places,
        first_last=sum(place >> 96 == 0 for place in places) - 1,
        cycles=next(job_times(config, [jobs[0].shape], timing=timing)).cycles,
        limit=limit,
        rows=config.rows,
        acc_width=config.acc_width,
        last_bit=result_layout["last"].offset,
    )

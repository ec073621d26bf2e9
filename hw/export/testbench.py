"""Writes a self-checking Verilog testbench for an engine, its vectors taken from golden."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from ...golden.codes import CODES
from ...golden.matmul import ternary_matmul
from ...golden.templates import render
from ..beats import activation_beats, weight_beats
from ..config import MatVecConfig
from ..engine.loader import activations_shape, job_shape
from ..engine.results import results_shape
from ..engine.timing import EngineTiming, JobShape, job_times

__all__ = ["ExampleJob", "example_jobs", "example_trits", "selfcheck_verilog", "worked_example"]


@dataclass(frozen=True, kw_only=True)
class ExampleJob:
    """A job of the testbench.

    Parameters
    ----------
    trits : int8[N, K]
    activations : int8[T, K]
    group_chunks : 0, or a partial result every so many chunks
    reuse : the activations are those of the job before
    """

    trits: NDArray[np.int8]
    activations: NDArray[np.int8]
    group_chunks: int = 0
    reuse: bool = False

    @property
    def shape(self) -> JobShape:
        """The job without its operands."""
        n, k = self.trits.shape
        return JobShape(
            n=n,
            k=k,
            tokens=len(self.activations),
            group_chunks=self.group_chunks,
            reuse=self.reuse,
        )


def example_jobs(config: MatVecConfig) -> list[ExampleJob]:
    """Whole and partial shapes, reuse, scale groups, extreme values, groups shorter than tokens.

    Small enough to be read: at most some hundred beats. The same for the same configuration.
    """
    rng = np.random.default_rng(20)
    low = -1 if config.act_bits == 2 else -(2 ** (config.act_bits - 1))
    high = 2 ** (config.act_bits - 1) - 1

    def job(n: int, k: int, tokens: int = config.tokens, group_chunks: int = 0) -> ExampleJob:
        n, k = min(n, config.n_max), min(k, config.k_max)
        return ExampleJob(
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
        ExampleJob(trits=again.trits, activations=partial.activations, reuse=True),
        job(1, 1, 1),
        job(rows, 3 * lanes - 1, group_chunks=2),
        job(4 * rows - 1, lanes, group_chunks=1),
        ExampleJob(
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


def _results(
    config: MatVecConfig, job: ExampleJob
) -> list[tuple[list[int], bool, tuple[int, ...]]]:
    """Of each result beat: values, ``last``, and first output, partial result and token."""
    n, k = job.trits.shape
    size = (job.group_chunks or config.max_chunks) * config.lanes
    parts = [
        ternary_matmul(job.trits[:, at : at + size], job.activations[:, at : at + size])
        for at in range(0, k, size)
    ]
    beats = []
    for first in range(0, n, config.rows):
        for partial, part in enumerate(parts):
            for token, row in enumerate(part):
                values = [int(value) for value in row[first : first + config.rows]]
                values += [0] * (config.rows - len(values))
                beats.append((values, False, (first, partial, token)))
    values, _, place = beats[-1]
    return [*beats[:-1], (values, True, place)]


def _numbers(beats: NDArray[np.uint8]) -> list[int]:
    return [int.from_bytes(beat.tobytes(), "little") for beat in beats]


def _packed(layout: data.StructLayout, fields: dict[str, int]) -> int:
    return sum(value << layout[name].offset for name, value in fields.items())


def selfcheck_verilog(
    config: MatVecConfig,
    *,
    top: str,
    timing: EngineTiming,
    stem: str,
    jobs: Sequence[ExampleJob] | None = None,
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
    layout, result_layout = job_shape(config), results_shape(config)
    words = [
        _packed(
            layout,
            {
                "n": job.trits.shape[0],
                "k": job.trits.shape[1],
                "tokens": len(job.activations),
                "group_chunks": job.group_chunks,
                "reuse": int(job.reuse),
            },
        )
        for job in jobs
    ]
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
        for values, last, (first, partial, token) in _results(config, job):
            word = sum((value & mask) << row * config.acc_width for row, value in enumerate(values))
            results.append(word | last << result_layout["last"].offset)
            places.append(index << 96 | first << 64 | partial << 32 | token)
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

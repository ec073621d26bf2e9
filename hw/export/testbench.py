"""Self-checking Verilog testbench of an engine, with results from the golden model."""

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

__all__ = ["example_lanes", "example_trits", "selfcheck_verilog", "worked_example"]


def _example_jobs(config: MatVecConfig) -> list[Job]:
    """Make the jobs of the testbench.

    They have whole and partial shapes, reuse, several result groups, result groups of fewer chunks
    than tokens, and extreme values. They take some hundred beats at most, so that people can read
    the testbench.

    Parameters
    ----------
    config : the engine

    Returns
    -------
    The jobs, always the same for one configuration.
    """
    rng, code = np.random.default_rng(20), CODES[config.code]
    low, high = activation_range(config.act_bits)

    # Sizes are cut to the maxima of small engines.
    def job(n: int, k: int, tokens: int = config.tokens, group_chunks: int = 0) -> Job:
        n, k = min(n, config.n_max), min(k, config.k_max)
        return Job(
            trits=code.random(rng, (n, k)),
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
            trits=code.lowest((min(rows, config.n_max), extreme_k)),
            activations=np.full((config.tokens, extreme_k), low, np.int8),
        ),
    ]


def example_trits(code: str) -> list[list[int]]:
    """Give the weights of the worked example, int[2, 9].

    Parameters
    ----------
    code : a key of ``CODES``; a code that counts zeros gets +1 instead of those that it cannot hold
    """
    rows = [[1, 0, -1, 1, 1, -1, 0, 1, -1], [-1, -1, 0, 0, 1, 1, 1, 0, 1]]
    zeros, span = CODES[code].zeros, CODES[code].span
    if zeros is None:
        return rows
    for row in rows:
        for place, trit in enumerate(row):
            if trit == 0 and row[place - place % span : place].count(0) >= zeros:
                row[place] = 1
    return rows


def example_lanes(code: str) -> int:
    """Give the lanes of the worked example: 7, or 8 where whole symbols must fill the lanes."""
    return 7 + -7 % CODES[code].span


def worked_example(code: str) -> list[bytes]:
    """Pack ``example_trits`` into weight beats, for an engine of ``example_lanes`` and 2 rows.

    Parameters
    ----------
    code : a key of ``CODES``

    Returns
    -------
    Two beats, byte 0 first.
    """
    config = MatVecConfig(lanes=example_lanes(code), rows=2, code=code, k_max=9, n_max=2)
    return [beat.tobytes() for beat in weight_beats(config, np.array(example_trits(code), np.int8))]


def _numbers(beats: NDArray[np.uint8]) -> list[int]:
    """Read each beat, uint8[bytes], as one number, byte 0 lowest."""
    return [int.from_bytes(beat.tobytes(), "little") for beat in beats]


def selfcheck_verilog(
    config: MatVecConfig,
    *,
    top: str,
    timing: EngineTiming,
    stem: str,
    jobs: Sequence[Job] | None = None,
) -> str:
    """Write a testbench, module ``<top>_tb``, that reads no files.

    The testbench runs the jobs twice: first without gaps, and then with gaps on every stream. In
    the first run it counts the cycles of job 0. It prints PASS, or FAIL with the first difference,
    and ends.

    Parameters
    ----------
    config : the engine
    top : name of the engine's module
    timing : latencies of the engine, for the expected cycles of job 0
    stem : stem of the engine's file, for comments
    jobs : the jobs; by default ``_example_jobs``

    Returns
    -------
    Verilog-2005.
    """
    if jobs is None:
        jobs = _example_jobs(config)
    last = results_shape(config)["last"].offset
    words = [job_word(config, job.shape) for job in jobs]
    activations = [
        beat
        for job in jobs
        if not job.reuse
        for beat in _numbers(activation_beats(config, job.activations))
    ]
    weights = [beat for job in jobs for beat in _numbers(weight_beats(config, job.trits))]
    results, places = [], []
    # Negative values are cut to the width of an accumulator, as two's complement.
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
            # Four numbers of 32 bits, for the message of a failure.
            places.append(index << 96 | group * config.rows << 64 | partial << 32 | token)
        results[-1] |= 1 << last
    # In the second run a beat waits four cycles on average; a hundred mean that it hangs.
    beats = len(words) + len(activations) + len(weights) + len(results)
    limit = 1000 + 100 * beats + 100 * timing.latency
    return render(
        "trilith.hw.export",
        "testbench.v.jinja",
        config=config,
        top=top,
        stem=stem,
        job_bits=job_layout(config).size,
        activation_bits=activations_shape(config).size,
        result_bits=results_shape(config).size,
        last_bit=last,
        jobs=words,
        activations=activations,
        weights=weights,
        results=results,
        places=places,
        first_last=sum(place >> 96 == 0 for place in places) - 1,
        cycles=next(job_times(config, [jobs[0].shape], timing=timing)).cycles,
        limit=limit,
    )

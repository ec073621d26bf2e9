"""Self-checking Verilog testbench of an engine, with results from the golden model."""

from collections.abc import Sequence

import numpy as np

from ...golden.codes import CODES
from ...golden.matmul import activation_range
from ...golden.templates import render
from ..beats import activation_beats, beat_numbers, result_numbers, weight_beats
from ..config import MatVecConfig
from ..engine.loader import activations_shape, job_layout
from ..engine.results import results_shape
from ..engine.timing import EngineTiming, job_times
from ..jobs import Job, job_word

__all__ = ["selfcheck_verilog"]


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
    words = [job_word(config, job.shape) for job in jobs]
    activations = [
        beat
        for job in jobs
        if not job.reuse
        for beat in beat_numbers(activation_beats(config, job.activations))
    ]
    weights = [beat for job in jobs for beat in beat_numbers(weight_beats(config, job.trits))]
    results = [number for job in jobs for number in result_numbers(config, job)]
    # Four numbers of 32 bits for each result beat, for the message of a failure.
    places = [
        index << 96 | group * config.rows << 64 | partial << 32 | token
        for index, shape in enumerate(job.shape for job in jobs)
        for group, partial, token in np.ndindex(
            shape.row_groups(config), shape.result_groups(config), shape.tokens
        )
    ]
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
        last_bit=results_shape(config)["last"].offset,
        jobs=words,
        activations=activations,
        weights=weights,
        results=results,
        places=places,
        first_last=sum(place >> 96 == 0 for place in places) - 1,
        cycles=next(job_times(config, [jobs[0].shape], timing=timing)).cycles,
        limit=limit,
    )

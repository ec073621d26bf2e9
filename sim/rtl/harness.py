"""Builds the engine in ``harness.sv``, and writes and reads the files of its runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from ...hw.beats import activation_beats, result_values, weight_beats
from ...hw.config import MatVecConfig
from ...hw.engine.engine import MatVecEngine
from ...hw.engine.loader import activations_shape, job_layout
from ...hw.engine.results import results_shape
from ...hw.jobs import Job, check_job, job_word
from ..tools.errors import SimulationError
from ..tools.verilog import keep_verilog
from .build import build_simulation

__all__ = ["Counters", "Gaps", "JobRun", "build_harness", "read_run", "write_run"]

_HERE = Path(__file__).parent


class Gaps(TypedDict, total=False):
    """Pauses of the streams in a run; a stream that is not given does not pause.

    Members
    -------
    weight_gaps, activation_gaps : idle cycles before each beat of the stream, each from 0 to
        65,535; 0 for beats beyond its end
    result_stalls : cycles for which each result beat waits, in the same form
    """

    weight_gaps: Iterable[int] | None
    activation_gaps: Iterable[int] | None
    result_stalls: Iterable[int] | None


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Counts of a run, in cycles and beats. Cycle 0 is the first cycle after the reset.

    Parameters
    ----------
    weight_beats, activation_beats, result_beats : beats transferred
    first_job, last_result : cycles in which the first job and the last result were accepted
    first_weight, last_weight : cycles of the first and the last weight beat
    weight_stalls : cycles after the first weight beat in which a weight beat was offered and not
        taken
    result_stalls : cycles in which a result beat was offered and not taken
    error : the engine's output ``error`` at the end, which stays set once it is set
    seconds : duration of the simulation, without the transport of data to and from it
    """

    first_job: int
    last_result: int
    weight_beats: int
    weight_stalls: int
    first_weight: int
    last_weight: int
    activation_beats: int
    result_beats: int
    result_stalls: int
    error: bool
    seconds: float = 0.0

    @property
    def utilization(self) -> float:
        """Share of the cycles from the first weight beat to the last that have a weight beat."""
        return self.weight_beats / (self.last_weight - self.first_weight + 1)


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """The outcome of a job.

    Parameters
    ----------
    results : int32[T, N], or int32[S, T, N] with S partial results if ``group_chunks`` is not 0
    cycles : from the cycle in which the job was accepted to the cycle in which its last result was
        accepted, both included
    """

    results: NDArray[np.int32]
    cycles: int


def build_harness(
    config: MatVecConfig, *, waves: Path | None = None, main: Path | None = None
) -> Path:
    """Build the engine in ``harness.sv``, unless the cache has it.

    Parameters
    ----------
    config : the configuration of the engine
    waves, main : see ``build_simulation``

    Returns
    -------
    Path of the executable.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    """
    verilog = keep_verilog(lambda: MatVecEngine(config), "matvec", repr(config))
    return build_simulation(
        [_HERE / "harness.vlt", _HERE / "harness.sv", verilog],
        top="harness",
        parameters={
            "JOB_BITS": job_layout(config).size,
            "ACTIVATION_BITS": activations_shape(config).size,
            "WEIGHT_BITS": 8 * config.weight_bytes,
            "RESULT_BITS": results_shape(config).size,
        },
        waves=waves,
        main=main,
    )


def write_run(
    folder: Path,
    config: MatVecConfig,
    jobs: Sequence[Job],
    *,
    weight_gaps: Iterable[int] | None = None,
    activation_gaps: Iterable[int] | None = None,
    result_stalls: Iterable[int] | None = None,
) -> None:
    """Write the files that ``harness.sv`` reads for a run.

    Parameters
    ----------
    folder : the working directory of the simulation
    config : the configuration of the engine
    jobs : one job or more
    weight_gaps, activation_gaps, result_stalls : None, or see ``Gaps``

    Raises
    ------
    TypeError, ValueError
        If a job or a number of cycles is not legal.
    """
    if not jobs:
        raise ValueError("a run must have one job or more, not none")
    for job in jobs:
        check_job(config, job)
    size = -(-job_layout(config).size // 8)
    words = [job_word(config, job.shape).to_bytes(size, "big") for job in jobs]
    (folder / "jobs.bin").write_bytes(b"".join(words))
    loads = [activation_beats(config, job.activations) for job in jobs if not job.reuse]
    activations = np.concatenate(loads) if loads else np.empty((0, 1), np.uint8)
    weights = np.concatenate([weight_beats(config, job.trits) for job in jobs])
    for name, beats in (("activations", activations), ("weights", weights)):
        # $fread fills a vector from its highest byte on.
        np.ascontiguousarray(beats[:, ::-1]).tofile(folder / f"{name}.bin")

    results = sum(job.shape.result_beats(config) for job in jobs)
    # A beat takes one cycle and a result group at least ``tokens``; twice as much is a hang.
    limit = 2 * (len(activations) + len(weights) + config.tokens * results) + 64 * (len(jobs) + 1)
    flags = 0
    # The places are the bits of the flags in control.bin.
    streams = (
        ("activation_gaps", activation_gaps, len(activations)),
        ("weight_gaps", weight_gaps, len(weights)),
        ("result_stalls", result_stalls, results),
    )
    for bit, (name, gaps, count) in enumerate(streams):
        if gaps is not None:
            idle = list(islice(gaps, count + 1))
            wrong = next((cycles for cycles in idle if not 0 <= cycles <= 65_535), None)
            if wrong is not None:
                raise ValueError(f"{name} must be from 0 to 65535, not {wrong}")
            _write_numbers(folder / f"{name}.bin", idle)
            limit += sum(idle)
            flags |= 1 << bit
    counts = [len(jobs), len(activations), len(weights), results]
    _write_numbers(folder / "control.bin", [*counts, limit, flags])


def _write_numbers(file: Path, numbers: Sequence[int]) -> None:
    """Write 32-bit numbers, highest byte first."""
    np.asarray(numbers, ">u4").tofile(file)


def read_run(
    folder: Path, config: MatVecConfig, jobs: Sequence[Job]
) -> tuple[list[JobRun], Counters]:
    """Read the files that ``harness.sv`` wrote in a run.

    Parameters
    ----------
    folder, config, jobs : the arguments of ``write_run``

    Returns
    -------
    The outcome of each job, and the counts of the run without ``seconds``.

    Raises
    ------
    SimulationError
        If a job did not finish, or if its result beats are not those of its shape.
    OSError
        If the files are not complete.
    """
    starts, ends, counts = _read_events(folder / "events.txt")
    word_bytes = -(-results_shape(config).size // 32) * 4
    stored = (folder / "results.bin").stat().st_size
    if "failed" not in counts or stored != counts["result_beats"] * word_bytes:
        raise OSError(f"{folder}: the files of the run are not complete; is the disk full?")
    if counts.pop("failed"):
        last = max(starts + ends, default=0)
        raise SimulationError(f"the engine did not finish its jobs after cycle {last}: {counts}")
    if len(starts) != len(jobs) or len(ends) != len(jobs):
        raise SimulationError(
            f"of {len(jobs)} jobs {len(starts)} were accepted, and {len(ends)} finished with 'last'"
        )
    counters = Counters(
        first_job=starts[0], last_result=ends[-1], error=bool(counts.pop("error")), **counts
    )
    words = np.fromfile(folder / "results.bin", np.uint8).reshape(-1, word_bytes)
    values, last = result_values(config, words)
    places = np.cumsum([job.shape.result_beats(config) for job in jobs])[:-1]
    beats = zip(np.split(values, places), np.split(last, places), strict=True)
    runs = [
        JobRun(results=_job_results(config, job, *job_beats), cycles=end - start + 1)
        for job, job_beats, start, end in zip(jobs, beats, starts, ends, strict=True)
    ]
    return runs, counters


def _read_events(file: Path) -> tuple[list[int], list[int], dict[str, int]]:
    """Read the cycles in which jobs were accepted, those in which they ended, and the counts."""
    events: dict[str, list[int]] = {"job": [], "last": []}
    for line in file.read_text().splitlines():
        kind, number = line.split()
        events.setdefault(kind, []).append(int(number))
    starts, ends = events.pop("job"), events.pop("last")
    return starts, ends, {kind: numbers[0] for kind, numbers in events.items()}


def _job_results(
    config: MatVecConfig, job: Job, values: NDArray[np.int32], last: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Results of a job from its beats, which come by group of rows, result group and token."""
    shape = job.shape
    if not np.array_equal(np.flatnonzero(last), [len(values) - 1]):
        raise SimulationError("the engine must set 'last' on the final beat of a job only")
    blocks = values.reshape(shape.row_groups(config), -1, shape.tokens, config.rows)
    padded = blocks.transpose(1, 2, 0, 3).reshape(blocks.shape[1], shape.tokens, -1)
    if padded[:, :, shape.n :].any():
        raise SimulationError("the engine must deliver 0 in rows from N on")
    results = padded[:, :, : shape.n]
    return np.ascontiguousarray(results if shape.group_chunks else results[0])

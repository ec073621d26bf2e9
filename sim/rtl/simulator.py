"""Runs jobs on the Verilated engine, in bulk."""

import os
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...golden.matmul import check_activations
from ...hw.beats import activation_beats, result_values, weight_beats
from ...hw.config import MatVecConfig
from ...hw.engine.engine import MatVecEngine
from ...hw.engine.loader import activations_shape, job_layout
from ...hw.engine.results import results_shape
from ...hw.jobs import Job, check_job, job_word
from ..tools.errors import SimulationError
from ..tools.toolchain import environment
from ..tools.verilog import keep_verilog
from .build import build_simulation, cocotb_environment

__all__ = [
    "Counters",
    "JobRun",
    "MatVecRun",
    "MatVecSimulator",
    "build_harness",
    "engine_verilog",
    "write_run",
]

_HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Counters:
    """What the harness counted over a run, in clocks and beats. Clock 0 is the first after reset.

    Parameters
    ----------
    weight_beats, activation_beats, result_beats : beats transferred
    first_job, last_result : clocks in which the first job and the last result were accepted
    first_weight, last_weight : clocks of the first and the last weight beat
    weight_stalls : clocks after the first weight beat in which one was offered and not taken
    result_stalls : clocks in which a result beat was offered and not taken
    error : the engine's sticky error output at the end
    seconds : time that the simulation took, the transport of data to and from it not included
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
        """Share of clocks with a weight beat, from the first weight beat to the last."""
        return self.weight_beats / (self.last_weight - self.first_weight + 1)


@dataclass(frozen=True, kw_only=True)
class JobRun:
    """What a job delivered.

    Parameters
    ----------
    results : int32[T, N], or int32[S, T, N] of S partial results with ``group_chunks``
    cycles : from the clock in which the job was accepted to the clock in which its last result
        was accepted, both counted
    """

    results: NDArray[np.int32]
    cycles: int


@dataclass(frozen=True, kw_only=True)
class MatVecRun:
    """What a matrix product delivered; ``cycles`` as in ``JobRun``, over all passes."""

    results: NDArray[np.int32]
    cycles: int
    counters: Counters


def engine_verilog(config: MatVecConfig) -> Path:
    """Verilog of the engine as module ``matvec``, in the cache."""
    return keep_verilog(lambda: MatVecEngine(config), "matvec", repr(config))


def build_harness(
    config: MatVecConfig, *, waves: Path | None = None, main: Path | None = None
) -> Path:
    """Build the engine in ``harness.sv``, or find it built; see ``build_simulation``."""
    parameters = {
        "JOB_BITS": job_layout(config).size,
        "ACTIVATION_BITS": activations_shape(config).size,
        "WEIGHT_BITS": 8 * config.weight_bytes,
        "RESULT_BITS": results_shape(config).size,
    }
    return build_simulation(
        [_HERE / "harness.vlt", _HERE / "harness.sv", engine_verilog(config)],
        top="harness",
        parameters=parameters,
        waves=waves,
        main=main,
    )


def _write_records(file: Path, records: NDArray[np.uint8]) -> None:
    """Beats as ``harness.sv`` reads them: last byte first."""
    file.write_bytes(np.ascontiguousarray(records[:, ::-1]).tobytes())


def _write_numbers(file: Path, numbers: Sequence[int]) -> None:
    file.write_bytes(np.asarray(numbers, ">u4").tobytes())


def write_run(
    folder: Path,
    config: MatVecConfig,
    jobs: Sequence[Job],
    *,
    weight_gaps: Iterable[int] | None = None,
    activation_gaps: Iterable[int] | None = None,
    result_stalls: Iterable[int] | None = None,
) -> int:
    """Write what ``harness.sv`` reads for a run; return the cycle limit.

    Raises
    ------
    TypeError, ValueError
        If a job is not legal for the configuration; nothing was simulated then.
    """
    words = []
    activations, weights = [], []
    results = 0
    for job in jobs:
        check_job(config, job)
        words.append(job_word(config, job.shape))
        if not job.reuse:
            activations.append(activation_beats(config, job.activations))
        weights.append(weight_beats(config, job.trits))
        results += job.shape.result_beats(config)
    job_bytes = -(-job_layout(config).size // 8)
    (folder / "jobs.bin").write_bytes(b"".join(word.to_bytes(job_bytes, "big") for word in words))
    activation_stream = np.concatenate(activations) if activations else np.empty((0, 1), np.uint8)
    weight_stream = np.concatenate(weights)
    _write_records(folder / "activations.bin", activation_stream)
    _write_records(folder / "weights.bin", weight_stream)

    # Each beat takes a clock, and a result group at least ``tokens``; twice that is a hang.
    limit = 2 * (len(activation_stream) + len(weight_stream) + config.tokens * results)
    limit += 64 * (len(jobs) + 1)
    flags = 0
    for bit, (name, gaps, beats) in enumerate(
        (
            ("activation_gaps", activation_gaps, len(activation_stream)),
            ("weight_gaps", weight_gaps, len(weight_stream)),
            ("result_stalls", result_stalls, results),
        )
    ):
        if gaps is not None:
            idle = list(islice(gaps, beats + 1))
            for clocks in idle:
                if not 0 <= clocks <= 65_535:
                    raise ValueError(f"{name} must be from 0 to 65535, not {clocks}")
            _write_numbers(folder / f"{name}.bin", idle)
            limit += sum(idle)
            flags |= 1 << bit
    counts = [len(jobs), len(activation_stream), len(weight_stream), results]
    _write_numbers(folder / "control.bin", [*counts, limit, flags])
    return limit


def read_run(
    folder: Path, config: MatVecConfig, jobs: Sequence[Job]
) -> tuple[list[JobRun], Counters]:
    """Read what ``harness.sv`` wrote.

    Raises
    ------
    SimulationError
        If a job did not finish, or delivered other beats than it must.
    """
    starts, ends, counts = [], [], {}
    for line in (folder / "events.txt").read_text().splitlines():
        kind, number = line.split()
        if kind == "job":
            starts.append(int(number))
        elif kind == "last":
            ends.append(int(number))
        else:
            counts[kind] = int(number)
    word_bytes = -(-results_shape(config).size // 32) * 4
    stored = (folder / "results.bin").stat().st_size
    if "failed" not in counts or stored != counts["result_beats"] * word_bytes:
        raise OSError(f"{folder}: must hold all results and does not; is the disk full?")
    if counts.pop("failed"):
        raise SimulationError(
            f"the engine must finish its jobs; after clock {max(starts + ends, default=0)} it did "
            f"not: {counts}"
        )
    if len(starts) != len(jobs) or len(ends) != len(jobs):
        raise SimulationError(
            f"{len(jobs)} jobs must be taken and finish with 'last'; "
            f"{len(starts)} were taken and {len(ends)} finished"
        )
    counters = Counters(
        first_job=starts[0], last_result=ends[-1], error=bool(counts.pop("error")), **counts
    )
    beats = np.fromfile(folder / "results.bin", np.uint8).reshape(-1, word_bytes)
    values, last = result_values(config, beats)
    runs = []
    place = 0
    for job, start, end in zip(jobs, starts, ends, strict=True):
        n, tokens, count = job.shape.n, job.shape.tokens, job.shape.result_beats(config)
        if not np.array_equal(np.flatnonzero(last[place : place + count]), [count - 1]):
            raise SimulationError("'last' must be set on the final beat of a job, and on no other")
        blocks = values[place : place + count].reshape(
            job.shape.row_groups(config), -1, tokens, config.rows
        )
        place += count
        padded = blocks.transpose(1, 2, 0, 3).reshape(blocks.shape[1], tokens, -1)
        if padded[:, :, n:].any():
            raise SimulationError("rows beyond N must deliver 0")
        results = padded[:, :, :n]
        runs.append(
            JobRun(
                results=np.ascontiguousarray(results if job.group_chunks else results[0]),
                cycles=end - start + 1,
            )
        )
    return runs, counters


class MatVecSimulator:
    """The Verilated engine behind a NumPy interface.

    The first use builds the simulation, or finds it built. One process then serves all runs; every
    run starts with a reset. Use it as a context manager, or ``close`` it.

    Parameters
    ----------
    config : the engine to simulate
    waves : None, or the file to record all runs in: ``.fst`` or ``.vcd``

    Raises
    ------
    ToolchainError
        If the simulation cannot be built.
    """

    def __init__(self, config: MatVecConfig, *, waves: Path | None = None) -> None:
        self.config = config
        self._program = build_harness(config, waves=waves)
        self._waves = waves
        self._process: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="trilith-")
        self._finalizer = weakref.finalize(self, self._folder.cleanup)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process. A later run starts a new one."""
        if self._process is not None:
            self._process.communicate()
            self._answers.close()
            self._process = None

    def run(
        self,
        trits: NDArray[np.int8],
        activations: NDArray[np.int8],
        *,
        weight_gaps: Iterable[int] | None = None,
        activation_gaps: Iterable[int] | None = None,
        result_stalls: Iterable[int] | None = None,
    ) -> MatVecRun:
        """Multiply: as many jobs, back to back, as T takes passes of ``config.tokens``.

        Parameters
        ----------
        trits : int8[N, K]
        activations : int8[T, K]
        weight_gaps, activation_gaps : idle clocks before each beat of the stream
        result_stalls : clocks to wait before taking each result beat

        Returns
        -------
        MatVecRun, ``results`` int32[T, N]

        Raises
        ------
        TypeError, ValueError
            If an operand is not legal for the configuration.
        SimulationError
            If the engine does not finish, or flags an error.
        """
        check_activations(activations, self.config.act_bits)
        passes = [
            Job(trits=trits, activations=activations[start : start + self.config.tokens])
            for start in range(0, len(activations), self.config.tokens)
        ]
        runs, counters = self.run_jobs(
            passes,
            weight_gaps=weight_gaps,
            activation_gaps=activation_gaps,
            result_stalls=result_stalls,
        )
        if counters.error:
            raise SimulationError("the engine must not flag an error on legal jobs, and it did")
        return MatVecRun(
            results=np.concatenate([run.results for run in runs]),
            cycles=counters.last_result - counters.first_job + 1,
            counters=counters,
        )

    def run_jobs(
        self,
        jobs: Sequence[Job],
        *,
        weight_gaps: Iterable[int] | None = None,
        activation_gaps: Iterable[int] | None = None,
        result_stalls: Iterable[int] | None = None,
    ) -> tuple[list[JobRun], Counters]:
        """Run jobs back to back; arguments and errors as in ``run``, but ``error`` is returned."""
        folder = Path(self._folder.name)
        write_run(
            folder,
            self.config,
            jobs,
            weight_gaps=weight_gaps,
            activation_gaps=activation_gaps,
            result_stalls=result_stalls,
        )
        seconds = self._simulate()
        runs, counters = read_run(folder, self.config, jobs)
        return runs, replace(counters, seconds=seconds)

    def _simulate(self) -> float:
        """Have the process do the run whose files are there; return the seconds that it took."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        begin = time.perf_counter()
        with suppress(BrokenPipeError):  # Where it has died, the missing answer says so.
            self._process.stdin.write("run\n")
            self._process.stdin.flush()
        self._await("done")
        return time.perf_counter() - begin

    def _await(self, answer: str) -> None:
        """Wait for a line from the process.

        Raises
        ------
        SimulationError
            If the process died instead.
        """
        if self._answers.readline().strip() == answer:
            return
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        process.communicate()
        self._answers.close()
        log = (Path(self._folder.name) / "log.txt").read_text(errors="replace").strip()
        raise SimulationError(
            f"the simulation must answer {answer!r} and died: "
            f"{log.splitlines()[-1] if log else 'no message'}"
        )

    def _start(self) -> None:
        """Start the process and wait until it takes runs."""
        answers, answer = os.pipe()
        arguments = []
        if self._waves is not None:
            arguments = ["--trace", "--trace-file", str(self._waves.absolute())]
        folder = Path(self._folder.name)
        with open(folder / "log.txt", "w") as log:
            process = subprocess.Popen(
                [str(self._program), *arguments],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                pass_fds=[answer],
                env=environment()
                | cocotb_environment("trilith.sim.rtl.server", "harness")
                | {"TRILITH_ANSWER": str(answer)},
            )
        os.close(answer)
        self._answers = os.fdopen(answers)
        self._process = process
        self._await("ready")

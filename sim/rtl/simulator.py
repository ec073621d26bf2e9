"""Runs jobs on the Verilated engine, behind a NumPy interface."""

import os
import subprocess
import tempfile
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, Unpack

import numpy as np
from numpy.typing import NDArray

from ...golden.failures import ending, error_line
from ...golden.matmul import check_activations
from ...golden.scratch import Scratch
from ...hw.config import MatVecConfig
from ...hw.jobs import Job
from ..tools.errors import SimulationError
from ..tools.run import keep_output
from .build import cocotb_environment
from .harness import Counters, Gaps, JobRun, build_harness, read_run, write_run

__all__ = ["MatVecRun", "MatVecSimulator"]


@dataclass(frozen=True, kw_only=True)
class MatVecRun:
    """The outcome of a matrix product.

    Parameters
    ----------
    results : int32[T, N]
    cycles : from the cycle in which the first job was accepted to the cycle in which the last
        result was accepted, both included
    counters : counts of the run
    """

    results: NDArray[np.int32]
    cycles: int
    counters: Counters


class MatVecSimulator:
    """The Verilated engine.

    The constructor builds the simulation, unless the cache has it. One process then serves all
    runs, and every run starts with a reset. Use it as a context manager, or ``close`` it.

    Parameters
    ----------
    config : the configuration of the engine
    waves : None, or the file that records all runs: ``.fst`` or ``.vcd``

    Raises
    ------
    TypeError
        If ``config`` is not a ``MatVecConfig``.
    ToolchainError
        If the simulation cannot be built.
    """

    def __init__(self, config: MatVecConfig, *, waves: Path | None = None) -> None:
        if not isinstance(config, MatVecConfig):
            raise TypeError(
                f"config must be a MatVecConfig, such as PRESETS['micro'], not {config!r}"
            )
        self.config = config
        self._program = build_harness(config, waves=waves)
        self._waves = waves
        self._process: subprocess.Popen[str] | None = None
        scratch = Scratch(Path(tempfile.gettempdir()))
        self._folder = scratch.path
        self._finalizer = weakref.finalize(self, scratch.close)

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
        **gaps: Unpack[Gaps],
    ) -> MatVecRun:
        """Multiply a matrix with T vectors, in jobs of up to ``config.tokens`` vectors.

        Parameters
        ----------
        trits : int8[N, K], values −1, 0 and +1
        activations : int8[T, K], values within ``activation_range(config.act_bits)``
        gaps : pauses of the streams: ``weight_gaps``, ``activation_gaps``, ``result_stalls``

        Returns
        -------
        MatVecRun

        Raises
        ------
        TypeError, ValueError
            If an operand is not legal for the configuration.
        SimulationError
            If the engine does not finish, or sets ``error``.
        """
        check_activations(activations, self.config.act_bits)
        tokens = self.config.tokens
        jobs = [
            Job(trits=trits, activations=activations[start : start + tokens])
            for start in range(0, len(activations), tokens)
        ]
        runs, counters = self.run_jobs(jobs, **gaps)
        if counters.error:
            raise SimulationError("the engine set 'error' on legal jobs")
        return MatVecRun(
            results=np.concatenate([run.results for run in runs]),
            cycles=counters.last_result - counters.first_job + 1,
            counters=counters,
        )

    def run_jobs(self, jobs: Sequence[Job], **gaps: Unpack[Gaps]) -> tuple[list[JobRun], Counters]:
        """Run jobs back to back.

        Parameters
        ----------
        jobs : one job or more
        gaps : see ``run``

        Returns
        -------
        runs : the outcome of each job
        counters : counts of the run, with the engine's ``error``

        Raises
        ------
        TypeError, ValueError
            If a job is not legal for the configuration.
        SimulationError
            If the engine does not finish.
        """
        folder = self._folder
        write_run(folder, self.config, jobs, **gaps)
        seconds = self._simulate()
        runs, counters = read_run(folder, self.config, jobs)
        return runs, replace(counters, seconds=seconds)

    def _simulate(self) -> float:
        """Simulate the run whose files are in the folder; return its duration in seconds."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        begin = time.perf_counter()
        with suppress(BrokenPipeError):  # A process that has died is reported by ``_await``.
            self._process.stdin.write("run\n")
            self._process.stdin.flush()
        self._await("done")
        return time.perf_counter() - begin

    def _await(self, answer: str) -> None:
        """Wait for a line from the process; raise SimulationError if the process ends instead."""
        if self._answers.readline().strip() == answer:
            return
        process, self._process = self._process, None
        assert process is not None
        with suppress(subprocess.TimeoutExpired):  # It may only have closed the pipe.
            process.wait(1)
        how = "closed its pipe" if process.returncode is None else ending(process.returncode)
        process.kill()
        process.communicate()
        self._answers.close()
        log = (self._folder / "log.txt").read_text(errors="replace")
        kept = keep_output("simulation", [self._program], log)
        raise SimulationError(
            f"the process of the simulation {how} before it answered {answer!r}: "
            f"{error_line(log)} ({kept})"
        )

    def _start(self) -> None:
        """Start the process, and wait until it accepts runs."""
        answers, answer = os.pipe()
        arguments = []
        if self._waves is not None:
            arguments = ["--trace", "--trace-file", str(self._waves.absolute())]
        folder = self._folder
        variables = cocotb_environment("trilith.sim.rtl.server", "harness")
        with open(folder / "log.txt", "w") as log:
            process = subprocess.Popen(
                [str(self._program), *arguments],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                pass_fds=[answer],
                env=variables | {"TRILITH_ANSWER": str(answer)},
            )
        os.close(answer)
        self._answers = os.fdopen(answers)
        self._process = process
        self._await("ready")

"""Matrix products on the simulated engine, compared with the golden model."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...golden.checkpoint.tensors import TernaryTensor
from ...golden.matmul import ternary_matmul
from ...hw.jobs import Job, golden_results
from .harness import Gaps
from .simulator import MatVecSimulator

__all__ = ["EngineMatmul", "EngineProduct", "Work"]


@dataclass(kw_only=True)
class Work:
    """Sums over the jobs of a case.

    Parameters
    ----------
    macs : multiply-accumulates
    cycles : cycles from the first job of each run to its last result, both included
    seconds : duration of the simulation
    wrong : results that differ from those of the golden model, and runs that set ``error``
    """

    macs: int = 0
    cycles: int = 0
    seconds: float = 0.0
    wrong: int = 0


@dataclass(kw_only=True)
class EngineProduct(Work):
    """Matrix products that belong together: runs each on the engine, and checks and counts it.

    Parameters
    ----------
    simulator : the engine
    gaps : pauses of its streams
    """

    simulator: MatVecSimulator
    gaps: Gaps = field(default_factory=Gaps)

    def __call__(self, trits: NDArray[np.int8], q: NDArray[np.int8]) -> NDArray[np.int32]:
        """Multiply ``trits (N, K) @ q (T, K) -> int32[T, N]`` on the engine."""
        run = self.simulator.run(trits, q, **self.gaps)
        self.seconds += run.counters.seconds
        self.macs += trits.size * len(q)
        self.cycles += run.cycles
        self.wrong += int((run.results != ternary_matmul(trits, q)).sum())
        return run.results

    def jobs(self, jobs: Sequence[Job]) -> None:
        """Run jobs back to back on the engine."""
        runs, counters = self.simulator.run_jobs(jobs, **self.gaps)
        self.seconds += counters.seconds
        self.cycles += counters.last_result - counters.first_job + 1
        self.wrong += counters.error
        for job, run in zip(jobs, runs, strict=True):
            self.macs += job.trits.size * len(job.activations)
            self.wrong += int((run.results != golden_results(self.simulator.config, job)).sum())


class EngineMatmul:
    """A ``trilith.golden.network.layers.Matmul`` that multiplies on the simulated engine.

    Parameters
    ----------
    simulator : the engine; its process serves all products

    Members
    -------
    products : the products so far, by kind of matrix: the last part of its name, such as
        ``q_proj``
    """

    def __init__(self, simulator: MatVecSimulator) -> None:
        self._simulator = simulator
        self.products: dict[str, EngineProduct] = {}

    def __call__(self, weight: TernaryTensor, q: NDArray[np.int8]) -> NDArray[np.int32]:
        """Multiply ``weight (N, K) @ q (T, K) -> int32[T, N]``."""
        kind = weight.name.rpartition(".")[2]
        product = self.products.setdefault(kind, EngineProduct(simulator=self._simulator))
        return product(weight.trits, q)

    @property
    def cycles(self) -> int:
        """Cycles of all products so far."""
        return sum(product.cycles for product in self.products.values())

    @property
    def wrong(self) -> int:
        """Results so far that differ from those of the golden model."""
        return sum(product.wrong for product in self.products.values())

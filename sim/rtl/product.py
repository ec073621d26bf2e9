"""Matrix products on the simulated engine, held to golden."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...golden.checkpoint.tensors import TernaryTensor
from ...golden.matmul import ternary_matmul
from ...hw.jobs import Job, golden_results
from .simulator import MatVecSimulator

__all__ = ["EngineMatmul", "EngineProduct"]


@dataclass(kw_only=True)
class EngineProduct:
    """Matrix products that belong together, run on the engine and compared with golden.

    Parameters
    ----------
    simulator : the engine
    gaps : of its streams, see ``MatVecSimulator.run``
    macs, cycles, seconds : multiply-accumulates, clocks and simulation time so far
    wrong : results that differed from golden's, or errors flagged, so far
    """

    simulator: MatVecSimulator
    gaps: Mapping[str, Iterable[int]] = field(default_factory=dict)
    macs: int = 0
    cycles: int = 0
    seconds: float = 0.0
    wrong: int = 0

    def __call__(self, trits: NDArray[np.int8], q: NDArray[np.int8]) -> NDArray[np.int32]:
        """Multiply in the RTL."""
        run = self.simulator.run(trits, q, **self.gaps)
        self.seconds += run.counters.seconds
        self.macs += trits.size * len(q)
        self.cycles += run.cycles
        self.wrong += int((run.results != ternary_matmul(trits, q)).sum())
        return run.results

    def jobs(self, jobs: Sequence[Job]) -> None:
        """Run jobs back to back."""
        runs, counters = self.simulator.run_jobs(jobs, **self.gaps)
        self.seconds += counters.seconds
        self.cycles += counters.last_result - counters.first_job + 1
        self.wrong += counters.error
        for job, run in zip(jobs, runs, strict=True):
            self.macs += job.trits.size * len(job.activations)
            self.wrong += int((run.results != golden_results(self.simulator.config, job)).sum())


class EngineMatmul:
    """Multiplies in the engine what a golden model multiplies: a ``trilith.golden.layers.Matmul``.

    Parameters
    ----------
    simulator : the engine; its process serves all products
    """

    def __init__(self, simulator: MatVecSimulator) -> None:
        self._simulator = simulator
        #: The products so far by kind of matrix: the last part of its name, such as ``q_proj``.
        self.products: dict[str, EngineProduct] = {}

    def __call__(self, weight: TernaryTensor, q: NDArray[np.int8]) -> NDArray[np.int32]:
        """Multiply ``weight (N, K) @ q (T, K) -> int32[T, N]``."""
        kind = weight.name.rpartition(".")[2]
        product = self.products.setdefault(kind, EngineProduct(simulator=self._simulator))
        return product(weight.trits, q)

    @property
    def cycles(self) -> int:
        """Clocks of all products so far."""
        return sum(product.cycles for product in self.products.values())

    @property
    def wrong(self) -> int:
        """Results so far that differed from golden's."""
        return sum(product.wrong for product in self.products.values())

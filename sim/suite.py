"""The cases of ``make sim``: the Verilated engine against the golden model."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..golden import bitnet
from ..golden.codes import CODES
from ..golden.linear import ternary_matmul
from ..golden.mlp import BitNetMLP, load_digits
from ..hw.config import PRESETS, MatVecConfig
from .simulator import Job, MatVecSimulator, build_harness
from .toolchain import waves_suffix

__all__ = ["PARTS", "SWEEP_CONFIGS", "CaseResult", "golden_results", "run_suite"]

#: Parts of the suite, and what each shows.
PARTS = {
    "sweep": "random and corner cases over configurations and shapes",
    "digits": "a trained network classifying real images",
    "bitnet": "every matrix of a BitNet b1.58 2B4T decoder layer",
}

#: Configurations of the sweep: every code, activation width and kind of pipeline.
SWEEP_CONFIGS = (
    MatVecConfig(lanes=7, rows=2, code="base3", k_max=100, n_max=64),
    MatVecConfig(lanes=8, rows=5, tokens=2, code="escape", k_max=512, n_max=256),
    MatVecConfig(lanes=40, rows=3, code="tq1", k_max=1024, n_max=256),
    MatVecConfig(lanes=16, rows=4, tokens=4, act_bits=4, code="two_bit", k_max=512, n_max=256),
    MatVecConfig(lanes=33, rows=2, code="binary", k_max=700, n_max=256, levels_per_stage=3),
    MatVecConfig(
        lanes=20,
        rows=6,
        tokens=8,
        act_bits=2,
        code="escape",
        k_max=640,
        n_max=512,
        levels_per_stage=2,
    ),
    PRESETS["line"],
    PRESETS["block"],
)


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """A line of the suite.

    Parameters
    ----------
    part : a key of ``PARTS``
    name : what the case is about
    shape : N × K × T, N outputs, K inputs, T activation vectors
    engine : lanes × rows × tokens
    code : weight code
    cycles : clocks from the first job's acceptance to the last result
    utilization : MACs of the case over MACs that the engine could do in those clocks
    macs_per_second : MACs of the case over the time its simulation took
    passed : every result equals golden's
    detail : what differed, or what else there is to say
    """

    part: str
    name: str
    shape: str
    engine: str
    code: str
    cycles: int
    utilization: float
    macs_per_second: float
    passed: bool
    detail: str = ""


@dataclass(kw_only=True)
class _Product:
    """Matrix products of a case, run on the engine and compared with golden."""

    simulator: MatVecSimulator
    gaps: Mapping[str, Iterable[int]] = field(default_factory=dict)
    macs: int = 0
    cycles: int = 0
    seconds: float = 0.0
    wrong: int = 0

    def __call__(self, trits: NDArray[np.int8], q: NDArray[np.int8]) -> NDArray[np.int32]:
        """Multiply in the RTL; usable as a ``Matmul``."""
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

    def result(self, *, part: str, name: str, shape: str, detail: str = "") -> CaseResult:
        config = self.simulator.config
        if self.wrong:
            detail = f"{self.wrong} results differ from golden"
        return CaseResult(
            part=part,
            name=name,
            shape=shape,
            engine=_engine_name(config),
            code=config.code,
            cycles=self.cycles,
            utilization=self.macs / (self.cycles * config.macs_per_clock),
            macs_per_second=self.macs / self.seconds,
            passed=not self.wrong,
            detail=detail,
        )


def _engine_name(config: MatVecConfig) -> str:
    return f"{config.lanes}x{config.rows}x{config.tokens}"


def golden_results(config: MatVecConfig, job: Job) -> NDArray[np.int32]:
    """What a job must deliver: int32[T, N], or int32[S, T, N] with ``group_chunks``."""
    if not job.group_chunks:
        return ternary_matmul(job.trits, job.activations)
    width = job.group_chunks * config.lanes
    return np.stack(
        [
            ternary_matmul(job.trits[:, k : k + width], job.activations[:, k : k + width])
            for k in range(0, job.trits.shape[1], width)
        ]
    )


def _random_trits(
    rng: np.random.Generator, config: MatVecConfig, n: int, k: int
) -> NDArray[np.int8]:
    return rng.choice(np.array(CODES[config.code].values, np.int8), (n, k))


def _random_activations(
    rng: np.random.Generator, config: MatVecConfig, tokens: int, k: int
) -> NDArray[np.int8]:
    low, high = _activation_range(config)
    return rng.integers(low, high + 1, (tokens, k), np.int8)


def _activation_range(config: MatVecConfig) -> tuple[int, int]:
    high = 2 ** (config.act_bits - 1) - 1
    return (-1 if config.act_bits == 2 else -high - 1), high


def _idle(rng: np.random.Generator, most: int) -> Iterator[int]:
    """Idle clocks, mostly none."""
    while True:
        yield int(max(0, rng.integers(-most, most + 1)))


def _sweep(simulator: MatVecSimulator) -> Iterator[CaseResult]:
    """Cases of one configuration."""
    config = simulator.config
    rng = np.random.default_rng([config.lanes, config.rows, config.tokens, config.act_bits])
    lanes, rows, tokens = config.lanes, config.rows, config.tokens
    k_fit = min(4, config.k_max // lanes) * lanes
    shapes = {
        "whole chunks and rows": (3 * rows, k_fit, tokens),
        "part of a chunk and of the rows": (2 * rows + 1, k_fit - lanes // 2, tokens),
        "one output, one input": (1, 1, 1),
        "several passes": (rows + 1, lanes + 1, 2 * tokens + 1),
    }
    for name, (n, k, t) in shapes.items():
        product = _Product(simulator=simulator)
        product(_random_trits(rng, config, n, k), _random_activations(rng, config, t, k))
        yield product.result(part="sweep", name=name, shape=f"{n}x{k}x{t}")

    n, k, t = 2 * rows + 1, min(config.k_max, 3 * lanes + 1), tokens
    gaps = {
        "weight_gaps": _idle(rng, 3),
        "activation_gaps": _idle(rng, 3),
        "result_stalls": _idle(rng, 8),
    }
    product = _Product(simulator=simulator, gaps=gaps)
    product(_random_trits(rng, config, n, k), _random_activations(rng, config, t, k))
    yield product.result(part="sweep", name="random gaps and stalls", shape=f"{n}x{k}x{t}")

    lowest, _ = _activation_range(config)
    k = config.k_max
    product = _Product(simulator=simulator)
    product(np.full((rows, k), -1, np.int8), np.full((tokens, k), lowest, np.int8))
    shape = f"{rows}x{k}x{tokens}"
    yield product.result(part="sweep", name=f"all -1 times all {lowest}, k_max", shape=shape)

    jobs: list[Job] = []
    for index in range(8):
        n, k, t = (
            int(rng.integers(1, most + 1)) for most in (4 * rows, min(k_fit, config.k_max), tokens)
        )
        activations = _random_activations(rng, config, t, k)
        if index % 3 == 2:
            activations = jobs[-1].activations[:t]
        jobs.append(
            Job(
                trits=_random_trits(rng, config, n, activations.shape[1]),
                activations=activations,
                group_chunks=index % 4,
                reuse=index % 3 == 2,
            )
        )
    product = _Product(simulator=simulator, gaps=gaps)
    product.jobs(jobs)
    yield product.result(part="sweep", name="jobs back to back, reuse, groups", shape="8 jobs")


def _digits(simulator: MatVecSimulator) -> Iterator[CaseResult]:
    """The trained network on every test image, a case per layer and one for the answers."""
    images, labels = load_digits()
    products: list[_Product] = []

    def multiply(trits: NDArray[np.int8], q: NDArray[np.int8]) -> NDArray[np.int32]:
        products.append(_Product(simulator=simulator))
        shapes.append(f"{trits.shape[0]}x{trits.shape[1]}x{len(q)}")
        return products[-1](trits, q)

    shapes: list[str] = []
    in_rtl = BitNetMLP.load(matmul=multiply).forward(images).argmax(axis=1)
    in_golden = BitNetMLP.load().forward(images).argmax(axis=1)
    in_float = BitNetMLP.load_float().forward(images).argmax(axis=1)
    right, float_right = int((in_rtl == labels).sum()), int((in_float == labels).sum())
    accuracy = (
        f"{right} of {len(labels)} right ({right / len(labels):.2%}); "
        f"trained in float: {float_right} ({float_right / len(labels):.2%})"
    )
    for index, (product, shape) in enumerate(zip(products, shapes, strict=True)):
        last = index == len(products) - 1
        result = product.result(
            part="digits", name=f"layer {index}", shape=shape, detail=accuracy if last else ""
        )
        if last and not np.array_equal(in_rtl, in_golden):
            result = replace(result, passed=False, detail="classes differ from golden")
        yield result


def _bitnet(
    simulator: MatVecSimulator, matrices: Mapping[str, NDArray[np.int8]]
) -> Iterator[CaseResult]:
    """The seven matrices of a layer, one after the other."""
    for seed, (name, trits) in enumerate(matrices.items()):
        product = _Product(simulator=simulator)
        product(trits, bitnet.synthetic_activations(name, seed=seed))
        zeros = (trits == 0).mean()
        yield product.result(
            part="bitnet",
            name=name,
            shape=f"{trits.shape[0]}x{trits.shape[1]}x1",
            detail=f"{zeros:.1%} zeros",
        )


def run_suite(
    parts: Sequence[str],
    *,
    checkpoint: Path | None = None,
    layer: int = 0,
    waves: Path | None = None,
    built: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[CaseResult]:
    """Build what the parts need, two simulations at a time, and run their cases in order.

    Parameters
    ----------
    parts : keys of ``PARTS``
    checkpoint : a packed 2B4T checkpoint for the part ``bitnet`` instead of made-up weights
    layer : its layer
    waves : a folder to write the waves of each engine to
    built : called with simulations built and simulations needed

    Raises
    ------
    ToolchainError, CheckpointError, SimulationError, OSError
        See ``MatVecSimulator`` and ``read_layer``.
    """
    plan: list[tuple[MatVecConfig, Callable[[MatVecSimulator], Iterator[CaseResult]]]] = []
    if "sweep" in parts:
        plan += zip(SWEEP_CONFIGS, repeat(_sweep), strict=False)
    if "digits" in parts:
        plan.append((PRESETS["block"], _digits))
    if "bitnet" in parts:
        if checkpoint is not None:
            matrices = bitnet.read_layer(checkpoint, layer)
        else:
            with tempfile.TemporaryDirectory(prefix="trilith-") as folder:
                file = Path(folder) / "model.safetensors"
                bitnet.write_synthetic_layer(file)
                matrices = bitnet.read_layer(file)
        plan.append((PRESETS["bitnet"], lambda simulator: _bitnet(simulator, matrices)))

    waves_files: dict[MatVecConfig, Path] = {}
    if waves is not None:
        waves.mkdir(parents=True, exist_ok=True)
        suffix = waves_suffix()
        waves_files = {
            config: waves / f"{_engine_name(config)}-{config.code}{suffix}" for config, _ in plan
        }
    # The largest takes longest to build and goes first; the others come as they are needed.
    configs = list(dict.fromkeys(config for config, _ in plan))
    configs.sort(key=lambda config: config.lanes * config.rows < 1000)
    with ProcessPoolExecutor(max_workers=2) as pool:
        builds: dict[MatVecConfig, Future[Path]] = {
            config: pool.submit(build_harness, config, waves=waves_files.get(config))
            for config in configs
        }
        try:
            for config, cases in plan:
                built(sum(build.done() for build in builds.values()), len(builds))
                builds[config].result()
                with MatVecSimulator(config, waves=waves_files.get(config)) as simulator:
                    yield from cases(simulator)
        finally:
            pool.shutdown(cancel_futures=True)

"""Cases of ``make sim``: the Verilated engine against the golden model."""

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...golden.checkpoint.load import load_checkpoint
from ...golden.checkpoint.tensors import input_files
from ...golden.checkpoint.tokenizer import load_tokenizer
from ...golden.codes import CODES
from ...golden.data import DIGITS, PYDOC, SHERRY_DIGITS
from ...golden.files import new_files
from ...golden.matmul import activation_range
from ...golden.network import bitnet_2b4t as bitnet
from ...golden.network.mlp import BitNetMLP, load_digits
from ...golden.network.transformer import BitNetModel
from ...hw.axi.wrapper import BusWidths
from ...hw.config import PRESETS, MatVecConfig, WeightCode
from ...hw.jobs import Job
from ...hw.token.image_file import Image
from ..tools.errors import SimulationError
from ..tools.pool import process_pool
from ..tools.verilator import waves_suffix
from .axi_testbench import run_axi_testbench
from .cases import CaseResult, case_result
from .core_suite import build_core, core_images, run_core
from .harness import Gaps, build_harness
from .parts import Part
from .product import EngineMatmul, EngineProduct, Work
from .simulator import MatVecSimulator
from .testbenches.jobs import random_activations, random_trits

__all__ = ["AXI_CASES", "SWEEP_CONFIGS", "run_suite"]

#: The text that the language model continues, and the number of tokens that it adds.
_PROMPT, _TOKENS = "Return a list of", 6

_TABLE = tomllib.loads((Path(__file__).parent / "suite.toml").read_text())

#: Configurations of the sweep: every code, activation width, kind of pipeline and target.
SWEEP_CONFIGS = (
    *(MatVecConfig(**engine) for engine in _TABLE["sweep"]),
    PRESETS["line"],
    PRESETS["block"],
    PRESETS["compact"],
)

#: The engine of the network that has one zero in each four weights.
_SHERRY = next(config for config in SWEEP_CONFIGS if config.code == WeightCode.SHERRY)

#: Configurations of the part ``axi``.
AXI_CASES = tuple(
    (MatVecConfig(**case["engine"]), BusWidths(**case["buses"])) for case in _TABLE["axi"]
)


def _idle(rng: np.random.Generator, most: int) -> Iterator[int]:
    """Numbers of idle cycles, half of them 0."""
    while True:
        yield int(max(0, rng.integers(-most, most + 1)))


def _sweep(simulator: MatVecSimulator) -> Iterator[CaseResult]:
    """Random jobs and corner cases on one engine."""
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

    def case(name: str, n: int, k: int, t: int, gaps: Gaps | None = None) -> CaseResult:
        product = EngineProduct(simulator=simulator, gaps=gaps or {})
        product(random_trits(config, rng, n, k), random_activations(config, rng, t, k))
        return case_result(config, product, part=Part.SWEEP, name=name, shape=f"{n}x{k}x{t}")

    for name, shape in shapes.items():
        yield case(name, *shape)
    gaps = Gaps(
        weight_gaps=_idle(rng, 3), activation_gaps=_idle(rng, 3), result_stalls=_idle(rng, 8)
    )
    k = min(config.k_max, 3 * lanes + 1)
    yield case("random gaps and stalls", 2 * rows + 1, k, tokens, gaps)

    lowest, _ = activation_range(config.act_bits)
    k = config.k_max
    product = EngineProduct(simulator=simulator)
    trits = CODES[config.code].lowest((rows, k))
    product(trits, np.full((tokens, k), lowest, np.int8))
    share = "all" if trits.all() else "all but zeros"
    shape = f"{rows}x{k}x{tokens}"
    yield case_result(
        config, product, part=Part.SWEEP, name=f"{share} -1 times all {lowest}, k_max", shape=shape
    )

    jobs: list[Job] = []
    for index in range(8):
        n, k, t = (
            int(rng.integers(1, most + 1)) for most in (4 * rows, min(k_fit, config.k_max), tokens)
        )
        activations = random_activations(config, rng, t, k)
        if index % 3 == 2:
            activations = jobs[-1].activations[:t]
        jobs.append(
            Job(
                trits=random_trits(config, rng, n, activations.shape[1]),
                activations=activations,
                group_chunks=index % 4,
                reuse=index % 3 == 2,
            )
        )
    product = EngineProduct(simulator=simulator, gaps=gaps)
    product.jobs(jobs)
    yield case_result(
        config, product, part=Part.SWEEP, name="jobs back to back, reuse, groups", shape="8 jobs"
    )


def _network(
    config: MatVecConfig,
    part: Part,
    products: Iterable[tuple[EngineProduct, str, str]],
    detail: str,
    different: str,
) -> Iterator[CaseResult]:
    """Cases of a network, from the product, name and shape of each of its kinds of matrices.

    The last case has the detail. It fails if outputs of the network, such as classes, differ.
    """
    *results, last = (
        case_result(config, product, part=part, name=name, shape=shape)
        for product, name, shape in products
    )
    yield from results
    if different:
        detail = f"{different} differ from those of the golden model"
        last = replace(last, passed=False, detail="")
    yield replace(last, detail=last.detail or detail)


def _digits(simulator: MatVecSimulator, folder: Path = DIGITS) -> Iterator[CaseResult]:
    """A trained network on every test image: a case per layer; the last tells the accuracy."""
    images, labels = load_digits()
    multiply = EngineMatmul(simulator)
    network = BitNetMLP.load(folder, matmul=multiply)
    in_rtl = network.forward(images).argmax(axis=1)
    in_golden = BitNetMLP.load(folder).forward(images).argmax(axis=1)
    in_float = BitNetMLP.load_float().forward(images).argmax(axis=1)
    right, float_right = int((in_rtl == labels).sum()), int((in_float == labels).sum())
    accuracy = (
        f"{right} of {len(labels)} right ({right / len(labels):.2%}); "
        f"trained in float: {float_right} ({float_right / len(labels):.2%})"
    )
    sizes = [*map(len, network.gains), labels.max() + 1]
    shapes = [f"{n}x{k}x{len(images)}" for k, n in pairwise(sizes)]
    yield from _network(
        simulator.config,
        Part.DIGITS,
        (
            (product, f"layer {name}", shape)
            for (name, product), shape in zip(multiply.products.items(), shapes, strict=True)
        ),
        accuracy,
        "" if np.array_equal(in_rtl, in_golden) else "classes",
    )


def _language(simulator: MatVecSimulator) -> Iterator[CaseResult]:
    """The trained language model continues a text: a case per kind of matrix."""
    tokenizer = load_tokenizer(PYDOC)
    prompt = tokenizer.encode(_PROMPT).ids
    multiply = EngineMatmul(simulator)
    golden = BitNetModel.load(PYDOC)
    in_rtl, in_golden = (
        list(islice(model.generate(prompt), _TOKENS))
        for model in (BitNetModel.load(PYDOC, matmul=multiply), golden)
    )
    shapes = {
        name.rpartition(".")[2]: f"{n}x{k}" for name, (n, k) in golden.config.linear_shapes.items()
    }
    positions = len(prompt) + _TOKENS - 1
    yield from _network(
        simulator.config,
        Part.LANGUAGE,
        (
            (product, kind, f"{shapes[kind]}x{positions}")
            for kind, product in multiply.products.items()
        ),
        f"{tokenizer.decode(prompt + in_rtl)!r}",
        "" if in_rtl == in_golden else "tokens",
    )


def _bitnet(
    simulator: MatVecSimulator, matrices: Mapping[str, NDArray[np.int8]]
) -> Iterator[CaseResult]:
    """The seven matrices of a layer: a case per matrix."""
    for seed, (name, trits) in enumerate(matrices.items()):
        product = EngineProduct(simulator=simulator)
        product(trits, bitnet.synthetic_activations(name, seed=seed))
        zeros = (trits == 0).mean()
        yield case_result(
            simulator.config,
            product,
            part=Part.BITNET,
            name=name,
            shape=f"{trits.shape[0]}x{trits.shape[1]}x1",
            detail=f"{zeros:.1%} zeros",
        )


def _axi(config: MatVecConfig, widths: BusWidths) -> Iterator[CaseResult]:
    """Jobs of many shapes through the AXI wrapper: a case per pattern of pauses."""
    try:
        _, reports = run_axi_testbench(config, widths)
    except SimulationError as error:
        result = case_result(
            config, Work(wrong=1), part=Part.AXI, name="all pauses", shape="0 jobs"
        )
        yield replace(result, detail=str(error))
        return
    for report in reports:
        pattern, jobs = report.pop("pattern"), report.pop("jobs")
        yield case_result(
            config,
            Work(**report),
            part=Part.AXI,
            name="no pauses" if pattern == "none" else f"pauses: {pattern}",
            shape=f"{jobs} jobs",
            detail=f"buses of {widths.weights}, {widths.activations} and {widths.results} bits",
        )


def run_suite(
    parts: Sequence[str],
    *,
    checkpoint: Path | None = None,
    reading: Mapping[str, str] | None = None,
    layer: int = 0,
    waves: Path | None = None,
    force: bool = False,
    built: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[CaseResult]:
    """Build the simulations of parts, two at a time, and run their cases in order.

    Parameters
    ----------
    parts : values of ``Part``
    checkpoint : None, or a checkpoint with the shapes of BitNet b1.58 2B4T for the part ``bitnet``,
        see ``load_checkpoint``; None means random weights
    reading : other arguments of ``load_checkpoint``; None means its defaults
    layer : the layer of the checkpoint, counted from 0
    waves : None, or a folder for the waves of each engine; it is made if it is missing
    force : replace waves that exist
    built : called with the number of simulations that are built, and the number of all

    Yields
    ------
    The result of each case, as soon as it has run.

    Raises
    ------
    ToolchainError, SimulationError
        If a simulation cannot be built, or if an engine does not finish.
    CheckpointError, OSError
        If a checkpoint cannot be read.
    OutputError
        If a file of waves cannot be written, see ``check_outputs``.
    """
    plan = _plan(parts, checkpoint, reading, layer)
    cores = core_images() if Part.CORE in parts else []
    if waves is None:
        yield from _run(plan, cores, {}, built)
    else:
        suffix = waves_suffix()
        files = {config: waves / f"{config}-{config.code}{suffix}" for config, _ in plan}
        inputs = [] if checkpoint is None else input_files(checkpoint)
        failure = None
        with new_files(files.values(), inputs=inputs, force=force) as making:
            try:
                made = {config: making / file.name for config, file in files.items()}
                yield from _run(plan, cores, made, built)
            except SimulationError as error:
                failure = error  # The waves of a simulation that fails are the ones to read.
        if failure is not None:
            raise failure
    for config, widths in AXI_CASES if Part.AXI in parts else ():
        yield from _axi(config, widths)
    if Part.CORE in parts:
        yield from run_core()


def _run(
    plan: Sequence[tuple[MatVecConfig, Callable[[MatVecSimulator], Iterator[CaseResult]]]],
    cores: Sequence[Image],
    waves: Mapping[MatVecConfig, Path],
    built: Callable[[int, int], None],
) -> Iterator[CaseResult]:
    """Build the engines of a plan, and run their cases; then build the token cores of images.

    ``waves`` has the file of each engine.
    """
    # The largest takes longest to build and goes first; the others come as they are needed.
    configs = list(dict.fromkeys(config for config, _ in plan))
    configs.sort(key=lambda config: config.lanes * config.rows < 1000)
    with process_pool(2) as pool:
        builds: dict[MatVecConfig, Future[Path]] = {
            config: pool.submit(build_harness, config, waves=waves.get(config))
            for config in configs
        }
        others = [pool.submit(build_core, image) for image in cores]
        everything = [*builds.values(), *others]
        try:
            for config, cases in plan:
                built(sum(build.done() for build in everything), len(everything))
                builds[config].result()
                with MatVecSimulator(config, waves=waves.get(config)) as simulator:
                    yield from cases(simulator)
            for build in others:
                built(sum(build.done() for build in everything), len(everything))
                build.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _plan(
    parts: Sequence[str], checkpoint: Path | None, reading: Mapping[str, str] | None, layer: int
) -> list[tuple[MatVecConfig, Callable[[MatVecSimulator], Iterator[CaseResult]]]]:
    """Engines in the order of the parts, each with the function that runs its cases."""
    plan: list[tuple[MatVecConfig, Callable[[MatVecSimulator], Iterator[CaseResult]]]] = []
    if Part.SWEEP in parts:
        plan += zip(SWEEP_CONFIGS, repeat(_sweep), strict=False)
    if Part.DIGITS in parts:
        plan.append((PRESETS["block"], _digits))
        plan.append((_SHERRY, partial(_digits, folder=SHERRY_DIGITS)))
    if Part.LANGUAGE in parts:
        plan.append((PRESETS["block"], _language))
    if Part.BITNET in parts:
        source = (
            load_checkpoint(checkpoint, **(reading or {}))
            if checkpoint
            else bitnet.synthetic_checkpoint()
        )
        matrices = bitnet.read_layer(source, layer)
        plan.append((PRESETS["bitnet"], lambda simulator: _bitnet(simulator, matrices)))
    return plan

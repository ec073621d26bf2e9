"""``trilith sim``: the generated engine under Verilator against the golden model."""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..hw.config import MatVecConfig
from ..sim.rtl.parts import Part
from .options import (
    I2sLayout,
    JsonOptions,
    OptionError,
    Preset,
    Type42,
    command,
    config_fields,
    force_option,
    given_fields,
    i2s_option,
    new_app,
    option,
    reading,
    type42_option,
)
from .output import Column, Table, print_json, status

if TYPE_CHECKING:
    from ..sim.rtl.cases import CaseResult

__all__ = ["app"]

app = new_app()


class _Start(JsonOptions):
    i2s_layout: I2sLayout = i2s_option(needs=("--checkpoint",))
    type42: Type42 | None = type42_option(needs=("--checkpoint",))
    part: list[Part] | None = option(
        None,
        "Part of the suite to run; may be repeated. Default: all.",
        excludes=("--checkpoint", "--network"),
    )
    checkpoint: Path | None = option(
        None,
        "Checkpoint of BitNet b1.58 2B4T (folder, safetensors or GGUF file): run the matrices "
        "of one of its layers instead of the suite.",
        excludes=("--network",),
    )
    layer: int = option(0, "Layer of the checkpoint.", min=0, max=29, needs=("--checkpoint",))
    waves: Path | None = option(
        None,
        "Folder for waves, one file per engine: FST, or VCD where lz4.h is missing.",
        metavar="FOLDER",
        excludes=("--network",),
    )
    network: Path | None = option(
        None,
        "QONNX file, such as Brevitas exports: run its products instead of the suite. It needs the "
        "extra qonnx, and --inputs.",
    )
    inputs: Path | None = option(
        None,
        "NumPy file (.npy) with T inputs of the network: T x the shape of one.",
        needs=("--network",),
    )
    out: Path | None = option(
        None, "NumPy file to write: the network's outputs, float32.", needs=("--network",)
    )
    preset: Preset = option(Preset.BLOCK, "Engine of the network.", needs=("--network",))
    force: bool = force_option(needs=("--waves", "--out"))


_EngineOptions = config_fields(MatVecConfig, needs=("--network",))


class _Options(_EngineOptions, _Start):  # type: ignore[misc]
    """Options of the command, those of the engine included."""


@command(app)
def sim(options: _Options) -> bool:
    """Run the generated engine under Verilator and check every result against the golden model.

    Each case is one row. N x K x T is its shape: outputs, inputs, activation vectors. The engine
    is lanes x rows x tokens. Utilization is the MACs done, of those possible in the cycles. All
    figures are measured.

    With --network, the products of a network in QONNX run on the engine, one row each. The rest of
    the network is computed in float32, in the order of the file. The width of the activations and
    the largest sizes come from the network.

    Examples:
      trilith sim

      trilith sim --part digits

      trilith sim --checkpoint bitnet-b1.58-2B-4T --layer 0

      trilith sim --network digits.onnx --inputs images.npy --out logits.npy
    """
    if options.network:
        return _network(options)
    from ..sim.rtl.suite import run_suite

    parts = [Part.BITNET] if options.checkpoint else options.part or list(Part)
    with status("building simulations") as show:
        results = Table(*_COLUMNS, silent=options.as_json).rows(
            run_suite(
                parts,
                checkpoint=options.checkpoint,
                reading=reading(options),
                layer=options.layer,
                waves=options.waves,
                force=options.force,
                built=lambda done, total: show(f"building simulations: {done} of {total}"),
            )
        )
    return _summary(options, results)


def _summary(options: _Options, results: "list[CaseResult]", **facts: Any) -> bool:
    """Print how many cases passed; return whether one failed."""
    passed = sum(result.passed for result in results)
    failed = len(results) - passed
    if options.as_json:
        cases = [asdict(result) for result in results]
        print_json({"passed": passed, "failed": failed, "cases": cases, **facts})
    else:
        print(f"{passed} passed, {failed} failed")
    return failed > 0


def _network(options: _Options) -> bool:
    """Run a network on inputs from a file; return whether a product differs."""
    import numpy as np

    from ..golden.files import new_file
    from ..golden.network.qonnx import QonnxNetwork, read_inputs
    from ..hw.config import PRESETS
    from ..sim.rtl.network import network_config, run_network

    assert options.network is not None
    if options.inputs is None:
        raise OptionError("--inputs is missing: give the inputs of --network")
    files = [options.network, options.inputs]
    network = QonnxNetwork.load(options.network)
    try:
        given = given_fields(options, _EngineOptions)
        config = network_config(network, PRESETS[options.preset], given)
    except ValueError as error:
        raise OptionError(str(error)) from None
    x = read_inputs(options.inputs, network.shape)
    out = options.out
    opened = new_file(out, inputs=files, force=options.force) if out else nullcontext()
    with opened as partial, status("simulating"):
        run = run_network(network, x, config)
        if partial:
            with partial.open("wb") as file:
                np.save(file, run.outputs)
    Table(*_COLUMNS, silent=options.as_json).rows(run.cases)
    facts = {"inputs": len(x), "out": str(out)} if out else {"inputs": len(x)}
    return _summary(options, run.cases, **facts)


_COLUMNS = (
    Column("result", lambda case: "PASS" if case.passed else "FAIL", form="<"),
    Column("case", lambda case: f"{case.part}: {case.name}", 42, "<"),
    Column("N x K x T", "shape", 13),
    Column("engine", "engine", 8, "<"),
    Column("code", "code", 8, "<"),
    Column("cycles", "cycles", 8),
    Column("utilization", "utilization", form=".1%"),
    Column("MMAC/s", lambda case: case.macs_per_second / 1e6, 8, ".2f"),
    Column("detail", "detail", form="<"),
)

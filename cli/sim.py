"""``trilith sim``: the generated engine under Verilator against the golden model."""

from dataclasses import asdict
from pathlib import Path

from ..sim.rtl.parts import Part
from .options import (
    I2sLayout,
    JsonOptions,
    Type42,
    command,
    force_option,
    i2s_option,
    new_app,
    option,
    reading,
    type42_option,
)
from .output import Column, Table, print_json, status

__all__ = ["app"]

app = new_app()


class _Options(JsonOptions):
    i2s_layout: I2sLayout = i2s_option(needs=("--checkpoint",))
    type42: Type42 | None = type42_option(needs=("--checkpoint",))
    part: list[Part] | None = option(
        None,
        "Part of the suite to run; may be repeated. Default: all.",
        excludes=("--checkpoint",),
    )
    checkpoint: Path | None = option(
        None,
        "Checkpoint of BitNet b1.58 2B4T (folder, safetensors or GGUF file): run the matrices "
        "of one of its layers instead of the suite.",
    )
    layer: int = option(0, "Layer of the checkpoint.", min=0, max=29, needs=("--checkpoint",))
    waves: Path | None = option(
        None,
        "Folder for waves, one file per engine: FST, or VCD where lz4.h is missing.",
        metavar="FOLDER",
    )
    force: bool = force_option(needs=("--waves",))


@command(app)
def sim(options: _Options) -> bool:
    """Run the generated engine under Verilator and check every result against the golden model.

    Each case is one row. N x K x T is its shape: outputs, inputs, activation vectors. The engine
    is lanes x rows x tokens. Utilization is the MACs done, of those possible in the cycles. All
    figures are measured.

    Examples:
      trilith sim

      trilith sim --part digits

      trilith sim --checkpoint bitnet-b1.58-2B-4T --layer 0
    """
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
    passed = sum(result.passed for result in results)
    failed = len(results) - passed
    if options.as_json:
        cases = [asdict(result) for result in results]
        print_json({"passed": passed, "failed": failed, "cases": cases})
    else:
        print(f"{passed} passed, {failed} failed")
    return failed > 0


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

"""The verb ``characterize``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["characterize"]


def characterize(
    unit: Annotated[str, typer.Option(help="Dot product; 'report baselines' lists them.")],
    library: Annotated[str, typer.Option(help="What to call the library.")],
    liberty: Annotated[
        list[Path],
        typer.Option(help="The library's Liberty files, .lib or .lib.gz.", metavar="FILES..."),
    ],
    more: Annotated[list[Path] | None, typer.Argument(metavar="", hidden=True)] = None,
    clock_ghz: Annotated[float, typer.Option(help="Clock to map for and measure at.")] = 1.0,
    lanes: Annotated[int, typer.Option(help="Products of a row per clock, 2 to 256.")] = 16,
    rows: Annotated[
        int, typer.Option(help="Rows of weights that share the activations, 1 to 64.")
    ] = 1,
    levels_per_stage: Annotated[
        int, typer.Option(help="Levels of integer adders between two registers, 1 to 4.")
    ] = 1,
    operands: Annotated[
        str,
        typer.Option(
            help="trained: the digits network's layers; 2b4t: random, with that model's zeros."
        ),
    ] = "trained",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Measure a dot product's energy, area and speed in a cell library.

    yosys maps it for the clock; Verilator runs the netlist on the operands and holds it to the
    golden model; the transitions of every pin and OpenSTA's slews give power. Cells only: no wires,
    no clock tree, no glitches. Energy is per MAC, all lanes busy; clock is what the clock pins of
    flip-flops take. Ends with status 1 where the clock is not met.

    Examples:
      trilith characterize --unit ternaryxint8-escape --lanes 80 --library asap7 --liberty
      asap7/*.lib
    """
    from rich.console import Console

    from ..hw.baselines import BASELINES
    from ..sim.characterize import characterize as measure
    from ..sim.operands import SOURCES

    if unit not in BASELINES:
        raise typer.BadParameter(f"--unit must be one of {', '.join(BASELINES)}, not {unit!r}")
    if not 2 <= lanes <= 256:
        raise typer.BadParameter(f"--lanes must be from 2 to 256, not {lanes}")
    if not 1 <= rows <= 64:
        raise typer.BadParameter(f"--rows must be from 1 to 64, not {rows}")
    if not 1 <= levels_per_stage <= 4:
        raise typer.BadParameter(f"--levels-per-stage must be from 1 to 4, not {levels_per_stage}")
    if not 0.001 <= clock_ghz <= 100:
        raise typer.BadParameter(f"--clock-ghz must be from 0.001 to 100, not {clock_ghz}")
    if operands not in SOURCES:
        raise typer.BadParameter(
            f"--operands must be one of {', '.join(SOURCES)}, not {operands!r}"
        )
    with Console(stderr=True).status("measuring"):
        row = measure(
            unit,
            library,
            [*liberty, *(more or ())],
            clock_ghz=clock_ghz,
            lanes=lanes,
            rows=rows,
            levels_per_stage=levels_per_stage,
            source=operands,
        )
    if as_json:
        print(json.dumps(asdict(row), indent=2))
    else:
        _print(row)
    if not row.met:
        raise typer.Exit(1)


def _print(row) -> None:
    origin = row.provenance
    print(
        f"{row.label} {row.unit}, {row.lanes} lanes x {row.rows} rows, {row.levels_per_stage} "
        f"adder levels per stage, latency {row.latency} clocks, in {row.library} at "
        f"{row.clock_ghz:g} GHz"
    )
    verdict = "met" if row.met else "NOT MET: the energies are of a circuit that is too slow"
    print(f"clock           {verdict}; {row.max_ghz:.2f} GHz at most, without wires")
    print(f"energy          {row.energy_fj:.3f} fJ per MAC")
    for kind in ("internal", "switching", "leakage"):
        print(f"  {kind:<13} {getattr(row, f'{kind}_fj'):.3f}")
    print(f"  (OpenSTA's own internal energy, not used: {row.opensta_internal_fj:.3f})")
    print("of it for")
    for part, energy in row.parts_fj.items():
        print(f"  {part:<13} {energy:.3f}")
    print(f"area            {row.area:.2f} in the library's unit (mostly um2)")
    print(f"cells           {row.cells}, {row.flip_flops} of them flip-flops")
    print(
        f"operands        {row.operands}, {row.beats} beats, {row.zero_weights:.1%} zero weights, "
        f"{row.zero_activations:.1%} zero activations; {row.results} results equal golden"
    )
    for file in origin["files"]:
        print(f"library file    {file['file']} {file['sha256']}")
    print(f"corner          {origin['voltage']} V, {origin['temperature']} C")
    print(
        f"tools           yosys {origin['yosys']}, {origin['verilator']}, "
        f"OpenSTA {origin['opensta']}; activity: {origin['activity']}"
    )

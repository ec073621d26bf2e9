"""The verb ``characterize``."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["characterize"]


_ONE = ("lanes", "rows", "levels_per_stage", "operands")
#: Options that a way of measuring would ignore.
_IGNORED = {
    "--all": _ONE,
    "--sram": (*_ONE, "clock_ghz", "glitches", "jobs"),
    "--unit": ("node", "out", "jobs"),
}


def characterize(
    context: typer.Context,
    library: Annotated[str, typer.Option(help="What to call the library.")],
    liberty: Annotated[
        list[Path],
        typer.Option(help="The library's Liberty files, .lib or .lib.gz.", metavar="FILES..."),
    ],
    more: Annotated[list[Path] | None, typer.Argument(metavar="", hidden=True)] = None,
    unit: Annotated[
        str | None, typer.Option(help="Dot product, such as ternaryxint8-escape.")
    ] = None,
    clock_ghz: Annotated[
        list[float] | None,
        typer.Option(
            help="Clock to measure at; may be repeated: units are mapped for the fastest. "
            "Default: 1.",
            show_default=False,
        ),
    ] = None,
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
            help="trained: the digits network's layers; 2b4t: random, with that model's zeros; "
            "2b4t:0.3: with another share of zeros."
        ),
    ] = "trained",
    glitches: Annotated[
        bool, typer.Option("--glitches", help="Count glitches too, with unit delays in Icarus.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Fill the library's table: all units in the shapes that it has, or those of "
            "--unit; with --glitches the headline units. What was measured before and has not "
            "changed is kept.",
        ),
    ] = False,
    node: Annotated[
        str,
        typer.Option(
            help="With --all or --sram, the process for the record, such as '130 nm, 1.8 V'."
        ),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            help="With --all or --sram, the table's file. Default: where 'trilith energy mac' and "
            "the energy profile gate:LIBRARY find it.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="With --all, units measured at once.")] = 1,
    sram: Annotated[
        bool,
        typer.Option(
            "--sram",
            help="The files are memory macros: put the energies of their reads and writes into the "
            "library's table.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a list of rows.")] = False,
) -> None:
    """Measure a dot product's energy, area and speed in a cell library.

    yosys maps it for the clock; its netlist runs on the operands and must equal the golden model;
    the transitions of every pin and OpenSTA's slews give power. Cells only: no wires, no clock
    tree, and no glitches but with --glitches. Energy is per MAC, all lanes busy; clock is what
    flip-flops take inside for being clocked; the charge of clock and input pins, which no cell
    delivers, is added as "with ports". Ends with status 1 where a clock is not met.

    Examples:
      trilith characterize --unit ternaryxint8-escape --lanes 80 --library asap7 --liberty
      asap7/*.lib

      trilith characterize --all --jobs 2 --clock-ghz 1 --clock-ghz 0.5 --library mine --liberty
      mine.lib
    """
    from rich.console import Console

    from ..hw.baselines import BASELINES
    from ..sim.gatelevel.campaign import Campaign, all_tasks, store_sram
    from ..sim.gatelevel.characterize import Task
    from ..sim.gatelevel.characterize import characterize as measure
    from ..sim.gatelevel.operands import zero_share
    from ..sim.gatelevel.table import COMPARED_UNITS, table_file

    if unit is None and not (everything or sram):
        raise typer.BadParameter("--unit, --all or --sram must be given")
    if sram and (everything or unit is not None):
        raise typer.BadParameter("--sram excludes --unit and --all: it measures no dot product")
    way = "--sram" if sram else "--all" if everything else "--unit"
    for name in _IGNORED[way]:
        source = context.get_parameter_source(name)
        assert source is not None, name
        if source.name == "COMMANDLINE":
            raise typer.BadParameter(
                f"--{name.replace('_', '-')} must not be given with {way}, which has no use for it"
            )
    if unit is not None and unit not in BASELINES:
        raise typer.BadParameter(f"--unit must be one of {', '.join(BASELINES)}, not {unit!r}")
    if everything and glitches and unit is not None and unit not in COMPARED_UNITS:
        raise typer.BadParameter(
            f"--unit must be one of {', '.join(COMPARED_UNITS)} with --all --glitches, not {unit!r}"
        )
    if not 2 <= lanes <= 256:
        raise typer.BadParameter(f"--lanes must be from 2 to 256, not {lanes}")
    if not 1 <= rows <= 64:
        raise typer.BadParameter(f"--rows must be from 1 to 64, not {rows}")
    if not 1 <= levels_per_stage <= 4:
        raise typer.BadParameter(f"--levels-per-stage must be from 1 to 4, not {levels_per_stage}")
    if not 1 <= jobs <= 64:
        raise typer.BadParameter(f"--jobs must be from 1 to 64, not {jobs}")
    clocks = sorted(clock_ghz or [1.0], reverse=True)
    for clock in clocks:
        if not 0.001 <= clock <= 100:
            raise typer.BadParameter(f"--clock-ghz must be from 0.001 to 100, not {clock}")
    try:
        zero_share(operands)
    except ValueError as error:
        raise typer.BadParameter(f"--{error}") from None
    files = [*liberty, *(more or ())]
    if unit is None or everything:
        if not re.fullmatch(r"[\w.-]+", library):
            raise typer.BadParameter(
                f"--library must be of letters, digits, '.', '-' and '_', not {library!r}"
            )
        file = out or table_file(library)
        if sram:
            macros = store_sram(file, library=library, node=node, macros=files)
            print(json.dumps(macros, indent=2) if as_json else "\n".join(map(_macro_line, macros)))
            return
        campaign = Campaign(file=file, library=library, node=node, liberty=files, clocks_ghz=clocks)
        tasks = all_tasks(unit=unit, glitches=glitches)
        _fill(partial(campaign.run, tasks, jobs=jobs), as_json)
        return
    with Console(stderr=True).status("measuring"):
        task = Task(
            unit=unit,
            lanes=lanes,
            rows=rows,
            levels_per_stage=levels_per_stage,
            sources=(operands,),
            glitches=glitches,
        )
        found = measure(task, library, files, clocks)
    if as_json:
        print(json.dumps([asdict(row) for row in found], indent=2))
    else:
        for row in found:
            _print(row)
    if not all(row.met for row in found):
        raise typer.Exit(1)


def _macro_line(row: dict[str, Any]) -> str:
    return (
        f"{row['name']}: {row['words']} x {row['bits']}, read {row['read_pj']:.1f} pJ, "
        f"write {row['write_pj']:.1f} pJ ({row['source']})"
    )


def _fill(fill: Callable[..., Iterator[Any]], as_json: bool) -> None:
    """Fill a table; failures of units are said and do not stop the others."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    failed = 0
    rows = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("reading the library", total=None)

        def told(done: int, total: int, what: str) -> None:
            progress.update(bar, completed=done, total=total, description=what or "measured")

        for found in fill(progress=told):
            if isinstance(found, tuple):
                failed += 1
                progress.console.print(f"FAILED  {found[0].name}: {found[1]}", soft_wrap=True)
                continue
            rows.append(found)
            if not as_json:
                verdict = "" if found["met"] else f"  NOT MET, {found['max_ghz']:.3g} GHz at most"
                print(
                    f"{found['unit']:<24} {found['lanes']:>3} lanes x {found['rows']:>2} rows "
                    f"{found['levels_per_stage']} "
                    f"levels {found['operands']:<9} {found['clock_ghz']:g} GHz "
                    f"{found['energy_fj']:>9.2f} fJ per MAC{verdict}",
                    flush=True,
                )
    if as_json:
        print(json.dumps(rows, indent=2))
    if failed:
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
    print(
        f"with ports      {row.with_ports_fj:.3f} fJ per MAC, with the charge of the pins that no "
        "cell drives, clock pins above all"
    )
    if row.glitches_fj is not None:
        print(
            f"with glitches   {row.glitches_fj:.3f} fJ per MAC; {row.glitch_transitions:.2f} times "
            "the transitions, with a delay of one unit per cell"
        )
    if row.refused:
        print(
            f"lower bound     the library's internal energy of {row.refused:.0%} of the outputs' "
            "transitions is so negative that cells would give energy: counted as zero"
        )
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
        f"tools           yosys {origin['yosys']}, OpenSTA {origin['opensta']}; "
        f"activity: {origin['activity']}"
    )

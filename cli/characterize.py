"""``trilith characterize``: energy, area and speed of dot products in a cell library."""

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .characterize_core import measure_core
from .options import JsonOptions, OptionError, argument, command, new_app, option
from .output import Column, Table, lower_bound, print_facts, print_json, progress, status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..hw.baselines import DotConfig
    from ..sim.gatelevel.campaign import Campaign
    from ..sim.gatelevel.characterize import Task

__all__ = ["app"]

app = new_app()

_DEFAULT_LANES = 16
#: Ways of measuring that do not use the shape of a unit.
_OTHERS = ("--all", "--search", "--sram", "--arrays", "--token-core")


class _Options(JsonOptions):
    """Options of the command; those that some way of measuring does not use are None by default."""

    library: str = option(..., "Name of the library.")
    liberty: list[Path] = option(
        ..., "The library's Liberty files, .lib or .lib.gz.", metavar="FILES..."
    )
    more: list[Path] | None = argument(None, "", metavar="", hidden=True)
    unit: str | None = option(None, "Dot product, such as ternaryxint8-escape.")
    clock_ghz: list[float] | None = option(
        None,
        "Clock frequency to measure at, GHz; may be repeated. Units are mapped for the fastest.",
        show_default="1",
        min=0.001,
        max=100,
        excludes=("--sram",),
    )
    lanes: int | None = option(
        None, "Products of a row per cycle.", show_default="16", min=2, max=256, excludes=_OTHERS
    )
    rows: int | None = option(
        None,
        "Rows of weights that share the activations.",
        show_default="1",
        min=1,
        max=64,
        excludes=_OTHERS,
    )
    levels_per_stage: int | None = option(
        None,
        "Levels of integer adders between two registers.",
        show_default="1",
        min=1,
        max=9,
        excludes=_OTHERS,
    )
    variant: str | None = option(
        None,
        "Choices of registers and logic, such as no-product+no-sum. Results stay the same.",
        show_default="none",
        excludes=_OTHERS,
    )
    operands: str | None = option(
        None,
        "trained: the digits network's layers; held-activations, held-weights: the same, one side "
        "held for eight beats; pydoc: the stored language model's layers; 2b4t: random, with that "
        "model's share of zeros; 2b4t:0.3: random, with another share of zeros.",
        show_default="trained",
        excludes=_OTHERS,
    )
    glitches: bool = option(
        False,
        "Count glitches too: Icarus with a unit delay per cell.",
        "--glitches",
        excludes=("--search", "--sram"),
    )
    placed: bool = option(
        False,
        "Place the cells, and count wires and a clock tree too.",
        "--placed",
        excludes=("--search", "--sram"),
    )
    everything: bool = option(
        False,
        "Fill the library's table: in ASAP7 all units, in others those of the comparison and the "
        "best of the search, or those of --unit; with --glitches or --placed, the units of the "
        "comparison. Results that are still valid are kept.",
        "--all",
    )
    search: bool = option(
        False,
        "Fill the table with all listed variants of each format, or of --unit, and measure the "
        "best of each with four rows and on further operands.",
        "--search",
        excludes=("--all",),
    )
    node: str | None = option(
        None,
        "With --all, --search, --sram or --token-core: the process, such as '130 nm, 1.8 V'.",
        needs=("--all", "--search", "--sram", "--token-core"),
    )
    out: Path | None = option(
        None,
        "With --all, --search, --sram, --arrays or --token-core: file of the table. Default: the "
        "file that 'trilith energy mac' and the energy profile gate:LIBRARY read.",
        needs=_OTHERS,
    )
    jobs: int | None = option(
        None,
        "With --all or --search: number of units to measure at once.",
        show_default="1",
        min=1,
        max=64,
        needs=("--all", "--search"),
    )
    sram: bool = option(
        False,
        "The files are memory macros: store the energies of their reads and writes in the "
        "library's table.",
        "--sram",
        excludes=("--all", "--search", "--unit"),
    )
    arrays: bool = option(
        False,
        "Map and measure a systolic array with stationary weights in each format, place and "
        "measure those of INT8 that are published after routing, and store their energies in the "
        "library's table.",
        "--arrays",
        excludes=(
            *("--all", "--search", "--sram", "--unit", "--glitches", "--placed", "--clock-ghz"),
        ),
    )
    token_core: bool = option(
        False,
        "Map a whole token core, run a token of the stored language model in its netlist, and "
        "store the energy of its parts for 'trilith energy token'. Takes about ten minutes.",
        "--token-core",
        excludes=(
            *("--all", "--search", "--sram", "--arrays", "--unit", "--glitches", "--placed"),
        ),
    )

    @property
    def way(self) -> str:
        """Way of measuring: the option that selects it."""
        chosen = {
            "--arrays": self.arrays,
            "--token-core": self.token_core,
            "--sram": self.sram,
            "--search": self.search,
            "--all": self.everything,
        }
        return next((way for way, given in chosen.items() if given), "--unit")

    @property
    def files(self) -> list[Path]:
        """All Liberty files."""
        return [*self.liberty, *(self.more or ())]

    @property
    def config(self) -> "DotConfig":
        """Shape of the unit."""
        from ..hw.baselines import DotConfig
        from ..sim.gatelevel.characterize import K_MAX

        return DotConfig(
            lanes=self.lanes or _DEFAULT_LANES,
            k_max=K_MAX,
            rows=self.rows or 1,
            levels_per_stage=self.levels_per_stage or 1,
            choices=self.variant.split("+") if self.variant else (),
        )

    @property
    def clocks(self) -> list[float]:
        """Clock frequencies in GHz, the fastest first."""
        return sorted(self.clock_ghz or [1.0], reverse=True)


@command(app)
def characterize(options: _Options) -> bool:
    """Measure a dot product's energy, area and speed in a cell library.

    yosys maps the unit for the clock. Its netlist runs on the operands, and its results must match
    the golden model. The transitions of every pin and OpenSTA's slews give the power. Only cells
    are counted: glitches only with --glitches, wires and a clock tree only with --placed. Energy
    is per MAC with all lanes busy. "with ports" adds the charge of clock and input pins, which no
    cell drives. If a clock frequency is not reached, the command ends with status 1.

    Examples:
      trilith characterize --unit ternaryxint8-escape --lanes 80 --library asap7 --liberty
      asap7/*.lib

      trilith characterize --all --jobs 2 --clock-ghz 1 --clock-ghz 0.5 --library mine --liberty
      mine.lib
    """
    _check(options)
    measure = {
        "--sram": _measure_macros,
        "--arrays": _measure_arrays,
        "--all": _fill_table,
        "--search": _search,
        "--unit": _measure_unit,
        "--token-core": measure_core,
    }
    return measure[options.way](options)


def _check(options: _Options) -> None:
    """Refuse options that contradict each other, and unknown names."""
    from ..hw.baselines import BASELINES
    from ..sim.gatelevel.operands import check_source
    from ..sim.gatelevel.rivals import RIVALS
    from ..sim.gatelevel.table import COMPARED_UNITS

    unit, way = options.unit, options.way
    if unit is None and way == "--unit":
        raise OptionError(
            "--unit is missing: give it, or give --all, --search, --sram, --arrays or --token-core"
        )
    if unit is not None and unit not in BASELINES:
        raise OptionError(f"--unit must be one of {', '.join(BASELINES)}, not {unit!r}")
    searched = [one for units in RIVALS.values() for one in units]
    if options.search and unit is not None and unit not in searched:
        raise OptionError(
            f"--unit must be one of {', '.join(searched)} with --search, not {unit!r}"
        )
    added = "--glitches" if options.glitches else "--placed" if options.placed else ""
    if options.everything and added and unit is not None and unit not in COMPARED_UNITS:
        raise OptionError(
            f"--unit must be one of {', '.join(COMPARED_UNITS)} with --all {added}, not {unit!r}"
        )
    if options.everything and options.glitches and options.placed:
        raise OptionError("--glitches and --placed must not be given together with --all")
    if options.operands is not None and unit is not None:
        try:
            check_source(BASELINES[unit], options.operands)
        except ValueError as error:
            raise OptionError(f"--{error}") from None
    if way == "--unit" and unit is not None:
        try:
            BASELINES[unit].check(options.config)
        except ValueError as error:
            raise OptionError(f"--{str(error).replace('choices', 'variant', 1)}") from None
    if way != "--unit" and not re.fullmatch(r"[\w.-]+", options.library):
        raise OptionError(
            f"--library must consist of letters, digits, '.', '-' and '_', not {options.library!r}"
        )


def _table_file(options: _Options) -> Path:
    """File of the library's table."""
    from ..sim.gatelevel.table import table_file

    return options.out or table_file(options.library)


def _measure_macros(options: _Options) -> bool:
    """Store the energies of memory macros."""
    from ..sim.gatelevel.campaign import store_sram

    macros = store_sram(
        _table_file(options),
        library=options.library,
        node=options.node or "",
        macros=options.files,
    )
    if options.as_json:
        print_json(macros)
        return False
    Table(
        Column("macro", "name", 24, "<"),
        Column("words x bits", lambda row: f"{row['words']} x {row['bits']}"),
        Column("read, pJ", "read_pj", form=".1f"),
        Column("write, pJ", "write_pj", form=".1f"),
        Column("source", "source", form="<"),
    ).rows(macros)
    return False


_CLOCK = Column(
    "clock",
    lambda row: "met" if row["met"] else f"NOT MET: {row['max_ghz']:.3g} GHz at most",
    form="<",
)


def _measure_arrays(options: _Options) -> bool:
    """Store the energies of systolic arrays: published ones, and one of each format."""
    from ..sim.gatelevel.campaign import store_arrays

    with progress("reading the library") as show:
        found = store_arrays(
            _table_file(options),
            library=options.library,
            liberty=options.files,
            progress=lambda done, total, what: show(done, total, what or "measured"),
        )
    missed = any(not row["met"] for row in found["systolic"])
    if options.as_json:
        print_json(found)
        return missed
    Table(
        Column("array", lambda row: f"{row['size']} x {row['size']}"),
        Column("flip-flops, pJ per MAC", "sequential_pj", form=".3f"),
        Column("other cells", "combinational_pj", form=".3f"),
        Column("clock tree", "clock_pj", form=".3f"),
        Column("activity", "activity", form="<"),
    ).rows(found["arrays"])
    print()
    Table(
        Column("format", "format", 16, "<"),
        Column("array", lambda row: f"{row['size']} x {row['size']}"),
        Column("GHz", "clock_ghz", 5, "g"),
        Column("fJ per MAC", "energy_fj", form=".2f"),
        Column("ports", "ports_fj", form=".2f"),
        _CLOCK,
    ).rows(found["systolic"])
    return missed


_FILLED = (
    Column("unit", "unit", 22, "<"),
    Column("lanes", "lanes"),
    Column("rows", "rows"),
    Column("levels", "levels_per_stage"),
    Column("variant", "variant", 8, "<"),
    Column("operands", "operands", 9, "<"),
    Column("GHz", "clock_ghz", 5, "g"),
    Column("fJ per MAC", "energy_fj", form=".2f"),
    _CLOCK,
)


def _campaign(options: _Options) -> "Campaign":
    """Campaign of the options."""
    from ..sim.gatelevel.campaign import Campaign

    return Campaign(
        file=_table_file(options),
        library=options.library,
        node=options.node or "",
        liberty=options.files,
        clocks_ghz=options.clocks,
    )


def _fill_table(options: _Options) -> bool:
    """Fill a library's table."""
    from ..sim.gatelevel.campaign import all_tasks

    tasks = all_tasks(
        options.library, unit=options.unit, glitches=options.glitches, placed=options.placed
    )
    return _run(options, lambda: [tasks])


def _search(options: _Options) -> bool:
    """Measure all variants, then the best of each format in further ways."""
    from ..sim.gatelevel.search import further_tasks, search_tasks
    from ..sim.gatelevel.table import read_table

    def steps() -> "Iterator[list[Task]]":
        yield search_tasks(options.unit)
        yield further_tasks(read_table(_table_file(options), options.library), options.unit)

    return _run(options, steps)


def _run(options: _Options, steps: "Callable[[], Iterable[list[Task]]]") -> bool:
    """Run lists of tasks; a unit that fails is printed and does not stop the others."""
    campaign = _campaign(options)
    failed = 0
    rows = []
    with progress("reading the library") as show:
        table = Table(*_FILLED, silent=options.as_json)
        for tasks in steps():
            for found in campaign.run(
                tasks,
                jobs=options.jobs or 1,
                progress=lambda done, total, what: show(done, total, what or "measured"),
            ):
                if isinstance(found, tuple):
                    failed += 1
                    print(f"FAILED  {found[0].name}: {found[1]}", file=sys.stderr)
                    continue
                rows.append(found)
                table.row(found)
    if options.as_json:
        print_json(rows)
    return failed > 0


def _measure_unit(options: _Options) -> bool:
    """Measure one unit, at one or more clock frequencies."""
    from ..sim.gatelevel.characterize import Task
    from ..sim.gatelevel.characterize import characterize as measure

    assert options.unit is not None
    task = Task(
        unit=options.unit,
        config=options.config,
        sources=(options.operands or "trained",),
        glitches=options.glitches,
        placed=options.placed,
    )
    with status("measuring"):
        found = measure(task, options.library, options.files, options.clocks)
    if options.as_json:
        print_json([asdict(row) for row in found])
    else:
        for row in found:
            _print_unit(row)
    return not all(row.met for row in found)


def _print_unit(row: Any) -> None:
    """Print a unit's figures, one per line."""
    print(
        f"{row.label} {row.unit}, {row.lanes} lanes x {row.rows} rows, {row.levels_per_stage} "
        f"adder levels per stage, {f'variant {row.variant}, ' if row.variant else ''}latency "
        f"{row.latency} cycles, in {row.library} at {row.clock_ghz:g} GHz"
    )
    verdict = "met" if row.met else "NOT MET: the energies are of a circuit that is too slow"
    facts = [
        ("clock", f"{verdict}; {row.max_ghz:.2f} GHz at most, without wires"),
        ("energy", f"{row.energy_fj:.3f} fJ per MAC"),
        *((f"  {kind}", f"{getattr(row, f'{kind}_fj'):.3f}") for kind in _KINDS),
        ("  OpenSTA's own", f"{row.opensta_internal_fj:.3f} internal (not used)"),
        (
            "with ports",
            f"{row.with_ports_fj:.3f} fJ per MAC: the charge of clock and input pins is added",
        ),
    ]
    if row.glitches_fj is not None:
        glitches = (
            f"{row.glitches_fj:.3f} fJ per MAC; {row.glitch_transitions:.2f} times the "
            "transitions, with a delay of one unit per cell"
        )
        facts.append(("with glitches", glitches))
    if row.placed is not None:
        facts += _placed_facts(row.placed)
    if row.refused:
        facts.append(("lower bound", f"for {lower_bound(row.refused)}"))
    origin = row.provenance
    facts += [
        ("energy by part", ""),
        *((f"  {part}", f"{energy:.3f}") for part, energy in row.parts_fj.items()),
        ("area", f"{row.area:.2f} in the library's unit (mostly um2)"),
        ("cells", f"{row.cells}, {row.flip_flops} of them flip-flops"),
        (
            "operands",
            f"{row.operands}, {row.beats} beats, {row.zero_weights:.1%} zero weights, "
            f"{row.zero_activations:.1%} zero activations; {row.results} results match the golden "
            "model",
        ),
        *(("library file", f"{file['file']} {file['sha256']}") for file in origin["files"]),
        ("corner", f"{origin['voltage']} V, {origin['temperature']} C"),
        (
            "tools",
            f"yosys {origin['yosys']}, OpenSTA {origin['opensta']}; activity: {origin['activity']}",
        ),
    ]
    print_facts(facts)


def _placed_facts(placed: Any) -> list[tuple[str, str]]:
    """Figures of a placed unit."""
    verdict = "met" if placed.met else "NOT MET"
    return [
        (
            placed.label,
            f"{placed.energy_fj:.3f} fJ per MAC: cells, ports, wires and clock tree, by "
            f"{placed.placer}",
        ),
        ("  wires", f"{placed.wires_fj:.3f}; {placed.wire_um:.1f} um per MAC"),
        ("  clock wires", f"{placed.clock_wires_fj:.3f}; {placed.clock_wire_um:.1f} um per MAC"),
        ("  clock buffers", f"{placed.clock_buffers_fj:.3f}; {placed.clock_buffers} buffers"),
        ("  clock", f"{verdict}; {placed.max_ghz:.2f} GHz at most"),
        ("  core", f"{placed.core_um2:.1f} um2, {placed.utilization:.1%} filled"),
    ]


_KINDS = ("internal", "switching", "leakage")

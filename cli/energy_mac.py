"""``trilith energy mac``: energy per MAC at gate level, from the stored tables."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from .options import JsonOptions, option
from .output import Column, Table, lower_bound, print_facts, print_json, print_note

if TYPE_CHECKING:
    from ..sim.gatelevel.array_energy import ArrayEnergy
    from ..sim.gatelevel.best import Best, SystolicBeside
    from ..sim.gatelevel.table import Characterization
    from ..sim.gatelevel.table import Table as Library

__all__ = ["mac"]

#: Rows of weights that share a read of the activation buffer.
_ROWS = (1, 2, 4, 8, 16, 32, 64)


class _Options(JsonOptions):
    library: list[str] | None = option(None, "Cell library; may be repeated. Default: all.")
    every: bool = option(False, "Print every measured unit too, in a wide table.", "--all")


def mac(options: _Options) -> None:
    """Print measured energy per MAC of dot products at gate level, and ratios of formats.

    The figures come from the stored tables, which 'trilith characterize' fills with --search and
    --all; no library and no tool is needed. The tables are of four libraries and of GT2N, whose
    figures are a lower bound. Energy is that of cells, with weight decoder and all registers;
    "placed" adds ports, wires and a clock tree. The first table of a library has the best measured
    variant of each format, with 16 lanes and one row, at the fastest clock at which each format has
    a unit that meets it. Energy with ports decides. With --all, or with --json, every measured unit
    is printed too. The activation buffer is 8 KB, for 2560 outputs. Cells of systolic arrays stand
    beside the best dot product of their format. Arrays that are published after routing in ASAP7
    are compared with the same arrays as placed here.

    Examples:
      trilith energy mac

      trilith energy mac --library asap7 --all
    """
    from ..sim.cost.energy import buffered
    from ..sim.gatelevel.table import library_names, load_table

    found = []
    for name in options.library or library_names():
        library = load_table(name)
        found.append((library, buffered(library, _ROWS, n=2560)))
    if options.as_json:
        libraries = [_document(library, buffers) for library, buffers in found]
        print_json({"libraries": libraries, "label": "measured"})
        return
    for place, (library, buffers) in enumerate(found):
        if place:
            print()
        _print_best(library)
        if library.stale:
            print_note(
                f"{library.stale} of the {len(library.rows)} rows of {library.library} are of an "
                "earlier method (docs/energy.md): 'trilith characterize --all' measures them again"
            )
        if options.every:
            _print_library(library)
        _print_notes(library, every=options.every)
        _print_buffers(buffers)
        _print_systolic(library)
        _print_arrays(_arrays(library))


def _document(library: "Library", buffers: list[Any]) -> dict[str, Any]:
    """JSON object of a library."""
    from ..sim.gatelevel.best import best, systolic_beside

    return {
        "library": library.library,
        "node": library.node,
        "common_clock_ghz": library.common_clock,
        "rows_of_an_earlier_method": library.stale,
        "best": [asdict(one) for one in best(library)],
        "rows": [
            asdict(row)
            | {
                "with_ports_fj": row.with_ports_fj,
                "fp16_over_it": library.ratio(row),
                "fp16_over_it_with_ports": library.ratio(row, ports=True),
                "over_ternary": _over_ternary(library, row),
            }
            for row in library.rows
        ],
        "sram": [asdict(macro) for macro in library.sram],
        "with_buffer": [asdict(one) for one in buffers],
        "systolic": [_systolic_document(one) for one in systolic_beside(library)],
        "arrays": [asdict(one) | {"energy_pj": one.energy_pj} for one in _arrays(library)],
    }


def _systolic_document(beside: "SystolicBeside") -> dict[str, Any]:
    """JSON object of a systolic cell, with its comparisons."""
    cell, found = beside.cell, asdict(beside)
    derived = ("with_ports_fj", "flip_flops_per_mac", "area_per_mac")
    return found.pop("cell") | {name: getattr(cell, name) for name in derived} | found


def _energy(library: "Library", row: "Characterization", clock: float) -> str | None:
    """Text of a unit's energy at a clock frequency; ``!`` marks a clock that it does not reach."""
    one = library.alike(row, row.unit, clock_ghz=clock)
    return f"{one.energy_fj:.1f}{'' if one.met else '!'}" if one else None


def _over_ternary(library: "Library", row: "Characterization") -> float | None:
    """Divide a unit's energy by that of the best ternary unit with the code ``escape``."""
    ternary = library.best_beside(row, "ternary escape")
    return row.energy_fj / ternary.energy_fj if ternary else None


def _print_best(library: "Library") -> None:
    """Print the best unit of each format, and where other clocks, rows and operands matter."""
    from ..sim.gatelevel.best import COMPARED_CODES, best
    from ..sim.gatelevel.table import LANES

    found = best(library)
    clock = library.common_clock
    headline = [one for one in found if _shape(one) == (clock, 1, "trained")]
    print(
        f"{library.library}: {library.node}: best of each format at {clock:g} GHz, {LANES} lanes, "
        "1 row (measured; fJ per MAC)"
    )
    columns = [
        Column("format", "format", 15, "<"),
        Column("levels", "levels_per_stage"),
        Column("FFs", "flip_flops", 4, form=".1f"),
        Column("cells", "energy_fj", form=".1f"),
        Column("with ports", "with_ports_fj", form=".1f"),
        *(
            Column(f"/{code}", lambda row, code=code: row.over[code], form=".2f")
            for code in COMPARED_CODES
        ),
    ]
    if any(one.placed_fj for one in headline):
        columns += [
            Column("placed", "placed_fj", form=".1f"),
            Column("placed/escape", "placed_over_escape", form=".2f"),
        ]
    Table(*columns).rows(headline)
    print_facts(
        [
            ("FFs", "flip-flops per MAC"),
            *(
                (f"/{code}", f"energy with ports over that of ternary {code}")
                for code in COMPARED_CODES
            ),
            *(("variant", f"{one.format}: {one.variant}") for one in headline if one.variant),
        ]
    )
    others = [one for one in found if one not in headline]
    _print_others(
        "Best of each format at other clocks and with more rows; fJ per MAC with ports, and over "
        "escape:",
        [one for one in others if one.operands == "trained"],
        clock,
    )
    _print_others(
        "Units of the first table on other operands; fJ per MAC with ports, and over escape:",
        [one for one in others if one.operands != "trained"],
        clock,
    )
    for name, missed in library.missing().items():
        print_note(f"{name}: no measured variant meets {missed:g} GHz")


def _print_others(note: str, others: list["Best"], clock: float) -> None:
    """Print units of other shapes, one row per format; nothing where there are none."""
    if not others:
        return
    print_note(note)
    Table(
        Column("format", lambda row: row[0].format, 16, "<"),
        *(
            Column(_shape_name(shape, clock), partial(_of_shape, shape=shape), 13)
            for shape in dict.fromkeys(map(_shape, others))
        ),
    ).rows(
        [one for one in others if one.format == name]
        for name in dict.fromkeys(one.format for one in others)
    )


def _shape(one: "Best") -> tuple[float, int, str]:
    """Clock, rows and operands of a unit."""
    return one.clock_ghz, one.rows, one.operands


def _shape_name(shape: tuple[float, int, str], clock: float) -> str:
    """Name of a clock, a number of rows, or operands, where they are not those of the first."""
    ghz, rows, operands = shape
    words = [f"{ghz:g} GHz"] if ghz != clock else []
    words += [f"{rows} rows"] if rows > 1 else []
    words += [operands] if operands != "trained" else []
    return ", ".join(words)


def _of_shape(row: list[Any], shape: tuple[float, int, str]) -> str | None:
    """Energy of a format in a shape, and its ratio to ternary escape."""
    for one in row:
        if _shape(one) == shape:
            over = one.over["escape"]
            return f"{one.with_ports_fj:.1f}" + (f" ({over:.1f}x)" if over else "")
    return None


def _print_library(library: "Library") -> None:
    print()
    print(f"{library.library}: {library.node}: all measured units (fJ per MAC)")
    Table(
        Column("unit", "unit", 22, "<"),
        Column("lanes x rows", lambda row: f"{row.lanes} x {row.rows}"),
        Column("levels", "levels_per_stage"),
        Column("variant", lambda row: row.variant or "-", form="<"),
        Column("operands", "operands", 8, "<"),
        *(
            Column(f"fJ at {clock:g} GHz", partial(_energy, library, clock=clock))
            for clock in library.clocks
        ),
        Column("FP16/unit", library.ratio, form=".2f"),
        Column("unit/ternary", partial(_over_ternary, library), form=".2f"),
        Column("with ports, fJ", "with_ports_fj", form=".1f"),
        Column("FP16/unit with ports", partial(library.ratio, ports=True), form=".2f"),
        Column("placed, fJ", _placed, form=".1f"),
        Column("FP16/unit placed", partial(library.ratio, placed=True), form=".2f"),
        Column("clock pins, fJ", lambda row: row.parts_fj["clock"], form=".1f"),
        Column("leakage, fJ", "leakage_fj", form=".3f"),
        Column("with glitches, fJ", "glitches_fj", form=".1f"),
        Column("max GHz", "max_ghz", form=".3f"),
        Column("area/MAC", "area_per_mac", form=".2f"),
    ).rows(row for row in library.rows if row.clock_ghz == library.common_clock)


def _print_notes(library: "Library", *, every: bool) -> None:
    """Explain the columns, and print where the figures come from."""
    facts = [("levels", "levels of adders between two registers")]
    wide = [
        ("columns", f"all columns right of the energies are at {library.common_clock:g} GHz"),
        (
            "unit/ternary",
            "the unit's energy over that of the best unit of ternary weights in the code escape x "
            "INT8, with the same lanes, rows, clock and operands",
        ),
        (
            "FP16/unit",
            "energy of the best FP16 unit with an FP32 result, with the same lanes, rows, clock "
            "and operands, over the unit's",
        ),
        ("clock pins", "the part of the energy that flip-flops use inside because of the clock"),
        ("with glitches", "a delay of one unit per cell is simulated; without ports"),
    ]
    if any(not row.met for row in library.rows):
        wide.append(("!", "the clock is too fast: the energy is that of a circuit that fails"))
    facts += [
        *(wide if every else ()),
        ("with ports", "the charge of clock and input pins, which no cell drives, is added"),
        (
            "placed",
            "placed, not routed: cells, ports, estimated wires and a clock tree; gates are sized "
            "without wires",
        ),
    ]
    refused = max((row.refused for row in library.rows), default=0.0)
    if refused:
        facts.append(("lower bounds", f"for up to {lower_bound(refused)}"))
    print_facts([*facts, *_glitch_ratios(library)])
    for origin in dict.fromkeys(json.dumps(row.provenance) for row in library.rows):
        one = json.loads(origin)
        files = ", ".join(f"{file['file']} {file['sha256'][:12]}" for file in one["files"])
        print_note(
            f"measured with {files}; {one['voltage']} V, {one['temperature']} C; yosys "
            f"{one['yosys']}, OpenSTA {one['opensta']}; {one['activity']}; {one['date']}"
        )


def _glitch_ratios(library: "Library") -> Iterator[tuple[str, str]]:
    """Ratios of FP16 to other units with glitches, of the units that have them."""
    from ..sim.gatelevel.table import FP16_UNIT

    fp16 = library.row(FP16_UNIT)
    if fp16 is None or fp16.glitches_fj is None:
        return
    for row in library.rows:
        if row.glitches_fj is None or row == fp16 or row != library.row(row.unit):
            continue
        both = (fp16.glitches_fj + fp16.ports_fj) / (row.glitches_fj + row.ports_fj)
        yield (
            "FP16/unit",
            f"with glitches: {row.unit}, {row.lanes} lanes x {row.rows} rows, "
            f"{row.levels_per_stage} levels: {fp16.glitches_fj / row.glitches_fj:.2f}, with ports "
            f"too {both:.2f}",
        )


def _placed(row: "Characterization") -> float | None:
    """Energy of a placed unit; None if the unit was not placed."""
    return row.placed.energy_fj if row.placed else None


def _print_systolic(library: "Library") -> None:
    """Print cells of systolic arrays beside dot products."""
    from ..sim.gatelevel.best import systolic_beside

    found = systolic_beside(library)
    if not found:
        return
    some = found[0].cell
    print_note(
        f"Cells of systolic arrays with stationary weights, {some.size} x {some.size} at "
        f"{some.clock_ghz:g} GHz, beside the best dot product of each format with 16 lanes and one "
        "row; fJ per MAC with ports:"
    )
    Table(
        Column("format", lambda one: one.cell.format, 16, "<"),
        Column("FFs", lambda one: one.cell.flip_flops_per_mac, 5, form=".1f"),
        Column("area", lambda one: one.cell.area_per_mac, form=".1f"),
        Column("max GHz", lambda one: one.cell.max_ghz, form=".2f"),
        Column("cell", _cell_energy),
        Column("over ternary", "over_ternary", form=".2f"),
        Column("dot product", "dot_fj", form=".1f"),
        Column("cell/dot", "over_dot", form=".2f"),
        Column("dot, held", "held_fj", form=".1f"),
    ).rows(found)
    facts = [
        ("ternary", "two bits of a weight in its cell, for every code; without a weight decoder"),
        ("dot, held", "the dot product on held weights"),
        ("cell", "without the memory of partial sums, and without a chain that loads the weights"),
        (
            "weights",
            f"stay for {some.vectors} vectors; those of the dot product on held weights for fewer",
        ),
    ]
    if any(not one.cell.met for one in found):
        facts.append(("!", "the clock is too fast: the energy is that of a circuit that fails"))
    if any(one.stale for one in found):
        facts.append(("method", "an earlier one: 'trilith characterize --arrays' measures again"))
    print_facts(facts)


def _cell_energy(one: "SystolicBeside") -> str:
    """Text of a cell's energy; ``!`` marks a clock that it does not reach."""
    return f"{one.cell.with_ports_fj:.1f}{'' if one.cell.met else '!'}"


def _arrays(library: "Library") -> list["ArrayEnergy"]:
    """Published and measured systolic arrays, beside each other."""
    from ..sim.gatelevel.arrays import published_arrays

    if not library.arrays:
        return []
    found = []
    for one in published_arrays():
        found += [one, *(mine for mine in library.arrays if mine.size == one.size)]
    return found


def _print_arrays(arrays: list["ArrayEnergy"]) -> None:
    """Print published arrays, and how far the measured ones are from them."""
    if not arrays:
        return
    published = {one.size: one for one in arrays if one.source}
    activities = list(dict.fromkeys(one.activity for one in arrays))
    print_note("Systolic arrays of INT8 with 32-bit accumulators at 667 MHz, in pJ per MAC:")
    name = (
        Column("array", lambda one: f"{one.size} x {one.size}"),
        Column("origin", "label", 28, "<"),
    )
    Table(
        *name,
        Column("activity", lambda one: f"({activities.index(one.activity) + 1})"),
        Column("pJ", "energy_pj", form=".3f"),
        Column(
            "error",
            lambda one: None if one.source else one.energy_pj / published[one.size].energy_pj - 1,
            form="+.0%",
        ),
        *(
            Column(words, partial(_share, name=part), form=".0%")
            for words, part in (
                ("FFs", "sequential_pj"),
                ("logic", "combinational_pj"),
                ("clock", "clock_pj"),
                ("leakage", "leakage_pj"),
            )
        ),
    ).rows(arrays)
    Table(
        *name,
        Column("internal", "internal_pj", form=".3f"),
        Column("switch", "switching_pj", form=".3f"),
        Column("cells", "cells"),
        Column("FFs", "flip_flops"),
        Column("area, um2", "area_um2", form=".0f"),
        Column("wires, mm", lambda one: one.wire_um / 1000, form=".1f"),
        Column("clock, mm", lambda one: one.clock_wire_um / 1000, form=".2f"),
    ).rows(arrays)
    facts = [(f"activity ({place})", text) for place, text in enumerate(activities, 1)]
    facts += [(f"{size} x {size}", one.source) for size, one in published.items()]
    facts += [
        (
            "internal",
            "the part of the energy inside of cells. ASAP7's files give each internal energy "
            "twice, for VDD and for VSS; it counts once here. Published cells are of the "
            "thresholds LVT and SLVT with asynchronous resets.",
        ),
        (
            "switch",
            "the part of the energy that charges wires and pins. The published layout is drawn "
            "four times as large as ASAP7 is; lengths and areas are divided by that, its wires' "
            "capacitance cannot be",
        ),
    ]
    print_facts(facts)


def _share(one: "ArrayEnergy", name: str) -> float:
    return getattr(one, name) / one.energy_pj


def _print_buffers(buffers: list[Any]) -> None:
    if not buffers:
        print_note("activation buffer: no memory of this process is known")
        return
    print_note(
        f"Energy in fJ per MAC with an activation buffer of 8 KB ({buffers[0].label}: "
        f"{buffers[0].source}), ports included, by the number of rows that share a read:"
    )
    units: dict[str, list[Any]] = {}
    for one in buffers:
        units.setdefault(one.unit, []).append(one)
    Table(
        Column("unit", lambda row: row[0].unit, 22, "<"),
        Column("no buffer", lambda row: row[0].mac_fj, form=".1f"),
        *(
            Column(f"{rows} rows", partial(_with_buffer, place=place), 7, ".1f")
            for place, rows in enumerate(_ROWS)
        ),
    ).rows(units.values())


def _with_buffer(row: list[Any], place: int) -> float:
    """Energy of a unit with one of the shares of a buffer's reads."""
    return row[place].mac_fj + row[place].buffer_fj

"""Figures of energy at gate level, from the stored tables."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ...golden.network.bitnet_2b4t import ZERO_FRACTION
from ...sim.cost.energy import ternary_ratios
from ...sim.cost.profiles import find_profile
from ...sim.gatelevel.table import (
    COMPARED_UNITS,
    LANES,
    Characterization,
    Table,
    library_names,
    load_table,
)
from .published import mac_energies
from .style import BLACK, BLUE, RED, Drawing, legend_below, looks, note, number, patch, rows

__all__ = ["GATE_FIGURES", "HEADLINE", "name_of", "process", "stored_tables"]

_PARTS = looks("parts")

#: See ``Characterization.ports_fj``.
_PORTS = "clock and input pins"


def stored_tables() -> list[Table]:
    """Load the stored tables, those of a known look first."""
    names = library_names()
    known = [name for name in looks("libraries") if name in names]
    return [load_table(name) for name in (*known, *(n for n in names if n not in known))]


def _look(table: Table) -> dict[str, Any]:
    unknown = {"color": "#777777", "marker": "X", "linestyle": "none"}
    return looks("libraries").get(table.library, unknown)


def _where(shown: Sequence[Table]) -> str:
    """Write the provenance of tables, for captions."""
    parts = []
    origin = shown[0].rows[0].provenance
    for table in shown:
        bound = " (a lower bound: internal energies of the library are incomplete)"
        parts.append(
            f"{table.library}: {table.node}, at {table.common_clock:g} GHz"
            + (bound if any(row.refused for row in table.rows) else "")
        )
    tools = f"yosys {origin['yosys']}, OpenSTA {origin['opensta']}"
    return (
        f"{'; '.join(parts)}. Netlists of {tools}, matching the golden model; cells only, with "
        "operand registers and weight decoder, zero-delay activity: no wires, clock tree or "
        "glitches. Library files and their SHA-256: 'trilith energy mac'."
    )


def process(table: Table) -> str:
    """The size in the name of a table's process, such as ``7 nm``."""
    return " ".join(table.node.replace(",", "").split()[:2])


def name_of(unit: str) -> str:
    """Write a unit's name in words: ``FP16 × FP16 to FP32, fused`` for fp16xfp16-fp32-fused."""
    formats, _, rest = unit.partition("-")
    weights, _, activations = formats.partition("x")
    words = f"{weights} × {activations}"
    if rest:
        to, _, form = rest.partition("-")
        words += f" to {to}, {form}" if form else f", {to}"
    for name in ("fp32", "fp16", "bf16", "e4m3", "e5m2", "int8", "int4"):
        words = words.replace(name, name.upper())
    return words


def _row(table: Table, row: Characterization, **more: Any) -> dict[str, Any]:
    """Make the numbers of a plotted point."""
    return {
        "library": table.library,
        "unit": row.unit,
        "operands": row.operands,
        "lanes": row.lanes,
        "rows": row.rows,
        "clock_ghz": row.clock_ghz,
        "fj_per_mac": row.energy_fj,
        **more,
    }


def _mac_points(
    table: Table, order: Sequence[str], aside: float, axes: Sequence[Axes]
) -> Iterator[dict[str, Any]]:
    """Draw a library's energies and ratios; yield its numbers."""
    look = _look(table)
    places, energies, ratios = [], [], []
    for place, unit in enumerate(order):
        row = table.best(unit)
        ratio = table.ratio(row) if row else None
        if row is None or ratio is None:
            continue
        places.append(place + aside)
        energies.append(row.energy_fj)
        ratios.append(ratio)
        yield _row(table, row, fp16_over_it=ratio, met=row.met, max_ghz=row.max_ghz)
    for one, values in zip(axes, (energies, ratios), strict=True):
        one.plot(values, places, **look, markersize=6, label=table.library)


def _claimed_lines(axes: Axes) -> Iterator[dict[str, Any]]:
    """Draw published ratios of arithmetic alone; yield them."""
    words = {8: "the paper: an 8-bit add", 20: "a 20-bit add", 32: "a 32-bit add"}
    for bits, ratio in ternary_ratios(find_profile("jouppi7"), tuple(words)).items():
        axes.axvline(ratio, color=RED if bits == 8 else BLACK, linestyle="--", linewidth=1)
        note(
            axes,
            f"{ratio:.1f}×, {words[bits]}",
            (ratio, 0.99),
            xycoords=("data", "axes fraction"),
            xytext=(-3, 0),
            rotation=90,
            ha="right",
            va="top",
        )
        yield {"library": "published", "unit": words[bits], "fp16_over_it": ratio}


#: Units of the headline figure, and their names.
HEADLINE = {
    "fp16xfp16-fp32-fused": "FP16 × FP16",
    "int4xfp16-fp32-fused": "INT4 × FP16 (W4A16)",
    "e4m3xe4m3-fp32-fused": "FP8 × FP8 (E4M3)",
    "int8xint8": "INT8 × INT8",
    "int4xint8": "INT4 × INT8",
    "int4xint4": "INT4 × INT4",
    "ternaryxint8-escape": "ternary × INT8",
}


def _headline() -> Drawing:
    drawing = Drawing("gate_mac")
    axes, table = drawing.axes(), load_table("asap7")
    found = {unit: table.best(unit) for unit in HEADLINE}
    ours = found["ternaryxint8-escape"]
    assert ours is not None
    for place, row in enumerate(found.values()):
        assert row is not None
        ternary = row is ours
        axes.barh(place, row.with_ports_fj, color=BLUE if ternary else "#999999")
        ratio = row.with_ports_fj / ours.with_ports_fj
        text = f"{row.with_ports_fj:.1f} fJ"
        text += "" if ternary else f", {ratio:.1f} times the ternary MAC"
        look = {"fontweight": "bold", "color": BLUE} if ternary else {}
        note(axes, text, (row.with_ports_fj, place), xytext=(4, 0), va="center", **look)
        drawing.rows.append(_row(table, row, with_ports_fj=row.with_ports_fj, over_ternary=ratio))
    rows(axes, list(HEADLINE.values()))
    axes.set_xlim(0, 320)
    drawing.values = {
        "lanes": LANES,
        "node": table.node,
        "clock": table.common_clock,
    }
    return drawing


def _mac() -> Drawing:
    shown = stored_tables()
    units = {row.unit for table in shown for row in table.rows}
    # The order is that of ASAP7's energies, or of the first library's.
    first = next((table for table in shown if table.library == "asap7"), shown[0])
    order = [unit for unit in units if first.best(unit)]
    order.sort(key=lambda unit: (-_best(first, unit).energy_fj, unit))
    drawing = Drawing("gate_mac_all", taller=0.2 * len(order))
    left, right = drawing.figure.subplots(1, 2, sharey=True)
    for index, table in enumerate(shown):
        # Libraries with the same figure stand beside each other.
        aside = 0.13 * (index - (len(shown) - 1) / 2)
        drawing.rows += _mac_points(table, order, aside, (left, right))
    drawing.label(energy=left, ratio=right)
    for axes in (left, right):
        rows(axes, [name_of(unit) for unit in order])
        axes.grid(axis="y", visible=True)
    right.tick_params(labelleft=False)
    legend_below(drawing.figure, left.get_legend_handles_labels()[0], len(shown))
    right.minorticks_off()
    drawing.rows += _claimed_lines(right)
    drawing.values = {"lanes": LANES, "where": _where(shown)}
    return drawing


def _best(table: Table, unit: str) -> Characterization:
    """The best variant of a unit that the table has."""
    row = table.best(unit)
    assert row is not None, unit
    return row


def _split_bars(
    table: Table, place: int, unit: str, axes: Sequence[Axes], used: set[str]
) -> Iterator[dict[str, Any]]:
    """Draw the parts of a unit's energy, in fJ and in percent; yield its numbers."""
    row = table.best(unit)
    assert row is not None
    left = [0.0, 0.0]
    for part, look in _PARTS.items():
        value = row.parts_fj.get(part, 0.0)
        yield _row(table, row, part=part, part_fj=value)
        if not value:
            continue
        used.add(look["label"])
        for side, width in enumerate((value, 100 * value / row.energy_fj)):
            axes[side].barh(place, width, left=left[side], **look, edgecolor="white", linewidth=0.5)
            left[side] += width
    yield _row(table, row, part="ports", part_fj=row.ports_fj)
    axes[0].barh(
        place,
        row.ports_fj,
        left=left[0],
        color="white",
        edgecolor="#777777",
        linestyle=":",
    )
    text = f"{number(row.energy_fj)} + {number(row.ports_fj)}"
    note(axes[0], text, (left[0] + row.ports_fj, place), xytext=(3, 0), va="center")


def _split() -> Drawing:
    shown = [table for table in stored_tables() if all(table.best(unit) for unit in COMPARED_UNITS)]
    drawing = Drawing("gate_split", taller=1.5 * len(shown))
    axes = drawing.figure.subplots(len(shown), 2, squeeze=False)
    units = sorted(COMPARED_UNITS, key=lambda unit: -_best(shown[0], unit).energy_fj)
    labels = [name_of(unit).replace(" to FP32, fused", "") for unit in units]
    used: set[str] = set()
    for (energies, shares), table in zip(axes, shown, strict=True):
        for place, unit in enumerate(units):
            drawing.rows += _split_bars(table, place, unit, (energies, shares), used)
        for side in (energies, shares):
            rows(side, labels)
        energies.set_xlim(0, 1.45 * _best(table, units[0]).with_ports_fj)
        energies.set_title(f"{table.library}, {table.node}", loc="left")
        shares.tick_params(labelleft=False)
        shares.set_xlim(0, 100)
        energies.locator_params(axis="x", nbins=5)
    axes[-1][0].set_xlabel("energy per MAC (fJ)")
    axes[-1][1].set_xlabel("share of the energy without the white part (%)")
    handles = [patch(look) for look in _PARTS.values() if look["label"] in used]
    ports = Patch(facecolor="white", edgecolor="#777777", linestyle=":", label=_PORTS)
    legend_below(drawing.figure, [*handles, ports], 4)
    drawing.values = {"lanes": LANES, "where": _where(shown)}
    return drawing


def _zeros() -> Drawing:
    unit = next(iter(COMPARED_UNITS))
    drawing = Drawing("gate_zeros")
    axes = drawing.axes()
    shown = []
    for table in stored_tables():
        found = [
            row
            for row in table.rows
            if row.operands.startswith("2b4t") and row == table.row(unit, operands=row.operands)
        ]
        if len(found) < 3:
            continue
        shown.append(table)
        found.sort(key=lambda row: row.zero_weights)
        without = found[0].energy_fj
        look = _look(table)
        axes.plot(
            [100 * row.zero_weights for row in found],
            [row.energy_fj / without for row in found],
            color=look["color"],
            marker=look["marker"],
            label=f"{table.library}: {number(without)} fJ without zeros",
        )
        drawing.rows += [
            _row(table, row, zero_weights=row.zero_weights, relative=row.energy_fj / without)
            for row in found
        ]
    axes.axvline(100 * ZERO_FRACTION, color=BLACK, linestyle="--", linewidth=1)
    note(
        axes,
        f"BitNet b1.58 2B4T: {ZERO_FRACTION:.1%}",
        (100 * ZERO_FRACTION, 0.96),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
    )
    low = axes.get_ylim()[0]
    axes.set_ylabel(f"{axes.get_ylabel()}\n(the axis starts at {low:.2f})")
    axes.legend(loc="lower left")
    drawing.values = {"unit": name_of(unit), "lanes": LANES, "where": _where(shown)}
    return drawing


def _area_points(axes: Axes, table: Table) -> Iterator[dict[str, Any]]:
    """Draw area and energy of a library's units; yield its numbers."""
    color = _look(table)["color"]
    units = dict.fromkeys(row.unit for row in table.rows)
    found = [row for row in map(table.best, units) if row]
    others = [row for row in found if row.unit not in COMPARED_UNITS]
    axes.plot(
        [row.area_per_mac for row in others],
        [row.energy_fj / 1e3 for row in others],
        **{**looks("units")["others"], "color": color},
    )
    compared = [_best(table, unit) for unit in COMPARED_UNITS if table.best(unit)]
    compared.sort(key=lambda row: row.energy_fj)
    places = [(row.area_per_mac, row.energy_fj / 1e3) for row in compared]
    axes.plot(*zip(*places, strict=True), color=color, linewidth=1)
    for row, place in zip(compared, places, strict=True):
        axes.plot(*place, **{**looks("units")[row.unit], "color": color})
    # A name stands on the side where no other library has points.
    below = table.library in ("asap7", "ihp-sg13g2")
    note(
        axes,
        f"{table.library}, {process(table)}",
        places[-1],
        xytext=(10, -12) if below else (-10, 4),
        ha="left" if below else "right",
        color=color,
        fontweight="bold",
    )
    for row in found:
        yield _row(table, row, um2_per_mac=row.area_per_mac)


def _area() -> Drawing:
    shown = stored_tables()
    drawing = Drawing("gate_area")
    axes = drawing.axes()
    drawing.rows = [row for table in shown for row in _area_points(axes, table)]
    for point in mac_energies():
        if point.um2_per_mac is not None:
            place = (point.um2_per_mac, point.pj)
            axes.plot(*place, "*", color=BLACK, markersize=12)
            text = f"{point.design}, {point.node}\n(published, a chip)"
            note(axes, text, place, xytext=(10, -22))
            drawing.rows.append(
                {
                    "library": "published",
                    "unit": point.design,
                    "fj_per_mac": point.pj * 1e3,
                    "um2_per_mac": point.um2_per_mac,
                    "words": point.words,
                }
            )
    handles = [Line2D([], [], **{**look, "color": "#555555"}) for look in looks("units").values()]
    axes.legend(handles=handles, loc="upper left")
    drawing.values = {"lanes": LANES, "where": _where(shown)}
    return drawing


#: Figures by file name.
GATE_FIGURES: dict[str, Callable[[], Drawing]] = {
    "gate_mac": _headline,
    "gate_mac_all": _mac,
    "gate_split": _split,
    "gate_zeros": _zeros,
    "gate_area": _area,
}

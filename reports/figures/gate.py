"""Figures of energy at gate level, from the stored tables."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

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
from .style import BLACK, RED, Drawing, looks, note

__all__ = ["GATE_FIGURES", "name_of", "stored_tables"]

_PARTS = looks("parts")

#: See ``Characterization.ports_fj``.
_PORTS = "charge of clock\nand input pins"


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


def name_of(unit: str) -> str:
    """Write a unit's name in words: ``FP16 x FP16 to FP32, fused`` for fp16xfp16-fp32-fused."""
    formats, _, rest = unit.partition("-")
    weights, _, activations = formats.partition("x")
    words = f"{weights} x {activations}"
    if rest:
        to, _, form = rest.partition("-")
        words += f" to {to}, {form}" if form else f", {to}"
    for name in ("fp32", "fp16", "bf16", "e4m3", "e5m2"):
        words = words.replace(name, name.upper())
    return words


def _energy(table: Table, unit: str) -> float:
    """Look up the energy of a unit's best variant, or 0 where it was not measured."""
    row = table.best(unit)
    return 0.0 if row is None else row.energy_fj


def _number(value: float) -> str:
    """Write a number with three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


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
            f"{ratio:.1f}x, {words[bits]}",
            (ratio, 0.99),
            xycoords=("data", "axes fraction"),
            xytext=(-3, 0),
            rotation=90,
            ha="right",
            va="top",
            fontsize=8,
        )
        yield {"library": "published", "unit": words[bits], "fp16_over_it": ratio}


def _mac() -> Drawing:
    shown = stored_tables()
    units = {row.unit for table in shown for row in table.rows}
    # The order is that of ASAP7's energies, or of the first library's.
    first = next((table for table in shown if table.library == "asap7"), shown[0])
    order = [unit for unit in units if first.best(unit)]
    order.sort(key=lambda unit: (-_energy(first, unit), unit))
    drawing = Drawing("gate_mac", taller=0.27 * len(order))
    left, right = drawing.figure.subplots(1, 2, sharey=True)
    for index, table in enumerate(shown):
        # Libraries with the same figure stand beside each other.
        aside = 0.13 * (index - (len(shown) - 1) / 2)
        drawing.rows += _mac_points(table, order, aside, (left, right))
    drawing.label(energy=left, ratio=right)
    left.set_yticks(range(len(order)), labels=[name_of(unit) for unit in order], fontsize=9)
    left.invert_yaxis()
    handles = left.get_legend_handles_labels()
    drawing.figure.legend(*handles, loc="outside right center", frameon=False)
    right.minorticks_off()
    drawing.rows += _claimed_lines(right)
    drawing.values = {"lanes": LANES, "where": _where(shown)}
    return drawing


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
        label=_PORTS,
    )
    text = f"{_number(row.energy_fj)} + {_number(row.ports_fj)}"
    note(axes[0], text, (left[0] + row.ports_fj, place), xytext=(3, 0), va="center")


def _split() -> Drawing:
    shown = [table for table in stored_tables() if all(table.best(unit) for unit in COMPARED_UNITS)]
    drawing = Drawing("gate_split", taller=1.5 * len(shown))
    axes = drawing.figure.subplots(len(shown), 2, squeeze=False)
    units = sorted(COMPARED_UNITS, key=lambda unit: _energy(shown[0], unit))
    labels = [name_of(unit).replace(" to FP32, fused", "") for unit in units]
    used: set[str] = set()
    for (energies, shares), table in zip(axes, shown, strict=True):
        for place, unit in enumerate(units):
            drawing.rows += _split_bars(table, place, unit, (energies, shares), used)
        for side in (energies, shares):
            side.invert_yaxis()
            side.grid(axis="y", visible=False)
        energies.set_yticks(range(len(labels)), labels=labels, fontsize=9)
        energies.margins(x=0.3)
        energies.set_title(f"{table.library}, {table.node}", fontsize=10, loc="left")
        shares.set_yticks([])
        shares.set_xlim(0, 100)
    axes[-1][0].set_xlabel("energy per MAC (fJ)")
    axes[-1][1].set_xlabel("share of the energy without the white part (%)")
    handles = {
        label: handle
        for one in axes.flat
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True)
    }
    names = [*(look["label"] for look in _PARTS.values() if look["label"] in used), _PORTS]
    drawing.figure.legend(
        [handles[name] for name in names], names, loc="outside right center", frameon=False
    )
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
            label=f"{table.library}: {_number(without)} fJ without zeros",
        )
        drawing.rows += [
            _row(table, row, zero_weights=row.zero_weights, relative=row.energy_fj / without)
            for row in found
        ]
    axes.axvline(100 * ZERO_FRACTION, color=BLACK, linestyle="--", linewidth=1)
    note(
        axes,
        f"BitNet b1.58 2B4T: {ZERO_FRACTION:.1%}",
        (100 * ZERO_FRACTION, 0.03),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
    )
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 0.08))
    drawing.values = {"unit": name_of(unit), "lanes": LANES, "where": _where(shown)}
    return drawing


#: Labels of the compared units in the figure of areas.
_SHORT = dict(zip(COMPARED_UNITS, ("ternary", "FP16", "INT8", "W4A16"), strict=True))


def _area_points(axes: Axes, table: Table) -> Iterator[dict[str, Any]]:
    """Draw area and energy of a library's units; yield its numbers."""
    look = _look(table)
    units = dict.fromkeys(row.unit for row in table.rows)
    found = [row for row in map(table.best, units) if row]
    axes.scatter(
        [row.area_per_mac for row in found],
        [row.energy_fj / 1e3 for row in found],
        facecolors=[look["color"] if row.unit in COMPARED_UNITS else "none" for row in found],
        edgecolors=look["color"],
        marker=look["marker"],
        s=45,
    )
    axes.plot([], [], **look, label=table.library)
    # The labels stand on the side where no other library has points.
    right = table.library in ("asap7", "ihp-sg13g2")
    for unit, label in _SHORT.items():
        row = table.best(unit)
        if row:
            note(
                axes,
                label,
                (row.area_per_mac, row.energy_fj / 1e3),
                xytext=(8, -11) if right else (-6, 4),
                ha="left" if right else "right",
                fontsize=8,
                color=look["color"],
            )
    for row in found:
        yield _row(table, row, um2_per_mac=row.area_per_mac)


def _published_energies(axes: Axes) -> Iterator[dict[str, Any]]:
    """Draw published energies without an area; yield them."""
    points = sorted(
        (point for point in mac_energies() if point.um2_per_mac is None),
        key=lambda point: point.pj,
    )
    # Labels stand apart by at least a step on the log axis.
    heights: list[float] = []
    for low in np.log10([point.pj for point in points]):
        heights.append(max(low, heights[-1] + 0.2) if heights else low)
    for point, height in zip(points, heights, strict=True):
        axes.plot([0], [point.pj], color=BLACK, marker="*", markersize=9, linestyle="none")
        note(
            axes,
            f"{point.design}, {point.node}",
            (0, point.pj),
            xytext=(0.12, 10**height),
            textcoords="data",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.6},
        )
        yield {
            "library": "published",
            "unit": point.design,
            "fj_per_mac": point.pj * 1e3,
            "words": point.words,
        }
    axes.title.set_fontsize(10)
    axes.grid(visible=False)


def _area() -> Drawing:
    shown = stored_tables()
    drawing = Drawing("gate_area")
    axes, side = drawing.figure.subplots(1, 2, sharey=True, width_ratios=(3, 1.5))
    drawing.label(cells=axes, published=side)
    drawing.rows = [row for table in shown for row in _area_points(axes, table)]
    for point in mac_energies():
        if point.um2_per_mac is not None:
            place = (point.um2_per_mac, point.pj)
            axes.plot(*place, "*", color=BLACK, markersize=13, label="published")
            note(axes, f"{point.design}, {point.node}", place, xytext=(8, -12), fontsize=8)
    axes.legend(frameon=False, loc="upper left", title="hollow: other formats")
    drawing.rows += _published_energies(side)
    drawing.values = {"lanes": LANES, "where": _where(shown)}
    return drawing


#: Figures by file name.
GATE_FIGURES: dict[str, Callable[[], Drawing]] = {
    "gate_mac": _mac,
    "gate_split": _split,
    "gate_zeros": _zeros,
    "gate_area": _area,
}

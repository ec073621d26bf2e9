"""Figures of energy at gate level, from the stored tables."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
from .style import BLACK, BLUE, GREEN, LIBRARY_LOOKS, ORANGE, PINK, RED, SKY, Drawing, Look

__all__ = ["GATE_FIGURES"]

#: Parts of a unit: label, color and hatch.
_PARTS = {
    "clock": ("clock pins", BLACK, ""),
    "operands": ("operand registers", SKY, ""),
    "decode": ("weight decoding", GREEN, "//"),
    "select": ("select or clear", GREEN, ".."),
    "product": ("products", RED, ""),
    "align": ("alignment", PINK, "\\\\"),
    "tree": ("adder tree", BLUE, ""),
    "accumulator": ("accumulator", ORANGE, ""),
    "result": ("rounding", ORANGE, "xx"),
    "control": ("control", "#999999", ""),
}


#: See ``Characterization.ports_fj``.
_PORTS = "charge of clock\nand input pins"


def _tables() -> list[Table]:
    """Load the stored tables, those of a known look first."""
    names = library_names()
    known = [name for name in LIBRARY_LOOKS if name in names]
    return [load_table(name) for name in (*known, *(n for n in names if n not in known))]


def _look(table: Table) -> Look:
    return LIBRARY_LOOKS.get(table.library, Look(color="#777777", marker="X"))


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


def _name(unit: str) -> str:
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
    """Look up the energy of a unit, or 0 where it was not measured."""
    row = table.row(unit)
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
        row = table.row(unit)
        ratio = table.ratio(row) if row else None
        if row is None or ratio is None:
            continue
        places.append(place + aside)
        energies.append(row.energy_fj)
        ratios.append(ratio)
        yield _row(table, row, fp16_over_it=ratio, met=row.met, max_ghz=row.max_ghz)
    for one, values in zip(axes, (energies, ratios), strict=True):
        one.plot(values, places, **asdict(look), markersize=6, label=table.library)


def _claimed_lines(axes: Axes) -> Iterator[dict[str, Any]]:
    """Draw published ratios of arithmetic alone; yield them."""
    words = {8: "the paper: an 8-bit add", 20: "a 20-bit add", 32: "a 32-bit add"}
    for bits, ratio in ternary_ratios(find_profile("jouppi7"), tuple(words)).items():
        axes.axvline(ratio, color=RED if bits == 8 else BLACK, linestyle="--", linewidth=1)
        axes.annotate(
            f"{ratio:.1f}x, {words[bits]}",
            (ratio, 0.99),
            xycoords=("data", "axes fraction"),
            xytext=(-3, 0),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="top",
            fontsize=8,
        )
        yield {"library": "published", "unit": words[bits], "fp16_over_it": ratio}


def _mac() -> Drawing:
    shown = _tables()
    units = {row.unit for table in shown for row in table.rows}
    # The order is that of ASAP7's energies, or of the first library's.
    first = next((table for table in shown if table.library == "asap7"), shown[0])
    order = [unit for unit in units if first.row(unit)]
    order.sort(key=lambda unit: (-_energy(first, unit), unit))
    figure = Figure(figsize=(13, 3 + 0.27 * len(order)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows: list[dict[str, Any]] = []
    for index, table in enumerate(shown):
        # Libraries with the same figure stand beside each other.
        aside = 0.13 * (index - (len(shown) - 1) / 2)
        rows += _mac_points(table, order, aside, (left, right))
    left.set_yticks(range(len(order)), labels=[_name(unit) for unit in order], fontsize=9)
    left.invert_yaxis()
    left.set(xscale="log", xlabel="energy per MAC (fJ, log scale)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False)
    right.set(xscale="log", xlabel="FP16 to FP32, fused, over the unit (log scale)")
    ticks = ["0.3", "0.5", "1", "2", "5", "10", "20", "50", "100"]
    right.set_xticks([float(tick) for tick in ticks], labels=ticks)
    right.minorticks_off()
    rows += _claimed_lines(right)
    return Drawing(
        figure=figure,
        rows=rows,
        title="Energy per MAC by number format, measured at gate level",
        caption=f"Measured: {LANES} lanes, one adder level per stage, the trained network's "
        f"operands. {_where(shown)} Dashed: published ratios of arithmetic alone (Jouppi et al., "
        "7 nm): an FP16 multiplication and addition over one integer addition.",
    )


def _split_bars(
    table: Table, place: int, unit: str, axes: Sequence[Axes], used: set[str]
) -> Iterator[dict[str, Any]]:
    """Draw the parts of a unit's energy, in fJ and in percent; yield its numbers."""
    row = table.row(unit)
    assert row is not None
    left = [0.0, 0.0]
    for part, (label, color, hatch) in _PARTS.items():
        value = row.parts_fj.get(part, 0.0)
        yield _row(table, row, part=part, part_fj=value)
        if not value:
            continue
        used.add(label)
        for side, width in enumerate((value, 100 * value / row.energy_fj)):
            axes[side].barh(
                place,
                width,
                left=left[side],
                color=color,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.5,
                label=label,
            )
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
    axes[0].annotate(
        f"{_number(row.energy_fj)} + {_number(row.ports_fj)}",
        (left[0] + row.ports_fj, place),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
    )


def _split() -> Drawing:
    shown = [table for table in _tables() if all(table.row(unit) for unit in COMPARED_UNITS)]
    figure = Figure(figsize=(13, 1.6 + 1.5 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), 2, squeeze=False)
    units = sorted(COMPARED_UNITS, key=lambda unit: _energy(shown[0], unit))
    labels = [_name(unit).replace(" to FP32, fused", "") for unit in units]
    rows: list[dict[str, Any]] = []
    used: set[str] = set()
    for (energies, shares), table in zip(axes, shown, strict=True):
        for place, unit in enumerate(units):
            rows += _split_bars(table, place, unit, (energies, shares), used)
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
    names = [*(label for label, _, _ in _PARTS.values() if label in used), _PORTS]
    figure.legend(
        [handles[name] for name in names], names, loc="outside right center", frameon=False
    )
    return Drawing(
        figure=figure,
        rows=rows,
        title="Parts of the energy of a MAC",
        caption="Measured: logic counts for the first register that it leads to; clock pins are "
        "the energy that flip-flops use inside because of the clock. White, behind the plus: the "
        "charge of the pins that no cell drives, clock pins above all; it is in no share and no "
        f"other plot. {LANES} lanes, one adder level per stage, the trained network's operands. "
        f"{_where(shown)}",
    )


def _zeros() -> Drawing:
    unit = next(iter(COMPARED_UNITS))
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    rows: list[dict[str, Any]] = []
    shown = []
    for table in _tables():
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
            color=look.color,
            marker=look.marker,
            label=f"{table.library}: {_number(without)} fJ without zeros",
        )
        for row in found:
            share = row.zero_weights
            rows.append(_row(table, row, zero_weights=share, relative=row.energy_fj / without))
    axes.axvline(100 * ZERO_FRACTION, color=BLACK, linestyle="--", linewidth=1)
    axes.annotate(
        f"BitNet b1.58 2B4T: {ZERO_FRACTION:.1%}",
        (100 * ZERO_FRACTION, 0.03),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
        textcoords="offset points",
        fontsize=9,
    )
    axes.set(
        xlabel="zero weights (%)",
        ylabel="energy per MAC, over that without zeros",
        ylim=(0, None),
        xlim=(0, 100),
    )
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 0.08))
    return Drawing(
        figure=figure,
        rows=rows,
        title="Energy of a ternary MAC against the share of zero weights",
        caption=f"Measured: {_name(unit)}, {LANES} lanes, one adder level per stage; random trits "
        "and normal activations, squared ReLU for a quarter of the MACs, as in 2B4T. "
        f"{_where(shown)}",
    )


#: Labels of the compared units in the figure of areas.
_SHORT = dict(zip(COMPARED_UNITS, ("ternary", "FP16", "INT8", "W4A16"), strict=True))


def _area_points(axes: Axes, table: Table) -> Iterator[dict[str, Any]]:
    """Draw area and energy of a library's units; yield its numbers."""
    look = _look(table)
    found = [row for row in table.rows if row == table.row(row.unit)]
    axes.scatter(
        [row.area_per_mac for row in found],
        [row.energy_fj / 1e3 for row in found],
        facecolors=[look.color if row.unit in COMPARED_UNITS else "none" for row in found],
        edgecolors=look.color,
        marker=look.marker,
        s=45,
    )
    axes.plot([], [], **asdict(look), label=table.library)
    # The labels stand on the side where no other library has points.
    right = table.library in ("asap7", "ihp-sg13g2")
    for unit, label in _SHORT.items():
        row = table.row(unit)
        if row:
            axes.annotate(
                label,
                (row.area_per_mac, row.energy_fj / 1e3),
                xytext=(6, -8) if right else (-6, 4),
                textcoords="offset points",
                ha="left" if right else "right",
                fontsize=8,
                color=look.color,
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
        axes.annotate(
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
    axes.set(xlim=(-0.05, 1), title="Published, area not per MAC")
    axes.title.set_fontsize(10)
    axes.set_xticks([])
    axes.grid(visible=False)


def _area() -> Drawing:
    shown = _tables()
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    axes, side = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1.5))
    rows = [row for table in shown for row in _area_points(axes, table)]
    for point in mac_energies():
        if point.um2_per_mac is not None:
            place = (point.um2_per_mac, point.pj)
            axes.plot(*place, "*", color=BLACK, markersize=13, label="published")
            axes.annotate(
                f"{point.design}, {point.node}",
                place,
                xytext=(8, 5),
                textcoords="offset points",
                fontsize=8,
            )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="cell area per MAC (µm², log scale)",
        ylabel="energy per MAC (pJ, log scale)",
    )
    axes.legend(frameon=False, loc="upper left", title="hollow: other formats")
    rows += _published_energies(side)
    return Drawing(
        figure=figure,
        rows=rows,
        title="Area and energy per MAC, measured at gate level, and published chips",
        caption=f"Measured: {LANES} lanes, one adder level per stage, the trained network's "
        f"operands. {_where(shown)} Published points are chips or clusters in their own nodes and "
        "voltages, with wires and more: not comparable with cells alone, and none is scaled.",
    )


#: Figures by file name.
GATE_FIGURES: dict[str, Callable[[], Drawing]] = {
    "gate_mac": _mac,
    "gate_split": _split,
    "gate_zeros": _zeros,
    "gate_area": _area,
}

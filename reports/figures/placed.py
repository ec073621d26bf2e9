"""Figures of placed units, from the stored tables and layouts."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch, Rectangle

from ...sim.gatelevel.table import Characterization, Table
from .gate import name_of, stored_tables
from .layouts import LAYOUTS, unpack_layout
from .style import BLACK, Drawing, looks, note

__all__ = ["PLACED_FIGURES"]

_PARTS = looks("parts")
_ADDED = looks("placed")


def _image(packed: dict[str, Any], site: float) -> np.ndarray:
    """Paint the cells: float64[rows, sites, 3]."""
    sites = round(packed["width"] / site) + 1
    image = np.ones((len(packed["rows"]), sites, 3))
    for part, start, width, row in unpack_layout(packed):
        image[row, start : start + width] = _color(part)
    return image


def _color(part: str) -> tuple[float, float, float]:
    """Color of a part; those with a hatch are lighter, as pixels have none."""
    look = _PARTS[part]
    red, green, blue = to_rgb(look["color"])
    return ((1 + red) / 2, (1 + green) / 2, (1 + blue) / 2) if look["hatch"] else (red, green, blue)


def _layout() -> Drawing:
    stored = json.loads(LAYOUTS.read_text(encoding="utf-8"))
    drawing = Drawing("gate_layout")
    units = stored["units"]
    sizes = [unit["width"] for unit in units]
    largest = max(max(unit["height"] for unit in units), *sizes)
    # Equal scales: each pair of axes is as wide as its core, with a margin.
    axes = drawing.figure.subplots(1, len(units), width_ratios=[size + 6 for size in sizes])
    used: set[str] = set()
    for one, unit in zip(axes, units, strict=True):
        width, height = unit["width"], unit["height"]
        image = _image(unit, stored["site"])
        extent = (0, image.shape[1] * stored["site"], 0, height)
        one.imshow(image, origin="lower", extent=extent, interpolation="nearest", aspect="equal")
        one.plot(*zip(*unit["buffers"], strict=True), "s", color=BLACK, markersize=2.5)
        one.add_patch(_outline(width, height))
        one.set(xlim=(-3, width + 3), ylim=(-3, largest + 3), xlabel="µm")
        one.grid(visible=False)
        cells = unpack_layout(unit)
        used |= {part for part, *_ in cells}
        words = name_of(unit["unit"])
        one.set_title(f"{words}\n{len(cells):,} cells, {width * height:,.0f} µm²", fontsize=10)
        for part in unit["parts"]:
            drawing.rows.append(
                {
                    "library": stored["library"],
                    "unit": unit["unit"],
                    "part": part,
                    "cells": sum(name == part for name, *_ in cells),
                    "area_um2": sum(w for name, _, w, _ in cells if name == part)
                    * stored["site"]
                    * unit["row_height"],
                }
            )
    axes[0].set_ylabel("µm")
    handles = [
        Patch(facecolor=_color(part), label=look["label"])
        for part, look in _PARTS.items()
        if part in used
    ]
    handles.append(axes[0].lines[0])
    axes[0].lines[0].set_label("clock buffers")
    drawing.figure.legend(handles=handles, loc="outside right center", frameon=False)
    drawing.values = stored
    return drawing


def _outline(width: float, height: float) -> Rectangle:
    return Rectangle((0, 0), width, height, fill=False, edgecolor=BLACK, linewidth=0.8)


def _shares(row: Characterization) -> dict[str, float]:
    """Split the energy of a placed unit, in fJ per MAC."""
    placed = row.placed
    assert placed is not None
    added = {
        "buffers": placed.clock_buffers_fj,
        "clock": placed.clock_wires_fj,
        "wires": placed.wires_fj,
    }
    return {"cells": placed.energy_fj - sum(added.values())} | added


def _bars(axes: Axes, table: Table, rows: list[Characterization]) -> Iterator[dict[str, Any]]:
    """Draw the placed units of a library; yield their numbers."""
    for place, row in enumerate(rows):
        left = 0.0
        for part, value in _shares(row).items():
            axes.barh(place, value, left=left, **_ADDED[part], edgecolor="white", linewidth=0.5)
            left += value
            yield {
                "library": table.library,
                "unit": row.unit,
                "lanes": row.lanes,
                "rows": row.rows,
                "levels": row.levels_per_stage,
                "clock_ghz": row.clock_ghz,
                "part": part,
                "fj_per_mac": value,
            }
        note(axes, f"{left:,.0f}" if left >= 100 else f"{left:.1f}", (left, place), xytext=(3, -3))
    labels = [f"{name_of(row.unit)}, {row.lanes} x {row.rows}" for row in rows]
    axes.set_yticks(range(len(rows)), labels=labels, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.15)
    axes.set_title(f"{table.library}, {table.node}, {rows[0].clock_ghz:g} GHz", fontsize=9)


def _cheapest(table: Table) -> list[Characterization]:
    """Find the placed variant of each unit and shape that takes the least energy."""
    found: dict[tuple[str, int, int], Characterization] = {}
    placed = [row for row in table.rows if row.placed and row.clock_ghz == table.common_clock]
    for row in sorted(placed, key=lambda row: row.placed.energy_fj if row.placed else 0.0):
        found.setdefault((row.unit, row.lanes, row.rows), row)
    return list(found.values())


def _placed() -> Drawing:
    found = {table.library: _cheapest(table) for table in stored_tables()}
    shown = [table for table in stored_tables() if found[table.library]]
    drawing = Drawing("gate_placed", taller=2.1 * max(1, len(shown)))
    axes = drawing.figure.subplots(max(1, len(shown)), 1, squeeze=False)[:, 0]
    for one, table in zip(axes, shown, strict=False):
        drawing.rows += _bars(one, table, found[table.library])
    axes[-1].set_xlabel("energy per MAC (fJ)")
    handles = [Patch(**look) for look in _ADDED.values()]
    drawing.figure.legend(handles=handles, loc="outside right center", frameon=False)
    return drawing


#: Figures by file name.
PLACED_FIGURES: dict[str, Callable[[], Drawing]] = {
    "gate_placed": _placed,
    "gate_layout": _layout,
}

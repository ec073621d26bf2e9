"""Figures of placed units, from the stored tables and layouts."""

import json
from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch, Rectangle

from ...sim.gatelevel.table import Characterization, Table
from .gate import HEADLINE, name_of, process, stored_tables
from .layouts import LAYOUTS, unpack_layout
from .style import BLACK, Drawing, legend_below, looks, note, number, patch, rows

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
        one.set_title(f"{words}\n{len(cells):,} cells, {width * height:,.0f} µm²")
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
    legend_below(drawing.figure, handles, 4)
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


def _bars(axes: Axes, table: Table, units: list[Characterization]) -> Iterator[dict[str, Any]]:
    """Draw the placed units of a library; yield their numbers."""
    longest = 0.0
    for place, row in enumerate(units):
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
        note(axes, number(left), (left, place), xytext=(3, 0), va="center")
        longest = max(longest, left)
    sizes = len({(row.lanes, row.rows) for row in units}) > 1
    labels = [
        name_of(row.unit).replace(" to FP32, fused", "")
        + (f", {row.lanes} × {row.rows}" if sizes else "")
        for row in units
    ]
    rows(axes, labels)
    axes.set_xlim(0, 1.25 * longest)
    axes.locator_params(axis="x", nbins=5)
    axes.set_title(f"{table.library}, {process(table)}, {units[0].clock_ghz:g} GHz")


def _cheapest(table: Table) -> list[Characterization]:
    """Find the best placed variant of each unit and shape, by falling energy."""
    found: dict[tuple[str, int, int], Characterization] = {}
    placed = [row for row in table.rows if row.placed and row.clock_ghz == table.common_clock]
    for row in sorted(placed, key=lambda row: row.placed.energy_fj if row.placed else 0.0):
        found.setdefault((row.unit, row.lanes, row.rows), row)
    return [*found.values()][::-1]


def _placed() -> Drawing:
    found = [(table, units) for table in stored_tables() if (units := _cheapest(table))]
    # All units of ASAP7, or of the first library, and the headline's units of the others.
    found.sort(key=lambda one: one[0].library != "asap7")
    (first, units), *others = found
    lines = ceil(len(others) / 2)
    height = 0.19 * len(units) + 1.9 * lines
    drawing = Drawing("gate_placed", taller=height)
    grid = drawing.figure.add_gridspec(1 + lines, 2, height_ratios=[len(units), *[8] * lines])
    drawing.rows += _bars(drawing.figure.add_subplot(grid[0, :]), first, units)
    for place, (table, some) in enumerate(others):
        axes = drawing.figure.add_subplot(grid[1 + place // 2, place % 2])
        headline = [row for row in some if row.unit in HEADLINE]
        drawing.rows += _bars(axes, table, headline)
        axes.tick_params(labelleft=place % 2 == 0)
    for axes in drawing.figure.axes:
        axes.set_xlabel("energy per MAC (fJ)")
    legend_below(drawing.figure, [patch(look) for look in _ADDED.values()], 4)
    return drawing


#: Figures by file name.
PLACED_FIGURES: dict[str, Callable[[], Drawing]] = {
    "gate_placed": _placed,
    "gate_layout": _layout,
}

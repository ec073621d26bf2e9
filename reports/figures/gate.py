"""Figures of energy at gate level, from the stored tables."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...golden.network.bitnet_2b4t import ZERO_FRACTION
from ...sim.cost.energy import ternary_ratios
from ...sim.cost.model_shapes import MODELS
from ...sim.cost.profiles import find_profile
from ...sim.gatelevel.table import (
    COMPARED_UNITS,
    LANES,
    Characterization,
    Table,
    library_names,
    load_table,
)
from .style import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SKY, Drawing

__all__ = ["GATE_FIGURES", "PUBLISHED_MAC_ENERGIES"]

#: Published energies per MAC in pJ: work, node, what a MAC is there, and the source's own words.
#: Operations count two per MAC.
PUBLISHED_MAC_ENERGIES = (
    ("RedMulE, FP16", "22 nm", "float", 2.0 / 0.72, "688 to 755 GFLOPS/W, cluster; the middle"),
    ("FPnew, FP8", "22 nm FDX", "float", 2.0 / 2.95, "2.95 TFLOPS/W"),
    ("FP8/FP4 MAC", "28 nm", "float", 1.10, "2.13 mW at 1.94 GHz, arXiv 2604.04507"),
    ("OpenGeMM, INT8", "node not at hand", "int8", 2.0 / 4.68, "4.68 TOPS/W"),
    ("BrainTTA, INT8", "22 nm (unconfirmed)", "int8", 2 * 0.405, "405 fJ per operation"),
    ("BrainTTA, ternary", "22 nm (unconfirmed)", "ternary", 2 * 0.067, "67 fJ per operation"),
    ("BrainTTA, binary", "22 nm (unconfirmed)", "ternary", 2 * 0.035, "35 fJ per operation"),
    ("TCN-CUTIE, ternary x ternary", "22 nm FDX", "ternary", 2.0 / 1036, "1036 TOPS/W"),
    ("BitROM", "65 nm", "ternary", 2.0 / 20.8, "20.8 TOPS/W"),
    (
        "VitaLLM, BitNet 3B",
        "16 nm",
        "ternary",
        65.97e9 / 70.7 / MODELS["bitnet-3b"].linear_weights,
        "65.97 mW at 70.7 tokens/s, core without DRAM",
    ),
    (
        "TOM, BitNet 2B in ROM",
        "7 nm (unconfirmed)",
        "ternary",
        5.33e12 / 3306 / MODELS["bitnet-2b4t"].linear_weights,
        "5.33 W at 3306 tokens/s, second hand",
    ),
)


#: Libraries by how finely they are made.
_STYLES = {
    "gt2n": (GREEN, "^"),
    "asap7": (BLUE, "D"),
    "ihp-sg13g2": (ORANGE, "s"),
    "sky130hd": (PINK, "P"),
    "osu018": (RED, "o"),
}


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
    """The stored tables, those of known style first."""
    names = library_names()
    known = [name for name in _STYLES if name in names]
    return [load_table(name) for name in (*known, *(n for n in names if n not in known))]


def _style(table: Table) -> tuple[str, str]:
    return _STYLES.get(table.library, ("#777777", "X"))


def _where(shown: Sequence[Table]) -> str:
    """Provenance of tables, for captions."""
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
        f"{'; '.join(parts)}. Netlists of {tools}, equal to golden; cells only, with operand "
        "registers and weight decoder, zero-delay activity: no wires, clock tree or glitches. "
        "Library files and their SHA-256: 'trilith energy mac'."
    )


def _name(unit: str) -> str:
    """A unit's name for people: ``fp16xfp16-fp32-fused`` is ``FP16 x FP16 to FP32, fused``."""
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
    """To sort by."""
    row = table.row(unit)
    return 0.0 if row is None else row.energy_fj


def _number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _row(table: Table, row: Characterization, **more: Any) -> dict[str, Any]:
    """A plotted row."""
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


def _mac() -> Drawing:
    shown = _tables()
    units = {row.unit for table in shown for row in table.rows}
    # By ASAP7's energies, or whatever stands first.
    first = next((table for table in shown if table.library == "asap7"), shown[0])
    order = [unit for unit in units if first.row(unit)]
    order.sort(key=lambda unit: _energy(first, unit), reverse=True)
    figure = Figure(figsize=(13, 3 + 0.27 * len(order)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows: list[dict[str, Any]] = []
    for index, table in enumerate(shown):
        color, marker = _style(table)
        # Beside each other, where two libraries have the same figure.
        aside = 0.13 * (index - (len(shown) - 1) / 2)
        places, energies, ratios = [], [], []
        for place, unit in enumerate(order):
            row = table.row(unit)
            ratio = table.ratio(row) if row else None
            if row is None or ratio is None:
                continue
            places.append(place + aside)
            energies.append(row.energy_fj)
            ratios.append(ratio)
            rows.append(_row(table, row, fp16_over_it=ratio, met=row.met, max_ghz=row.max_ghz))
        for axes, values in ((left, energies), (right, ratios)):
            axes.plot(
                values,
                places,
                color=color,
                marker=marker,
                linestyle="none",
                markersize=6,
                label=table.library,
            )
    left.set_yticks(range(len(order)), labels=[_name(unit) for unit in order], fontsize=9)
    left.invert_yaxis()
    left.set(xscale="log", xlabel="energy per MAC (fJ, log scale)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False)
    right.set(xscale="log", xlabel="FP16 to FP32, fused, over it (log scale)")
    right.set_xticks([0.3, 0.5, 1, 2, 5, 10, 20, 50, 100])
    right.set_xticklabels(["0.3", "0.5", "1", "2", "5", "10", "20", "50", "100"])
    right.minorticks_off()
    claimed = ternary_ratios(find_profile("jouppi7"), (8, 20, 32))
    words = {8: "the paper: an 8-bit add", 20: "a 20-bit add", 32: "a 32-bit add"}
    for bits, ratio in claimed.items():
        right.axvline(ratio, color=RED if bits == 8 else BLACK, linestyle="--", linewidth=1)
        right.annotate(
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
        rows.append({"library": "published", "unit": words[bits], "fp16_over_it": ratio})
    return Drawing(
        figure=figure,
        rows=rows,
        title="Energy per MAC by number format, measured at gate level",
        caption=f"Measured: {LANES} lanes, one adder level per stage, the trained network's "
        f"operands. {_where(shown)} Dashed: published ratios of arithmetic alone (Jouppi et al., "
        "7 nm): an FP16 multiplication and addition over one integer addition.",
    )


def _split() -> Drawing:
    shown = [table for table in _tables() if all(table.row(unit) for unit in COMPARED_UNITS)]
    figure = Figure(figsize=(13, 1.6 + 1.5 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), 2, squeeze=False)
    units = sorted(COMPARED_UNITS, key=lambda unit: _energy(shown[0], unit))
    rows: list[dict[str, Any]] = []
    used: dict[str, None] = {}
    for line, table in enumerate(shown):
        for place, unit in enumerate(units):
            row = table.row(unit)
            assert row is not None
            left = [0.0, 0.0]
            for part, (label, color, hatch) in _PARTS.items():
                value = row.parts_fj.get(part, 0.0)
                rows.append(_row(table, row, part=part, part_fj=value))
                if not value:
                    continue
                used[part] = None
                for side, width in enumerate((value, 100 * value / row.energy_fj)):
                    axes[line][side].barh(
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
            rows.append(_row(table, row, part="ports", part_fj=row.ports_fj))
            axes[line][0].barh(
                place,
                row.ports_fj,
                left=left[0],
                color="white",
                edgecolor="#777777",
                linestyle=":",
                label=_PORTS,
            )
            axes[line][0].annotate(
                f"{_number(row.energy_fj)} + {_number(row.ports_fj)}",
                (left[0] + row.ports_fj, place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        for side in (0, 1):
            axes[line][side].invert_yaxis()
            axes[line][side].grid(axis="y", visible=False)
        labels = [_name(unit).replace(" to FP32, fused", "") for unit in units]
        axes[line][0].set_yticks(range(len(labels)), labels=labels, fontsize=9)
        axes[line][1].set_yticks([])
        axes[line][0].margins(x=0.3)
        axes[line][1].set_xlim(0, 100)
        axes[line][0].set_title(f"{table.library}, {table.node}", fontsize=10, loc="left")
    axes[-1][0].set_xlabel("energy per MAC (fJ)")
    axes[-1][1].set_xlabel("share of the energy without the white part (%)")
    handles = {
        label: handle
        for one in axes.flat
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True)
    }
    names = [*(_PARTS[part][0] for part in _PARTS if part in used), _PORTS]
    figure.legend(
        [handles[name] for name in names], names, loc="outside right center", frameon=False
    )
    return Drawing(
        figure=figure,
        rows=rows,
        title="Where the energy of a MAC goes",
        caption="Measured: logic counts for the first register that it leads to; clock pins are "
        "what flip-flops take inside for being clocked. White, behind the plus: the charge of the "
        "pins that no cell drives, clock pins above all; it is in no share and no other plot. "
        f"{LANES} lanes, one adder level per stage, the trained network's operands. "
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
        color, marker = _style(table)
        axes.plot(
            [100 * row.zero_weights for row in found],
            [row.energy_fj / without for row in found],
            color=color,
            marker=marker,
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


def _area() -> Drawing:
    shown = _tables()
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    axes, side = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1.5))
    rows: list[dict[str, Any]] = []
    for table in shown:
        color, marker = _style(table)
        found = [row for row in table.rows if row == table.row(row.unit)]
        axes.scatter(
            [row.area_per_mac for row in found],
            [row.energy_fj / 1e3 for row in found],
            facecolors=[color if row.unit in COMPARED_UNITS else "none" for row in found],
            edgecolors=color,
            marker=marker,
            s=45,
        )
        axes.plot([], [], color=color, marker=marker, linestyle="none", label=table.library)
        for row in found:
            rows.append(_row(table, row, um2_per_mac=row.area_per_mac))
        # On the side where no other library's points are.
        right = table.library in ("asap7", "ihp-sg13g2")
        short = dict(zip(COMPARED_UNITS, ("ternary", "FP16", "INT8", "W4A16"), strict=True))
        for unit, label in short.items():
            row = table.row(unit)
            if row:
                axes.annotate(
                    label,
                    (row.area_per_mac, row.energy_fj / 1e3),
                    xytext=(6, -8) if right else (-6, 4),
                    textcoords="offset points",
                    ha="left" if right else "right",
                    fontsize=8,
                    color=color,
                )
    axes.plot(
        [3960], [1.10], color=BLACK, marker="*", markersize=13, linestyle="none", label="published"
    )
    axes.annotate(
        "FP8/FP4 MAC, 28 nm",
        (3960, 1.10),
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
    points = [point for point in PUBLISHED_MAC_ENERGIES if point[0] != "FP8/FP4 MAC"]
    points.sort(key=lambda point: point[3])
    # Labels apart by at least a step on the log axis.
    lows = np.log10([point[3] for point in points])
    heights: list[float] = []
    for low in lows:
        heights.append(max(low, heights[-1] + 0.2) if heights else low)
    for (work, node, _, pj, words), height in zip(points, heights, strict=True):
        side.plot([0], [pj], color=BLACK, marker="*", markersize=9, linestyle="none")
        side.annotate(
            f"{work}, {node}",
            (0, pj),
            xytext=(0.12, 10**height),
            textcoords="data",
            va="center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.6},
        )
        rows.append({"library": "published", "unit": work, "fj_per_mac": pj * 1e3, "words": words})
    side.set(xlim=(-0.05, 1), title="Published, area not per MAC")
    side.title.set_fontsize(10)
    side.set_xticks([])
    side.grid(visible=False)
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

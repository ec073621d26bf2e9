"""Figures of modelled speed: roofline, sweep, and predictions of published systems."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ...sim.cost.explore import Grid, run_sweep
from ...sim.cost.memories import EFFICIENCY, find_memory
from ...sim.cost.profiles import FORMATS
from ...sim.cost.validation import predict, summary
from .style import BLACK, BLUE, FORMAT_LOOKS, GREEN, ORANGE, PINK, RED, SKY, Drawing

__all__ = ["THROUGHPUT_FIGURES"]


def _roofline() -> Drawing:
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    rows: list[dict[str, Any]] = []
    peak = 1024 * 1000e6
    share, _ = EFFICIENCY["fabric"]
    bandwidth = share * find_memory("lpddr5").gigabytes_per_second * 1e9
    for name in ("fp16", "int8", "w4a16", "ternary-2.0", "ternary-1.6", "binary"):
        each = FORMATS[name].weight_bits / 8
        ridge = peak * each / bandwidth
        vectors = sorted([*(2.0**power for power in range(10)), ridge])
        rate = [min(peak, bandwidth / each * one) / 1e9 for one in vectors]
        look = FORMAT_LOOKS[name]
        axes.plot(vectors, rate, color=look.color, linestyle=look.linestyle, linewidth=1.8)
        axes.plot(
            [ridge],
            [peak / 1e9],
            **asdict(look),
            markersize=9,
            label=f"{name}: {each:g} bytes, ridge at {ridge:.1f}",
        )
        rows += [
            {"format": name, "vectors": one, "gmac_per_s": value, "ridge": ridge}
            for one, value in zip(vectors, rate, strict=True)
        ]
    axes.set(
        xlabel="activation vectors that share a pass over the weights",
        ylabel="10⁹ MACs per second (two operations each)",
        yscale="log",
    )
    axes.set_xscale("log", base=2)
    axes.legend(frameon=False, title="bytes per weight, and vectors at the ridge")
    return Drawing(
        figure=figure,
        rows=rows,
        title="Roofline, with a ridge per bytes per weight",
        caption="Modelled: 1024 MACs per cycle at 1 GHz; LPDDR5-6400, 64 bits, 51.2 GB/s of which "
        f"{share:.0%} are sustained ({EFFICIENCY['fabric'][1]}). Weights are the only traffic.",
    )


def _pareto() -> Drawing:
    grid = Grid(
        models=("bitnet-2b4t",),
        lanes=(20, 40, 64, 80, 128, 160),
        rows=(1, 2, 4, 8, 16, 32, 64),
        tokens=(1, 2, 4, 8),
        clocks=(250.0, 500.0, 1000.0),
        batches=(8,),
    )
    with tempfile.TemporaryDirectory(prefix="trilith-") as folder:
        rows = run_sweep(grid, Path(folder) / "sweep", workers=1)
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for tokens, color, marker in (
        (1, RED, "o"),
        (2, ORANGE, "s"),
        (4, GREEN, "^"),
        (8, BLUE, "D"),
    ):
        for front in (False, True):
            some = [row for row in rows if row["tokens"] == tokens and row["pareto"] == front]
            axes.scatter(
                [row["arithmetic_mm2_45nm"] for row in some],
                [row["joules_per_token"] * 1e3 for row in some],
                s=[14 + 6 * row["tokens_per_second"] ** 0.5 for row in some],
                facecolors=color if front else "none",
                edgecolors=color,
                marker=marker,
                alpha=0.9 if front else 0.35,
                label=f"{tokens} vector{'s' * (tokens > 1)} a pass" if front else None,
            )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="arithmetic area (mm², 45 nm)",
        ylabel="energy per token (mJ)",
    )
    axes.set_yticks([10, 20, 30, 40, 60], labels=["10", "20", "30", "40", "60"])
    axes.minorticks_off()
    axes.legend(
        title="filled: on the front of area, energy, speed\nsize: tokens/s",
        loc="upper right",
        bbox_to_anchor=(1, 0.93),
    )
    return Drawing(
        figure=figure,
        rows=rows,
        title="Area and energy of the sweep, BitNet 2B4T, eight sequences",
        caption=f"Modelled: {len(rows)} engines of 20 to 160 lanes, 1 to 64 rows, 250 to 1000 "
        "MHz, exact cycles, LPDDR5, context 512; energy by jouppi7 (7 nm, arithmetic only); "
        "area of adders by Horowitz's 45 nm figures. Two nodes: compare within an axis.",
    )


def _published() -> Drawing:
    predictions = predict()
    total = summary(predictions)
    figure = Figure(figsize=(9.5, 7), layout="constrained")
    axes = figure.subplots()
    low, high = 0.05, 2000
    axes.plot([low, high], [low, high], color=BLACK, linewidth=1, label="predicted = published")
    axes.fill_between(
        [low, high],
        [0.8 * low, 0.8 * high],
        [1.2 * low, 1.2 * high],
        color="#DDDDDD",
        label="within 20 %",
    )
    systems = list(dict.fromkeys(one.row.system.partition(",")[0] for one in predictions))
    markers = "oDs^vP*Xdp<>"
    colors = [BLUE, ORANGE, GREEN, RED, SKY, PINK, BLACK]
    for index, system in enumerate(systems):
        some = [one for one in predictions if one.row.system.partition(",")[0] == system]
        axes.scatter(
            [one.row.rate for one in some],
            [one.rate for one in some],
            color=[colors[index % 7] if one.row.counted else "none" for one in some],
            edgecolors=colors[index % 7],
            marker=markers[index],
            s=70,
            zorder=3,
            label=system,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(low, high),
        ylim=(low, high),
        xlabel="published (tokens/s)",
        ylabel="predicted (tokens/s)",
    )
    axes.legend(frameon=False, fontsize=9)
    rows = [
        {
            "system": one.row.system,
            "model": one.row.model,
            "published": one.row.rate,
            "predicted": one.rate,
            "error": one.error,
            "bound": one.bound,
            "counted": one.row.counted,
            "assumptions": one.row.assumptions,
            "source": one.row.source,
        }
        for one in predictions
    ]
    return Drawing(
        figure=figure,
        rows=rows,
        title="Predicted against published tokens per second",
        caption=f"Modelled against measured by others; median absolute error of {total['rows']} "
        f"rows {total['median_absolute_error']:.0%}, of {total['systems']} systems "
        f"{total['median_over_systems']:.0%}. One set of constants; hollow: not counted. Sources "
        "and assumptions: the table, and 'trilith estimate --validation'.",
    )


#: Figures by file name.
THROUGHPUT_FIGURES: dict[str, Callable[[], Drawing]] = {
    "roofline": _roofline,
    "pareto": _pareto,
    "published": _published,
}

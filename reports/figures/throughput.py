"""Figures of modelled speed: roofline, sweep, and predictions of published systems."""

from collections.abc import Callable

from ...golden.scratch import scratch_folder
from ...sim.cost.explore import Grid, run_sweep
from ...sim.cost.memories import EFFICIENCY, find_memory
from ...sim.cost.profiles import FORMATS
from ...sim.cost.validation import Group, predict, summary
from .style import BLACK, COLORS, Drawing, looks

__all__ = ["THROUGHPUT_FIGURES"]


def _roofline() -> Drawing:
    drawing = Drawing("roofline")
    axes = drawing.axes()
    peak = 1024 * 1000e6
    share, source = EFFICIENCY["fabric"]
    bandwidth = share * find_memory("lpddr5").gigabytes_per_second * 1e9
    for name in ("fp16", "int8", "w4a16", "ternary-2.0", "ternary-1.6", "binary"):
        each = FORMATS[name].weight_bits / 8
        ridge = peak * each / bandwidth
        vectors = sorted([*(2.0**power for power in range(10)), ridge])
        rate = [min(peak, bandwidth / each * one) / 1e9 for one in vectors]
        look = looks("formats")[name]
        axes.plot(vectors, rate, linewidth=1.8, color=look["color"], linestyle=look["linestyle"])
        label = f"{name}: {each:g} bytes, ridge at {ridge:.1f}"
        axes.plot([ridge], [peak / 1e9], **look, markersize=9, label=label)
        drawing.rows += [
            {"format": name, "vectors": one, "gmac_per_s": value, "ridge": ridge}
            for one, value in zip(vectors, rate, strict=True)
        ]
    axes.set_xscale("log", base=2)
    axes.legend(frameon=False, title="bytes per weight, and vectors at the ridge")
    drawing.values = {"share": share, "source": source}
    return drawing


def _pareto() -> Drawing:
    grid = Grid(
        models=("bitnet-2b4t",),
        lanes=(20, 40, 64, 80, 128, 160),
        rows=(1, 2, 4, 8, 16, 32, 64),
        tokens=(1, 2, 4, 8),
        clocks=(250.0, 500.0, 1000.0),
        batches=(8,),
    )
    drawing = Drawing("pareto")
    with scratch_folder() as folder:
        drawing.rows = run_sweep(grid, folder / "sweep", workers=1)
    axes = drawing.axes()
    for tokens, look in looks("passes").items():
        for front in (False, True):
            some = [
                row
                for row in drawing.rows
                if row["tokens"] == int(tokens) and row["pareto"] == front
            ]
            axes.scatter(
                [row["arithmetic_mm2_45nm"] for row in some],
                [row["joules_per_token"] * 1e3 for row in some],
                s=[14 + 6 * row["tokens_per_second"] ** 0.5 for row in some],
                facecolors=look["color"] if front else "none",
                edgecolors=look["color"],
                marker=look["marker"],
                alpha=0.9 if front else 0.35,
                label=f"{tokens} vector{'s' * (tokens != '1')} a pass" if front else None,
            )
    axes.minorticks_off()
    title = "filled: on the front of area, energy, speed\nsize: tokens/s"
    axes.legend(title=title, loc="upper right", bbox_to_anchor=(1, 0.93))
    drawing.values = {"engines": len(drawing.rows)}
    return drawing


def _published() -> Drawing:
    predictions = predict()
    drawing = Drawing("published")
    axes = drawing.axes()
    line = axes.get_xlim()
    axes.plot(line, line, color=BLACK, linewidth=1, label="predicted = published")
    low, high = ([share * end for end in line] for share in (0.8, 1.2))
    axes.fill_between(line, low, high, color="#DDDDDD", label="within 20 %")
    for group, marker, color in zip(Group, "oDs", COLORS.values(), strict=False):
        some = [one for one in predictions if one.row.group == group]
        if not some:
            continue
        axes.scatter(
            [one.row.rate for one in some],
            [one.rate for one in some],
            color=[color if one.row.counted else "none" for one in some],
            edgecolors=color,
            marker=marker,
            s=70,
            zorder=3,
            label=group.meaning,
        )
    axes.legend(frameon=False, fontsize=9)
    drawing.rows = [
        {
            "group": one.row.group,
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
    drawing.values["errors"] = ", ".join(
        f"{group} {one['median_over_systems']:.0%} of {one['systems']}"
        for group, one in summary(predictions).items()
    )
    return drawing


#: Figures by file name.
THROUGHPUT_FIGURES: dict[str, Callable[[], Drawing]] = {
    "roofline": _roofline,
    "pareto": _pareto,
    "published": _published,
}

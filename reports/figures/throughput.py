"""Figures of modelled speed: roofline, sweep, and predictions of published systems."""

from collections.abc import Callable, Iterator, Sequence
from math import log10
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ...golden.scratch import scratch_folder
from ...sim.cost.explore import Grid, run_sweep
from ...sim.cost.formats import FORMATS
from ...sim.cost.memories import EFFICIENCY, find_memory
from ...sim.cost.model_shapes import MODELS
from ...sim.cost.validation import PUBLISHED, Group, Prediction, PublishedRate, predict, summary
from .style import BLACK, BLUE, LEADER, SMALL, Drawing, legend_below, looks, note, number, spread

__all__ = ["THROUGHPUT_FIGURES"]


#: Formats on the modelled roof, and the one whose name stands out.
_OURS = "ternary-1.6"
_FORMATS = ("fp16", "int8", "int4", "ternary-2.0", "ternary-1.6", "binary")


def _intensity(bits: float, vectors: float = 1) -> float:
    """Operations per byte of weights: two for each weight and activation vector."""
    return 2 * vectors * 8 / bits


def _on_line(axes: Axes, text: str, place: tuple[float, float]) -> None:
    """Write a text on a sloping line."""
    white = {"color": "white", "pad": 1}
    axes.text(*place, text, ha="center", va="center", fontsize=SMALL, bbox=white)


def _modelled_roof(axes: Axes, bandwidth: float) -> Iterator[dict[str, Any]]:
    """Draw the roof of an array with LPDDR5, and the formats on it; yield their numbers."""
    peak = 2 * 1024 * 1000e6
    corner = peak / bandwidth
    axes.plot([0.1, corner, 1000], [0.1 * bandwidth / 1e9, peak / 1e9, peak / 1e9], color=BLACK)
    note(axes, f"{peak / 1e12:.3g}·10¹² operations/s", (60, peak / 1e9), xytext=(0, 5), ha="center")
    _on_line(axes, f"{bandwidth / 1e9:.1f} GB/s", (24, 24 * bandwidth / 1e9))
    for name in _FORMATS:
        bits, look = FORMATS[name].weight_bits, looks("formats")[name]
        place = (_intensity(bits), _intensity(bits) * bandwidth / 1e9)
        ridge = corner / _intensity(bits)
        axes.plot(*place, **{**look, "linestyle": "none", "label": None}, zorder=3)
        text = f"{look['label']}: {place[0]:g}; {ridge:.1f} vectors to the corner"
        if name == _OURS:
            note(axes, text, place, xytext=(-9, 3), ha="right", fontweight="bold")
        else:
            note(axes, text, place, xytext=(9, -3), va="top")
        yield {
            "series": "modelled",
            "name": name,
            "operations_per_byte": place[0],
            "gop_per_s": place[1],
            "pins_gop_per_s": place[1],
            "vectors_at_ridge": ridge,
        }


def _fastest() -> list[PublishedRate]:
    """Find the fastest published rate of each system that decodes one sequence."""
    found: dict[tuple[str, float], PublishedRate] = {}
    for row in PUBLISHED:
        if row.prompt is None and row.batch == 1:
            name = row.system.partition(", threads")[0]
            key = (name, row.ran.number_format.weight_bits)
            if key not in found or _operations(row) > _operations(found[key]):
                found[key] = row
    return list(found.values())


def _operations(row: PublishedRate) -> float:
    """Operations per second of the linear layers at a published rate, in 10⁹."""
    return 2 * MODELS[row.model].active_weights * row.rate / 1e9


def _place(row: PublishedRate) -> float:
    """Operations per byte of weights of a published system."""
    return _intensity(row.ran.number_format.weight_bits)


#: Intensity from which the systems are so many that their names stand in a column.
_DENSE = 8


def _measured_roof(axes: Axes) -> Iterator[dict[str, Any]]:
    """Draw published systems with their names; yield their numbers."""
    for bandwidth, place in ((1, 88), (10, 88), (100, 88), (1000, 5.4)):
        axes.plot([0.1, 1000], [0.1 * bandwidth, 1000 * bandwidth], color="#BBBBBB", linewidth=0.8)
        _on_line(axes, f"{bandwidth:,} GB/s", (place, place * bandwidth))
    rows = _fastest()
    heights = iter(
        spread(sorted(log10(_operations(row)) for row in rows if _place(row) >= _DENSE), 0.19)
    )
    for row in sorted(rows, key=_operations):
        place, rate = _place(row), _operations(row)
        pins = place * find_memory(row.memory).gigabytes_per_second
        axes.plot([place], [rate], color=BLUE, marker="o" if place < 10 else "D", markersize=5)
        name = f"{row.system.partition(', threads')[0]}, {rate / pins:.0%}"
        if place >= _DENSE:
            aside = (14, 10 ** next(heights))
            white = {"color": "white", "pad": 0.5}
            axes.annotate(
                name,
                (place, rate),
                aside,
                va="center",
                fontsize=SMALL,
                arrowprops=LEADER,
                bbox=white,
            )
        elif place == 1:
            note(axes, name, (place, rate), xytext=(7, 0), va="center")
        else:
            up = (0, 12 if place == 2 else 40)
            note(axes, name, (place, rate), xytext=up, ha="center", arrowprops=LEADER)
        yield {
            "series": "measured",
            "name": row.system,
            "model": row.model,
            "operations_per_byte": place,
            "gop_per_s": rate,
            "pins_gop_per_s": pins,
        }


def _roofline() -> Drawing:
    drawing = Drawing("roofline")
    modelled, measured = drawing.figure.subplots(2, 1, height_ratios=(1, 2))
    drawing.label(modelled=modelled, measured=measured)
    share, source = EFFICIENCY["fabric"]
    bandwidth = share * find_memory("lpddr5").gigabytes_per_second * 1e9
    drawing.rows = [*_modelled_roof(modelled, bandwidth), *_measured_roof(measured)]
    for axes in (modelled, measured):
        axes.set_xscale("log", base=2)
        ticks = [2**power for power in range(8)]
        axes.set_xticks(ticks, labels=[str(one) for one in ticks])
    drawing.values = {"share": share, "source": source}
    return drawing


def _front(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Find the engines that no other one beats in area and energy, by area."""
    front: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row["arithmetic_mm2_45nm"], row["joules_per_token"])):
        if not front or row["joules_per_token"] < front[-1]["joules_per_token"]:
            front.append(row)
    return front


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

    def place(row: dict[str, Any]) -> tuple[float, float]:
        return row["arithmetic_mm2_45nm"], row["joules_per_token"] * 1e3

    def area(rate: float) -> float:
        """Size of a point in square points; its diameter is the fourth root of the rate."""
        return 9 * rate**0.5

    for tokens, look in looks("passes").items():
        some = [row for row in drawing.rows if row["tokens"] == int(tokens)]
        axes.scatter(
            *zip(*map(place, some), strict=True),
            s=[area(row["tokens_per_second"]) for row in some],
            facecolors="none",
            edgecolors=look["color"],
            marker=look["marker"],
            alpha=0.55,
        )
    front = _front(drawing.rows)
    (line,) = axes.plot(*zip(*map(place, front), strict=True), color=BLACK, label="front")
    named = 1e9
    for row in front:
        row["on_front"] = True
        engine = f"{row['lanes']}×{row['rows']}×{row['tokens']}"
        fastest = max(
            one["tokens_per_second"]
            for one in drawing.rows
            if all(one[key] == row[key] for key in ("lanes", "rows", "tokens"))
        )
        text = f"{engine}, {fastest:.3g} tokens/s"
        if row is front[-1]:
            note(axes, text, place(row), xytext=(0, -14), va="top", ha="center")
        elif place(row)[1] < 0.93 * named:
            named = place(row)[1]
            note(axes, text, place(row), xytext=(-8, -1), va="top", ha="right")
    hollow: dict[str, Any] = {"linestyle": "none", "markerfacecolor": "none"}
    passes = [
        Line2D([], [], **look, **hollow, label=f"{tokens} vector{'s' * (tokens != '1')} a pass")
        for tokens, look in looks("passes").items()
    ]
    gray: dict[str, Any] = {"color": "#777777", "marker": "o", **hollow}
    sizes = [
        Line2D([], [], **gray, markersize=area(rate) ** 0.5, label=f"size: {rate} tokens/s")
        for rate in (1, 10, 100)
    ]
    legend_below(drawing.figure, [*passes, line, *sizes], 4)
    drawing.values = {"engines": len(drawing.rows)}
    return drawing


def _published() -> Drawing:
    predictions = predict()
    drawing = Drawing("published")
    axes = drawing.axes()
    axes.axvline(1, color=BLACK, linewidth=1)
    axes.axvspan(0.8, 1.25, color="#E8E8E8")
    labels, place = [], 0.0
    for group in Group:
        systems: dict[str, list[Prediction]] = {}
        for one in predictions:
            if one.row.group == group:
                name = f"{one.row.system.partition(', threads')[0]}: {one.row.model}"
                systems.setdefault(name, []).append(one)
        look = looks("groups")[group]
        head = {"va": "center", "fontweight": "bold", "color": look["color"]}
        axes.text(0.275, place, group.meaning, **head, bbox={"color": "white", "pad": 0.5})
        place += 1
        for name, some in systems.items():
            labels.append((place, name))
            ratios = [one.rate / one.row.rate for one in some]
            axes.plot([min(ratios), max(ratios)], [place] * 2, color=look["color"], linewidth=1)
            axes.scatter(
                ratios,
                [place] * len(some),
                facecolors=[look["color"] if one.row.counted else "none" for one in some],
                edgecolors=look["color"],
                marker=look["marker"],
                s=24,
                zorder=3,
            )
            rate = f"{number(max(one.row.rate for one in some))} tokens/s"
            note(axes, rate, (4.9, place), xytext=(0, 0), ha="right", va="center")
            place += 1
    axes.set_yticks(*zip(*labels, strict=True))
    axes.set_ylim(place, -0.8)
    axes.tick_params(axis="y", length=0, labelsize=SMALL)
    axes.grid(axis="y", visible=False)
    axes.minorticks_off()
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

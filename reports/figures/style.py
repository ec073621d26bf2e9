"""Looks, wording and files of all figures.

Looks are data, in ``style.toml``; titles, captions and axes are data, in ``figures.toml``.
"""

import csv
import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox
from PIL import Image

from ...sim.cost.datafiles import read_data

__all__ = [
    "BLACK",
    "BLUE",
    "COLORS",
    "FIGURE_ENDS",
    "GREEN",
    "LEADER",
    "PINK",
    "RED",
    "SETTINGS",
    "SKY",
    "SMALL",
    "WIDTH",
    "Drawing",
    "finish",
    "image",
    "legend_below",
    "looks",
    "note",
    "number",
    "patch",
    "rows",
    "save",
    "spread",
    "stack",
]

_STYLE = read_data(Path(__file__).with_suffix(".toml"))
_FIGURES = Path(__file__).with_name("figures.toml")

#: Colors by name.
COLORS: dict[str, str] = _STYLE["colors"]
BLUE, _, GREEN, RED, SKY, PINK, BLACK = COLORS.values()

#: Endings of the files of a figure.
FIGURE_ENDS = ("png", "svg", "csv")

#: Settings of matplotlib.
SETTINGS: dict[Any, Any] = _STYLE["settings"]

#: Width of every figure in inches. A README shows it at 800 pixels, where a point is a point.
WIDTH: float = _STYLE["width"]

#: Size of the smallest text in points.
SMALL: float = _STYLE["small"]

#: Line from a text to its point.
LEADER = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.6}

_DPI = 150


def looks(table: str) -> dict[str, dict[str, Any]]:
    """Read a table of looks: keyword arguments of matplotlib by the name of a series."""
    return {
        name: {**look, "color": COLORS.get(look["color"], look["color"])}
        for name, look in _STYLE[table].items()
    }


class Drawing:
    """A figure with its numbers.

    Parameters
    ----------
    name : its key in ``figures.toml``
    taller : inches by which the figure is taller than the file has it

    Attributes
    ----------
    data : the entry of the file
    figure : the figure
    rows : the plotted numbers, one dictionary per point
    values : what the template of the caption needs
    """

    def __init__(self, name: str, *, taller: float = 0.0) -> None:
        self.data = read_data(_FIGURES)[name]
        size = (WIDTH, self.data["height"] + taller)
        self.figure = Figure(figsize=size, layout="constrained")
        self.rows: list[dict[str, Any]] = []
        self.values: dict[str, Any] = {}

    @property
    def title(self) -> str:
        """Subject of the figure."""
        return self.data["title"].format(**self.values)

    @property
    def caption(self) -> str:
        """Origin of every number."""
        return self.data["caption"].format(**self.values)

    def axes(self) -> Axes:
        """Make the figure's only axes."""
        return self.figure.add_subplot(**self.data["axes"])

    def label(self, **axes: Axes) -> None:
        """Give axes the properties that the file has under their names."""
        for name, one in axes.items():
            one.set(**self.data["axes"][name])


def note(axes: Axes, text: str, place: tuple[float, float], **settings: Any) -> None:
    """Write a text beside a point; ``xytext`` is the distance in points."""
    axes.annotate(text, place, **{"textcoords": "offset points", "fontsize": SMALL, **settings})


def number(value: float) -> str:
    """Write a number with three digits, or all digits before the point, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 10 else 2 if value >= 1 else 3}f}"


def spread(places: Sequence[float], step: float) -> list[float]:
    """Move ascending places of labels apart to a distance of at least a step, with their center."""
    groups: list[tuple[float, int]] = []
    for place in places:
        center, count = place, 1
        # Neighbors that would overlap become one group around their mean.
        while groups and center - groups[-1][0] < step * (count + groups[-1][1]) / 2:
            other, more = groups.pop()
            center = (center * count + other * more) / (count + more)
            count += more
        groups.append((center, count))
    return [
        center + step * (one - (count - 1) / 2) for center, count in groups for one in range(count)
    ]


def patch(look: Mapping[str, Any]) -> Patch:
    """Make a handle for a legend that looks like a bar."""
    return Patch(
        facecolor=look["color"], hatch=look["hatch"], label=look["label"], edgecolor="white"
    )


def legend_below(figure: Figure, handles: Sequence[Any], columns: int, **settings: Any) -> None:
    """Draw a legend between the axes of a figure and its caption."""
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, **settings)


def rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows of a figure, the first on top; those of ternary units are bold."""
    ticks = axes.set_yticks(range(len(names)), labels=names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    for tick, name in zip(ticks, names, strict=True):
        if name.startswith("ternary"):
            tick.label1.set(fontweight="bold", color=BLUE)


def stack(
    axes: Axes, table: str, names: Sequence[str], parts: Mapping[str, Sequence[float]]
) -> None:
    """Draw stacked horizontal bars with their totals, the first on top.

    Parameters
    ----------
    axes : where to draw; its scale stays linear, as a bar on a log scale has no length
    table : table of the looks of the parts
    names : of the bars
    parts : lengths by part, the leftmost part first
    """
    left = [0.0] * len(names)
    places = range(len(names))
    for part, values in parts.items():
        look = {"label": part, **looks(table)[part]}
        axes.barh(places, values, left=left, **look, edgecolor="white", linewidth=0.5)
        left = [start + value for start, value in zip(left, values, strict=True)]
    for place, value in zip(places, left, strict=True):
        note(axes, number(value), (value, place), xytext=(3, 0), va="center")
    rows(axes, names)
    axes.set_xlim(0, 1.2 * max(left))


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: f"{value:.9g}" if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    )
    return text.getvalue()


def _wrapped(text: str, figure: Figure) -> str:
    """Break a caption into lines as wide as the figure."""
    return "\n".join(textwrap.wrap(text, int(figure.get_size_inches()[0] * 16.5)))


@contextmanager
def _settled(figure: Figure) -> Iterator[None]:
    """Fix the places of the axes in a block, without the last digits, which differ by run."""
    layout = figure.get_layout_engine()
    figure.dpi = _DPI
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(Bbox(np.round(axes.get_position().get_points(), 9)))
        axes.set_in_layout(True)
    try:
        yield
    finally:
        figure.set_layout_engine(layout)


def image(drawing: Drawing) -> bytes:
    """Render the figure as a PNG; the title and the caption are absent before ``save``."""
    drawn, png = io.BytesIO(), io.BytesIO()
    with _settled(drawing.figure):
        drawing.figure.savefig(drawn, format="png", dpi=_DPI)
    # A palette makes the file a third as large. This way to choose it keeps rare colors.
    whole, method = Image.open(drawn).convert("RGB"), Image.Quantize.MAXCOVERAGE
    few = whole.quantize(method=method, dither=Image.Dither.NONE)
    few.save(png, format="png", optimize=True)
    return png.getvalue()


def finish(drawing: Drawing) -> None:
    """Add the title above a figure, and the caption below its axes and legends."""
    figure = drawing.figure
    figure.suptitle(drawing.title, fontweight="bold")
    text = _wrapped(drawing.caption, figure)
    figure.text(0.01, 0.01, text, fontsize=SMALL, color="#444444", va="bottom")
    lines = text.count("\n") + 1.7
    low = 1.2 * SMALL / 72 * lines / figure.get_size_inches()[1]
    # The layout knows of a legend below the axes only where nothing else is there.
    for legend in figure.legends:
        legend.set_bbox_to_anchor((0, low, 1, 1 - low), transform=figure.transFigure)
        low += legend.get_window_extent().height / figure.bbox.height + 0.005
    layout = figure.get_layout_engine()
    assert isinstance(layout, ConstrainedLayoutEngine)
    layout.set(rect=(0, low, 1, 1 - low))


def save(drawing: Drawing, stem: Path) -> None:
    """Write a drawing with its caption as PNG and SVG, and its numbers as CSV: ``FIGURE_ENDS``."""
    finish(drawing)
    png, svg, table = (stem.with_suffix(f".{end}") for end in FIGURE_ENDS)
    png.write_bytes(image(drawing))
    with _settled(drawing.figure):
        drawing.figure.savefig(svg, metadata={"Date": None, "Creator": None})
    table.write_text(_csv(drawing.rows), encoding="utf-8")

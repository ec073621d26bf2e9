"""Looks, wording and files of all figures.

Looks are data, in ``style.toml``; titles, captions and axes are data, in ``figures.toml``.
"""

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...sim.cost.datafiles import read_data

__all__ = [
    "BLACK",
    "BLUE",
    "COLORS",
    "FIGURE_ENDS",
    "GREEN",
    "PINK",
    "RED",
    "SETTINGS",
    "SKY",
    "Drawing",
    "looks",
    "note",
    "save",
    "stack",
]

_STYLE = read_data(Path(__file__).with_suffix(".toml"))
_FIGURES = Path(__file__).with_name("figures.toml")

#: Colors by name.
COLORS: dict[str, str] = _STYLE["colors"]
BLUE, _, GREEN, RED, SKY, PINK, BLACK = COLORS.values()

#: Settings of matplotlib.
#: Endings of the files of a figure.
FIGURE_ENDS = ("png", "svg", "csv")
SETTINGS: dict[Any, Any] = _STYLE["settings"]


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
        width, height = self.data["size"]
        self.figure = Figure(figsize=(width, height + taller), layout="constrained")
        self.rows: list[dict[str, Any]] = []
        self.values: dict[str, Any] = {}

    @property
    def title(self) -> str:
        """Subject of the figure."""
        return self.data["title"]

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
    axes.annotate(text, place, **{"textcoords": "offset points", "fontsize": 9, **settings})


def stack(
    axes: Axes, table: str, names: Sequence[str], parts: Mapping[str, Sequence[float]]
) -> None:
    """Draw stacked bars with their totals.

    Parameters
    ----------
    axes : where to draw
    table : table of the looks of the parts
    names : of the bars
    parts : heights by part, the lowest part first
    """
    bottom = [0.0] * len(names)
    for part, values in parts.items():
        look = looks(table)[part]
        axes.bar(names, values, bottom=bottom, **look, label=part, edgecolor="white", linewidth=0.5)
        bottom = [low + value for low, value in zip(bottom, values, strict=True)]
    for place, value in enumerate(bottom):
        text = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        note(axes, text, (place, value), xytext=(0, 0), ha="center", va="bottom")
    axes.tick_params(axis="x", rotation=40)
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.12)
    axes.legend(frameon=False)


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
    return "\n".join(textwrap.wrap(text, int(figure.get_size_inches()[0] * 17.5)))


def save(drawing: Drawing, stem: Path) -> None:
    """Write a drawing with its caption as PNG and SVG, and its numbers as CSV: ``FIGURE_ENDS``."""
    drawing.figure.suptitle(drawing.title, fontweight="bold")
    drawing.figure.supxlabel(
        _wrapped(drawing.caption, drawing.figure), fontsize=8, color="#444444", x=0.01, ha="left"
    )
    png, svg, table = (stem.with_suffix(f".{end}") for end in FIGURE_ENDS)
    drawing.figure.savefig(png, dpi=130, metadata={"Software": None})
    drawing.figure.savefig(svg, metadata={"Date": None, "Creator": None})
    table.write_text(_csv(drawing.rows), encoding="utf-8")

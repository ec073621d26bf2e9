"""Colors, markers and files of all figures, and the drawing with its numbers and caption."""

import csv
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

__all__ = [
    "BLACK",
    "BLUE",
    "FORMAT_LOOKS",
    "GREEN",
    "LIBRARY_LOOKS",
    "ORANGE",
    "PINK",
    "RED",
    "SETTINGS",
    "SKY",
    "Drawing",
    "Look",
    "save",
]

#: Okabe and Ito's colors, which color-blind readers can distinguish; markers and hatches help too.
BLUE, ORANGE, GREEN, RED, SKY, PINK, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#000000",
)


#: Settings of matplotlib.
SETTINGS: dict[Any, Any] = {
    "font.size": 10,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "trilith",
    "svg.fonttype": "none",
}


@dataclass(frozen=True, kw_only=True)
class Look:
    """Look of one series: color, marker and line, the same in all figures.

    Parameters
    ----------
    color, marker, linestyle : see matplotlib
    """

    color: str
    marker: str
    linestyle: str = "none"


#: Looks of number formats.
FORMAT_LOOKS = {
    "fp32": Look(color=BLACK, marker="v", linestyle="-"),
    "fp16": Look(color=RED, marker="o", linestyle="-"),
    "bf16": Look(color=PINK, marker="P", linestyle="--"),
    "int8": Look(color=ORANGE, marker="s", linestyle="-."),
    "w4a16": Look(color=PINK, marker="^", linestyle=":"),
    "ternary-2.0": Look(color=SKY, marker="d", linestyle="--"),
    "ternary-1.6": Look(color=BLUE, marker="D", linestyle="-"),
    "binary": Look(color=GREEN, marker="*", linestyle=":"),
}


#: Looks of cell libraries, the finest process first.
LIBRARY_LOOKS = {
    "gt2n": Look(color=GREEN, marker="^"),
    "asap7": Look(color=BLUE, marker="D"),
    "ihp-sg13g2": Look(color=ORANGE, marker="s"),
    "sky130hd": Look(color=PINK, marker="P"),
    "osu018": Look(color=RED, marker="o"),
}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure with its numbers.

    Parameters
    ----------
    figure : the figure, drawn
    rows : the plotted numbers, one dictionary per point
    title : the subject of the figure
    caption : the origin of every number
    """

    figure: Figure
    rows: list[dict[str, Any]]
    title: str
    caption: str


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


def save(drawing: Drawing, stem: Path) -> list[Path]:
    """Write a drawing with its caption as PNG and SVG, and its numbers as CSV."""
    drawing.figure.suptitle(drawing.title, fontweight="bold")
    drawing.figure.supxlabel(
        _wrapped(drawing.caption, drawing.figure), fontsize=8, color="#444444", x=0.01, ha="left"
    )
    png, svg, table = (stem.with_suffix(ending) for ending in (".png", ".svg", ".csv"))
    drawing.figure.savefig(png, dpi=130, metadata={"Software": None})
    drawing.figure.savefig(svg, metadata={"Date": None, "Creator": None})
    table.write_text(_csv(drawing.rows), encoding="utf-8")
    return [png, svg, table]

"""All figures, and a page with the figures and their numbers."""

import base64
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl

from ...golden.files import new_files
from ..html import HtmlTable
from .core import CORE_FIGURES
from .energy import ENERGY_FIGURES
from .gate import GATE_FIGURES
from .page import report_page
from .placed import PLACED_FIGURES
from .published import draw_mac_energies
from .style import FIGURE_ENDS, SETTINGS, Drawing, image, save
from .throughput import THROUGHPUT_FIGURES
from .token import TOKEN_FIGURES

__all__ = ["FIGURES", "draw"]

#: Figures by file name, under the heads of the page.
_GROUPS: dict[str, dict[str, Callable[[], Drawing]]] = {
    "Energy at gate level": {**GATE_FIGURES, **PLACED_FIGURES},
    "Energy of products and tokens": ENERGY_FIGURES,
    "Figures of the token core": {**CORE_FIGURES, **TOKEN_FIGURES},
    "Speed": THROUGHPUT_FIGURES,
    "Designs of others": {"published_macs": draw_mac_energies},
}

#: Figures by file name.
FIGURES: dict[str, Callable[[], Drawing]] = {
    name: figure for figures in _GROUPS.values() for name, figure in figures.items()
}


def draw(folder: Path, names: Iterable[str] = FIGURES, *, force: bool = False) -> list[Path]:
    """Draw figures as PNG, SVG and CSV, and ``report.html`` with those that are drawn.

    Parameters
    ----------
    folder : where the files are written; it is made where there is none
    names : keys of ``FIGURES``; with all of them the page also has the tables of ``report_page``
    force : replace files that exist

    Returns
    -------
    The files, the page last.

    Raises
    ------
    OutputError
        If a name is refused, see ``check_outputs``.
    """
    names = list(names)
    files = [folder / f"{name}.{end}" for name in names for end in FIGURE_ENDS]
    files.append(folder / "report.html")
    groups: dict[str, list[dict[str, Any]]] = {}
    with new_files(files, force=force) as making, mpl.rc_context(SETTINGS):
        for head, figures in _GROUPS.items():
            drawn = [_draw(making, name) for name in names if name in figures]
            if drawn:
                groups[head] = drawn
        page = report_page(groups, whole=set(names) == set(FIGURES))
        (making / "report.html").write_text(page, encoding="utf-8")
    return files


def _draw(folder: Path, name: str) -> dict[str, Any]:
    """Draw a figure into a folder, and return what the page has of it."""
    drawing = FIGURES[name]()
    # The page has title and caption as text.
    png = base64.b64encode(image(drawing)).decode()
    save(drawing, folder / name)
    return {
        "name": name,
        "title": drawing.title,
        "caption": drawing.caption,
        "png": png,
        "rows": HtmlTable.of(drawing.rows),
    }

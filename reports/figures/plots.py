"""All figures of ``make plots``, and a page with the figures and their numbers."""

import base64
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import matplotlib as mpl

from ...golden.files import new_files
from ...sim.cost.designs import DESIGNS
from ...sim.cost.memories import find_memory
from ...sim.cost.model_shapes import MODELS
from ...sim.cost.profiles import find_profile
from ...sim.cost.system import estimate
from ..claims import QUALITY, claims
from ..html import HtmlTable, html_page
from .core import CORE_FIGURES
from .energy import ENERGY_FIGURES
from .gate import GATE_FIGURES
from .placed import PLACED_FIGURES
from .published import draw_mac_energies
from .style import FIGURE_ENDS, SETTINGS, Drawing, image, save
from .throughput import THROUGHPUT_FIGURES
from .token import TOKEN_FIGURES

__all__ = ["FIGURES", "draw", "main"]

#: Figures by file name.
FIGURES: dict[str, Callable[[], Drawing]] = {
    **ENERGY_FIGURES,
    **THROUGHPUT_FIGURES,
    **CORE_FIGURES,
    "published_macs": draw_mac_energies,
    **GATE_FIGURES,
    **PLACED_FIGURES,
    **TOKEN_FIGURES,
}


def draw(folder: Path, names: Iterable[str] = FIGURES, *, force: bool = False) -> list[Path]:
    """Draw figures as PNG, SVG and CSV, and ``report.html`` with those that are drawn.

    Parameters
    ----------
    folder : where the files are written; it is made where there is none
    names : keys of ``FIGURES``
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
    figures = []
    with new_files(files, force=force) as making, mpl.rc_context(SETTINGS):
        for name in names:
            drawing = FIGURES[name]()
            # The page has title and caption as text.
            png = base64.b64encode(image(drawing)).decode()
            save(drawing, making / name)
            figures.append(
                {
                    "name": name,
                    "title": drawing.title,
                    "caption": drawing.caption,
                    "png": png,
                    "rows": HtmlTable.of(drawing.rows),
                }
            )
        (making / "report.html").write_text(_page(figures), encoding="utf-8")
    return files


def _page(figures: list[dict[str, Any]]) -> str:
    """Fill the page's template."""
    checked = [
        {
            "claim": row.claim,
            "verdict": row.verdict,
            "figure": row.figure,
            "how": f"{row.label}: {row.how}",
        }
        for row in claims()
    ]
    quality = [{"model": name, "mean score, %": score} for name, score in QUALITY.items()]
    return html_page(
        "report.html.jinja",
        "Trilith: cycles, energy and claims",
        estimates=HtmlTable.of(_estimates()),
        claims=HtmlTable.of(checked),
        quality=HtmlTable.of(quality),
        figures=figures,
    )


def _estimates() -> list[dict[str, Any]]:
    """Estimate a token of 2B4T in four formats, with as many MACs each."""
    design = DESIGNS["array-1024"]
    rivals: dict[str, Any] = {"config": None, "macs_per_cycle": design.full_rate, "rows": 16}
    rows = []
    for name in ("ternary-1.6", "fp16", "int8", "w4a16"):
        result = estimate(
            MODELS["bitnet-2b4t"],
            design if name == "ternary-1.6" else replace(design, weight_format=name, **rivals),
            find_memory("lpddr5"),
            profile=find_profile("jouppi7"),
        )
        rows.append(
            {
                "weights": name,
                "tokens per second": result.tokens_per_second,
                "mJ per token": (result.joules_per_token or inf) * 1e3,
                "bound": result.bound,
            }
        )
    return rows


def main() -> None:
    """Draw all figures into ``reports/figures``."""
    for file in draw(Path(__file__).parent, force=True):
        print(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


if __name__ == "__main__":
    main()

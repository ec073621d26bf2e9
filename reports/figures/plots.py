"""All figures of ``make plots``, and a page with the figures and their numbers."""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import matplotlib as mpl

from ...golden.files import new_files
from ...golden.templates import render
from ...sim.cost.designs import DESIGNS
from ...sim.cost.memories import find_memory
from ...sim.cost.model_shapes import MODELS
from ...sim.cost.profiles import find_profile
from ...sim.cost.system import estimate
from ..claims import QUALITY, claims
from .core import CORE_FIGURES
from .energy import ENERGY_FIGURES
from .gate import GATE_FIGURES
from .placed import PLACED_FIGURES
from .published import draw_mac_energies
from .style import FIGURE_ENDS, SETTINGS, Drawing, save
from .throughput import THROUGHPUT_FIGURES
from .token import TOKEN_FIGURES

__all__ = ["FIGURES", "draw", "main"]

#: Figures by file name.
FIGURES: dict[str, Callable[[], Drawing]] = {
    **ENERGY_FIGURES,
    **THROUGHPUT_FIGURES,
    **CORE_FIGURES,
    "measured": draw_mac_energies,
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
            save(drawing, making / name)
            figures.append(
                {
                    "name": name,
                    "title": drawing.title,
                    "caption": drawing.caption,
                    "png": base64.b64encode((making / f"{name}.png").read_bytes()).decode(),
                    "rows": _table(drawing.rows),
                }
            )
        (making / "report.html").write_text(_page(figures), encoding="utf-8")
    return files


def _table(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Make the names and the texts of a table of the page."""
    names = list(dict.fromkeys(name for row in rows for name in row))

    def text(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)

    return {"names": names, "cells": [[text(row.get(name)) for name in names] for row in rows]}


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
    return render(
        __package__ or "",
        "report.html.jinja",
        estimates=_table(_estimates()),
        claims=_table(checked),
        quality=_table(quality),
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

"""The page ``report.html``: figures with their numbers, and tables that no figure has."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from ...sim.cost.comparison import Equal, rival
from ...sim.cost.designs import DESIGNS
from ...sim.cost.memories import find_dram, find_memory
from ...sim.cost.model_shapes import MODELS
from ...sim.cost.profiles import find_profile
from ...sim.cost.system import estimate
from ...sim.cost.token_energy import MACHINES, token_energy
from ...sim.gatelevel.core_table import load_core_table
from ...sim.gatelevel.table import load_table
from ..claims import QUALITY, claims
from ..fpga import board_rows
from ..html import HtmlTable, html_page
from ..published import published_figures
from . import core

__all__ = ["report_page"]

#: Contexts of the tables of the token core.
_CONTEXTS = (64, 512, 4096)


def report_page(groups: Mapping[str, Sequence[Mapping[str, Any]]], *, whole: bool) -> str:
    """Fill the page.

    Parameters
    ----------
    groups : figures by the head that they stand under; each has ``name``, ``title``, ``caption``,
        ``png`` in base 64, and ``rows``, a ``HtmlTable``
    whole : also give an estimate, the claims, the boards and the token core as tables
    """
    return html_page(
        "report.html.jinja",
        "Trilith: cycles, energy and claims",
        groups=groups,
        tables=_tables() if whole else {},
    )


def _tables() -> dict[str, HtmlTable]:
    """Make the tables by their names in the template."""
    rows = {
        "estimates": _estimates(),
        "claims": [
            {
                "claim": row.claim,
                "verdict": row.verdict,
                "figure": row.figure,
                "how": f"{row.label}: {row.how}",
            }
            for row in claims()
        ],
        "quality": [{"model": name, "mean score, %": score} for name, score in QUALITY.items()],
        "boards": _boards(),
        "published_boards": [
            {"design": one.design, "figure": one.figure, "what": one.what, "source": one.source}
            for one in published_figures("board")
        ],
        "core_cycles": _core_cycles(),
        "token_energy": _token_energy(),
    }
    return {name: HtmlTable.of(some) for name, some in rows.items()}


def _estimates() -> list[dict[str, Any]]:
    """Estimate a token of 2B4T in four formats with as many MACs, as ``trilith estimate`` does."""
    design, model, memory = DESIGNS["array-1024"], MODELS["bitnet-2b4t"], find_memory("lpddr5")
    profile, k = find_profile("jouppi7"), model.widest_k
    rivals = [
        rival(design, name, mode=Equal.MACS, k=k, profile=profile)[1]
        for name in ("fp16", "int8", "w4a16")
    ]
    rows = []
    for one in (design, *rivals):
        result = estimate(model, one, memory, profile=profile)
        rows.append(
            {
                "weights": one.number_format.name,
                "head": one.head.name,
                "cache, bits": one.kv_bits,
                "tokens per second": result.tokens_per_second,
                "mJ per token": (result.joules_per_token or inf) * 1e3,
                "bound": result.bound,
            }
        )
    return rows


def _boards() -> list[dict[str, Any]]:
    """List the boards of ``trilith report fpga`` with their main figures."""
    return [
        {
            "board": row.title,
            "device": row.device,
            "engine": row.engine,
            "MACs per cycle": row.macs,
            "logic cells": row.logic,
            "flip-flops": row.flip_flops,
            "MHz, routed": row.measured["mhz"] if row.measured else None,
            "clock, MHz": row.clock_mhz,
            "GMAC/s, full rate": row.gmacs_full,
            "small model, tokens/s": row.model_tokens,
            "2B4T from DRAM, tokens/s": row.big_memory_tokens,
        }
        for row in board_rows()
    ]


def _core_cycles() -> list[dict[str, Any]]:
    """List the cycles of a token of 2B4T in the token core by context and part, in millions."""
    rows = []
    for context in _CONTEXTS:
        parts = core.shown(core.CONFIG, context)
        total = sum(parts.values())
        rows.append({"context": context, "all": total, **parts, "tokens/s at 1 GHz": 1e3 / total})
    return rows


def _token_energy() -> list[dict[str, Any]]:
    """List the energy of a token of 2B4T by machine and context, in mJ."""
    measured = load_core_table("asap7"), load_table("asap7")
    rows = []
    for machine in MACHINES.values():
        for context in _CONTEXTS:
            one = token_energy(machine, *measured, find_dram("lpddr5"), context=context)
            rows.append(
                {
                    "machine": machine.label,
                    "context": context,
                    "logic and buffers": one.logic_total * 1e3,
                    "LPDDR5": sum(one.dram.values()) * 1e3,
                    "total": one.total * 1e3,
                }
            )
    return rows

"""The part of ``trilith estimate`` that prints the names that it knows."""

from math import inf
from typing import Any

from .output import Column, Table, print_json, print_note

__all__ = ["print_names"]


#: How each is chosen.
_OPTIONS = {
    "designs": "--design NAME",
    "models": "the argument MODEL, or a file of one's own",
    "memories": "--memory NAME",
    "profiles": "--profile NAME",
}


def print_names(*, as_json: bool) -> None:
    """Print designs, models, memories and profiles, one line each.

    Parameters
    ----------
    as_json : print one JSON value instead of text
    """
    tables = {
        "designs": _designs(),
        "models": _models(),
        "memories": _memories(),
        "profiles": _profiles(),
    }
    if as_json:
        print_json(tables)
        return
    for name, rows in tables.items():
        print_note(f"{name}: {_OPTIONS[name]}")
        Table(*_COLUMNS[name]).rows(rows)
        print()
    print_note("boards: 'trilith fpga boards' prints them")


def _designs() -> list[dict[str, Any]]:
    """Designs: engines of this project, token cores, and systems of others."""
    from ..sim.cost.core_designs import CORE_DESIGNS
    from ..sim.cost.designs import DESIGNS

    found = [
        {
            "name": one.name,
            "kind": "ours" if one.ours else "published",
            "engine": str(one.config) if one.config else None,
            "weights": one.number_format.name,
            "macs_per_clock": None if one.full_rate == inf else one.full_rate,
            "clock_mhz": one.clock_mhz,
            "source": one.source,
        }
        for one in DESIGNS.values()
    ]
    return found + [
        {
            "name": core.name,
            "kind": "token core",
            "engine": str(core.config.engine),
            "weights": core.design.number_format.name,
            "macs_per_clock": core.config.engine.macs_per_clock,
            "clock_mhz": core.clock_mhz,
            "source": core.source,
        }
        for core in CORE_DESIGNS.values()
    ]


def _models() -> list[dict[str, Any]]:
    """Models, with their sizes."""
    from ..sim.cost.model_shapes import MODELS

    return [
        {
            "name": one.name,
            "linear_weights": one.linear_weights,
            "parameters": one.parameters,
            "layers": one.layers,
            "hidden": one.hidden,
            "vocabulary": one.vocabulary,
            "source": one.source,
        }
        for one in MODELS.values()
    ]


def _memories() -> list[dict[str, Any]]:
    """Memories, with bandwidth and energy."""
    from ..sim.cost.memories import MEMORIES

    return [
        {
            "name": one.name,
            "alias": one.alias,
            "gb_s": None if one.gigabytes_per_second == inf else one.gigabytes_per_second,
            "pj_per_bit": one.dram and one.dram.pj_per_bit,
            "source": one.source,
        }
        for one in MEMORIES.values()
    ]


def _profiles() -> list[dict[str, Any]]:
    """Energy profiles, with node and boundary."""
    from ..sim.cost.profiles import find_profile, profile_names

    return [
        {
            "name": one.name,
            "node": one.node,
            "kind": "measured" if one.measured else "published",
            "boundary": one.boundary,
        }
        for one in map(find_profile, profile_names())
    ]


def _cut(text: str, width: int) -> str:
    """Shorten a text; ``--json`` has the whole one."""
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _short(key: str, width: int) -> Column:
    """Make the column of a text that is shortened."""
    return Column("meaning", lambda row: _cut(row[key], width), form="<")


def _design_meaning(row: dict[str, Any]) -> str:
    """Engine of a design of this project; source of another one."""
    return _cut(row["source"], 29) if row["kind"] == "published" else f"engine {row['engine']}"


_COLUMNS = {
    "designs": (
        Column("design", "name", 24, "<"),
        Column("kind", "kind", 10, "<"),
        Column("weights", "weights", 12, "<"),
        Column("MACs/cycle", "macs_per_clock", form=".5g"),
        Column("MHz", "clock_mhz", 5, "g"),
        Column(
            "meaning",
            _design_meaning,
            form="<",
        ),
    ),
    "models": (
        Column("model", "name", 15, "<"),
        Column("G weights", lambda row: row["linear_weights"] / 1e9, form=".3f"),
        Column("layers", "layers"),
        Column("hidden", "hidden"),
        Column("vocabulary", "vocabulary"),
        _short("source", 44),
    ),
    "memories": (
        Column("memory", "name", 19, "<"),
        Column("or", lambda row: row["alias"] or "", 6, "<"),
        Column("GB/s", "gb_s", 6, "g"),
        Column("pJ/bit", "pj_per_bit", 6, ".3g"),
        _short("source", 55),
    ),
    "profiles": (
        Column("profile", "name", 16, "<"),
        Column("kind", "kind", 9, "<"),
        Column("node", "node", 38, "<"),
        _short("boundary", 31),
    ),
}

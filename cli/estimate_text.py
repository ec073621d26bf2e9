"""Rows, tables and assumptions of ``trilith estimate``."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from math import inf
from typing import TYPE_CHECKING, Any

from .output import Column, Table, print_note

if TYPE_CHECKING:
    from ..sim.cost.designs import Design
    from ..sim.cost.model_file import ModelFile
    from ..sim.cost.profiles import Figure
    from ..sim.cost.system import Estimate
    from ..sim.cost.technology import Technology

__all__ = [
    "energies",
    "figure_rows",
    "figure_texts",
    "file_texts",
    "money",
    "price_texts",
    "print_estimates",
    "row",
]

#: Parts of the time of a step, see ``Estimate``.
_TIMES = ("linear_compute", "linear_memory", "attention", "head", "vector", "calls", "fixed")


def file_texts(file: "ModelFile | None") -> dict[str, str]:
    """Facts of a model's own file, as assumptions."""
    if file is None:
        return {}
    texts = {name: f"{fact}, from {file.path}" for name, fact in file.facts.items()}
    if file.linears and file.zero_fraction is None:
        texts["zeros"] += "; the estimate takes the shapes, and the design's format of weights"
    return texts


def figure_texts(figures: "dict[str, Figure]") -> list[tuple[str, str]]:
    """Facts of the energies that were used."""
    return [
        ("figure", f"{name}: {one.pj:.4g} pJ ({one.label}: {one.source})")
        for name, one in figures.items()
    ]


def figure_rows(figures: "dict[str, Figure]") -> list[dict[str, Any]]:
    """JSON objects of the energies that were used."""
    return [{"figure": name, **asdict(one)} for name, one in figures.items()]


def money(
    technology: "Technology", tokens_per_second: float, joules_per_token: float | None
) -> dict[str, float]:
    """Return what tokens cost, as far as the technology has prices.

    Parameters
    ----------
    technology : has the prices, or none
    tokens_per_second, joules_per_token : of the first design
    """
    found, price = {}, technology.price
    if price and price.usd_per_machine:
        found["tokens_per_second_per_usd"] = tokens_per_second / price.usd_per_machine
    if price and price.usd_per_kwh and joules_per_token:
        found["usd_of_energy_per_million_tokens"] = joules_per_token / 3.6 * price.usd_per_kwh
    return found


def price_texts(technology: "Technology", costs: dict[str, float]) -> list[tuple[str, str]]:
    """Facts of what tokens cost, see ``money``."""
    texts = {
        "tokens_per_second_per_usd": "tokens per second and USD of the machine",
        "usd_of_energy_per_million_tokens": "USD of energy for a million tokens, dynamic only",
    }
    source = technology.price.source if technology.price else ""
    return [("price", f"{cost:.4g} {texts[name]} ({source})") for name, cost in costs.items()]


def _energy_key(ours: bool) -> str:
    """Return the key of the energy of a token in JSON."""
    return "joules_per_token" if ours else "arithmetic_and_memory_lower_bound_joules_per_token"


def energies(result: Any) -> dict[str, float] | None:
    """Energy of a step by part in pJ; None without a profile.

    Parameters
    ----------
    result : an ``Estimate`` or a ``CoreEstimate``
    """
    if result.parts is None:
        return None
    return {**asdict(result.parts), "attention": result.attention_pj}


def row(design: "Design", result: "Estimate") -> dict[str, Any]:
    """JSON object of a design's estimate."""
    return {
        "design": design.name,
        "weights": design.number_format.name,
        "weight_bits": design.number_format.weight_bits,
        "head": design.head.name,
        "head_bits": design.head.weight_bits,
        "cache_bits": design.kv_bits,
        "attention": design.attention_format,
        "macs_per_clock": None if design.full_rate == inf else design.full_rate,
        "clock_mhz": design.clock_mhz,
        "tokens_per_second": result.tokens_per_second,
        _energy_key(design.ours): result.joules_per_token,
        "bound": result.bound,
        "tokens_per_step": result.work.tokens,
        "seconds_per_step": result.seconds,
        "seconds_per_step_by_part": {name: getattr(result, name) for name in _TIMES},
        "linear_cycles_per_step": result.cycles,
        "weight_bytes_per_step": result.weight_bytes,
        "kv_bytes_per_step": result.kv_bytes,
        "energy_pj_per_step": energies(result),
    }


def print_estimates(rows: "Sequence[tuple[Design, Estimate]]") -> None:
    """Print the tables of rates, times and energies.

    Parameters
    ----------
    rows : designs and their estimates
    """
    from ..sim.cost.designs import LOWER_BOUND

    ours = rows[0][0].ours
    energy = Column("mJ/token" if ours else "lower bound, mJ/token", _total, form=".3f")
    Table(*_RATES, *(_CYCLES if ours else ()), energy).rows(rows)
    print_note("\nms of a step")
    Table(_DESIGN, *_PARTS).rows(rows)
    print_note("\nmJ/token" if ours else f"\n{LOWER_BOUND}, mJ/token")
    Table(_DESIGN, *_ENERGIES).rows(rows)
    print()


def _total(cells: "tuple[Design, Estimate]") -> float | None:
    joules = cells[1].joules_per_token
    return None if joules is None else joules * 1e3


def _ms(name: str) -> Callable[[tuple[Any, Any]], float]:
    """Make the cell of one of the times of an estimate."""
    return lambda cells: 1e3 * getattr(cells[1], name)


def _mj(part: str) -> Callable[[tuple[Any, Any]], float | None]:
    """Make the cell of one of the energies of an estimate."""

    def cell(cells: tuple[Any, Any]) -> float | None:
        found = energies(cells[1])
        return None if found is None else found[part] * 1e-9 / cells[1].work.tokens

    return cell


_DESIGN = Column("design", lambda cells: cells[0].name, 24, "<")
_RATES = (
    _DESIGN,
    Column("weights", lambda cells: cells[0].number_format.name, 12, "<"),
    Column("head", lambda cells: cells[0].head.name, 7, "<"),
    Column("cache", lambda cells: f"{cells[0].kv_bits} bit", 6),
    Column("MACs/cycle", lambda cells: cells[0].full_rate, form=".5g"),
    Column("tokens/s", lambda cells: cells[1].tokens_per_second, 8, ".2f"),
)
_CYCLES = (Column("kcycles", lambda cells: cells[1].cycles / 1e3, 8, ".1f"),)
_PARTS = (
    Column("bound", lambda cells: cells[1].bound, 16, "<"),
    Column("compute", _ms("linear_compute"), 8, ".3f"),
    Column("weights", _ms("linear_memory"), 8, ".3f"),
    Column("attention", _ms("attention"), form=".3f"),
    Column("head", _ms("head"), 7, ".3f"),
    Column("vector", _ms("vector"), 7, ".3f"),
    Column("calls", _ms("calls"), 7, ".3f"),
)
_ENERGIES = (
    Column("MAC", _mj("mac"), 9, ".3g"),
    Column("register", _mj("register"), 9, ".3g"),
    Column("SRAM", _mj("sram"), 9, ".3g"),
    Column("weights", _mj("dram"), 9, ".3g"),
    Column("attention", _mj("attention"), 9, ".3g"),
)

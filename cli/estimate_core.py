"""The part of ``trilith estimate`` that is for token cores."""

from collections.abc import Callable
from dataclasses import asdict
from math import inf
from typing import TYPE_CHECKING, Any

from .estimate_text import energies, figure_rows, figure_texts, money, price_texts
from .output import Column, Table, print_facts, print_json, print_note, status

if TYPE_CHECKING:
    from ..sim.cost.core_designs import CoreDesign
    from ..sim.cost.core_system import CoreEstimate
    from ..sim.cost.memories import Memory
    from ..sim.cost.technology import Technology
    from ..sim.cost.workload import ModelShape

__all__ = ["print_core"]


def print_core(
    shape: "ModelShape",
    core: "CoreDesign",
    memory: "Memory",
    technology: "Technology",
    context: int,
    facts: dict[str, str],
    as_json: bool,
) -> None:
    """Estimate a token on a token core, and print it.

    Parameters
    ----------
    shape, core, memory, context : as in ``estimate_core``
    technology : has the energy profile
    facts : assumptions on the model and the memory
    as_json : print one JSON value instead of text
    """
    from ..sim.cost.core_system import estimate_core
    from ..sim.cost.provenance import used_figures

    profile = technology.profile
    with status("following the token in the cycle model"):
        result = estimate_core(shape, core, memory, context=context, profile=profile)
    facts = facts | _assumptions(core, memory, technology, context)
    used = used_figures(shape, [core.design], memory, profile)
    costs = money(technology, result.tokens_per_second, result.joules_per_token)
    if as_json:
        published = [asdict(one) for one in core.published]
        print_json(
            {
                "rows": [_row(core, result)],
                "assumptions": facts,
                "figures": figure_rows(used),
                "price": technology.price and {**asdict(technology.price), **costs},
                "published": published,
            }
        )
        return
    Table(*_COLUMNS).row((core, result))
    print_note("\nms of the token")
    Table(*_PARTS).row(result)
    print()
    print_facts(
        [
            *_amounts(result),
            *facts.items(),
            *figure_texts(used),
            *price_texts(technology, costs),
            *(
                (
                    "published",
                    f"{one.rate:g} tokens/s at a context of {one.context}, measured by others: "
                    f"{one.conditions} ({one.source})",
                )
                for one in core.published
            ),
        ]
    )


def _amounts(result: "CoreEstimate") -> list[tuple[str, str]]:
    """Cycles and bytes by part, and the parts that wait for the memory."""
    from ..sim.cost.core.core import PARTS

    cycles, read = result.cycles.by_part, result.cycles.bytes_by_part
    waiting = ", ".join(result.waiting) or "none"
    return [
        ("cycles", ", ".join(f"{part} {cycles[part]}" for part in PARTS)),
        ("bytes", ", ".join(f"{part} {read[part]}" for part in PARTS if read[part])),
        ("waiting", f"parts whose bytes take longer than their cycles: {waiting}"),
    ]


def _assumptions(
    core: "CoreDesign", memory: "Memory", technology: "Technology", context: int
) -> dict[str, str]:
    """Inputs of an estimate, with their sources."""
    config, rate = core.config, memory.gigabytes_per_second
    bandwidth, port = core.bandwidth(memory), "weight" if config.head_on_weights else "memory"
    return {
        "step": f"a token of one sequence at context {context}",
        "design": f"token core {config} at {core.clock_mhz:g} MHz, embedding, head and cache in "
        f"int8, rows of the head through the {port} port ({core.source})",
        "cycle model": "equal to the RTL for one layer and few rows of the head; further layers "
        "and rows count as the last of these; latency of the memory is not included",
        "memory": f"{memory.name} ({memory.source})"
        if rate == inf
        else f"{memory.name}: {rate:g} GB/s ({memory.source}), of which the core gets "
        f"{bandwidth / 1e9:.4g} for weights, head, cache and tables; a part takes its cycles or "
        "its bytes, whichever are longer",
        "energy": f"{technology.text}; dynamic, of matrix products and memory alone; that of "
        "norms, quantizers, rotations, softmax and control was not measured and is not included",
        "label": "modelled",
    }


def _row(core: "CoreDesign", result: "CoreEstimate") -> dict[str, Any]:
    """JSON object of a core's estimate."""
    engine = core.config.engine
    return {
        "design": core.name,
        "core": str(core.config),
        "weights": core.design.number_format.name,
        "weight_bits": core.design.number_format.weight_bits,
        "head": core.design.head.name,
        "head_bits": core.design.head.weight_bits,
        "cache_bits": core.design.kv_bits,
        "attention": core.design.attention_format,
        "macs_per_clock": engine.macs_per_clock,
        "clock_mhz": core.clock_mhz,
        "tokens_per_second": result.tokens_per_second,
        "joules_per_token": result.joules_per_token,
        "bound": result.bound,
        "tokens_per_step": 1,
        "seconds_per_step": result.seconds,
        "seconds_per_step_by_part": result.seconds_by_part,
        "cycles_per_step": result.cycles.cycles,
        "cycles_per_step_by_part": result.cycles.by_part,
        "bytes_per_step_by_part": result.cycles.bytes_by_part,
        "waiting": list(result.waiting),
        "energy_pj_per_step": energies(result),
    }


def _ms(part: str) -> Callable[[Any], float]:
    """Make the cell of the time of a part."""
    return lambda result: 1e3 * result.seconds_by_part[part]


_COLUMNS = (
    Column("design", lambda row: row[0].name, 10, "<"),
    Column("engine", lambda row: str(row[0].config.engine), 7, "<"),
    Column("weights", lambda row: row[0].design.number_format.name, 12, "<"),
    Column("head", lambda row: row[0].design.head.name, 4, "<"),
    Column("cache", lambda row: f"{row[0].design.kv_bits} bit"),
    Column("kcycles", lambda row: row[1].cycles.cycles / 1e3, 8, ".1f"),
    Column("tokens/s", lambda row: row[1].tokens_per_second, form=".2f"),
    Column("mJ/token", lambda row: (row[1].joules_per_token or 0) * 1e3, form=".3f"),
    Column("bound", lambda row: row[1].bound, form="<"),
)
#: The parts ``sim.cost.core.core.PARTS``.
_PARTS = tuple(
    Column(part, _ms(part), 8, ".3f")
    for part in ("products", "head", "attention", "heads", "norms", "results", "sequencing")
)

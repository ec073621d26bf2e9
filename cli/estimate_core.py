"""The part of ``trilith estimate`` that is for token cores."""

from collections.abc import Callable
from dataclasses import asdict
from math import inf
from typing import TYPE_CHECKING, Any

from .output import Column, Table, print_facts, print_json, status

if TYPE_CHECKING:
    from ..sim.cost.core_designs import CoreDesign
    from ..sim.cost.core_system import CoreEstimate
    from ..sim.cost.memories import Memory
    from ..sim.cost.profiles import Profile
    from ..sim.cost.workload import ModelShape

__all__ = ["print_core"]


def print_core(
    shape: "ModelShape",
    core: "CoreDesign",
    memory: "Memory",
    profile: "Profile",
    context: int,
    *,
    as_json: bool,
) -> None:
    """Estimate a token on a token core, and print it.

    Parameters
    ----------
    shape, core, memory, profile, context : as in ``estimate_core``
    as_json : print one JSON value instead of text
    """
    from ..sim.cost.core_system import estimate_core

    with status("following the token in the cycle model"):
        result = estimate_core(shape, core, memory, context=context, profile=profile)
    facts = _assumptions(shape, core, memory, profile, context)
    if as_json:
        published = [asdict(one) for one in core.published]
        print_json({"rows": [_row(core, result)], "assumptions": facts, "published": published})
        return
    Table(*_COLUMNS).row((core, result))
    print_facts(
        [
            *_amounts(result),
            *facts.items(),
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
    shape: "ModelShape",
    core: "CoreDesign",
    memory: "Memory",
    profile: "Profile",
    context: int,
) -> dict[str, str]:
    """Inputs of an estimate, with their sources."""
    config, rate = core.config, memory.gigabytes_per_second
    bandwidth, port = core.bandwidth(memory), "weight" if config.head_on_weights else "memory"
    return {
        "model": f"{shape.name}: {shape.linear_weights / 1e9:.3f} G weights in linear layers, "
        f"{shape.parameters / 1e9:.3f} G in all ({shape.source})",
        "step": f"a token of one sequence at context {context}",
        "design": f"token core {config} at {core.clock_mhz:g} MHz, embedding, head and cache in "
        f"int8, rows of the head through the {port} port ({core.source})",
        "cycle model": "equal to the RTL for one layer and few rows of the head; further layers "
        "and rows count as the last of these; latency of the memory is not included",
        "memory": memory.name
        if rate == inf
        else f"{memory.name}: {rate:g} GB/s, of which the core gets {bandwidth / 1e9:.4g} for "
        "weights, head, cache and tables; a part takes its cycles or its bytes, whichever are "
        "longer",
        "capacity": "not limited" if memory.gigabytes == inf else f"{memory.gigabytes:g} GB",
        "energy": f"{profile.name}: {profile.node}; {profile.boundary}; dynamic, of matrix "
        "products and memory alone; that of norms, quantizers, rotations, softmax and control was "
        "not measured and is not included",
        "label": "modelled",
    }


def _row(core: "CoreDesign", result: "CoreEstimate") -> dict[str, Any]:
    """JSON object of a core's estimate."""
    engine = core.config.engine
    return {
        "design": core.name,
        "core": str(core.config),
        "weights": core.design.number_format.name,
        "macs_per_clock": engine.macs_per_clock,
        "clock_mhz": core.clock_mhz,
        "tokens_per_second": result.tokens_per_second,
        "joules_per_token": result.joules_per_token,
        "bound": result.bound,
        "seconds": result.seconds,
        "seconds_by_part": result.seconds_by_part,
        "cycles": result.cycles.cycles,
        "cycles_by_part": result.cycles.by_part,
        "bytes_by_part": result.cycles.bytes_by_part,
        "waiting": list(result.waiting),
        "energy_pj": {**asdict(result.parts), "attention": result.attention_pj}
        if result.parts
        else None,
    }


def _ms(part: str) -> Callable[[tuple[Any, Any]], float]:
    """Make the cell of the time of a part."""
    return lambda row: 1e3 * row[1].seconds_by_part[part]


#: Columns of a core and its estimate; the last ones are ``sim.cost.core.core.PARTS``.
_COLUMNS = (
    Column("design", lambda row: row[0].name, 10, "<"),
    Column("engine", lambda row: str(row[0].config.engine), 7, "<"),
    Column("kcycles", lambda row: row[1].cycles.cycles / 1e3, 8, ".1f"),
    Column("tokens/s", lambda row: row[1].tokens_per_second, form=".2f"),
    Column("mJ/token", lambda row: (row[1].joules_per_token or 0) * 1e3, form=".3f"),
    Column("bound", lambda row: row[1].bound, 9, "<"),
    Column("ms: products", _ms("products"), form=".3f"),
    *(
        Column(part, _ms(part), 6, ".3f")
        for part in ("head", "attention", "heads", "norms", "results", "sequencing")
    ),
)

"""``trilith energy token``: energy of a generated token by part, for four machines."""

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from .options import JsonOptions, option
from .output import Column, Table, print_facts, print_json

if TYPE_CHECKING:
    from ..sim.cost.token_energy import TokenEnergy
    from ..sim.gatelevel.core_table import CoreTable

__all__ = ["token"]


class _Options(JsonOptions):
    context: int = option(
        512, "Positions that the token attends to, itself included.", min=1, max=4096
    )
    library: str = option("asap7", "Cell library in which a token core was measured.")
    dram: list[str] | None = option(
        None,
        "Memory of weights, head and cache: ddr3 to hbm2e; may be repeated.",
        show_default="hbm2e, lpddr5",
    )


def token(options: _Options) -> None:
    """Print the energy of a token of BitNet b1.58 2B4T by part, for four machines.

    The machines are built from the parts of the token core, and differ in number formats: ternary
    weights, W4A16, INT8 and FP16. Each has a head and a cache in a format of its own. Products are
    the gate-level units of 'trilith energy mac', the best of each format in a common shape. Other
    logic is that of a whole token core, whose netlist ran a token of the stored language model
    (measured). Energies of buffers and of DRAM are published, per bit. Sums are modelled.
    Not included: wires, clock tree, glitches, and the leakage of logic and memories. A part has a
    clock only while it is busy; the facts below the tables say what its clock takes without gates.

    Examples:
      trilith energy token

      trilith energy token --context 4096 --dram lpddr5 --json
    """
    from ..sim.cost.memories import find_dram
    from ..sim.cost.token_energy import ASSUMPTIONS, CORE, MACHINES, MODEL, idle_clock, token_energy
    from ..sim.gatelevel.core_table import load_core_table
    from ..sim.gatelevel.table import load_table

    core, table = load_core_table(options.library), load_table(options.library)
    memories = {name: find_dram(name) for name in options.dram or ("hbm2e", "lpddr5")}
    found = {
        name: [
            token_energy(machine, core, table, dram, context=options.context)
            for machine in MACHINES.values()
        ]
        for name, dram in memories.items()
    }
    cycles, idle = idle_clock(core, context=options.context)
    first = next(iter(found.values()))
    if options.as_json:
        print_json(
            {
                "model": MODEL,
                "core": CORE,
                "context": options.context,
                "library": options.library,
                "machines": [_document(found, place) for place in range(len(MACHINES))],
                "dram": {name: asdict(dram) for name, dram in memories.items()},
                "assumptions": {name: asdict(one) for name, one in ASSUMPTIONS.items()},
                "parts": asdict(core),
                "cycles": cycles,
                "idle_clock_j": idle,
                "label": "modelled",
            }
        )
        return
    print(f"Energy of a token of {MODEL} at a context of {options.context}, in {core.node}")
    _print_parts("logic, uJ", [one.logic for one in first], first, 1e6)
    for name, energies in found.items():
        print()
        _print_parts(f"{name}, mJ", [one.dram for one in energies], energies, 1e3)
        totals = ", ".join(f"{one.machine.label} {1e3 * one.total:.4g}" for one in energies)
        ratios = ", ".join(
            f"{one.machine.label} {one.total / energies[0].total:.3g}" for one in energies[1:]
        )
        print_facts([("logic and DRAM, mJ", totals), ("over ternary", ratios)])
    print()
    print_facts(_measured(first, core))
    print_facts(
        [
            (
                "clock",
                f"without gates, idle parts take {1e6 * idle:.4g} uJ more in {cycles} cycles, "
                f"{idle / first[0].logic_total:.1f} times the ternary machine's logic (modelled)",
            ),
            *(
                (name, f"{one.label}; {one.value:g} {one.unit}: {one.source}")
                for name, one in ASSUMPTIONS.items()
            ),
            *(
                (name, f"published; {dram.pj_per_bit:g} pJ per bit, {dram.boundary}; {dram.source}")
                for name, dram in memories.items()
            ),
            *((one.machine.label, one.machine.source) for one in first),
        ]
    )


def _measured(energies: list["TokenEnergy"], core: "CoreTable") -> list[tuple[str, str]]:
    """Facts about the measured figures."""
    unit = energies[0].unit
    best = ", ".join(
        f"{one.machine.label} {one.unit.with_ports_fj:.1f} fJ per MAC" for one in energies
    )
    return [
        ("products", f"measured; {unit.lanes} lanes x {unit.rows} rows: {best}"),
        (
            "other logic",
            f"measured; {core.core}; {core.compared} values of its ports match the RTL",
        ),
        (
            "head's vector",
            f"its reads are {1e6 * energies[0].head_buffer:.3g} uJ of the ternary machine's "
            "buffers, because each serves one row of the head",
        ),
    ]


def _document(found: dict[str, list["TokenEnergy"]], place: int) -> dict[str, Any]:
    """JSON object of a machine."""
    one = next(iter(found.values()))[place]
    return {
        **asdict(one.machine),
        "fj_per_mac": one.unit.with_ports_fj,
        "lanes": one.unit.lanes,
        "rows": one.unit.rows,
        "logic_j": one.logic,
        "logic_total_j": one.logic_total,
        "head_buffer_j": one.head_buffer,
        "dram_bytes": one.dram_bytes,
        "dram_j": {name: energies[place].dram for name, energies in found.items()},
        "total_j": {name: energies[place].total for name, energies in found.items()},
    }


def _print_parts(
    title: str, parts: list[dict[str, float]], energies: list["TokenEnergy"], factor: float
) -> None:
    """Print parts by machine, and their sum."""
    rows = [(part, [one[part] * factor for one in parts]) for part in parts[0]]
    rows.append(("sum", [sum(one.values()) * factor for one in parts]))

    def value(place: int, row: tuple[str, list[float]]) -> float:
        return row[1][place]

    Table(
        Column(title, 0, 14, "<"),
        *(
            Column(one.machine.label, partial(value, place), 9, ",.4g")
            for place, one in enumerate(energies)
        ),
    ).rows(rows)

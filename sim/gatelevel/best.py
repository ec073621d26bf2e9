"""Best measured unit of each number format: the comparison that the tables are for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .rivals import FURTHER_OPERANDS, RIVALS
from .systolic_energy import TERNARY_SYSTOLIC, SystolicEnergy
from .table import METHOD, Characterization, Table

__all__ = ["COMPARED_CODES", "Best", "SystolicBeside", "best", "systolic_beside"]

#: Codes of ternary weights that others are divided by.
COMPARED_CODES = ("sherry", "escape", "base3")


@dataclass(frozen=True, kw_only=True)
class Best:
    """Best unit of a format at a clock, in fJ per MAC.

    Parameters
    ----------
    format : key of ``RIVALS``
    unit, lanes, rows, levels_per_stage, variant, operands, clock_ghz : see ``Characterization``
    flip_flops : flip-flops per MAC
    energy_fj, with_ports_fj : energy of cells, and with the charge of ports
    over : ``with_ports_fj`` over that of the best ternary unit, by its code; None if there is none
    placed_fj : with ports, wires and clock tree; None if the unit was not placed
    placed_over_escape : ``placed_fj`` over that of the best ternary unit with the code ``escape``
    """

    format: str
    unit: str
    lanes: int
    rows: int
    levels_per_stage: int
    variant: str
    operands: str
    clock_ghz: float
    flip_flops: float
    energy_fj: float
    with_ports_fj: float
    over: Mapping[str, float | None]
    placed_fj: float | None
    placed_over_escape: float | None


def best(table: Table) -> list[Best]:
    """List the best units: at the common clock first, then at others, in rows, and on operands.

    Parameters
    ----------
    table : measured units of a library
    """
    found: dict[tuple[float, int, str], list[Characterization]] = {}
    for shape in _shapes(table):
        clock, rows, operands = shape
        for name in RIVALS:
            row = table.best(name, clock_ghz=clock, rows=rows, operands=operands)
            if row is not None:
                found.setdefault(shape, []).append(row)
    return [_best(table, row) for rows in found.values() for row in rows]


def _shapes(table: Table) -> Iterator[tuple[float, int, str]]:
    """Yield clock, rows and operands of each comparison, the first one first."""
    clock = table.common_clock
    yield clock, 1, "trained"
    for other in table.clocks:
        if other != clock:
            yield other, 1, "trained"
    yield clock, 4, "trained"
    for operands in (*FURTHER_OPERANDS, "2b4t"):
        yield clock, 1, operands


def _best(table: Table, row: Characterization) -> Best:
    """Make the record of a row."""
    ternary = {code: table.best_beside(row, f"ternary {code}") for code in COMPARED_CODES}
    placed, other = row.placed, ternary["escape"] and ternary["escape"].placed
    return Best(
        format=next(name for name, units in RIVALS.items() if row.unit in units),
        unit=row.unit,
        lanes=row.lanes,
        rows=row.rows,
        levels_per_stage=row.levels_per_stage,
        variant=row.variant,
        operands=row.operands,
        clock_ghz=row.clock_ghz,
        flip_flops=row.flip_flops / (row.lanes * row.rows),
        energy_fj=row.energy_fj,
        with_ports_fj=row.with_ports_fj,
        over={
            code: row.with_ports_fj / one.with_ports_fj if one else None
            for code, one in ternary.items()
        },
        placed_fj=placed.energy_fj if placed else None,
        placed_over_escape=placed.energy_fj / other.energy_fj if placed and other else None,
    )


@dataclass(frozen=True, kw_only=True)
class SystolicBeside:
    """Systolic cell beside the best dot product of its format; energies in fJ per MAC with ports.

    Parameters
    ----------
    cell : the cell
    over_ternary : its energy over that of the ternary cell; None if that was not measured
    dot_variant : variant of the dot product, see ``DotConfig``
    dot_fj : energy of the best dot product at the cell's clock; None if none was measured
    over_dot : energy of the cell over ``dot_fj``
    held_fj : energy of the best dot product whose weights stay for eight beats, ``held-weights``
    stale : whether an earlier method has measured the cell, see ``METHOD``
    """

    cell: SystolicEnergy
    over_ternary: float | None
    dot_variant: str
    dot_fj: float | None
    over_dot: float | None
    held_fj: float | None
    stale: bool


def systolic_beside(table: Table) -> list[SystolicBeside]:
    """Set each systolic cell beside the best dot products of its format, with 16 lanes and one row.

    Parameters
    ----------
    table : measured units and cells of a library
    """
    ternary = next((one for one in table.systolic if one.format == TERNARY_SYSTOLIC), None)
    found = []
    for cell in table.systolic:
        clock, energy = cell.clock_ghz, cell.with_ports_fj
        dot = table.best(cell.format, clock_ghz=clock)
        held = table.best(cell.format, clock_ghz=clock, operands="held-weights")
        found.append(
            SystolicBeside(
                cell=cell,
                over_ternary=energy / ternary.with_ports_fj if ternary else None,
                dot_variant=dot.variant if dot else "",
                dot_fj=dot.with_ports_fj if dot else None,
                over_dot=energy / dot.with_ports_fj if dot else None,
                held_fj=held.with_ports_fj if held else None,
                stale=cell.provenance.get("method") != METHOD,
            )
        )
    return found

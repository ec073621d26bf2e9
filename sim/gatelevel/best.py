"""Best measured unit of each number format: the comparison that the tables are for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .rivals import FURTHER_OPERANDS, RIVALS
from .table import Characterization, Table

__all__ = ["COMPARED_CODES", "Best", "best"]

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

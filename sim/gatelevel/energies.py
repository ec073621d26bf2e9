"""Internal energies of cells, as the power tables of Liberty files give them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .liberty import Group

__all__ = ["EnergyGroup", "EnergyTable", "read_energies"]

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class EnergyTable:
    """Internal energy of one transition, over slew and load (``power_lut_template``).

    Parameters
    ----------
    variables : meaning of each axis; a name with ``capacitance`` is a load, all others are slews
    axes : points of the two axes, ascending, in the library's units; an axis without points is a
        constant
    values : energies in the library's unit, the second axis running fastest
    """

    variables: list[str]
    axes: list[list[float]]
    values: list[float]

    def at(self, slew: _Floats, load: _Floats) -> _Floats:
        """Interpolate linearly between points, and extrapolate beyond the first and the last.

        Parameters
        ----------
        slew : float64[n], transition times of the related pin in the library's unit
        load : float64[n], capacitances at the output in the library's unit

        Returns
        -------
        float64[n], energies in the library's unit
        """
        grid = np.array(self.values).reshape([max(len(points), 1) for points in self.axes])
        corners: list[tuple[NDArray[np.intp], _Floats]] = []
        for name, points in zip([*self.variables, "", ""], self.axes, strict=False):
            x = load if "capacitance" in name else slew
            if len(points) < 2:
                corners.append((np.zeros(len(x), np.intp), np.zeros(len(x))))
                continue
            i = np.clip(np.searchsorted(points, x) - 1, 0, len(points) - 2)
            start, end = np.array(points)[i], np.array(points)[i + 1]
            corners.append((i, (x - start) / (end - start)))
        (i, p), (j, q) = corners
        # A constant axis has no next point; the share of that point is zero.
        i1, j1 = (np.minimum(k + 1, size - 1) for k, size in zip((i, j), grid.shape, strict=True))
        return (grid[i, j] * (1 - p) + grid[i1, j] * p) * (1 - q) + (
            grid[i, j1] * (1 - p) + grid[i1, j1] * p
        ) * q


@dataclass(frozen=True, kw_only=True)
class EnergyGroup:
    """An ``internal_power`` group of a pin.

    Parameters
    ----------
    pin : the pin whose transitions take the energy
    related : the input that causes the transition of an output; empty for inputs
    when : the condition under which the group holds, in Liberty's notation; empty if always
    tables : energies of rise and fall, or one for both
    """

    pin: str
    related: str
    when: str
    tables: tuple[EnergyTable, ...]


def _numbers(text: Sequence[str]) -> list[float]:
    """Read the numbers of ``index_1``, ``index_2`` or ``values``."""
    words = " ".join(text).replace(",", " ").replace("\\", " ")
    return [float(word) for word in words.split()]


def read_energies(library: Group) -> list[list[EnergyGroup]]:
    """Read the internal power groups of each cell of a library.

    Parameters
    ----------
    library : the outermost group of a Liberty file

    Returns
    -------
    For each cell, in the order of the file, its groups. Groups of ground pins are left out: Liberty
    gives the same energy for each supply pin.

    Raises
    ------
    KeyError, ValueError
        If a table has no values, or values that are not numbers.
    """
    templates = {
        template.names[0]: [template.get("variable_1"), template.get("variable_2")]
        for kind in ("power_lut_template", "lu_table_template")
        for template in library.all(kind)
    }
    return [_energies(cell, templates) for cell in library.all("cell")]


def _energies(cell: Group, templates: Mapping[str, list[str]]) -> list[EnergyGroup]:
    """Read the internal power groups of a cell, without those of ground pins."""
    ground = {pg.names[0] for pg in cell.all("pg_pin") if "ground" in pg.get("pg_type")}
    return [
        EnergyGroup(
            pin=pin.names[0],
            related=group.get("related_pin"),
            when=group.get("when"),
            tables=tuple(
                EnergyTable(
                    variables=templates.get(table.names[0] if table.names else "", []),
                    axes=[_numbers(table.attributes.get(f"index_{i}", [])) for i in (1, 2)],
                    values=_numbers(table.attributes["values"]),
                )
                for table in group.groups
            ),
        )
        for pin in cell.all("pin")
        for group in pin.all("internal_power")
        if group.get("related_pg_pin") not in ground
    ]

"""Which internal power group of a cell applies to a transition, counted over a simulation.

A group of a Liberty file may hold under a condition on other pins of its cell. The interpreter
counts how often the pin of a group changes together with its related pin, while the condition
holds. No two pins need to be independent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .energies import EnergyGroup
from .liberty import names_in, truth_table
from .library import Cell
from .netlist import Instance, Net, Netlist

__all__ = ["CountedCell", "leave_rest", "list_conditions", "read_shares"]

_Floats = NDArray[np.float64]

#: The values of the pins for which a condition is read when its pin changes, see ``toggles.cpp``.
_BOTH, _BEFORE, _NOW, _CLOCK = range(4)

#: Related pins that are no slot: there is none, or it is the clock.
_NONE, _ALWAYS = -1, -2


@dataclass(frozen=True, kw_only=True)
class CountedCell:
    """All instances of a cell, with the groups that the interpreter counts.

    Parameters
    ----------
    kind : name of the cell
    groups : all groups of the cell, as the library lists them
    order : places of the groups in the order in which they are counted
    scales : float64[groups], turns counts into transitions, in the same order
    nets : int64[instances, groups], the net at the pin of each group; −1 for the clock
    """

    kind: str
    groups: list[EnergyGroup]
    order: list[int]
    scales: _Floats
    nets: NDArray[np.int64]


def leave_rest(groups: Sequence[EnergyGroup], weights: _Floats) -> None:
    """Give a group without a condition what the conditions of its siblings leave.

    Siblings have the same pin and the same related pin. In Liberty, a group without a condition
    holds where none of theirs does.

    Parameters
    ----------
    groups : groups of a cell
    weights : float64[instances, groups], transitions for which the condition of each group holds;
        changed in place
    """
    for place, group in enumerate(groups):
        siblings = [
            other
            for other, one in enumerate(groups)
            if one.when and (one.pin, one.related) == (group.pin, group.related)
        ]
        if siblings and not group.when:
            rest = weights[:, place] - weights[:, siblings].sum(axis=1)
            weights[:, place] = np.maximum(rest, 0)


def list_conditions(
    netlist: Netlist, nets: Mapping[Net, int]
) -> tuple[list[int], list[int], list[CountedCell]]:
    """List the groups of all cells as ``toggles.cpp`` reads them.

    Parameters
    ----------
    netlist : the netlist
    nets : number of each net in the interpreter

    Returns
    -------
    words : the number of cells; then of each cell the number of slots, the pins with their groups,
        the number of instances, and the nets at the slots of each
    tables : truth tables of the conditions, one behind the other
    counted : the cells, in the same order
    """
    kinds: dict[str, list[tuple[str, Instance]]] = {}
    for name, instance in netlist.instances.items():
        kinds.setdefault(instance.cell.name, []).append((name, instance))
    words, tables, counted = [len(kinds)], [], []
    for kind, members in kinds.items():
        cell = members[0][1].cell
        groups = netlist.library.energies(kind)
        slots = [*cell.inputs, *(pin for pin, _ in cell.outputs)]
        at = np.array([[nets[_net(*one, pin)] for pin in slots] for one in members])
        # The clock has no value of a cycle, and an open pin of a gate has none.
        clock = cell.flip_flop.clock if cell.flip_flop else None
        known = [
            pin
            for pin in slots
            if pin != clock and (_state(cell, pin) or all(pin in one.nets for _, one in members))
        ]
        pins = sorted({group.pin for group in groups if group.pin in slots}, key=slots.index)
        words += [len(slots), len(pins)]
        order: list[int] = []
        scales: list[float] = []
        for pin in pins:
            mine = [place for place, group in enumerate(groups) if group.pin == pin]
            mode = _mode(cell, pin)
            words += [slots.index(pin), mode, len(mine)]
            for place in mine:
                group = groups[place]
                names = names_in(group.when)
                used = [name for name in names if name in known]
                others = [name for name in names if name not in known]
                related = _NONE
                if group.related:
                    has_net = group.related in slots and group.related != clock
                    related = slots.index(group.related) if has_net else _ALWAYS
                words += [related, len(tables), len(used), *map(slots.index, used)]
                table = np.array(truth_table(group.when or "1", (*used, *others)))
                tables += table.reshape(-1, 2 ** len(used)).sum(axis=0).tolist()
                order.append(place)
                # Two values count for a transition. The clock has two transitions in a cycle.
                scales.append((2 if mode == _CLOCK else 1) / 2 ** (1 + len(others)))
        words += [len(members), *at.reshape(-1).tolist()]
        columns = [
            np.full(len(members), -1)
            if groups[g].pin == clock
            else at[:, slots.index(groups[g].pin)]
            for g in order
        ]
        counted.append(
            CountedCell(
                kind=kind,
                groups=groups,
                order=order,
                scales=np.array(scales),
                nets=np.array(columns, np.int64).reshape(-1, len(members)).T,
            )
        )
    return words, tables, counted


def read_shares(
    counts: NDArray[np.int64],
    counted: Sequence[CountedCell],
    changes: NDArray[np.int64],
    cycles: int,
) -> dict[str, _Floats]:
    """Compute the share of each group in the transitions of its pin.

    Parameters
    ----------
    counts : int64, of the interpreter: the groups of each instance of each cell
    counted : see ``list_conditions``
    changes : int64, the transitions of each net
    cycles : counted cycles

    Returns
    -------
    For each cell float64[instances, groups] in the order of the netlist and the library. The
    shares of an output add up to 1. A pin that did not change, and an output with a transition
    that no group describes, have NaN.
    """
    shares: dict[str, _Floats] = {}
    place = 0
    for cell in counted:
        size = cell.nets.size
        found = counts[place : place + size].reshape(cell.nets.shape) * cell.scales
        place += size
        totals = np.where(cell.nets < 0, 2 * cycles, changes[cell.nets]).astype(float)
        groups = [cell.groups[g] for g in cell.order]
        leave_rest(groups, found)
        for pin in {group.pin for group in groups if group.related}:
            mine = [i for i, group in enumerate(groups) if group.pin == pin and group.related]
            totals[:, mine] = found[:, mine].sum(axis=1, keepdims=True)
        each = np.full(found.shape, np.nan)
        np.divide(found, totals, out=each, where=totals > 0)
        shares[cell.kind] = np.full((len(each), len(cell.groups)), np.nan)
        shares[cell.kind][:, cell.order] = each
    return shares


def _mode(cell: Cell, pin: str) -> int:
    """Tell when a condition is read: a flip-flop's outputs change by what stood at its inputs."""
    if cell.flip_flop is None:
        return _BOTH
    if pin == cell.flip_flop.clock:
        return _CLOCK
    return _BEFORE if pin in dict(cell.outputs) else _NOW


def _state(cell: Cell, pin: str) -> str:
    """Name the state that an output of a flip-flop shows; empty for every other pin."""
    if cell.flip_flop is None:
        return ""
    states = {cell.flip_flop.state: "state", cell.flip_flop.inverse: "inverse"}
    return states.get(dict(cell.outputs).get(pin, "").strip("() "), "")


def _net(name: str, instance: Instance, pin: str) -> Net:
    """Find the net at a pin; an open output of a flip-flop has that of its state."""
    if pin in instance.nets:
        return instance.nets[pin]
    state = _state(instance.cell, pin)
    return f"{name} {state}" if state else "0"

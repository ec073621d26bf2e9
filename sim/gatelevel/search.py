"""Search for the variant of each number format that takes the least energy at a clock."""

from collections.abc import Sequence

from ...hw.baselines import BASELINES, Choice, DotConfig
from ...hw.baselines.fused import FusedDot
from ...hw.baselines.integers import IntegerDot, TernaryDot
from ...hw.baselines.tree import TreeDot
from .characterize import K_MAX, Task
from .rivals import FURTHER_OPERANDS, RIVALS
from .table import LANES, Table

__all__ = ["best_tasks", "further_tasks", "search_tasks", "variants"]

#: Levels per stage and choices, see ``Choice``, of each kind of unit. Four levels are the whole
#: tree of 16 lanes.
_VARIANTS = {
    IntegerDot: (
        *((levels, "") for levels in (1, 2, 4)),
        *((levels, "no-product") for levels in (1, 2, 4)),
        *((levels, "no-sum") for levels in (2, 4)),
        *((levels, "no-product+no-sum") for levels in (2, 4)),
        (4, "array"),
        (4, "no-sum+array"),
    ),
    TernaryDot: (
        *((levels, "") for levels in (1, 2, 4)),
        *((levels, "no-product") for levels in (1, 2, 4)),
        *((levels, "no-packed") for levels in (2, 4)),
        *((levels, "no-product+no-sum") for levels in (2, 4)),
        (4, "no-sum"),
        (4, "no-packed+no-sum"),
    ),
    FusedDot: (
        (1, ""),
        (4, ""),
        (4, "no-align"),
        (4, "early-maximum"),
        (2, "early-maximum+no-align"),
        (4, "early-maximum+no-align"),
        (4, "early-maximum+no-align+no-normalized"),
        (4, "no-sum+early-maximum+no-align+no-normalized"),
        (4, "carry-save+early-maximum+no-align"),
        (4, "no-product+early-maximum+no-normalized"),
        (4, "no-product+early-maximum+no-align+no-normalized"),
        (4, "no-product+no-sum+early-maximum+no-align+no-normalized"),
    ),
    TreeDot: ((1, ""), (1, "fast-adders")),
}


def variants(unit: str) -> list[DotConfig]:
    """List the variants of a unit that a search measures, with ``LANES`` lanes and one row.

    Parameters
    ----------
    unit : key of ``BASELINES``

    Returns
    -------
    The unit without choices first; only that one for kinds that have none
    """
    found = _VARIANTS.get(BASELINES[unit].kind, ((1, ""),))
    return [_config(levels, variant) for levels, variant in found]


def _config(levels: int, variant: str, *, rows: int = 1) -> DotConfig:
    """Make a configuration of ``LANES`` lanes."""
    choices = variant.split("+") if variant else ()
    return DotConfig(lanes=LANES, k_max=K_MAX, rows=rows, levels_per_stage=levels, choices=choices)


def search_tasks(unit: str | None = None) -> list[Task]:
    """List the tasks of a search: all variants of all units of ``RIVALS``, or of one of them."""
    return [
        Task(unit=one, config=config, sources=("trained",))
        for units in RIVALS.values()
        for one in units
        if unit in (None, one)
        for config in variants(one)
    ]


def best_tasks(
    found: Table, *, count: int, clocks_ghz: Sequence[float] | None = None
) -> list[Task]:
    """List the tasks of the best units of each format at some clocks that a search has found.

    Parameters
    ----------
    found : the table of the search
    count : 1 for the best, 2 for the second, too
    clocks_ghz : clocks in GHz; None for all of the table
    """
    return list(
        dict.fromkeys(
            Task(
                unit=row.unit,
                config=_config(row.levels_per_stage, row.variant),
                sources=("trained",),
            )
            for name in RIVALS
            for clock in (found.clocks if clocks_ghz is None else clocks_ghz)
            for row in found.ranked(name, clock_ghz=clock)[:count]
        )
    )


def further_tasks(found: Table, unit: str | None = None) -> list[Task]:
    """List the tasks of the best of each format at the common clock: more operands, and four rows.

    Parameters
    ----------
    found : the table of the search
    unit : key of ``BASELINES``, to list only its tasks; None lists all
    """
    tasks = []
    for row in filter(None, map(found.best, RIVALS)):
        if unit not in (None, row.unit):
            continue
        levels, variant = row.levels_per_stage, row.variant
        config = _config(levels, variant)
        tasks.append(Task(unit=row.unit, config=config, sources=("trained", *FURTHER_OPERANDS)))
        several = [variant]
        if Choice.PAIR_SUMS in BASELINES[row.unit].kind.CHOICES - {*variant.split("+")}:
            # Only rows can share sums of activations.
            several.append("+".join(filter(None, (variant, Choice.PAIR_SUMS))))
        for one in several:
            four = _config(levels, one, rows=4)
            tasks.append(Task(unit=row.unit, config=four, sources=("trained",)))
    return tasks

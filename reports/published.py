"""Published figures of other designs."""

from dataclasses import dataclass
from pathlib import Path

from ..sim.cost.datafiles import read_data
from ..sim.tools.records import record

__all__ = ["PublishedFigure", "published_figures"]

_FILE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, kw_only=True)
class PublishedFigure:
    """A published figure of another design.

    Parameters
    ----------
    design : name of the design
    figure : the figure, with its unit
    what : what the figure covers
    source : where it is published
    label : ``published``
    """

    design: str
    figure: str
    what: str
    source: str
    label: str = "published"


def published_figures(table: str) -> tuple[PublishedFigure, ...]:
    """Read a table of ``published.toml``.

    Parameters
    ----------
    table : ``lut`` (look-up tables per MAC), ``mac`` (energy of MACs), ``core`` (logic of systems
        that run a token) or ``board`` (whole systems)

    Returns
    -------
    The figures, in the order of the file.

    Raises
    ------
    KeyError
        If there is no such table.
    """
    entries = read_data(_FILE)[table]
    return tuple(record(PublishedFigure, entry, f"{_FILE}: {table}") for entry in entries)

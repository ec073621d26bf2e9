"""Published figures of other designs."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["PublishedFigure", "published_figures"]

_FILE = Path(__file__).parent / "published.toml"


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


@cache
def published_figures(table: str) -> tuple[PublishedFigure, ...]:
    """Read a table of ``published.toml``.

    Parameters
    ----------
    table : ``lut`` (look-up tables per MAC), ``mac`` (energy of MACs) or ``board`` (whole systems)

    Returns
    -------
    The figures, in the order of the file.

    Raises
    ------
    KeyError
        If there is no such table.
    """
    tables = tomllib.loads(_FILE.read_text())
    return tuple(PublishedFigure(**entry) for entry in tables[table])

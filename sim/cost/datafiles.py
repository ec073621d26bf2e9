"""Tables of figures in TOML files, read once."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ..tools.errors import EstimateError

__all__ = ["DATA", "find", "read_data", "read_toml"]

#: Folder of the data files of the cost model.
DATA = Path(__file__).parent / "data"

_Record = TypeVar("_Record")


@cache
def read_data(file: Path) -> dict[str, Any]:
    """Read a data file of this package, once in a process.

    Parameters
    ----------
    file : the file; callers must not change what is returned
    """
    return read_toml(file)


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    EstimateError
        If the file is not TOML.
    OSError
        If the file cannot be read.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EstimateError(f"{file}: must be TOML: {error}") from None


def find(kind: str, name: str, known: Mapping[str, _Record]) -> _Record:
    """Find an entry of a table by its name.

    Parameters
    ----------
    kind : the kind of the entries, for the error
    name : name of the entry
    known : the entries by name

    Raises
    ------
    EstimateError
        If there is no such entry.
    """
    if name not in known:
        raise EstimateError(f"the {kind} must be one of {', '.join(known)}, not {name!r}")
    return known[name]

"""Tables of figures in TOML files, read once and checked."""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from ..tools.errors import EstimateError

__all__ = ["DATA", "find", "read_data", "record"]

#: Folder of the data files of the cost model.
DATA = Path(__file__).parent / "data"

_Record = TypeVar("_Record")


@cache
def read_data(file: Path) -> dict[str, Any]:
    """Read a TOML file, once in a process.

    Parameters
    ----------
    file : the file; callers must not change what is returned

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


def record(kind: type[_Record], values: Mapping[str, Any], where: str) -> _Record:
    """Make a dataclass from an entry of a data file.

    Parameters
    ----------
    kind : the dataclass; its fields name the legal keys, and their types the legal values
    values : the entry
    where : file and entry, for errors

    Returns
    -------
    The dataclass, with the entry's values as they are: an integer stays one where a float is legal.

    Raises
    ------
    EstimateError
        If a key is unknown or missing, or a value has the wrong type.
    """
    known = {field.name: field for field in fields(kind) if field.init}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise EstimateError(
                f"{where}: the key {name!r} is unknown; legal keys are {', '.join(known)}"
            )
    for name, field in known.items():
        if name in values:
            if not _fits(values[name], field.type):
                expected = getattr(field.type, "__name__", str(field.type))
                raise EstimateError(
                    f"{where}: the key {name!r} must be of type {expected}, not {values[name]!r}"
                )
        elif field.default is MISSING and field.default_factory is MISSING:
            raise EstimateError(f"{where}: the key {name!r} is missing; add it")
    return kind(**values)


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


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a value is of a field's type; an integer is a legal float."""
    if isinstance(kind, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if kind is float:
        return type(value) in (int, float)
    if kind is int:
        return type(value) is int
    return isinstance(value, get_origin(kind) or kind)

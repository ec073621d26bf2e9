"""Dataclasses from entries of files of figures, whose keys and types are checked."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from math import inf, isnan
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from .errors import EstimateError

__all__ = ["finite", "record", "records"]

_Record = TypeVar("_Record")


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


def records(
    kind: type[_Record], entries: Iterable[Mapping[str, Any]], where: str
) -> tuple[_Record, ...]:
    """Make dataclasses from a list of entries, whose numbers must be finite.

    Parameters
    ----------
    kind : the dataclass, see ``record``
    entries : the entries
    where : file and list, for errors

    Raises
    ------
    EstimateError
        If ``record`` or ``finite`` refuses an entry.
    """
    places = ((f"{where}: {place}", one) for place, one in enumerate(entries))
    return tuple(finite(record(kind, one, place), place) for place, one in places)


def finite(found: _Record, where: str) -> _Record:
    """Refuse a dataclass in which a number, or a number of a dictionary, is infinite.

    Parameters
    ----------
    found : the dataclass
    where : file and entry, for errors

    Raises
    ------
    EstimateError
        If there is such a number.
    """
    for name, value in vars(found).items():
        numbers = value.values() if isinstance(value, dict) else [value]
        if inf in numbers or -inf in numbers:
            raise EstimateError(f"{where}: the key {name!r} must be finite; measure it again")
    return found


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a value is of a field's type; an integer is a legal float, NaN is none."""
    if isinstance(kind, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if kind is Any:
        return True
    if kind is float:
        return type(value) in (int, float) and not isnan(value)
    if kind is int:
        return type(value) is int
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        return isinstance(value, dict) and all(_fits(one, inner) for one in value.values())
    return isinstance(value, get_origin(kind) or kind)

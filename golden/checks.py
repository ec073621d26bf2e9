"""Checks of parameters. Every message has one form: the name, the rule, the value found."""

import math
import sys
from collections.abc import Iterable
from numbers import Real
from operator import index
from typing import Any, SupportsIndex, TypeGuard, TypeVar

from .input_files import shown

__all__ = [
    "check_array",
    "check_choice",
    "check_flag",
    "check_integer",
    "check_kind",
    "check_number",
    "first_place",
]

#: Largest integer of NumPy, and of all sizes of arrays.
_MOST = 2**63 - 1

_Value = TypeVar("_Value", bound=str | int)


def _is_flag(value: object) -> bool:
    """Whether a value is a truth value. NumPy's type can only occur where NumPy is loaded."""
    numpy = sys.modules.get("numpy")
    return isinstance(value, bool) or (numpy is not None and isinstance(value, numpy.bool_))


def _is_integer(value: object) -> TypeGuard[SupportsIndex]:
    """Whether a value has an integer type. A check of the protocol is slow, and rarely needed."""
    return type(value) is int or (not _is_flag(value) and isinstance(value, SupportsIndex))


def check_integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """Check an integer, and return it as an ``int``.

    Parameters
    ----------
    name : the parameter's name, for the message
    value : of any integer type, those of NumPy included; a truth value is not an integer here
    low, high : smallest and largest legal value; without ``high`` the largest is 2⁶³ − 1

    Raises
    ------
    TypeError
        If the value is not an integer.
    ValueError
        If the value is smaller than ``low`` or larger than ``high``.
    """
    if not _is_integer(value):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    number = index(value)
    if not low <= number <= (_MOST if high is None else high):
        rule = f"from {low} to {high}"
        if high is None:
            rule = f"at least {low}" if number < low else "at most 2**63 - 1"
        raise ValueError(f"{name} must be {rule}, not {shown(number)}")
    return number


def check_number(name: str, value: object, low: float, high: float = math.inf) -> float:
    """Check a real number, and return it as a ``float``.

    Parameters
    ----------
    name : the parameter's name, for the message
    value : of any real type, those of NumPy included; a truth value is not a number here
    low, high : smallest and largest legal value; infinity is legal without ``high``

    Raises
    ------
    TypeError
        If the value is not a real number.
    ValueError
        If the value is not a number (NaN), smaller than ``low`` or larger than ``high``.
    """
    if _is_flag(value) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:  # An integer may be too large.
        number = math.nan
    if not low <= number <= high:
        rule = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        raise ValueError(f"{name} must be {rule}, not {shown(value)}")
    return number


def check_kind(name: str, value: object, kind: type) -> None:
    """Check that a value is of a class.

    Parameters
    ----------
    name : the parameter's name, for the message
    value : any
    kind : the class

    Raises
    ------
    TypeError
        If it is not.
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name} must be {article} {kind.__name__}, not {shown(value)}")


def check_flag(name: str, value: object) -> bool:
    """Check a truth value, and return it as a ``bool``.

    Parameters
    ----------
    name : the parameter's name, for the message
    value : of type ``bool`` or ``numpy.bool_``

    Raises
    ------
    TypeError
        If the value is of another type.
    """
    if not _is_flag(value):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return bool(value)


def check_choice(name: str, value: _Value, choices: Iterable[_Value]) -> _Value:
    """Check that a value is one of a few, and return the equal choice.

    Parameters
    ----------
    name : the parameter's name, for the message
    value : for string choices a string, for integer choices an integer
    choices : legal values, a ``StrEnum`` for example, all strings or all integers

    Raises
    ------
    TypeError
        If the value is of another kind than the choices.
    ValueError
        If the value is not one of the choices.
    """
    legal = list(choices)
    if isinstance(legal[0], str):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a string, not {value!r}")
    elif not _is_integer(value):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if value not in legal:
        *first, last = map(str, legal)
        raise ValueError(f"{name} must be {', '.join(first)} or {last}, not {shown(value)}")
    return legal[legal.index(value)]


def check_array(name: str, value: object) -> None:
    """Check that a value is a NumPy array.

    Parameters
    ----------
    name : the parameter's name, for the message
    value : of any value type and shape

    Raises
    ------
    TypeError
        If it is not.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {type(value).__name__}")


def first_place(wrong: Any) -> tuple[int, ...]:
    """Return the place of the first true value of an array, in row-major order.

    ``np.argwhere`` makes a list of all places, which takes many times the memory of a file where
    every value is wrong.

    Parameters
    ----------
    wrong : bool array with a true value
    """
    import numpy as np

    return tuple(int(i) for i in np.unravel_index(wrong.argmax(), wrong.shape))

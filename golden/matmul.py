"""The exact ternary matrix product, and checks of its operands.

The functions import NumPy themselves: estimates need only the legal ranges, and start faster
without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checks import check_choice, first_place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["activation_range", "check_activations", "check_trits", "ternary_matmul"]


def activation_range(bits: int) -> tuple[int, int]:
    """Smallest and largest legal activation of 8, 4 or 2 bits.

    Eight and four bits allow the whole two's complement range. Two bits mean ternary activations,
    so that −2 is illegal.

    Raises
    ------
    TypeError
        If ``bits`` is not an integer.
    ValueError
        If it is not 8, 4 or 2.
    """
    bits = check_choice("bits", bits, (8, 4, 2))
    high = 2 ** (bits - 1) - 1
    return (-1 if bits == 2 else -high - 1), high


def check_trits(trits: NDArray) -> None:
    """Refuse anything but a non-empty integer matrix of −1, 0 and +1.

    Parameters
    ----------
    trits : int[N, K]

    Raises
    ------
    TypeError
        If the type is not an integer type.
    ValueError
        If the shape or a value is not legal; the message names the first place.
    """
    _check_range("trits", trits, -1, 1)


def check_activations(q: NDArray, bits: int = 8) -> None:
    """Raise unless ``q`` is a non-empty integer matrix within ``activation_range(bits)``.

    Parameters
    ----------
    q : int[T, K]
    bits : 8, 4 or 2

    Raises
    ------
    TypeError
        If the type is not an integer type.
    ValueError
        If the shape or a value is not legal; the message names the first place.
    """
    _check_range("activations", q, *activation_range(bits))


def _check_range(name: str, array: NDArray, low: int, high: int) -> None:
    """Refuse anything but a non-empty integer matrix of values from ``low`` to ``high``."""
    import numpy as np

    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {type(array).__name__}")
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name} must have an integer type, not {array.dtype}")
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must have two non-empty dimensions, not shape {array.shape}")
    if array.min() < low or array.max() > high:
        row, column = first_place((array < low) | (array > high))
        raise ValueError(
            f"{name} must be from {low} to {high}, not {array[row, column]} at [{row}, {column}]"
        )


def ternary_matmul(trits: NDArray[np.int8], q: NDArray[np.int8]) -> NDArray[np.int32]:
    """Compute the exact product ``W (N, K) @ q (T, K) -> y (T, N)`` in 32-bit integers.

    With 8-bit activations no sum overflows below K = 2²⁴.

    Parameters
    ----------
    trits : int8[N, K], values −1, 0, +1
    q : int8[T, K]

    Returns
    -------
    int32[T, N]

    Raises
    ------
    TypeError
        If an argument is not an integer array.
    ValueError
        If a shape, a trit or an activation is not legal, or the two K differ.
    """
    import numpy as np

    check_trits(trits)
    check_activations(q)
    if trits.shape[1] != q.shape[1]:
        raise ValueError(
            f"trits and activations must share K, not have {trits.shape[1]} and {q.shape[1]}"
        )
    return np.matmul(q.astype(np.int32), trits.T.astype(np.int32))

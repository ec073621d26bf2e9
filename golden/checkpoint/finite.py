"""Check for NaN and infinity, in any float type and a part of the array at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError

__all__ = ["check_finite", "to_finite_float32"]

#: Values that are checked at once: small enough for the cache.
_PART = 2**18


def _parts(
    flat: NDArray[np.unsignedinteger], stored: tuple[Path, int] | None
) -> Iterator[NDArray[np.unsignedinteger]]:
    """Yield the values a part at a time, from the file where one is given."""
    if stored is None or flat.size <= _PART:
        yield from (flat[start : start + _PART] for start in range(0, flat.size, _PART))
        return
    path, place = stored
    with path.open("rb") as file:
        file.seek(place)
        for start in range(0, flat.size, _PART):
            yield np.fromfile(file, flat.dtype, min(_PART, flat.size - start))


def check_finite(name: str, array: NDArray, stored: tuple[Path, int] | None = None) -> None:
    """Refuse floats that are NaN or infinite; integers are all finite.

    A float is not finite where its exponent has only ones, as the exponent of infinity.

    Parameters
    ----------
    name : name of the tensor, for the message
    array : of any type and shape
    stored : file and place of the bytes of an array that is memory-mapped. They are read from
        there, so that the mapped pages take no memory before they are used

    Raises
    ------
    CheckpointError
        If a value is not finite; the message has the first one and its place.
    """
    if array.dtype.kind in "biu" or not array.size:
        return
    unsigned = np.dtype(f"u{array.dtype.itemsize}")
    exponent = np.array(np.inf).astype(array.dtype).view(unsigned)
    flat = np.ascontiguousarray(array).reshape(-1).view(unsigned)
    for index, part in enumerate(_parts(flat, stored)):
        bits = part & exponent
        if bits.max() == exponent:
            first = index * _PART + int((bits == exponent).argmax())
            place = [int(i) for i in np.unravel_index(first, array.shape)]
            value = float(flat[first : first + 1].view(array.dtype)[0])
            raise CheckpointError(
                f"{name} must be finite, not {value} at {place}; the file is damaged, or was "
                "written after an overflow"
            )


def to_finite_float32(name: str, array: NDArray) -> NDArray[np.float32]:
    """Convert floats to float32, and refuse those that it cannot hold.

    Parameters
    ----------
    name : name of the tensor, for the message
    array : float of any type and shape

    Returns
    -------
    float32 of the same shape, rounded where the type has more bits

    Raises
    ------
    CheckpointError
        If a value is not finite in float32; the message has the first one and its place.
    """
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, np.float32)
    check_finite(f"{name} in float32", converted)
    return converted

"""Detection of ternary-valued floats, and grouping of scales."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..checks import first_place
from ..errors import CheckpointError, FormatError
from .finite import to_finite_float32
from .tensors import TernaryTensor

__all__ = ["check_legal_scales", "check_single_scale", "fewest_scales", "ternary_from_float"]

#: Fewer weights than this in one scale's group are a float matrix, not a ternary one.
_SMALLEST_GROUP = 32


def ternary_from_float(name: str, w: NDArray) -> TernaryTensor | None:
    """Find the trits and scales of ternary-valued float weights.

    The result has the fewest scales: one for each block of rows if possible, as tensor-parallel
    training leaves them (TriLM, arXiv 2407.12327), and groups along K if necessary. A block of
    zeros gets the scale 1.

    Parameters
    ----------
    name : name of the matrix
    w : float[N, K]

    Returns
    -------
    The matrix, or None if the weights are not ternary-valued

    Raises
    ------
    CheckpointError
        If a weight is not finite.
    """
    w = to_finite_float32(name, w)
    n, k = w.shape
    magnitude = np.abs(w)
    for groups in (g for g in range(1, max(1, k // _SMALLEST_GROUP) + 1) if k % g == 0):
        tiles = magnitude.reshape(n, groups, k // groups)
        per_row = tiles.max(axis=2)
        # The first row is enough to refuse most float matrices.
        for rows in (slice(0, 1), slice(None)):
            if not ((tiles[rows] == per_row[rows, :, None]) | (tiles[rows] == 0)).all():
                break
        else:
            break
    else:
        return None
    scale = fewest_scales(per_row, per_row == 0)
    return TernaryTensor.from_trits(name, np.sign(w).astype(np.int8), scale, k // scale.shape[1])


def check_legal_scales(name: str, scale: NDArray[np.float32], *, zero: bool) -> None:
    """Refuse scales that are not finite or not positive.

    Parameters
    ----------
    name : name of the scales, for the message
    scale : the scales of a file, of any shape
    zero : 0 is legal too

    Raises
    ------
    CheckpointError
        If a scale is not legal; the message has the first one.
    """
    wrong = ~(np.isfinite(scale) & (scale >= 0 if zero else scale > 0))
    if wrong.any():
        rule = "not negative" if zero else "positive"
        place = first_place(wrong)
        where = f" at {list(place)}" if scale.size > 1 else ""
        raise CheckpointError(
            f"{name} must be finite and {rule}, not {scale[place]}{where}; the file is damaged"
        )


def check_single_scale(tensor: TernaryTensor, kind: str) -> None:
    """Refuse a matrix with several scales.

    Parameters
    ----------
    tensor : the matrix
    kind : name of the format that has one scale per matrix, for the message

    Raises
    ------
    FormatError
        If the matrix has several scales.
    """
    if tensor.scale.size != 1:
        groups = f"{tensor.scale.shape[0]} x {tensor.scale.shape[1]}"
        raise FormatError(
            f"{tensor.name} has {groups} scales, and {kind} must have one for each matrix"
        )


def fewest_scales(scale: NDArray[np.float32], free: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Merge equal scales into the fewest groups and blocks of rows.

    Parameters
    ----------
    scale : float32[N, G], not negative
    free : bool[N, G], groups of zeros, whose scale has no effect. They get the scale of their
        neighbors, or 1 where all are free.

    Returns
    -------
    float32[S, 1 or G], S dividing N
    """

    def equal(cells: NDArray[np.float32], axis: int) -> bool:
        """Test whether all cells along an axis have one scale; −1 marks free cells."""
        largest = cells.max(axis=axis, keepdims=True)
        return bool(((cells == largest) | (cells == -1)).all())

    cells = np.where(free, np.float32(-1), scale)
    if equal(cells, 1):
        cells = cells.max(axis=1, keepdims=True)
    n = len(cells)
    for blocks in (s for s in range(1, n + 1) if n % s == 0):
        parts = cells.reshape(blocks, n // blocks, -1)
        if equal(parts, 1):
            cells = parts.max(axis=1)
            break
    return np.where(cells == -1, np.float32(1), cells)

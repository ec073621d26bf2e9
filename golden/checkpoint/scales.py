"""Detection of ternary-valued floats, and grouping of scales."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from .tensors import TernaryTensor

__all__ = ["check_single_scale", "fewest_scales", "ternary_from_float"]

#: Fewer weights than this in one scale's group are a float matrix, not a ternary one.
_SMALLEST_GROUP = 32


def ternary_from_float(name: str, w: NDArray) -> TernaryTensor | None:
    """The trits and scales of float weights that are ternary-valued; None where they are not.

    Sought are the fewest scales: blocks of rows first, as tensor-parallel training leaves them
    (TriLM, arXiv 2407.12327), then groups along K as well. A block of zeros takes the scale 1.

    Parameters
    ----------
    w : float[N, K]

    Raises
    ------
    CheckpointError
        If a weight is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        w = np.ascontiguousarray(w, np.float32)
    n, k = w.shape
    magnitude = np.abs(w)
    if not np.isfinite(magnitude.max()):
        raise CheckpointError(f"{name} must be finite in float32, and holds NaN or infinity")
    for groups in (g for g in range(1, max(1, k // _SMALLEST_GROUP) + 1) if k % g == 0):
        tiles = magnitude.reshape(n, groups, k // groups)
        per_row = tiles.max(axis=2)
        # One row tells most float matrices apart, before all are looked at.
        for rows in (slice(0, 1), slice(None)):
            if not ((tiles[rows] == per_row[rows, :, None]) | (tiles[rows] == 0)).all():
                break
        else:
            break
    else:
        return None
    scale = fewest_scales(per_row, per_row == 0)
    return TernaryTensor.from_trits(name, np.sign(w).astype(np.int8), scale, k // scale.shape[1])


def check_single_scale(tensor: TernaryTensor, kind: str) -> None:
    """Refuse a matrix with several scales.

    Parameters
    ----------
    tensor : the matrix
    kind : name of the format that has one scale per matrix, for the message

    Raises
    ------
    CheckpointError
        If the matrix has several scales.
    """
    if tensor.scale.size != 1:
        groups = f"{tensor.scale.shape[0]} x {tensor.scale.shape[1]}"
        raise CheckpointError(
            f"{tensor.name} has {groups} scales, and {kind} must have one for each matrix; "
            "convert to tq2_0 or stream instead"
        )


def fewest_scales(scale: NDArray[np.float32], free: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The same scales in as few groups and blocks of rows as hold them exactly.

    Parameters
    ----------
    scale : float32[N, G]
    free : bool[N, G]: whose scale says nothing, since only zeros are scaled. They take another's,
        or 1 where there is none.

    Returns
    -------
    float32[S, 1 or G], S dividing N
    """

    def equal(cells: NDArray[np.float32], axis: int) -> bool:
        """Whether the cells along an axis hold one scale; −1 marks the free ones."""
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

"""Comparison of two checkpoints, trit by trit and scale by scale."""

from dataclasses import dataclass
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import Progress, ignore_progress
from .tensors import Checkpoint, TernaryTensor

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Parameters
    ----------
    matrices, trits, scales : compared and equal, up to the first difference
    others : float tensors compared, by value in float32
    difference : the first, in a sentence; empty if there is none
    """

    matrices: int
    trits: int
    scales: int
    others: int
    difference: str


def compare(
    converted: Checkpoint, source: Checkpoint, *, progress: Progress = ignore_progress
) -> Comparison:
    """Hold each matrix's trits and scales, and each other tensor, to the source's.

    Scales are equal if each weight's is, however they are grouped. Other tensors are compared
    where the converted checkpoint has any, which an engine's streams do not.

    Raises
    ------
    CheckpointError
        If either is refused.
    """
    matrices = trits = scales = others = 0
    difference = _different_names(converted.ternary, source.ternary)
    names = [*source.ternary, *(source.tensors if converted.tensors else ())]
    if not difference and converted.tensors:
        difference = _different_names(converted.tensors, source.tensors)
    for done, name in enumerate([] if difference else names):
        if name in source.ternary:
            ours, theirs = converted.ternary[name], source.ternary[name]
            difference = _different_matrix(ours, theirs)
            if not difference:
                matrices += 1
                trits += ours.shape[0] * ours.shape[1]
                scales += theirs.scale.size
        else:
            a, b = converted.tensors[name], source.tensors[name]
            if a.shape != b.shape:
                difference = f"{name} has the shape {a.shape}, and {b.shape} in the source"
            elif not _same_floats(a, b):
                difference = f"{name} has other values than in the source"
            else:
                others += 1
        if difference:
            break
        progress(done + 1, len(names))
    return Comparison(matrices, trits, scales, others, difference)


def _different_names(ours: Any, theirs: Any) -> str:
    for name in theirs:
        if name not in ours:
            return f"{name} is missing"
    for name in ours:
        if name not in theirs:
            return f"{name} is not in the source"
    return ""


def _different_matrix(ours: TernaryTensor, theirs: TernaryTensor) -> str:
    name = ours.name
    if ours.shape != theirs.shape:
        return f"{name} has the shape {ours.shape}, and {theirs.shape} in the source"
    n, k = ours.shape
    # Rows beyond N are fillers, which may differ.
    same = np.array_equal(ours.packed, theirs.packed)
    if not same and (n % 4 == 0 or not np.array_equal(ours.trits, theirs.trits)):
        row, column = np.argwhere(ours.trits != theirs.trits)[0]
        return (
            f"{name} has the trit {ours.trits[row, column]} at output {row}, input {column}, "
            f"and {theirs.trits[row, column]} in the source"
        )
    blocks = lcm(len(ours.scale), len(theirs.scale))
    groups = lcm(ours.scale.shape[1], theirs.scale.shape[1])
    a, b = (
        scale.repeat(blocks // len(scale), axis=0).repeat(groups // scale.shape[1], axis=1)
        for scale in (ours.scale, theirs.scale)
    )
    if not np.array_equal(a, b):
        block, group = np.argwhere(a != b)[0]
        return (
            f"{name} has the scale {a[block, group]} at output {block * n // blocks}, input "
            f"{group * k // groups}, and {b[block, group]} in the source"
        )
    return ""


def _same_floats(a: NDArray, b: NDArray) -> bool:
    if a.dtype == b.dtype:
        return np.array_equal(_as_bytes(a), _as_bytes(b))
    return np.array_equal(_as_bytes(a.astype(np.float32)), _as_bytes(b.astype(np.float32)))


def _as_bytes(a: NDArray) -> NDArray[np.uint8]:
    return np.ascontiguousarray(a).reshape(-1).view(np.uint8)

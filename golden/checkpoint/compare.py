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
    """Result of ``compare``.

    Parameters
    ----------
    matrices, trits, scales : numbers that were compared and are equal, up to the first difference
    others : number of float tensors that were compared, by value in float32
    difference : the first difference in a sentence; empty if there is none
    rounded_scales : those of ``scales`` that the conversion rounded to float32, because one
        checkpoint multiplies by its scales and the other divides
    """

    matrices: int
    trits: int
    scales: int
    others: int
    difference: str
    rounded_scales: int = 0


def compare(
    converted: Checkpoint, source: Checkpoint, *, progress: Progress = ignore_progress
) -> Comparison:
    """Compare each matrix's trits and scales, and each other tensor, with the source's.

    Scales are equal if the scale of each weight is, however they are grouped. A scale that
    multiplies equals one that divides if it is the inverse, rounded to float32. Other tensors are
    compared if the converted checkpoint has any; an engine's streams have none.

    Parameters
    ----------
    converted : checkpoint made from ``source``
    source : checkpoint to compare with
    progress : called after each tensor

    Raises
    ------
    CheckpointError
        If one of them is refused.
    """
    matrices = trits = scales = rounded = others = 0
    difference = _different_names(converted.ternary, source.ternary)
    names = [*source.ternary, *(source.tensors if converted.tensors else ())]
    if not difference and converted.tensors:
        difference = _different_names(converted.tensors, source.tensors)
    if not difference and not _same_transforms(converted, source):
        difference = "the transform of activations is another one than in the source"
    for done, name in enumerate([] if difference else names):
        if name in source.ternary:
            ours, theirs = converted.ternary[name], source.ternary[name]
            difference = _different_matrix(ours, theirs)
            if not difference:
                matrices += 1
                trits += ours.shape[0] * ours.shape[1]
                scales += theirs.scale.size
                rounded += _rounded_scales(ours, theirs)
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
    return Comparison(matrices, trits, scales, others, difference, rounded)


def _same_transforms(a: Checkpoint, b: Checkpoint) -> bool:
    """Tell whether both models have the same matrices with a Hadamard transform in front."""
    if a.rotations is None or b.rotations is None:
        return a.rotations is b.rotations
    return a.rotations.same_as(b.rotations)


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
    a, b = _aligned_scales(ours, theirs)
    same = a == b
    if ours.divides != theirs.divides:
        factor, divisor = (b, a) if ours.divides else (a, b)
        with np.errstate(divide="ignore", over="ignore"):  # A factor may be zero.
            same = (factor == np.float32(1) / divisor) | (divisor == np.float32(1) / factor)
    if not same.all():
        block, group = np.argwhere(~same)[0]
        row, column = block * n // len(a), group * k // a.shape[1]
        here, there = _scale_words(ours, a[block, group]), _scale_words(theirs, b[block, group])
        place = f"output {row}, input {column}"
        return f"{name} has the scale {here} at {place}, and {there} in the source"
    return ""


def _aligned_scales(
    ours: TernaryTensor, theirs: TernaryTensor
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Repeat the scales of two matrices so that both have the same blocks and groups."""
    blocks = lcm(len(ours.scale), len(theirs.scale))
    groups = lcm(ours.scale.shape[1], theirs.scale.shape[1])
    a, b = (
        scale.repeat(blocks // len(scale), axis=0).repeat(groups // scale.shape[1], axis=1)
        for scale in (ours.scale, theirs.scale)
    )
    return a, b


def _rounded_scales(ours: TernaryTensor, theirs: TernaryTensor) -> int:
    """Count the source's scales whose inverse is not a float32; scales must be equal."""
    if ours.divides == theirs.divides:
        return 0
    a, b = _aligned_scales(ours, theirs)
    # A product of two float32 is exact in float64.
    inexact = a.astype(np.float64) * b.astype(np.float64) != 1
    s, g = theirs.scale.shape
    return int(inexact.reshape(s, len(a) // s, g, a.shape[1] // g).any(axis=(1, 3)).sum())


def _scale_words(tensor: TernaryTensor, scale: Any) -> str:
    """Write a scale and its direction, unless it is a factor, as usual."""
    return f"{scale} (a divisor)" if tensor.divides else f"{scale}"


def _same_floats(a: NDArray, b: NDArray) -> bool:
    """Compare values bit by bit, in float32 if the types differ."""
    dtype = a.dtype if a.dtype == b.dtype else np.float32
    with np.errstate(over="ignore"):
        a, b = (np.ascontiguousarray(x, dtype).reshape(-1).view(np.uint8) for x in (a, b))
    return np.array_equal(a, b)

"""Comparison of two checkpoints, trit by trit and scale by scale."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import Progress, ignore_progress
from .tensors import Checkpoint, TernaryTensor

__all__ = ["Comparison", "Difference", "compare"]


#: Places of a tensor that a difference lists.
_PLACES = 3


#: Rows of a float tensor that are compared at once.
_ROWS = 4096


@dataclass(frozen=True)
class Difference:
    """Differences of one tensor.

    Parameters
    ----------
    name : name of the tensor
    first : the first places, a sentence for each; trits first
    trits, scales, values : numbers that differ; 0 where the tensor itself is missing, is not in the
        source, or has another shape, as ``first`` says then
    """

    name: str
    first: tuple[str, ...]
    trits: int = 0
    scales: int = 0
    values: int = 0

    def __str__(self) -> str:
        """Name the tensor and the first place in a sentence."""
        return f"{self.name} {self.first[0]}"


@dataclass(frozen=True)
class Comparison:
    """Result of ``compare``.

    Parameters
    ----------
    matrices, trits, scales : numbers that were compared
    others : number of float tensors that were compared, by value in float32
    differences : the tensors that differ, in the order of the source
    rounded_scales : those of ``scales`` that the conversion rounded to float32, because one
        checkpoint multiplies by its scales and the other divides
    rounded_values : values of the other tensors that the conversion rounded to float16
    """

    matrices: int
    trits: int
    scales: int
    others: int
    differences: tuple[Difference, ...] = ()
    rounded_scales: int = 0
    rounded_values: int = 0

    @property
    def difference(self) -> str:
        """The first difference in a sentence; empty if there is none."""
        return str(self.differences[0]) if self.differences else ""

    def different(self) -> dict[str, int]:
        """Sum the numbers that differ over all tensors."""
        return {"tensors": len(self.differences)} | {
            what: sum(getattr(one, what) for one in self.differences)
            for what in ("trits", "scales", "values")
        }


class _Counts:
    """Numbers of a comparison that is under way."""

    def __init__(self) -> None:
        self.matrices = self.trits = self.scales = self.others = 0
        self.rounded_scales = self.rounded_values = 0
        self.differences: list[Difference] = []

    def matrix(self, ours: TernaryTensor, theirs: TernaryTensor) -> None:
        """Compare two matrices of one name."""
        if ours.shape != theirs.shape:
            self.differences.append(_other_shape(ours.name, ours.shape, theirs.shape))
            return
        self.matrices += 1
        self.trits += ours.shape[0] * ours.shape[1]
        self.scales += theirs.scale.size
        trits, at_trits = _different_trits(ours, theirs)
        scales, at_scales = _different_scales(ours, theirs)
        self.rounded_scales += _rounded_scales(ours, theirs)
        if trits or scales:
            first = (*at_trits, *at_scales)
            self.differences.append(Difference(ours.name, first, trits=trits, scales=scales))

    def floats(self, name: str, ours: NDArray, theirs: NDArray) -> None:
        """Compare two other tensors of one name, a few rows at a time."""
        if ours.shape != theirs.shape:
            self.differences.append(_other_shape(name, ours.shape, theirs.shape))
            return
        self.others += 1
        ours, theirs = np.atleast_1d(ours), np.atleast_1d(theirs)
        count, first = 0, []
        for start in range(0, len(ours), _ROWS):
            a, b = ours[start : start + _ROWS], theirs[start : start + _ROWS]
            wrong, rounded = _different_values(a, b)
            self.rounded_values += rounded
            count += int(wrong.sum())
            for place in _first(wrong)[: _PLACES - len(first)]:
                here, there = a[place], b[place]
                index = ", ".join(map(str, (place[0] + start, *place[1:])))
                first.append(f"has the value {here} at {index}, and {there} in the source")
        if count:
            self.differences.append(Difference(name, tuple(first), values=count))


def compare(
    converted: Checkpoint, source: Checkpoint, *, progress: Progress = ignore_progress
) -> Comparison:
    """Compare each matrix's trits and scales, and each other tensor, with the source's.

    Scales are equal if the scale of each weight is, however they are grouped. A scale that
    multiplies equals one that divides if it is the inverse, rounded to float32. Other tensors are
    compared if the converted checkpoint has any; an engine's streams have none. A value in float16
    equals one of another type that is rounded to it.

    Parameters
    ----------
    converted : checkpoint made from ``source``
    source : checkpoint to compare with
    progress : called after each tensor

    Returns
    -------
    Numbers of all that was compared, and of all that differs

    Raises
    ------
    CheckpointError
        If one of them is refused.
    """
    counts = _Counts()
    tensors = source.tensors if converted.tensors else ()
    names = [*source.ternary, *tensors]
    for done, name in enumerate(names):
        if name not in (converted.ternary if name in source.ternary else converted.tensors):
            counts.differences.append(Difference(name, ("is missing",)))
        elif name in source.ternary:
            counts.matrix(converted.ternary[name], source.ternary[name])
        else:
            counts.floats(name, converted.tensors[name], source.tensors[name])
        progress(done + 1, len(names))
    if not _same_transforms(converted, source):
        words = ("is another one than in the source",)
        counts.differences.insert(0, Difference("the transform of activations", words))
    counts.differences += _added(converted.ternary, source.ternary)
    counts.differences += _added(converted.tensors, tensors)
    return Comparison(
        counts.matrices,
        counts.trits,
        counts.scales,
        counts.others,
        tuple(counts.differences),
        counts.rounded_scales,
        counts.rounded_values,
    )


def _same_transforms(a: Checkpoint, b: Checkpoint) -> bool:
    """Tell whether both models have the same matrices with a Hadamard transform in front."""
    if a.rotations is None or b.rotations is None:
        return a.rotations is b.rotations
    return a.rotations.same_as(b.rotations)


def _added(ours: Iterable[str], theirs: Iterable[str]) -> list[Difference]:
    """List the tensors that the source does not have."""
    known = set(theirs)
    return [Difference(name, ("is not in the source",)) for name in ours if name not in known]


def _other_shape(name: str, ours: tuple[int, ...], theirs: tuple[int, ...]) -> Difference:
    return Difference(name, (f"has the shape {ours}, and {theirs} in the source",))


def _different_trits(ours: TernaryTensor, theirs: TernaryTensor) -> tuple[int, list[str]]:
    """Count the trits that differ, and list the first ones."""
    # Rows beyond N are fillers, which may differ.
    if np.array_equal(ours.packed, theirs.packed):
        return 0, []
    a, b = ours.trits, theirs.trits
    wrong = a != b
    return int(wrong.sum()), [
        f"has the trit {a[row, column]} at output {row}, input {column}, and {b[row, column]} in "
        "the source"
        for row, column in _first(wrong)
    ]


def _first(wrong: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    """List the first places."""
    flat = np.flatnonzero(wrong)[:_PLACES]
    return [tuple(map(int, np.unravel_index(one, wrong.shape))) for one in flat]


def _different_scales(ours: TernaryTensor, theirs: TernaryTensor) -> tuple[int, list[str]]:
    """Count the source's scales of which a weight has another one, and list the first places."""
    a, b = _aligned_scales(ours, theirs)
    same = a == b
    if ours.divides != theirs.divides:
        factor, divisor = (b, a) if ours.divides else (a, b)
        with np.errstate(divide="ignore", over="ignore"):  # A factor may be zero.
            same = (factor == np.float32(1) / divisor) | (divisor == np.float32(1) / factor)
    n, k = ours.shape
    words = []
    for block, group in _first(~same):
        here, there = _scale_words(ours, a[block, group]), _scale_words(theirs, b[block, group])
        row, column = block * n // len(a), group * k // a.shape[1]
        place = f"output {row}, input {column}"
        words.append(f"has the scale {here} at {place}, and {there} in the source")
    return _count_scales(theirs, ~same), words


def _count_scales(tensor: TernaryTensor, found: NDArray[np.bool_]) -> int:
    """Count the scales of a matrix in whose part of ``_aligned_scales`` something is found."""
    s, g = tensor.scale.shape
    rows, columns = found.shape
    return int(found.reshape(s, rows // s, g, columns // g).any(axis=(1, 3)).sum())


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
    """Count the source's scales whose inverse is not a float32."""
    if ours.divides == theirs.divides:
        return 0
    a, b = _aligned_scales(ours, theirs)
    # A product of two float32 is exact in float64.
    return _count_scales(theirs, a.astype(np.float64) * b.astype(np.float64) != 1)


def _scale_words(tensor: TernaryTensor, scale: Any) -> str:
    """Write a scale and its direction, unless it is a factor, as usual."""
    return f"{scale} (a divisor)" if tensor.divides else f"{scale}"


def _different_values(a: NDArray, b: NDArray) -> tuple[NDArray[np.bool_], int]:
    """Compare values bit by bit, in float32 if the types differ; count those rounded to float16."""
    dtype = a.dtype if a.dtype == b.dtype else np.dtype(np.float32)
    with np.errstate(over="ignore"):
        wrong = _bits(a, dtype) != _bits(b, dtype)
        half = np.dtype(np.float16)
        if a.dtype == b.dtype or half not in (a.dtype, b.dtype) or not wrong.any():
            return wrong, 0
        # float32 holds all values of the other type but those of float64.
        halves = (_bits(x.astype(np.float32), half) for x in (a, b))
        still = np.not_equal(*halves)
    return still, int(wrong.sum() - still.sum())


def _bits(array: NDArray, dtype: np.dtype) -> NDArray:
    """Return the bits of values in a type, as integers of its size."""
    return np.ascontiguousarray(array, dtype).view(f"u{dtype.itemsize}")

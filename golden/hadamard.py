"""Blockwise Walsh-Hadamard transform of activations, exact in integers and normalized in float32.

The transform of a block of n values is ``H x``. H has entries 1 and −1 in Sylvester's order: entry
(i, j) is −1 where ``i & j`` has an odd number of ones. ``H · H = n · I``, so that ``H / √n`` is its
own inverse.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .checks import check_choice

__all__ = ["HADAMARD_SIZES", "Hadamard", "walsh_hadamard"]

#: Legal sizes of a block.
HADAMARD_SIZES = (64, 128, 256, 512, 1024)


def walsh_hadamard(x: NDArray, size: int) -> NDArray:
    """Transform each block of the last axis: ``H (n, n) @ x (n,) -> y (n,)``, not normalized.

    Step ``i`` of ``log2(n)`` replaces the values that are 2^i apart by their sum and their
    difference. A result needs log2(n) more bits than x.

    Parameters
    ----------
    x : int[..., K] or float[..., K]
    size : n, one of ``HADAMARD_SIZES``, which divides K

    Returns
    -------
    int64[..., K] for integers, which is exact; the type of x for floats

    Raises
    ------
    ValueError
        If ``size`` is not legal, or K is no multiple of it.
    """
    check_choice("size", size, HADAMARD_SIZES)
    if x.shape[-1] % size:
        raise ValueError(f"x must have a multiple of {size} values, not {x.shape[-1]}")
    y = x.astype(np.int64 if np.issubdtype(x.dtype, np.integer) else x.dtype)
    step = 1
    while step < size:
        pairs = y.reshape(-1, 2, step)
        first, second = pairs[:, 0], pairs[:, 1]
        y = np.stack([first + second, first - second], axis=1)
        step *= 2
    return y.reshape(x.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Hadamard:
    """The transform ``R x = H(s ⊙ x) / √n`` of the inputs of a matrix, and its inverse.

    A matrix that was stored for it has ``W' = W · R⁻¹``, so that ``W' · (R x) = W · x``.

    Parameters
    ----------
    size : n, values of a block, one of ``HADAMARD_SIZES``
    signs : s, int8[K] of 1 and −1; None where all are 1

    Raises
    ------
    TypeError, ValueError
        If a parameter is not legal.
    """

    size: int
    signs: NDArray[np.int8] | None = None

    def __post_init__(self) -> None:
        check_choice("size", self.size, HADAMARD_SIZES)
        if self.signs is None:
            return
        if len(self.signs) % self.size:
            raise ValueError(
                f"signs must have a multiple of {self.size} values, not {len(self.signs)}"
            )
        if not np.isin(self.signs, (1, -1)).all():
            raise ValueError("signs must be 1 and -1")

    def check_inputs(self, k: int) -> None:
        """Refuse another number of inputs than the transform has.

        Raises
        ------
        ValueError
            If k is no multiple of ``size``, or not the length of ``signs``.
        """
        if k % self.size or (self.signs is not None and len(self.signs) != k):
            rule = f"a multiple of {self.size}" if self.signs is None else len(self.signs)
            raise ValueError(f"the transform must have {rule} inputs, not {k}")

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Transform ``x`` float32[..., K] to R x, of the same type and shape.

        The factor 1/√n is a power of two for n = 64, 256 and 1,024.

        Raises
        ------
        ValueError
            If K is no multiple of ``size``, or not the length of ``signs``.
        """
        x = x if self.signs is None else x * self.signs.astype(np.float32)
        return walsh_hadamard(x, self.size) * np.float32(self.size**-0.5)

    def inverse(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute ``x = s ⊙ (H z / √n)`` from z = R x, both float32[..., K].

        Raises
        ------
        ValueError
            If K is no multiple of ``size``, or not the length of ``signs``.
        """
        y = walsh_hadamard(z, self.size) * np.float32(self.size**-0.5)
        return y if self.signs is None else y * self.signs.astype(np.float32)

"""Quantizers of BitNet b1.58: weights to trits, activations to small integers."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import check_choice, first_place

__all__ = ["a48_quantize", "absmax_quantize", "absmean_quantize", "sherry_quantize"]

#: Largest magnitude that ``absmax_quantize`` maps a row's maximum to, by activation width in bits.
_ACT_QMAX = {8: 127, 4: 7, 2: 1}

_EPSILON = np.float32(1e-5)


def _finite_matrix(name: str, value: ArrayLike) -> NDArray[np.float32]:
    """Convert to float32, or refuse anything but a non-empty matrix of finite floats."""
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"{name} must have a float type, not {array.dtype}")
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must have two non-empty dimensions, not shape {array.shape}")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        row, column = first_place(~np.isfinite(array))
        raise ValueError(
            f"{name} must be finite in float32, not {array[row, column]} at [{row}, {column}]"
        )
    return array


def absmean_quantize(w: ArrayLike) -> tuple[NDArray[np.int8], np.float32]:
    """Quantize weights to trits, with one scale for the whole matrix.

    ``T = clip(round(W · s), −1, 1)`` with ``s = 1 / max(mean|W|, 1e-5)``, rounded half to even, in
    float32 (BitNet b1.58, arXiv 2402.17764, equations 1 to 3; Hugging Face ``WeightQuant``). The
    mean is computed in float64 and rounded once, so that it does not depend on the order of sums.

    Parameters
    ----------
    w : float[N, K]

    Returns
    -------
    trits : int8[N, K]
    scale : float32, multiplicative: ``trits * scale`` approximates ``w``. This is
        ``max(mean|W|, 1e-5)``, the inverse of ``s``.

    Raises
    ------
    TypeError
        If ``w`` is not of a float type.
    ValueError
        If ``w`` is not a non-empty matrix of finite numbers.
    """
    w = _finite_matrix("w", w)
    scale = np.maximum(np.abs(w).mean(dtype=np.float64).astype(np.float32), _EPSILON)
    trits = np.clip(np.rint(w * (np.float32(1) / scale)), -1, 1)
    return trits.astype(np.int8), scale


def sherry_quantize(w: ArrayLike) -> tuple[NDArray[np.int8], np.float32]:
    """Quantize weights to trits of which one in each four of a row is zero, with one scale.

    The weight of the smallest magnitude becomes 0, the first one of equals. The others become their
    signs, and 0 counts as positive. The scale is ``max(mean|w|, 1e-5)`` of the weights that stay.
    These trits and this scale approximate ``w`` with the least squared error of this form (Sherry,
    arXiv 2601.07892). The mean is computed in float64 and rounded once.

    Parameters
    ----------
    w : float[N, K], K a multiple of 4

    Returns
    -------
    trits : int8[N, K]
    scale : float32, multiplicative: ``trits * scale`` approximates ``w``

    Raises
    ------
    TypeError
        If ``w`` is not of a float type.
    ValueError
        If ``w`` is not a non-empty matrix of finite numbers, or K is not a multiple of 4.
    """
    w = _finite_matrix("w", w)
    n, k = w.shape
    if k % 4:
        raise ValueError(f"K must be a multiple of 4, not {k}")
    quads = w.reshape(n, k // 4, 4)
    trits = np.where(quads < 0, -1, 1).astype(np.int8)
    smallest = np.abs(quads).argmin(axis=2, keepdims=True)
    np.put_along_axis(trits, smallest, 0, axis=2)
    kept = np.abs(quads)[trits != 0]
    scale = np.maximum(kept.mean(dtype=np.float64).astype(np.float32), _EPSILON)
    return trits.reshape(n, k), scale


def absmax_quantize(x: ArrayLike, bits: int = 8) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize activations to integers, with one scale per token (row).

    ``q = clip(round(x · s), −qmax − 1, qmax)`` with ``s = qmax / max(max|x|, 1e-5)``, rounded half
    to even, in float32 (BitNet b1.58; Hugging Face ``ActQuant``). ``qmax`` is 127, 7 or 1. At two
    bits the result is ternary and stays within ±1.

    Parameters
    ----------
    x : float[T, K]
    bits : 8, 4 or 2

    Returns
    -------
    q : int8[T, K]
    scale : float32[T, 1], so that ``q / scale`` approximates ``x``.

    Raises
    ------
    TypeError
        If ``x`` is not of a float type, or ``bits`` is not an integer.
    ValueError
        If ``bits`` is not 8, 4 or 2, or ``x`` is not a non-empty matrix of finite numbers.
    """
    bits = check_choice("bits", bits, _ACT_QMAX)
    x = _finite_matrix("x", x)
    qmax = _ACT_QMAX[bits]
    scale = np.float32(qmax) / np.maximum(np.abs(x).max(axis=1, keepdims=True), _EPSILON)
    qmin = -1 if bits == 2 else -qmax - 1
    return np.clip(np.rint(x * scale), qmin, qmax).astype(np.int8), scale


def a48_quantize(x: ArrayLike) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize activations to four bits by their mean magnitude, as BitNet a4.8 does.

    Each token has one scale.
    ``q = clip(round(x · s), −8, 7)`` with ``s = √7 / (β + 1e-5)`` and ``β = mean|x|`` of the token,
    rounded half to even, in float32 (arXiv 2411.04965; the factor √7 is unconfirmed). Unlike
    ``absmax_quantize`` it clips the largest values.

    Parameters
    ----------
    x : float[T, K]

    Returns
    -------
    q : int8[T, K], −8 to 7
    scale : float32[T, 1], so that ``q / scale`` approximates ``x``.

    Raises
    ------
    TypeError
        If ``x`` is not of a float type.
    ValueError
        If ``x`` is not a non-empty matrix of finite numbers.
    """
    x = _finite_matrix("x", x)
    mean = np.abs(x).mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    scale = np.sqrt(np.float32(7)) / (mean + _EPSILON)
    return np.clip(np.rint(x * scale), -8, 7).astype(np.int8), scale

"""Layers of ternary networks: RMSNorm, quantized linear layers, rotary positions."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..checkpoint.tensors import TernaryTensor
from ..checks import first_place
from ..errors import ActivationError
from ..hadamard import Hadamard
from ..matmul import check_activations
from ..quantize import absmax_quantize

__all__ = [
    "EXACT_K",
    "BitLinear",
    "Matmul",
    "Quantizer",
    "check_activations_finite",
    "packed_matmul",
    "rms_norm",
    "rotate",
    "to_float32",
]

#: Function that computes ``weight (N, K) @ q (T, K) -> y (T, N)`` in integers: in NumPy, or in
#: simulated hardware.
Matmul = Callable[[TernaryTensor, NDArray[np.int8]], NDArray[np.int32]]


#: Function that quantizes activations x float32[T, K] to q int8[T, K] and scale float32[T, 1], so
#: that x ≈ q / scale.
Quantizer = Callable[[NDArray[np.float32]], tuple[NDArray[np.int8], NDArray[np.float32]]]


#: Largest K for which no sum of codes 0 to 2 times int8 exceeds 2²⁴, up to which float32 is exact.
EXACT_K = 2**24 // (2 * 128)


#: Packed bytes that are unpacked at once: few calls of NumPy, and float32 copies in the cache.
_BLOCK = 2**16


#: Places of the four codes in a byte.
_SHIFTS = np.arange(0, 8, 2, dtype=np.uint8)[:, np.newaxis, np.newaxis]


def check_activations_finite(name: str, x: NDArray[np.float32]) -> None:
    """Refuse values of which one is NaN or infinite.

    Parameters
    ----------
    name : what the values are, for the message
    x : float32[T, K]

    Raises
    ------
    ActivationError
        If a value is not finite; the message has the first one and its token.
    """
    finite = np.isfinite(x)
    if not finite.all():
        token, place = first_place(~finite)
        raise ActivationError(
            f"the {name} must be finite in float32, not {x[token, place]} for token {token} of "
            f"{len(x)}; weights, scales or norms are out of range"
        )


def to_float32(x: NDArray[Any]) -> NDArray[np.float32]:
    """Convert bfloat16, float16 or float32 to float32, exactly.

    Parameters
    ----------
    x : array of one of these types

    Returns
    -------
    float32 of the same shape
    """
    if x.dtype == ml_dtypes.bfloat16:  # The upper half of a float32; faster than a cast.
        return (x.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    return x.astype(np.float32)


def packed_matmul(weight: TernaryTensor, q: NDArray[np.int8]) -> NDArray[np.int32]:
    """Compute the exact product ``W (N, K) @ q (T, K) -> y (T, N)`` from the packed weights.

    The result equals ``ternary_matmul`` of the unpacked weights, and comes much faster. Blocks of
    packed rows are unpacked to the codes t + 1 as float32 and multiplied by BLAS. This is exact in
    any order, because no sum exceeds 2²⁴. The sum of the activations is subtracted in the end, for
    the + 1.

    Parameters
    ----------
    weight : N × K
    q : int8[T, K]

    Returns
    -------
    int32[T, N]

    Raises
    ------
    TypeError
        If ``q`` is not an integer array.
    ValueError
        If a shape or an activation is not legal, or K is above 65,536.
    """
    if not isinstance(weight, TernaryTensor):
        raise TypeError(f"weight must be a TernaryTensor, not {type(weight).__name__}")
    check_activations(q)
    n, k = weight.shape
    tokens = len(q)
    if q.shape[1] != k:
        raise ValueError(f"weights and activations must share K, not have {k} and {q.shape[1]}")
    if k > EXACT_K:
        raise ValueError(f"K must be at most {EXACT_K} to be exact in float32, not {k}")
    packed = weight.packed
    quarter = len(packed)
    columns = np.ascontiguousarray(q.T, np.float32)
    sums = np.empty((4, quarter, tokens), np.float32)
    height = min(quarter, max(1, _BLOCK // k))
    # All blocks use the same arrays: fresh memory would cost more than the sums.
    codes = np.empty((4, height, k), np.uint8)
    floats = np.empty((4, height, k), np.float32)
    for start in range(0, quarter, height):
        block = packed[start : start + height]
        part = slice(0, len(block))
        np.right_shift(block, _SHIFTS, out=codes[:, part])
        np.bitwise_and(codes[:, part], 3, out=codes[:, part])
        np.copyto(floats[:, part], codes[:, part])
        sums[:, start : start + height] = floats[:, part] @ columns
    products = sums.reshape(4 * quarter, tokens)[:n].astype(np.int32)
    return np.ascontiguousarray((products - q.sum(axis=1, dtype=np.int32)).T)


@dataclass(frozen=True, kw_only=True)
class BitLinear:
    """A linear layer with trits for weights and integers for activations.

    ``q, act_scale = quantize(x)``, and g counts the groups of inputs that share a scale, mostly
    one. In float32 and in this order::

        y = (Σ_g (W_g · q_g) · scale_g) / act_scale      where the scales multiply
        y = Σ_g (W_g · q_g) / (scale_g · act_scale)      where they divide

    The second is the order of ``post_quant_process`` of transformers' ``BitLinear``. ``W_g · q_g``
    is exact, and a sum below 2²⁴ is exact in float32 too, so that only the scaling rounds.

    Parameters
    ----------
    weight : matrix N × K
    quantize : quantizer of the activations
    matmul : product of integers for ``W_g · q_g``
    transform : in front of the quantizer; None for none

    Raises
    ------
    ValueError
        If the transform is of another K.
    """

    weight: TernaryTensor
    quantize: Quantizer = absmax_quantize
    matmul: Matmul = packed_matmul
    transform: Hadamard | None = None
    #: For each group of inputs its columns as a matrix, and the stored scale of each output.
    groups: tuple[tuple[TernaryTensor, NDArray[np.float32]], ...] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        weight = self.weight
        if self.transform is not None:
            self.transform.check_inputs(weight.shape[1])
        size = weight.group_size
        groups = []
        for index in range(weight.shape[1] // size):
            group = weight
            if size < weight.shape[1]:
                group = replace(
                    weight,
                    packed=np.ascontiguousarray(
                        weight.packed[:, index * size : (index + 1) * size]
                    ),
                    scale=weight.scale[:, index : index + 1],
                )
            rows = weight.out_features // len(weight.scale)
            groups.append((group, np.repeat(group.scale[:, 0], rows)))
        object.__setattr__(self, "groups", tuple(groups))

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the layer: ``x`` float32[T, K] to float32[T, N].

        Raises
        ------
        ActivationError
            If x is not finite.
        """
        x = x if self.transform is None else self.transform(x)
        check_activations_finite(f"inputs of {self.weight.name}", x)
        q, act_scale = self.quantize(x)
        y = np.float32(0)
        for index, (group, scale) in enumerate(self.groups):
            columns = slice(index * group.group_size, (index + 1) * group.group_size)
            # The order in memory decides the order of later float sums, so it must be the same for
            # all products.
            sums = np.ascontiguousarray(self.matmul(group, q[:, columns]), np.float32)
            y = y + (sums / (scale * act_scale) if group.divides else sums * scale)
        return np.asarray(y if self.weight.divides else y / act_scale)


def rms_norm(
    x: NDArray[np.float32], gain: NDArray[np.float32], epsilon: float
) -> NDArray[np.float32]:
    """Compute Llama's RMSNorm, ``x · 1/sqrt(mean(x²) + ε) · gain``, over the last axis.

    Parameters
    ----------
    x : float32[..., K]
    gain : float32[K]
    epsilon : constant ε, above 0

    Returns
    -------
    float32[..., K]

    Raises
    ------
    ActivationError
        If x is not finite, or its squares overflow float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean_square = np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32)
    check_activations_finite("squares of a norm's inputs", mean_square.reshape(-1, 1))
    return x * np.reciprocal(np.sqrt(mean_square + np.float32(epsilon)), dtype=np.float32) * gain


def rotate(x: NDArray[np.float32], start: int, theta: float) -> NDArray[np.float32]:
    """Turn heads by rotary positions (RoPE, arXiv 2104.09864) as Hugging Face's Llama does.

    Element j of the first half and element j of the second half are a point, which turns by
    ``position · theta^(−2j / size)``.

    Parameters
    ----------
    x : float32[T, heads, size], size even
    start : position of the first token
    theta : base of the frequencies

    Returns
    -------
    float32[T, heads, size]
    """
    tokens, _, size = x.shape
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    frequencies = np.float32(1) / np.float32(theta) ** exponents
    angles = np.outer(np.arange(start, start + tokens, dtype=np.float32), frequencies)
    cos, sin = np.cos(angles)[:, np.newaxis], np.sin(angles)[:, np.newaxis]
    first, second = x[..., : size // 2], x[..., size // 2 :]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

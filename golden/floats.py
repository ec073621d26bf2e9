"""Floating-point formats and dot products in them, defined bit by bit in integers.

Values are bit patterns in integer arrays. A finite value is ``±significand · 2^(exponent + scale)``
with a ``scale`` that the format fixes. All results are computed on these integers and rounded once,
half to even, by ``FloatFormat.encode``. Every NaN that is computed is the format's ``nan``: quiet,
positive, no payload.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BF16",
    "E4M3",
    "E5M2",
    "FP16",
    "FP32",
    "INT4",
    "Decoded",
    "FloatFormat",
    "IntFormat",
    "fused_dot",
    "multiply",
    "tree_dot",
]

_Ints = NDArray[np.int64]
_Bools = NDArray[np.bool_]


class Decoded(NamedTuple):
    """The parts of values: sign, exponent and significand, or the kind of a special value.

    Attributes
    ----------
    negative : bool[...]
    exponent, significand : int64[...]; the value is ``±significand · 2^(exponent + scale)``
    infinite, nan : bool[...], special values; their exponent and significand mean nothing
    """

    negative: _Bools
    exponent: _Ints
    significand: _Ints
    infinite: _Bools
    nan: _Bools


@dataclass(frozen=True, kw_only=True)
class FloatFormat:
    """A binary format like those of IEEE 754: sign, biased exponent, fraction, with subnormals.

    Parameters
    ----------
    name : usual name of the format
    exponent_bits, mantissa_bits : widths of the fields; the leading one is not stored
    infinities : the highest exponent is for infinities and NaNs, as in IEEE 754. If False, only the
        pattern of all ones is NaN, and overflows become NaN (``float8_e4m3fn``)
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    infinities: bool = True

    @property
    def bits(self) -> int:
        """Width of a value."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def precision(self) -> int:
        """Bits of a significand."""
        return self.mantissa_bits + 1

    @property
    def bias(self) -> int:
        """Stored exponent of the values from 1 to 2."""
        return 2 ** (self.exponent_bits - 1) - 1

    @property
    def scale(self) -> int:
        """Exponent of a significand's lowest bit, less the stored exponent."""
        return -self.bias - self.mantissa_bits

    @property
    def largest_exponent(self) -> int:
        """Largest stored exponent of finite values."""
        return 2**self.exponent_bits - (2 if self.infinities else 1)

    @property
    def overflow(self) -> int:
        """Pattern of +infinity, or of NaN where the format has no infinities."""
        exponent = (2**self.exponent_bits - 1) << self.mantissa_bits
        return exponent if self.infinities else exponent | (2**self.mantissa_bits - 1)

    @property
    def nan(self) -> int:
        """Pattern of the quiet NaN."""
        return self.overflow | (1 << (self.mantissa_bits - 1))

    def decode(self, patterns: NDArray) -> Decoded:
        """Take values apart.

        Parameters
        ----------
        patterns : int[...], of ``bits`` bits

        Returns
        -------
        The parts. The exponent of zeros and subnormals is 1, as that of the smallest normals.
        """
        patterns = np.asarray(patterns).astype(np.int64)
        field = patterns >> self.mantissa_bits & (2**self.exponent_bits - 1)
        fraction = patterns & (2**self.mantissa_bits - 1)
        magnitude = patterns & (2 ** (self.bits - 1) - 1)
        return Decoded(
            negative=(patterns >> (self.bits - 1)).astype(bool),
            exponent=np.maximum(field, 1),
            significand=fraction | ((field > 0).astype(np.int64) << self.mantissa_bits),
            infinite=(magnitude == self.overflow) & self.infinities,
            nan=magnitude > self.overflow - (not self.infinities),
        )

    def encode(self, negative: NDArray, significand: NDArray, exponent: NDArray) -> _Ints:
        """Round ``±significand · 2^exponent`` to the nearest value, half to even.

        Parameters
        ----------
        negative : bool[...]
        significand : int64[...], from 0 to 2⁵³ − 1
        exponent : int64[...]

        Returns
        -------
        int64[...], patterns of this format
        """
        significand = np.asarray(significand, np.int64)
        # Bits up to the leading one; frexp is exact below 2⁵³.
        length = np.frexp(significand.astype(np.float64))[1].astype(np.int64)
        field = np.maximum(exponent + length - 1 + self.bias, 1)
        # Distance of the result's lowest bit from the significand's.
        shift = field + self.scale - exponent
        right = np.clip(shift, 0, 60)
        kept = significand >> right << np.clip(-shift, 0, 60)
        rest = significand - (significand >> right << right)
        half = np.where(right > 0, 1 << np.maximum(right - 1, 0), 1)
        kept = kept + ((rest > half) | ((rest == half) & (kept & 1 == 1)))
        # The leading one of a normal number adds 1 to the field, also where rounding makes it.
        pattern = np.minimum((field - 1 << self.mantissa_bits) + kept, self.overflow)
        pattern = np.where(significand == 0, 0, pattern)
        if not self.infinities:
            negative = negative & (pattern != self.overflow)
        return pattern | np.asarray(negative, np.int64) << (self.bits - 1)


@dataclass(frozen=True, kw_only=True)
class IntFormat:
    """Two's complement integers as operands of floating-point products.

    Parameters
    ----------
    name : usual name of the format
    bits : width of a value

    Attributes
    ----------
    scale : exponent of a magnitude's lowest bit
    """

    name: str
    bits: int
    scale: ClassVar[int] = 0

    @property
    def precision(self) -> int:
        """Bits of a magnitude; −2^(bits − 1) needs all of them."""
        return self.bits

    def decode(self, patterns: NDArray) -> Decoded:
        """Take values apart.

        Parameters
        ----------
        patterns : int[...]; bits above ``bits`` are ignored

        Returns
        -------
        The parts, all finite and with the exponent 0
        """
        patterns = np.asarray(patterns).astype(np.int64) & (2**self.bits - 1)
        negative = (patterns >> (self.bits - 1)).astype(bool)
        never = np.zeros(patterns.shape, bool)
        return Decoded(
            negative=negative,
            exponent=np.zeros_like(patterns),
            significand=np.where(negative, 2**self.bits - patterns, patterns),
            infinite=never,
            nan=never,
        )


FP32 = FloatFormat(name="fp32", exponent_bits=8, mantissa_bits=23)
FP16 = FloatFormat(name="fp16", exponent_bits=5, mantissa_bits=10)
BF16 = FloatFormat(name="bf16", exponent_bits=8, mantissa_bits=7)
#: OCP 8-bit formats, as ``ml_dtypes`` has them: float8_e4m3fn and float8_e5m2.
E4M3 = FloatFormat(name="e4m3", exponent_bits=4, mantissa_bits=3, infinities=False)
E5M2 = FloatFormat(name="e5m2", exponent_bits=5, mantissa_bits=2)
INT4 = IntFormat(name="int4", bits=4)


def _products(
    a: NDArray, a_format: FloatFormat | IntFormat, b: NDArray, b_format: FloatFormat
) -> tuple[Decoded, int]:
    """Multiply values exactly, element by element; return the products and their scale."""
    x, y = a_format.decode(a), b_format.decode(b)
    infinite = x.infinite | y.infinite
    zero = (x.significand == 0) | (y.significand == 0)
    products = Decoded(
        negative=x.negative ^ y.negative,
        exponent=x.exponent + y.exponent,
        significand=x.significand * y.significand,
        infinite=infinite,
        nan=x.nan | y.nan | (infinite & zero),
    )
    return products, a_format.scale + b_format.scale


def multiply(
    a: NDArray,
    a_format: FloatFormat | IntFormat,
    b: NDArray,
    b_format: FloatFormat,
    to: FloatFormat,
) -> _Ints:
    """Multiply two values and round the product once to a third format, as in IEEE 754.

    Parameters
    ----------
    a, b : patterns, int[...], whose shapes broadcast
    a_format, b_format : their formats
    to : format of the result

    Returns
    -------
    int64[...], patterns of ``to``
    """
    p, scale = _products(a, a_format, b, b_format)
    result = to.encode(p.negative, p.significand, p.exponent + scale)
    infinity = to.overflow | p.negative.astype(np.int64) << (to.bits - 1)
    return np.where(p.nan, to.nan, np.where(p.infinite, infinity, result))


def fused_dot(
    weights: NDArray,
    weight_format: FloatFormat | IntFormat,
    activations: NDArray,
    activation_format: FloatFormat,
    to: FloatFormat,
    window: int | None = None,
) -> _Ints:
    """Compute dot products in integers that are aligned to the largest exponent, rounded once.

    The exponent of a product is the sum of its operands' stored exponents. ``E`` is the largest
    exponent of the nonzero products so far, this beat included. Products are truncated toward zero
    to ``window`` bits, counted from the highest bit that a product with exponent ``E`` can have.
    When ``E`` grows, the accumulator is shifted right by the growth, rounded toward −∞. All sums
    are exact. Only the final accumulator is rounded to a floating-point format. A sum of zero is
    +0. The result is NaN after a NaN, after 0 · ∞, and after infinities of both signs.

    Parameters
    ----------
    weights, activations : patterns, int[dots, beats, lanes]
    weight_format, activation_format : formats of the patterns
    to : format of the result
    window : bits kept of the largest product; by default three more than a significand of ``to``

    Returns
    -------
    int64[dots], patterns of ``to``
    """
    p, scale = _products(weights, weight_format, activations, activation_format)
    window = to.precision + 3 if window is None else window
    guard = window - weight_format.precision - activation_format.precision
    largest = np.where(p.significand > 0, p.exponent, 0).max(axis=2)  # (dots, beats)
    running = np.maximum.accumulate(largest, axis=1)
    behind = running[:, :, np.newaxis] - p.exponent
    down = np.clip(behind - guard, 0, 63)
    up = np.clip(guard - behind, 0, max(guard, 0))
    terms = np.where(behind >= 0, p.significand >> down << up, 0)
    sums = np.where(p.negative, -terms, terms).sum(axis=2)
    total = sums[:, 0]
    for beat in range(1, sums.shape[1]):
        grown = running[:, beat] - running[:, beat - 1]
        total = (total >> np.minimum(grown, 63)) + sums[:, beat]
    result = to.encode(total < 0, np.abs(total), running[:, -1] + scale - guard)
    positive = (p.infinite & ~p.negative).any(axis=(1, 2))
    negative = (p.infinite & p.negative).any(axis=(1, 2))
    nan = p.nan.any(axis=(1, 2)) | (positive & negative)
    sign = 1 << (to.bits - 1)
    result = np.where(positive, to.overflow, np.where(negative, to.overflow | sign, result))
    return np.where(nan, to.nan, result)


def tree_dot(
    weights: NDArray,
    weight_format: FloatFormat | IntFormat,
    activations: NDArray,
    activation_format: FloatFormat,
    to: FloatFormat,
) -> _Ints:
    """Compute dot products by IEEE 754 operations in the format of the result, in a fixed order.

    Each product is rounded once to ``to``. In each beat, neighbors are added: lanes 0 and 1, 2 and
    3, and so on. An odd last value goes to the next level unchanged. This repeats until one sum is
    left. The accumulator starts with the first beat's sum, and the other sums are added to it one
    after another.

    Parameters
    ----------
    weights, activations : patterns, int[dots, beats, lanes]
    weight_format, activation_format : formats of the patterns
    to : format of the result: FP32 or FP16, whose additions are NumPy's

    Returns
    -------
    int64[dots], patterns of ``to``
    """
    dtype, pattern = {32: (np.float32, np.uint32), 16: (np.float16, np.uint16)}[to.bits]
    rounded = multiply(weights, weight_format, activations, activation_format, to)
    values = rounded.astype(pattern).view(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        while values.shape[2] > 1:
            odd = values[:, :, values.shape[2] // 2 * 2 :]
            pairs = values[:, :, 0:-1:2] + values[:, :, 1::2]
            values = np.concatenate([pairs, odd], axis=2)
        total = np.add.accumulate(values[:, :, 0], axis=1)[:, -1]
    return np.where(np.isnan(total), to.nan, total.view(pattern).astype(np.int64))

"""Arithmetic of the token core: 24-bit elements, its special functions, and its int8 quantizer.

An element has a sign, 8 exponent bits with bias 127, and 15 stored fraction bits, so that its
significand has 16 bits and fits one multiplier of any FPGA. It is a float32 whose last 8 fraction
bits are zero. Zero has exponent 0; there are no subnormals, infinities or NaNs.

NumPy carries elements as float64. Every product and every sum of two elements is rounded once here:
a product is exact in float64, and a float64 sum that is not exact rounds to the same element as the
exact sum, because 53 bits are more than ``2 · 16 + 2``.
"""

from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BIAS",
    "LARGEST",
    "LOG2_E",
    "SEGMENT_BITS",
    "SIGNIFICAND_BITS",
    "TABLES",
    "OverflowFlag",
    "Table",
    "element_bits",
    "exp2",
    "from_element_bits",
    "quantize_elements",
    "reciprocal",
    "reciprocal_root",
    "round_element",
    "saturate_element",
    "scaled_integers",
    "score_factor",
    "split",
]

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]

#: Bits of a significand, the leading one included.
SIGNIFICAND_BITS = 16


#: Stored exponent of the values from 1 to 2.
BIAS = 127


#: log₂ e, by which exponentials become powers of two.
LOG2_E = 1.4426950408889634


#: Bits of the position within a segment of a table; the 8 bits above them number the segment.
SEGMENT_BITS = 7

#: Bits below the binary point of the values in a table.
_TABLE_BITS = 18

#: Smallest and largest magnitude besides zero.
_SMALLEST = 2.0 ** (1 - BIAS)
LARGEST = (2.0 - 2.0 ** (1 - SIGNIFICAND_BITS)) * 2.0 ** (254 - BIAS)

#: Smallest magnitude that overflows: half-way from ``LARGEST`` to 2¹²⁸, where the tie goes up.
_TOO_LARGE = (2.0 - 2.0**-SIGNIFICAND_BITS) * 2.0 ** (254 - BIAS)

#: Fraction bits of a float64 that an element does not have.
_SURPLUS = np.int64(52 - (SIGNIFICAND_BITS - 1))


class OverflowFlag:
    """Sticky flag: a value was too large for an element while the flag was open.

    The token core has the same flag in hardware, and it is part of ``TokenCore.error``. The flag is
    open within a ``with`` statement. Of several open flags, the innermost one is raised.

    Two results are not too large, because saturation leads to the right limit: a power of two, and
    the steps of a sigmoid. A vector whose largest magnitude is above 2¹²⁶ raises the flag when it
    is quantized, since no element is 127 / largest.

    Example: within ``with OverflowFlag() as flag``, ``round_element(2.0**128)`` sets
    ``flag.raised``.

    Attributes
    ----------
    raised : the flag is set
    """

    def __init__(self) -> None:
        self.raised = False
        self._token: Token[OverflowFlag | None] | None = None

    def __enter__(self) -> Self:
        self._token = _OPEN_FLAG.set(self)
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._token is not None
        _OPEN_FLAG.reset(self._token)


_OPEN_FLAG: ContextVar[OverflowFlag | None] = ContextVar("open_flag", default=None)


def _raise_flag(too_large: Callable[[], NDArray[np.bool_]]) -> None:
    """Raise the open flag, if there is one and any value is too large."""
    flag = _OPEN_FLAG.get()
    if flag is not None and not flag.raised:
        flag.raised = bool(too_large().any())


def round_element(x: NDArray | float) -> _Floats:
    """Round to elements: half to even, to zero below 2⁻¹²⁶, and to ``LARGEST`` at overflow.

    An overflow raises the open ``OverflowFlag``.

    Parameters
    ----------
    x : float64 or integers of less than 2⁵³, of any shape

    Returns
    -------
    float64 of the same shape
    """
    # Numbers below this one round to LARGEST or less.
    _raise_flag(lambda: np.abs(x) >= _TOO_LARGE)
    return saturate_element(x)


def saturate_element(x: NDArray | float) -> _Floats:
    """Round to elements like ``round_element``, and raise no ``OverflowFlag``."""
    bits = np.asarray(x, np.float64).view(np.int64)
    half = (np.int64(1) << (_SURPLUS - 1)) - 1 + ((bits >> _SURPLUS) & 1)
    rounded = ((bits + half) >> _SURPLUS << _SURPLUS).view(np.float64)
    rounded = np.clip(rounded, -LARGEST, LARGEST)
    return np.where(np.abs(rounded) < _SMALLEST, 0.0, rounded)


def element_bits(x: _Floats) -> NDArray[np.uint32]:
    """Encode elements as 24-bit words: sign in bit 23, exponent, fraction in bits 14 to 0."""
    return (np.asarray(x).astype(np.float32) + np.float32(0)).view(np.uint32) >> np.uint32(8)


def from_element_bits(words: NDArray[np.uint32]) -> _Floats:
    """Decode 24-bit words to elements; the inverse of ``element_bits``."""
    return (np.asarray(words, np.uint32) << np.uint32(8)).view(np.float32).astype(np.float64)


def split(x: _Floats) -> tuple[_Ints, _Ints]:
    """Split positive elements: ``x = significand · 2^(exponent − 15)``, significand from 2¹⁵."""
    fraction, exponent = np.frexp(x)
    significand = (fraction * 2.0**SIGNIFICAND_BITS).astype(np.int64)
    return significand, exponent.astype(np.int64) - 1


@dataclass(frozen=True, kw_only=True)
class Table:
    """A function in 256 straight segments, in integers with 18 bits below the binary point.

    ``value(p) = bases[p >> 7] + ((slopes[p >> 7] · (p & 127)) >> 7)`` for p of 15 bits. Each
    segment meets the exact function at its two ends, up to rounding.

    Parameters
    ----------
    bases : int64[256], values at the start of the segments
    slopes : int64[256], differences to the values at their ends
    """

    bases: _Ints
    slopes: _Ints

    @classmethod
    def of(cls, function: Callable[[_Floats], _Floats]) -> "Table":
        """Tabulate a function of the numbers from 0 to 1."""
        ends = np.rint(function(np.arange(257) / 256) * 2.0**_TABLE_BITS).astype(np.int64)
        return cls(bases=ends[:-1], slopes=np.diff(ends))

    def __call__(self, position: _Ints) -> _Floats:
        """Look up 15-bit positions, and interpolate."""
        segment, place = position >> SEGMENT_BITS, position & ((1 << SEGMENT_BITS) - 1)
        value = self.bases[segment] + ((self.slopes[segment] * place) >> SEGMENT_BITS)
        return value.astype(np.float64) * 2.0**-_TABLE_BITS


#: Tables of the special functions. The reciprocal root has one for each parity of the exponent.
TABLES = {
    "reciprocal": Table.of(lambda p: 1 / (1 + p)),
    "root_even": Table.of(lambda p: 1 / np.sqrt(1 + p)),
    "root_odd": Table.of(lambda p: 1 / np.sqrt(2 + 2 * p)),
    "exp2": Table.of(lambda p: 2.0 ** (p - 1)),
}


def reciprocal(x: _Floats) -> _Floats:
    """Compute 1/x of elements that are not negative, and 0 for 0.

    The relative error is at most 2⁻¹⁵.
    """
    significand, exponent = split(x)
    value = TABLES["reciprocal"](np.maximum(significand - 2**15, 0))
    return np.where(x > 0, round_element(np.ldexp(value, -exponent)), 0.0)


def reciprocal_root(x: _Floats) -> _Floats:
    """Compute 1/√x of elements that are not negative, and 0 for 0.

    The relative error is at most 2⁻¹⁵.
    """
    significand, exponent = split(x)
    position = np.maximum(significand - 2**15, 0)
    value = np.where(exponent % 2, TABLES["root_odd"](position), TABLES["root_even"](position))
    return np.where(x > 0, round_element(np.ldexp(value, -(exponent // 2))), 0.0)


def exp2(x: _Floats) -> _Floats:
    """Compute 2ˣ of elements, with x rounded to 15 bits below the binary point.

    The relative error is at most 2⁻¹⁴. Results are rounded as ``saturate_element`` says.
    """
    fixed = np.rint(np.clip(x, -256.0, 256.0) * 2.0**15).astype(np.int64)
    return saturate_element(np.ldexp(TABLES["exp2"](fixed & (2**15 - 1)), (fixed >> 15) + 1))


def quantize_elements(x: _Floats, largest: _Floats) -> tuple[_Ints, _Floats]:
    """Quantize elements to integers from −127 to 127, with one scale for each row.

    ``q = rint(x · r)`` with ``r = round(127 · reciprocal(largest))``; the product is exact and
    rounded half to even.

    Parameters
    ----------
    x : elements [..., K]
    largest : elements [..., 1], the largest magnitude of each row

    Returns
    -------
    q : int64[..., K]
    scale : elements [..., 1], ``round(largest / 127)``, so that ``x`` is about ``q · scale``
    """
    factor = round_element(127 * reciprocal(largest))
    # Above 2¹²⁶ the reciprocal is 0, and so are all integers.
    _raise_flag(lambda: (factor == 0) & (largest > 0))
    return np.rint(x * factor).astype(np.int64), round_element(largest * round_element(1 / 127))


def scaled_integers(x: _Floats, largest: _Floats) -> tuple[_Ints, _Ints]:
    """Round elements to 16-bit integers with a common exponent for each row.

    Parameters
    ----------
    x : elements [..., K]
    largest : elements [..., 1], the largest magnitude of each row

    Returns
    -------
    integers : int64[..., K], of at most 2¹⁶ in magnitude, rounded half to even
    exponent : int64[..., 1], so that ``x`` is about ``integers · 2^exponent``
    """
    exponent = np.where(largest > 0, split(largest)[1], 0) - (SIGNIFICAND_BITS - 1)
    return np.rint(np.ldexp(x, -exponent)).astype(np.int64), exponent


def score_factor(size: int) -> float:
    """Constant that scores of heads are scaled by: ``log₂ e / √size``, an element."""
    return float(round_element(size**-0.5 * LOG2_E))

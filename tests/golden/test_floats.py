from fractions import Fraction
from itertools import product

import ml_dtypes
import numpy as np
import pytest

from trilith.golden.floats import (
    BF16,
    E4M3,
    E5M2,
    FP16,
    FP32,
    INT4,
    FloatFormat,
    fused_dot,
    multiply,
    tree_dot,
)

DTYPES = {
    FP32: np.float32,
    FP16: np.float16,
    BF16: ml_dtypes.bfloat16,
    E4M3: ml_dtypes.float8_e4m3fn,
    E5M2: ml_dtypes.float8_e5m2,
}
by_format = pytest.mark.parametrize("fmt", DTYPES, ids=lambda fmt: fmt.name)


def floats(fmt: FloatFormat, patterns: np.ndarray) -> np.ndarray:
    """The same patterns as NumPy numbers."""
    return patterns.astype(f"u{fmt.bits // 8}").view(DTYPES[fmt])


def exact(fmt, pattern: int) -> Fraction:
    """The value of a finite pattern."""
    if fmt is INT4:
        return Fraction(pattern - 16 * (pattern > 7))
    return Fraction(float(floats(fmt, np.array([pattern]))[0]))


def values_below(fmt: FloatFormat, magnitude: Fraction) -> int:
    """The pattern nearest to a magnitude, half to even, found by bisection of all patterns."""
    low, high = 0, fmt.overflow
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if exact(fmt, middle) <= magnitude else (low, middle)
    below = exact(fmt, low)
    # What would follow the largest is worth one more step.
    above = exact(fmt, high) if high < fmt.overflow else 2 * below - exact(fmt, low - 1)
    if magnitude - below == above - magnitude:
        return low + low % 2
    return low if magnitude - below < above - magnitude else high


@by_format
def test_formats_are_those_of_numpy(fmt):
    info = ml_dtypes.finfo(DTYPES[fmt])
    patterns = (
        np.arange(2**16) if fmt.bits <= 16 else np.random.default_rng(0).integers(0, 2**32, 9999)
    )
    patterns &= 2**fmt.bits - 1
    with np.errstate(invalid="ignore"):  # Signaling NaNs.
        numbers = floats(fmt, patterns).astype(np.float64)
    decoded = fmt.decode(patterns)
    assert np.array_equal(decoded.nan, np.isnan(numbers))
    assert np.array_equal(decoded.infinite, np.isinf(numbers))
    finite = ~(decoded.nan | decoded.infinite)
    found = np.ldexp(decoded.significand.astype(float), decoded.exponent + fmt.scale)
    assert np.array_equal(np.where(decoded.negative, -found, found)[finite], numbers[finite])
    encoded = fmt.encode(decoded.negative, decoded.significand, decoded.exponent + fmt.scale)
    assert np.array_equal(encoded[finite], patterns[finite])
    assert exact(fmt, fmt.overflow - 1) == Fraction(float(info.max))
    assert np.isnan(floats(fmt, np.array([fmt.nan])).astype(float))[0]


@by_format
def test_rounding_is_to_the_nearest_by_definition(fmt):
    rng = np.random.default_rng(1)
    significands = rng.integers(0, 2 ** rng.integers(1, 53, 3000))
    exponents = rng.integers(fmt.scale - 50, fmt.largest_exponent + fmt.scale + 5, 3000)
    # Halfway between neighbors, and next to it.
    halves = (rng.integers(0, 2**fmt.mantissa_bits, 3000) << 4) + rng.integers(7, 10, 3000)
    for significand, exponent in zip(
        [*significands[:1500].tolist(), *halves.tolist()], exponents.tolist(), strict=False
    ):
        pattern = fmt.encode(np.array(True), np.array(significand), np.array(exponent))
        expected = values_below(fmt, significand * Fraction(2) ** exponent)
        if expected < fmt.overflow or fmt.infinities:
            expected |= 1 << (fmt.bits - 1)
        assert pattern == expected, (significand, exponent)


@by_format
def test_products_are_those_of_numpy(fmt):
    rng = np.random.default_rng(2)
    if fmt.bits == 8:
        a, b = np.arange(2**16) >> 8, np.arange(2**16) & 255
    else:
        a, b = rng.integers(0, 2**fmt.bits, (2, 50_000), dtype=np.int64)
    with np.errstate(all="ignore"):
        expected = floats(fmt, a) * floats(fmt, b)
    nan = np.isnan(expected.astype(float))
    patterns = expected.view(f"u{fmt.bits // 8}")
    assert np.array_equal(multiply(a, fmt, b, fmt, fmt), np.where(nan, fmt.nan, patterns))


def naive_fused(w, w_format, x, x_format, to, window) -> int:
    """The documented sum in fractions, one product at a time; finite operands."""
    guard = window - w_format.precision - x_format.precision
    accumulator, before = Fraction(0), 0
    beats = []
    for beat_w, beat_x in zip(w.tolist(), x.tolist(), strict=True):
        parts = []
        for a, b in zip(beat_w, beat_x, strict=True):
            value = exact(w_format, a) * exact(x_format, b)
            stored = [
                0 if f is INT4 else max(p >> f.mantissa_bits & (2**f.exponent_bits - 1), 1)
                for f, p in ((w_format, a), (x_format, b))
            ]
            parts.append((value, sum(stored)))
        beats.append(parts)
    for parts in beats:
        largest = max([before, *(exponent for value, exponent in parts if value)])
        unit = Fraction(2) ** (largest + w_format.scale + x_format.scale - guard)
        accumulator = accumulator // unit * unit  # Floor.
        for value, _ in parts:
            accumulator += int(value / unit) * unit  # Toward zero.
        before = largest
    negative = accumulator < 0
    return values_below(to, abs(accumulator)) | negative << (to.bits - 1)


@pytest.mark.parametrize(
    ("w_format", "x_format", "to", "window"),
    [
        (FP16, FP16, FP32, 27),
        (FP16, FP16, FP16, 14),
        (E4M3, E4M3, FP32, 27),
        (E5M2, E5M2, FP16, 9),
        (BF16, BF16, FP32, 27),
        (FP32, FP32, FP32, 27),
        (INT4, FP16, FP32, 27),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_fused_sum_by_definition(w_format, x_format, to, window):
    rng = np.random.default_rng(3)

    def some(fmt):
        patterns = rng.integers(0, 2**fmt.bits, (60, 3, 4))
        if fmt is INT4:
            return patterns
        # Exponents that differ by little and by much, all finite.
        spread = np.array([0, 3, 8, fmt.bias])[rng.integers(0, 4, (60, 1, 1))]
        field = np.clip(fmt.bias + rng.integers(-spread, spread + 1, (60, 3, 4)), 0, 2 * fmt.bias)
        sign, fraction = 1 << (fmt.bits - 1), 2**fmt.mantissa_bits - 1
        return (patterns & (sign | fraction)) | field << fmt.mantissa_bits

    w, x = some(w_format), some(x_format)
    found = fused_dot(w, w_format, x, x_format, to, window)
    expected = [
        naive_fused(a, w_format, b, x_format, to, window) for a, b in zip(w, x, strict=True)
    ]
    assert found.tolist() == expected


def test_the_fused_sum_is_exact_where_the_window_is_wide_enough():
    rng = np.random.default_rng(4)
    w, x = rng.integers(0, 0x7F, (2, 300, 4, 5)) | rng.integers(0, 2, (2, 300, 4, 5)) << 7
    found = fused_dot(w, E4M3, x, E4M3, FP32, 36)
    products = floats(E4M3, w).astype(np.float64) * floats(E4M3, x).astype(np.float64)
    assert np.array_equal(
        found, (products.sum(axis=(1, 2)) + 0.0).astype(np.float32).view(np.uint32)
    )


@pytest.mark.parametrize("dot", [fused_dot, tree_dot])
def test_specials(dot):
    one, infinity, minus, nan = 0x3C00, 0x7C00, 0xFC00, 0x7E00
    for a, b, c, d in product((0, one, infinity, minus, nan), repeat=4):
        w, x = np.array([[[a], [b]]]), np.array([[[c], [d]]])
        with np.errstate(invalid="ignore"):
            values = floats(FP16, np.array([a, b])).astype(np.float32)
            values = values * floats(FP16, np.array([c, d])).astype(np.float32)
            total = values[0] + values[1]
        expected = FP32.nan if np.isnan(total) else int(total.view(np.uint32))
        assert dot(w, FP16, x, FP16, FP32).tolist() == [expected]


def test_the_order_of_the_tree():
    big, small = 0x7B00, 0x0001  # 57344 and 2^−24: lost beside the other in FP16.
    w = np.array([[[big, small, big ^ 0x8000, small, small]]])
    ones = np.full((1, 1, 5), 0x3C00)
    # ((57344 + 2⁻²⁴) + (−57344 + 2⁻²⁴)) + 2⁻²⁴.
    assert tree_dot(w, FP16, ones, FP16, FP16).tolist() == [0x0001]
    assert fused_dot(w, FP16, ones, FP16, FP16, 60).tolist() == [0x0003]

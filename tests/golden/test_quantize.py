import re

import numpy as np
import pytest

from trilith.golden import CODES, absmax_quantize, absmean_quantize
from trilith.golden.quantize import a48_quantize, sherry_quantize


def naive_absmean(w):
    """FORMATS in scalar form: s = 1/max(mean|W|, 1e-5), T = clip(round(W·s), -1, 1)."""
    scale = max(np.float32(sum(abs(float(v)) for v in w.flat) / w.size), np.float32(1e-5))
    s = np.float32(1) / scale
    trits = [[min(1, max(-1, round(float(v * s)))) for v in row] for row in w]
    return np.array(trits, np.int8), scale


def naive_absmax(x, bits):
    qmax = {8: 127, 4: 7, 2: 1}[bits]
    rows, scales = [], []
    for row in x:
        s = np.float32(qmax) / max(max(abs(v) for v in row), np.float32(1e-5))
        low = -1 if bits == 2 else -qmax - 1
        rows.append([min(qmax, max(low, round(float(v * s)))) for v in row])
        scales.append([s])
    return np.array(rows, np.int8), np.array(scales, np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_absmean_equals_naive(seed):
    w = np.random.default_rng(seed).standard_normal((13, 29)).astype(np.float32)
    trits, scale = absmean_quantize(w)
    expected, expected_scale = naive_absmean(w)
    assert trits.dtype == np.int8
    assert scale.dtype == np.float32
    np.testing.assert_array_equal(trits, expected)
    assert scale == expected_scale


def test_absmean_half_rounds_to_even():
    # The mean is 1, so that 0.5 is a tie and 1.5 is clipped.
    w = np.array([[0.5, -0.5, 1.5, -1.5]], np.float32)
    trits, scale = absmean_quantize(w)
    assert scale == 1
    np.testing.assert_array_equal(trits, [[0, 0, 1, -1]])


def test_absmean_of_zeros_has_the_least_scale():
    trits, scale = absmean_quantize(np.zeros((2, 3), np.float32))
    assert scale == np.float32(1e-5)
    assert not trits.any()


@pytest.mark.parametrize("seed", range(5))
def test_sherry_has_the_least_squared_error(seed):
    """No other trits with one zero in each four, at any scale, are nearer to the weights."""
    w = np.random.default_rng(seed).standard_normal((1, 8)).astype(np.float32)
    trits, scale = sherry_quantize(w)
    assert trits.dtype == np.int8
    assert scale.dtype == np.float32
    assert ((trits.reshape(2, 4) == 0).sum(axis=1) == 1).all()
    table = CODES["sherry"].table
    every = np.concatenate([np.repeat(table, 32, axis=0), np.tile(table, (32, 1))], axis=1)
    # The best scale of some trits is w·t / t·t, and t·t is 6.
    best = np.maximum(every @ w[0] / 6, 0)
    errors = ((w - every * best[:, None]) ** 2).sum(axis=1)
    assert ((w - trits * scale) ** 2).sum() <= errors.min() * (1 + 1e-5)


def test_sherry_of_equal_weights():
    trits, scale = sherry_quantize(np.array([[1, 1, -1, 1, 0, 0, 0, 0]], np.float32))
    np.testing.assert_array_equal(trits, [[0, 1, -1, 1, 0, 1, 1, 1]])
    assert scale == 0.5
    with pytest.raises(ValueError, match=r"^K must be a multiple of 4, not 6$"):
        sherry_quantize(np.ones((2, 6), np.float32))


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("seed", range(3))
def test_absmax_equals_naive(bits, seed):
    x = np.random.default_rng(seed).standard_normal((7, 31)).astype(np.float32)
    q, scale = absmax_quantize(x, bits)
    expected, expected_scale = naive_absmax(x, bits)
    np.testing.assert_array_equal(q, expected)
    np.testing.assert_array_equal(scale, expected_scale)
    assert (q.dtype, scale.dtype, scale.shape) == (np.int8, np.float32, (7, 1))


def test_absmax_half_rounds_to_even():
    x = np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5]], np.float32)
    np.testing.assert_array_equal(absmax_quantize(x)[0], [[127, 0, 2, 2, 0, -2]])


def test_absmax_of_a_zero_row():
    q, scale = absmax_quantize(np.zeros((1, 4), np.float32))
    assert not q.any()
    assert scale[0, 0] == np.float32(127) / np.float32(1e-5)


def test_a48_equals_naive():
    x = np.random.default_rng(5).standard_normal((7, 31)).astype(np.float32)
    q, scale = a48_quantize(x)
    assert (q.dtype, scale.dtype, scale.shape) == (np.int8, np.float32, (7, 1))
    for row, one, s in zip(x, q, scale[:, 0], strict=True):
        mean = np.float32(sum(abs(float(v)) for v in row) / 31)
        assert s == np.sqrt(np.float32(7)) / (mean + np.float32(1e-5))
        assert one.tolist() == [min(7, max(-8, round(float(v * s)))) for v in row]


def test_a48_of_zero_and_tiny_rows():
    """The least divisor is 1e-5: it is added to the mean magnitude, so that no row divides by 0."""
    q, scale = a48_quantize(np.array([[0, 0], [1e-5, -1e-5], [1e-6, -1e-6]], np.float32))
    np.testing.assert_array_equal(q, [[0, 0], [1, -1], [0, 0]])
    np.testing.assert_allclose(scale[:, 0], np.sqrt(7) / [1e-5, 2e-5, 1.1e-5], rtol=1e-6)


def test_a48_clips_to_four_bits():
    q, _ = a48_quantize(np.array([[100.0, -100.0, *[0.0] * 30]], np.float32))
    assert (q.max(), q.min()) == (7, -8)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: absmean_quantize(np.zeros((2, 2), np.int8)),
            TypeError,
            "w must have a float type, not int8",
        ),
        (
            lambda: absmean_quantize(np.zeros(4, np.float32)),
            ValueError,
            "w must have two non-empty dimensions, not shape (4,)",
        ),
        (
            lambda: absmean_quantize(np.array([[1.0, np.nan]])),
            ValueError,
            "w must be finite in float32, not nan at [0, 1]",
        ),
        (
            lambda: absmax_quantize(np.zeros((0, 2), np.float32)),
            ValueError,
            "x must have two non-empty dimensions, not shape (0, 2)",
        ),
        (
            lambda: absmax_quantize(np.array([[np.inf]])),
            ValueError,
            "x must be finite in float32, not inf at [0, 0]",
        ),
        (
            lambda: absmax_quantize(np.zeros((1, 1)), 3),
            ValueError,
            "bits must be 8, 4 or 2, not 3",
        ),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        call()

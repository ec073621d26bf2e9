import re

import numpy as np
import pytest

from trilith.golden import BitLinear, absmax_quantize, ternary_matmul


def test_matmul_equals_naive():
    rng = np.random.default_rng(0)
    trits = rng.integers(-1, 2, (5, 17), np.int8)
    q = rng.integers(-128, 128, (3, 17), np.int8)
    naive = [
        [sum(int(w) * int(x) for w, x in zip(row, v, strict=True)) for row in trits] for v in q
    ]
    y = ternary_matmul(trits, q)
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, naive)


def test_matmul_at_the_extremes():
    y = ternary_matmul(np.full((1, 23040), -1, np.int8), np.full((1, 23040), -128, np.int8))
    assert y[0, 0] == 23040 * 128


def test_bitlinear_is_product_times_scales():
    rng = np.random.default_rng(1)
    trits = rng.integers(-1, 2, (4, 33), np.int8)
    x = rng.standard_normal((2, 33)).astype(np.float32)
    layer = BitLinear(trits=trits, weight_scale=np.float32(0.37))
    q, scale = absmax_quantize(x)
    expected = ternary_matmul(trits, q).astype(np.float32) * np.float32(0.37) / scale
    y = layer(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, expected)
    # Quantization moves each input by at most half a step of 1/scale.
    error = np.abs(y - x @ (trits * np.float32(0.37)).T)
    assert (error <= 0.37 * 33 * 0.5 / scale + 1e-5).all()


@pytest.mark.parametrize("bits", [4, 2])
def test_bitlinear_with_fewer_bits(bits):
    x = np.random.default_rng(2).standard_normal((1, 9)).astype(np.float32)
    seen = []

    def matmul(trits, q):
        seen.append(q)
        return ternary_matmul(trits, q)

    BitLinear(
        trits=np.ones((1, 9), np.int8), weight_scale=np.float32(1), act_bits=bits, matmul=matmul
    )(x)
    assert np.abs(seen[0]).max() == {4: 7, 2: 1}[bits]


@pytest.mark.parametrize(
    ("trits", "q", "kind", "message"),
    [
        (
            np.array([[2]], np.int8),
            np.zeros((1, 1), np.int8),
            ValueError,
            "trits must be from -1 to 1, not 2 at [0, 0]",
        ),
        (
            np.zeros((1, 2), np.int8),
            np.array([[0, 128]]),
            ValueError,
            "activations must be from -128 to 127, not 128 at [0, 1]",
        ),
        (
            np.zeros((1, 2), np.int8),
            np.zeros((1, 2)),
            TypeError,
            "activations must have an integer type, not float64",
        ),
        (
            np.zeros((1, 2), np.int8),
            np.zeros((1, 3), np.int8),
            ValueError,
            "trits and activations must share K, not have 2 and 3",
        ),
        (
            [[1]],
            np.zeros((1, 1), np.int8),
            TypeError,
            "trits must be a NumPy array, not list",
        ),
    ],
)
def test_bad_input(trits, q, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        ternary_matmul(trits, q)

import re

import numpy as np
import pytest

from trilith.golden import ternary_matmul


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

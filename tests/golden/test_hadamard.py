"""The Walsh-Hadamard transform against a matrix of ones and minus ones."""

import re
from functools import cache

import numpy as np
import pytest

from trilith.golden.hadamard import HADAMARD_SIZES, Hadamard, walsh_hadamard


@cache
def dense(size):
    """Entry (i, j) is -1 where i & j has an odd number of ones."""
    places = np.arange(size)
    return 1 - 2 * (np.bitwise_count(places[:, None] & places) % 2).astype(np.int64)


@pytest.mark.parametrize("size", HADAMARD_SIZES)
def test_integers_are_exact(size):
    x = np.random.default_rng(size).integers(-128, 128, (3, 2 * size), np.int8)
    y = walsh_hadamard(x, size)
    assert y.dtype == np.int64
    naive = x.reshape(3, 2, size).astype(np.int64) @ dense(size)
    np.testing.assert_array_equal(y, naive.reshape(3, -1))
    np.testing.assert_array_equal(walsh_hadamard(y, size), x.astype(np.int64) * size)
    extreme = walsh_hadamard(np.full(size, -128, np.int8), size)
    assert (extreme[0], np.count_nonzero(extreme)) == (-128 * size, 1)


@pytest.mark.parametrize("size", HADAMARD_SIZES)
def test_the_transform_with_signs(size):
    rng = np.random.default_rng(size)
    k = 3 * size
    signs = rng.choice(np.array([-1, 1], np.int8), k)
    transform = Hadamard(size=size, signs=signs)
    x = rng.standard_normal((4, k)).astype(np.float32)
    matrix = np.kron(np.eye(3), dense(size)) @ np.diag(signs.astype(float))
    found = transform(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, x @ matrix.T / size**0.5, atol=2e-6 * size**0.5)
    np.testing.assert_allclose(transform.inverse(found), x, atol=2e-6 * size**0.5)
    # Integers in float32 stay exact where 1/sqrt(n) is a power of two.
    if size in (64, 256, 1024):
        whole = rng.integers(-128, 128, (2, k)).astype(np.float32)
        np.testing.assert_array_equal(transform(whole), whole @ matrix.T / size**0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: walsh_hadamard(np.ones(32), 32), "size must be 64, 128, 256, 512 or 1024, not 32"),
        (lambda: walsh_hadamard(np.ones(96), 64), "x must have a multiple of 64 values, not 96"),
        (lambda: Hadamard(size=100), "size must be 64, 128, 256, 512 or 1024, not 100"),
        (
            lambda: Hadamard(size=64, signs=np.ones(65, np.int8)),
            "signs must have a multiple of 64 values, not 65",
        ),
        (lambda: Hadamard(size=64, signs=np.zeros(64, np.int8)), "signs must be 1 and -1"),
        (
            lambda: Hadamard(size=64).check_inputs(96),
            "the transform must have a multiple of 64 inputs, not 96",
        ),
        (
            lambda: Hadamard(size=64, signs=np.ones(64, np.int8)).check_inputs(128),
            "the transform must have 64 inputs, not 128",
        ),
    ],
)
def test_illegal_parameters(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()

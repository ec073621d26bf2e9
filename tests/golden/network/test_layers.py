from dataclasses import replace
from functools import partial

import ml_dtypes
import numpy as np
import pytest

from trilith.golden import BitLinear, TernaryTensor, absmax_quantize, packed_matmul, ternary_matmul
from trilith.golden.network.layers import rotate, to_float32
from trilith.golden.quantize import a48_quantize


def random_trits(rng, n, k):
    return rng.integers(-1, 2, (n, k), np.int8)


@pytest.mark.parametrize(
    ("n", "k", "tokens"), [(1, 1, 1), (3, 5, 2), (4, 8, 1), (37, 300, 3), (700, 2000, 1)]
)
def test_packed_product_equals_the_plain_one(n, k, tokens):
    rng = np.random.default_rng([n, k])
    trits = random_trits(rng, n, k)
    q = rng.integers(-128, 128, (tokens, k), np.int8)
    y = packed_matmul(TernaryTensor.from_trits("w", trits, 1.0), q)
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, ternary_matmul(trits, q))


@pytest.mark.parametrize("trit", [-1, 1])
@pytest.mark.parametrize("activation", [-128, 127])
def test_packed_product_is_exact_at_the_longest_k(trit, activation):
    # Sums of codes 0 to 2 times -128 reach 2**24 in magnitude, the last integer float32 has.
    weight = TernaryTensor.from_trits("w", np.full((5, 65536), trit, np.int8), 1.0)
    q = np.full((1, 65536), activation, np.int8)
    q[0, 0] += 1 if activation < 0 else -1
    assert (packed_matmul(weight, q) == trit * q.astype(np.int64).sum()).all()


@pytest.mark.parametrize(
    ("q", "kind", "message"),
    [
        (np.zeros((1, 3), np.int8), ValueError, "weights and activations must share K, not have"),
        (np.zeros((1, 4)), TypeError, "activations must have an integer type, not float64"),
        (np.full((1, 4), 128), ValueError, "activations must be from -128 to 127, not 128"),
    ],
)
def test_packed_product_refuses(q, kind, message):
    weight = TernaryTensor.from_trits("w", np.ones((2, 4), np.int8), 1.0)
    with pytest.raises(kind, match=f"^{message}"):
        packed_matmul(weight, q)


def test_packed_product_refuses_what_float32_could_not_sum():
    weight = TernaryTensor.from_trits("w", np.ones((1, 65537), np.int8), 1.0)
    with pytest.raises(ValueError, match=r"^K must be at most 65536 to be exact in float32, not"):
        packed_matmul(weight, np.zeros((1, 65537), np.int8))


def test_bitlinear_is_product_times_scales():
    rng = np.random.default_rng(1)
    trits = random_trits(rng, 4, 33)
    x = rng.standard_normal((2, 33)).astype(np.float32)
    layer = BitLinear(weight=TernaryTensor.from_trits("w", trits, 0.37))
    q, scale = absmax_quantize(x)
    expected = ternary_matmul(trits, q).astype(np.float32) * np.float32(0.37) / scale
    y = layer(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, expected)
    # Quantization moves each input by at most half a step of 1/scale.
    error = np.abs(y - x @ (trits * np.float32(0.37)).T)
    assert (error <= 0.37 * 33 * 0.5 / scale + 1e-5).all()


def test_bitlinear_divides_as_transformers_does():
    rng = np.random.default_rng(5)
    trits = random_trits(rng, 64, 33)
    x = rng.standard_normal((7, 33)).astype(np.float32)
    s = np.float32(0.7)
    weight = replace(TernaryTensor.from_trits("w", trits, s), divides=True)
    y = BitLinear(weight=weight)(x)
    assert y.dtype == np.float32
    q, scale = absmax_quantize(x)
    sums = ternary_matmul(trits, q).astype(np.float32)
    # post_quant_process of transformers.integrations.bitnet.BitLinear.
    np.testing.assert_array_equal(y, sums / (s * scale))
    # The product with the inverse, which is rounded, is not the same.
    assert (y != sums * (np.float32(1) / s) / scale).any()


def test_bitlinear_with_a_divisor_for_each_block_and_group():
    rng = np.random.default_rng(6)
    trits = random_trits(rng, 6, 12)
    scale = rng.uniform(0.5, 2, (3, 4)).astype(np.float32)
    x = rng.standard_normal((2, 12)).astype(np.float32)
    q, act_scale = absmax_quantize(x)
    weights = trits / scale.repeat(2, axis=0).repeat(3, axis=1)
    weight = replace(TernaryTensor.from_trits("w", trits, scale, 3), divides=True)
    y = BitLinear(weight=weight)(x)
    np.testing.assert_allclose(y, q.astype(np.float64) @ weights.T / act_scale, rtol=1e-5)


def test_bitlinear_with_a_scale_for_each_block_and_group():
    rng = np.random.default_rng(2)
    trits = random_trits(rng, 6, 12)
    scale = rng.uniform(0.5, 2, (3, 4)).astype(np.float32)
    x = rng.standard_normal((2, 12)).astype(np.float32)
    q, act_scale = absmax_quantize(x)
    weights = np.empty((6, 12))
    for n in range(6):
        for k in range(12):
            weights[n, k] = trits[n, k] * scale[n // 2, k // 3]
    y = BitLinear(weight=TernaryTensor.from_trits("w", trits, scale, 3))(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, q.astype(np.float64) @ weights.T / act_scale, rtol=1e-5)


@pytest.mark.parametrize(("bits", "most"), [(4, 7), (2, 1)])
def test_bitlinear_with_fewer_bits(bits, most):
    x = np.random.default_rng(3).standard_normal((1, 9)).astype(np.float32)
    seen = []

    def matmul(weight, q):
        seen.append(q)
        return ternary_matmul(weight.trits, q)

    BitLinear(
        weight=TernaryTensor.from_trits("w", np.ones((1, 9), np.int8), 1.0),
        quantize=partial(absmax_quantize, bits=bits),
        matmul=matmul,
    )(x)
    assert np.abs(seen[0]).max() == most


def test_a48_quantizer_scales_by_the_mean_and_clips():
    x = np.array([[1, -1, 1, -1], [0, 0, 0, 40]], np.float32)
    q, scale = a48_quantize(x)
    np.testing.assert_array_equal(q, [[3, -3, 3, -3], [0, 0, 0, 7]])
    np.testing.assert_allclose(scale[:, 0], [7**0.5, 7**0.5 / 10], rtol=2e-5)


def test_rotation_turns_pairs_and_keeps_length():
    x = np.random.default_rng(4).standard_normal((3, 2, 8)).astype(np.float32)
    y = rotate(x, 5, 10_000.0)
    for token in range(3):
        for j in range(4):
            angle = (5 + token) * 10_000.0 ** (-2 * j / 8)
            pair = x[token, :, j] + 1j * x[token, :, j + 4]
            turned = pair * np.exp(1j * angle)
            np.testing.assert_allclose(y[token, :, j], turned.real, atol=1e-5)
            np.testing.assert_allclose(y[token, :, j + 4], turned.imag, atol=1e-5)


def test_float32_of_every_bfloat16():
    x = np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(to_float32(x), x.astype(np.float32))

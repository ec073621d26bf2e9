"""Detection of ternary-valued floats."""

import numpy as np

from trilith.golden.checkpoint.scales import ternary_from_float


def test_scales_in_groups_along_k():
    trits = np.random.default_rng(0).integers(-1, 2, (6, 128), np.int8)
    scale = np.array([[1, 2, 2, 4], [1, 3, 2, 4]], np.float32)
    w = trits * scale.repeat(3, axis=0).repeat(32, axis=1)
    tensor = ternary_from_float("w", w)
    np.testing.assert_array_equal(tensor.trits, trits)
    np.testing.assert_array_equal(tensor.scale, scale)
    assert tensor.group_size == 32
    assert ternary_from_float("w", np.zeros((3, 8), np.float16)).scale.tolist() == [[1]]
    w[0, 0] = 7
    assert ternary_from_float("w", w) is None

"""Ternary tensors: shapes, types and scales that fit each other."""

import re

import numpy as np
import pytest

from trilith.golden import (
    CheckpointError,
    TernaryTensor,
)
from trilith.golden.checkpoint.packing import count_trits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group_size": 3}, "w: group_size must divide K = 8, not be 3"),
        (
            {"scale": np.ones((3, 1), np.float32)},
            "w: scale must be float32[S, 1] where S divides N = 5, not float32 of shape (3, 1)",
        ),
        (
            {"scale": np.ones((1, 1))},
            "w: scale must be float32[S, 1] where S divides N = 5, not float64 of shape (1, 1)",
        ),
        (
            {"scale": np.full((1, 1), np.inf, np.float32)},
            "w: scales must be finite and not negative, not inf from output 0, input 0 on; the "
            "file is damaged, or was written after an overflow",
        ),
        ({"out_features": 9}, "w: packed weights of 9 outputs must have 3 rows, not 2"),
    ],
)
def test_tensor_that_does_not_fit_itself(change, message):
    trits = np.random.default_rng(0).integers(-1, 2, (5, 8), np.int8)
    tensor = TernaryTensor.from_trits("w", trits, 0.5)
    np.testing.assert_array_equal(tensor.trits, trits)
    assert count_trits(tensor.packed, 5).sum() == 40
    fields = {x: getattr(tensor, x) for x in ("name", "packed", "out_features", "scale")}
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        TernaryTensor(**{"group_size": 8} | fields | change)

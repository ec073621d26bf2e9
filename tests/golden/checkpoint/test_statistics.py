"""Figures of a checkpoint."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from trilith.golden import (
    load_checkpoint,
)
from trilith.golden.checkpoint.statistics import statistics

Q = "model.layers.0.self_attn.q_proj"


def test_statistics(tiny):
    folder, trits, _ = tiny()
    for name, t in trits.items():
        p = np.array([(t == x).mean() for x in (-1, 0, 1)])
        found = statistics(load_checkpoint(folder), name)
        assert found.zero_fraction == pytest.approx(p[1])
        assert found.entropy_bits_per_trit == pytest.approx(-(p * np.log2(p)).sum())
        assert found.stored_bits_per_weight == 2 + 32 / t.size
        assert (found.n, found.k, found.scales, found.stored_type) == (*t.shape, 1, "U8")
    zeros = np.full((64, 256), 0x55, np.uint8)
    folder, _, _ = tiny("zeros", {f"{Q}.weight": zeros})
    found = statistics(load_checkpoint(folder), Q)
    assert (found.zero_fraction, found.entropy_bits_per_trit) == (1.0, 0.0)
    assert load_file(folder / "model.safetensors")[f"{Q}.weight_scale"].size == 1

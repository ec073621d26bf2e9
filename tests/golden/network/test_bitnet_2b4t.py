"""The shapes of BitNet b1.58 2B4T, and its synthetic twin."""

import re

import pytest

from trilith.golden import CheckpointError, load_checkpoint
from trilith.golden.network.bitnet_2b4t import LAYER_SHAPES, read_layer, synthetic_checkpoint


def test_bitnet_layer(tiny):
    checkpoint = synthetic_checkpoint(seed=1)
    layer = read_layer(checkpoint, 3)
    assert {name: trits.shape for name, trits in layer.items()} == LAYER_SHAPES
    assert sum(trits.size for trits in layer.values()) == 69_468_160
    for trits in layer.values():
        assert abs((trits == 0).mean() - 0.422) < 0.002
        assert abs((trits == 1).mean() - 0.289) < 0.002
    message = "synthetic: must contain the tensor 'model.layers.30.self_attn.q_proj'; "
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}"):
        read_layer(checkpoint, 30)
    folder, _, _ = tiny()
    message = (
        f"{folder}: model.layers.0.self_attn.q_proj must be (2560, 2560) as in BitNet b1.58 2B4T, "
        "not (256, 256)"
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        read_layer(load_checkpoint(folder))


def test_quads_have_one_zero_and_both_signs():
    checkpoint = synthetic_checkpoint(seed=1, quads=True)
    trits = read_layer(checkpoint, 29)["self_attn.k_proj"]
    blocks = trits.reshape(len(trits), -1, 4, 16)
    # Four neighbors are a quad of sherry; four at a distance of 16 are one of STQ1_0.
    assert ((trits.reshape(-1, 4) == 0).sum(axis=1) == 1).all()
    assert ((blocks == 0).sum(axis=2) == 1).all()
    for value in (-1, 1):
        assert abs((trits == value).mean() - 0.375) < 0.002


def test_2b4ts_shapes():
    assert LAYER_SHAPES == {
        "self_attn.q_proj": (2560, 2560),
        "self_attn.k_proj": (640, 2560),
        "self_attn.v_proj": (640, 2560),
        "self_attn.o_proj": (2560, 2560),
        "mlp.gate_proj": (6912, 2560),
        "mlp.up_proj": (6912, 2560),
        "mlp.down_proj": (2560, 6912),
    }

import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from trilith.golden import CheckpointError, load_checkpoint, pack_weights, unpack_weights
from trilith.golden.checkpoint.safetensors import read_packed
from trilith.golden.network.bitnet_2b4t import LAYER_SHAPES, read_layer, synthetic_checkpoint


def test_rows_of_a_byte_are_a_quarter_apart():
    trits = np.array([[-1], [0], [1], [1], [0], [-1], [1], [0]], np.int8)  # N = 8, R = 2
    packed = pack_weights(trits)
    assert packed.shape == (2, 1)
    # Byte r: rows r, r+2, r+4, r+6, the first in the lowest bits, coded t + 1.
    assert packed[0, 0] == 0 | 2 << 2 | 1 << 4 | 2 << 6
    assert packed[1, 0] == 1 | 2 << 2 | 0 << 4 | 1 << 6


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 10, 64])
def test_round_trip(n):
    trits = np.random.default_rng(n).integers(-1, 2, (n, 7), np.int8)
    np.testing.assert_array_equal(unpack_weights(pack_weights(trits), n), trits)


def test_illegal_code():
    packed = pack_weights(np.zeros((8, 3), np.int8))
    packed[1, 2] |= 3 << 4
    message = "packed weights must hold the codes 0, 1 and 2, not 3 at output 5, input 2"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        unpack_weights(packed, 8)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (
            np.zeros((2, 3), np.int8),
            "packed weights must be uint8 of two non-empty dimensions, not int8 of shape (2, 3)",
        ),
        (np.zeros((3, 3), np.uint8), "packed weights of 8 outputs must have 2 rows, not 3"),
    ],
)
def test_wrong_array(packed, message):
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        unpack_weights(packed, 8)


def test_files(tmp_path):
    trits = np.random.default_rng(0).integers(-1, 2, (10, 6), np.int8)
    file = tmp_path / "model.safetensors"
    save_file({"a.weight": pack_weights(trits)}, file)
    for path in (tmp_path, file):
        np.testing.assert_array_equal(read_packed(path, {"a": (10, 6)})["a"], trits)

    def refuses(path, shapes, message):
        with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))}{message}"):
            read_packed(path, shapes)

    refuses(tmp_path / "none", {"a": (10, 6)}, ": must be a safetensors file or a folder with")
    refuses(file, {"b": (10, 6)}, r": must contain the tensor 'b.weight'; .* such as 'a.weight'$")
    refuses(
        file,
        {"a": (12, 7)},
        r": a.weight must be uint8 of shape \(3, 7\), not uint8 of shape \(3, 6\)$",
    )
    whole = file.read_bytes()
    for size in (0, 7, 20, len(whole) - 1):
        file.write_bytes(whole[:size])
        refuses(file, {"a": (10, 6)}, ": must be a whole safetensors file: ")
    save_file({"a.weight": np.full((3, 6), 0xFF, np.uint8)}, file)
    refuses(
        file, {"a": (10, 6)}, ": a.weight: packed weights must hold the codes 0, 1 and 2, not 3"
    )


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

"""Facts of a model's own files."""

import json
import re
import shutil

import gguf
import ml_dtypes
import numpy as np
import pytest
from gguf.quants import quantize
from safetensors.numpy import load_file, save_file

from trilith.golden import CheckpointError, load_checkpoint
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.data import PYDOC
from trilith.sim.cost.model_file import read_model_file
from trilith.sim.tools.errors import EstimateError

KIND = gguf.GGMLQuantizationType
SHAPES = {
    "attn_q": (256, 256),
    "attn_k": (256, 256),
    "attn_v": (256, 256),
    "attn_output": (256, 256),
    "ffn_gate": (512, 256),
    "ffn_up": (512, 256),
    "ffn_down": (256, 512),
}
LINEAR_WEIGHTS = sum(n * k for n, k in SHAPES.values())


def write(path, matrix, *, head=None, leave_out=()):
    """Write a llama of one layer: the embedding in F16, matrices and head as functions make them.

    ``matrix`` and ``head`` make a type and bytes from a shape.
    """
    writer = gguf.GGUFWriter(path, "llama")
    sizes = {
        "block_count": 1,
        "embedding_length": 256,
        "feed_forward_length": 512,
        "attention.head_count": 4,
        "vocab_size": 64,
    }
    for key, value in sizes.items():
        if key not in leave_out:
            writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tensor("token_embd.weight", np.zeros((64, 256), np.float16))
    tensors = {f"blk.0.{name}.weight": (matrix, shape) for name, shape in SHAPES.items()}
    if head:
        tensors["output.weight"] = head, (64, 256)
    for name, (make, shape) in tensors.items():
        if name not in leave_out:
            kind, raw = make(shape)
            writer.add_tensor(name, raw, raw_dtype=kind)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(256, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(256, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def ternary(shape):
    """A quarter of the weights is zero."""
    weights = np.tile(np.array([1, 0, -1, 1], np.float32), np.prod(shape) // 4).reshape(shape)
    return KIND.TQ2_0, quantize(weights, KIND.TQ2_0)


def blocks(kind):
    """Zeros of a quantized type; the bytes of a block are all 0."""
    weights, size = gguf.constants.GGML_QUANT_SIZES[kind]
    return lambda shape: (kind, np.zeros((shape[0], shape[1] // weights * size), np.uint8))


def test_ternary_matrices_and_a_head_of_their_own(tmp_path):
    found = read_model_file(write(tmp_path / "a.gguf", ternary, head=blocks(KIND.Q6_K)))
    assert (found.model.linear_weights, found.model.tied) == (LINEAR_WEIGHTS, False)
    assert (found.zero_fraction, found.not_counted) == (0.25, "")
    assert found.entropy_bits_per_trit == pytest.approx(1.5)
    assert found.linears.type_name == "TQ2_0"
    assert found.linears.bits_per_weight == 2.0625
    assert str(found.embedding) == "F16, 16 bits per weight"
    head = found.head.number_format
    assert (head.name, head.weight_bits, head.multiply) == ("Q6_K", 6.5625, "int8 mul")
    assert found.facts == {
        "linear layers": "TQ2_0, 2.062 bits per weight",
        "embedding": "F16, 16 bits per weight",
        "head": "Q6_K, 6.562 bits per weight",
        "zeros": "25.00% of the trits, 1.5000 bits of entropy per trit (measured)",
    }


def test_matrices_that_are_not_ternary(tmp_path):
    found = read_model_file(write(tmp_path / "a.gguf", blocks(KIND.Q4_0)))
    assert (found.zero_fraction, found.entropy_bits_per_trit) == (None, None)
    assert found.not_counted.startswith(f"{tmp_path / 'a.gguf'}: blk.0.attn_q.weight must be TQ1_")
    assert "not Q4_0; these weights are not ternary" in found.not_counted
    assert str(found.linears) == "Q4_0, 4.5 bits per weight"
    assert found.head == found.embedding
    assert found.head.number_format.multiply == "fp16 mul"


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors", "."])
def test_the_small_model_in_each_container(tmp_path, name):
    for file in ("config.json", "model.safetensors"):
        shutil.copy(PYDOC / file, tmp_path)
    write_gguf(load_checkpoint(PYDOC), tmp_path / "model.gguf", kind="i2_s")
    calls = []
    found = read_model_file(tmp_path / name, progress=lambda *one: calls.append(one))
    assert calls == [(place, 21) for place in range(1, 22)]
    trits = [tensor.trits for tensor in load_checkpoint(PYDOC).ternary.values()]
    zeros = sum((one == 0).sum() for one in trits) / sum(one.size for one in trits)
    assert found.zero_fraction == pytest.approx(zeros)
    assert str(found.head) == "BF16, 16 bits per weight"
    assert found.linears.type_name == ("I2_S" if name == "model.gguf" else "U8")
    assert 2 < found.linears.bits_per_weight < 2.01


def test_a_shape_without_weights(tmp_path):
    shutil.copy(PYDOC / "config.json", tmp_path)
    for path in (tmp_path, tmp_path / "config.json"):
        found = read_model_file(path)
        assert (found.linears, found.head, found.zero_fraction) == (None, None, None)
        assert [*found.facts] == ["zeros"]
    assert found.not_counted == f"{tmp_path / 'config.json'} has no weights"


def refuses(error, message, path):
    with pytest.raises(error, match=f"^{re.escape(f'{path}: {message}')}$"):
        read_model_file(path)


def test_files_that_do_not_hold_the_whole_model(tmp_path):
    file = write(tmp_path / "a.gguf", ternary, leave_out=("embedding_length",))
    refuses(
        CheckpointError,
        "the metadata key llama.embedding_length, a size of the model, is missing; convert the "
        "original checkpoint again, and add the key",
        file,
    )
    lonely = tmp_path / "model.safetensors"
    shutil.copy(PYDOC / lonely.name, lonely)
    refuses(
        CheckpointError,
        "config.json, which has the sizes of the model, is missing beside it; copy the model's own "
        "there, or name the folder",
        lonely,
    )
    config = json.loads((PYDOC / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    refuses(
        EstimateError,
        "must hold the 4 layers of its configuration, and layer 3 is missing; name the folder with "
        "all files of the model",
        lonely,
    )
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    refuses(
        EstimateError,
        "the tensor lm_head.weight is missing; name the folder with all files of the model, or "
        "state in its configuration that the embedding is the head (tie_word_embeddings)",
        lonely,
    )


def test_scales_count_as_part_of_their_matrix(tmp_path):
    """Each of the small model's 21 matrices has a scale of four bytes."""
    found = read_model_file(PYDOC)
    assert found.linears.stored_bytes == found.model.linear_weights // 4 + 4 * 21
    tensors = load_file(PYDOC / "model.safetensors")
    tensors["model.embed_tokens.weight"] = (
        tensors["model.embed_tokens.weight"].astype(np.float32).astype(ml_dtypes.float8_e4m3fn)
    )
    shutil.copy(PYDOC / "config.json", tmp_path)
    save_file(tensors, tmp_path / "model.safetensors")
    head = read_model_file(tmp_path).head
    assert (head.type_name, head.bits_per_weight) == ("F8_E4M3", 8)
    assert head.number_format.multiply == "fp8 mul"

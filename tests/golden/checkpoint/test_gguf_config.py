"""GGUF's metadata as Hugging Face's configuration, and metadata that are not understood."""

import re

import gguf
import numpy as np
import pytest
from gguf.quants import quantize

from trilith.golden import BitNetModel, CheckpointError, load_checkpoint
from trilith.golden.checkpoint.gguf_file import GgufFile
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.checkpoint.write_huggingface import write_huggingface
from trilith.golden.data import PYDOC

TQ2_0 = gguf.GGMLQuantizationType.TQ2_0
ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")
#: One layer, with all sizes 256.
TENSORS = {
    f"blk.0.{name}.weight": (256, 256) for name in (*ATTENTION, "ffn_gate", "ffn_up", "ffn_down")
}
NORMS = ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")
SUB_NORMS = ("blk.0.attn_sub_norm", "blk.0.ffn_sub_norm")


def refuses(message):
    return pytest.raises(CheckpointError, match=f"^{re.escape(message)}$")


def write(path, arch="bitnet-b1.58", **metadata):
    """Write a model of one layer, with more metadata by their whole keys."""
    writer = gguf.GGUFWriter(path, arch)
    sizes = dict.fromkeys(("embedding_length", "feed_forward_length", "context_length"), 256)
    sizes |= {"block_count": 1, "attention.head_count": 4, "attention.layer_norm_rms_epsilon": 1e-5}
    values = {f"{arch}.{key}": value for key, value in sizes.items()} | metadata
    for key, value in values.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    rng = np.random.default_rng(0)
    for name, shape in TENSORS.items():
        trits = rng.integers(-1, 2, shape).astype(np.float32)
        writer.add_tensor(name, quantize(trits, TQ2_0), raw_dtype=TQ2_0)
    for name in (*NORMS, *(SUB_NORMS if arch.startswith("bitnet") else ())):
        writer.add_tensor(f"{name}.weight", np.ones(256, np.float32))
    writer.add_tensor("token_embd.weight", np.ones((3, 256), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def activation_file(path, arch="bitnet", stated=None):
    """Write a model whose metadata may state an activation."""
    return write(path, arch, **({} if stated is None else {f"{arch}.hidden_activation": stated}))


@pytest.mark.parametrize(
    ("arch", "stated", "given", "expected"),
    [
        ("bitnet", "relu2", None, "relu2"),
        ("bitnet", "silu", None, "silu"),
        ("bitnet", "silu", "silu", "silu"),
        ("bitnet", None, "relu2", "relu2"),
        ("bitnet", None, None, None),
        ("bitnet-b1.58", None, None, "relu2"),
        ("bitnet-b1.58", "silu", None, "silu"),
        ("bitnet-25", None, None, "relu2"),
        ("llama", None, None, "silu"),
        ("llama", "relu2", None, "relu2"),
    ],
)
def test_the_activation(tmp_path, arch, stated, given, expected):
    file = activation_file(tmp_path / "a.gguf", arch, stated)
    assert load_checkpoint(file, hidden_act=given).config["hidden_act"] == expected


def test_an_activation_that_is_not_known(tmp_path):
    file = activation_file(tmp_path / "a.gguf", stated="gelu")
    with refuses(f"{file}: bitnet.hidden_activation must be one of silu, relu2, not 'gelu'"):
        load_checkpoint(file)
    file = activation_file(tmp_path / "b.gguf", stated="silu")
    with refuses(f"{file}: hidden_act must be 'silu' as in the file, or left out, not 'relu2'"):
        load_checkpoint(file, hidden_act="relu2")
    file = activation_file(tmp_path / "c.gguf")
    with refuses(f"{file}: hidden_act must be one of silu, relu2, not 'gelu'"):
        load_checkpoint(file, hidden_act="gelu")
    with refuses(
        f"{PYDOC}: the activation of a GGUF file is in config.json here; leave out --hidden-act "
        "(hidden_act)"
    ):
        load_checkpoint(PYDOC, hidden_act="relu2")


def test_that_no_activation_is_guessed(tmp_path):
    file = activation_file(tmp_path / "a.gguf")
    source = load_checkpoint(file)
    message = (
        f"{file}: the metadata key hidden_activation is missing, and files of this architecture "
        "have one of the activations silu, relu2 (1bitLLM's models silu, BitNet 2B4T relu2); name "
        "the model's own with --hidden-act (hidden_act=)"
    )
    for write_one in (
        lambda: write_gguf(source, tmp_path / "b.gguf", "tq2_0"),
        lambda: write_huggingface(source, tmp_path / "b"),
        lambda: BitNetModel.load(file),
    ):
        with refuses(message):
            write_one()
    assert [path.name for path in tmp_path.iterdir()] == ["a.gguf"]
    # A named one is written, and read again without being named.
    for act, arch in (("silu", "bitnet"), ("relu2", "bitnet-b1.58")):
        named = load_checkpoint(file, hidden_act=act)
        write_gguf(named, tmp_path / f"{act}.gguf", "tq2_0")
        again = GgufFile(tmp_path / f"{act}.gguf")
        assert again.metadata["general.architecture"] == arch
        assert again.metadata[f"{arch}.hidden_activation"] == act
        write_huggingface(load_checkpoint(again.path), tmp_path / act)
        assert load_checkpoint(tmp_path / act).config["hidden_act"] == act


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("prism.hadamard.size", 1024, "prism.hadamard (version is missing)"),
        ("bitnet-b1.58.tempo", 2, "bitnet-b1.58.tempo = 2"),
        ("bitnet-b1.58.logit_scale", 2, "bitnet-b1.58.logit_scale = 2"),
        ("bitnet-b1.58.expert_count", 8, "bitnet-b1.58.expert_count = 8"),
        ("bitnet-b1.58.attention.sliding_window", 64, "bitnet-b1.58.attention.sliding_window = 64"),
        ("bitnet-b1.58.rope.dimension_count", 32, "bitnet-b1.58.rope.dimension_count = 32"),
        ("bitnet-b1.58.attention.value_length", 32, "bitnet-b1.58.attention.value_length = 32"),
        ("bitnet-b1.58.rope.scaling.type", "yarn", "bitnet-b1.58.rope.scaling.type = 'yarn'"),
        ("general.type", "adapter", "general.type = 'adapter'"),
    ],
)
def test_metadata_that_are_not_understood(tmp_path, key, value, words):
    file = write(tmp_path / "a.gguf", **{key: value})
    message = (
        f"{file}: the metadata key {words} is not understood; results without it may be wrong, so "
        "take the original checkpoint"
    )
    for use in (
        lambda: write_huggingface(load_checkpoint(file), tmp_path / "new"),
        lambda: write_gguf(load_checkpoint(file), tmp_path / "new", "i2_s"),
        lambda: BitNetModel.load(file),
    ):
        with pytest.raises(CheckpointError, match=f"^{re.escape(str(file))}: .*") as caught:
            use()
        # A run may refuse the scaling of positions by its own rule.
        assert str(caught.value) == message or "rope_type" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.gguf"]


def test_a_number_for_each_layer(tmp_path):
    key = "bitnet-b1.58.attention.head_count_kv"
    file = write(tmp_path / "a.gguf", **{key: [2, 4]})
    with refuses(
        f"{file}: {key} must be one number for all layers, not of the type ndarray; convert the "
        "original checkpoint instead"
    ):
        load_checkpoint(file)


def test_metadata_of_published_files_change_nothing(tmp_path):
    arch = "bitnet-b1.58"
    harmless = {
        "general.name": "x",
        "general.quantization_version": 2,
        "general.tags": ["a", "b"],
        "quantize.imatrix.file": "x.dat",
        "tokenizer.chat_template": "x",
        f"{arch}.rope.dimension_count": 64,
        f"{arch}.attention.value_length": 64,
        f"{arch}.attention.key_length": 64,
        f"{arch}.rope.scaling.type": "linear",
        f"{arch}.rope.scaling.factor": 1.0,
        f"{arch}.rope.freq_base": 10000.0,
        f"{arch}.expert_count": 0,
    }
    plain = BitNetModel.load(write(tmp_path / "plain.gguf"))
    full = BitNetModel.load(write(tmp_path / "full.gguf", **harmless))
    np.testing.assert_array_equal(plain.forward([1, 2]), full.forward([1, 2]))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tokenizer.ggml.bos_token_id", "x", "must be a number, not 'x'"),
        (
            "bitnet-b1.58.rope.scaling.type",
            3,
            "must be of the type str, not int; convert the original checkpoint instead",
        ),
        (
            "bitnet-b1.58.rope.scaling.factor",
            "2",
            "must be of the type float, not str; convert the original checkpoint instead",
        ),
    ],
)
def test_metadata_of_another_type(tmp_path, key, value, message):
    file = write(tmp_path / "a.gguf", **{key: value})
    with refuses(f"{file}: {key} {message}"):
        load_checkpoint(file)


def test_a_factor_of_positions_without_a_type_is_linear(tmp_path):
    file = write(tmp_path / "a.gguf", **{"bitnet-b1.58.rope.scaling.factor": 2.0})
    scaling = {"rope_type": "linear", "factor": 2.0}
    assert load_checkpoint(file).config["rope_scaling"] == scaling

"""1bitLLM's models of BitNet b1.58: float weights, and norms that plain Llama has not."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trilith.golden import BitNetModel, CheckpointError, load_checkpoint
from trilith.golden.checkpoint.compare import compare
from trilith.golden.checkpoint.one_bit_llm import bitnet_name
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.checkpoint.write_huggingface import write_huggingface

#: The configuration of 1bitLLM/bitnet_b1_58-large, with smaller sizes.
CONFIG = {
    "architectures": ["BitnetForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {"AutoModelForCausalLM": "modeling_bitnet.BitnetForCausalLM"},
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "input_bits": 8,
    "intermediate_size": 512,
    "max_position_embeddings": 64,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "pad_token_id": 32000,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "float16",
    "transformers_version": "4.39.0",
    "use_cache": True,
    "vocab_size": 40,
    "weight_bits": 1,
}
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]


def refuses(message):
    return pytest.raises(CheckpointError, match=f"^{re.escape(message)}$")


def write(folder, tensors=None, **config):
    """Write a random model as 1bitLLM does."""
    config = CONFIG | config
    rng = np.random.default_rng(0)
    hidden, ffn = config["hidden_size"], config["intermediate_size"]

    def normal(*shape):
        return rng.standard_normal(shape, np.float32).astype(np.float16)

    stored = {
        "model.embed_tokens.weight": normal(config["vocab_size"], hidden),
        "model.norm.weight": 1 + normal(hidden) / 4,
    }
    for layer in range(config["num_hidden_layers"]):
        for name, shape in {
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
            "self_attn.inner_attn_ln": (hidden,),
            "mlp.ffn_layernorm": (ffn,),
            **{f"self_attn.{x}_proj": (hidden, hidden) for x in "qkvo"},
            "mlp.gate_proj": (ffn, hidden),
            "mlp.up_proj": (ffn, hidden),
            "mlp.down_proj": (hidden, ffn),
        }.items():
            value = normal(*shape)
            stored[f"model.layers.{layer}.{name}.weight"] = (
                1 + value / 4 if len(shape) == 1 else value / 16
            )
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({k: x for k, x in config.items() if x != ""}))
    save_file(stored | (tensors or {}), folder / "model.safetensors")
    return folder


def reference(folder, tokens):
    """Compute the logits as 1bitLLM's own code does, in float64 and with fake quantization."""
    w = {name: x.astype(np.float64) for name, x in load_file(folder / "model.safetensors").items()}
    hidden, heads = CONFIG["hidden_size"], CONFIG["num_attention_heads"]
    size = hidden // heads

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"]

    def bit_linear(x, name):
        matrix = w[f"{name}.weight"]
        mean = max(np.abs(matrix).mean(), 1e-5)
        scale = 127 / np.maximum(np.abs(x).max(-1, keepdims=True), 1e-5)
        quantized = np.clip(np.round(x * scale), -128, 127) / scale
        return quantized @ (np.clip(np.round(matrix / mean), -1, 1) * mean).T

    def rotate(x):
        angles = np.outer(np.arange(len(x)), 10000.0 ** (-np.arange(0, size, 2) / size))
        angles = np.concatenate([angles, angles], 1)[:, None]
        turned = np.concatenate([-x[..., size // 2 :], x[..., : size // 2]], -1)
        return x * np.cos(angles) + turned * np.sin(angles)

    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        h = norm(x, at + "input_layernorm")
        q, k, v = (
            bit_linear(h, f"{at}self_attn.{name}_proj").reshape(-1, heads, size) for name in "qkv"
        )
        scores = np.einsum("qhd,khd->hqk", rotate(q), rotate(k)) / np.sqrt(size)
        scores[:, np.triu(np.ones((len(x), len(x)), bool), 1)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", weights, v).reshape(-1, hidden)
        x = x + bit_linear(norm(mixed, at + "self_attn.inner_attn_ln"), at + "self_attn.o_proj")
        h = norm(x, at + "post_attention_layernorm")
        gate, up = bit_linear(h, at + "mlp.gate_proj"), bit_linear(h, at + "mlp.up_proj")
        gated = gate / (1 + np.exp(-gate)) * up
        x = x + bit_linear(norm(gated, at + "mlp.ffn_layernorm"), at + "mlp.down_proj")
    return norm(x, "model.norm") @ w["model.embed_tokens.weight"].T


def test_logits_are_those_of_the_models_own_code(tmp_path):
    folder = write(tmp_path / "a")
    ours = BitNetModel.load(folder, quantize="absmean").forward(TOKENS)
    theirs = reference(folder, TOKENS)
    assert np.abs(ours - theirs).max() < 2e-3 * np.abs(theirs).max()
    # Without the two norms they would be far away.
    norms = {
        f"model.layers.{layer}.{name}.weight": np.ones(size, np.float16)
        for layer in range(2)
        for name, size in (("self_attn.inner_attn_ln", 256), ("mlp.ffn_layernorm", 512))
    }
    other = write(tmp_path / "b", norms)
    plain = BitNetModel.load(other, quantize="absmean").forward(TOKENS)
    assert np.abs(plain - theirs).max() > 0.05 * np.abs(theirs).max()


@pytest.mark.parametrize("kind", ["tq1_0", "tq2_0", "i2_s"])
def test_conversions_lose_nothing(tmp_path, kind):
    source = load_checkpoint(write(tmp_path / "a"), quantize="absmean")
    logits = BitNetModel.load(tmp_path / "a", quantize="absmean").forward(TOKENS)
    write_gguf(source, tmp_path / "b.gguf", kind)
    write_huggingface(load_checkpoint(tmp_path / "b.gguf"), tmp_path / "c")
    write_huggingface(source, tmp_path / "d")
    for name in ("b.gguf", "c", "d"):
        copy = load_checkpoint(tmp_path / name)
        result = compare(copy, source)
        assert (result.difference, result.matrices, result.others) == ("", 14, 10)
        assert (copy.config["model_type"], copy.config["hidden_act"]) == ("bitnet", "silu")
        np.testing.assert_array_equal(BitNetModel.load(tmp_path / name).forward(TOKENS), logits)


def test_values_that_another_model_type_would_change_are_stated(tmp_path):
    short = dict.fromkeys(("num_key_value_heads", "rope_theta", "bos_token_id", "eos_token_id"), "")
    config = load_checkpoint(write(tmp_path / "a", **short), quantize="absmean").config
    assert {key: config[key] for key in short} == {
        "num_key_value_heads": 4,
        "rope_theta": 10000.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    assert "auto_map" not in config
    assert config["architectures"] == ["BitNetForCausalLM"]


def test_checkpoints_that_are_refused(tmp_path):
    folder = write(tmp_path / "a")
    with pytest.raises(CheckpointError, match=re.escape("master weights; quantize them with")):
        load_checkpoint(folder)
    for key, bits in (("weight_bits", 2), ("input_bits", 4)):
        folder = write(tmp_path / key, **{key: bits})
        with pytest.raises(CheckpointError, match=f"config's {key} = {bits} is not understood"):
            BitNetModel.load(folder, quantize="absmean")
    folder = write(tmp_path / "b", hidden_act="", model_type="bitnet")
    with refuses(f"{folder}: config's hidden_act is missing; take the model's own config.json"):
        load_checkpoint(folder, quantize="absmean")
    both = "model.layers.1.mlp.ffn_sub_norm.weight"
    folder = write(tmp_path / "c", {both: np.ones(512, np.float16)})
    with refuses(
        f"{folder}: 'model.layers.1.mlp.ffn_layernorm.weight' and {both!r} are the same norm; take "
        "the files of one model"
    ):
        load_checkpoint(folder, quantize="absmean")
    half = load_file(write(tmp_path / "d") / "model.safetensors")
    del half["model.layers.1.self_attn.inner_attn_ln.weight"]
    save_file(half, tmp_path / "d" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"'model\.layers\.1\.self_attn\.attn_sub_norm"):
        BitNetModel.load(tmp_path / "d", quantize="absmean")


def test_only_norms_of_layers_are_renamed():
    end = "self_attn.inner_attn_ln.weight"
    assert bitnet_name(f"model.layers.12.{end}") == (
        "model.layers.12.self_attn.attn_sub_norm.weight"
    )
    for name in (end, f"model.layers.é.{end}", f"model.layers.x.{end}", f"a.model.layers.0.{end}"):
        assert bitnet_name(name) == name

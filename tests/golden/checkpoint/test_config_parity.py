"""Configurations as transformers reads them, field by field."""

import json

import pytest

from trilith.golden import CheckpointError
from trilith.golden.checkpoint.model_config import ModelConfig
from trilith.golden.checkpoint.tensors import StrangeKeys
from trilith.golden.checkpoint.understood import strange_config

reason = "needs torch and transformers: pip install 'trilith[parity]'"
pytest.importorskip("torch", reason=reason)
transformers = pytest.importorskip("transformers", reason=reason)

LLAMA = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 512,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
}
BITNET = LLAMA | {"model_type": "bitnet"}
QWEN3 = LLAMA | {"model_type": "qwen3"}
ABSENT = object()
LINEAR = {"type": "linear", "factor": 4.0}

#: Changes to a configuration; both readers give the same values.
SAME = {
    "llama": (LLAMA, {}),
    "bitnet": (BITNET, {}),
    "qwen3": (QWEN3, {}),
    "base at the top": (LLAMA, {"rope_theta": 5e5}),
    "base at the top of bitnet": (BITNET, {"rope_theta": 10000}),
    "base in rope_parameters": (LLAMA, {"rope_parameters": {"rope_theta": 7e4}}),
    "base in rope_scaling": (BITNET, {"rope_scaling": {"rope_type": "default", "rope_theta": 7e4}}),
    "base twice": (LLAMA, {"rope_theta": 5e5, "rope_parameters": {"rope_theta": 7e4}}),
    "base twice, in rope_scaling": (
        BITNET,
        {"rope_theta": 5e5, "rope_scaling": {"type": "default", "rope_theta": 7e4}},
    ),
    "base three times": (
        LLAMA,
        {
            "rope_theta": 5e5,
            "rope_scaling": {"rope_type": "default", "rope_theta": 6e4},
            "rope_parameters": {"rope_theta": 7e4},
        },
    ),
    "base in the object that loses": (
        LLAMA,
        {"rope_scaling": {"rope_type": "default"}, "rope_parameters": {"rope_theta": 7e4}},
    ),
    "empty object": (LLAMA, {"rope_scaling": {}, "rope_parameters": {"rope_theta": 7e4}}),
    "null objects": (BITNET, {"rope_scaling": None, "rope_parameters": None, "rope_theta": 9e4}),
    "linear scaling, old": (LLAMA, {"rope_scaling": LINEAR, "rope_theta": 5e5}),
    "linear scaling, new": (LLAMA, {"rope_parameters": LINEAR | {"rope_type": "linear"}}),
    "two names of a type": (LLAMA, {"rope_scaling": LINEAR | {"rope_type": "dynamic"}}),
    "scaling before parameters": (
        LLAMA,
        {"rope_scaling": LINEAR, "rope_parameters": {"rope_type": "default", "rope_theta": 7e4}},
    ),
    "head_dim": (LLAMA, {"head_dim": 64}),
    "head_dim of qwen3": (QWEN3, {"head_dim": 64}),
    "base of qwen3": (QWEN3, {"rope_theta": 1e6}),
    "window that is off": (
        QWEN3,
        {"use_sliding_window": False, "sliding_window": 64, "max_window_layers": 2},
    ),
    "activation absent": (QWEN3, {"hidden_act": ABSENT}),
    "kv heads absent, qwen3": (
        QWEN3,
        {"num_key_value_heads": ABSENT, "num_attention_heads": 32},
    ),
    "head_dim null": (LLAMA, {"head_dim": None}),
    "head_dim as it would be": (BITNET, {"head_dim": 32}),
    "kv heads null": (LLAMA, {"num_key_value_heads": None}),
    "kv heads null, bitnet": (BITNET, {"num_key_value_heads": None}),
    "kv heads absent": (LLAMA, {"num_key_value_heads": ABSENT, "num_attention_heads": 32}),
    "kv heads absent, bitnet": (
        BITNET,
        {"num_key_value_heads": ABSENT, "num_attention_heads": 10, "hidden_size": 320},
    ),
    "tied": (LLAMA, {"tie_word_embeddings": True}),
    "types twice": (LLAMA, {"torch_dtype": "float16", "dtype": "bfloat16"}),
    "one end": (LLAMA, {"bos_token_id": 5, "eos_token_id": 7}),
    "several ends": (BITNET, {"eos_token_id": [7, 9]}),
    "no ends": (LLAMA, {"bos_token_id": None, "eos_token_id": None}),
    "activation of the other": (BITNET, {"hidden_act": "silu"}),
    "biases of attention": (LLAMA, {"attention_bias": True}),
    "biases of feed-forward": (LLAMA, {"mlp_bias": True}),
    "an integer for a number": (LLAMA, {"rope_theta": 10000}),
}

#: Changes that transformers may take and that ours refuses: by an error, or by naming the keys.
REFUSED = {
    "nested configuration": (LLAMA, {"text_config": {"hidden_size": 512}}),
    "two activations": (LLAMA, {"hidden_activation": "gelu"}),
    "another activation": (LLAMA, {"hidden_act": 3}),
    "a part that rotates": (LLAMA, {"partial_rotary_factor": 0.5}),
    "a part that rotates, inside": (LLAMA, {"rope_parameters": {"partial_rotary_factor": 0.5}}),
    "a factor without a type": (LLAMA, {"rope_scaling": {"factor": 2.0}}),
    "positions for each kind of layer": (
        LLAMA,
        {
            "layer_types": ["full_attention"] * 3,
            "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0}},
        },
    ),
    "positions from an object that is none": (LLAMA, {"rope_scaling": "linear"}),
    "other weights": (LLAMA, {"transformers_weights": "x.safetensors"}),
    "layers of their own": (LLAMA, {"per_layer_config": {"0": {"hidden_act": "gelu"}}}),
    "heads that do not divide": (LLAMA, {"num_key_value_heads": 3}),
    "an end that is a text": (LLAMA, {"eos_token_id": "</s>"}),
    "a size that is a text": (LLAMA, {"hidden_size": "256"}),
    "a size that is true": (LLAMA, {"num_hidden_layers": True}),
    "tied by a number": (LLAMA, {"tie_word_embeddings": 1}),
}


def changed(base, change):
    return {key: value for key, value in (base | change).items() if value is not ABSENT}


@pytest.mark.parametrize(("base", "change"), SAME.values(), ids=SAME.keys())
def test_the_same_values(tmp_path, base, change):
    config = changed(base, change)
    (tmp_path / "config.json").write_text(json.dumps(config))
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    ours = ModelConfig.read(config, tmp_path)
    rope, ends = theirs.rope_parameters, theirs.eos_token_id
    expected = {
        "model_type": theirs.model_type,
        "hidden": theirs.hidden_size,
        "ffn": theirs.intermediate_size,
        "layers": theirs.num_hidden_layers,
        "heads": theirs.num_attention_heads,
        "kv_heads": theirs.num_key_value_heads,
        "head_size": getattr(theirs, "head_dim", None)
        or theirs.hidden_size // theirs.num_attention_heads,
        "vocabulary": theirs.vocab_size,
        "max_positions": theirs.max_position_embeddings,
        "epsilon": theirs.rms_norm_eps,
        "theta": rope["rope_theta"],
        "rope_type": rope["rope_type"],
        "rope_factor": rope.get("factor", 1.0),
        "hidden_act": theirs.hidden_act,
        "tied": theirs.tie_word_embeddings,
        "biases": theirs.attention_bias or getattr(theirs, "mlp_bias", False),
        "bos": theirs.bos_token_id,
        "eos": tuple(ends) if isinstance(ends, list) else () if ends is None else (ends,),
    }
    assert {name: getattr(ours, name) for name in expected} == expected
    assert strange_config(config).unknown == ()


@pytest.mark.parametrize(("base", "change"), REFUSED.values(), ids=REFUSED.keys())
def test_values_on_which_the_readers_could_differ(base, change):
    config = changed(base, change)
    try:
        ModelConfig.read(config, "x")
    except CheckpointError:
        return
    assert strange_config(config) != StrangeKeys()

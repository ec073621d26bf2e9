"""The one reader of ``config.json``: defaults, names of keys, and values that are refused."""

import re
from dataclasses import fields

import pytest

from trilith.golden.checkpoint.model_config import (
    MODEL_FAMILIES,
    LayerKinds,
    ModelConfig,
    scale_multiplies,
)
from trilith.golden.errors import CheckpointError

LLAMA = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}


def refuses(message):
    return pytest.raises(CheckpointError, match=f"^{re.escape(message)}$")


def test_what_a_short_configuration_leaves_unsaid():
    config = ModelConfig.read(LLAMA, "x")
    assert {field.name: getattr(config, field.name) for field in fields(config)} == {
        "name": "",
        "model_type": "llama",
        "family": MODEL_FAMILIES["llama"],
        "hidden": 256,
        "ffn": 640,
        "layers": 12,
        "heads": 4,
        "kv_heads": 4,
        "head_size": 64,
        "vocabulary": 0,
        "max_positions": 0,
        "epsilon": 0.0,
        "theta": 10000.0,
        "rope_type": "default",
        "rope_factor": 1.0,
        "hidden_act": "silu",
        "tied": False,
        "biases": False,
        "norm_before_linears": False,
        "bos": 1,
        "eos": (2,),
    }
    assert LayerKinds.read(LLAMA, "x") == LayerKinds(windows=((None, 12),))


def test_that_null_counts_as_absent():
    keys = ("head_dim", "num_key_value_heads", "vocab_size", "rope_theta", "tie_word_embeddings")
    nulls = dict.fromkeys((*keys, "rope_scaling", "sliding_window"))
    assert ModelConfig.read(LLAMA | nulls, "x") == ModelConfig.read(LLAMA, "x")
    assert LayerKinds.read(LLAMA | nulls, "x") == LayerKinds.read(LLAMA, "x")
    assert ModelConfig.read(LLAMA | {"eos_token_id": None}, "x").eos == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model_type": "bitnet"}, {"hidden_act": "relu2"}),
        ({"model_type": "qwen3"}, {"head_size": 128, "hidden_act": "silu", "theta": 1e4}),
        ({"model_type": "qwen3", "head_dim": 32}, {"head_size": 32}),
        ({"model_type": "gemma2"}, {"head_size": 256, "tied": True}),
        ({"model_type": "gemma2", "tie_word_embeddings": False}, {"tied": False}),
        ({"model_type": "of-my-own"}, {"head_size": 64, "hidden_act": None}),
        ({"rope_theta": 5, "rope_parameters": {"rope_theta": 7}}, {"theta": 7.0}),
        ({"rope_parameters": {"rope_theta": 7}}, {"theta": 7.0, "rope_type": "default"}),
        (
            {"rope_scaling": {"type": "linear", "factor": 2}},
            {"rope_type": "linear", "rope_factor": 2.0},
        ),
        (
            {"rope_scaling": {"rope_type": "yarn"}, "rope_parameters": {"rope_type": "default"}},
            {"rope_type": "yarn"},
        ),
        ({"eos_token_id": [3, 4], "bos_token_id": 1}, {"eos": (3, 4), "bos": 1}),
        ({"eos_token_id": 3}, {"eos": (3,)}),
        ({"mlp_bias": True}, {"biases": True}),
    ],
)
def test_defaults_and_names(change, expected):
    config = ModelConfig.read(LLAMA | change, "x")
    assert {name: getattr(config, name) for name in expected} == expected


def test_the_text_part_of_a_model_of_several_media():
    text = LLAMA | {"model_type": "gemma3", "sliding_window": 512, "head_dim": 64}
    config = ModelConfig.read({"model_type": "gemma3", "text_config": text}, "x")
    assert (config.model_type, config.hidden, config.head_size) == ("gemma3_text", 256, 64)
    assert LayerKinds.read({"text_config": text}, "x").windows == ((512, 10), (None, 2))


@pytest.mark.parametrize(
    ("change", "windows"),
    [
        ({"model_type": "mistral"}, ((64, 12),)),
        ({"model_type": "mistral", "use_sliding_window": False}, ((None, 12),)),
        ({"model_type": "gemma2"}, ((64, 6), (None, 6))),
        ({"model_type": "gemma3_text", "sliding_window_pattern": 4}, ((64, 9), (None, 3))),
        (
            {"model_type": "qwen2", "max_window_layers": 5, "use_sliding_window": True},
            ((64, 7), (None, 5)),
        ),
        ({"model_type": "mistral", "sliding_window": None}, ((None, 12),)),
        ({"model_type": "qwen2"}, ((None, 12),)),
        (
            {"layer_types": ["sliding_attention"] * 3 + ["full_attention"] * 9},
            ((64, 3), (None, 9)),
        ),
    ],
)
def test_sliding_windows(change, windows):
    assert LayerKinds.read(LLAMA | {"sliding_window": 64} | change, "x").windows == windows


def test_experts():
    mixtral = {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
    kinds = LayerKinds.read(LLAMA | mixtral, "x")
    assert (kinds.sparse_layers, kinds.experts, kinds.active_experts) == (12, 8, 2)
    assert (kinds.expert_ffn, kinds.shared_ffn) == (640, 0)
    qwen = {
        "model_type": "qwen2_moe",
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 96,
        "decoder_sparse_step": 2,
        "mlp_only_layers": [1],
    }
    kinds = LayerKinds.read(LLAMA | qwen, "x")
    assert (kinds.sparse_layers, kinds.expert_ffn, kinds.shared_ffn) == (5, 32, 96)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bos_token_id": [0, 1]}, "config's bos_token_id must be the number of one token"),
        ({"hidden_size": "256"}, "config's hidden_size must be an integer from 1 to 1048576"),
        ({"hidden_size": True}, "config's hidden_size must be an integer from 1 to 1048576"),
        ({"head_dim": 2**31}, "config's head_dim must be an integer from 1 to 65536"),
        (
            {"hidden_size": 258},
            "config's hidden_size must be a multiple of num_attention_heads = 4",
        ),
        (
            {"num_key_value_heads": 3},
            "config's num_key_value_heads must be a divisor of num_attention_heads = 4",
        ),
        ({"model_type": ["llama"]}, "config's model_type must be a string"),
        ({"rms_norm_eps": "1e-5"}, "config's rms_norm_eps must be a number from 0 to 1"),
        ({"rms_norm_eps": float("inf")}, "config's rms_norm_eps must be a number from 0 to 1"),
        ({"rope_parameters": [1]}, "config's rope_parameters must be an object"),
        ({"tie_word_embeddings": 1}, "config's tie_word_embeddings must be true or false"),
    ],
)
def test_wrong_values(change, message):
    (value,) = change.values()
    with refuses(f"x: {message}, not {value!r}"):
        ModelConfig.read(LLAMA | change, "x")


def test_keys_that_are_missing():
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
        with refuses(f"x: config's {key} is missing; take the model's own config.json"):
            ModelConfig.read({name: x for name, x in LLAMA.items() if name != key}, "x")
    with refuses("x: config's rope_theta is missing; take the model's own config.json"):
        ModelConfig.read(LLAMA, "x", needs=("rope_theta",))
    nested = LLAMA | {"rope_parameters": {"rope_theta": 7}}
    assert ModelConfig.read(nested, "x", needs=("rope_theta",)).theta == 7


def test_model_types_that_the_caller_does_not_know():
    with refuses("x: config's model_type must be one of bitnet, qwen3, not 'llama'"):
        ModelConfig.read(LLAMA, "x", model_types=("bitnet", "qwen3"))
    with refuses("x: config's model_type must be one of bitnet, not None"):
        ModelConfig.read({}, "x", model_types=("bitnet",))


@pytest.mark.parametrize(
    ("linear_class", "multiplies"),
    [
        ({}, False),
        ({"linear_class": "bitlinear"}, False),
        ({"linear_class": "autobitlinear"}, True),
    ],
)
def test_the_direction_of_scales(linear_class, multiplies):
    config = {"quantization_config": {"quant_method": "bitnet"} | linear_class}
    assert scale_multiplies(config, "x", "w") is multiplies

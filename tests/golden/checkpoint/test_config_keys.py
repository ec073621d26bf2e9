"""Limits of the numbers of a configuration."""

import re

import pytest

from trilith.golden.checkpoint.config_keys import ConfigKeys
from trilith.golden.errors import CheckpointError

LARGEST = {
    "hidden_size": 1_048_576,
    "intermediate_size": 4_194_304,
    "moe_intermediate_size": 4_194_304,
    "shared_expert_intermediate_size": 4_194_304,
    "num_hidden_layers": 10_000,
    "num_attention_heads": 65_536,
    "num_key_value_heads": 65_536,
    "head_dim": 65_536,
    "vocab_size": 16_777_216,
    "num_experts": 65_536,
    "num_local_experts": 65_536,
    "num_experts_per_tok": 65_536,
    "max_position_embeddings": 2_147_483_647,
}


@pytest.mark.parametrize(("key", "most"), LARGEST.items())
def test_the_largest_integers(key, most):
    assert ConfigKeys({key: most}, "x").integer(key) == most
    assert ConfigKeys({key: 1}, "x").integer(key) == 1
    for value in (most + 1, 0):
        message = f"x: config's {key} must be an integer from 1 to {most}, not {value}"
        with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
            ConfigKeys({key: value}, "x").integer(key)
    assert ConfigKeys({key: 0}, "x").integer(key, least=0) == 0


@pytest.mark.parametrize(
    ("key", "low", "high", "outside"),
    [
        ("rms_norm_eps", 0.0, 1.0, (-1e-9, 1.1)),
        ("rope_theta", 1.0, 1e15, (0.9, 1.1e15)),
        ("factor", 1e-3, 1e6, (0.9e-3, 1.1e6)),
        ("scale_emb", 0.0, 1e30, (-1.0, 1.1e30)),
    ],
)
def test_the_ranges_of_numbers(key, low, high, outside):
    for value in (low, high):
        assert ConfigKeys({key: value}, "x").number(key) == value
    for value in outside:
        message = f"x: config's {key} must be a number from {low:g} to {high:g}, not {value!r}"
        with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
            ConfigKeys({key: value}, "x").number(key)


def test_numbers_of_tokens():
    keys = ConfigKeys({"one": 7, "many": [0, 2**31 - 1], "none": None, "large": 2**31}, "x")
    assert keys.tokens("one") == (7,)
    assert keys.tokens("many") == (0, 2**31 - 1)
    assert keys.tokens("none", 5) == ()
    assert keys.tokens("absent", 5) == (5,)
    with pytest.raises(CheckpointError, match=r"large must be the number of a token, or a list"):
        keys.tokens("large")

"""Names of tensors in GGUF and in Hugging Face."""

import re

import pytest

from trilith.golden import CheckpointError
from trilith.golden.checkpoint.gguf_names import gguf_name, huggingface_name


def test_names_go_both_ways():
    for name in ("model.embed_tokens", "lm_head", "model.norm", "model.layers.12.mlp.ffn_sub_norm"):
        assert huggingface_name(gguf_name(f"{name}.weight")) == f"{name}.weight"
    assert huggingface_name("rope_freqs.weight") == "rope_freqs.weight"
    for name in ("model.layers.0.self_attn.q_proj.bias", "model.layers.0.other.weight"):
        message = f"{name} has no name in GGUF"
        with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
            gguf_name(name)

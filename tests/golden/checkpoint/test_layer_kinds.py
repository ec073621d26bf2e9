"""Kinds of layers that are not computed here, in both containers."""

import json

import gguf
import numpy as np
import pytest

from trilith.golden import load_checkpoint
from trilith.golden.checkpoint.load import read_config

from .test_formats import raises
from .test_gguf import EMBEDDING, layer, write

REST = "; take a model of dense layers with full attention, such as bitnet, llama or qwen3"
DELTA, EXPERTS, VISION = "gated delta networks", "mixtures of experts", "vision"
ONE = np.ones((2, 2), np.float32)


@pytest.mark.parametrize(
    ("config", "tensor", "found"),
    [
        (
            {"model_type": "qwen3_5", "text_config": {"layer_types": ["linear_attention"]}},
            None,
            f"{DELTA} (model_type 'qwen3_5') and {VISION} (model_type 'qwen3_5')",
        ),
        ({"model_type": "qwen3_5_text"}, None, f"{DELTA} (model_type 'qwen3_5_text')"),
        ({"model_type": "qwen3_next"}, None, f"{DELTA} (model_type 'qwen3_next')"),
        (
            {"model_type": "of-my-own", "layer_types": ["full_attention", "linear_attention"]},
            None,
            f"{DELTA} (layer_types with 'linear_attention')",
        ),
        (
            {},
            "model.layers.0.linear_attn.in_proj_qkv.weight",
            f"{DELTA} (tensor 'model.layers.0.linear_attn.in_proj_qkv.weight')",
        ),
        ({"model_type": "falcon_h1"}, None, "state-space layers (model_type 'falcon_h1')"),
        ({"model_type": "qwen3_moe"}, None, f"{EXPERTS} (model_type 'qwen3_moe')"),
        ({"model_type": "mixtral"}, None, f"{EXPERTS} (model_type 'mixtral')"),
        (
            {},
            "model.layers.0.mlp.experts.7.gate_proj.weight",
            f"{EXPERTS} (tensor 'model.layers.0.mlp.experts.7.gate_proj.weight')",
        ),
        ({"model_type": "qwen3_vl"}, None, f"{VISION} (model_type 'qwen3_vl')"),
        (
            {},
            "model.visual.blocks.0.attn.qkv.weight",
            f"{VISION} (tensor 'model.visual.blocks.0.attn.qkv.weight')",
        ),
    ],
)
def test_safetensors(tiny, config, tensor, found):
    folder, _, _ = tiny(tensors={tensor: ONE} if tensor else None)
    if config:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | config))
    raises(
        f"{folder}: layers of the model are not computed here: {found}{REST}",
        lambda: load_checkpoint(folder),
    )


@pytest.mark.parametrize(
    ("arch", "tensor", "found"),
    [
        ("qwen35", None, f"{DELTA} (general.architecture 'qwen35')"),
        (
            "qwen35moe",
            None,
            f"{DELTA} (general.architecture 'qwen35moe') and {EXPERTS} (general.architecture "
            "'qwen35moe')",
        ),
        ("qwen3next", None, f"{DELTA} (general.architecture 'qwen3next')"),
        ("mamba2", None, "state-space layers (general.architecture 'mamba2')"),
        ("qwen3moe", None, f"{EXPERTS} (general.architecture 'qwen3moe')"),
        ("llama", "blk.0.ffn_gate_exps.weight", f"{EXPERTS} (tensor 'blk.0.ffn_gate_exps.weight')"),
        ("qwen3vl", None, f"{VISION} (general.architecture 'qwen3vl')"),
        ("clip", "v.blk.0.attn_q.weight", f"{VISION} (general.architecture 'clip')"),
        ("qwen3", "mm.0.weight", f"{VISION} (tensor 'mm.0.weight')"),
    ],
)
def test_gguf(tmp_path, arch, tensor, found):
    file = tmp_path / "a.gguf"
    tensors = layer(gguf.GGMLQuantizationType.TQ2_0)[0] | EMBEDDING
    write(file, tensors | ({tensor: ONE} if tensor else {}), arch=arch)
    for read in (load_checkpoint, read_config):
        raises(
            f"{file}: layers of the model are not computed here: {found}{REST}",
            lambda read=read: read(file),
        )

"""Random small models, as folders of Hugging Face's format."""

import json

import numpy as np
from safetensors.numpy import save_file

from trilith.golden import pack_weights

#: What each family says in its config, and how its packed weights are scaled.
FAMILIES = {
    "bitnet": {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "hidden_act": "relu2",
        "tie_word_embeddings": True,
        "quantization_config": {
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": "offline",
        },
    },
    "llama": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "quantization_config": {"quant_method": "bitnet"},
    },
    "qwen3": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_act": "silu",
        "head_dim": 32,
        "tie_word_embeddings": False,
        "quantization_config": {"quant_method": "bitnet"},
    },
}
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 160,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "torch_dtype": "float32",
}


def write_random_model(folder, family, *, seed=0, binary=False, **changes):
    """A random small model of a family as a Hugging Face folder with packed weights."""
    rng = np.random.default_rng(seed)
    config = {**FAMILIES[family], **SIZES, **changes}
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    size = config.get("head_dim", hidden // config["num_attention_heads"])
    q, kv = (config[f"num_{kind}_heads"] * size for kind in ("attention", "key_value"))
    shapes = {
        "self_attn.q_proj": (q, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q),
        "mlp.gate_proj": (ffn, hidden),
        "mlp.up_proj": (ffn, hidden),
        "mlp.down_proj": (hidden, ffn),
    }
    norms = {"input_layernorm": hidden, "post_attention_layernorm": hidden}
    if family == "qwen3":
        norms |= {"self_attn.q_norm": size, "self_attn.k_norm": size}
    if family == "bitnet":
        norms |= {"self_attn.attn_sub_norm": q, "mlp.ffn_sub_norm": ffn}

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    tensors = {
        "model.embed_tokens.weight": normal(config["vocab_size"], hidden),
        "model.norm.weight": 1 + normal(hidden) / 4,
    }
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = normal(config["vocab_size"], hidden) / 4
    for layer in range(config["num_hidden_layers"]):
        for name, size in norms.items():
            tensors[f"model.layers.{layer}.{name}.weight"] = 1 + normal(size) / 4
        for name, (n, k) in shapes.items():
            trits = rng.integers(-1, 2, (n, k), np.int8)
            if binary:
                trits[trits == 0] = 1
            scale = np.float32(rng.uniform(0.5, 2) / k**0.5)
            divided = "linear_class" not in config["quantization_config"]
            prefix = f"model.layers.{layer}.{name}"
            tensors[f"{prefix}.weight"] = pack_weights(trits)
            tensors[f"{prefix}.weight_scale"] = np.array([1 / scale if divided else scale])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder

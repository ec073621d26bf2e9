"""Names of architectures, tensors and configuration keys in GGUF and Hugging Face."""

import re
from dataclasses import dataclass

from ..errors import CheckpointError
from .model_config import ModelConfig
from .tensors import Checkpoint

__all__ = [
    "ARCHITECTURES",
    "CONFIG_KEYS",
    "architecture_of",
    "gguf_name",
    "huggingface_name",
    "permuted_heads",
]


@dataclass(frozen=True)
class _Architecture:
    """Hugging Face's words for an architecture of GGUF.

    Parameters
    ----------
    model_type, class_name, hidden_act : values of these keys (the second is in ``architectures``)
    permuted : GGUF has the rows of the query and key matrices in another order
    """

    model_type: str
    class_name: str
    hidden_act: str
    permuted: bool


#: Architectures by GGUF's ``general.architecture``, as llama.cpp and bitnet.cpp write them.
ARCHITECTURES = {
    "llama": _Architecture("llama", "LlamaForCausalLM", "silu", True),
    "bitnet": _Architecture("bitnet", "BitNetForCausalLM", "silu", False),
    "bitnet-b1.58": _Architecture("bitnet", "BitNetForCausalLM", "relu2", False),
    "bitnet-25": _Architecture("bitnet", "BitNetForCausalLM", "relu2", False),
    "qwen3": _Architecture("qwen3", "Qwen3ForCausalLM", "silu", False),
    "minicpm": _Architecture("minicpm", "MiniCPMForCausalLM", "silu", True),
}


#: GGUF's names of tensors outside the layers by Hugging Face's, without ``.weight``.
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}


#: GGUF's names of a layer's tensors by Hugging Face's, without ``blk.N.`` and ``.weight``.
_LAYER_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.attn_sub_norm": "attn_sub_norm",
    "mlp.ffn_sub_norm": "ffn_sub_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
}


#: GGUF's metadata keys, without the architecture in front, by Hugging Face's configuration keys.
CONFIG_KEYS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "max_position_embeddings": "context_length",
    "vocab_size": "vocab_size",
}


def huggingface_name(name: str) -> str:
    """Translate a tensor's name from GGUF to Hugging Face; unknown names stay."""
    if not name.endswith(".weight"):
        return name
    stem = name.removesuffix(".weight")
    parts = stem.split(".", 2)
    if parts[0] == "blk" and len(parts) == 3:
        for ours, theirs in _LAYER_NAMES.items():
            if parts[2] == theirs:
                return f"model.layers.{parts[1]}.{ours}.weight"
    for ours, theirs in _NAMES.items():
        if stem == theirs:
            return f"{ours}.weight"
    return name


def gguf_name(name: str) -> str:
    """Translate a tensor's name from Hugging Face to GGUF.

    Raises
    ------
    CheckpointError
        If GGUF has no name for the tensor.
    """
    stem = name.removesuffix(".weight")
    layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", stem)
    if stem != name and layer and layer[2] in _LAYER_NAMES:
        return f"blk.{layer[1]}.{_LAYER_NAMES[layer[2]]}.weight"
    if stem == name or stem not in _NAMES:
        raise CheckpointError(f"{name} has no name in GGUF; convert to huggingface instead")
    return f"{_NAMES[stem]}.weight"


def permuted_heads(arch: str, name: str, config: ModelConfig) -> int:
    """Count the heads of a matrix whose rows GGUF has in another order than Hugging Face.

    Parameters
    ----------
    arch : key of ``ARCHITECTURES``
    name : Hugging Face's tensor name
    config : with the numbers of heads

    Returns
    -------
    The number of heads; 0 for a matrix whose rows have the same order
    """
    if not ARCHITECTURES[arch].permuted or not name.endswith(("q_proj.weight", "k_proj.weight")):
        return 0
    return config.heads if "q_proj" in name else config.kv_heads


def architecture_of(checkpoint: Checkpoint) -> str:
    """Find GGUF's name for a model, by which readers know its norms, activation and row order.

    Raises
    ------
    CheckpointError
        If GGUF has no name for such a model.
    """
    config = checkpoint.config
    sub_norms = any(name.endswith("attn_sub_norm.weight") for name in checkpoint.tensors)
    found = str(config.get("model_type")), str(config.get("hidden_act")), sub_norms
    architectures = {
        ("bitnet", "relu2", True): "bitnet-b1.58",
        ("bitnet", "silu", True): "bitnet",
        ("llama", "silu", False): "llama",
        ("qwen3", "silu", False): "qwen3",
    }
    if found not in architectures:
        raise CheckpointError(
            f"{checkpoint.path}: GGUF must have a name for the model, and none is known for "
            f"model_type {found[0]!r} with hidden_act {found[1]!r} and "
            f"{'' if sub_norms else 'no '}sub-norms; convert to huggingface or stream instead"
        )
    return architectures[found]

"""1bitLLM's models of BitNet b1.58 as the model ``BitNetForCausalLM`` of transformers.

Their ``config.json`` says llama, and their own code has two more norms in a layer: in front of the
output projection and of the down projection. transformers' BitNet has both under other names, and
all else is the same. Source: ``modeling_bitnet.py`` and ``utils_quant.py`` of
1bitLLM/bitnet_b1_58-large and 1bitLLM/bitnet_b1_58-3B.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .config_keys import ConfigKeys
from .model_config import ModelConfig

__all__ = ["as_bitnet", "bitnet_name"]

#: transformers' names of the norms by 1bitLLM's.
_NORMS = {
    ".self_attn.inner_attn_ln.weight": ".self_attn.attn_sub_norm.weight",
    ".mlp.ffn_layernorm.weight": ".mlp.ffn_sub_norm.weight",
}


def bitnet_name(name: str) -> str:
    """Return transformers' name of a tensor of 1bitLLM's; other names stay."""
    layer = re.match(r"model\.layers\.[0-9]+(?=\.)", name)
    end = _NORMS.get(name[layer.end() :]) if layer else None
    return layer[0] + end if layer and end else name


def as_bitnet(config: Mapping[str, Any], where: Path, names: Collection[str]) -> dict[str, Any]:
    """Translate a configuration to that of the same model in transformers.

    Parameters
    ----------
    config : content of ``config.json``
    where : file or folder, for messages
    names : names of the tensors

    Returns
    -------
    The configuration, with the values that another model type would change stated; without the
    names of the model's own code. That of another model stays.

    Raises
    ------
    CheckpointError
        If a norm stands there under both names, or the activation is not stated.
    """
    theirs = [name for name in names if bitnet_name(name) != name]
    if not theirs:
        return dict(config)
    both = [name for name in theirs if bitnet_name(name) in names]
    if both:
        raise CheckpointError(
            f"{where}: {both[0]!r} and {bitnet_name(both[0])!r} are the same norm; take the files "
            "of one model"
        )
    keys = ConfigKeys(config, where)
    model = ModelConfig.read(config, where, model_types=("llama", "bitnet"))
    if keys.config.get("hidden_act") is None:
        raise keys.missing("hidden_act")
    stated = {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "num_key_value_heads": model.kv_heads,
        "rope_theta": model.theta,
        "tie_word_embeddings": model.tied,
        "bos_token_id": model.bos,
        "eos_token_id": list(model.eos) if len(model.eos) > 1 else next(iter(model.eos), None),
    }
    return {key: value for key, value in config.items() if key != "auto_map"} | stated

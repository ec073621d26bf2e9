"""The shape of a model from Hugging Face's ``config.json``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...golden.checkpoint.config_keys import ConfigKeys
from ...golden.checkpoint.model_config import MODEL_FAMILIES, LayerKinds, ModelConfig
from ..tools.errors import EstimateError
from .sizes import TransformerSizes
from .transformer import transformer_shape
from .workload import ModelShape

__all__ = ["read_model"]


def read_model(config: Mapping[str, Any], source: str) -> ModelShape:
    """Read a model from Hugging Face's ``config.json``.

    Parameters
    ----------
    config : content of the file
    source : name of the file, for errors

    Raises
    ------
    CheckpointError
        If a key is missing, a value is wrong, two values contradict each other, or the model type
        is not known here.
    EstimateError
        If the kind of attention is not known here.
    """
    model = ModelConfig.read(config, source, needs=("vocab_size",), model_types=MODEL_FAMILIES)
    keys = ConfigKeys(config, source).config
    for key in ("kv_lora_rank", "num_nextn_predict_layers"):
        if keys.get(key):
            raise EstimateError(
                f"{source}: config's {key} must be absent, not {keys[key]!r}: "
                "estimates do not know this kind of attention"
            )
    kinds = LayerKinds.read(config, source)
    sizes = TransformerSizes(
        hidden=model.hidden,
        ffn=model.ffn,
        layers=model.layers,
        heads=model.heads,
        kv_heads=model.kv_heads,
        head_size=model.head_size,
        vocabulary=model.vocabulary,
        tied=model.tied,
        sub_norms=model.family.sub_norms,
        norms_per_layer=model.family.norms_per_layer,
        head_norms=model.family.head_norms,
        hidden_act=model.hidden_act,
        biases=model.biases,
        linear_norms=model.norm_before_linears,
        context=model.max_positions or None,
        **vars(kinds),
    )
    return transformer_shape(model.name or Path(source).stem, sizes, source=source)

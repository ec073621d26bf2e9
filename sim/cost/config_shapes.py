"""The shape of a model from Hugging Face's ``config.json``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..tools.errors import EstimateError
from .transformer import TransformerSizes, transformer_shape
from .workload import ModelShape

__all__ = ["read_model"]


#: Kinds of ``config.json`` that are understood, and what each leaves unsaid where it is absent.
_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "bitnet": {"sub_norms": True},
    "mistral": {},
    "qwen2": {},
    "qwen3": {"head_norms": True, "head_dim": 128},
    "gemma": {"tied": True, "head_dim": 256},
    "gemma2": {"tied": True, "head_dim": 256, "norms": 4, "pattern": 2},
    "gemma3_text": {"tied": True, "head_dim": 256, "norms": 4, "pattern": 6, "head_norms": True},
    "minicpm": {"tied": True},
    "mixtral": {},
    "qwen2_moe": {},
    "qwen3_moe": {"head_norms": True, "head_dim": 128},
}


def read_model(config: Mapping[str, Any], source: str) -> ModelShape:
    """A model from Hugging Face's ``config.json``.

    Parameters
    ----------
    config : its content
    source : names it in errors

    Raises
    ------
    EstimateError
        If the kind of model is not understood, or fields are missing or contradict each other.
    """
    if isinstance(config.get("text_config"), dict):
        config = {**config["text_config"]}
        if config.get("model_type") == "gemma3":
            config["model_type"] = "gemma3_text"
    kind = config.get("model_type")
    if kind not in _FAMILIES:
        raise EstimateError(
            f"{source}: 'model_type' must be one of {', '.join(_FAMILIES)}, not {kind!r}"
        )
    family = _FAMILIES[kind]
    for key in ("kv_lora_rank", "num_nextn_predict_layers"):
        if config.get(key):
            raise EstimateError(f"{source}: {key!r} is of a kind of attention that is not counted")

    def size(key: str, default: int | None = None, least: int = 1) -> int:
        value = config.get(key)
        value = default if value is None else value
        if value is None:
            missing.append(key)
            return 1
        if type(value) is not int or not least <= value < 2**31:
            raise EstimateError(
                f"{source}: {key!r} must be an integer from {least} below 2**31, not {value!r}"
            )
        return value

    missing: list[str] = []
    mixture = kind in ("mixtral", "qwen2_moe", "qwen3_moe")
    hidden, layers = size("hidden_size"), size("num_hidden_layers")
    heads, vocabulary = size("num_attention_heads"), size("vocab_size")
    ffn = size("intermediate_size")
    experts_key = "num_local_experts" if kind == "mixtral" else "num_experts"
    experts = size(experts_key) if mixture else 0
    active = size("num_experts_per_tok") if mixture else 0
    expert_ffn = ffn if kind == "mixtral" else size("moe_intermediate_size") if mixture else 0
    if missing:
        raise EstimateError(f"{source}: must have {', '.join(map(repr, missing))}, and has not")
    kv_heads = size("num_key_value_heads", heads)
    if heads % kv_heads:
        raise EstimateError(
            f"{source}: 'num_attention_heads' must be a multiple of 'num_key_value_heads', "
            f"not {heads} of {kv_heads}"
        )
    if config.get("head_dim") is None and "head_dim" not in family and hidden % heads:
        raise EstimateError(
            f"{source}: 'hidden_size' must be a multiple of 'num_attention_heads', "
            f"not {hidden} of {heads}"
        )
    if active > experts:
        raise EstimateError(
            f"{source}: 'num_experts_per_tok' must be at most {experts_key!r}, "
            f"not {active} of {experts}"
        )
    sparse = layers if mixture else 0
    if kind in ("qwen2_moe", "qwen3_moe"):
        step = size("decoder_sparse_step", 1)
        dense = config.get("mlp_only_layers") or []
        if not isinstance(dense, list):
            raise EstimateError(f"{source}: 'mlp_only_layers' must be a list, not {dense!r}")
        sparse = sum(index not in dense and (index + 1) % step == 0 for index in range(layers))
    tied = config.get("tie_word_embeddings", family.get("tied", False))
    if type(tied) is not bool:
        raise EstimateError(f"{source}: 'tie_word_embeddings' must be true or false, not {tied!r}")
    sizes = TransformerSizes(
        hidden=hidden,
        ffn=ffn,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_size=size("head_dim", family.get("head_dim", hidden // heads)),
        vocabulary=vocabulary,
        tied=tied,
        sub_norms=family.get("sub_norms", False),
        norms_per_layer=family.get("norms", 2),
        head_norms=family.get("head_norms", False),
        windows=_windows(config, family, layers, source),
        sparse_layers=sparse,
        experts=experts,
        active_experts=active,
        expert_ffn=expert_ffn,
        shared_ffn=size("shared_expert_intermediate_size", 0, 0) if mixture else 0,
    )
    name = str(config.get("_name_or_path") or Path(source).stem)
    return transformer_shape(name, sizes, source=source)


def _windows(
    config: Mapping[str, Any], family: Mapping[str, Any], layers: int, source: str
) -> tuple[tuple[int | None, int], ...]:
    """Which layers attend to how much."""
    window = config.get("sliding_window")
    kinds = config.get("layer_types")
    if window is None or config.get("use_sliding_window") is False:
        return ((None, layers),)
    if type(window) is not int or window < 1:
        raise EstimateError(
            f"{source}: 'sliding_window' must be a positive integer, not {window!r}"
        )
    if kinds is not None:
        if not isinstance(kinds, list) or len(kinds) != layers:
            raise EstimateError(
                f"{source}: 'layer_types' must name the kind of each of the {layers} layers"
            )
        slides = sum(kind == "sliding_attention" for kind in kinds)
    elif "pattern" in family:
        # Every so many layers one attends to everything.
        pattern = config.get("sliding_window_pattern", family["pattern"])
        if type(pattern) is not int or pattern < 1:
            raise EstimateError(
                f"{source}: 'sliding_window_pattern' must be a positive integer, not {pattern!r}"
            )
        slides = layers - layers // pattern
    elif config.get("model_type") in ("mistral", "mixtral"):
        slides = layers
    else:
        full = config.get("max_window_layers", layers)
        if type(full) is not int or not 0 <= full <= layers:
            raise EstimateError(
                f"{source}: 'max_window_layers' must be from 0 to {layers}, not {full!r}"
            )
        slides = layers - full
    return tuple((w, n) for w, n in ((window, slides), (None, layers - slides)) if n)

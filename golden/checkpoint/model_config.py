"""The reader of Hugging Face's ``config.json``: shapes, activations, meaning of scales."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import CheckpointError

if TYPE_CHECKING:
    pass

__all__ = ["TransformerConfig"]

#: The linear layers of a decoder layer, all ternary; their (N, K) in words of ``linear_shapes``.
TRANSFORMER_LINEARS = {
    "self_attn.q_proj": ("q", "hidden"),
    "self_attn.k_proj": ("kv", "hidden"),
    "self_attn.v_proj": ("kv", "hidden"),
    "self_attn.o_proj": ("hidden", "q"),
    "mlp.gate_proj": ("ffn", "hidden"),
    "mlp.up_proj": ("ffn", "hidden"),
    "mlp.down_proj": ("hidden", "ffn"),
}


TRANSFORMER_LINEAR = re.compile(
    r"model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)\.weight"
)


def linear_shapes(config: Mapping[str, Any], where: Path) -> dict[str, tuple[int, int]]:
    """(N, K) of a decoder layer's seven linear layers, from Hugging Face's keys.

    Raises
    ------
    CheckpointError
        If a key is missing or not a positive integer.
    """

    def size(key: str, default: int | None = None) -> int:
        value = config.get(key)
        if value is None and default is not None:
            return default
        if type(value) is not int or not 0 < value < 2**31:
            raise CheckpointError(
                f"{where}: config's {key} must be a positive integer below 2**31, not {value!r}"
            )
        return value

    hidden, heads = size("hidden_size"), size("num_attention_heads")
    kv_heads = size("num_key_value_heads", heads)
    if heads % kv_heads:
        raise CheckpointError(
            f"{where}: config's num_attention_heads must be a multiple of num_key_value_heads, "
            f"not {heads} of {kv_heads}"
        )
    if config.get("head_dim") is None and hidden % heads:
        raise CheckpointError(
            f"{where}: config's hidden_size must be a multiple of num_attention_heads, "
            f"not {hidden} of {heads}"
        )
    head_dim = size("head_dim", hidden // heads)
    sizes = {
        "hidden": hidden,
        "ffn": size("intermediate_size"),
        "q": heads * head_dim,
        "kv": kv_heads * head_dim,
    }
    return {name: (sizes[n], sizes[k]) for name, (n, k) in TRANSFORMER_LINEARS.items()}


def transformer_linears(
    config: Mapping[str, Any], where: Path, present: Collection[str]
) -> dict[str, tuple[int, int]]:
    """(N, K) of every decoder layer's linear layers by tensor name; all must be there.

    Raises
    ------
    CheckpointError
        If the configuration is not a decoder's, or a tensor of a layer is missing.
    """
    shapes = linear_shapes(config, where)
    layers = config.get("num_hidden_layers")
    if type(layers) is not int or not 0 < layers <= 10_000:
        raise CheckpointError(
            f"{where}: config's num_hidden_layers must be from 1 to 10000, not {layers!r}"
        )
    expected = {
        f"model.layers.{layer}.{name}.weight": shape
        for layer in range(layers)
        for name, shape in shapes.items()
    }
    there = set(present)
    missing = [name for name in expected if name not in there]
    if missing:
        raise CheckpointError(
            f"{where}: must contain the tensor {missing[0]!r} (config has {layers} layers); "
            f"{len(missing)} of {len(expected)} linear layers are missing"
        )
    extra = [
        name for name in present if TRANSFORMER_LINEAR.fullmatch(name) and name not in expected
    ]
    if extra:
        raise CheckpointError(
            f"{where}: has the tensor {extra[0]!r}, but config's num_hidden_layers is {layers}"
        )
    return expected


def mlp_linears(config: Mapping[str, Any], present: Collection[str]) -> dict[str, tuple[int, int]]:
    """(N, K) of the layers of a network that ``trilith.golden.training`` trained."""
    sizes = config.get("layer_sizes")
    if not isinstance(sizes, list) or any(type(size) is not int for size in sizes):
        return {}
    names = (f"layers.{index}.weight" for index in range(len(sizes)))
    shapes = dict(zip(names, zip(sizes[1:], sizes[:-1], strict=True), strict=False))
    return {name: shape for name, shape in shapes.items() if name in present}


def scale_multiplies(config: dict[str, Any], where: Path, packed_name: str) -> bool:
    """Which of the two conventions of ``weight_scale`` the configuration asks for."""
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict):
        raise CheckpointError(
            f"{where}: {packed_name} is packed, so config.json must have a quantization_config, "
            "which says whether weight_scale multiplies (linear_class autobitlinear) or divides "
            "(bitlinear); take the config.json that belongs to these weights"
        )
    method, linear = quantization.get("quant_method"), quantization.get("linear_class", "bitlinear")
    if method != "bitnet":
        raise CheckpointError(
            f"{where}: quantization_config's quant_method must be 'bitnet', not {method!r}; "
            "this quantization is not known here"
        )
    if linear not in ("bitlinear", "autobitlinear"):
        raise CheckpointError(
            f"{where}: quantization_config's linear_class must be 'bitlinear' or 'autobitlinear', "
            f"not {linear!r}"
        )
    mode = quantization.get("quantization_mode", "offline")
    if mode != "offline":
        raise CheckpointError(
            f"{where}: {packed_name} is packed, so quantization_config's quantization_mode must be "
            f"'offline', not {mode!r}; the config belongs to the float weights"
        )
    return linear == "autobitlinear"


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """What ``config.json`` says of a decoder.

    Parameters
    ----------
    hidden, ffn, layers, heads, kv_heads, head_size, vocabulary : sizes
    epsilon : of the norms
    theta : base of the rotary frequencies
    max_positions : longest context that it was made for
    squared_relu : the gate's activation: relu(x)², else SiLU
    sub_norms : RMSNorm in front of the output and of the down projection
    tied : the embedding is the head too
    bos, eos : tokens that begin and end a text, where the configuration names them
    """

    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    epsilon: float
    theta: float
    max_positions: int
    squared_relu: bool
    sub_norms: bool
    tied: bool
    bos: int | None
    eos: tuple[int, ...]

    @classmethod
    def from_dict(cls, config: dict[str, Any], source: Path) -> Self:
        """Read Hugging Face's keys; ``source`` names the file in errors.

        Raises
        ------
        CheckpointError
            If a key is missing, or says what this model cannot do.
        """

        def number(key: str, kind: type, default: Any = None) -> Any:
            value = config.get(key, default)
            if value is None:
                raise CheckpointError(f"{source}: must have the key {key!r} and has not")
            legal = (int, float) if kind is float else kind
            if not isinstance(value, legal) or isinstance(value, bool) or not value > 0:
                raise CheckpointError(
                    f"{source}: {key!r} must be a positive {kind.__name__}, not {value!r}"
                )
            return kind(value)

        def choice(key: str, value: Any, legal: Sequence[Any]) -> None:
            if value not in legal:
                listed = ", ".join(repr(one) for one in legal)
                raise CheckpointError(f"{source}: {key!r} must be one of {listed}, not {value!r}")

        model_type = config.get("model_type")
        choice("model_type", model_type, list(_HIDDEN_ACT))
        hidden_act = config.get("hidden_act", _HIDDEN_ACT[str(model_type)])
        choice("hidden_act", hidden_act, ["relu2", "silu"])
        choice("attention_bias", config.get("attention_bias", False), [False])
        choice("mlp_bias", config.get("mlp_bias", False), [False])
        quantization = config.get("quantization_config")
        if isinstance(quantization, dict):
            choice("use_rms_norm", quantization.get("use_rms_norm", False), [False])
        rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
        if not isinstance(rope, dict):
            raise CheckpointError(f"{source}: 'rope_parameters' must be an object, not {rope!r}")
        choice("rope_type", rope.get("rope_type", rope.get("type", "default")), ["default"])
        config = {"rope_theta": rope.get("rope_theta"), **config}
        heads = number("num_attention_heads", int)
        hidden = number("hidden_size", int)
        head_size = number("head_dim", int, hidden // heads or None)
        kv_heads = number("num_key_value_heads", int, heads)
        if head_size % 2:
            raise CheckpointError(f"{source}: 'head_dim' must be even, not {head_size}")
        eos = config.get("eos_token_id")
        ends = eos if isinstance(eos, list) else [eos]
        bos = config.get("bos_token_id")
        return cls(
            hidden=hidden,
            ffn=number("intermediate_size", int),
            layers=number("num_hidden_layers", int),
            heads=heads,
            kv_heads=kv_heads,
            head_size=head_size,
            vocabulary=number("vocab_size", int),
            epsilon=number("rms_norm_eps", float),
            theta=number("rope_theta", float),
            max_positions=number("max_position_embeddings", int),
            squared_relu=hidden_act == "relu2",
            sub_norms=model_type == "bitnet",
            tied=config.get("tie_word_embeddings", False) is True,
            bos=bos if isinstance(bos, int) else None,
            eos=tuple(end for end in ends if isinstance(end, int)),
        )


#: Known kinds of model, and the activation of each where the configuration does not say.
_HIDDEN_ACT = {"bitnet": "relu2", "llama": "silu"}

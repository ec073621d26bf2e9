"""The reader of Hugging Face's ``config.json``: sizes, kinds of layers, meaning of scales.

Every configuration goes through ``ModelConfig.read``. It checks all keys that Trilith knows and
refuses values that are wrong. A valid value that one user of the configuration cannot handle is
refused by that user.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..errors import CheckpointError
from .config_keys import ConfigKeys

__all__ = [
    "MODEL_FAMILIES",
    "TRANSFORMER_LINEAR",
    "TRANSFORMER_LINEARS",
    "LayerKinds",
    "ModelConfig",
    "mlp_linears",
    "scale_multiplies",
    "transformer_linears",
]


#: The linear layers of a layer, all ternary, and their (N, K) as ``ModelConfig.linear_shapes``
#: names the sizes.
TRANSFORMER_LINEARS = {
    "self_attn.q_proj": ("q", "hidden"),
    "self_attn.k_proj": ("kv", "hidden"),
    "self_attn.v_proj": ("kv", "hidden"),
    "self_attn.o_proj": ("hidden", "q"),
    "mlp.gate_proj": ("ffn", "hidden"),
    "mlp.up_proj": ("ffn", "hidden"),
    "mlp.down_proj": ("hidden", "ffn"),
}


#: Names of the tensors of all these layers.
TRANSFORMER_LINEAR = re.compile(
    r"model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)\.weight"
)


@dataclass(frozen=True, kw_only=True)
class _ModelFamily:
    """Properties of a family of models that its ``config.json`` may leave unsaid.

    Parameters
    ----------
    hidden_act : activation of the feed-forward layer where the key ``hidden_act`` is absent; None
        where the family's default is not recorded here
    head_size : values of a head where ``head_dim`` is absent; None for ``hidden_size`` divided by
        the number of heads
    kv_heads : heads for keys and values where ``num_key_value_heads`` is absent; None, and where
        that key is null, for the number of heads
    theta : base of the rotary frequencies where ``rope_theta`` is absent; 0 where the family's
        default is not recorded here
    bos, eos : tokens that begin and end a text where the keys are absent; None where the family's
        default is not recorded here
    biases : the matrices of queries, keys and values have biases without being asked
    tied : the embedding is the head too, where ``tie_word_embeddings`` is absent
    sub_norms : a norm in front of the output and of the down projection, as in BitNet
    head_norms : norms of each query and key, as in Qwen3
    norms_per_layer : norms of ``hidden_size`` values in a layer
    experts_key : key of the number of experts; None for dense models
    window_pattern : number of layers from one without a sliding window to the next, where
        ``sliding_window_pattern`` is absent; None where the family has no such pattern
    all_windowed : ``sliding_window`` is for all layers
    window : the value of ``sliding_window`` where the key is absent
    window_switch : ``sliding_window`` counts only where ``use_sliding_window`` is true
    source : files that these properties are from
    """

    hidden_act: str | None = None
    head_size: int | None = None
    kv_heads: int | None = None
    theta: float = 0.0
    bos: int | None = None
    eos: int | None = None
    biases: bool = False
    tied: bool = False
    sub_norms: bool = False
    head_norms: bool = False
    norms_per_layer: int = 2
    experts_key: str | None = None
    window_pattern: int | None = None
    all_windowed: bool = False
    window: int | None = None
    window_switch: bool = False
    source: str = ""


#: Families by ``model_type``; the sources are in the file.
MODEL_FAMILIES = {
    name: _ModelFamily(**entry)
    for name, entry in tomllib.loads(
        (Path(__file__).parent / "families.toml").read_text(encoding="utf-8")
    ).items()
}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The checked configuration of a transformer.

    Where a value is absent or is stated twice, the field has the value that ``transformers`` would
    load: the families' defaults are its own, and the object on rotary positions goes before the
    keys beside it.

    Parameters
    ----------
    name : the key ``_name_or_path``; "" where it is absent
    model_type : the key of that name, mostly one of ``MODEL_FAMILIES``; "" where it is absent
    family : properties of the model type; those of ``_ModelFamily()`` where it is not known
    hidden : values of a token between two layers
    ffn : inner values of a dense feed-forward layer
    layers : layers, each of attention and feed-forward
    heads, kv_heads : attention heads for queries, and for keys and values
    head_size : values of a head
    vocabulary : tokens that the model knows; 0 where the key is absent
    max_positions : longest context that the model was made for; 0 where the key is absent
    epsilon : constant of the norms; 0 where the key is absent
    theta : base of the rotary frequencies; 0 where neither the configuration nor the family says
    rope_type, rope_factor : how rotary positions are scaled, "default" where they are not, and the
        factor, 1 where the key is absent
    hidden_act : activation of the feed-forward layer; None where it is not known
    tied : the embedding is the head too
    biases : linear layers of attention or of feed-forward have biases
    norm_before_linears : each linear layer has a norm of its own in front (``use_rms_norm``)
    bos, eos : tokens that begin and end a text, where the configuration names them
    """

    name: str
    model_type: str
    family: _ModelFamily
    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    max_positions: int
    epsilon: float
    theta: float
    rope_type: str
    rope_factor: float
    hidden_act: str | None
    tied: bool
    biases: bool
    norm_before_linears: bool
    bos: int | None
    eos: tuple[int, ...]

    @classmethod
    def read(
        cls,
        config: Mapping[str, Any],
        where: Path | str,
        *,
        needs: Collection[str] = (),
        model_types: Collection[str] = (),
    ) -> Self:
        """Read and check the keys of a ``config.json``.

        Parameters
        ----------
        config : content of the file; a ``text_config`` in it takes its place
        where : file or folder, for messages
        needs : keys that must be there beside the sizes of a layer and the number of layers
        model_types : model types that the caller knows; all if empty

        Raises
        ------
        CheckpointError
            If a key is missing, a value is wrong, two values contradict each other, or the caller
            does not know the model type.
        """
        keys = ConfigKeys(config, where)
        model_type = keys.text("model_type")
        if model_type == "gemma3":
            model_type = "gemma3_text"
        if model_types and model_type not in model_types:
            raise keys.wrong("model_type", f"one of {', '.join(model_types)}")
        if keys.config is not config and config.get("model_type") in MODEL_FAMILIES:
            raise CheckpointError(
                f"{where}: config's text_config must be absent for the model_type "
                f"{config['model_type']!r}; take the model's own config.json"
            )
        rope = keys.rope()
        for key in needs:
            if keys.config.get(key) is None and rope.config.get(key) is None:
                raise keys.missing(key)
        family = MODEL_FAMILIES.get(model_type, _ModelFamily())
        hidden, heads = keys.integer("hidden_size"), keys.integer("num_attention_heads")
        kv_heads = _kv_heads(keys, heads, family.kv_heads)
        default_size = family.head_size
        if keys.config.get("head_dim") is None and default_size is None:
            if hidden % heads:
                raise keys.wrong("hidden_size", f"a multiple of num_attention_heads = {heads}")
            default_size = hidden // heads
        quantization = config.get("quantization_config")
        bos = keys.tokens("bos_token_id", family.bos)
        if len(bos) > 1:
            raise keys.wrong("bos_token_id", "the number of one token")
        act = keys.config.get("hidden_act", family.hidden_act)
        if not isinstance(act, str | None):
            raise keys.wrong("hidden_act", "a string")
        return cls(
            name=keys.text("_name_or_path"),
            model_type=model_type,
            family=family,
            hidden=hidden,
            ffn=keys.integer("intermediate_size"),
            layers=keys.integer("num_hidden_layers"),
            heads=heads,
            kv_heads=kv_heads,
            head_size=keys.integer("head_dim", default_size),
            vocabulary=keys.integer("vocab_size", 0),
            max_positions=keys.integer("max_position_embeddings", 0),
            epsilon=keys.number("rms_norm_eps", 0.0),
            theta=rope.number("rope_theta", keys.number("rope_theta", family.theta)),
            rope_type=rope.text("rope_type") or rope.text("type") or "default",
            rope_factor=rope.number("factor", 1.0),
            hidden_act=act,
            tied=keys.boolean("tie_word_embeddings", family.tied),
            biases=family.biases
            or keys.boolean("attention_bias", False)
            or keys.boolean("mlp_bias", False),
            norm_before_linears=isinstance(quantization, dict)
            and bool(quantization.get("use_rms_norm")),
            bos=bos[0] if bos else None,
            eos=keys.tokens("eos_token_id", family.eos),
        )

    @property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(N, K) of a layer's seven linear layers, by the names of ``TRANSFORMER_LINEARS``."""
        sizes = {
            "hidden": self.hidden,
            "ffn": self.ffn,
            "q": self.heads * self.head_size,
            "kv": self.kv_heads * self.head_size,
        }
        return {name: (sizes[n], sizes[k]) for name, (n, k) in TRANSFORMER_LINEARS.items()}

    @property
    def norm_sizes(self) -> dict[str, int]:
        """Values of the norms of a layer, by the names of their modules; not of experts."""
        sizes = {"input_layernorm": self.hidden, "post_attention_layernorm": self.hidden}
        if self.family.norms_per_layer == 4:
            sizes |= {f"{side}_feedforward_layernorm": self.hidden for side in ("pre", "post")}
        if self.family.head_norms:
            sizes |= {"self_attn.q_norm": self.head_size, "self_attn.k_norm": self.head_size}
        if self.family.sub_norms:
            attention = self.heads * self.head_size
            sizes |= {"self_attn.attn_sub_norm": attention, "mlp.ffn_sub_norm": self.ffn}
        return sizes


def _kv_heads(keys: ConfigKeys, heads: int, default: int | None) -> int:
    """Read the number of heads for keys and values; the default is for an absent key only."""
    stated = "num_key_value_heads" in keys.config
    kv_heads = keys.integer("num_key_value_heads", heads if stated else default or heads)
    if heads % kv_heads and not stated:
        raise keys.missing("num_key_value_heads")
    if heads % kv_heads:
        raise keys.wrong("num_key_value_heads", f"a divisor of num_attention_heads = {heads}")
    return kv_heads


@dataclass(frozen=True, kw_only=True)
class LayerKinds:
    """Differences between the layers of a transformer: sliding windows and experts.

    Parameters
    ----------
    windows : pairs of a number of tokens and the number of layers that attend to at most so many;
        None in a pair is no limit
    sparse_layers : layers with experts instead of a dense feed-forward layer
    experts, active_experts : experts of such a layer, and how many of them a token takes
    expert_ffn : inner values of an expert
    shared_ffn : inner values of the expert that every token takes; 0 where there is none
    """

    windows: tuple[tuple[int | None, int], ...]
    sparse_layers: int = 0
    experts: int = 0
    active_experts: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0

    @classmethod
    def read(cls, config: Mapping[str, Any], where: Path | str) -> Self:
        """Read and check the keys that ``ModelConfig`` leaves out.

        Parameters
        ----------
        config, where : as ``ModelConfig.read`` has them

        Raises
        ------
        CheckpointError
            If a key is missing, a value is wrong, or two values contradict each other.
        """
        keys, model = ConfigKeys(config, where), ModelConfig.read(config, where)
        windows = _windows(keys, model)
        experts_key = model.family.experts_key
        if experts_key is None:
            return cls(windows=windows)
        experts, active = keys.integer(experts_key), keys.integer("num_experts_per_tok")
        if active > experts:
            raise keys.wrong("num_experts_per_tok", f"at most {experts_key} = {experts}")
        mixtral = model.model_type == "mixtral"
        return cls(
            windows=windows,
            sparse_layers=model.layers if mixtral else _sparse_layers(keys, model.layers),
            experts=experts,
            active_experts=active,
            expert_ffn=model.ffn if mixtral else keys.integer("moe_intermediate_size"),
            shared_ffn=keys.integer("shared_expert_intermediate_size", 0, least=0),
        )


def _sparse_layers(keys: ConfigKeys, layers: int) -> int:
    """Count the layers with experts of Qwen's mixtures."""
    step = keys.integer("decoder_sparse_step", 1)
    dense = keys.config.get("mlp_only_layers") or []
    if not isinstance(dense, list):
        raise keys.wrong("mlp_only_layers", "a list")
    return sum(index not in dense and (index + 1) % step == 0 for index in range(layers))


def _windows(keys: ConfigKeys, model: ModelConfig) -> tuple[tuple[int | None, int], ...]:
    """Count the layers that attend to a window of tokens, and those that attend to all."""
    layers, family = model.layers, model.family
    switched_on = keys.boolean("use_sliding_window", not family.window_switch)
    if not switched_on or keys.config.get("sliding_window", family.window) is None:
        return ((None, layers),)
    window = keys.integer("sliding_window", family.window)
    kinds = keys.config.get("layer_types")
    if kinds is not None:
        if not isinstance(kinds, list) or len(kinds) != layers:
            raise keys.wrong("layer_types", f"a list with the kind of each of the {layers} layers")
        windowed = sum(kind == "sliding_attention" for kind in kinds)
    elif family.window_pattern is not None:
        # One layer of so many attends to all tokens.
        windowed = layers - layers // keys.integer("sliding_window_pattern", family.window_pattern)
    elif family.all_windowed:
        windowed = layers
    else:
        without = keys.integer("max_window_layers", layers, least=0)
        if without > layers:
            raise keys.wrong("max_window_layers", f"at most num_hidden_layers = {layers}")
        windowed = layers - without
    counts = ((window, windowed), (None, layers - windowed))
    return tuple((tokens, count) for tokens, count in counts if count)


def transformer_linears(
    config: Mapping[str, Any], where: Path, present: Collection[str]
) -> dict[str, tuple[int, int]]:
    """Derive the shapes of all linear layers of a transformer, whose tensors must all be there.

    Parameters
    ----------
    config : content of ``config.json``
    where : file or folder, for messages
    present : names of the tensors that the checkpoint has

    Returns
    -------
    (N, K) by tensor name

    Raises
    ------
    CheckpointError
        If the configuration is not a transformer's, or a tensor of a layer is missing or too many.
    """
    model = ModelConfig.read(config, where)
    layers = model.layers
    shapes = model.linear_shapes
    there = set(present)

    def names() -> Iterator[str]:
        """Yield all names; a wrong number of layers must not fill the memory with them."""
        for layer in range(layers):
            yield from (f"model.layers.{layer}.{name}.weight" for name in shapes)

    total = layers * len(shapes)
    missing = total - sum(name in there for name in names())
    if missing:
        first = next(name for name in names() if name not in there)
        raise CheckpointError(
            f"{where}: the tensor {first!r} is missing; config's num_hidden_layers is "
            f"{layers}, and {missing} of {total} linear layers are missing"
        )
    expected = dict(zip(names(), layers * [*shapes.values()], strict=True))
    extra = [
        name for name in present if TRANSFORMER_LINEAR.fullmatch(name) and name not in expected
    ]
    if extra:
        raise CheckpointError(
            f"{where}: the tensor {extra[0]!r} is of a layer beyond config's "
            f"num_hidden_layers = {layers}"
        )
    return expected


def mlp_linears(config: Mapping[str, Any], present: Collection[str]) -> dict[str, tuple[int, int]]:
    """Derive the shapes of the layers of a multilayer perceptron of ``golden.training``.

    Parameters
    ----------
    config : content of ``config.json``, with ``layer_sizes``
    present : names of the tensors that the checkpoint has

    Returns
    -------
    (N, K) by tensor name, for the layers that are there; nothing without ``layer_sizes``
    """
    sizes = config.get("layer_sizes")
    if not isinstance(sizes, list) or any(type(size) is not int for size in sizes):
        return {}
    names = (f"layers.{index}.weight" for index in range(len(sizes)))
    shapes = dict(zip(names, zip(sizes[1:], sizes[:-1], strict=True), strict=False))
    return {name: shape for name, shape in shapes.items() if name in present}


def scale_multiplies(config: Mapping[str, Any], where: Path, packed_name: str) -> bool:
    """Find out which of the two conventions of ``weight_scale`` a checkpoint follows.

    Parameters
    ----------
    config : content of ``config.json``
    where : file or folder, for messages
    packed_name : a packed tensor, for messages

    Returns
    -------
    True where the stored scale multiplies (``linear_class`` autobitlinear), False where it divides
    (bitlinear, or none), as in ``transformers.integrations.bitnet``

    Raises
    ------
    CheckpointError
        If the configuration is not that of packed BitNet weights.
    """
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict):
        raise CheckpointError(
            f"{where}: {packed_name} is packed, and config's quantization_config is missing; take "
            "the config.json that belongs to these weights"
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

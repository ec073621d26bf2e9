"""Ternary transformers of language: the shapes of BitNet b1.58 2B4T, of Llama and of Qwen3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..checkpoint.end_tokens import end_tokens
from ..checkpoint.gguf_names import check_activation
from ..checkpoint.load import load_checkpoint
from ..checkpoint.model_config import TRANSFORMER_LINEARS, ModelConfig
from ..checkpoint.tensors import Checkpoint
from ..checkpoint.understood import check_understood
from ..errors import CheckpointError, within
from ..hadamard import Hadamard
from ..quantize import a48_quantize, absmax_quantize
from .layers import (
    BitLinear,
    Matmul,
    Quantizer,
    check_activations_finite,
    packed_matmul,
    rms_norm,
    rotate,
    to_float32,
)

__all__ = ["ACTIVATIONS", "BitNetModel", "KVCache", "Layer", "check_model"]

#: Tokens that pass through the layers at once, and the largest number of products of a query and a
#: key at once, of all heads. They bound the memory of long prompts.
_PIECE, _SCORES = 256, 2**22

_INT8: Quantizer = absmax_quantize


_INT4: Quantizer = partial(absmax_quantize, bits=4)


#: Quantizers of activations by name: the one in front of q, k, v, gate and up, and the one in front
#: of o and down.
ACTIVATIONS: dict[str, tuple[Quantizer, Quantizer]] = {
    "int8": (_INT8, _INT8),
    "int4": (_INT4, _INT4),
    "a4.8": (a48_quantize, _INT8),
}


class KVCache:
    """Keys and values of the tokens so far, in each layer.

    Parameters
    ----------
    config : sizes of the model

    Attributes
    ----------
    length : number of tokens in the cache
    """

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._stored: list[NDArray[np.float32]] = [
            np.empty((2, 0, config.kv_heads, config.head_size), np.float32)
            for _ in range(config.layers)
        ]
        self.length = 0

    def extend(
        self, layer: int, keys: NDArray[np.float32], values: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Append the keys and values of new tokens to a layer.

        Parameters
        ----------
        layer : number of the layer
        keys, values : float32[T, kv_heads, size]

        Returns
        -------
        All keys and all values, float32[length + T, kv_heads, size]; ``length`` stays as it is
        """
        end = self.length + len(keys)
        stored = self._stored[layer]
        if stored.shape[1] < end:
            grown = np.empty((2, 2 * end, *stored.shape[2:]), np.float32)
            grown[:, : self.length] = stored[:, : self.length]
            self._stored[layer] = stored = grown
        stored[0, self.length : end] = keys
        stored[1, self.length : end] = values
        return stored[0, :end], stored[1, :end]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer of a transformer.

    Parameters
    ----------
    linears : ternary matrices by the names of ``TRANSFORMER_LINEARS``
    gains : float32 gains of norms, by the names of ``ModelConfig.norm_sizes``
    """

    linears: dict[str, BitLinear]
    gains: dict[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class BitNetModel:
    """A transformer whose linear layers are ternary.

    Every BitLinear computes exact integers from its quantized input. Norms, attention and the head
    are float32. ``tests/golden/network/test_parity.py`` compares the model with Hugging Face's
    modules in float32. Those modules run in bfloat16 for the released models, which was not
    compared.

    Parameters
    ----------
    config : sizes and kind of the model
    embedding : [vocabulary, hidden], bfloat16, float16 or float32; may be memory-mapped
    head : of the same shape; the embedding if the configuration ties them
    final_norm : gain float32[hidden] of the norm in front of the head
    layers : the layers in order
    ends : tokens that end a text, and the places that name them
    latent : the rows of the embedding are stored as this transform of theirs; None for plain rows
    head_transform : transform of the inputs of the head; None for none
    """

    config: ModelConfig
    embedding: NDArray[Any]
    head: NDArray[Any]
    final_norm: NDArray[np.float32]
    layers: tuple[Layer, ...] = field(repr=False)
    ends: dict[int, str] = field(default_factory=dict)
    latent: Hadamard | None = None
    head_transform: Hadamard | None = None

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        activations: str = "int8",
        matmul: Matmul = packed_matmul,
        **reading: Any,
    ) -> Self:
        """Read a checkpoint; weights stay packed and, where the format allows, memory-mapped.

        Parameters
        ----------
        path : see ``load_checkpoint``
        activations : a key of ``ACTIVATIONS``. ``int8`` is the quantizer of BitNet b1.58, and
            ``int4`` the same with 4 bits. ``a4.8`` is that of BitNet a4.8: 4 bits by the mean
            magnitude in front of q, k, v, gate and up, and 8 bits in front of o and down, without
            the top-k mask there
        matmul : product of integers, in NumPy or in simulated hardware
        reading : other arguments of ``load_checkpoint``: quantize, i2s_layout, type42, hidden_act

        Raises
        ------
        CheckpointError
            If the checkpoint is wrong, or the model is of another kind.
        ValueError
            If ``activations`` is unknown.
        """
        if activations not in ACTIVATIONS:
            raise ValueError(
                f"activations must be one of {', '.join(ACTIVATIONS)}, not {activations!r}"
            )
        checkpoint = load_checkpoint(path, **reading)
        config = check_model(checkpoint)
        hidden = config.hidden
        table = (config.vocabulary, hidden)
        embedding = _tensor(checkpoint, "model.embed_tokens.weight", table)
        rotations = checkpoint.rotations
        head = "model.embed_tokens" if config.tied else "lm_head"
        return cls(
            config=config,
            embedding=embedding,
            head=embedding if config.tied else _tensor(checkpoint, "lm_head.weight", table),
            final_norm=_gain(checkpoint, "model.norm", hidden),
            layers=tuple(
                _load_layer(checkpoint, config, index, ACTIVATIONS[activations], matmul)
                for index in range(config.layers)
            ),
            ends=end_tokens(checkpoint, config),
            latent=rotations and rotations.of_rows(hidden),
            head_transform=rotations and rotations.of(head, hidden),
        )

    def forward(
        self,
        tokens: Sequence[int] | NDArray[Any],
        cache: KVCache | None = None,
        *,
        last: bool = False,
    ) -> NDArray[np.float32]:
        """Compute the logits after each token, or after the last one only.

        Many tokens are taken in pieces, so that memory grows with their number and not its square.

        Parameters
        ----------
        tokens : T token numbers, which follow the tokens in ``cache``
        cache : keys and values of earlier tokens, which is extended; None for none
        last : compute the logits after the last token only

        Returns
        -------
        float32[T, vocabulary], or float32[1, vocabulary]

        Raises
        ------
        ValueError
            If there is no token, or one is not in the vocabulary.
        ActivationError
            If a value overflows float32; the message names the tokens, the layer and the step.
        """
        ids = np.asarray(tokens)
        if ids.ndim != 1 or not len(ids) or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"tokens must be a non-empty sequence of integers, not {tokens!r}")
        if ids.min() < 0 or ids.max() >= self.config.vocabulary:
            raise ValueError(
                f"tokens must be from 0 to {self.config.vocabulary - 1}, not {ids.min()} to "
                f"{ids.max()}"
            )
        if cache is None:
            cache = KVCache(self.config)
        pieces = []
        # Overflows are found by the checks of norms, linear layers and logits.
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(ids), _PIECE):
                x = to_float32(self.embedding[ids[start : start + _PIECE]])
                x = x if self.latent is None else self.latent.inverse(x)
                place = f"positions {cache.length} to {cache.length + len(x) - 1}"
                for index, layer in enumerate(self.layers):
                    with within(f"{place}, layer {index}"):
                        x = x + self._attention(layer, index, x, cache)
                        x = x + self._feed_forward(layer, x)
                cache.length += len(x)
                pieces = [x[-1:]] if last else [*pieces, x]
            first = cache.length - (1 if last else len(ids))
            with within(f"positions {first} to {cache.length - 1}"):
                x = rms_norm(np.concatenate(pieces), self.final_norm, self.config.epsilon)
                x = x if self.head_transform is None else self.head_transform(x)
                logits = _head_product(self.head, x)
                check_activations_finite("logits", logits)
        return logits

    def generate(
        self, prompt: Sequence[int], *, temperature: float = 0.0, seed: int = 0
    ) -> Iterator[int]:
        """Yield the tokens that follow a prompt, without end.

        Parameters
        ----------
        prompt : token numbers, not empty
        temperature : 0 for the likeliest token, the lowest among equals; 1 to draw from the
            model's own distribution; above 0 in general
        seed : of the draws

        Raises
        ------
        ValueError
            If the prompt is empty, or has a token that is not in the vocabulary.
        """
        rng = np.random.default_rng(seed)
        cache = KVCache(self.config)
        logits = self.forward(prompt, cache, last=True)[0]
        while True:
            if temperature:
                with np.errstate(over="ignore"):  # A tiny temperature makes exponents infinite.
                    weights = np.exp((logits - logits.max()).astype(np.float64) / temperature)
                token = int(rng.choice(len(weights), p=weights / weights.sum()))
            else:
                token = int(logits.argmax())
            yield token
            logits = self.forward([token], cache, last=True)[0]

    def _norm(self, layer: Layer, name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply a norm of a layer; without such a norm x stays."""
        if name not in layer.gains:
            return x
        return rms_norm(x, layer.gains[name], self.config.epsilon)

    def _attention(
        self, layer: Layer, index: int, x: NDArray[np.float32], cache: KVCache
    ) -> NDArray[np.float32]:
        """Normalize x float32[T, hidden], and compute its attention over the cache and itself."""
        config = self.config
        tokens = len(x)
        x = self._norm(layer, "input_layernorm", x)
        q, k, v = (
            layer.linears[f"self_attn.{name}"](x).reshape(tokens, -1, config.head_size)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        q, k = self._norm(layer, "self_attn.q_norm", q), self._norm(layer, "self_attn.k_norm", k)
        q = rotate(q, cache.length, config.theta)
        keys, values = cache.extend(index, rotate(k, cache.length, config.theta), v)
        height = max(1, _SCORES // (config.heads * len(keys)))
        mixed = np.concatenate(
            [
                _attend(q[start : start + height], keys, values, cache.length + start)
                for start in range(0, tokens, height)
            ]
        )
        mixed = self._norm(layer, "self_attn.attn_sub_norm", mixed.reshape(tokens, -1))
        return layer.linears["self_attn.o_proj"](mixed)

    def _feed_forward(self, layer: Layer, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalize x float32[T, hidden], and compute the gated feed-forward layer of it."""
        x = self._norm(layer, "post_attention_layernorm", x)
        gate, up = layer.linears["mlp.gate_proj"](x), layer.linears["mlp.up_proj"](x)
        if self.config.hidden_act == "relu2":
            gated = np.maximum(gate, 0) ** 2 * up
        else:
            gated = gate / (np.float32(1) + np.exp(-gate)) * up
        gated = self._norm(layer, "mlp.ffn_sub_norm", gated)
        return layer.linears["mlp.down_proj"](gated)


def _attend(
    q: NDArray[np.float32], keys: NDArray[np.float32], values: NDArray[np.float32], place: int
) -> NDArray[np.float32]:
    """Mix the values of all tokens up to each query's own.

    Parameters
    ----------
    q : queries float32[T, heads, size]
    keys, values : float32[S, kv_heads, size]
    place : position of the first query

    Returns
    -------
    float32[T, heads, size]
    """
    tokens, heads, size = q.shape
    end = place + tokens
    keys, values = keys[:end], values[:end]
    # Heads that share keys: q (kv, heads/kv·T, size) @ keys (kv, size, S).
    kv_heads = keys.shape[1]
    shared = heads // kv_heads
    q = q.reshape(tokens, kv_heads, shared, size).transpose(1, 2, 0, 3)
    scores = q.reshape(kv_heads, shared * tokens, size) @ keys.transpose(1, 2, 0)
    scores = scores.reshape(kv_heads, shared, tokens, end)
    scores *= np.float32(size**-0.5)
    if tokens > 1:
        future = np.triu(np.ones((tokens, tokens), np.bool_), 1)
        scores[..., place:][..., future] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    mixed = weights.reshape(kv_heads, shared * tokens, end) @ values.transpose(1, 0, 2)
    mixed = mixed.reshape(kv_heads, shared, tokens, size).transpose(2, 0, 1, 3)
    return mixed.reshape(tokens, heads, size)


def check_model(checkpoint: Checkpoint) -> ModelConfig:
    """Check that ``BitNetModel`` computes a model, without its weights.

    Parameters
    ----------
    checkpoint : the model

    Returns
    -------
    Its configuration

    Raises
    ------
    CheckpointError
        If the model is of another kind, or a key or a tensor is not understood.
    """
    check_activation(checkpoint)
    config = _read_config(checkpoint.config, checkpoint.path)
    check_understood(checkpoint)
    return config


def _read_config(content: dict[str, Any], where: Path) -> ModelConfig:
    """Read a configuration, and refuse what this model does not compute."""
    config = ModelConfig.read(
        content,
        where,
        needs=("vocab_size", "rms_norm_eps", "max_position_embeddings"),
        model_types=("bitnet", "llama", "qwen3"),
    )
    rules = {
        "hidden_act": (config.hidden_act in ("relu2", "silu"), "relu2 or silu", config.hidden_act),
        "attention_bias and mlp_bias": (not config.biases, "false", True),
        "use_rms_norm": (not config.norm_before_linears, "false", True),
        "rope_type": (config.rope_type == "default", "default", config.rope_type),
        "rope_theta": (config.theta > 0, "above 0", config.theta),
        "head_dim": (config.head_size % 2 == 0, "even", config.head_size),
    }
    for key, (legal, rule, value) in rules.items():
        if not legal:
            raise CheckpointError(
                f"{where}: config's {key} must be {rule}, not {value!r}; "
                "BitNetModel computes nothing else"
            )
    return config


def _tensor(checkpoint: Checkpoint, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Read a float tensor that is not ternary, and check its shape and type."""
    value = checkpoint.tensors[name]
    if value.shape != shape:
        raise CheckpointError(
            f"{checkpoint.path}: {name} must have the shape {shape} of config.json, "
            f"not {value.shape}"
        )
    if value.dtype not in (np.float32, np.float16, ml_dtypes.bfloat16):
        raise CheckpointError(
            f"{checkpoint.path}: {name} must be float32, float16 or bfloat16, not {value.dtype}"
        )
    return value


def _gain(checkpoint: Checkpoint, module: str, size: int) -> NDArray[np.float32]:
    """Read the gain of a norm."""
    return to_float32(_tensor(checkpoint, f"{module}.weight", (size,)))


def _load_layer(
    checkpoint: Checkpoint,
    config: ModelConfig,
    index: int,
    quantizers: tuple[Quantizer, Quantizer],
    matmul: Matmul,
) -> Layer:
    """Read a layer."""
    prefix = f"model.layers.{index}"
    rotations, linears = checkpoint.rotations, {}
    for name in TRANSFORMER_LINEARS:
        weight = checkpoint.ternary[module := f"{prefix}.{name}"]
        linears[name] = BitLinear(
            weight=weight,
            quantize=quantizers[name in ("self_attn.o_proj", "mlp.down_proj")],
            matmul=matmul,
            transform=rotations and rotations.of(module, weight.shape[1]),
        )
    gains = {
        name: _gain(checkpoint, f"{prefix}.{name}", size)
        for name, size in config.norm_sizes.items()
    }
    return Layer(linears=linears, gains=gains)


def _head_product(head: NDArray[Any], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute ``head (V, K) @ x (T, K) -> (T, V)`` in float32, a block of the head at a time."""
    logits = np.empty((len(x), len(head)), np.float32)
    columns = np.ascontiguousarray(x.T)
    height = max(1, 2**18 // x.shape[1])
    for start in range(0, len(head), height):
        rows = slice(start, start + height)
        logits[:, rows] = (to_float32(head[rows]) @ columns).T
    return logits

"""A token in the arithmetic of the token core: the definition that its RTL matches bit for bit.

Vectors are elements (``golden.elements``): 24-bit floats, rounded after each operation. Sums over a
vector are exact integers, so that no result depends on the number of lanes or on an order.

- **Norm and quantizer.** With ``y = round(x · g)`` and ``a = max|y|``, ``q = rint(y · (127 / a))``.
  The norm's root does not touch the elements: it joins a / 127 and the scale of the weights in one
  factor for each vector, which scales the integer results. The sum of squares is that of 16-bit
  integers with a common exponent.
- **Attention.** Queries, keys and values are int8 with a scale for each head. The softmax has
  weights ``e`` of 16 bits below the binary point and their exact sum. Scales of the values are
  folded into the weights, which become int8 with a scale for each head.
- **Head.** Rows and the last vector are int8, each with a scale. The largest logit wins, and the
  lowest token number among equals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpoint.model_config import ModelConfig
from ..checks import check_kind
from ..elements import (
    LOG2_E,
    exp2,
    quantize_elements,
    reciprocal,
    reciprocal_root,
    round_element,
    saturate_element,
    scaled_integers,
    score_factor,
)
from ..input_files import shown
from ..quantize import absmax_quantize
from .core_kinds import check_core_kind
from .layers import BitLinear, packed_matmul, to_float32
from .transformer import BitNetModel

__all__ = [
    "CoreCache",
    "CoreModel",
    "Int8Rows",
    "Trace",
    "attend",
    "normalize_and_quantize",
    "rotate_elements",
    "rotation_table",
]

_Floats = NDArray[np.float64]

#: Rows of the embedding or of the head that are floats at a time.
_BLOCK = 8192

#: Function that takes each vector of a token: number of the layer (−1 before the first one, and the
#: number of layers after the last), name, and the vectors of all tokens [T, …]. Vectors of integers
#: are int8 in range, the others are elements. They come in the order of the hardware.
Trace = Callable[[int, str, NDArray[Any]], None]


def _ignore(layer: int, name: str, vectors: NDArray[Any]) -> None:
    """Trace nothing."""


@dataclass(frozen=True, kw_only=True)
class Int8Rows:
    """Rows of int8, each with a scale: the embedding, and the head.

    Parameters
    ----------
    q : int8[V, K]
    scale : elements float64[V]
    """

    q: NDArray[np.int8]
    scale: _Floats

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Int8Rows:
        """Quantize rows float[V, K]: ``q = rint(127 · w / max|w|)``, exact up to the rounding."""
        # Rows become floats block by block: those of a large vocabulary would fill gigabytes.
        q, scale = np.empty(rows.shape, np.int8), np.empty(len(rows))
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            w = to_float32(rows[block]).astype(np.float64)
            largest = np.abs(w).max(axis=1, keepdims=True)
            q[block] = np.rint(w * 127 / np.where(largest, largest, 1))
            scale[block] = round_element(largest[:, 0] / 127)
        return cls(q=q, scale=scale)


def rotation_table(size: int, positions: int, theta: float) -> tuple[_Floats, _Floats]:
    """Tabulate cosines and sines of rotary positions as elements.

    Parameters
    ----------
    size : elements of a head, even
    positions : number of positions, from 0 on
    theta : base of the frequencies

    Returns
    -------
    Cosines and sines, each [positions, size / 2]
    """
    frequencies = float(theta) ** -(np.arange(0, size, 2) / size)
    angles = np.outer(np.arange(positions), frequencies)
    return round_element(np.cos(angles)), round_element(np.sin(angles))


def normalize_and_quantize(
    x: _Floats, gain: _Floats | None, epsilon: float
) -> tuple[NDArray[np.int8], _Floats]:
    """Normalize and quantize vectors; without a gain there is no norm.

    Parameters
    ----------
    x : elements [T, K]
    gain : elements [K], or None
    epsilon : constant of the norm

    Returns
    -------
    q : int8[T, K]
    factor : elements [T, 1]; the normalized vector is about ``q · factor``
    """
    y = x if gain is None else round_element(x * gain)
    q, factor = quantize_elements(y, np.abs(y).max(axis=-1, keepdims=True))
    if gain is not None:
        integers, exponent = scaled_integers(x, np.abs(x).max(axis=-1, keepdims=True))
        squares = (integers * integers).sum(axis=-1, keepdims=True).astype(np.float64)
        total = round_element(np.ldexp(squares, 2 * exponent))
        mean = round_element(total * round_element(1 / x.shape[-1]))
        mean = round_element(mean + round_element(epsilon))
        factor = round_element(factor * reciprocal_root(mean))
    return q.astype(np.int8), factor


def rotate_elements(x: _Floats, start: int, table: tuple[_Floats, _Floats]) -> _Floats:
    """Turn heads by their positions, as ``layers.rotate`` does.

    Parameters
    ----------
    x : elements [T, heads, size]
    start : position of the first token
    table : see ``rotation_table``

    Returns
    -------
    elements [T, heads, size]
    """
    cos, sin = (part[start : start + len(x), np.newaxis] for part in table)
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate(
        [
            round_element(round_element(first * cos) - round_element(second * sin)),
            round_element(round_element(second * cos) + round_element(first * sin)),
        ],
        axis=-1,
    )


def attend(
    queries: tuple[NDArray[Any], _Floats],
    keys: tuple[NDArray[np.int8], _Floats],
    values: tuple[NDArray[np.int8], _Floats],
) -> _Floats:
    """Mix the values of all positions for the heads of one token.

    Parameters
    ----------
    queries : int8[heads, size], and their scales, elements [heads, 1]
    keys, values : int8[positions, kv_heads, size], and their scales, elements
        [positions, kv_heads]

    Returns
    -------
    elements [heads · size]
    """
    size, kv_heads = queries[0].shape[1], keys[0].shape[1]
    # Heads that share keys: [kv_heads, shared, …]. Sums of small integers are exact in float64.
    q = queries[0].reshape(kv_heads, -1, size).astype(np.float64)
    k = keys[0].transpose(1, 2, 0).astype(np.float64)
    v = values[0].transpose(1, 0, 2).astype(np.float64)
    key_scales, value_scales = keys[1].T[:, np.newaxis], values[1].T[:, np.newaxis]
    factor = round_element(queries[1].reshape(kv_heads, -1, 1) * score_factor(size))
    scores = round_element(round_element(q @ k) * round_element(factor * key_scales))
    scores = round_element(scores - scores.max(axis=-1, keepdims=True))
    e = np.rint(exp2(scores) * 2.0**16)
    total = round_element(round_element(e.sum(axis=-1, keepdims=True)) * 2.0**-16)
    u = round_element(round_element(e * 2.0**-16) * value_scales)
    weights, scale = quantize_elements(u, u.max(axis=-1, keepdims=True))
    factor = round_element(scale * reciprocal(total))
    return round_element(round_element(weights @ v) * factor).reshape(-1)


class CoreCache:
    """Keys and values of the tokens so far: int8 with a scale for each head vector.

    Parameters
    ----------
    config : sizes of the model

    Attributes
    ----------
    length : number of tokens in the cache
    keys, values : int8[layers, positions, kv_heads, size]
    key_scales, value_scales : elements [layers, positions, kv_heads]
    """

    def __init__(self, config: ModelConfig) -> None:
        scales = (config.layers, config.max_positions, config.kv_heads)
        self.length = 0
        self.keys = np.zeros((*scales, config.head_size), np.int8)
        self.values = np.zeros_like(self.keys)
        self.key_scales = np.zeros(scales)
        self.value_scales = np.zeros(scales)


def _byte_products(rows: NDArray[np.int8], q: NDArray[np.int8]) -> _Floats:
    """Multiply rows of int8 [V, K] with vectors of int8 [T, K]: the sums [T, V].

    Sums of small integers are exact in float64. Rows become floats block by block.
    """
    columns = q.T.astype(np.float64)
    blocks = range(0, len(rows), _BLOCK)
    sums = [rows[start : start + _BLOCK].astype(np.float64) @ columns for start in blocks]
    return np.concatenate(sums).T


@dataclass(frozen=True, kw_only=True)
class CoreModel:
    """A model in the arithmetic of the token core.

    Parameters
    ----------
    model : the model, of any kind that ``BitNetModel`` runs with int8 activations

    Raises
    ------
    TypeError
        If ``model`` is not a ``BitNetModel``.
    CoreKindError
        If the core does not have a step of the model.
    ValueError
        If its head size is odd, its heads are not a multiple of its heads of keys and values, or
        its activations are not int8.

    Members
    -------
    embedding, head : rows of int8; the same object if the model ties them
    """

    model: BitNetModel
    embedding: Int8Rows = field(init=False, repr=False)
    head: Int8Rows = field(init=False, repr=False)
    _rotation: tuple[_Floats, _Floats] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_kind("model", self.model, BitNetModel)
        model, config = self.model, self.model.config
        linears = [one for layer in model.layers for one in layer.linears.values()]
        transforms = model.latent, model.head_transform, *(one.transform for one in linears)
        check_core_kind(config, transform=any(transforms))
        if config.head_size % 2:
            raise ValueError(f"the model's head_size must be even, not {config.head_size}")
        if config.heads % config.kv_heads:
            raise ValueError(
                f"the model's heads must be a multiple of its kv_heads, {config.kv_heads}, not "
                f"{config.heads}"
            )
        if any(one.quantize is not absmax_quantize for one in linears):
            raise ValueError(
                "the model's activations must be int8, not another kind; load it without another "
                "one"
            )
        embedding = Int8Rows.of(model.embedding)
        table = rotation_table(config.head_size, config.max_positions, config.theta)
        object.__setattr__(self, "embedding", embedding)
        object.__setattr__(self, "head", embedding if config.tied else Int8Rows.of(model.head))
        object.__setattr__(self, "_rotation", table)

    @property
    def config(self) -> ModelConfig:
        """Sizes and kind of the model."""
        return self.model.config

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the arithmetic depends on, as hexadecimal.

        Two models have one digest only if their sizes, constants, rows, gains, trits and scales are
        equal. It does not depend on the format of their files.
        """
        config, model = self.config, self.model
        constants = (
            config.hidden, config.ffn, config.heads, config.kv_heads, config.head_size,
            config.vocabulary, config.max_positions, config.layers, config.tied,
            config.hidden_act, config.epsilon, config.theta,
        )  # fmt: skip
        found = hashlib.sha256(repr(constants).encode())

        def add(name: str, array: NDArray[Any]) -> None:
            found.update(f"{name} {array.dtype.str} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)

        for name, rows in (("embedding", self.embedding), ("head", self.head)):
            add(name, rows.q)
            add(name, rows.scale)
        add("norm", model.final_norm)
        for layer in model.layers:
            for name in sorted(layer.gains):
                add(name, layer.gains[name])
            for name in sorted(layer.linears):
                weight = layer.linears[name].weight
                add(f"{name} {weight.out_features} {weight.divides}", weight.packed)
                add(f"{weight.group_size}", weight.scale)
        return found.hexdigest()

    def check_tokens(
        self, tokens: Sequence[int] | NDArray[Any], before: int = 0
    ) -> NDArray[np.integer[Any]]:
        """Check the numbers of tokens, and return them as an array.

        Parameters
        ----------
        tokens : one or more integers
        before : number of tokens in front of them

        Raises
        ------
        ValueError
            If there is none, one is not in the vocabulary, or the context is full.
        """
        config, ids = self.config, np.asarray(tokens)
        if (
            ids.ndim != 1
            or not len(ids)
            or not np.issubdtype(ids.dtype, np.integer)
            or ids.min() < 0
            or ids.max() >= config.vocabulary
        ):
            raise ValueError(
                f"tokens must be integers from 0 to {config.vocabulary - 1}, at least one, not "
                f"{shown(tokens)}"
            )
        if before + len(ids) > config.max_positions:
            raise ValueError(
                f"the context must be at most {config.max_positions} tokens, "
                f"not {before + len(ids)}"
            )
        return ids

    def forward(
        self,
        tokens: Sequence[int] | NDArray[Any],
        cache: CoreCache | None = None,
        *,
        last: bool = False,
        trace: Trace = _ignore,
    ) -> _Floats:
        """Compute the logits after each token, or after the last one only.

        Parameters
        ----------
        tokens : T token numbers, which follow the tokens in ``cache``
        cache : keys and values of the tokens before; the new ones are added
        last : whether to compute only the last token's logits
        trace : takes every vector

        Returns
        -------
        elements [T, vocabulary], or [1, vocabulary]

        Raises
        ------
        ValueError
            See ``check_tokens``.
        """
        config = self.config
        cache = cache or CoreCache(config)
        ids = self.check_tokens(tokens, cache.length)
        x = round_element(self.embedding.q[ids] * self.embedding.scale[ids, np.newaxis])
        trace(-1, "embedding", x)
        for index in range(config.layers):
            x = self._attention(index, x, cache, trace)
            x = self._feed_forward(index, x, trace)
        cache.length += len(ids)
        q, factor = self._quantize(x[-1:] if last else x, self.model.final_norm)
        trace(config.layers, "head input", q)
        sums = _byte_products(self.head.q, q)
        logits = round_element(round_element(sums) * round_element(self.head.scale * factor))
        trace(config.layers, "logits", logits)
        return logits

    def _quantize(
        self, x: _Floats, gain: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.int8], _Floats]:
        """Normalize and quantize vectors by a gain of the model."""
        rounded = None if gain is None else round_element(gain.astype(np.float64))
        return normalize_and_quantize(x, rounded, self.config.epsilon)

    def _product(self, linear: BitLinear, q: NDArray[np.int8], factor: _Floats) -> _Floats:
        """Multiply quantized vectors [T, K] by a matrix, and scale the integer results to [T, N].

        Groups of the matrix are added in order, each scaled before.
        """
        total = np.float64(0)
        for index, (group, scale) in enumerate(linear.groups):
            columns = slice(index * group.group_size, (index + 1) * group.group_size)
            sums = round_element(packed_matmul(group, q[:, columns]))
            multiplier = 1 / scale.astype(np.float64) if group.divides else scale
            scaled = round_element(sums * round_element(round_element(multiplier) * factor))
            total = round_element(total + scaled)
        return np.asarray(total)

    def _attention(self, index: int, x: _Floats, cache: CoreCache, trace: Trace) -> _Floats:
        """Add the attention of a layer to vectors x [T, hidden]."""
        layer, config = self.model.layers[index], self.config
        q, factor = self._quantize(x, layer.gains["input_layernorm"])
        trace(index, "attention input", q)
        products, heads = {}, {}
        places = slice(cache.length, cache.length + len(x))
        for name in ("q", "k", "v"):
            products[name] = self._product(layer.linears[f"self_attn.{name}_proj"], q, factor)
            trace(index, name, products[name])
        for name, vectors in products.items():
            vectors = vectors.reshape(len(x), -1, config.head_size)
            if name != "v":
                vectors = rotate_elements(vectors, cache.length, self._rotation)
            largest = np.abs(vectors).max(axis=-1, keepdims=True)
            heads[name] = quantize_elements(vectors, largest)
            trace(index, f"heads of {name}", heads[name][0])
        cache.keys[index, places] = heads["k"][0]
        cache.key_scales[index, places] = heads["k"][1][..., 0]
        cache.values[index, places] = heads["v"][0]
        cache.value_scales[index, places] = heads["v"][1][..., 0]
        mixed = np.empty((len(x), config.heads * config.head_size))
        for token in range(len(x)):
            seen = slice(cache.length + token + 1)
            mixed[token] = attend(
                (heads["q"][0][token], heads["q"][1][token]),
                (cache.keys[index, seen], cache.key_scales[index, seen]),
                (cache.values[index, seen], cache.value_scales[index, seen]),
            )
        trace(index, "mixed", mixed)
        q, factor = self._quantize(mixed, layer.gains.get("self_attn.attn_sub_norm"))
        trace(index, "mixed input", q)
        x = round_element(x + self._product(layer.linears["self_attn.o_proj"], q, factor))
        trace(index, "attention", x)
        return x

    def _feed_forward(self, index: int, x: _Floats, trace: Trace) -> _Floats:
        """Add the gated feed-forward layer to vectors x [T, hidden]."""
        layer = self.model.layers[index]
        q, factor = self._quantize(x, layer.gains["post_attention_layernorm"])
        trace(index, "feed-forward input", q)
        gate, up = (
            self._product(layer.linears[f"mlp.{name}_proj"], q, factor) for name in ("gate", "up")
        )
        if self.config.hidden_act == "relu2":
            positive = np.maximum(gate, 0)
            gate = round_element(positive * positive)
        else:
            # A sigmoid has the right limit where its steps saturate.
            power = exp2(saturate_element(gate * round_element(-LOG2_E)))
            gate = round_element(gate * reciprocal(round_element(1 + power)))
        trace(index, "gate", gate)
        gated = round_element(gate * up)
        trace(index, "gated", gated)
        q, factor = self._quantize(gated, layer.gains.get("mlp.ffn_sub_norm"))
        trace(index, "gated input", q)
        x = round_element(x + self._product(layer.linears["mlp.down_proj"], q, factor))
        trace(index, "feed-forward", x)
        return x

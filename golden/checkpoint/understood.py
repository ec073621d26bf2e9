"""Refusal of a checkpoint's keys and tensors that no reader of Trilith uses.

``understood.toml`` lists the keys that are read, and those that change no result. Everything else
that a file says is refused by name, because results without it would be wrong in silence.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from .model_config import MODEL_FAMILIES, TRANSFORMER_LINEARS, ModelConfig
from .tensors import Checkpoint, StrangeKeys

__all__ = [
    "check_copied",
    "check_matrices",
    "check_understood",
    "not_understood",
    "strange_config",
    "strange_keys",
]

#: Groups of keys by the object that holds them.
_GROUPS: dict[str, list[dict[str, Any]]] = tomllib.loads(
    (Path(__file__).parent / "understood.toml").read_text(encoding="utf-8")
)


#: Names of a transformer's linear layers.
_LINEAR = re.compile(rf"model\.layers\.\d+\.({'|'.join(map(re.escape, TRANSFORMER_LINEARS))})")


def strange_keys(section: str, values: Mapping[str, Any], *, place: str = "") -> StrangeKeys:
    """Find the keys of an object that Trilith does not know, or knows at other values only.

    Parameters
    ----------
    section : part of ``understood.toml`` for this object, such as config
    values : the object; a value of None counts as absent
    place : words in front of each key
    """
    unknown, other = [], []
    for key, value in values.items():
        if value is None:
            continue
        groups = (
            group
            for group in _GROUPS[section]
            if any(fnmatchcase(key, pattern) for pattern in group["keys"])
        )
        group = next(groups, None)
        if group is None:
            unknown.append(_phrase(place + key, value))
        elif "values" in group and not all(_among(x, group["values"]) for x in _parts(value)):
            other.append(_phrase(place + key, value))
    return StrangeKeys(tuple(unknown), tuple(other))


def strange_config(config: Mapping[str, Any]) -> StrangeKeys:
    """Find such keys in a ``config.json`` and in its objects on rotary positions and quantization.

    Parameters
    ----------
    config : content of the file
    """
    if config.get("use_sliding_window") is False:
        config = {**config, "sliding_window": None}
    found = [strange_keys("perceptron" if "layer_sizes" in config else "config", config)]
    for key in ("rope_scaling", "rope_parameters", "quantization_config"):
        inner = config.get(key)
        if isinstance(inner, dict):
            kind = inner.get("rope_type") or inner.get("type") or "default"
            rope = "plain_rope" if kind == "default" else "scaled_rope"
            section = "quantization" if key == "quantization_config" else rope
            found.append(strange_keys(section, inner, place=f"{key}."))
        elif inner:
            found.append(StrangeKeys((), (_phrase(key, inner),)))
    return StrangeKeys(
        tuple(key for part in found for key in part.unknown),
        tuple(key for part in found for key in part.other),
    )


def _among(value: Any, values: list[Any]) -> bool:
    """Find out whether a value is one of several; True is not 1."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values)


def _parts(value: Any) -> Iterable[Any]:
    """Return the parts of a list or an object, each of which must be legal, or the value itself."""
    return value if isinstance(value, list | dict | np.ndarray) else [value]


def _phrase(key: str, value: Any) -> str:
    """Write a key, and its value where that is short, for a message."""
    words = f"{value!r}" if isinstance(value, str | int | float | list) else ""
    return f"{key} = {words}" if words and len(words) <= 40 else key


def check_understood(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that says more than its model computes, before a run or a conversion.

    Parameters
    ----------
    checkpoint : source

    Raises
    ------
    CheckpointError
        If a key or a tensor is not understood. The message names it.
    """
    strange = checkpoint.strange_keys
    _refuse_keys(checkpoint, (*strange.unknown, *strange.other))
    check_copied(checkpoint)


def check_matrices(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose ternary matrices are not all of its matrices, before an export.

    An engine's streams hold matrices and scales. Keys that Trilith knows concern other parts then.

    Parameters
    ----------
    checkpoint : source

    Raises
    ------
    CheckpointError
        If a key is unknown, or no layer reads a tensor. The message names it.
    """
    _refuse_keys(checkpoint, checkpoint.strange_keys.unknown)
    check_copied(checkpoint)


def check_copied(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint with tensors that no layer reads, before a copy that keeps all keys.

    Parameters
    ----------
    checkpoint : source

    Raises
    ------
    CheckpointError
        If the model that the configuration describes does not have a tensor, of which the message
        names up to three; or an adapter lies beside the model, which transformers would load too.
    """
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    adapter = folder / "adapter_config.json"
    if adapter.is_file() and not checkpoint.format.startswith("gguf"):
        raise CheckpointError(
            f"{adapter}: the adapter beside the model is not applied, and results without it would "
            "be wrong; merge it into the model, or move it away"
        )
    unread = list(_unread_tensors(checkpoint))
    if unread:
        raise CheckpointError(
            f"{checkpoint.path}: no layer of the model reads {_few(unread)}; results without "
            f"{'it' if len(unread) == 1 else 'them'} would be wrong, so take the files and the "
            "config.json of one model"
        )


def not_understood(checkpoint: Checkpoint) -> list[str]:
    """List the keys and tensors for which a run or a conversion would be refused.

    Parameters
    ----------
    checkpoint : source
    """
    strange = checkpoint.strange_keys
    return [*strange.unknown, *strange.other, *_unread_tensors(checkpoint)]


def _refuse_keys(checkpoint: Checkpoint, keys: tuple[str, ...]) -> None:
    """Refuse keys, if there are any."""
    if keys:
        place, remedy = "config's ", "delete it from config.json only if it changes no result"
        if checkpoint.format.startswith("gguf"):
            place, remedy = "the metadata key ", "take the original checkpoint"
        raise CheckpointError(
            f"{checkpoint.path}: {place}{_few(keys)} is not understood; results without it may be "
            f"wrong, so {remedy}"
        )


def _few(names: Iterable[str]) -> str:
    """List the first three names and count the rest."""
    names = list(names)
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest


def _unread_tensors(checkpoint: Checkpoint) -> Iterator[str]:
    """List the tensors that the model of the configuration does not have."""
    if "layer_sizes" in checkpoint.config:
        yield from _unread_of_perceptron(checkpoint)
    elif checkpoint.config and any(map(_LINEAR.fullmatch, checkpoint.ternary)):
        yield from _unread_of_transformer(checkpoint)


def _unread_of_perceptron(checkpoint: Checkpoint) -> Iterator[str]:
    """List such tensors of a multilayer perceptron of ``golden.training``."""
    sizes = checkpoint.config["layer_sizes"]
    count = len(sizes) - 1 if isinstance(sizes, list) else 0
    layers = {f"layers.{index}" for index in range(count)}
    norms = {f"{layer}.norm.weight" for layer in layers}
    yield from (f"{name}.weight" for name in checkpoint.ternary if name not in layers)
    yield from (name for name in checkpoint.tensors if name not in norms)


def _unread_of_transformer(checkpoint: Checkpoint) -> Iterator[str]:
    """List such tensors of a transformer."""
    model = ModelConfig.read(checkpoint.config, checkpoint.path)
    beside = (["bias"] if model.biases else []) + (
        ["rms_norm.weight"] if model.norm_before_linears else []
    )
    expected = {f"{linear}.{name}" for linear in TRANSFORMER_LINEARS for name in beside}
    expected |= {f"{name}.weight" for name in model.norm_sizes}
    tops = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    known = model.model_type in MODEL_FAMILIES
    for name in checkpoint.ternary:
        if known and not _LINEAR.fullmatch(name):
            yield f"{name}.weight"
    for name in checkpoint.tensors:
        layer = re.fullmatch(r"model\.layers\.(0|[1-9]\d*)\.(.+)", name)
        short = layer[2] if layer and int(layer[1]) < model.layers else ""
        if name.endswith("rotary_emb.inv_freq"):
            legal = _plain_frequencies(checkpoint.tensors[name], model)
        elif name == "lm_head.weight" and model.tied:
            legal = _same_bytes(checkpoint.tensors, name, "model.embed_tokens.weight")
        elif known:
            legal = name in tops or short in expected
        else:
            # The norms of an unknown family are unknown, but not what a matrix consists of.
            legal = not _LINEAR.match(name) or short in expected
        if not legal:
            yield name


def _plain_frequencies(array: NDArray[Any], model: ModelConfig) -> bool:
    """Find out whether stored rotary frequencies are those of the configuration."""
    exponents = np.arange(0, model.head_size, 2) / model.head_size
    return array.shape == exponents.shape and np.allclose(
        array.astype(np.float64), (model.theta or 1.0) ** -exponents, rtol=0.01
    )


def _same_bytes(tensors: Mapping[str, NDArray[Any]], name: str, other: str) -> bool:
    """Find out whether two tensors are the same, a row at a time."""
    if other not in tensors:
        return False
    a, b = tensors[name], tensors[other]
    return (a.shape, a.dtype) == (b.shape, b.dtype) and all(
        x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True)
    )

"""Statement of a file that inputs of matrices pass through a Hadamard transform first.

The keys ``prism.hadamard.*`` name the matrices that were stored for the transform. They are in the
metadata of a GGUF file, or in ``hadamard.json`` beside the weights. Weights of such a matrix are
``W · R⁻¹``, so that a model without the transform computes nonsense in silence. Sources: PrismML's
fork of llama.cpp, pull requests 120 and 121, and ggml-org/llama.cpp issue 29058.

The key ``gdn_v_grouped`` permutes the inputs of the output matrices of gated delta layers, no other
matrix. Models with such layers are refused by the name of the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError, within
from ..files import read_json
from ..hadamard import HADAMARD_SIZES, Hadamard
from ..input_files import shown
from .model_config import ModelConfig

__all__ = ["PREFIX", "Rotations", "matrix_inputs", "read_hadamard_json", "read_rotations"]

#: First part of all keys.
PREFIX = "prism.hadamard."

#: Keys with the only value that is computed here.
_FIXED = {
    "version": 1,
    "transform": "normalized-sylvester-walsh-hadamard",
    "axis": "input-last-dimension",
}

#: The table whose rows may be stored transformed.
_EMBEDDING = "model.embed_tokens"


@dataclass(frozen=True, kw_only=True, eq=False)
class Rotations:
    """Matrices of a model whose inputs pass through a Hadamard transform.

    Parameters
    ----------
    size : values of a block of the transform
    signs : int8[K] by the number of inputs K; empty where all signs are 1
    weights : Hugging Face's names of the matrices, without ``.weight``; the embedding among them is
        the tied head
    latent : the rows of the embedding are stored transformed, ``h = s ⊙ (H z)``
    """

    size: int
    signs: Mapping[int, NDArray[np.int8]]
    weights: tuple[str, ...]
    latent: bool

    def of(self, module: str, inputs: int) -> Hadamard | None:
        """Return the transform in front of a matrix of so many inputs; None where it has none."""
        return self._transform(inputs) if module in self.weights else None

    def of_rows(self, inputs: int) -> Hadamard | None:
        """Return the transform of the rows of the embedding; None where they are plain."""
        return self._transform(inputs) if self.latent else None

    def _transform(self, inputs: int) -> Hadamard:
        return Hadamard(size=self.size, signs=self.signs.get(inputs))

    def keys(self, name: Callable[[str], str]) -> dict[str, Any]:
        """Return the keys of a file that states the same.

        Parameters
        ----------
        name : gives the file's name of a tensor by Hugging Face's
        """
        widths = sorted(self.signs)
        keys: dict[str, Any] = _FIXED | {
            "block_size": self.size,
            "sign_mode": "explicit" if widths else "identity",
            "weight_names": [name(f"{one}.weight") for one in self.weights],
        }
        if widths:
            keys["sign_widths"] = widths
            keys["sign_values"] = [int(s) for width in widths for s in self.signs[width]]
        if self.latent:
            keys["inverse_weight_names"] = [name(f"{_EMBEDDING}.weight")]
        return {PREFIX + key: value for key, value in keys.items()}

    def same_as(self, other: Rotations) -> bool:
        """Tell whether another statement asks for the same transforms."""
        ours, theirs = self.keys(str), other.keys(str)
        names = f"{PREFIX}weight_names"
        return ours | {names: sorted(ours[names])} == theirs | {names: sorted(theirs[names])}


def read_rotations(
    values: Mapping[str, Any],
    inputs: Mapping[str, int],
    name: Callable[[str], str] = str,
) -> Rotations:
    """Read and check the keys of a file.

    Parameters
    ----------
    values : all keys with ``PREFIX``, without it; lists for arrays
    inputs : number of inputs of each matrix of the model by Hugging Face's name, without
        ``.weight``; a head of its own and the embedding too
    name : gives Hugging Face's name of a tensor by the file's

    Raises
    ------
    CheckpointError
        If a key is missing or not understood. The message begins with the key.
    """
    for key, only in _FIXED.items():
        if key not in values:
            raise CheckpointError(f"{key} is missing")
        if type(values[key]) is not type(only) or values[key] != only:
            raise CheckpointError(f"{key} must be {only!r}, not {shown(values[key])}")
    size = values.get("block_size")
    if type(size) is not int or size not in HADAMARD_SIZES:
        legal = ", ".join(map(str, HADAMARD_SIZES))
        raise CheckpointError(f"block_size must be one of {legal}, not {shown(size)}")
    if not isinstance(values.get("gdn_v_grouped", False), bool):
        shown_value = shown(values["gdn_v_grouped"])
        raise CheckpointError(f"gdn_v_grouped must be true or false, not {shown_value}")
    known = {*_FIXED, "block_size", "sign_mode", "sign_widths", "sign_values", "weight_names"}
    known |= {"inverse_weight_names", "gdn_v_grouped"}
    if other := sorted(values.keys() - known):
        raise CheckpointError(f"{other[0]} is a key that is not known")
    weights = _modules(values, "weight_names", inputs, name)
    latent = _modules(values, "inverse_weight_names", {_EMBEDDING: 0}, name)
    if not weights:
        raise CheckpointError("weight_names must name a matrix, and is empty or missing")
    head = "lm_head" not in inputs
    if head and (_EMBEDDING in weights) != (_EMBEDDING in latent):
        raise CheckpointError(
            "weight_names and inverse_weight_names must both name the embedding, or neither, where "
            "it is the head too"
        )
    if not head and _EMBEDDING in weights:
        raise CheckpointError("weight_names must not name the embedding, which is not the head")
    needed = {one: inputs[one] for one in (*weights, *latent)}
    signs = _signs(values, set(needed.values()))
    for one, k in needed.items():
        if k % size:
            raise CheckpointError(f"block_size must divide the {k} inputs of {one}, and is {size}")
    return Rotations(size=size, signs=signs, weights=tuple(weights), latent=bool(latent))


def _modules(
    values: Mapping[str, Any], key: str, legal: Collection[str], name: Callable[[str], str]
) -> list[str]:
    """Read a list of tensors, as modules."""
    names = values.get(key, [])
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise CheckpointError(f"{key} must be a list of names of tensors")
    modules = []
    for one in names:
        full = name(one)
        module = full.removesuffix(".weight")
        if full == module or module not in legal:
            raise CheckpointError(f"{key} must name matrices of the model, not {shown(one)}")
        if module in modules:
            raise CheckpointError(f"{key} must name a tensor once, not {shown(one)} twice")
        modules.append(module)
    return modules


def _signs(values: Mapping[str, Any], needed: set[int]) -> dict[int, NDArray[np.int8]]:
    """Read the signs by the number of inputs."""
    mode = values.get("sign_mode")
    widths, flat = values.get("sign_widths", []), values.get("sign_values", [])
    if mode == "identity" and not widths and not flat:
        return {}
    if mode != "explicit":
        rule = "identity without signs, or explicit"
        raise CheckpointError(f"sign_mode must be {rule}, not {shown(mode)}")
    if not all(isinstance(x, list) and all(type(i) is int for i in x) for x in (widths, flat)):
        raise CheckpointError("sign_widths and sign_values must be lists of integers")
    if len(set(widths)) != len(widths) or any(k < 1 for k in widths):
        raise CheckpointError("sign_widths must have each number of inputs once, above 0")
    if sum(widths) != len(flat):
        raise CheckpointError(
            f"sign_values must have {sum(widths)} values, the sum of sign_widths, not {len(flat)}"
        )
    if not set(flat) <= {1, -1}:
        raise CheckpointError("sign_values must be 1 and -1")
    if missing := sorted(needed - set(widths)):
        raise CheckpointError(f"sign_widths must have {missing[0]}, the inputs of a matrix")
    ends = np.cumsum(widths)
    values_of = np.array(flat, np.int8)
    return {k: values_of[end - k : end] for k, end in zip(widths, ends.tolist(), strict=True)}


def matrix_inputs(model: ModelConfig, shapes: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """List the number of inputs of each matrix of a transformer.

    Parameters
    ----------
    model : its configuration
    shapes : (N, K) of the linear layers by the names of their tensors

    Returns
    -------
    K by Hugging Face's name without ``.weight``, of the embedding and of a head of its own too
    """
    tops = (_EMBEDDING,) if model.tied else (_EMBEDDING, "lm_head")
    inputs = {name.removesuffix(".weight"): k for name, (_, k) in shapes.items()}
    return inputs | dict.fromkeys(tops, model.hidden)


def read_hadamard_json(
    where: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, int]]
) -> Rotations | None:
    """Read ``hadamard.json`` beside a model's weights.

    Parameters
    ----------
    where : file or folder of the model
    config : content of its ``config.json``
    shapes : see ``matrix_inputs``

    Returns
    -------
    None where there is no such file

    Raises
    ------
    CheckpointError
        If a key is missing or not understood, or the model is no transformer.
    """
    file = (where if where.is_dir() else where.parent) / "hadamard.json"
    if not file.is_file():
        return None
    content, model = read_json(file), ModelConfig.read(config, where)
    with within(file):
        for key in content:
            if not key.startswith(PREFIX):
                raise CheckpointError(f"{shown(key)} is a key that is not known")
        values = {key.removeprefix(PREFIX): x for key, x in content.items()}
        return read_rotations(values, matrix_inputs(model, shapes))

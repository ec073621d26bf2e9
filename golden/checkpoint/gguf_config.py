"""Translation of GGUF's metadata to the keys of Hugging Face's ``config.json``."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import CheckpointError
from .gguf_file import GgufFile
from .gguf_names import (
    ACTIVATIONS,
    ARCHITECTURES,
    CONFIG_KEYS,
    HIDDEN_ACT,
    TRANSFORM,
    huggingface_name,
)
from .gguf_tokenizer import gguf_begin_token, gguf_end_tokens
from .model_config import MODEL_FAMILIES, ModelConfig
from .rotations import PREFIX, Rotations, read_rotations
from .tensors import StrangeKeys
from .understood import strange_keys

__all__ = ["huggingface_config", "read_transform", "strange_metadata"]


def huggingface_config(
    file: GgufFile, names: Mapping[str, str], *, hidden_act: str | None = None
) -> dict[str, Any]:
    """Translate the metadata that ``ModelConfig`` needs.

    Parameters
    ----------
    file : opened file, whose architecture is one of ``ARCHITECTURES``
    names : GGUF's names of the tensors by Hugging Face's
    hidden_act : activation of a file that states none

    Returns
    -------
    Content of a ``config.json``. Its ``hidden_act`` is None where nothing tells the activation.

    Raises
    ------
    CheckpointError
        If a value has another type, or the activation is not known or not the one that is given.
    """
    metadata, arch = file.metadata, file.metadata["general.architecture"]
    config: dict[str, Any] = {
        "architectures": [ARCHITECTURES[arch].class_name],
        "model_type": ARCHITECTURES[arch].model_type,
        "hidden_act": _hidden_act(file, hidden_act),
        "rope_theta": 10000.0,  # The default of llama.cpp.
        "tie_word_embeddings": "lm_head.weight" not in names,
    }
    for ours, theirs in CONFIG_KEYS.items():
        value = metadata.get(key := f"{arch}.{theirs}")
        if type(value) is float:
            # The shortest decimal of the float32 that GGUF holds: 1e-05 again.
            config[ours] = float(str(np.float32(value)))
        elif type(value) is int:
            config[ours] = value
        elif value is not None:
            raise CheckpointError(
                f"{file.path}: {key} must be one number for all layers, not of the type "
                f"{type(value).__name__}; convert the original checkpoint instead"
            )
    config["bos_token_id"] = gguf_begin_token(file)
    ends = gguf_end_tokens(file)
    config["eos_token_id"] = ends if len(ends) > 1 else next(iter(ends), None)
    # llama.cpp takes a factor without a type for linear.
    scaling = metadata.get(f"{arch}.rope.scaling.type", "linear")
    factor = metadata.get(f"{arch}.rope.scaling.factor", 1.0)
    for key, value, kind in (("type", scaling, str), ("factor", factor, float)):
        if type(value) is not kind:
            raise CheckpointError(
                f"{file.path}: {arch}.rope.scaling.{key} must be of the type {kind.__name__}, not "
                f"{type(value).__name__}; convert the original checkpoint instead"
            )
    if (scaling, factor) not in (("none", factor), ("linear", 1.0)):
        config["rope_scaling"] = {"rope_type": scaling, "factor": factor}
    if "num_key_value_heads" not in config and "num_attention_heads" in config:
        config["num_key_value_heads"] = config["num_attention_heads"]
    if MODEL_FAMILIES[config["model_type"]].head_size is not None and "head_dim" not in config:
        # llama.cpp's default, where Hugging Face's family has another.
        hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
        if hidden and heads and hidden % heads == 0:
            config["head_dim"] = hidden // heads
    if "vocab_size" not in config and "token_embd.weight" in file.entries:
        config["vocab_size"] = file.entries["token_embd.weight"].shape[0]
    return config


def _hidden_act(file: GgufFile, given: str | None) -> str | None:
    """Find the activation: as the file states it, as its architecture implies it, or as given."""
    path, arch = file.path, file.metadata["general.architecture"]
    stated = file.metadata.get(f"{arch}.{HIDDEN_ACT}", ARCHITECTURES[arch].hidden_act)
    known = f"one of {', '.join(ACTIVATIONS)}"
    if stated is not None and stated not in ACTIVATIONS:
        raise CheckpointError(f"{path}: {arch}.{HIDDEN_ACT} must be {known}, not {stated!r}")
    if given is not None and (given not in ACTIVATIONS or stated not in (None, given)):
        rule = known if stated is None else f"{stated!r} as in the file, or left out"
        raise CheckpointError(f"{path}: hidden_act must be {rule}, not {given!r}")
    return given or stated


def read_transform(file: GgufFile, inputs: Mapping[str, int]) -> tuple[Rotations | None, str]:
    """Find the matrices whose inputs pass through a Hadamard transform.

    Parameters
    ----------
    file : opened file
    inputs : see ``read_rotations``

    Returns
    -------
    The matrices, None without such matrices; and what is wrong with the statement of the file,
    empty where it is understood
    """
    values: dict[str, Any] = {}
    for key, value in file.metadata.items():
        if key.startswith(PREFIX):
            strings = file.kinds[key] == (9, 8)
            array = value.tolist() if isinstance(value, np.ndarray) else value
            values[key.removeprefix(PREFIX)] = file.strings(key) if strings else array
    words = PREFIX.removesuffix(".")
    if values and TRANSFORM in file.metadata:
        return None, f"{words} (beside {TRANSFORM}, which says none)"
    if values:
        try:
            return read_rotations(values, inputs, huggingface_name), ""
        except CheckpointError as error:
            return None, f"{words} ({error})"
    rotated = sorted(
        {x.type_name for x in file.entries.values() if x.layout and x.layout.transform}
    )
    if rotated and TRANSFORM not in file.metadata:
        return None, f"{words} (missing, though models with {rotated[0]} need its transform)"
    return None, ""


def strange_metadata(file: GgufFile, model: ModelConfig, transform: str) -> StrangeKeys:
    """Find the metadata that are not understood.

    Parameters
    ----------
    file : opened file
    model : configuration of the model
    transform : what is wrong with the statement of a transform, see ``read_transform``. No use of
        the matrices is right without it, so that it counts as an unknown key.
    """
    metadata = {key: x for key, x in file.metadata.items() if not key.startswith(PREFIX)}
    place = f"{metadata['general.architecture']}."
    own = {key.removeprefix(place): x for key, x in metadata.items() if key.startswith(place)}
    general = {key: x for key, x in metadata.items() if not key.startswith(place)}
    size = model.head_size
    # Values and rotary positions have the size of a head.
    sizes = ("attention.value_length", "rope.dimension_count")
    other = tuple(
        f"{place}{key} = {own[key]}" for key in sizes if key in own and repr(own[key]) != repr(size)
    )
    parts = strange_keys("gguf", general), strange_keys("gguf_model", own, place=place)
    unknown = (transform,) if transform else ()
    return StrangeKeys(
        (*parts[0].unknown, *parts[1].unknown, *unknown),
        (*parts[0].other, *parts[1].other, *other),
    )

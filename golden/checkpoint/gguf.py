"""Reader of GGUF files with ternary weights."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .gguf_config import huggingface_config, read_transform, strange_metadata
from .gguf_file import TABLES, GgufFile, is_known
from .gguf_layouts import LAYOUTS
from .gguf_names import (
    ARCHITECTURES,
    CONFIG_KEYS,
    huggingface_name,
    permuted_heads,
    scale_name,
)
from .gguf_ternary import read_i2s_layout, read_ternary
from .i2_s import I2SLayout
from .layer_kinds import refuse_layer_kinds
from .model_config import ModelConfig, transformer_linears
from .rotations import matrix_inputs
from .tensors import Checkpoint, LazyTensors, TernaryTensor

__all__ = ["load_gguf", "read_gguf_config"]

#: Keys of ``config.json`` without which the sizes of a model are not known.
_SIZES = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    "vocab_size",
)


def load_gguf(
    path: Path,
    *,
    i2s_layout: str = "auto",
    type42: str | None = None,
    hidden_act: str | None = None,
) -> Checkpoint:
    """Read a GGUF file as ``load_checkpoint`` does.

    Parameters
    ----------
    path : a file of one of ``ARCHITECTURES``, whose linear layers are of ``LAYOUTS``
    i2s_layout, type42, hidden_act : see ``load_checkpoint``

    Returns
    -------
    The checkpoint with Hugging Face's names and order of rows.

    Raises
    ------
    CheckpointError
        If the file is not GGUF, is one part of several, or its linear layers are not ternary.
    """
    file = GgufFile(path, type42)
    arch, names = _architecture(file), _names(file)
    config = huggingface_config(file, names, hidden_act=hidden_act)
    model = ModelConfig.read(config, path)
    linears = transformer_linears(config, path, names)
    heads = {ours: permuted_heads(arch, ours, model) for ours in linears}
    for ours, shape in linears.items():
        _check_ternary(file, names[ours], shape, heads[ours])
    i2_s = read_i2s_layout(file, list(linears), names, i2s_layout)
    readers: dict[str, Callable[[], TernaryTensor]] = {}
    stored: dict[str, tuple[str, int]] = {}
    taken = set()
    for ours in linears:
        name, module = names[ours], ours.removesuffix(".weight")
        layout = i2_s.layout if i2_s else I2SLayout.BLOCK128
        readers[module] = partial(read_ternary, file, name, module, heads[ours], layout)
        scale = scale_name(name)
        entry = file.entries[name]
        stored[module] = entry.type_name, entry.size + 4 * (scale in file.entries)
        taken |= {name, scale}
    rotations, fault = read_transform(file, matrix_inputs(model, linears))
    has_scales = any(name in file.entries for name in taken if name.endswith(".scale"))
    return Checkpoint(
        path=path,
        config=config,
        format=f"gguf {', '.join(dict.fromkeys(kind for kind, _ in stored.values()))}",
        scale_convention="multiplied" + (" with a .scale tensor" if has_scales else ""),
        ternary=LazyTensors(path, readers),
        stored=stored,
        i2_s=i2_s,
        tensors=LazyTensors(
            path,
            {ours: partial(file.array, name) for ours, name in names.items() if name not in taken},
        ),
        strange_keys=strange_metadata(file, model, fault),
        rotations=rotations,
    )


def read_gguf_config(path: Path) -> dict[str, Any]:
    """Read the configuration in the metadata of a GGUF file, whatever the types of its tensors.

    Parameters
    ----------
    path : a file of one of ``ARCHITECTURES``

    Returns
    -------
    The values by the keys of Hugging Face's ``config.json``.

    Raises
    ------
    CheckpointError
        If the file is not GGUF, or is one part of several, or a size is missing.
    """
    file = GgufFile(path, any_layout=True)
    arch = _architecture(file)
    config = huggingface_config(file, _names(file))
    for key in _SIZES:
        if key not in config:
            raise CheckpointError(
                f"{path}: the metadata key {arch}.{CONFIG_KEYS[key]}, a size of the model, is "
                "missing; convert the original checkpoint again, and add the key"
            )
    return config


def _architecture(file: GgufFile) -> str:
    """Return the architecture of a whole model; refuse others."""
    arch = file.metadata.get("general.architecture")
    architectures = [arch] if isinstance(arch, str) else []
    refuse_layer_kinds(file.path, {"architectures": architectures, "tensors": file.entries})
    if not isinstance(arch, str) or arch not in ARCHITECTURES:
        raise CheckpointError(
            f"{file.path}: general.architecture must be one of {', '.join(ARCHITECTURES)}, for "
            f"which the order of rows is known, not {arch!r}; convert the original checkpoint "
            "instead"
        )
    if file.metadata.get("split.count", 1) != 1:
        raise CheckpointError(
            f"{file.path}: must be a whole model, not one of {file.metadata['split.count']} parts; "
            "join them with llama-gguf-split --merge"
        )
    return arch


def _names(file: GgufFile) -> dict[str, str]:
    """Return GGUF's names of the tensors by Hugging Face's."""
    names: dict[str, str] = {}
    for name in file.entries:
        other = names.setdefault(huggingface_name(name), name)
        if other != name:
            raise CheckpointError(f"{file.path}: {name!r} and {other!r} are the same tensor")
    return names


def _check_ternary(file: GgufFile, name: str, shape: tuple[int, int], heads: int) -> None:
    """Refuse a linear layer whose type or shape is not as it must be."""
    entry, where = file.entries[name], f"{file.path}: {name}"
    if entry.layout is None:
        detail = "; these weights are not ternary, take the original checkpoint"
        if not is_known(entry.kind):
            detail = "; a newer or another program wrote the file, or it is damaged"
        elif entry.kind in TABLES:
            also = " (or MXFP4, which has the same number)" if entry.kind == 39 else ""
            detail = (
                f"{also}, whose tiles depend on the machine it was made for; "
                "make an I2_S file (bitnet.cpp) from the original checkpoint"
            )
        *others, last = LAYOUTS
        raise CheckpointError(
            f"{where} must be {', '.join(others)} or {last}, not {entry.type_name}{detail}"
        )
    if entry.shape != shape:
        raise CheckpointError(
            f"{where} must have the shape {shape} of the metadata, not {entry.shape}"
        )
    if shape[1] % entry.block:
        raise CheckpointError(
            f"{where} must have a multiple of {entry.block} inputs in {entry.type_name}, "
            f"not {shape[1]}"
        )
    if heads and shape[0] % (2 * heads):
        raise CheckpointError(
            f"{where} must have an even number of outputs in each of {heads} heads, "
            f"not {shape[0]} in all"
        )

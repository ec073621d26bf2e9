"""Modules of a model as its files hold them: types and bytes, without reading a weight."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .gguf_file import GgufFile
from .gguf_names import huggingface_name
from .safetensors import SafetensorsFile

__all__ = ["StoredModule", "stored_modules"]

#: Ends of the names of tensors that belong to one module, such as the scales of its weights.
_PARTS = (
    *("weight", "bias", "weight_scale", "scale", "scales", "biases"),
    *("qweight", "qzeros", "g_idx"),
)


@dataclass(frozen=True, kw_only=True)
class StoredModule:
    """A module as a file holds it.

    Parameters
    ----------
    type_name : type of its largest tensor, in the words of the file's format
    stored_bytes : bytes of all its tensors, scales included; 0 where the size of a type is unknown
    matrix : a tensor of it has two dimensions or more
    shape : shape of its largest tensor, as stored
    """

    type_name: str
    stored_bytes: int
    matrix: bool
    shape: tuple[int, ...]


def stored_modules(files: Iterable[Path]) -> dict[str, StoredModule]:
    """List the modules in a model's files.

    Parameters
    ----------
    files : one GGUF file, or all safetensors files of a model

    Returns
    -------
    The modules by Hugging Face's name: ``model.layers.0.self_attn.q_proj``

    Raises
    ------
    CheckpointError
        If a file is damaged.
    """
    parts: dict[str, list[StoredModule]] = {}
    for file in files:
        for name, tensor in _tensors(file):
            module, _, end = name.rpartition(".")
            name = huggingface_name(f"{module}.weight") if end in _PARTS else name
            parts.setdefault(name.removesuffix(".weight"), []).append(tensor)
    return {name: _joined(tensors) for name, tensors in parts.items()}


def _tensors(file: Path) -> Iterable[tuple[str, StoredModule]]:
    """Yield the tensors of a file, each as a module of its own."""
    with file.open("rb") as opened:
        is_gguf = opened.read(4) == b"GGUF"
    if is_gguf:
        for name, entry in GgufFile(file, any_layout=True).entries.items():
            yield name, _tensor(entry.type_name, entry.size, entry.shape)
        return
    tensors = SafetensorsFile(file)
    for name in tensors:
        kind, shape = tensors.info(name)
        yield name, _tensor(kind, tensors.stored_bytes(name), shape)


def _tensor(type_name: str, size: int, shape: tuple[int, ...]) -> StoredModule:
    return StoredModule(
        type_name=type_name, stored_bytes=size, matrix=len(shape) > 1, shape=tuple(shape)
    )


def _joined(tensors: list[StoredModule]) -> StoredModule:
    """Join the tensors of a module."""
    unknown = [one for one in tensors if one.matrix and not one.stored_bytes]
    largest = unknown[0] if unknown else max(tensors, key=lambda one: one.stored_bytes)
    return StoredModule(
        type_name=largest.type_name,
        stored_bytes=0 if unknown else sum(one.stored_bytes for one in tensors),
        matrix=any(one.matrix for one in tensors),
        shape=largest.shape,
    )

"""``load_checkpoint``: chooses the reader of a checkpoint's format."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import CheckpointError
from ..files import read_json
from .safetensors import load_safetensors
from .tensors import Checkpoint

__all__ = ["load_checkpoint"]


def load_checkpoint(path: Path, *, quantize: str | None = None) -> Checkpoint:
    """Read a checkpoint's configuration and names; tensors follow when they are asked for.

    Formats: a Hugging Face folder or safetensors file (``config.json`` beside it; sharded files
    through ``model.safetensors.index.json``) with packed uint8 weights under either convention of
    ``weight_scale``, with ternary-valued float weights (several scales per matrix as in TriLM), or
    with float master weights; and GGUF with TQ1_0, TQ2_0 or I2_S. Nothing is unpickled.

    Whether a stored ``weight_scale`` multiplies or divides is decided from ``config.json`` alone,
    as ``transformers.integrations.bitnet`` does: it multiplies where ``linear_class`` is
    ``autobitlinear``, and divides where it is ``bitlinear`` or absent.

    Parameters
    ----------
    path : a folder, a ``.safetensors`` file or a ``.gguf`` file
    quantize : "absmean" to quantize float master weights (BitNet b1.58, one scale per matrix).
        Matrices that are ternary-valued already keep their values.

    Raises
    ------
    CheckpointError
        If the file is not such a checkpoint; the message names the file or tensor, the rule, what
        was found and what to do. What only the tensors' data shows comes when they are read.
    """
    path = Path(path)
    if quantize not in (None, "absmean"):
        raise CheckpointError(f"quantize must be None or 'absmean', not {quantize!r}")
    if path.is_dir():
        return _load_folder(path, quantize)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise CheckpointError(f"{path}: must be a readable checkpoint: {error.strerror}") from None
    if magic == b"GGUF" or path.suffix == ".gguf":
        from .gguf import load_gguf

        if quantize:
            raise CheckpointError(
                f"{path}: quantize is for float master weights, and a GGUF file is quantized "
                "already; leave it out"
            )
        return load_gguf(path)
    if magic[:2] == b"PK" or path.suffix in (".bin", ".pt", ".pth"):
        raise CheckpointError(
            f"{path}: must be a safetensors or GGUF file, not a pickle, which can run code when it "
            "is read; convert it with save_pretrained(safe_serialization=True)"
        )
    config_file = path.with_name("config.json")
    if not config_file.is_file():
        raise CheckpointError(
            f"{path}: must have its config.json beside it, which says how the scales are meant; "
            "copy it there, or name the folder"
        )
    return load_safetensors(path, read_json(config_file), [path], quantize)


def _load_folder(folder: Path, quantize: str | None) -> Checkpoint:
    config_file, index_file = folder / "config.json", folder / "model.safetensors.index.json"
    if index_file.is_file():
        files = _shards(index_file)
    elif (folder / "model.safetensors").is_file():
        files = [folder / "model.safetensors"]
    else:
        try:
            others = sorted(
                file.name
                for file in folder.iterdir()
                if file.suffix in (".gguf", ".bin", ".pt", ".pth", ".safetensors")
            )
        except OSError as error:
            raise CheckpointError(f"{folder}: must be readable: {error.strerror}") from None
        found = f"{others[0]}; name that file itself" if others else "neither"
        raise CheckpointError(
            f"{folder}: must be a folder with model.safetensors or model.safetensors.index.json; "
            f"found {found}"
        )
    if not config_file.is_file():
        raise CheckpointError(
            f"{folder}: must have a config.json, which says how the scales are meant; "
            "take the model's own"
        )
    return load_safetensors(folder, read_json(config_file), files, quantize)


def _shards(index_file: Path) -> list[Path]:
    """The files that an index names, each once."""
    weight_map = read_json(index_file).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index_file}: must have an object weight_map of tensors and files")
    names = set()
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name):
            raise CheckpointError(
                f"{index_file}: weight_map must name safetensors files in its own folder, "
                f"not {name!r} for {tensor!r}"
            )
        names.add(name)
    return [index_file.with_name(name) for name in sorted(names)]

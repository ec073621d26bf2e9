"""The entrance to all readers: ``load_checkpoint`` chooses the reader of a format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..files import read_json
from ..input_files import is_image, is_safetensors, mistaken, unreadable
from .i2_s import I2SLayout
from .safetensors import load_safetensors
from .tensors import Checkpoint

__all__ = ["load_checkpoint", "read_config", "weight_files"]

#: Endings of files of weights that are not read.
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def load_checkpoint(
    path: Path,
    *,
    quantize: str | None = None,
    i2s_layout: str = "auto",
    type42: str | None = None,
    hidden_act: str | None = None,
) -> Checkpoint:
    """Read a checkpoint's configuration and names; each tensor is read when it is used.

    Formats:

    - Hugging Face folders and safetensors files with ``config.json`` beside them, also sharded by
      ``model.safetensors.index.json``. Weights are packed uint8 with ``weight_scale``,
      ternary-valued floats (several scales per matrix as in TriLM), or float master weights.
    - GGUF files with the ternary types of ``gguf_layouts.LAYOUTS``.

    Nothing is unpickled. ``config.json`` alone decides whether a stored ``weight_scale`` multiplies
    or divides, as in ``transformers.integrations.bitnet``: it multiplies where ``linear_class`` is
    ``autobitlinear``, and divides where it is ``bitlinear`` or absent. Scales are read as float32;
    only those stored as float64 can be rounded.

    Parameters
    ----------
    path : a folder, a ``.safetensors`` file or a ``.gguf`` file
    quantize : "absmean" to quantize float master weights (BitNet b1.58, one scale per matrix).
        Matrices that are ternary-valued already keep their values.
    i2s_layout : layout of the matrices in I2_S of a GGUF file, "auto" or a value of ``I2SLayout``.
        "auto" is ``block128``, and the weights are looked at: a ``CheckpointWarning`` says that
        they do not show the layout, and a file that is clearly in another one is refused.
    type42 : layout of the tensors of a GGUF file whose type has the number 42, "q2_0_64",
        "q2_0_128" or "stq1_0". None where the sizes of the tensors show it; others are refused.
    hidden_act : activation of a GGUF file that states none, "silu" or "relu2"; None where the file
        or its architecture says it

    Returns
    -------
    The checkpoint, whose tensors are memory-mapped.

    Raises
    ------
    CheckpointError
        If the file is not such a checkpoint. The message names the file or tensor, the rule, the
        value found and the remedy. Wrong data of a tensor raise when the tensor is read.
    """
    path = Path(path)
    if quantize not in (None, "absmean"):
        raise CheckpointError(f"quantize must be None or 'absmean', not {quantize!r}")
    if i2s_layout not in (legal := ("auto", *I2SLayout)):
        raise CheckpointError(f"i2s_layout must be one of {', '.join(legal)}, not {i2s_layout!r}")
    if path.is_dir():
        _check_not_gguf(path, i2s_layout, type42, hidden_act)
        files, config_file = weight_files(path), path / "config.json"
        if not config_file.is_file():
            raise CheckpointError(
                f"{path}: config.json, which has the meaning of the scales, is missing; "
                "take the model's own"
            )
        return load_safetensors(path, read_json(config_file), files, quantize)
    head = _first_bytes(path, "a checkpoint")
    if head[:4] == b"GGUF" or path.suffix == ".gguf":
        from .gguf import load_gguf

        if quantize:
            raise CheckpointError(
                f"{path}: quantize is for float master weights, and a GGUF file is quantized "
                "already; leave it out"
            )
        return load_gguf(path, i2s_layout=i2s_layout, type42=type42, hidden_act=hidden_act)
    if not is_safetensors(head):
        reason = "it has neither's first bytes; download it again"
        raise CheckpointError(mistaken(path, "a safetensors or GGUF file", reason))
    _check_not_gguf(path, i2s_layout, type42, hidden_act)
    config_file = path.with_name("config.json")
    if not config_file.is_file():
        raise CheckpointError(
            f"{path}: config.json, which has the meaning of the scales, is missing beside it; "
            "copy it there, or name the folder"
        )
    return load_safetensors(path, read_json(config_file), [path], quantize)


def _first_bytes(path: Path, wanted: str) -> bytes:
    """Read the first bytes of a wanted file, which must not be an image of the token core."""
    if message := unreadable(path, wanted):
        raise CheckpointError(message)
    if is_image(path):
        raise CheckpointError(
            f"{path}: must be a checkpoint, not an image of the token core; name the model that it "
            "was compiled from"
        )
    with path.open("rb") as file:
        return file.read(9)


def _check_not_gguf(
    path: Path, i2s_layout: str, type42: str | None, hidden_act: str | None
) -> None:
    """Refuse settings for what only GGUF files leave open."""
    if i2s_layout != "auto":
        raise CheckpointError(
            f"{path}: the layout of I2_S is for GGUF files; leave out --i2s-layout (i2s_layout)"
        )
    if type42:
        raise CheckpointError(
            f"{path}: the layout of the type 42 is for GGUF files; leave out --type42 (type42)"
        )
    if hidden_act:
        raise CheckpointError(
            f"{path}: the activation of a GGUF file is in config.json here; leave out --hidden-act "
            "(hidden_act)"
        )


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration of a model, whatever the types of its tensors.

    Parameters
    ----------
    path : a ``config.json``, its folder, a safetensors file beside it, or a GGUF file, whose
        metadata have it

    Returns
    -------
    The values by the keys of ``config.json``.

    Raises
    ------
    CheckpointError
        If the file is of another kind, damaged or missing.
    """
    if path.is_dir():
        path /= "config.json"
    head = _first_bytes(path, "a config.json, or a file of a model")
    if head[:4] == b"GGUF":
        from .gguf import read_gguf_config

        return read_gguf_config(path)
    if not is_safetensors(head):
        return read_json(path)
    if not (config_file := path.with_name("config.json")).is_file():
        raise CheckpointError(
            f"{path}: config.json, which has the sizes of the model, is missing beside it; copy "
            "the model's own there, or name the folder"
        )
    return read_json(config_file)


def weight_files(folder: Path) -> list[Path]:
    """List the files with the weights of a Hugging Face folder.

    Raises
    ------
    CheckpointError
        If there is no safetensors file, or the index of several is wrong.
    """
    index_file, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    # As transformers: an index beside a single file is left over from other weights.
    if single.is_file():
        return [single]
    if index_file.is_file():
        return _shards(index_file)
    try:
        names = [file.name for file in folder.iterdir()]
    except OSError as error:
        raise CheckpointError(f"{folder}: must be readable: {error.strerror}") from None
    others = sorted(
        (name for name in names if name.endswith((".gguf", ".safetensors", *_PICKLES))),
        key=lambda name: (name.endswith(_PICKLES), name),
    )
    found = f"{others[0]}; name that file itself" if others else "neither"
    if others and others[0].endswith(_PICKLES):
        found = f"{others[0]}, a pickle; convert it with save_pretrained(safe_serialization=True)"
    raise CheckpointError(
        f"{folder}: must be a folder with model.safetensors or model.safetensors.index.json; "
        f"found {found}"
    )


def _shards(index_file: Path) -> list[Path]:
    """List the files that an index names, each once."""
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

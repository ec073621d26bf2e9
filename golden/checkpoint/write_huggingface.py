"""Writer of Hugging Face checkpoints with packed weights."""

import json
import shutil
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError, CheckpointWarning, FormatError, MissingTokenizerError
from ..files import Progress, ignore_progress, new_folder
from .gguf_names import check_activation
from .mlx import mlx_words
from .model_config import ModelConfig
from .safetensors import SAFETENSORS_TYPES
from .tensors import Checkpoint, TernaryTensor, input_files
from .tokenizer import load_tokenizer
from .understood import check_copied, check_understood

__all__ = ["check_huggingface", "write_huggingface"]

#: Files beside the weights that are copied: no code, and no list of weight files.
_COMPANIONS = (
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template*",
    "generation_config.json",
    "LICENSE*",
)


def check_huggingface(checkpoint: Checkpoint, *, mlx: bool = False) -> None:
    """Check that ``write_huggingface`` accepts a checkpoint; all matrices are read for that.

    Parameters
    ----------
    checkpoint : source
    mlx : in MLX's groups, see there

    Raises
    ------
    CheckpointError
        If it does not, see ``write_huggingface``.
    """
    _check_source(checkpoint)
    directions: set[bool] = set()
    if mlx:
        _group(checkpoint)
        return
    for tensor in checkpoint.ternary.values():
        _check_scale(tensor, directions)


def _group(checkpoint: Checkpoint) -> int:
    """Choose the largest of MLX's groups that all matrices and their scales fill."""
    for group in (128, 64, 32):
        wrong = [x.name for x in checkpoint.ternary.values() if x.group_size % group]
        if not wrong:
            return group
    raise FormatError(
        f"{wrong[0]} must have scales of a multiple of 32 inputs for MLX, not "
        f"{checkpoint.ternary[wrong[0]].group_size}"
    )


def _check_source(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose meaning a folder would change, before its matrices are read."""
    if checkpoint.rotations:
        raise FormatError(
            f"{checkpoint.path}: a folder must not need a Hadamard transform of activations, which "
            "transformers and MLX would leave out in silence"
        )
    if checkpoint.format.startswith("gguf"):
        check_activation(checkpoint)
        check_understood(checkpoint)
        ModelConfig.read(checkpoint.config, checkpoint.path, needs=("rms_norm_eps", "vocab_size"))
    else:
        check_copied(checkpoint)  # The keys of config.json stay.


def _check_scale(tensor: TernaryTensor, directions: set[bool]) -> None:
    """Refuse a matrix whose scales go in another direction; add its direction to the others'."""
    directions.add(tensor.divides)
    if len(directions) > 1:
        raise FormatError(
            f"{tensor.name}: scales of a Hugging Face folder must all multiply or all divide"
        )


def write_huggingface(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    mlx: bool = False,
    progress: Progress = ignore_progress,
) -> str:
    """Write a folder with packed weights, which ``transformers`` loads as BitNet, or MLX.

    ``transformers`` knows one scale for a matrix. Several are stored as [N, groups], in float16
    where that is exact. MLX's scales multiply and belong to groups of a row.

    Scales keep their value and direction: ``linear_class`` is bitlinear where the source divides
    by them and autobitlinear where it multiplies, so that none is rounded. Some loaders divide by
    the scales of every model that is not of the family BitNet. A ``CheckpointWarning`` says where
    that would be wrong. Scales are stored as float32. Other tensors keep their types. A Hugging
    Face source's tokenizer files are copied. The tokenizer of a GGUF source becomes
    ``tokenizer.json``.

    Parameters
    ----------
    checkpoint : source
    folder : must not exist, or be empty; it takes its name when it is complete
    mlx : write MLX's affine groups of two bits
    progress : called after each tensor

    Returns
    -------
    Reason why the source's tokenizer is not in the folder; empty where nothing is lost

    Raises
    ------
    CheckpointError
        If the source is refused. It is a FormatError if some scales multiply and some divide, or
        if MLX's groups do not fit.
    OutputError, OSError
        If a file cannot be written.
    """
    _check_source(checkpoint)
    with new_folder(folder, inputs=input_files(checkpoint.path)) as partial:
        group = _group(checkpoint) if mlx else None
        divides = _write_safetensors(partial / "model.safetensors", checkpoint, group, progress)
        if not (divides or mlx) and checkpoint.config.get("model_type") != "bitnet":
            warnings.warn(
                CheckpointWarning(
                    f"{folder}: weight_scale multiplies, as linear_class autobitlinear says. "
                    "Loaders that always divide make wrong text; a source whose scales divide "
                    "keeps them"
                ),
                stacklevel=2,
            )
        # Other keys of the source's object matter too: modules left alone, use_rms_norm.
        old = checkpoint.config.get("quantization_config")
        config = checkpoint.config | {
            "quantization_config": (old if isinstance(old, dict) else {})
            | {
                "quant_method": "bitnet",
                "linear_class": "bitlinear" if divides else "autobitlinear",
                "quantization_mode": "offline",
            }
        }
        if group:
            words = {"group_size": group, "bits": 2, "mode": "affine"}
            config |= {"quantization": words, "quantization_config": words}
        (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        source = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
        if checkpoint.format.startswith("gguf"):
            try:
                load_tokenizer(checkpoint.path).save(str(partial / "tokenizer.json"))
            except MissingTokenizerError:
                return ""
            except CheckpointError as error:
                return str(error)
            return ""
        for pattern in _COMPANIONS:
            for file in source.glob(pattern):
                if file.is_file():
                    shutil.copyfile(file, partial / file.name)
        return ""


def _stored_scale(tensor: TernaryTensor) -> NDArray:
    """Return the scale float32[1]; several as [N, groups], in float16 where that is exact."""
    scale = tensor.scale
    if scale.size == 1:
        return scale[0]
    scale = scale.repeat(tensor.out_features // len(scale), axis=0)
    with np.errstate(over="ignore"):
        half = scale.astype(np.float16)
    return half if (half == scale).all() else scale


def _write_safetensors(
    file: Path, checkpoint: Checkpoint, group: int | None, progress: Progress
) -> bool:
    """Write tensors one at a time, and find out whether the scales divide; MLX's with a group.

    The library's own writer needs all tensors in memory. A file has the length of the header in
    eight bytes, the header in JSON that spaces may follow, and the data. The header is written
    last, into a space that is large enough for all entries.
    """
    names = [*checkpoint.tensors, *checkpoint.ternary]
    room = -(-sum(3 * len(json.dumps(name)) + 600 for name in names) // 64) * 64
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    directions: set[bool] = set()
    names_of_types = {np.dtype(dtype): name for name, dtype in SAFETENSORS_TYPES.items()}
    with file.open("wb") as stream:
        stream.seek(8 + room)

        def write(name: str, array: NDArray) -> None:
            begin = stream.tell() - 8 - room
            np.ascontiguousarray(array).tofile(stream)
            header[name] = {
                "dtype": names_of_types[array.dtype],
                "shape": array.shape,
                "data_offsets": [begin, begin + array.nbytes],
            }

        for done, name in enumerate(names):
            if name in checkpoint.tensors:
                write(name, checkpoint.tensors[name])
            else:
                tensor = checkpoint.ternary[name]
                if group:
                    for part, one in zip(
                        ("weight", "scales", "biases"), mlx_words(tensor, group), strict=True
                    ):
                        write(f"{name}.{part}", one)
                else:
                    _check_scale(tensor, directions)
                    write(f"{name}.weight", tensor.packed)
                    write(f"{name}.weight_scale", _stored_scale(tensor))
            progress(done + 1, len(names))
        stream.seek(0)
        stream.write(struct.pack("<Q", room) + json.dumps(header).encode().ljust(room))
    return True in directions

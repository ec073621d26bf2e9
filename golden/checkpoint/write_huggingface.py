"""Writer of Hugging Face checkpoints with packed weights."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError, FormatError, MissingTokenizerError
from ..files import Progress, ignore_progress, new_folder
from .gguf_names import check_activation
from .model_config import ModelConfig
from .safetensors import SAFETENSORS_TYPES
from .scales import check_single_scale
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


def check_huggingface(checkpoint: Checkpoint) -> None:
    """Check that ``write_huggingface`` accepts a checkpoint; all matrices are read for that.

    Parameters
    ----------
    checkpoint : source

    Raises
    ------
    CheckpointError
        If it does not, see ``write_huggingface``.
    """
    _check_source(checkpoint)
    directions: set[bool] = set()
    for tensor in checkpoint.ternary.values():
        _check_scale(tensor, directions)


def _check_source(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose meaning a folder would change, before its matrices are read."""
    if checkpoint.format.startswith("gguf"):
        check_activation(checkpoint)
        check_understood(checkpoint)
        ModelConfig.read(checkpoint.config, checkpoint.path, needs=("rms_norm_eps", "vocab_size"))
    else:
        check_copied(checkpoint)  # The keys of config.json stay.


def _check_scale(tensor: TernaryTensor, directions: set[bool]) -> None:
    """Refuse a matrix whose scales do not fit; add its direction to those of the others."""
    check_single_scale(tensor, "Hugging Face's packed format")
    directions.add(tensor.divides)
    if len(directions) > 1:
        raise FormatError(
            f"{tensor.name}: scales of a Hugging Face folder must all multiply or all divide"
        )


def write_huggingface(
    checkpoint: Checkpoint, folder: Path, *, progress: Progress = ignore_progress
) -> str:
    """Write a folder with packed weights that ``transformers`` loads as BitNet.

    Scales keep their value and direction: ``linear_class`` is bitlinear where the source divides
    by them and autobitlinear where it multiplies, so that none is rounded. They are stored as
    float32. Other tensors keep their types. A Hugging Face source's tokenizer files are copied.
    The tokenizer of a GGUF source becomes ``tokenizer.json``.

    Parameters
    ----------
    checkpoint : source
    folder : must not exist, or be empty; it takes its name when it is complete
    progress : called after each tensor

    Returns
    -------
    Reason why the source's tokenizer is not in the folder; empty where nothing is lost

    Raises
    ------
    CheckpointError
        If the source is refused. It is a FormatError if a matrix has several scales, or if some
        scales multiply and some divide.
    OutputError, OSError
        If a file cannot be written.
    """
    _check_source(checkpoint)
    with new_folder(folder, inputs=input_files(checkpoint.path)) as partial:
        divides = _write_safetensors(partial / "model.safetensors", checkpoint, progress)
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


def _write_safetensors(file: Path, checkpoint: Checkpoint, progress: Progress) -> bool:
    """Write tensors one at a time, and find out whether the scales divide.

    The library's own writer needs all tensors in memory. A file has the length of the header in
    eight bytes, the header in JSON that spaces may follow, and the data. The header is written
    last, into a space that is large enough for all entries.
    """
    names = [*checkpoint.tensors, *checkpoint.ternary]
    room = -(-sum(2 * len(json.dumps(name)) + 400 for name in names) // 64) * 64
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
                _check_scale(tensor, directions)
                write(f"{name}.weight", tensor.packed)
                write(f"{name}.weight_scale", tensor.scale[0])
            progress(done + 1, len(names))
        stream.seek(0)
        stream.write(struct.pack("<Q", room) + json.dumps(header).encode().ljust(room))
    return True in directions

"""Writer of Hugging Face checkpoints with packed weights."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from ..files import Progress, ignore_progress, new_folder
from .tensors import Checkpoint, TernaryTensor

__all__ = ["write_huggingface"]

#: Beside the weights in a Hugging Face folder; no code, and nothing that names weight files.
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


#: Safetensors' names of NumPy's types.
_SAFETENSORS_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}


def single_scale(tensor: TernaryTensor, kind: str) -> np.float32:
    if tensor.scale.size != 1:
        groups = f"{tensor.scale.shape[0]} x {tensor.scale.shape[1]}"
        raise CheckpointError(
            f"{tensor.name} has {groups} scales, and {kind} must have one for each matrix; "
            "convert to tq2_0 or stream instead"
        )
    return tensor.scale[0, 0]


def write_huggingface(
    checkpoint: Checkpoint, folder: Path, *, progress: Progress = ignore_progress
) -> None:
    """Write a folder with packed weights that ``transformers`` loads as BitNet.

    Scales are float32 and multiply (``linear_class`` autobitlinear, ``quantization_mode``
    offline), so that none is rounded. Other tensors keep their types. A Hugging Face source's
    tokenizer files are copied.

    Parameters
    ----------
    folder : must not exist, or be empty; it takes its name when it is complete
    progress : called after each tensor

    Raises
    ------
    CheckpointError
        If the source is refused, or a matrix has several scales.
    OutputError, OSError
        If a file cannot be written.
    """
    # What else stands there matters too: modules left alone, a norm before each projection.
    old = checkpoint.config.get("quantization_config")
    config = checkpoint.config | {
        "quantization_config": (old if isinstance(old, dict) else {})
        | {
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": "offline",
        }
    }
    with new_folder(folder) as partial:
        (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        _write_safetensors(partial / "model.safetensors", checkpoint, progress)
        source = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
        if not checkpoint.format.startswith("gguf"):
            for pattern in _COMPANIONS:
                for file in source.glob(pattern):
                    if file.is_file():
                        shutil.copyfile(file, partial / file.name)


def _write_safetensors(file: Path, checkpoint: Checkpoint, progress: Progress) -> None:
    """Write tensors one at a time; the library's writer wants all of them in memory.

    The format is a length in eight bytes, a header in JSON that spaces may follow, and the data.
    The header's place is kept free, as much as all the entries can take, and filled in the end.
    """
    names = [*checkpoint.tensors, *checkpoint.ternary]
    room = -(-sum(2 * len(json.dumps(name)) + 400 for name in names) // 64) * 64
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    with file.open("wb") as stream:
        stream.seek(8 + room)

        def write(name: str, array: NDArray) -> None:
            begin = stream.tell() - 8 - room
            np.ascontiguousarray(array).tofile(stream)
            header[name] = {
                "dtype": _SAFETENSORS_NAMES[array.dtype.name],
                "shape": array.shape,
                "data_offsets": [begin, begin + array.nbytes],
            }

        for done, name in enumerate(names):
            if name in checkpoint.tensors:
                write(name, checkpoint.tensors[name])
            else:
                tensor = checkpoint.ternary[name]
                scale = single_scale(tensor, "Hugging Face's packed format")
                write(f"{name}.weight", tensor.packed)
                write(f"{name}.weight_scale", np.array([scale], np.float32))
            progress(done + 1, len(names))
        stream.seek(0)
        stream.write(struct.pack("<Q", room) + json.dumps(header).encode().ljust(room))


def architecture_of(checkpoint: Checkpoint) -> str:
    """GGUF's name for the model, by which readers know its norms, activation and row order."""
    config = checkpoint.config
    sub_norms = any(name.endswith("attn_sub_norm.weight") for name in checkpoint.tensors)
    found = str(config.get("model_type")), str(config.get("hidden_act")), sub_norms
    architectures = {
        ("bitnet", "relu2", True): "bitnet-b1.58",
        ("bitnet", "silu", True): "bitnet",
        ("llama", "silu", False): "llama",
        ("qwen3", "silu", False): "qwen3",
    }
    if found not in architectures:
        raise CheckpointError(
            f"{checkpoint.path}: GGUF must have a name for the model, and none is known for "
            f"model_type {found[0]!r} with hidden_act {found[1]!r} and "
            f"{'' if sub_norms else 'no '}sub-norms; convert to huggingface or stream instead"
        )
    return architectures[found]

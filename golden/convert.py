"""Writing checkpoints in other formats, and proving that nothing changed."""

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import lcm
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .checkpoint import Checkpoint, TernaryTensor, decoder_linears
from .gguf_layouts import fields_from_packed, tq1_from_packed
from .huggingface import CheckpointError

__all__ = [
    "GGUF_KINDS",
    "Comparison",
    "Progress",
    "compare",
    "ignore_progress",
    "new_folder",
    "write_gguf",
    "write_huggingface",
]

#: Called with how many tensors are done, and of how many.
Progress = Callable[[int, int], None]

#: GGUF's formats of ternary weights: type, ``general.file_type``, and weights in a block.
GGUF_KINDS = {"tq1_0": (34, 36, 256), "tq2_0": (35, 37, 256), "i2_s": (36, 40, 128)}

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

#: Bytes of a block of 256 weights, and the numbers of the types that hold floats.
_TQ_BYTES = {"tq1_0": 54, "tq2_0": 66}
_GGML_FLOATS = {"float32": 0, "float16": 1, "float64": 28, "bfloat16": 30}

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


def ignore_progress(done: int, total: int) -> None:
    """No progress is shown."""


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name only when all went well.

    Raises
    ------
    CheckpointError
        If there is something of that name already.
    OSError
        If it cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder}: must not exist yet; remove it, or give another name")
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    beside.mkdir(parents=True)
    try:
        yield beside
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """A file to write, which takes its name, and replaces its elder, only when all went well.

    Raises
    ------
    CheckpointError
        If a folder has that name.
    """
    if file.is_dir():
        raise CheckpointError(f"{file}: must be a file's name, and is a folder")
    beside = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        yield beside
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def _single_scale(tensor: TernaryTensor, kind: str) -> np.float32:
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
    OSError
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
                scale = _single_scale(tensor, "Hugging Face's packed format")
                write(f"{name}.weight", tensor.packed)
                write(f"{name}.weight_scale", np.array([scale], np.float32))
            progress(done + 1, len(names))
        stream.seek(0)
        stream.write(struct.pack("<Q", room) + json.dumps(header).encode().ljust(room))


def _architecture(checkpoint: Checkpoint) -> str:
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


def write_gguf(
    checkpoint: Checkpoint, file: Path, kind: str, *, progress: Progress = ignore_progress
) -> None:
    """Write a GGUF file with ternary weights in TQ1_0, TQ2_0 or I2_S.

    No scale is rounded. I2_S has one float32 scale per matrix. TQ's blocks have float16 scales:
    they are used where they hold every scale of a matrix exactly; otherwise they are 1 and the
    scale is a float32 tensor ``.scale`` beside the matrix, as llama.cpp's ``BitnetModel`` writes
    it. A block of zeros has the matrix's scale, where ggml's own quantizer writes 0.

    Norms are float32; other tensors keep their types. The tokenizer is copied from a GGUF source;
    from another it is not written, and llama.cpp needs one to run the file.

    Parameters
    ----------
    file : takes its name, and replaces an older one, when it is complete
    kind : "tq1_0", "tq2_0" or "i2_s"
    progress : called after each tensor

    Raises
    ------
    CheckpointError
        If the source is refused, or the format cannot hold it.
    OSError
        If the file cannot be written.
    """
    from gguf import GGUFWriter
    from gguf.constants import GGMLQuantizationType

    from .gguf_file import gguf_name, permuted_heads

    if kind not in GGUF_KINDS:
        raise CheckpointError(f"kind must be one of {', '.join(GGUF_KINDS)}, not {kind!r}")
    ggml_type, file_type, block = GGUF_KINDS[kind]
    arch = _architecture(checkpoint)
    shapes = decoder_linears(
        checkpoint.config, checkpoint.path, [f"{name}.weight" for name in checkpoint.ternary]
    )
    for name, (_, k) in shapes.items():
        if k % block:
            raise CheckpointError(
                f"{name} must have a multiple of {block} inputs for {kind}, not {k}; "
                "convert to huggingface or stream instead"
            )
    gguf_names = {name: gguf_name(name) for name in (*checkpoint.tensors, *shapes)}
    beside = (
        {}
        if kind == "i2_s"
        else {
            name: _in_float16(checkpoint.ternary[name.removesuffix(".weight")]) for name in shapes
        }
    )
    with new_file(file) as partial:
        writer = GGUFWriter(partial, arch)
        try:
            _add_metadata(writer, checkpoint, arch, file_type)
            for name in checkpoint.tensors:
                array = checkpoint.tensors[name]
                dtype = np.dtype(np.float32) if array.ndim == 1 else array.dtype
                if dtype.name not in _GGML_FLOATS:
                    raise CheckpointError(f"{name} must be float for GGUF, not {dtype.name}")
                writer.add_tensor_info(
                    gguf_names[name],
                    array.shape,
                    np.dtype(np.int8),  # Any but uint8, which the library would take for blocks.
                    array.size * dtype.itemsize,
                    GGMLQuantizationType(_GGML_FLOATS[dtype.name]),
                )
            for name, (n, k) in shapes.items():
                size = n * k // 4 + 32 if kind == "i2_s" else n * k // 256 * _TQ_BYTES[kind]
                # The library only writes the type's number, and has none for I2_S.
                writer.add_tensor_info(
                    gguf_names[name], (n, k), np.dtype(np.int8), size, cast(Any, ggml_type)
                )
                if name in beside and not beside[name]:
                    writer.add_tensor_info(
                        f"{gguf_names[name].removesuffix('.weight')}.scale",
                        (1,),
                        np.dtype(np.float32),
                        4,
                    )
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            total = len(checkpoint.tensors) + len(shapes)
            for done, name in enumerate(checkpoint.tensors):
                array = checkpoint.tensors[name]
                writer.write_tensor_data(
                    np.ascontiguousarray(array, np.float32 if array.ndim == 1 else None)
                )
                progress(done + 1, total)
            for done, name in enumerate(shapes):
                tensor = checkpoint.ternary[name.removesuffix(".weight")]
                heads = permuted_heads(arch, name, checkpoint.config)
                exact = beside.get(name, True)
                writer.write_tensor_data(_gguf_data(tensor, kind, heads, exact))
                if not exact:
                    scale = _single_scale(tensor, f"{kind} (whose own are float16)")
                    writer.write_tensor_data(np.array([scale], np.float32))
                progress(len(checkpoint.tensors) + done + 1, total)
        finally:
            writer.close()


def _in_float16(tensor: TernaryTensor) -> bool:
    """Whether float16 holds every scale, which it must where they are several."""
    with np.errstate(over="ignore"):
        exact = tensor.scale.astype(np.float16).astype(np.float32) == tensor.scale
    if not exact.all() and tensor.scale.size > 1:
        raise CheckpointError(
            f"{tensor.name} has {tensor.scale.size} scales, and TQ's must be exact in float16, "
            f"not {tensor.scale[~exact][0]}; convert to stream instead"
        )
    if tensor.group_size % 256:
        raise CheckpointError(
            f"{tensor.name} must have scales of a multiple of 256 inputs for TQ, "
            f"not {tensor.group_size}; convert to stream instead"
        )
    return bool(exact.all())


def _add_metadata(writer: Any, checkpoint: Checkpoint, arch: str, file_type: int) -> None:
    """The metadata that ``load_gguf`` and llama.cpp read, and the tokenizer of a GGUF source."""
    from gguf.constants import GGUFValueType

    from .gguf_file import CONFIG_KEYS, GgufFile

    config = dict(checkpoint.config)
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict) or rope.get("rope_type", "default") not in ("default", "linear"):
        raise CheckpointError(
            f"{checkpoint.path}: RoPE must be plain or linearly scaled for GGUF, not {rope!r}; "
            "convert to huggingface instead"
        )
    config.setdefault("rope_theta", rope.get("rope_theta", 10000.0))
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    if config.get("head_dim") is None:
        config["head_dim"] = hidden // heads
    if config.get("num_key_value_heads") is None:
        config["num_key_value_heads"] = heads
    writer.add_uint32("general.file_type", file_type)
    for ours, theirs in CONFIG_KEYS.items():
        value = config.get(ours)
        if value is None:
            continue
        if type(value) not in (int, float) or not 0 <= value < 2**32:
            raise CheckpointError(
                f"{checkpoint.path}: config's {ours} must be a number from 0 to 2**32 - 1, "
                f"not {value!r}"
            )
        if ours in ("rms_norm_eps", "rope_theta"):
            writer.add_float32(f"{arch}.{theirs}", value)
        elif type(value) is int:
            writer.add_uint32(f"{arch}.{theirs}", value)
    writer.add_uint32(f"{arch}.attention.value_length", config["head_dim"])
    writer.add_uint32(f"{arch}.rope.dimension_count", config["head_dim"])
    if rope.get("rope_type") == "linear":
        writer.add_string(f"{arch}.rope.scaling.type", "linear")
        writer.add_float32(f"{arch}.rope.scaling.factor", float(rope.get("factor", 1.0)))
    if not checkpoint.format.startswith("gguf"):
        for key in ("bos_token_id", "eos_token_id"):
            if type(config.get(key)) is int and 0 <= config[key] < 2**32:
                writer.add_uint32(f"tokenizer.ggml.{key}", config[key])
        return
    source = GgufFile(checkpoint.path)
    for key, value in source.metadata.items():
        if not key.startswith("tokenizer."):
            continue
        kind, inner = (None if x is None else GGUFValueType(x) for x in source.kinds[key])
        if inner is GGUFValueType.STRING:
            value = source.strings(key)
        elif inner is not None:
            value = value.tolist()
        writer.add_key_value(key, value, kind, inner)


def _gguf_data(tensor: TernaryTensor, kind: str, heads: int, exact: bool) -> NDArray[np.uint8]:
    """A matrix as GGUF has it; ``heads`` > 0: with the rows of each in llama.cpp's order."""
    n, k = tensor.shape
    if kind == "i2_s":
        rows = fields_from_packed(tensor.packed, n, msb_first=True)
    else:
        d = np.ones((n, k // 256), np.float16)
        if exact:
            scale = tensor.scale.astype(np.float16)
            d[:] = scale.repeat(n // len(scale), axis=0).repeat(tensor.group_size // 256, axis=1)
        if kind == "tq1_0":
            weights = tq1_from_packed(tensor.packed, n)
        else:
            weights = fields_from_packed(tensor.packed, n, msb_first=False).reshape(n, -1, 64)
        rows = np.concatenate([weights, d.view(np.uint8).reshape(n, -1, 2)], axis=2).reshape(n, -1)
    if heads:
        pairs = rows.reshape(heads, 2, n // heads // 2, -1).swapaxes(1, 2)
        rows = np.ascontiguousarray(pairs).reshape(n, -1)
    if kind != "i2_s":
        return rows.reshape(-1)
    # bitnet.cpp's own converter repeats the scale through the 32 bytes.
    tail = np.full(8, _single_scale(tensor, "I2_S"), np.float32).view(np.uint8)
    return np.concatenate([rows.reshape(-1), tail])


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found.

    Parameters
    ----------
    matrices, trits, scales : compared and equal, up to the first difference
    others : float tensors compared, by value in float32
    difference : the first, in a sentence; empty if there is none
    """

    matrices: int
    trits: int
    scales: int
    others: int
    difference: str


def compare(
    converted: Checkpoint, source: Checkpoint, *, progress: Progress = ignore_progress
) -> Comparison:
    """Hold each matrix's trits and scales, and each other tensor, to the source's.

    Scales are equal if each weight's is, however they are grouped. Other tensors are compared
    where the converted checkpoint has any, which an engine's streams do not.

    Raises
    ------
    CheckpointError
        If either is refused.
    """
    matrices = trits = scales = others = 0
    difference = _different_names(converted.ternary, source.ternary)
    names = [*source.ternary, *(source.tensors if converted.tensors else ())]
    if not difference and converted.tensors:
        difference = _different_names(converted.tensors, source.tensors)
    for done, name in enumerate([] if difference else names):
        if name in source.ternary:
            ours, theirs = converted.ternary[name], source.ternary[name]
            difference = _different_matrix(ours, theirs)
            if not difference:
                matrices += 1
                trits += ours.shape[0] * ours.shape[1]
                scales += theirs.scale.size
        else:
            a, b = converted.tensors[name], source.tensors[name]
            if a.shape != b.shape:
                difference = f"{name} has the shape {a.shape}, and {b.shape} in the source"
            elif not _same_floats(a, b):
                difference = f"{name} has other values than in the source"
            else:
                others += 1
        if difference:
            break
        progress(done + 1, len(names))
    return Comparison(matrices, trits, scales, others, difference)


def _different_names(ours: Any, theirs: Any) -> str:
    for name in theirs:
        if name not in ours:
            return f"{name} is missing"
    for name in ours:
        if name not in theirs:
            return f"{name} is not in the source"
    return ""


def _different_matrix(ours: TernaryTensor, theirs: TernaryTensor) -> str:
    name = ours.name
    if ours.shape != theirs.shape:
        return f"{name} has the shape {ours.shape}, and {theirs.shape} in the source"
    n, k = ours.shape
    # Rows beyond N are fillers, which may differ.
    same = np.array_equal(ours.packed, theirs.packed)
    if not same and (n % 4 == 0 or not np.array_equal(ours.trits, theirs.trits)):
        row, column = np.argwhere(ours.trits != theirs.trits)[0]
        return (
            f"{name} has the trit {ours.trits[row, column]} at output {row}, input {column}, "
            f"and {theirs.trits[row, column]} in the source"
        )
    blocks = lcm(len(ours.scale), len(theirs.scale))
    groups = lcm(ours.scale.shape[1], theirs.scale.shape[1])
    a, b = (
        scale.repeat(blocks // len(scale), axis=0).repeat(groups // scale.shape[1], axis=1)
        for scale in (ours.scale, theirs.scale)
    )
    if not np.array_equal(a, b):
        block, group = np.argwhere(a != b)[0]
        return (
            f"{name} has the scale {a[block, group]} at output {block * n // blocks}, input "
            f"{group * k // groups}, and {b[block, group]} in the source"
        )
    return ""


def _same_floats(a: NDArray, b: NDArray) -> bool:
    if a.dtype == b.dtype:
        return np.array_equal(_as_bytes(a), _as_bytes(b))
    return np.array_equal(_as_bytes(a.astype(np.float32)), _as_bytes(b.astype(np.float32)))


def _as_bytes(a: NDArray) -> NDArray[np.uint8]:
    return np.ascontiguousarray(a).reshape(-1).view(np.uint8)

"""Writer of GGUF files with ternary weights."""

from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from ..files import Progress, ignore_progress, new_file
from .gguf_blocks import fields_from_packed, tq1_from_packed
from .model_config import ModelConfig, transformer_linears
from .tensors import Checkpoint, TernaryTensor
from .write_huggingface import architecture_of, single_scale

__all__ = ["GGUF_KINDS", "write_gguf"]

#: GGUF's formats of ternary weights: type, ``general.file_type``, and weights in a block.
GGUF_KINDS = {"tq1_0": (34, 36, 256), "tq2_0": (35, 37, 256), "i2_s": (36, 40, 128)}


#: Bytes of a block of 256 weights, and the numbers of the types that hold floats.
_TQ_BYTES = {"tq1_0": 54, "tq2_0": 66}


_GGML_FLOATS = {"float32": 0, "float16": 1, "float64": 28, "bfloat16": 30}


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
    OutputError, OSError
        If the file cannot be written.
    """
    from gguf import GGUFWriter
    from gguf.constants import GGMLQuantizationType

    from .gguf_names import gguf_name, permuted_heads

    if kind not in GGUF_KINDS:
        raise CheckpointError(f"kind must be one of {', '.join(GGUF_KINDS)}, not {kind!r}")
    ggml_type, file_type, block = GGUF_KINDS[kind]
    arch = architecture_of(checkpoint)
    model = ModelConfig.read(checkpoint.config, checkpoint.path)
    shapes = transformer_linears(
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
                heads = permuted_heads(arch, name, model)
                exact = beside.get(name, True)
                writer.write_tensor_data(_gguf_data(tensor, kind, heads, exact))
                if not exact:
                    scale = single_scale(tensor, f"{kind} (whose own are float16)")
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

    from .gguf import GgufFile
    from .gguf_names import CONFIG_KEYS

    model = ModelConfig.read(checkpoint.config, checkpoint.path)
    if model.rope_type not in ("default", "linear"):
        raise CheckpointError(
            f"{checkpoint.path}: rotary positions must be plain or linearly scaled for GGUF, "
            f"not {model.rope_type!r}; convert to huggingface instead"
        )
    config = checkpoint.config | {
        "rope_theta": model.theta or 10000.0,
        "head_dim": model.head_size,
        "num_key_value_heads": model.kv_heads,
    }
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
    writer.add_uint32(f"{arch}.attention.value_length", model.head_size)
    writer.add_uint32(f"{arch}.rope.dimension_count", model.head_size)
    if model.rope_type == "linear":
        writer.add_string(f"{arch}.rope.scaling.type", "linear")
        writer.add_float32(f"{arch}.rope.scaling.factor", model.rope_factor)
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
    tail = np.full(8, single_scale(tensor, "I2_S"), np.float32).view(np.uint8)
    return np.concatenate([rows.reshape(-1), tail])

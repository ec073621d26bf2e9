"""Writer of GGUF files with ternary weights."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from gguf import GGUFWriter
from gguf.constants import GGMLQuantizationType, GGUFValueType
from numpy.typing import NDArray

from ..errors import CheckpointError, CheckpointWarning, FormatError, within
from ..files import Progress, ignore_progress, new_file
from .end_tokens import end_tokens
from .finite import to_finite_float32
from .gguf_file import GgufFile
from .gguf_layouts import LAYOUTS, BlockLayout
from .gguf_names import (
    CONFIG_KEYS,
    HIDDEN_ACT,
    TRANSFORM,
    architecture_of,
    gguf_name,
    permuted_heads,
    scale_name,
)
from .gguf_tokenizer import tokenizer_metadata
from .model_config import ModelConfig, transformer_linears
from .scales import check_single_scale
from .tensors import Checkpoint, TernaryTensor, input_files
from .tokenizer import load_tokenizer, tokenizer_errors
from .understood import check_understood

__all__ = ["check_gguf", "write_gguf"]


#: Values of ``general.file_type``. Sources: llama.h, and bitnet.cpp's fork of it for I2_S.
_FILE_TYPES = {"TQ1_0": 36, "TQ2_0": 37, "I2_S": 40}


#: Keys of tokens that end a text, behind ``tokenizer.ggml.``.
_END_KEYS: tuple[str, ...] = ("eos_token_id", "eot_token_id", "eom_token_id")


_ARRAY, _INT8 = GGUFValueType.ARRAY, GGUFValueType.INT8


_GGML_FLOATS = {"float32": 0, "float16": 1, "float64": 28, "bfloat16": 30}


def check_gguf(checkpoint: Checkpoint, kind: str) -> None:
    """Check that ``write_gguf`` accepts a checkpoint; all tensors are read for that.

    Parameters
    ----------
    checkpoint : source
    kind : name of one of ``LAYOUTS`` in lower case

    Raises
    ------
    CheckpointError
        If it does not, see ``write_gguf``.
    """
    plan = _Plan.make(checkpoint, _kind(kind))
    for name, array in checkpoint.tensors.items():
        plan.float_type(name, array)
    if plan.kind.tensor_bytes:
        for tensor in checkpoint.ternary.values():
            check_single_scale(tensor, plan.kind.name)
    if plan.kind.name == "STQ1_0":
        for tensor in checkpoint.ternary.values():
            _codes(tensor, plan.kind)


def write_gguf(
    checkpoint: Checkpoint,
    file: Path,
    kind: str,
    *,
    embeddings: str | None = None,
    force: bool = False,
    progress: Progress = ignore_progress,
) -> str:
    """Write a GGUF file with ternary weights in one of ``LAYOUTS``.

    GGUF's scales multiply. Where the source divides by its scales, 1/scale is rounded to float32;
    ``compare`` counts these. No other scale is rounded: I2_S has one float32 scale per matrix, and
    IQ2_BN one per row. The blocks of other layouts have float16 scales, which are used where they
    hold every scale of a matrix exactly. Otherwise they are 1, and the scale is a float32 tensor
    ``.scale`` beside the matrix, as llama.cpp's ``BitnetModel`` writes it. Some readers ignore it,
    which a ``CheckpointWarning`` says. A block of zeros has the matrix's scale, where ggml's own
    quantizer writes 0.

    Norms are float32; other tensors keep their types. The tokenizer of a GGUF source is copied.
    Another source's ``tokenizer.json`` is written if ``read_gguf_tokenizer`` can make the same
    tokenizer again. Otherwise ``tokenizer.ggml.model`` is none: llama.cpp refuses files without the
    key.

    Parameters
    ----------
    checkpoint : source, of an architecture that GGUF has a name for
    file : takes its name when it is complete
    kind : name of one of ``LAYOUTS`` in lower case
    embeddings : "float16" or "float32" for the embedding and the head, where a reader does not know
        the source's type; ``compare`` counts the values that float16 rounds
    force : replace a file that exists
    progress : called after each tensor

    Returns
    -------
    Reason why no tokenizer is in the file; empty where there is one, or a GGUF source has none

    Raises
    ------
    CheckpointError
        If the source is refused. It is a FormatError if the format cannot hold the source.
    OutputError, OSError
        If the file cannot be written, or its name is refused, see ``check_outputs``.
    """
    plan = replace(_Plan.make(checkpoint, _kind(kind)), embeddings=embeddings)
    with new_file(file, inputs=input_files(checkpoint.path), force=force) as partial:
        writer = GGUFWriter(partial, plan.arch)
        try:
            _add_metadata(writer, checkpoint, plan)
            reason = _add_tokenizer(writer, checkpoint, plan)
            _add_tensor_infos(writer, checkpoint, plan)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            _write_tensors(writer, checkpoint, plan, progress)
        finally:
            writer.close()
    _warn_of_scales(file, plan)
    return reason


def _warn_of_scales(file: Path, plan: "_Plan") -> None:
    """Warn of scales that a reader may ignore."""
    count = sum(plan.scale_name(name) is not None for name in plan.shapes)
    if count:
        fits = all(k % 128 == 0 for _, k in plan.shapes.values())
        warnings.warn(
            CheckpointWarning(
                f"{file}: the scales of {count} matrices are not exact in float16, and stand in "
                "tensors named .scale. llama.cpp reads them, and some readers ignore them and make "
                "wrong text (pytritium)"
                + ("; I2_S, which has its scales inside, is for those: --to i2_s" if fits else "")
            ),
            stacklevel=3,
        )


def _kind(kind: str) -> BlockLayout:
    """Find a layout of ternary weights by its name."""
    kinds = {name.lower(): one for name, one in LAYOUTS.items()}
    if kind not in kinds:
        raise CheckpointError(f"kind must be one of {', '.join(kinds)}, not {kind!r}")
    return kinds[kind]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Decisions on a file, made before anything is written.

    Parameters
    ----------
    kind : layout of the ternary weights
    arch : GGUF's name of the architecture
    model : configuration of the source
    numbers : metadata by GGUF's keys, without the architecture in front
    ends : tokens that end a text
    shapes : (N, K) of the ternary matrices by Hugging Face's tensor name
    names : GGUF's names of all tensors by Hugging Face's
    float16 : the scales of a matrix are in its blocks; False where a ``.scale`` tensor has them
    embeddings : type of tensors that are neither ternary nor norms; None for that of the source
    """

    kind: BlockLayout
    arch: str
    model: ModelConfig
    numbers: Mapping[str, int | float]
    ends: list[int]
    shapes: Mapping[str, tuple[int, int]]
    names: Mapping[str, str]
    float16: Mapping[str, bool]
    embeddings: str | None = None

    @classmethod
    def make(cls, checkpoint: Checkpoint, kind: BlockLayout) -> "_Plan":
        """Decide, or refuse what the format cannot hold."""
        check_understood(checkpoint)
        if checkpoint.rotations and not kind.transform:
            raise FormatError(
                f"{checkpoint.path}: a file of {kind.name} must not need a Hadamard transform of "
                "activations, which other programs would leave out in silence"
            )
        arch = architecture_of(checkpoint)
        present = [f"{name}.weight" for name in checkpoint.ternary]
        shapes = transformer_linears(checkpoint.config, checkpoint.path, present)
        # I2_S is written in the layout block128.
        block = 128 if kind.tensor_bytes else kind.weights
        for name, (_, k) in shapes.items():
            if k % block:
                raise FormatError(
                    f"{name} must have a multiple of {block} inputs for {kind.name.lower()}, "
                    f"not {k}"
                )
        model = ModelConfig.read(checkpoint.config, checkpoint.path, needs=("rms_norm_eps",))
        return cls(
            kind=kind,
            arch=arch,
            model=model,
            numbers=_numbers(checkpoint, model),
            ends=_ends(checkpoint, model),
            shapes=shapes,
            names={name: gguf_name(name) for name in (*checkpoint.tensors, *shapes)},
            float16={
                name: _scales_fit(checkpoint.ternary[name.removesuffix(".weight")], kind)
                for name in shapes
                if not kind.tensor_bytes
            },
        )

    def scale_name(self, name: str) -> str | None:
        """Name of the float32 tensor with a matrix's scale; None where its blocks have it."""
        if self.float16.get(name, True):
            return None
        return scale_name(self.names[name])

    def float_type(self, name: str, array: NDArray) -> np.dtype:
        """Choose the type of a tensor that is not ternary; norms are float32."""
        if array.dtype.name not in _GGML_FLOATS:
            raise FormatError(f"{name} must be float for GGUF, not {array.dtype.name}")
        return np.dtype(np.float32 if array.ndim == 1 else self.embeddings or array.dtype)


def _scales_fit(tensor: TernaryTensor, kind: BlockLayout) -> bool:
    """Find out whether a layout holds every scale of a matrix, which several scales need."""
    scale = tensor.multiplier
    if kind.row_bytes:
        if scale.shape[1] > 1:
            raise FormatError(
                f"{tensor.name} has {scale.shape[1]} scales in a row, and {kind.name} must have one"
            )
        return True
    with np.errstate(over="ignore"):
        exact = scale.astype(np.float16).astype(np.float32) == scale
    if not exact.all() and scale.size > 1:
        raise FormatError(
            f"{tensor.name} has {scale.size} scales, and those of {kind.name} must be exact in "
            f"float16, not {scale[~exact][0]}"
        )
    if tensor.group_size % kind.weights:
        raise FormatError(
            f"{tensor.name} must have scales of a multiple of {kind.weights} inputs for "
            f"{kind.name}, not {tensor.group_size}"
        )
    return bool(exact.all())


def _numbers(checkpoint: Checkpoint, model: ModelConfig) -> dict[str, int | float]:
    """Find the numbers of a configuration that GGUF has keys for."""
    if model.rope_type not in ("default", "linear"):
        raise FormatError(
            f"{checkpoint.path}: rotary positions must be plain or linearly scaled for GGUF, "
            f"not {model.rope_type!r}"
        )
    config = checkpoint.config | {
        "rope_theta": model.theta or 10000.0,
        "head_dim": model.head_size,
        "num_key_value_heads": model.kv_heads,
    }
    numbers: dict[str, int | float] = {}
    for ours, theirs in CONFIG_KEYS.items():
        value = config.get(ours)
        if value is None:
            continue
        if type(value) not in (int, float) or not 0 <= value < 2**32:
            raise FormatError(
                f"{checkpoint.path}: config's {ours} must be a number from 0 to 2**32 - 1 for "
                f"GGUF, not {value!r}"
            )
        if ours in ("rms_norm_eps", "rope_theta"):
            numbers[theirs] = float(value)
        elif type(value) is int:
            numbers[theirs] = value
    return numbers


def _ends(checkpoint: Checkpoint, model: ModelConfig) -> list[int]:
    """Find the tokens that end a text, for which GGUF has a few keys."""
    # The defaults of a family may be beyond a small vocabulary, and cannot be generated then.
    legal = range(model.vocabulary or 2**32)
    ends = [token for token in end_tokens(checkpoint, model) if token in legal]
    if len(ends) > len(_END_KEYS) and not checkpoint.format.startswith("gguf"):
        raise FormatError(
            f"{checkpoint.path}: GGUF has keys for {len(_END_KEYS)} tokens that end a text, not "
            f"for {len(ends)}"
        )
    return ends


def _add_metadata(writer: GGUFWriter, checkpoint: Checkpoint, plan: _Plan) -> None:
    """Add the metadata that ``load_gguf`` and llama.cpp read."""
    model, arch = plan.model, plan.arch
    if plan.kind.name in _FILE_TYPES:
        writer.add_uint32("general.file_type", _FILE_TYPES[plan.kind.name])
    if checkpoint.rotations:
        for key, value in checkpoint.rotations.keys(gguf_name).items():
            small = key.endswith("sign_values")
            writer.add_key_value(key, value, *((_ARRAY, _INT8) if small else _value_type(value)))
    elif plan.kind.transform:
        # Other files of these types are of models that need a transform.
        writer.add_string(TRANSFORM, "none")
    writer.add_string(f"{arch}.{HIDDEN_ACT}", str(model.hidden_act))
    for key, value in plan.numbers.items():
        add = writer.add_float32 if type(value) is float else writer.add_uint32
        add(f"{arch}.{key}", cast(Any, value))
    writer.add_uint32(f"{arch}.attention.value_length", model.head_size)
    writer.add_uint32(f"{arch}.rope.dimension_count", model.head_size)
    if model.rope_type == "linear":
        writer.add_string(f"{arch}.rope.scaling.type", "linear")
        writer.add_float32(f"{arch}.rope.scaling.factor", model.rope_factor)


def _add_tokenizer(writer: GGUFWriter, checkpoint: Checkpoint, plan: _Plan) -> str:
    """Add the tokenizer and the tokens that end a text; return why no tokenizer is there."""
    if checkpoint.format.startswith("gguf"):
        _copy_tokenizer(writer, checkpoint.path)
        return ""
    ends = plan.ends
    bos = plan.model.bos if plan.model.bos in range(plan.model.vocabulary or 2**32) else None
    numbers = dict(zip(_END_KEYS, ends, strict=False))
    if bos is not None:
        numbers["bos_token_id"] = bos
    for key, number in numbers.items():
        writer.add_uint32(f"tokenizer.ggml.{key}", number)
    try:
        tokenizer = load_tokenizer(checkpoint.path)
        with tokenizer_errors(lambda reason: f"the tokenizer must be legal: {reason}"):
            found = tokenizer_metadata(tokenizer, plan.model.vocabulary, bos=bos, ends=ends)
    except CheckpointError as error:
        writer.add_string("tokenizer.ggml.model", "none")
        return str(error)
    for key, value in found.items():
        writer.add_key_value(f"tokenizer.ggml.{key}", value, *_value_type(value))
    return ""


def _value_type(value: Any) -> tuple[GGUFValueType, GGUFValueType | None]:
    """Choose GGUF's type of a value, and of an array's elements."""
    kinds = {
        str: GGUFValueType.STRING,
        bool: GGUFValueType.BOOL,
        int: GGUFValueType.UINT32,
        float: GGUFValueType.FLOAT32,
    }
    if not isinstance(value, list):
        return kinds[type(value)], None
    inner = kinds[type(value[0])]
    # The types of tokens are signed.
    return GGUFValueType.ARRAY, GGUFValueType.INT32 if inner is GGUFValueType.UINT32 else inner


def _copy_tokenizer(writer: GGUFWriter, path: Path) -> None:
    """Copy the metadata of a GGUF file that describe its tokenizer."""
    source = GgufFile(path, any_layout=True)
    for key, value in source.metadata.items():
        if not key.startswith("tokenizer."):
            continue
        kind, inner = (None if x is None else GGUFValueType(x) for x in source.kinds[key])
        if inner is GGUFValueType.STRING:
            value = source.strings(key)
        elif inner is not None:
            value = value.tolist()
        writer.add_key_value(key, value, cast(GGUFValueType, kind), inner)
    if "tokenizer.ggml.model" not in source.metadata:
        writer.add_string("tokenizer.ggml.model", "none")


def _floats(name: str, array: NDArray, dtype: np.dtype) -> NDArray:
    """Convert a tensor to a type that holds its values, rounded."""
    if dtype != np.float16 or array.dtype == dtype:
        return to_finite_float32(name, array) if dtype == np.float32 else array
    with np.errstate(over="ignore"):
        half = array.astype(dtype)
    if not np.isfinite(half).all():
        raise FormatError(
            f"{name} must have values of at most 65504 for float16, not "
            f"{np.abs(to_finite_float32(name, array)).max()}; give --embeddings float32"
        )
    return half


def _add_tensor_infos(writer: GGUFWriter, checkpoint: Checkpoint, plan: _Plan) -> None:
    """Add name, shape and type of each tensor, in the order of the data."""
    for name in checkpoint.tensors:
        array = checkpoint.tensors[name]
        dtype = plan.float_type(name, array)
        writer.add_tensor_info(
            plan.names[name],
            array.shape,
            np.dtype(np.int8),  # Any but uint8, which the library would take for blocks.
            array.size * dtype.itemsize,
            GGMLQuantizationType(_GGML_FLOATS[dtype.name]),
        )
    for name, shape in plan.shapes.items():
        size = plan.kind.stored_bytes(shape)
        # The library only writes the type's number, and has none for most layouts.
        number = cast(Any, plan.kind.numbers[0])
        writer.add_tensor_info(plan.names[name], shape, np.dtype(np.int8), size, number)
        if beside := plan.scale_name(name):
            writer.add_tensor_info(beside, (1,), np.dtype(np.float32), 4)


def _write_tensors(
    writer: GGUFWriter, checkpoint: Checkpoint, plan: _Plan, progress: Progress
) -> None:
    """Write the data of all tensors, one tensor at a time."""
    total = len(checkpoint.tensors) + len(plan.shapes)
    for done, name in enumerate(checkpoint.tensors):
        array = checkpoint.tensors[name]
        one = _floats(name, array, plan.float_type(name, array))
        writer.write_tensor_data(np.ascontiguousarray(one))
        progress(done + 1, total)
    for done, name in enumerate(plan.shapes):
        tensor = checkpoint.ternary[name.removesuffix(".weight")]
        beside = plan.scale_name(name) is not None
        heads = permuted_heads(plan.arch, name, plan.model)
        writer.write_tensor_data(_tensor_data(tensor, plan.kind, heads, beside))
        if beside:
            writer.write_tensor_data(tensor.multiplier[0])
        progress(len(checkpoint.tensors) + done + 1, total)


def _codes(tensor: TernaryTensor, kind: BlockLayout) -> NDArray[np.uint8]:
    """Lay the trits of a matrix out, uint8[N, K / weights, bytes]."""
    with within(tensor.name):
        return kind.pack(tensor.packed, tensor.out_features)


def _tensor_data(
    tensor: TernaryTensor, kind: BlockLayout, heads: int, beside: bool
) -> NDArray[np.uint8]:
    """Lay a matrix out as GGUF has it.

    Parameters
    ----------
    heads : heads whose rows llama.cpp has in another order; 0 for the order of Hugging Face
    beside : the scale is in a tensor of its own, and the blocks' scales are 1
    """
    n, k = tensor.shape
    scale = np.ones((1, 1), np.float32) if beside else tensor.multiplier
    d = scale.repeat(n // len(scale), axis=0)
    if kind.scale_first is not None:
        d = d.repeat(k // kind.weights // scale.shape[1], axis=1)
    rows = kind.join(_codes(tensor, kind), d)
    if heads:
        pairs = rows.reshape(heads, 2, n // heads // 2, -1).swapaxes(1, 2)
        rows = np.ascontiguousarray(pairs).reshape(n, -1)
    if not kind.tensor_bytes:
        return rows.reshape(-1)
    check_single_scale(tensor, kind.name)
    # bitnet.cpp's own converter repeats the scale through the 32 bytes.
    tail = np.full(8, tensor.multiplier[0, 0], np.float32).view(np.uint8)
    return np.concatenate([rows.reshape(-1), tail])

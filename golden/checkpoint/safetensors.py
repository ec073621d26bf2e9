"""Reader of safetensors files, packed or float."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError, within
from ..input_files import mistaken, unreadable
from ..quantize import absmean_quantize
from .finite import check_finite, to_finite_float32
from .layer_kinds import refuse_layer_kinds, shown_by_config
from .mlx import mlx_group, mlx_modules, mlx_tensor, mlx_values, without_mlx
from .model_config import TRANSFORMER_LINEAR, mlp_linears, scale_multiplies, transformer_linears
from .one_bit_llm import as_bitnet, bitnet_name
from .rotations import read_hadamard_json
from .scales import check_legal_scales, ternary_from_float
from .tensors import Checkpoint, LazyTensors, TernaryTensor
from .understood import strange_config

__all__ = ["SAFETENSORS_TYPES", "SafetensorsFile", "load_safetensors", "read_tensors"]


def load_safetensors(
    where: Path, config: dict[str, Any], files: list[Path], quantize: str | None
) -> Checkpoint:
    """Read safetensors files as ``load_checkpoint`` does.

    Parameters
    ----------
    where : file or folder, for messages
    config : content of ``config.json``
    files : the model's files, which together have each tensor once
    quantize : None, or "absmean" for float master weights

    Raises
    ------
    CheckpointError
        If a file is damaged, a tensor is missing or wrong, or the configuration does not fit.
    """
    stored = _open(files)
    refuse_layer_kinds(where, {**shown_by_config(config), "tensors": stored})
    config = as_bitnet(config, where, stored)
    packed_names = [
        name
        for name, file in stored.items()
        if name.endswith(".weight") and file.info(name)[0] == "U8"
    ]
    transformer = any(TRANSFORMER_LINEAR.fullmatch(name) for name in stored)
    if mlx := mlx_modules(stored):
        return _load_mlx(where, config, stored, mlx, quantize)
    if not transformer and not packed_names:
        raise CheckpointError(
            f"{where}: must have linear layers named model.layers.0.self_attn.q_proj.weight and so "
            f"on, or packed uint8 weights; found {len(stored)} tensors, such as "
            f"{min(stored, default='none')!r}"
        )
    shapes = (
        transformer_linears(config, where, stored) if transformer else mlp_linears(config, stored)
    )
    order = {name: place for place, name in enumerate(shapes)}
    packed_names.sort(key=lambda name: order.get(name, len(order)))
    if packed_names:
        if quantize:
            raise CheckpointError(
                f"{where}: quantize is for float master weights, and {packed_names[0]} is packed "
                "already; leave it out"
            )
        kind = "huggingface packed"
        multiplies = scale_multiplies(config, where, packed_names[0])
        convention = "multiplied (autobitlinear)" if multiplies else "divided by (bitlinear)"
        readers = _packed_readers(where, stored, packed_names, shapes, multiplies)
    else:
        readers = _float_readers(where, stored, shapes, quantize)
        first = next(iter(shapes))
        if _ternary_valued(stored[first], first):
            kind, convention = "huggingface ternary float", "the weights' magnitudes"
        elif quantize:
            kind, convention = f"huggingface float ({quantize})", "mean |W|, multiplied (absmean)"
        else:
            raise CheckpointError(_master_message(stored[first].path, first))
    parts = ("weight", "weight_scale") if packed_names else ("weight",)
    taken = {f"{module}.{part}" for module in readers for part in parts}
    others = {
        bitnet_name(name): partial(file.__getitem__, name)
        for name, file in stored.items()
        if name not in taken
    }
    return Checkpoint(
        path=where,
        config=config,
        format=kind,
        scale_convention=convention,
        ternary=LazyTensors(where, readers),
        stored={module: _stored(stored, module, parts) for module in readers},
        tensors=LazyTensors(where, others),
        strange_keys=strange_config(config),
        rotations=read_hadamard_json(where, config, shapes),
    )


def _stored(
    stored: dict[str, SafetensorsFile], module: str, parts: Sequence[str]
) -> tuple[str, int]:
    """Return the type of a matrix, and the bytes of its parts."""
    names = [f"{module}.{part}" for part in parts]
    return stored[names[0]].info(names[0])[0], sum(stored[x].stored_bytes(x) for x in names)


def _load_mlx(
    where: Path,
    config: dict[str, Any],
    stored: dict[str, SafetensorsFile],
    modules: list[str],
    quantize: str | None,
) -> Checkpoint:
    """Make the checkpoint of a model in MLX's groups of two bits."""
    if quantize:
        raise CheckpointError(
            f"{where}: quantize is for float master weights, and {modules[0]} is packed already; "
            "leave it out"
        )
    group, config = mlx_group(config, where), without_mlx(config)
    shapes = transformer_linears(config, where, stored)
    for name in shapes:
        if name.removesuffix(".weight") not in modules:
            raise CheckpointError(
                f"{where}: {name} must be packed as {modules[0]}.weight is, "
                f"not {stored[name].info(name)[0]}"
            )
    linears = {name.removesuffix(".weight"): shape for name, shape in shapes.items()}
    parts = {
        f"{module}.{part}": module for module in modules for part in ("weight", "scales", "biases")
    }
    others: dict[str, Callable[[], NDArray]] = {
        bitnet_name(name): partial(file.__getitem__, name)
        for name, file in stored.items()
        if name not in parts
    }
    for module in modules:
        if module not in linears:
            others[f"{module}.weight"] = partial(mlx_values, stored, module, group)
    return Checkpoint(
        path=where,
        config=config,
        format="mlx 2-bit ternary",
        scale_convention=f"multiplied, one for each output and {group} inputs",
        ternary=LazyTensors(
            where,
            {
                module: partial(mlx_tensor, stored, module, shape, group)
                for module, shape in linears.items()
            },
        ),
        stored={
            module: (
                "MLX 2-bit",
                sum(stored[x].stored_bytes(x) for x, owner in parts.items() if owner == module),
            )
            for module in linears
        },
        tensors=LazyTensors(where, others),
        strange_keys=strange_config(config),
        rotations=read_hadamard_json(where, config, shapes),
    )


def _open(files: list[Path]) -> dict[str, SafetensorsFile]:
    """Open files, and find the file of each tensor."""
    stored: dict[str, SafetensorsFile] = {}
    for file in files:
        opened = SafetensorsFile(file)
        for name in opened:
            if name in stored:
                other = stored[name].path.name
                raise CheckpointError(
                    f"{file}: the tensor {name!r} must be in one file, and {other} has it too; "
                    "take the files of one model"
                )
            stored[name] = opened
    return stored


def _packed_readers(
    where: Path,
    stored: dict[str, SafetensorsFile],
    names: list[str],
    shapes: dict[str, tuple[int, int]],
    multiplies: bool,
) -> dict[str, Callable[[], TernaryTensor]]:
    """Make the reader of each packed matrix, by module; check shapes and the presence of scales."""
    for name in shapes:
        if name not in names:
            raise CheckpointError(
                f"{where}: {name} must be packed uint8 as {names[0]} is, "
                f"not {stored[name].info(name)[0]}"
            )
    readers = {}
    for name in names:
        module = name.removesuffix(".weight")
        shape = _check_packed_shape(where, name, stored[name].info(name)[1], shapes.get(name))
        if f"{module}.weight_scale" not in stored:
            raise CheckpointError(
                f"{where}: {module}.weight_scale, the scale of the packed {name}, is missing; "
                "take the model's own files"
            )
        readers[module] = partial(_read_packed_tensor, stored, module, shape, multiplies)
    return readers


def _float_readers(
    where: Path,
    stored: dict[str, SafetensorsFile],
    shapes: dict[str, tuple[int, int]],
    quantize: str | None,
) -> dict[str, Callable[[], TernaryTensor]]:
    """Make the reader of each float matrix, by module; check types and shapes."""
    for name, shape in shapes.items():
        dtype, found = stored[name].info(name)
        if dtype not in ("F64", "F32", "F16", "BF16"):
            raise CheckpointError(
                f"{where}: {name} must be packed uint8 or float, not {dtype}; "
                "this quantization is not known here"
            )
        if found != shape:
            raise CheckpointError(
                f"{where}: {name} must have the shape {shape} of config.json, not {found}"
            )
    return {
        name.removesuffix(".weight"): partial(_read_float_tensor, stored[name], name, quantize)
        for name in shapes
    }


def _check_packed_shape(
    where: Path, name: str, found: tuple[int, ...], shape: tuple[int, int] | None
) -> tuple[int, int]:
    """Check a packed tensor's shape, and return (N, K); without a configuration N is 4 · rows."""
    if len(found) != 2 or 0 in found:
        raise CheckpointError(
            f"{where}: {name} is uint8 and must have two non-empty dimensions, not shape {found}"
        )
    if shape is None:
        return 4 * found[0], found[1]
    n, k = shape
    if found != (-(-n // 4), k):
        raise CheckpointError(
            f"{where}: {name} must be packed with shape {(-(-n // 4), k)} for the {n} x {k} of "
            f"config.json, not {found}"
        )
    return shape


def _read_packed_tensor(
    stored: dict[str, SafetensorsFile], module: str, shape: tuple[int, int], multiplies: bool
) -> TernaryTensor:
    """Read a packed matrix and its scales.

    transformers knows one scale for a matrix. A scale for each output, or for each output and group
    of inputs, follows the same rule.
    """
    file, name = stored[f"{module}.weight_scale"], f"{module}.weight_scale"
    value, (n, k) = file[name], shape
    if value.size == 1:
        value = value.reshape(1, 1)
    elif value.shape == (n,):
        value = value.reshape(n, 1)
    kind = file.info(name)[0]
    several = value.ndim == 2 and len(value) == n and value.shape[1] and k % value.shape[1] == 0
    if kind not in ("F64", "F32", "F16", "BF16") or not (value.size == 1 or several):
        raise CheckpointError(
            f"{file.path}: {name} must be one float, or one for each of {n} outputs, or for each "
            f"group of {k} inputs too, not {kind} of shape {file.info(name)[1]}"
        )
    # transformers computes in float32 at most, so float64 is rounded here.
    scale = to_finite_float32(f"{file.path}: {name}", value)
    check_legal_scales(f"{file.path}: {name}", scale, zero=scale.size > 1 and multiplies)
    weights = stored[f"{module}.weight"]
    with within(weights.path):
        return TernaryTensor(
            name=module,
            packed=weights[f"{module}.weight"],
            out_features=n,
            scale=scale,
            group_size=k // scale.shape[1],
            divides=not multiplies,
        )


def _master_message(file: Path, name: str) -> str:
    """Message for float weights that are not ternary-valued."""
    return (
        f"{file}: {name} must be ternary (each scale's weights in -s, 0, +s), and holds float "
        "master weights; quantize them with --quantize absmean (quantize='absmean')"
    )


def _ternary_valued(file: SafetensorsFile, name: str) -> TernaryTensor | None:
    """Read a float matrix, if it is ternary-valued."""
    weights = file[name]
    with within(file.path):
        return ternary_from_float(name.removesuffix(".weight"), weights)


def _read_float_tensor(file: SafetensorsFile, name: str, quantize: str | None) -> TernaryTensor:
    """Read a float matrix, ternary-valued or to be quantized."""
    if tensor := _ternary_valued(file, name):
        return tensor
    if quantize is None:
        raise CheckpointError(_master_message(file.path, name))
    trits, scale = absmean_quantize(file[name].astype(np.float32))
    return TernaryTensor.from_trits(name.removesuffix(".weight"), trits, scale)


#: NumPy's types by safetensors' names; other types are refused.
SAFETENSORS_TYPES: dict[str, DTypeLike] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of the header, in which the format allows each key once."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the header must have each key once, not {key!r} twice")
        found[key] = value
    return found


#: Largest header in bytes, and most tensors. Files of hundreds of experts have some ten thousand.
_HEADER_LIMIT = 32 * 2**20
_MOST_TENSORS = 2**16


_WANTED = "a safetensors file"


class SafetensorsFile(LazyTensors[NDArray]):
    """The tensors of a safetensors file by name, memory-mapped and read-only.

    The library ``safetensors`` checks the header: every size and place lies in the file, and the
    tensors follow one another without a gap.

    Parameters
    ----------
    path : the file

    Raises
    ------
    CheckpointError
        If the file is not a whole safetensors file; when a tensor is read, if there is no such
        tensor, NumPy has no such type, or a value is NaN or infinite.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if message := unreadable(path, _WANTED):
            raise CheckpointError(message)
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
            # The size is that of another kind of file, which the library would call too large.
            tensors = file.read(header).count(b'"dtype"') if header <= _HEADER_LIMIT else 0
        if _HEADER_LIMIT < header < path.stat().st_size or tensors > _MOST_TENSORS:
            raise CheckpointError(
                f"{path}: the header must have at most {_HEADER_LIMIT} bytes and {_MOST_TENSORS} "
                f"tensors, not {header} and {tensors or 'more'}"
            )
        try:
            with safe_open(path, framework="numpy") as opened:
                names = opened.offset_keys()
            for name in names:
                if not name.isprintable():
                    raise ValueError(f"names must be printable, not {name!r}")
            data = np.asarray(np.memmap(path, np.uint8, "r"))
            start = 8 + struct.unpack_from("<Q", data.data)[0]
            self._header = json.loads(data[8:start].tobytes(), object_pairs_hook=_once)
        except (SafetensorError, OSError, ValueError) as error:
            cut = "incomplete metadata" in str(error) or "invalid header length" in str(error)
            reason = "its size is not that of its header; get a whole copy"
            raise CheckpointError(mistaken(path, _WANTED, reason if cut else error)) from None
        self._data, self._start = data[start:], start
        self._finite: set[str] = set()
        super().__init__(path, {name: partial(self._read, name) for name in names})

    @property
    def metadata(self) -> dict[str, str]:
        """Texts of the file by their names; the library checks that they are texts."""
        return self._header.get("__metadata__") or {}

    def info(self, name: str) -> tuple[str, tuple[int, ...]]:
        """Return the type of a tensor, in safetensors' words, and its shape."""
        return self._header[name]["dtype"], tuple(self._header[name]["shape"])

    def stored_bytes(self, name: str) -> int:
        """Count the bytes of a tensor in the file."""
        begin, end = self._header[name]["data_offsets"]
        return end - begin

    def _read(self, name: str) -> NDArray:
        """Read a tensor."""
        dtype, shape = self.info(name)
        if dtype not in SAFETENSORS_TYPES:
            raise CheckpointError(
                f"{self.path}: {name} must be of a type that NumPy has, not {dtype}"
            )
        begin, end = self._header[name]["data_offsets"]
        array = self._data[begin:end].view(SAFETENSORS_TYPES[dtype]).reshape(shape)
        if not array.flags.aligned:
            array = array.copy()
        if name not in self._finite:
            check_finite(f"{self.path}: {name}", array, (self.path, self._start + begin))
            self._finite.add(name)
        return array


def read_tensors(path: Path, names: Sequence[str]) -> dict[str, NDArray]:
    """Read tensors by name from a safetensors file, or from ``model.safetensors`` in a folder.

    Parameters
    ----------
    path : the file or folder
    names : tensors to read

    Returns
    -------
    The tensors by name, memory-mapped.

    Raises
    ------
    CheckpointError
        If the file cannot be read, is truncated, or lacks a name.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(
            f"{path}: must be a safetensors file or a folder with model.safetensors; found neither"
        )
    tensors = SafetensorsFile(file)
    return {name: tensors[name] for name in names}

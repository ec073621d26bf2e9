"""Safetensors files, and Hugging Face's packing of BitNet weights: 2-bit trits, four to a byte."""

import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors import SafetensorError, safe_open

from .linear import check_trits

__all__ = [
    "CheckpointError",
    "SafetensorsFile",
    "check_packed",
    "count_trits",
    "pack_codes",
    "pack_weights",
    "read_packed",
    "read_tensors",
    "unpack_weights",
]

#: Types of safetensors that NumPy can hold.
_DTYPES: dict[str, DTypeLike] = {
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


class CheckpointError(ValueError):
    """A file is not the checkpoint that it should be; the message says what was found."""


def pack_weights(trits: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Pack trits as ``transformers.integrations.bitnet.pack_weights`` does.

    Four rows a quarter of the matrix apart share a byte: with R = ceil(N / 4), bits 2i+1:2i of
    ``packed[r, k]`` hold ``trits[r + i·R, k] + 1``. Rows from N to 4R are zero bits.

    Parameters
    ----------
    trits : int8[N, K]

    Returns
    -------
    uint8[ceil(N / 4), K]
    """
    check_trits(trits)
    return pack_codes((trits + 1).astype(np.uint8, copy=False))


def pack_codes(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``pack_weights`` of codes t + 1, which are not checked."""
    n, k = codes.shape
    quarter = -(-n // 4)
    if n % 4:
        padded = np.zeros((4 * quarter, k), np.uint8)
        padded[:n] = codes
        codes = padded
    c0, c1, c2, c3 = codes.reshape(4, quarter, k)
    return c0 | c1 << np.uint8(2) | c2 << np.uint8(4) | c3 << np.uint8(6)


def check_packed(packed: NDArray[np.uint8], out_features: int) -> None:
    """Raise unless ``packed`` holds legal codes of ``out_features`` rows of trits.

    Raises
    ------
    CheckpointError
        If a pair of bits is the illegal code 3, or the shape does not fit ``out_features``.
    """
    if packed.dtype != np.uint8 or packed.ndim != 2 or 0 in packed.shape:
        raise CheckpointError(
            f"packed weights must be uint8 of two non-empty dimensions, not {packed.dtype} "
            f"of shape {packed.shape}"
        )
    quarter = -(-out_features // 4)
    if packed.shape[0] != quarter:
        raise CheckpointError(
            f"packed weights of {out_features} outputs must have {quarter} rows, "
            f"not {packed.shape[0]}"
        )
    # Slices that stay in the cache; both bits of a pair are set in code 3 alone.
    step = max(1, 2**20 // packed.shape[1])
    for start in range(0, quarter, step):
        part = packed[start : start + step]
        illegal = part & part >> np.uint8(1) & np.uint8(0x55)
        if illegal.any():
            row, column = (int(i) for i in np.argwhere(illegal)[0])
            i = (int(illegal[row, column]).bit_length() - 1) // 2
            raise CheckpointError(
                "packed weights must hold the codes 0, 1 and 2, not 3 at output "
                f"{start + row + i * quarter}, input {column}"
            )


def unpack_weights(packed: NDArray[np.uint8], out_features: int) -> NDArray[np.int8]:
    """Undo ``pack_weights``.

    Parameters
    ----------
    packed : uint8[ceil(N / 4), K]
    out_features : N

    Returns
    -------
    int8[N, K]

    Raises
    ------
    CheckpointError
        If ``check_packed`` refuses it.
    """
    check_packed(packed, out_features)
    quarter, k = packed.shape
    codes = np.empty((4, quarter, k), np.uint8)
    for i in range(4):
        np.bitwise_and(packed >> np.uint8(2 * i), np.uint8(3), out=codes[i])
    trits = codes.reshape(4 * quarter, k)[:out_features].view(np.int8)
    trits -= np.int8(1)
    return trits


def count_trits(packed: NDArray[np.uint8], out_features: int) -> NDArray[np.int64]:
    """How many trits are −1, 0 and +1.

    Parameters
    ----------
    packed : uint8[ceil(N / 4), K], legal
    out_features : N

    Returns
    -------
    int64[3]
    """
    codes = np.arange(256)[:, None] >> np.arange(0, 8, 2) & 3
    per_byte = (codes[..., None] == np.arange(3)).sum(axis=1)
    counts = np.zeros(256, np.int64)
    for start in range(0, len(packed), step := max(1, 2**20 // packed.shape[1])):
        counts += np.bincount(packed[start : start + step].ravel(), minlength=256)
    total = counts @ per_byte
    for row in range(out_features, 4 * len(packed)):
        filler = packed[row % len(packed)] >> np.uint8(2 * (row // len(packed))) & np.uint8(3)
        total -= np.bincount(filler, minlength=3)[:3]
    return total


class SafetensorsFile(Mapping[str, NDArray]):
    """The tensors of a safetensors file by name, memory-mapped and read-only.

    The library ``safetensors`` checks the header: every size and place lies in the file, and the
    tensors follow one another without a gap. So their places follow from their order.

    Parameters
    ----------
    path : the file

    Raises
    ------
    CheckpointError
        If it is not a whole safetensors file; when a tensor is read, if NumPy has no such type.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, framework="numpy") as tensors:
                specs = {}
                for name in tensors.offset_keys():
                    if not name.isprintable():
                        raise ValueError(f"names must be printable, not {name!r}")
                    part = tensors.get_slice(name)
                    specs[name] = (str(part.get_dtype()), tuple(part.get_shape()))
            with path.open("rb") as file:
                self._data = np.frombuffer(
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8
                )
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path}: must be a whole safetensors file: {error}") from None
        place = 8 + struct.unpack("<Q", self._data[:8].tobytes())[0]
        self._specs: dict[str, tuple[str, tuple[int, ...], int]] = {}
        for name, (dtype, shape) in specs.items():
            self._specs[name] = (dtype, shape, place)
            place += prod(shape) * _bits(dtype) // 8

    def info(self, name: str) -> tuple[str, tuple[int, ...]]:
        """Type, in safetensors' words, and shape of a tensor."""
        dtype, shape, _ = self._specs[name]
        return dtype, shape

    def stored_bytes(self, name: str) -> int:
        """Bytes of a tensor in the file."""
        dtype, shape, _ = self._specs[name]
        return prod(shape) * _bits(dtype) // 8

    def __getitem__(self, name: str) -> NDArray:
        dtype, shape, place = self._specs[name]
        if dtype not in _DTYPES:
            raise CheckpointError(
                f"{self.path}: {name} must be of a type that NumPy has, not {dtype}"
            )
        array = (
            self._data[place : place + self.stored_bytes(name)].view(_DTYPES[dtype]).reshape(shape)
        )
        return array if array.flags.aligned else array.copy()

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


def _bits(dtype: str) -> int:
    """Bits of an element; safetensors' names end in them but for two."""
    if dtype == "BOOL":
        return 8
    digits = dtype.partition("_")[0].lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return int(digits)


def read_tensors(path: Path, names: Sequence[str]) -> dict[str, NDArray]:
    """Read tensors by name from a safetensors file, or from ``model.safetensors`` in a folder.

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
    missing = [name for name in names if name not in tensors]
    if missing:
        raise CheckpointError(
            f"{file}: must contain the tensor {missing[0]!r}; "
            f"it has {len(tensors)} others, such as {min(tensors, default='none')!r}"
        )
    return {name: tensors[name] for name in names}


def read_packed(path: Path, shapes: dict[str, tuple[int, int]]) -> dict[str, NDArray[np.int8]]:
    """Read and unpack the weights of linear layers.

    Parameters
    ----------
    path : a safetensors file, or a folder with ``model.safetensors``
    shapes : (N, K) of each layer by name; its tensor is ``<name>.weight``, uint8[ceil(N/4), K]

    Returns
    -------
    dict of int8[N, K] by name

    Raises
    ------
    CheckpointError
        If the file or a tensor is not what it should be; the message names both.
    """
    trits = {}
    tensors = read_tensors(path, [f"{name}.weight" for name in shapes])
    for name, (n, k) in shapes.items():
        packed = tensors.pop(f"{name}.weight")
        if packed.dtype != np.uint8 or packed.shape != (-(-n // 4), k):
            raise CheckpointError(
                f"{path}: {name}.weight must be uint8 of shape {(-(-n // 4), k)}, "
                f"not {packed.dtype} of shape {packed.shape}"
            )
        try:
            trits[name] = unpack_weights(packed, n)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {name}.weight: {error}") from error
    return trits

"""Hugging Face's packed checkpoints of BitNet models: 2-bit trits in safetensors files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from .linear import check_trits

__all__ = ["CheckpointError", "pack_weights", "read_packed", "read_tensors", "unpack_weights"]


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
    n, k = trits.shape
    quarter = -(-n // 4)
    codes = np.zeros((4 * quarter, k), np.uint8)
    codes[:n] = trits + 1
    c0, c1, c2, c3 = codes.reshape(4, quarter, k)
    return c0 | c1 << np.uint8(2) | c2 << np.uint8(4) | c3 << np.uint8(6)


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
        If a pair of bits is the illegal code 3, or the shape does not fit ``out_features``.
    """
    if packed.dtype != np.uint8 or packed.ndim != 2:
        raise CheckpointError(
            f"packed weights must be uint8 of two dimensions, not {packed.dtype} "
            f"of shape {packed.shape}"
        )
    quarter, k = packed.shape
    if quarter != -(-out_features // 4):
        raise CheckpointError(
            f"packed weights of {out_features} outputs must have {-(-out_features // 4)} rows, "
            f"not {quarter}"
        )
    codes = np.empty((4, quarter, k), np.uint8)
    for i in range(4):
        codes[i] = packed >> 2 * i & 3
    illegal = codes.reshape(4 * quarter, k)[:out_features] == 3
    if illegal.any():
        row, column = np.argwhere(illegal)[0]
        raise CheckpointError(
            f"packed weights must hold the codes 0, 1 and 2, not 3 at output {row}, input {column}"
        )
    return codes.reshape(4 * quarter, k)[:out_features].astype(np.int8) - np.int8(1)


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
    try:
        with safe_open(file, framework="numpy") as tensors:
            present = set(tensors.keys())
            missing = [name for name in names if name not in present]
            if missing:
                raise CheckpointError(
                    f"{file}: must contain the tensor {missing[0]!r}; "
                    f"it has {len(present)} others, such as {min(present, default='none')!r}"
                )
            return {name: tensors.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: must be a whole safetensors file: {error}") from error


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

"""Hugging Face's packing of BitNet weights: 2-bit trits, four to a byte."""

import numpy as np
from numpy.typing import NDArray

from ..checks import check_array, check_integer, first_place
from ..errors import CheckpointError
from ..matmul import check_trits

__all__ = [
    "check_packed",
    "count_trits",
    "pack_codes",
    "pack_weights",
    "quarters",
    "unpack_weights",
]


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


def quarters(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Split rows in the four parts that share the bytes of ``pack_weights``.

    Parameters
    ----------
    rows : uint8[N, ...]

    Returns
    -------
    uint8[4, ceil(N / 4), ...], with rows of zeros at the end
    """
    missing = -len(rows) % 4
    if missing:
        rows = np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), np.uint8)])
    return rows.reshape(4, -1, *rows.shape[1:])


def pack_codes(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack codes t + 1 as ``pack_weights`` packs trits, without a check.

    Parameters
    ----------
    codes : uint8[N, K], values 0, 1, 2

    Returns
    -------
    uint8[ceil(N / 4), K]
    """
    c0, c1, c2, c3 = quarters(codes)
    return c0 | c1 << np.uint8(2) | c2 << np.uint8(4) | c3 << np.uint8(6)


def check_packed(packed: NDArray[np.uint8], out_features: int) -> None:
    """Refuse anything but legal codes of ``out_features`` rows of trits.

    Parameters
    ----------
    packed : uint8[ceil(N / 4), K]
    out_features : N

    Raises
    ------
    TypeError, ValueError
        If ``packed`` is not an array, or ``out_features`` is not a positive integer.
    CheckpointError
        If a pair of bits is the illegal code 3, or the shape does not fit ``out_features``.
    """
    check_array("packed", packed)
    out_features = check_integer("out_features", out_features, 1)
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
    # The slices stay in the cache. Only code 3 has both bits of a pair set.
    step = max(1, 2**20 // packed.shape[1])
    for start in range(0, quarter, step):
        part = packed[start : start + step]
        illegal = part & part >> np.uint8(1) & np.uint8(0x55)
        if illegal.any():
            row, column = first_place(illegal != 0)
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
        If ``check_packed`` refuses ``packed``.
    """
    check_packed(packed, out_features)
    quarter, k = packed.shape
    codes = packed >> np.arange(0, 8, 2, dtype=np.uint8)[:, np.newaxis, np.newaxis]
    codes &= np.uint8(3)
    trits = codes.reshape(4 * quarter, k)[:out_features].view(np.int8)
    trits -= np.int8(1)
    return trits


def count_trits(packed: NDArray[np.uint8], out_features: int) -> NDArray[np.int64]:
    """Count the trits −1, 0 and +1.

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
    for start in range(0, len(packed), step := max(1, 2**17 // packed.shape[1])):
        # The function widens the bytes eight times.
        counts += np.bincount(packed[start : start + step].ravel(), minlength=256)
    total = counts @ per_byte
    for row in range(out_features, 4 * len(packed)):
        filler = packed[row % len(packed)] >> np.uint8(2 * (row // len(packed))) & np.uint8(3)
        total -= np.bincount(filler, minlength=3)[:3]
    return total

"""The layouts of two GGUF types and of bitnet.cpp's, to and from ``pack_weights``.

Sources: ggml-quants.c (``quantize_row_tq1_0_ref``, ``quantize_row_tq2_0_ref``), and bitnet.cpp's
ggml-bitnet-mad.cpp for I2_S.
"""

from collections.abc import Iterator
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ..codes import look_up
from ..errors import CheckpointError
from .packing import pack_codes, quarters

__all__ = [
    "TernaryType",
    "fields_from_packed",
    "packed_from_fields",
    "packed_from_tq1",
    "tq1_from_packed",
    "zero_blocks",
]


class TernaryType(IntEnum):
    """Types of tensors with ternary weights, with their numbers in a file.

    I2_S is bitnet.cpp's type of 2-bit weights with one scale; llama.cpp does not use the number.
    """

    TQ1_0 = 34
    TQ2_0 = 35
    I2_S = 36


def _slices(quarter: int, k: int) -> Iterator[slice]:
    """Yield parts of the packed rows that are small enough for temporary arrays in the cache."""
    step = max(1, 2**17 // k)
    for start in range(0, quarter, step):
        yield slice(start, start + step)


def _transpose(parts: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Transpose the 4 x 4 matrices of two-bit fields in uint8[4, ...].

    Field i of the result's byte n is field n of byte i, field 0 lowest. The function is its own
    inverse.
    """
    a0, a1, a2, a3 = parts
    low, high, four, two = np.uint8(0x0F), np.uint8(0xF0), np.uint8(4), np.uint8(2)
    b0, b2 = a0 & low | a2 << four, a0 >> four | a2 & high
    b1, b3 = a1 & low | a3 << four, a1 >> four | a3 & high
    even, odd = np.uint8(0x33), np.uint8(0xCC)
    return [
        b0 & even | (b1 & even) << two,
        b0 >> two & even | b1 & odd,
        b2 & even | (b3 & even) << two,
        b2 >> two & even | b3 & odd,
    ]


def packed_from_fields(rows: NDArray[np.uint8], *, msb_first: bool) -> NDArray[np.uint8]:
    """Repack groups of 128 weights in 32 bytes, where byte m has weights m, m + 32, m + 64, m + 96.

    Both layouts store t + 1 in two bits. The bytes of four rows and four bytes of ``pack_weights``
    are transposed matrices of two-bit fields.

    Parameters
    ----------
    rows : uint8[N, K / 4]
    msb_first : weight m is in the highest bits (I2_S) or in the lowest (TQ2_0)

    Returns
    -------
    uint8[ceil(N / 4), K] in the layout of ``pack_weights``
    """
    n, size = rows.shape
    parts = quarters(rows.reshape(n, size // 32, 32))
    packed = np.empty((parts.shape[1], size // 32, 4, 32), np.uint8)
    for part in _slices(len(packed), 4 * size):
        columns = _transpose(parts[:, part])
        for i, column in enumerate(reversed(columns) if msb_first else columns):
            packed[part, :, i] = column
    return packed.reshape(-1, 4 * size)


def fields_from_packed(
    packed: NDArray[np.uint8], out_features: int, *, msb_first: bool
) -> NDArray[np.uint8]:
    """Undo ``packed_from_fields``.

    Parameters
    ----------
    packed : uint8[ceil(N / 4), K] in the layout of ``pack_weights``, K a multiple of 128
    out_features : N
    msb_first : weight m is in the highest bits (I2_S) or in the lowest (TQ2_0)

    Returns
    -------
    uint8[N, K / 4]
    """
    quarter, k = packed.shape
    columns = packed.reshape(quarter, k // 128, 4, 32).transpose(2, 0, 1, 3)
    rows = np.empty((4, quarter, k // 128, 32), np.uint8)
    for part in _slices(quarter, k):
        fields = columns[::-1, part] if msb_first else columns[:, part]
        for i, row in enumerate(_transpose(fields)):
            rows[i, part] = row
    return rows.reshape(4 * quarter, k // 4)[:out_features]


#: First and last byte of each part of a TQ1_0 block, its first weight, and trits in a byte.
_TQ1_PARTS = ((0, 32, 0, 5), (32, 48, 160, 5), (48, 52, 240, 4))


#: TQ1_0's byte of each number of five base-3 digits.
_TQ1_BYTES = np.array([-(-256 * q // 243) for q in range(243)], np.uint8)


def packed_from_tq1(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repack TQ1_0, which has 256 weights in 32, 16 and 4 bytes of five, five and four trits.

    Byte m of the three parts has the weights m + 32n, 160 + m + 16n and 240 + m + 4n, n = 0 first.

    Parameters
    ----------
    blocks : uint8[N, K / 256, 54]

    Returns
    -------
    uint8[ceil(N / 4), K] in the layout of ``pack_weights``

    Raises
    ------
    CheckpointError
        If a byte is not a code of trits.
    """
    n, groups, _ = blocks.shape
    codes = np.empty((n, groups, 256), np.uint8)
    for start, stop, first, trits in _TQ1_PARTS:
        part = np.ascontiguousarray(blocks[..., start:stop])
        # A byte of four trits has the last digit 0.
        legal = _TQ1_BYTES[:: 3 ** (5 - trits)]
        if part.tobytes().translate(None, legal.tobytes()):
            row, group, byte = (int(i) for i in np.argwhere(~np.isin(part, legal))[0])
            raise CheckpointError(
                f"byte {start + byte} of block {group} of row {row} must be one of TQ1_0's, "
                f"not {part[row, group, byte]:#04x}; the file is damaged or of another layout"
            )
        size = stop - start
        for index in range(trits):
            # (3·byte) >> 8 is the digit, and the low byte of 3·byte has the next digits.
            place = codes[..., first + index * size : first + (index + 1) * size]
            np.add(part >= 86, part >= 171, out=place, dtype=np.uint8, casting="unsafe")
            part = part * np.uint8(3)
    return pack_codes(codes.reshape(n, groups * 256))


def tq1_from_packed(packed: NDArray[np.uint8], out_features: int) -> NDArray[np.uint8]:
    """Undo ``packed_from_tq1``, without the scale of each block.

    Parameters
    ----------
    packed : uint8[ceil(N / 4), K] in the layout of ``pack_weights``, K a multiple of 256
    out_features : N

    Returns
    -------
    uint8[N, K / 256, 52]
    """
    quarter, k = packed.shape
    out = np.empty((4, quarter, k // 256, 52), np.uint8)
    for part in _slices(quarter, k):
        for i in range(4):
            codes = packed[part] >> np.uint8(2 * i) & np.uint8(3)
            blocks = codes.reshape(-1, k // 256, 256)
            for start, stop, first, trits in _TQ1_PARTS:
                size = stop - start
                # Most significant digit first; a byte of four trits has the last digit 0.
                q = blocks[..., first : first + size]
                for index in range(1, trits):
                    place = first + index * size
                    q = q * np.uint8(3) + blocks[..., place : place + size]
                out[i, part, :, start:stop] = look_up(_TQ1_BYTES, q * np.uint8(3 ** (5 - trits)))
    return out.reshape(4 * quarter, k // 256, 52)[:out_features]


def zero_blocks(packed: NDArray[np.uint8], places: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the blocks of 256 weights that hold zeros only, among those that are marked.

    Parameters
    ----------
    packed : uint8[ceil(N / 4), K] in the layout of ``pack_weights``
    places : bool[N, K / 256], the blocks to look at

    Returns
    -------
    bool[N, K / 256]
    """
    quarter = packed.shape[0]
    zero = np.zeros_like(places)
    for row, group in np.argwhere(places):
        part = packed[row % quarter, 256 * group : 256 * group + 256]
        zero[row, group] = (part >> np.uint8(2 * (row // quarter)) & np.uint8(3) == 1).all()
    return zero

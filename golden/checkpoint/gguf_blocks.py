"""The codes of GGUF's ternary types, to and from ``pack_weights``; ``gguf_layouts.py`` uses them.

Sources: see there.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..checks import first_place
from ..codes import CODES, look_up
from ..errors import CheckpointError, FormatError
from .packing import quarters

__all__ = [
    "PTQ1_PARTS",
    "TQ1_PARTS",
    "fields_from_packed",
    "packed_from_fields",
    "packed_from_sherry",
    "packed_from_tq1",
    "sherry_from_packed",
    "tq1_from_packed",
    "zero_blocks",
]


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


def packed_from_fields(
    rows: NDArray[np.uint8], *, msb_first: bool, run: int = 32
) -> NDArray[np.uint8]:
    """Repack groups of four runs of weights, where byte m has weight m of each run.

    The layouts store t + 1 in two bits. The bytes of four rows and four bytes of ``pack_weights``
    are transposed matrices of two-bit fields.

    Parameters
    ----------
    rows : uint8[N, K / 4]
    msb_first : the first run is in the highest bits (I2_S) or in the lowest (all others)
    run : weights of a run: 32 (I2_S, TQ2_0), 16 (IQ2_BN), or 1 where four neighbors share a byte

    Returns
    -------
    uint8[ceil(N / 4), K] in the layout of ``pack_weights``
    """
    n, size = rows.shape
    parts = quarters(rows.reshape(n, size // run, run))
    packed = np.empty((parts.shape[1], size // run, 4, run), np.uint8)
    for part in _slices(len(packed), 4 * size):
        columns = _transpose(parts[:, part])
        for i, column in enumerate(reversed(columns) if msb_first else columns):
            packed[part, :, i] = column
    return packed.reshape(-1, 4 * size)


def fields_from_packed(
    packed: NDArray[np.uint8], out_features: int, *, msb_first: bool, run: int = 32
) -> NDArray[np.uint8]:
    """Undo ``packed_from_fields``.

    Parameters
    ----------
    packed : uint8[ceil(N / 4), K] in the layout of ``pack_weights``, K a multiple of 4 · run
    out_features : N
    msb_first, run : as there

    Returns
    -------
    uint8[N, K / 4]
    """
    quarter, k = packed.shape
    columns = packed.reshape(quarter, k // (4 * run), 4, run).transpose(2, 0, 1, 3)
    rows = np.empty((4, quarter, k // (4 * run), run), np.uint8)
    for part in _slices(quarter, k):
        fields = columns[::-1, part] if msb_first else columns[:, part]
        for i, row in enumerate(_transpose(fields)):
            rows[i, part] = row
    return rows.reshape(4 * quarter, k // 4)[:out_features]


#: First and last byte of each part of a block, its first weight, and trits in a byte.
TQ1_PARTS = ((0, 32, 0, 5), (32, 48, 160, 5), (48, 52, 240, 4))
PTQ1_PARTS = ((0, 16, 0, 5), (16, 24, 80, 5), (24, 26, 120, 4))

_Parts = tuple[tuple[int, int, int, int], ...]


#: TQ1_0's byte of each number of five base-3 digits.
_TQ1_BYTES = np.array([-(-256 * q // 243) for q in range(243)], np.uint8)


#: The five digits of each byte, the most significant one first: (3 · byte) >> 8 is the digit, and
#: the low byte of 3 · byte has the next ones.
_TQ1_DIGITS = [(np.arange(256) * 3**index % 256 * 3 >> 8).astype(np.uint8) for index in range(5)]


def packed_from_tq1(blocks: NDArray[np.uint8], parts: _Parts = TQ1_PARTS) -> NDArray[np.uint8]:
    """Repack TQ1_0 or PTQ1_0, whose blocks have parts of bytes of five, five and four trits.

    TQ1_0 has 256 weights in 32, 16 and 4 bytes. Byte m of the three parts has the weights m + 32n,
    160 + m + 16n and 240 + m + 4n, n = 0 first. PTQ1_0 has 128 in 16, 8 and 2 bytes alike.

    Parameters
    ----------
    blocks : uint8[N, K / weights, bytes], without the scales
    parts : ``TQ1_PARTS`` or ``PTQ1_PARTS``

    Returns
    -------
    uint8[ceil(N / 4), K] in the layout of ``pack_weights``

    Raises
    ------
    CheckpointError
        If a byte is not a code of trits.
    """
    groups, weights = blocks.shape[1], _weights(parts)
    four = quarters(blocks)
    packed = np.empty((four.shape[1], groups, weights), np.uint8)
    for rows in _slices(len(packed), groups * weights):
        raw = [np.ascontiguousarray(four[i, rows]) for i in range(4)]
        for i, one in enumerate(raw):
            _check_tq1(one, parts, rows.start + i * len(packed), len(blocks))
        for index in range(5):
            codes = [look_up(_TQ1_DIGITS[index] << np.uint8(2 * i), raw[i]) for i in range(4)]
            merged = codes[0] | codes[1] | codes[2] | codes[3]
            for start, stop, first, trits in parts:
                if index < trits:
                    place = first + index * (stop - start)
                    packed[rows, :, place : place + stop - start] = merged[..., start:stop]
    return packed.reshape(-1, groups * weights)


def _check_tq1(blocks: NDArray[np.uint8], parts: _Parts, first_row: int, count: int) -> None:
    """Refuse bytes that are no codes of trits, but in rows from ``count`` on, which are fillers."""
    for start, stop, _, trits in parts:
        # A byte of four trits has the last digit 0.
        legal = _TQ1_BYTES[:: 3 ** (5 - trits)]
        part = blocks[: max(0, count - first_row), :, start:stop]
        if part.tobytes().translate(None, legal.tobytes()):
            row, group, byte = first_place(~np.isin(part, legal))
            raise CheckpointError(
                f"byte {start + byte} of block {group} of row {first_row + row} must be one of "
                f"TQ1_0's, not {part[row, group, byte]:#04x}; the file is damaged or of another "
                "layout"
            )


def _weights(parts: _Parts) -> int:
    """Count the weights of a block."""
    return sum((stop - start) * trits for start, stop, _, trits in parts)


def tq1_from_packed(
    packed: NDArray[np.uint8], out_features: int, parts: _Parts = TQ1_PARTS
) -> NDArray[np.uint8]:
    """Undo ``packed_from_tq1``.

    Parameters
    ----------
    packed : uint8[ceil(N / 4), K] in the layout of ``pack_weights``, K in whole blocks
    out_features : N
    parts : as there

    Returns
    -------
    uint8[N, K / weights, bytes]
    """
    quarter, k = packed.shape
    weights, size = _weights(parts), parts[-1][1]
    out = np.empty((4, quarter, k // weights, size), np.uint8)
    for part in _slices(quarter, k):
        for i in range(4):
            codes = packed[part] >> np.uint8(2 * i) & np.uint8(3)
            blocks = codes.reshape(-1, k // weights, weights)
            for start, stop, first, trits in parts:
                size = stop - start
                # Most significant digit first; a byte of four trits has the last digit 0.
                q = blocks[..., first : first + size]
                for index in range(1, trits):
                    place = first + index * size
                    q = q * np.uint8(3) + blocks[..., place : place + size]
                out[i, part, :, start:stop] = look_up(_TQ1_BYTES, q * np.uint8(3 ** (5 - trits)))
    return out.reshape(4 * quarter, k // weights, -1)[:out_features]


#: Bytes of four codes t + 1, lowest bits first, of STQ1_0's indices, the symbols of ``sherry``.
_SHERRY = ((CODES["sherry"].table + 1) << np.arange(0, 8, 2)).sum(axis=1).astype(np.uint8)
#: Index of each byte of four codes; 255 where not exactly one trit is 0.
_SHERRY_INDEX = np.full(256, 255, np.uint8)
_SHERRY_INDEX[_SHERRY] = np.arange(32)


def packed_from_sherry(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repack STQ1_0: 256 weights in 64 fours with one zero each, of four bits and one bit.

    Four g has the weights (g / 16) · 64 + g mod 16, and those 16, 32 and 48 behind it.

    Parameters
    ----------
    blocks : uint8[N, K / 256, 40], the low parts of the indices, and then the high bits

    Returns
    -------
    uint8[ceil(N / 4), K] in the layout of ``pack_weights``
    """
    n, groups, _ = blocks.shape
    fields = np.empty((n, groups, 64), np.uint8)
    for part in _slices(n, 256 * groups):
        low, high = blocks[part, :, :32], blocks[part, :, 32:]
        index = np.unpackbits(high, axis=-1, bitorder="little") << np.uint8(4)
        index[..., 0::2] |= low & np.uint8(15)
        index[..., 1::2] |= low >> np.uint8(4)
        fields[part] = look_up(_SHERRY, index)
    return packed_from_fields(fields.reshape(n, groups * 64), msb_first=False, run=16)


def sherry_from_packed(packed: NDArray[np.uint8], out_features: int) -> NDArray[np.uint8]:
    """Undo ``packed_from_sherry``.

    Parameters
    ----------
    packed : uint8[ceil(N / 4), K] in the layout of ``pack_weights``, K a multiple of 256
    out_features : N

    Returns
    -------
    uint8[N, K / 256, 40]

    Raises
    ------
    FormatError
        If four weights that share an index have not exactly one zero; the message has the place.
    """
    fields = fields_from_packed(packed, out_features, msb_first=False, run=16)
    index = look_up(_SHERRY_INDEX, fields)
    if index.max() == 255:
        row, four = first_place(index == 255)
        zeros = sum(int(fields[row, four]) >> 2 * lane & 3 == 1 for lane in range(4))
        first = four // 16 * 64 + four % 16
        places = ", ".join(str(first + 16 * lane) for lane in range(4))
        raise FormatError(
            f"the inputs {places} of output {row} must have exactly one zero for STQ1_0, "
            f"not {zeros}"
        )
    index = index.reshape(out_features, -1, 64)
    low = (index[..., 0::2] & np.uint8(15)) | index[..., 1::2] << np.uint8(4)
    high = np.packbits(index >> np.uint8(4), axis=-1, bitorder="little")
    return np.concatenate([low, high], axis=-1)


def zero_blocks(packed: NDArray[np.uint8], places: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the blocks of weights that hold zeros only, among those that are marked.

    Parameters
    ----------
    packed : uint8[ceil(N / 4), K] in the layout of ``pack_weights``
    places : bool[N, blocks], the blocks of a row to look at

    Returns
    -------
    bool[N, blocks]
    """
    quarter, size = packed.shape[0], packed.shape[1] // places.shape[1]
    zero = np.zeros_like(places)
    for row, group in np.argwhere(places):
        part = packed[row % quarter, size * group : size * group + size]
        zero[row, group] = (part >> np.uint8(2 * (row // quarter)) & np.uint8(3) == 1).all()
    return zero

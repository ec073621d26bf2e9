"""Packings of the ternary layouts, written byte by byte from their descriptions in plain Python.

Nothing here is of the product. ``tests/golden/checkpoint/test_formats.py`` compares it with that.
"""

import struct
from itertools import pairwise

import numpy as np

#: STQ1_0's 32 bytes of four codes, as the format's own source lists them.
SHERRY = bytes.fromhex("A9892909A68626069A921A126A624A42012181A1042484A41018909840486068")


def half(scale):
    return np.float16(scale).tobytes()


def two_bits(codes):
    """Four codes a byte, the first in the lowest bits."""
    return bytes(
        a | b << 2 | c << 4 | d << 6
        for a, b, c, d in zip(codes[0::4], codes[1::4], codes[2::4], codes[3::4], strict=True)
    )


def base3(trits):
    """Up to five trits a byte, the first one most significant, as ceil(256 q / 243)."""
    q = 0
    for place in range(5):
        q = 3 * q + (trits[place] + 1 if place < len(trits) else 0)
    return -(-256 * q // 243)


def q2_0(trits, scale):
    return half(scale) + two_bits([t + 1 for t in trits])


def staged(trits, stages):
    """Base 3 in stages of so many bytes of so many digits."""
    out, first = [], 0
    for size, digits in stages:
        for m in range(size):
            out.append(base3([trits[first + m + size * n] for n in range(digits)]))
        first += size * digits
    return bytes(out)


def tq1_0(trits, scale):
    return staged(trits, [(32, 5), (16, 5), (4, 4)]) + half(scale)


def ptq1_0(trits, scale):
    return staged(trits, [(16, 5), (8, 5), (2, 4)]) + half(scale)


def tq2_0(trits, scale):
    out = []
    for start in (0, 128):
        for m in range(32):
            out.append(sum(trits[start + m + 32 * n] + 1 << 2 * n for n in range(4)))
    return bytes(out) + half(scale)


def stq1_0(trits, scale):
    low, high = [0] * 32, [0] * 8
    for g in range(64):
        lanes = [trits[g // 16 * 64 + g % 16 + 16 * p] + 1 for p in range(4)]
        index = SHERRY.index(two_bits(lanes))
        low[g // 2] |= (index & 15) << 4 * (g % 2)
        high[g // 8] |= (index >> 4) << g % 8
    return bytes(low) + bytes(high) + half(scale)


def iq2_bn_row(trits, scales):
    """A row: its float32 scale, then 64 weights in 16 bytes, 16 apart in a byte."""
    out = bytearray(struct.pack("<f", scales[0]))
    for start in range(0, len(trits), 64):
        for j in range(16):
            out.append(sum(trits[start + j + 16 * n] + 1 << 2 * n for n in range(4)))
    return bytes(out)


def i2_s(trits, scale):
    """A matrix: byte p of 128 weights has p, p + 32, p + 64, p + 96, the first one highest."""
    flat = [int(t) + 1 for row in trits for t in row]
    out = bytearray()
    for start in range(0, len(flat), 128):
        for p in range(32):
            out.append(sum(flat[start + p + 32 * n] << 6 - 2 * n for n in range(4)))
    return bytes(out) + struct.pack("<f", scale) + bytes(28)


#: Number of the type, weights of a block, and the function that packs a block.
BLOCKS = {
    "TQ1_0": (34, 256, tq1_0),
    "TQ2_0": (35, 256, tq2_0),
    "Q2_0_64": (42, 64, q2_0),
    "Q2_0_128": (42, 128, q2_0),
    "STQ1_0": (42, 256, stq1_0),
    "PQ2_0": (142, 128, q2_0),
    "PTQ1_0": (143, 128, ptq1_0),
}


def gguf_matrix(name, trits, scale):
    """Number of the type, and bytes of trits [N, K] with scales [N, K / block] or [N, 1]."""
    trits = trits.tolist()
    if name == "I2_S":
        return 36, i2_s(trits, scale[0][0])
    if name == "IQ2_BN":
        return 135, b"".join(map(iq2_bn_row, trits, scale))
    number, block, pack = BLOCKS[name]
    out = bytearray()
    for row, scales in zip(trits, scale, strict=True):
        edges = range(0, len(row) + 1, block)
        for (start, stop), d in zip(pairwise(edges), scales, strict=True):
            out += pack(row[start:stop], d)
    return number, bytes(out)

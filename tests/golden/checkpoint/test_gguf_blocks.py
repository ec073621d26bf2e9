"""Layouts of GGUF blocks against ggml, and by hand."""

import re
import struct

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize

from trilith.golden import CheckpointError, pack_weights
from trilith.golden.checkpoint.gguf_blocks import (
    fields_from_packed,
    packed_from_fields,
    packed_from_tq1,
    tq1_from_packed,
)

TQ1_0 = gguf.GGMLQuantizationType.TQ1_0


TQ2_0 = gguf.GGMLQuantizationType.TQ2_0


def random_trits(shape, seed=0):
    return np.random.default_rng(seed).integers(-1, 2, shape, np.int8)


def i2_s_bytes(trits, scale):
    """As the format is defined: weights p, p + 32, p + 64, p + 96 from the highest bits down."""
    c0, c1, c2, c3 = (trits + 1).astype(np.uint8).reshape(-1, 4, 32).swapaxes(0, 1)
    codes = c0 << 6 | c1 << 4 | c2 << 2 | c3
    return np.frombuffer(codes.tobytes() + struct.pack("<f", scale) + bytes(28), np.uint8)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 64])
def test_layouts_against_ggml_and_back(n):
    trits = random_trits((n, 512), n)
    packed = pack_weights(trits)
    tq1 = quantize(trits.astype(np.float32), TQ1_0).reshape(n, 2, 54)
    np.testing.assert_array_equal(packed_from_tq1(tq1), packed)
    np.testing.assert_array_equal(tq1_from_packed(packed, n), tq1[..., :52])
    tq2 = quantize(trits.astype(np.float32), TQ2_0).reshape(n, 2, 66)[..., :64].reshape(n, -1)
    np.testing.assert_array_equal(packed_from_fields(tq2, msb_first=False), packed)
    np.testing.assert_array_equal(fields_from_packed(packed, n, msb_first=False), tq2)
    i2_s = i2_s_bytes(trits, 1)[:-32].reshape(n, -1)
    np.testing.assert_array_equal(packed_from_fields(i2_s, msb_first=True), packed)
    np.testing.assert_array_equal(fields_from_packed(packed, n, msb_first=True), i2_s)


def test_ramps():
    """Weight j is (j mod 3) - 1, worked by hand from the formats' definitions."""
    ramp = (np.arange(256) % 3 - 1).astype(np.int8)[None]
    i2_s = fields_from_packed(pack_weights(ramp[:, :128]), 1, msb_first=True)[0]
    # Byte 0: weights 0, 32, 64, 96 with codes 0, 2, 1, 0 from the highest bits down.
    assert i2_s[0] == 0b00_10_01_00
    assert i2_s[1] == 0b01_00_10_01
    assert i2_s[2] == 0b10_01_00_10
    tq1 = tq1_from_packed(pack_weights(ramp), 1)[0, 0]
    # Byte 0: weights 0, 32, 64, 96, 128: digits 0 2 1 0 2 = 65, ceil(65 · 256 / 243) = 69.
    assert tq1[0] == 69
    # Byte 32: weights 160, 176, 192, 208, 224: digits 1 2 0 1 2 = 140, and so 148.
    assert tq1[32] == 148
    # Byte 48: weights 240, 244, 248, 252: digits 0 1 2 0 and a last 0 = 45, and so 48.
    assert tq1[48] == 48
    tq2 = fields_from_packed(pack_weights(ramp), 1, msb_first=False)[0]
    # The same weights as in I2_S, from the lowest bits up.
    assert tq2[0] == 0b00_01_10_00


def test_every_byte_of_tq1():
    legal = {-(-256 * q // 243) for q in range(243)}
    block = np.zeros((1, 1, 54), np.uint8)
    for byte in range(256):
        for place, allowed in (
            (0, legal),
            (40, legal),
            (51, {-(-256 * q // 81) for q in range(81)}),
        ):
            block[:] = 0
            block[0, 0, place] = byte
            if byte in allowed:
                trits = packed_from_tq1(block)[0] & 3
                expected = dequantize(
                    np.concatenate([block[0, 0, :52], [0, 0x3C]]).astype(np.uint8)[None], TQ1_0
                )
                np.testing.assert_array_equal(trits.astype(np.int8) - 1, expected[0])
            else:
                message = (
                    f"byte {place} of block 0 of row 0 must be one of TQ1_0's, not {byte:#04x}; "
                    "the file is damaged or of another layout"
                )
                with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
                    packed_from_tq1(block)

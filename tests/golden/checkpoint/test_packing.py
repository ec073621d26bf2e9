"""Packing of trits as transformers does it."""

import re

import numpy as np
import pytest

from trilith.golden import (
    CheckpointError,
    pack_weights,
    unpack_weights,
)
from trilith.golden.checkpoint.packing import count_trits


def test_rows_of_a_byte_are_a_quarter_apart():
    trits = np.array([[-1], [0], [1], [1], [0], [-1], [1], [0]], np.int8)  # N = 8, R = 2
    packed = pack_weights(trits)
    assert packed.shape == (2, 1)
    # Byte r: rows r, r+2, r+4, r+6, the first in the lowest bits, coded t + 1.
    assert packed[0, 0] == 0 | 2 << 2 | 1 << 4 | 2 << 6
    assert packed[1, 0] == 1 | 2 << 2 | 0 << 4 | 1 << 6


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 10, 64])
def test_round_trip(n):
    trits = np.random.default_rng(n).integers(-1, 2, (n, 7), np.int8)
    np.testing.assert_array_equal(unpack_weights(pack_weights(trits), n), trits)


def test_illegal_code():
    packed = pack_weights(np.zeros((8, 3), np.int8))
    packed[1, 2] |= 3 << 4
    message = "packed weights must hold the codes 0, 1 and 2, not 3 at output 5, input 2"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        unpack_weights(packed, 8)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (
            np.zeros((2, 3), np.int8),
            "packed weights must be uint8 of two non-empty dimensions, not int8 of shape (2, 3)",
        ),
        (np.zeros((3, 3), np.uint8), "packed weights of 8 outputs must have 2 rows, not 3"),
    ],
)
def test_wrong_array(packed, message):
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        unpack_weights(packed, 8)


def test_the_example_of_transformers():
    """The bytes and values that the docstring of transformers' unpack_weights shows."""
    packed = np.array([[0b10100001, 0b00011000], [0b10010000, 0b00001010]], np.uint8)
    expected = [[0, -1], [-1, 1], [-1, 1], [-1, 1], [1, 0], [0, -1], [1, -1], [1, -1]]
    trits = unpack_weights(packed, 8)
    assert trits.tolist() == expected
    np.testing.assert_array_equal(pack_weights(trits), packed)


PARITY = "needs the extra parity: pip install trilith[parity]"


@pytest.mark.parametrize("n", [4, 8, 36])
def test_packing_of_transformers(n):
    torch = pytest.importorskip("torch", reason=PARITY)
    bitnet = pytest.importorskip("transformers.integrations.bitnet", reason=PARITY)
    trits = np.random.default_rng(n).integers(-1, 2, (n, 20), np.int8)
    packed = bitnet.pack_weights(torch.from_numpy(trits.copy()))
    np.testing.assert_array_equal(pack_weights(trits), packed.numpy())
    unpack = bitnet.unpack_weights
    theirs = unpack(torch.from_numpy(pack_weights(trits)), torch.int8).numpy()
    np.testing.assert_array_equal(theirs, trits)
    np.testing.assert_array_equal(unpack_weights(packed.numpy(), n), theirs)


@pytest.mark.parametrize("k", [1, 7, 2**17 + 1])
def test_trits_are_counted_without_the_filler(k):
    """A row of more than 2¹⁷ bytes is counted on its own."""
    trits = np.resize(np.array([1, 1, -1, 0, 1, -1, 1], np.int8), (5, k))
    counts = [np.count_nonzero(trits == value) for value in (-1, 0, 1)]
    assert count_trits(pack_weights(trits), 5).tolist() == counts

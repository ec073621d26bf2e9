import re
from itertools import product

import numpy as np
import pytest

from trilith.golden.codes import CODES, CodeError

# Worked example of the engine's weight stream: lanes 7, rows 2, K 9, N 2.
W0 = [1, 0, -1, 1, 1, -1, 0, 1, -1]
W1 = [-1, -1, 0, 0, 1, 1, 1, 0, 1]


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_all_tuples_of_a_byte(code):
    tuples = np.array(list(product(code.values, repeat=code.trits_per_byte)), np.int8)
    packed = code.pack(tuples)
    assert packed.shape == (len(tuples), 1)
    assert len(np.unique(packed)) == len(tuples)
    np.testing.assert_array_equal(code.unpack(packed, code.trits_per_byte), tuples)
    assert code.legal.sum() == len(tuples)
    assert set(packed[:, 0]) == set(np.flatnonzero(code.legal))


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
@pytest.mark.parametrize("count", [1, 4, 5, 8, 9, 37])
def test_round_trip_with_fillers(code, count):
    rng = np.random.default_rng(count)
    trits = rng.choice(np.array(code.values, np.int8), (2, 3, count))
    packed = code.pack(trits)
    assert packed.dtype == np.uint8
    assert packed.shape == (2, 3, -(-count // code.trits_per_byte))
    np.testing.assert_array_equal(code.unpack(packed, count), trits)
    whole = code.unpack(packed, packed.shape[-1] * code.trits_per_byte)
    assert (whole[..., count:] == code.filler).all()


def test_base3_of_the_worked_example():
    first = np.array(W0[:7] + W1[:7], np.int8)
    second = np.array(W0[7:] + [0] * 5 + W1[7:] + [0] * 5, np.int8)
    assert CODES["base3"].pack(first).tobytes() == bytes.fromhex("DD54A0")
    assert CODES["base3"].pack(second).tobytes() == bytes.fromhex("779479")


def test_base3_by_definition():
    for trits in product((-1, 0, 1), repeat=5):
        byte = sum((t + 1) * 3**j for j, t in enumerate(trits))
        assert CODES["base3"].pack(np.array(trits, np.int8))[0] == byte


def test_tq1_decodes_as_ggml_does():
    # ggml: digit n of a byte is ((byte·3ⁿ mod 256)·3) >> 8.
    code = CODES["tq1"]
    for byte in np.flatnonzero(code.legal):
        digits = [((int(byte) * 3**n % 256) * 3 >> 8) - 1 for n in range(5)]
        np.testing.assert_array_equal(code.table[byte], digits)


def test_two_bit_and_binary_by_definition():
    assert CODES["two_bit"].pack(np.array([-1, 0, 1, 0], np.int8))[0] == 0b01_10_01_00
    assert CODES["binary"].pack(np.array([1, -1, -1, 1, 1, -1, 1, -1], np.int8))[0] == 0b01011001


def test_escape_frame():
    """Pairs are trits where they are not 11; no 11 means one fixed fifth trit."""
    code = CODES["escape"]
    fifth_without_escape = set()
    for byte in range(256):
        pairs = [byte >> 2 * i & 3 for i in range(4)]
        escapes = pairs.count(3)
        assert code.legal[byte] == (escapes <= 2)
        if escapes == 0:
            np.testing.assert_array_equal(code.table[byte][:4], 1 - np.array(pairs))
            fifth_without_escape.add(int(code.table[byte][4]))
        elif escapes <= 2:
            assert int(code.table[byte][4]) not in fifth_without_escape
    assert len(fifth_without_escape) == 1


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: CODES["base3"].pack(np.array([0, 2], np.int8)),
            ValueError,
            "trits must be from -1 to 1, not 2 at [0, 1]",
        ),
        (
            lambda: CODES["base3"].pack(np.array([0.0, 1.0])),
            TypeError,
            "trits must have an integer type, not float64",
        ),
        (
            lambda: CODES["binary"].pack(np.array([1, 0], np.int8)),
            CodeError,
            "code 'binary' holds -1 and +1 only, not 0 at [1]",
        ),
        (
            lambda: CODES["base3"].unpack(np.array([0, 243], np.uint8), 10),
            CodeError,
            "byte 0xf3 at [1] is illegal in code 'base3'",
        ),
        (
            lambda: CODES["base3"].unpack(np.array([0], np.uint8), 6),
            CodeError,
            "6 trits in code 'base3' must take 2 bytes, not 1",
        ),
        (
            lambda: CODES["base3"].unpack(np.array([0]), 5),
            TypeError,
            "packed must be uint8, not int64",
        ),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        call()

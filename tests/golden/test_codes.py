import re
from itertools import product

import numpy as np
import pytest

from trilith.golden.codes import CODES, CodeError

# Worked example of the engine's weight stream: lanes 7, rows 2, K 9, N 2.
W0 = [1, 0, -1, 1, 1, -1, 0, 1, -1]
W1 = [-1, -1, 0, 0, 1, 1, 1, 0, 1]


def legal_tuples(code):
    """All tuples of trits that fill a field, int8[tuples, field_trits]."""
    tuples = np.array(list(product((-1, 0, 1), repeat=code.field_trits)), np.int8)
    zeros = (tuples.reshape(len(tuples), -1, code.symbol_trits) == 0).sum(axis=2)
    return tuples[(zeros == code.zeros).all(axis=1)] if code.zeros is not None else tuples


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_all_tuples_of_a_field(code):
    tuples = legal_tuples(code)
    packed = code.pack(tuples)
    assert packed.shape == (len(tuples), 1)
    assert len(np.unique(packed)) == len(tuples)
    np.testing.assert_array_equal(code.unpack(packed, code.field_trits), tuples)
    assert code.legal.sum() == len(tuples)
    assert set(packed[:, 0]) == set(np.flatnonzero(code.legal))


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 37])
def test_round_trip_with_fillers(code, count):
    rng = np.random.default_rng(count)
    trits = code.random(rng, (2, 3, count))
    packed = code.pack(trits)
    assert packed.dtype == np.uint8
    fields = -(-count // code.field_trits)
    assert packed.shape == (2, 3, -(-fields * code.field_bits // 8))
    np.testing.assert_array_equal(code.unpack(packed, count), trits)
    whole = code.unpack(packed, fields * code.field_trits)
    if code.name != "sherry":
        assert (whole[..., count:] == (-1 if code.name == "binary" else 0)).all()
    else:
        assert ((whole == 0).reshape(2, 3, fields, 4).sum(axis=3) == 1).all()


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


def test_sherry_by_definition():
    """Bits 3:2 place the zero; bit 4 is the first sign, and bits 0 and 1 turn the other two."""
    code = CODES["sherry"]
    assert code.legal.all()
    for symbol in range(32):
        first = -1 if symbol & 16 else 1
        signs = [first, -first if symbol & 1 else first, -first if symbol & 2 else first]
        signs.insert(symbol >> 2 & 3, 0)
        np.testing.assert_array_equal(code.table[symbol], signs)
        assert code.pack(np.array(signs, np.int8))[0] == symbol


def test_every_value_of_five_bytes_of_sherry():
    """Five bytes hold eight quads; each symbol at each place, between all ones and all zeros."""
    code = CODES["sherry"]
    for place, symbol, around in product(range(8), range(32), (0, 31)):
        symbols = [around] * 8
        symbols[place] = symbol
        word = sum(value << 5 * i for i, value in enumerate(symbols))
        packed = np.frombuffer(word.to_bytes(5, "little"), np.uint8)
        trits = code.unpack(packed, 32)
        np.testing.assert_array_equal(trits.reshape(8, 4), code.table[symbols])
        np.testing.assert_array_equal(code.pack(trits), packed)


def test_bits_behind_the_last_quad_do_not_count():
    code = CODES["sherry"]
    np.testing.assert_array_equal(
        code.unpack(np.array([0b111_00000], np.uint8), 4), code.unpack(np.zeros(1, np.uint8), 4)
    )


def test_a_quad_that_trits_end_in_gets_its_zero():
    code = CODES["sherry"]
    for trits, filled in (
        ([1], [1, 0, -1, -1]),
        ([0, 1], [0, 1, -1, -1]),
        ([1, 1, -1], [1, 1, -1, 0]),
        ([1, 0, -1, 1, -1, 0], [1, 0, -1, 1, -1, 0, -1, -1, 0, -1, -1, -1]),
    ):
        np.testing.assert_array_equal(code.fill(np.array(trits, np.int8), len(filled)), filled)


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
        *(
            (
                lambda quad=quad: CODES["sherry"].pack(np.array([[0, 1, 1, 1], quad], np.int8)),
                CodeError,
                "code 'sherry' must have exactly one zero in each 4 trits of a row, "
                f"not {quad.count(0)} at [1, 0]",
            )
            for quad in ([1, 1, -1, 1], [0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0])
        ),
        (
            lambda: CODES["sherry"].pack(np.array([0, 1, 1, 1, 0, 0], np.int8)),
            CodeError,
            "code 'sherry' must have exactly one zero in each 4 trits of a row, not 2 at [4]",
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


@pytest.mark.parametrize("name", CODES)
def test_tables_cannot_be_written(name):
    """All readers share them."""
    code = CODES[name]
    for array in (code.table, code.legal):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1

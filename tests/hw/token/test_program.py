"""Instructions of the token core as bytes."""

import pytest

from trilith.hw.token.program import FIELDS, INSTRUCTION_BYTES, Op, decode, encode


def test_instructions_have_exactly_their_fields():
    fields = dict.fromkeys(FIELDS[Op.ANGLES], 7)
    code = encode(Op.ANGLES, {"load": True}, fields)
    assert code.hex() == "02010000" + "07000000" * 2 + "00" * (INSTRUCTION_BYTES - 12)
    for flags, wrong in (({}, {}), ({"jump": True}, fields), ({}, fields | {"more": 1})):
        with pytest.raises(ValueError, match=r"^ANGLES must have the fields "):
            encode(Op.ANGLES, flags, wrong)
    with pytest.raises(ValueError, match=r"^fields of ANGLES must be from 0 to 2³² − 1"):
        encode(Op.ANGLES, {}, fields | {"words": 2**32})


@pytest.mark.parametrize("op", Op)
def test_decoding_is_the_inverse(op):
    fields = {name: 3 + place for place, name in enumerate(FIELDS[op])}
    code = encode(op, {"load": True, "mode2": True}, fields)
    one = decode(code)
    assert (one.op, one.flags, one.fields, one.mode) == (op, {"load", "mode2"}, fields, 4)
    assert encode(one.op, dict.fromkeys(one.flags, True), one.fields) == code


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("08", "the operation must be from 0 to 7, not 8"),
        ("0000000001", "bits of END that have no meaning must be 0"),
        ("00000400", "bits of END that have no meaning must be 0"),
        ("02" + "00" * 11 + "01", "bits of ANGLES that have no meaning must be 0"),
    ],
)
def test_instructions_that_cannot_be_decoded(code, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        decode(bytes.fromhex(code).ljust(INSTRUCTION_BYTES, b"\0"))

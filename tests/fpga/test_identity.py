import re
from dataclasses import replace

import pytest

from trilith.fpga.identity import CoreIdentity, Identity, decode_identity
from trilith.hw import PRESETS
from trilith.hw.token.config import CORE_PRESETS

MATRICES = Identity(config=PRESETS["micro"], beats=1, clock_hz=1)
CORE = CoreIdentity(
    config=CORE_PRESETS["pydoc-ecp5"],
    memory_bytes=2**25,
    resident_beats=4096,
    clock_hz=50_000_000,
    tested_bytes=2**25,
)


def test_identities_come_back():
    for config in PRESETS.values():
        # An identity does not say the target. Boards have FPGAs, whose targets have equal results
        # and cycles.
        identity = Identity(
            config=replace(config, target="fpga"), beats=12_345, clock_hz=80_000_000
        )
        encoded = replace(identity, config=config).encode()
        assert decode_identity(encoded) == identity
    for config in CORE_PRESETS.values():
        identity = replace(CORE, config=config)
        assert decode_identity(identity.encode()) == identity


def test_the_bytes_of_identities():
    # Those of protocol 1 stay what they are: a bitstream of an earlier version is understood.
    assert MATRICES.encode().hex(" ") == (
        "54 52 4c 54 01 08 08 00 05 01 00 01 00 04 00 00 04 00 01 00 00 01 00 00 00"
    )
    assert CORE.encode().hex(" ") == (
        "54 52 4c 54 02 08 40 00 05 01 00 01 00 01 00 00 01 00 "
        "02 10 00 80 00 00 01 00 00 01 00 04 00 02 00 40 00 00 01 00 00 04 00 "
        "00 00 00 02 00 10 00 80 f0 fa 02 00 00 00 02"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"NOPE" + data[4:], "an identity must begin with b'TRLT', not b'NOPE'"),
        (lambda data: data[:4] + b"\x03", "the bitstream's protocol must be 1 or 2, not 3"),
        (
            lambda data: data[:4] + b"\x09" + data[5:],
            "the bitstream's protocol must be 1 or 2, not 9",
        ),
        (lambda data: data[:-1], "an identity must have 25 bytes, not 24"),
        (lambda data: data[:4], "an identity must have 25 bytes, not 4"),
        (lambda data: data[:10] + b"\x63" + data[11:], "the weight code must be below 6, not 99"),
        (lambda data: data[:6] + bytes(2) + data[8:], "lanes must be from 5 to 320, not 0"),
        (lambda _: CORE.encode()[:-4], "an identity must have 56 bytes, not 52"),
        (
            lambda _: CORE.encode()[:18] + b"\3" + CORE.encode()[19:],
            "vector_lanes must be 1, 2, 4, 8 or 16, not 3",
        ),
    ],
)
def test_identities_that_are_none(change, message):
    remedy = "; build the bitstream and the host from one version of trilith"
    with pytest.raises(ValueError, match=f"^{re.escape(message + remedy)}$"):
        decode_identity(change(MATRICES.encode()))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"config": 5}, TypeError, "config must be a TokenConfig, not 5"),
        ({"memory_bytes": 2.0}, TypeError, "memory_bytes must be an integer, not 2.0"),
        ({"memory_bytes": 0}, ValueError, "memory_bytes must be from 1 to 4294967295, not 0"),
        ({"clock_hz": 2**32}, ValueError, f"clock_hz must be from 1 to 4294967295, not {2**32}"),
        ({"resident_beats": -1}, ValueError, "resident_beats must be from 0 to 16777215, not -1"),
        ({"tested_bytes": -1}, ValueError, "tested_bytes must be from 0 to 4294967295, not -1"),
    ],
)
def test_fields_that_are_not_legal(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        replace(CORE, **changes)

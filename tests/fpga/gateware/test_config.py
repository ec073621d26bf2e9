import re
from dataclasses import replace

import pytest
from tiny_core import TINY

from trilith.fpga.gateware.config import CoreTopConfig, ExternalMemory
from trilith.fpga.gateware.weight_memory import MemoryShape
from trilith.hw.token.config import CORE_PRESETS

MEMORY = ExternalMemory(kind="sdram", module="MT48LC16M16", bytes=2**25)
TOP = CoreTopConfig(core=TINY, memory=MEMORY, clock_hz=50_000_000, baud=2_000_000)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"kind": 5}, TypeError, "kind must be a string, not 5"),
        ({"kind": "ddr3"}, ValueError, "kind must be sdram or block_ram, not 'ddr3'"),
        ({"module": 5}, TypeError, "module must be a str, not 5"),
        (
            {"module": ""},
            ValueError,
            "module must name a class of litedram.modules for sdram, not ''",
        ),
        (
            {"kind": "block_ram"},
            ValueError,
            "module must be empty for block_ram, not 'MT48LC16M16'",
        ),
        ({"bytes": 2.0}, TypeError, "bytes must be an integer, not 2.0"),
        ({"bytes": 5000}, ValueError, "bytes must be a power of two, not 5000"),
        ({"bytes": 2**32}, ValueError, "bytes must be from 4096 to 2147483648, not 4294967296"),
    ],
)
def test_memories_that_are_not_legal(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        replace(MEMORY, **changes)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"core": 5}, TypeError, "core must be a TokenConfig, not 5"),
        ({"memory": 5}, TypeError, "memory must be an ExternalMemory, not 5"),
        ({"resident": 5}, TypeError, "resident must be a MemoryShape, not 5"),
        (
            {"core": replace(TINY, engine=replace(TINY.engine, tokens=2))},
            ValueError,
            "core.engine.tokens must be 1 on a board, not 2",
        ),
        ({"queue": 128}, ValueError, "queue must be a power of two above 240, not 128"),
        (
            {"baud": 20_000_000},
            ValueError,
            "baud must be 50000000 Hz divided by an integer of 4 or more, within 2 %, not 20000000",
        ),
    ],
)
def test_tops_that_are_not_legal(changes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        replace(TOP, **changes)


def test_the_identity_of_a_top():
    top = replace(TOP, core=CORE_PRESETS["pydoc-ecp5"], resident=MemoryShape(beats=4096))
    assert (top.divisor, top.word_bytes, top.memory.address_bits) == (25, 16, 25)
    identity = top.identity
    assert (identity.config, identity.clock_hz) == (top.core, 50_000_000)
    assert (identity.memory_bytes, identity.tested_bytes) == (2**25, 2**25)
    assert identity.resident_beats == 4096
    assert TOP.identity.resident_beats == 0

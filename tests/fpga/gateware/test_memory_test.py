# amaranth: UnusedElaboratable=no
"""The test of the memory, with memories that have faults."""

import re

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from backing_memory import Backing, simulate

from trilith.fpga.gateware.memory_arbiter import MemoryArbiter
from trilith.fpga.gateware.memory_test import MemoryTester

WORD_BITS, BACKING_BITS, WORDS = 32, 16, 64
ADDRESS_BITS = 7  # Bits of the address of a backing word. A word has two of them.


def bytes_found(fault=None, place=None, stalls=0.0):
    """Bytes that the tester finds in a memory, and the cycles that it takes."""
    m = Module()
    m.submodules.tester = tester = MemoryTester(word_bits=WORD_BITS, address_bits=32, words=WORDS)
    m.submodules.arbiter = arbiter = MemoryArbiter(
        word_bits=WORD_BITS,
        backing_bits=BACKING_BITS,
        address_bits=32,
        backing_address_bits=ADDRESS_BITS,
        clients=2,
    )
    wiring.connect(m, tester.memory, arbiter.clients[0])
    memory = Backing(arbiter.backing, BACKING_BITS, 1 << ADDRESS_BITS, stalls=stalls, latency=1)
    memory.fault, memory.place = fault or memory.fault, place or memory.place
    found = []

    async def wait(ctx):
        while not ctx.get(tester.done):
            assert not ctx.get(tester.tested)
            await ctx.tick()
        found.append(ctx.get(tester.tested))
        await ctx.tick().repeat(3)
        assert ctx.get(tester.done)
        assert ctx.get(arbiter.idle) == 3

    simulate(m, wait, background=[memory.run])
    return found[0]


@pytest.mark.parametrize("stalls", [0.0, 0.3])
def test_a_memory_without_faults_has_its_bytes(stalls):
    assert bytes_found(stalls=stalls) == WORDS * WORD_BITS // 8


FAULTS = {
    "a data line is low": {"fault": lambda _, word: word & ~(1 << 9)},
    "a data line is high": {"fault": lambda _, word: word | 1 << 15},
    "two data lines are joined": {
        "fault": lambda _, word: word & ~0b110 | (0b110 if word & 0b110 == 0b110 else 0)
    },
    "a bit of one place is low": {"fault": lambda at, word: word & ~1 if at == 33 else word},
    "the lowest address line is low": {"place": lambda at: at & ~1},
    "an address line is low": {"place": lambda at: at & ~(1 << 4)},
    "an address line is high": {"place": lambda at: at | 1 << 1},
    "two address lines are joined": {
        "place": lambda at: at & ~0b1100 | (0b1100 if at & 0b1100 else 0)
    },
    "half of the capacity": {"place": lambda at: at % (1 << ADDRESS_BITS - 1)},
    "no memory": {"fault": lambda _, word: 0xFFFF},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_memory_with_a_fault_has_none(fault):
    assert bytes_found(**FAULTS[fault]) == 0


RIGHT = {"word_bits": 128, "address_bits": 32, "words": 1 << 21}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"word_bits": 16}, ValueError, "word_bits must be 32, 64, 128, 256 or 512, not 16"),
        ({"address_bits": 4}, ValueError, "address_bits must be from 5 to 64, not 4"),
        ({"words": 1 << 29}, ValueError, "words must be from 2 to 268435456, not 536870912"),
        ({"words": 48}, ValueError, "words must be a power of two, not 48"),
        ({"words": 2.0}, TypeError, "words must be an integer, not 2.0"),
    ],
)
def test_parameters_are_checked(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        MemoryTester(**RIGHT | change)

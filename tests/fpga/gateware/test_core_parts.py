# amaranth: UnusedElaboratable=no
"""Parts of the session with a token core: the checksum of memory words, and values as bytes."""

import re
from zlib import crc32

import pytest
from amaranth.sim import Simulator

from trilith.fpga.gateware.byte_cutter import ByteCutter
from trilith.fpga.gateware.memory_check import MemoryChecker


@pytest.mark.parametrize("words", [0, 1, 4, 16, 17, 40])
def test_the_cycles_and_the_value_of_a_checksum(words):
    dut = MemoryChecker(word_bits=128, address_bits=12)
    memory = bytes(index * 7 % 251 for index in range(4096))
    first = 4096 - 16 * words if words else 0
    found, bursts = [], []

    async def run(ctx):
        requests, read = dut.port.requests, dut.port.read_data
        ctx.set(dut.address, first)
        ctx.set(dut.words, words)
        ctx.set(dut.start, 1)
        ctx.set(requests.ready, 1)
        waiting = []
        for cycle in range(1000):
            if cycle and ctx.get(dut.done):
                found.extend([cycle, ctx.get(dut.crc)])
                return
            word = waiting[0] if waiting else 0
            ctx.set(read.valid, bool(waiting))
            ctx.set(read.p, {"data": int.from_bytes(memory[word : word + 16], "little")})
            taken = bool(waiting) and ctx.get(read.ready)
            request = ctx.get(requests.p) if ctx.get(requests.valid) else None
            await ctx.tick()
            ctx.set(dut.start, 0)
            if taken:
                waiting.pop(0)
            if request is not None:
                bursts.append(request.words)
                waiting += [request.address + 16 * word for word in range(request.words)]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()
    cycles, crc = found
    assert crc == crc32(memory[first : first + 16 * words])
    assert sum(bursts) == words
    assert max(bursts, default=0) <= 16
    # A burst is asked for while the last word of the one before enters the CRC.
    assert cycles == (16 * words + 4 if words else 1)


def test_values_become_bytes():
    dut = ByteCutter(6)
    got = []

    async def send(ctx):
        ctx.set(dut.bytes.ready, 1)
        for value, size in ((0x060504030201, 6), (0xAA0807, 2)):
            ctx.set(dut.values.p, {"value": value, "bytes": size})
            ctx.set(dut.values.valid, 1)
            await ctx.tick().until(dut.values.ready)
        ctx.set(dut.values.valid, 0)
        while ctx.get(dut.busy):
            await ctx.tick()

    async def take(ctx):
        async for _, _, valid, byte in ctx.tick().sample(dut.bytes.valid, dut.bytes.p):
            if valid:
                got.append(byte)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(take, background=True)
    simulator.run()
    assert got == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ByteCutter(2.0), TypeError, "size must be an integer, not 2.0"),
        (lambda: ByteCutter(0), ValueError, "size must be at least 1, not 0"),
        (
            lambda: MemoryChecker(word_bits=16, address_bits=12),
            ValueError,
            "word_bits must be 32, 64, 128, 256 or 512, not 16",
        ),
        (
            lambda: MemoryChecker(word_bits=128, address_bits=32),
            ValueError,
            "address_bits must be from 12 to 31, not 32",
        ),
    ],
)
def test_parameters_that_are_not_legal_are_refused(make, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        make()

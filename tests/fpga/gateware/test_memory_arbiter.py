# amaranth: UnusedElaboratable=no
"""The arbiter of the memory, and block RAM behind it."""

import re

import numpy as np
import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from backing_memory import Backing, offer, simulate, take

from trilith.fpga.gateware.backing import BlockMemory
from trilith.fpga.gateware.memory_arbiter import MemoryArbiter

#: Bits of a word and of a backing word, and clients.
SHAPES = {
    "SDRAM": (128, 16, 3),
    "block RAM": (128, 128, 3),
    "small words": (32, 8, 2),
}
BYTES = 1 << 14


@pytest.fixture(params=SHAPES)
def shape(request):
    return SHAPES[request.param]


def make(shape, **settings):
    """An arbiter, and the memory behind it."""
    word_bits, backing_bits, clients = shape
    words = 8 * BYTES // backing_bits
    dut = MemoryArbiter(
        word_bits=word_bits,
        backing_bits=backing_bits,
        address_bits=32,
        backing_address_bits=words.bit_length() - 1,
        clients=clients,
    )
    return dut, Backing(dut.backing, backing_bits, words, **settings)


def traffic(rng, index, word_bits, count):
    """Requests of a client in its own part of the memory, its writes, and what it must read."""
    size, base = word_bits // 8, index * BYTES // 4
    content = bytearray(BYTES // 4)
    requests, written, expected = [], [], []
    for _ in range(count):
        words = int(rng.integers(1, 17))
        first = int(rng.integers(0, 64 - words))
        write = int(rng.random() < 0.4)
        requests.append({"address": base + first * size, "words": words, "write": write})
        for word in range(first, first + words):
            part = slice(word * size, word * size + size)
            if write:
                data = rng.bytes(size)
                strobes = int.from_bytes(rng.bytes(size), "little") & (1 << size) - 1
                written.append({"data": int.from_bytes(data, "little"), "strobes": strobes})
                mixed = [
                    new if strobes >> byte & 1 else old
                    for byte, (new, old) in enumerate(zip(data, content[part], strict=True))
                ]
                content[part] = bytes(mixed)
            else:
                expected.append(int.from_bytes(content[part], "little"))
    return requests, written, expected


@pytest.mark.parametrize("stalls", [0.0, 0.6])
def test_random_traffic_equals_a_memory(shape, stalls):
    dut, memory = make(shape, stalls=stalls, seed=1)
    rng = np.random.default_rng(2)
    testbenches = []
    for index in range(shape[2]):
        port = dut.clients[index]
        count = 10 if stalls else 24 // (shape[2] * shape[0] // shape[1]) + 8
        requests, written, expected = traffic(rng, index, shape[0], count)

        def gaps():
            return int(rng.integers(0, 20)) if stalls and rng.random() < 0.3 else 0

        def goes():
            return not stalls or rng.random() >= stalls

        async def ask(ctx, port=port, requests=requests):
            await offer(ctx, port.requests, requests, gaps)

        async def write(ctx, port=port, written=written):
            await offer(ctx, port.write_data, written, gaps)

        async def read(ctx, port=port, expected=expected):
            got = []
            await take(ctx, port.read_data, got, len(expected), goes)
            assert got == expected

        testbenches += [ask, write, read]
    simulate(dut, *testbenches, background=[memory.run])


def bursts(shape, count, words, first=0, write=0):
    size = shape[0] // 8
    return [
        {"address": first + index * words * size, "words": words, "write": write}
        for index in range(count)
    ]


@pytest.mark.parametrize("words", [1, 16])
@pytest.mark.parametrize("write", [0, 1])
def test_commands_have_no_gaps(shape, words, write):
    """Two clients together give a command in each cycle."""
    dut, memory = make(shape)
    count = 64 // words
    data = [{"data": index, "strobes": 1} for index in range(count * words)]
    testbenches = []
    for index in range(2):
        port = dut.clients[index]

        async def ask(ctx, port=port, index=index):
            await offer(ctx, port.requests, bursts(shape, count, words, index * 4096, write))

        async def give(ctx, port=port):
            await offer(ctx, port.write_data, data)

        async def read(ctx, port=port):
            await take(ctx, port.read_data, [], count * words)

        testbenches += [ask, give if write else read]

    wanted = 2 * count * words * (shape[0] // shape[1])

    async def end(ctx):
        while len(memory.commands) < wanted:
            await ctx.tick()

    simulate(dut, *testbenches, end, background=[memory.run])
    cycles = [cycle for cycle, *_ in memory.commands]
    # A write waits until all its words are there, the first one in idle hardware.
    assert cycles[-1] - cycles[0] + 1 <= wanted + (words if write and shape[0] == shape[1] else 0)


def test_one_client_alone_has_the_full_rate(shape):
    dut, memory = make(shape)
    port, count = dut.clients[1], 5

    async def ask(ctx):
        await offer(ctx, port.requests, bursts(shape, count, 16))

    async def read(ctx):
        await take(ctx, port.read_data, [], 16 * count)

    simulate(dut, ask, read, background=[memory.run])
    cycles = [cycle for cycle, *_ in memory.commands]
    assert cycles[-1] - cycles[0] + 1 == len(cycles) == 16 * count * (shape[0] // shape[1])


def test_latencies(shape):
    dut, memory = make(shape, latency=1)
    port, seen = dut.clients[0], {}
    signals = {
        "accepted": port.requests.valid & port.requests.ready,
        "command": dut.backing.commands.valid,
        "read": dut.backing.read_data.valid,
        "offered": port.read_data.valid,
    }

    async def ask(ctx):
        await ctx.tick().repeat(5)
        await offer(ctx, port.requests, bursts(shape, 1, 1))

    async def watch(ctx):
        cycle = 0
        while "offered" not in seen:
            *_, values = await ctx.tick().sample(Cat(*signals.values()))
            cycle += 1
            for bit, name in enumerate(signals):
                if values >> bit & 1:
                    seen.setdefault(name, []).append(cycle)

    simulate(dut, ask, watch, background=[memory.run])
    assert seen["command"][0] - seen["accepted"][0] == 4
    assert seen["offered"][0] - seen["read"][-1] == 3


def test_a_burst_waits_for_one_of_lower_priority_and_not_for_more():
    shape = SHAPES["SDRAM"]
    dut, memory = make(shape)
    first, last = dut.clients[0], dut.clients[2]
    accepted = []

    async def stream(ctx):
        await offer(ctx, last.requests, bursts(shape, 12, 16))

    async def ask(ctx):
        for pause in (200, 233, 201, 281):
            await ctx.tick().repeat(pause)
            await offer(ctx, first.requests, bursts(shape, 1, 1, 8192))
            accepted.append(memory.cycle)
        await ctx.tick().repeat(150)

    async def drink(ctx):
        ctx.set(first.read_data.ready, 1)
        ctx.set(last.read_data.ready, 1)

    simulate(dut, drink, stream, ask, background=[memory.run])
    begun = [cycle for cycle, address, _ in memory.commands if address == 4096]
    waits = [begin - cycle for begin, cycle in zip(begun, accepted, strict=True)]
    assert max(waits) <= 4 + 4 + 128


def test_a_client_that_stops_delays_no_other(shape):
    """Client 0 takes nothing that it has read, and owes a word of its write."""
    dut, memory = make(shape)
    first, second = dut.clients[0], dut.clients[1]

    async def ask(ctx):
        await offer(ctx, first.requests, bursts(shape, 2, 16) + bursts(shape, 1, 2, write=1))
        await offer(ctx, first.write_data, [{"data": 1, "strobes": 1}])

    async def work(ctx):
        await ctx.tick().repeat(50)
        await offer(ctx, second.requests, bursts(shape, 5, 16))

    async def read(ctx):
        await take(ctx, second.read_data, [], 5 * 16)
        got = []
        await take(ctx, first.read_data, got, 32)
        assert not any(write for *_, write in memory.commands)
        await offer(ctx, first.write_data, [{"data": 1, "strobes": 1}])
        await ctx.tick().repeat(40)
        assert any(write for *_, write in memory.commands)

    simulate(dut, ask, work, read, background=[memory.run])


@pytest.mark.parametrize("after", [4, 10, 60, 200])
def test_a_client_in_reset_leaves_nothing_behind(shape, after):
    """Requests, words that are read and words that are owed are dropped; the other goes on."""
    dut, memory = make(shape, stalls=0.2, seed=after)
    memory.words = [index & 0xFF for index in range(len(memory.words))]
    first, other = dut.clients[0], dut.clients[1]
    size = shape[0] // 8

    async def session(ctx):
        requests = bursts(shape, 1, 4, 1024, write=1) + bursts(shape, 3, 16)
        requests += bursts(shape, 1, 3, 1024, write=1)
        given = [{"data": 0, "strobes": (1 << size) - 1}] * 6
        data, place = iter(given), iter(requests)
        request, word = next(place), next(data)
        for _ in range(after):
            ctx.set(first.requests.valid, request is not None)
            ctx.set(first.write_data.valid, word is not None)
            if request is not None:
                ctx.set(first.requests.p, request)
            if word is not None:
                ctx.set(first.write_data.p, word)
            *_, asked, gave = await ctx.tick().sample(first.requests.ready, first.write_data.ready)
            request = next(place, None) if asked else request
            word = next(data, None) if gave else word
        ctx.set(first.requests.valid, 0)
        ctx.set(first.write_data.valid, 0)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        while not ctx.get(dut.idle) & 1:
            assert not ctx.get(first.read_data.valid)
            await ctx.tick()
        ctx.set(dut.clear, 0)
        await offer(ctx, first.requests, bursts(shape, 1, 4, 2048))
        got = []
        await take(ctx, first.read_data, got, 4)
        parts = shape[0] // shape[1]
        start = 2048 // size * parts
        words = [
            sum((start + word * parts + part & 0xFF) << shape[1] * part for part in range(parts))
            for word in range(4)
        ]
        assert got == words

    async def work(ctx):
        await offer(ctx, other.requests, bursts(shape, 3, 16))

    async def read(ctx):
        await take(ctx, other.read_data, [], 3 * 16)

    simulate(dut, session, work, read, background=[memory.run])


def test_a_request_behind_the_end_fails_and_writes_nothing(shape):
    dut, memory = make(shape)
    port = dut.clients[1]

    async def work(ctx):
        ones = {"data": 1, "strobes": 1}
        await offer(ctx, port.write_data, [ones] * 2)
        await offer(ctx, port.requests, bursts(shape, 1, 1, BYTES, write=1))
        await offer(ctx, port.requests, bursts(shape, 1, 2, 1 << 31))
        await offer(ctx, port.requests, bursts(shape, 1, 1, write=1))
        await offer(ctx, port.requests, bursts(shape, 1, 2))
        got = []
        await take(ctx, port.read_data, got, 4)
        assert [word >> shape[0] for word in got] == [1, 1, 0, 0]
        assert got[2:] == [1, 0]

    simulate(dut, work, background=[memory.run])
    assert sum(memory.words) == 1


def test_block_memory_behind_the_arbiter():
    word_bits, backing_bits, _ = shape = SHAPES["block RAM"]
    m = Module()
    m.submodules.arbiter = arbiter = MemoryArbiter(
        word_bits=word_bits,
        backing_bits=backing_bits,
        address_bits=32,
        backing_address_bits=10,
        clients=2,
    )
    m.submodules.memory = memory = BlockMemory(width=backing_bits, address_bits=10)
    wiring.connect(m, arbiter.backing, memory.port)
    port = arbiter.clients[0]
    requests, written, expected = traffic(np.random.default_rng(3), 0, word_bits, 40)
    cycles = []

    async def ask(ctx):
        await offer(ctx, port.requests, requests)
        cycles.clear()
        await offer(ctx, port.requests, bursts(shape, 20, 16))

    async def write(ctx):
        await offer(ctx, port.write_data, written)

    async def read(ctx):
        got = []
        await take(ctx, port.read_data, got, len(expected))
        assert got == expected
        ctx.set(port.read_data.ready, 1)
        clock = 0
        while len(cycles) < 320:
            *_, valid = await ctx.tick().sample(port.read_data.valid)
            clock += 1
            if valid:
                cycles.append(clock)
        assert cycles[-1] - cycles[0] == 319

    simulate(m, ask, write, read)


RIGHT = {
    "word_bits": 128,
    "backing_bits": 16,
    "address_bits": 32,
    "backing_address_bits": 24,
    "clients": 3,
}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"word_bits": 48}, ValueError, "word_bits must be 32, 64, 128, 256 or 512, not 48"),
        ({"word_bits": "128"}, TypeError, "word_bits must be an integer, not '128'"),
        (
            {"backing_bits": 256},
            ValueError,
            "backing_bits must be 8, 16, 32, 64 or 128, not 256",
        ),
        ({"address_bits": 65}, ValueError, "address_bits must be from 2 to 64, not 65"),
        (
            {"backing_address_bits": 32},
            ValueError,
            "backing_address_bits must be from 4 to 31, not 32",
        ),
        ({"clients": 1}, ValueError, "clients must be from 2 to 8, not 1"),
    ],
)
def test_parameters_of_the_arbiter_are_checked(change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        MemoryArbiter(**RIGHT | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 12}, "width must be a multiple of 8, not 12"),
        ({"address_bits": 25}, "address_bits must be from 1 to 24, not 25"),
    ],
)
def test_parameters_of_block_memory_are_checked(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        BlockMemory(**{"width": 16, "address_bits": 8} | change)

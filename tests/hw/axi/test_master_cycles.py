"""Cycles of the AXI4 masters, as their docstrings state them."""

import pytest
from amaranth.sim import Simulator
from small_core import CONFIG

from trilith.hw.axi.full import BurstCutter
from trilith.hw.axi.memory_master import AxiMemoryMaster
from trilith.hw.axi.weight_reader import AxiWeightReader, WordTrimmer


def simulate(component, bench) -> None:
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def cut(requests, *, word_bytes, longest, base=0) -> list[tuple[int, int, int, int]]:
    """Cut requests; return cycle, address, words and page of each burst."""
    cutter = BurstCutter(word_bytes=word_bytes, longest=longest, offset_bits=20, count_bits=12)
    bursts = []

    async def bench(ctx):
        waiting = list(requests)
        ctx.set(cutter.bursts.ready, 1)
        ctx.set(cutter.base, base)
        for cycle in range(200):
            ctx.set(cutter.requests.valid, bool(waiting))
            if waiting:
                ctx.set(cutter.requests.p.offset, waiting[0][0])
                ctx.set(cutter.requests.p.words, waiting[0][1])
                if ctx.get(cutter.requests.ready):
                    waiting.pop(0)
            if ctx.get(cutter.bursts.valid):
                burst = cutter.bursts.p
                words = ctx.get(burst.length) + 1
                bursts.append((cycle, ctx.get(burst.address), words, ctx.get(burst.page)))
            await ctx.tick()
        assert not ctx.get(cutter.busy)

    simulate(cutter, bench)
    return bursts


def test_that_bursts_end_at_pages():
    base = 0xABCD_0000_F000
    found = cut([(4032, 70), (0, 0), (4096, 1)], word_bytes=64, longest=64, base=base + 0xFFF)
    assert found == [
        (2, base + 4032, 1, 0),
        (3, base + 4096, 64, 1),
        (4, base + 8192, 5, 2),
        (7, base + 4096, 1, 1),
    ]


@pytest.mark.parametrize(("word_bytes", "longest"), [(4, 256), (4, 16), (128, 256), (32, 1)])
def test_bursts_of_many_sizes(word_bytes, longest):
    requests = [(word_bytes * (1000 - 7 * index), 3 + 11 * index) for index in range(5)]
    most = min(longest, 4096 // word_bytes)
    expected = []
    for offset, words in requests:
        end = offset + words * word_bytes
        while offset < end:
            stop = min(end, (offset // (most * word_bytes) + 1) * most * word_bytes)
            expected.append((offset, (stop - offset) // word_bytes, offset // 4096))
            offset = stop
    assert [
        burst[1:] for burst in cut(requests, word_bytes=word_bytes, longest=longest)
    ] == expected


@pytest.mark.parametrize(
    ("beat_bytes", "bus_bits", "first_beat"), [(16, 128, 3), (64, 128, 6), (4, 64, 3), (20, 64, 5)]
)
def test_the_first_beat(beat_bytes, bus_bits, first_beat):
    reader = AxiWeightReader(beat_bytes=beat_bytes, bus_bits=bus_bits)
    seen = {}

    async def bench(ctx):
        ctx.set(reader.axi.arready, 1)
        ctx.set(reader.beats.ready, 1)
        ctx.set(reader.fetch.p.beats, 40)
        left = 0
        for cycle in range(60):
            ctx.set(reader.fetch.valid, cycle == 0)
            if ctx.get(reader.axi.arvalid):
                seen.setdefault("address", cycle)
                left += ctx.get(reader.axi.arlen) + 1
            ctx.set(reader.axi.rvalid, cycle >= 20 and left > 0)
            if ctx.get(reader.beats.valid):
                seen.setdefault("beat", cycle)
            left -= ctx.get(reader.axi.rvalid)
            await ctx.tick()

    simulate(reader, bench)
    assert seen == {"address": 4, "beat": 20 + first_beat}


def test_the_first_words_of_the_memory():
    master = AxiMemoryMaster(CONFIG)
    seen = {}

    async def bench(ctx):
        for cycle in range(30):
            asks = cycle in (0, 10)
            ctx.set(master.requests.valid, asks)
            ctx.set(master.requests.p.words, 2)
            ctx.set(master.requests.p.write, cycle == 10)
            ctx.set(master.write_data.valid, cycle >= 13)
            for name, port in (
                ("arvalid", master.read.arvalid),
                ("awvalid", master.write.awvalid),
                ("wvalid", master.write.wvalid),
            ):
                if ctx.get(port):
                    seen.setdefault(name, cycle)
            ctx.set(master.read.arready, 1)
            await ctx.tick()

    simulate(master, bench)
    assert seen == {"arvalid": 2, "awvalid": 13, "wvalid": 14}


def test_that_a_read_waits_for_writes_of_its_page_alone():
    master = AxiMemoryMaster(CONFIG)
    asked = []

    async def bench(ctx):
        # Writes to pages 2 and 4, then reads of pages 1, 5 and 3.
        requests = [(0x2000, 1), (0x4000, 1), (0x1000, 0), (0x5000, 0), (0x3000, 0), (0, 0)]
        for port in (master.read.arready, master.write.awready, master.write.wready):
            ctx.set(port, 1)
        ctx.set(master.write_data.valid, 1)
        for cycle in range(80):
            ctx.set(master.requests.valid, bool(requests))
            if requests:
                ctx.set(master.requests.p.address, requests[0][0])
                ctx.set(master.requests.p.words, 1)
                ctx.set(master.requests.p.write, requests[0][1])
                if ctx.get(master.requests.ready):
                    requests.pop(0)
            if ctx.get(master.read.arvalid):
                asked.append((ctx.get(master.read.araddr), cycle >= 50))
            # The answers to the two writes come late.
            ctx.set(master.write.bvalid, cycle in (48, 49))
            await ctx.tick()

    simulate(master, bench)
    assert asked == [(0x1000, False), (0x5000, False), (0x3000, True), (0, True)]


def test_that_words_are_trimmed():
    trimmer = WordTrimmer(unit_bytes=1, word_units=4, count_bits=8)
    found = []

    async def bench(ctx):
        # The first word of the last request holds its two units behind one that is dropped.
        requests = [(3, 7), (0, 4), (1, 2)]
        words = [0x33221100, 0x77665544, 0xBBAA9988, 0x00000001, 0x04030201]
        ctx.set(trimmer.pieces.ready, 1)
        for _ in range(12):
            ctx.set(trimmer.requests.valid, bool(requests))
            ctx.set(trimmer.words.valid, bool(words))
            if requests:
                ctx.set(trimmer.requests.p.skip, requests[0][0])
                ctx.set(trimmer.requests.p.units, requests[0][1])
            if words:
                ctx.set(trimmer.words.p, words[0])
            if ctx.get(trimmer.pieces.valid):
                count = ctx.get(trimmer.pieces.p.count)
                found.append(ctx.get(trimmer.pieces.p.data) & (256**count - 1))
            if ctx.get(trimmer.requests.ready):
                requests.pop(0)
            if ctx.get(trimmer.words.ready):
                words.pop(0)
            await ctx.tick()

    simulate(trimmer, bench)
    assert found == [0x33, 0x77665544, 0x9988, 1, 0x0302]

"""Scales of keys, values and rows, unpacked from words of elements."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator
from stream_ports import CONFIG

from trilith.hw.token.unpacker import ScaleUnpacker


def unpack(config, commands, requests, stalls=()):
    """Play commands and requests of words; return scales, and cycles of scales and words taken."""
    dut = ScaleUnpacker(config)
    words = [
        (word, index == len(request) - 1)
        for request in requests
        for index, word in enumerate(request)
    ]
    given, given_at, taken_at = [], [], []

    async def play(ctx):
        left = list(commands)
        for cycle in range(200):
            ctx.set(dut.commands.valid, bool(left))
            if left:
                ctx.set(dut.commands.p.single, left[0][0])
                ctx.set(dut.commands.p.rows, left[0][1])
            place = len(taken_at)
            ctx.set(dut.words.valid, place < len(words))
            if place < len(words):
                word, last = words[place]
                packed = sum(int(value) << 24 * lane for lane, value in enumerate(word))
                ctx.set(Value.cast(dut.words.p.elements), packed)
                ctx.set(dut.words.p.last, last)
            ctx.set(dut.scales.ready, cycle not in stalls)
            if ctx.get(dut.scales.valid) and cycle not in stalls:
                scales = ctx.get(Value.cast(dut.scales.p))
                count = 2 * config.segments
                given.append([scales >> 24 * i & 0xFFFFFF for i in range(count)])
                given_at.append(cycle)
            if ctx.get(dut.words.ready) and place < len(words):
                taken_at.append(cycle)
            if ctx.get(dut.commands.ready) and left:
                left.pop(0)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(play)
    simulator.run()
    assert len(taken_at) == len(words)
    return given, given_at, taken_at


@pytest.mark.parametrize(("lanes", "segments"), [(8, 1), (32, 2), (64, 4)])
@pytest.mark.parametrize("stalls", [(), (2, 3, 7)])
def test_pairs_of_a_chunk(lanes, segments, stalls):
    config = replace(CONFIG, attention_lanes=lanes)
    assert config.segments == segments
    # Two requests, one after the other; behind the wanted elements come others.
    positions, words = 7, 6
    first = np.arange(100, 100 + 4 * words).reshape(words, 4)
    second = first + 1000
    given, _, _ = unpack(config, [(0, positions), (0, positions)], [first, second], stalls)
    expected = []
    for part in (first, second):
        pairs = part.ravel()[: 2 * segments * -(-positions // segments)]
        for chunk in pairs.reshape(-1, segments, 2):
            expected.append([*chunk[:, 0], *chunk[:, 1]])
    assert given == [list(map(int, one)) for one in expected]


def test_single_scales_behind_pairs():
    config = replace(CONFIG, attention_lanes=64)
    pairs, singles = np.arange(16).reshape(4, 4), np.arange(50, 66).reshape(4, 4)
    given, _, _ = unpack(config, [(0, 5), (1, 13)], [pairs, singles])
    assert [one[0] for one in given[2:]] == list(range(50, 63))


def test_the_example_of_the_description():
    words = np.arange(16).reshape(4, 4)
    _, given, taken = unpack(CONFIG, [(0, 3), (0, 1)], [words, words])
    assert given == [1, 2, 3, 7]
    assert taken == [2, 3, 4, 5, 7, 8, 9, 10]

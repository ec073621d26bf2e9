# amaranth: UnusedElaboratable=no
import re

import pytest
from amaranth.sim import Simulator

from trilith.fpga.gateware.payload import PayloadGatherer


def gather(sizes, frames):
    """Groups that frames give, and the cycles that each frame takes."""
    dut = PayloadGatherer(sizes)
    groups, cycles = [], []

    async def send(ctx):
        for kind, payload in frames:
            ctx.set(dut.kind, kind)
            ctx.set(dut.length, len(payload))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            count = 0
            while not ctx.get(dut.free):
                address = ctx.get(dut.address)
                await ctx.tick()
                ctx.set(dut.payload, payload[address] if address < len(payload) else 0)
                count += 1
                assert count < 1000
            cycles.append(count)

    async def take(ctx):
        ctx.set(dut.groups.ready, 1)
        async for _, _, valid, group in ctx.tick().sample(dut.groups.valid, dut.groups.p):
            if valid:
                data = group.data.to_bytes(max(sizes.values()), "little")
                groups.append((group.kind, data[-sizes[group.kind] :]))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(take, background=True)
    simulator.run()
    return groups, cycles


def test_groups_may_span_frames():
    groups, cycles = gather({1: 3, 2: 1}, [(1, b"abcd"), (1, b""), (1, b"ef"), (2, b"xy")])
    assert groups == [(1, b"abc"), (1, b"def"), (2, b"x"), (2, b"y")]
    # Two cycles for a byte, and one for a group.
    assert cycles == [2 * 4 + 1, 0, 2 * 2 + 1, 2 * 2 + 2]


def test_kinds_above_7_are_told_from_those_below():
    groups, _ = gather({0: 1, 8: 2, 15: 1}, [(8, b"ab"), (0, b"c"), (15, b"d")])
    assert groups == [(8, b"ab"), (0, b"c"), (15, b"d")]


def test_a_group_may_be_larger_than_a_frame():
    # A beat of the Arty's weights has 256 bytes, a frame at most 240.
    beat = bytes(range(256))
    groups, _ = gather({3: 256}, [(3, beat[:240]), (3, beat[240:])])
    assert groups == [(3, beat)]


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        (5, TypeError, "sizes must be a Mapping, not 5"),
        ({1: 2.0}, TypeError, "the size of kind 1 must be an integer, not 2.0"),
        ({}, ValueError, "sizes must have one kind or more, not be empty"),
        ({16: 1}, ValueError, "a kind must be from 0 to 15, not 16"),
        ({1: 0}, ValueError, "the size of kind 1 must be at least 1, not 0"),
    ],
)
def test_sizes_that_are_not_legal_are_refused(sizes, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        PayloadGatherer(sizes)

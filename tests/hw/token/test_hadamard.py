# amaranth: UnusedElaboratable=no
"""The transform of the hardware against the golden one, in all sizes."""

import random
import re

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from trilith.golden.hadamard import walsh_hadamard
from trilith.hw.export.verilog import component_verilog
from trilith.hw.token.hadamard import HadamardTransform
from trilith.sim.rtl.clocked import port_rows, run_clocked

#: Size, lanes, bits of an input: steps within a beat alone, between beats alone, and both.
CASES = [(64, 1, 8), (64, 64, 8), (128, 8, 4), (256, 16, 8), (512, 32, 12), (1024, 32, 8)]


def blocks_of(size, width, count=4):
    """Random blocks of integers, and those that give the largest and the smallest results."""
    low, high = -(2 ** (width - 1)), 2 ** (width - 1)
    blocks = np.random.default_rng(size).integers(low, high, (count, size))
    blocks[0] = low
    signs = walsh_hadamard(np.eye(size, dtype=np.int64)[-1], size)
    blocks[1] = np.where(signs > 0, high - 1, low)
    return blocks


def packed(values, width):
    """Signed values as one number, the first one lowest."""
    return sum((int(value) % 2**width) << width * place for place, value in enumerate(values))


def unpacked(number, count, width):
    """Signed values of a number."""
    values = [(number >> width * place) % 2**width for place in range(count)]
    return [value - (value >> width - 1 << width) for value in values]


def run(dut, beats, count, *, gap=0.0, stall=0.0, seed=0):
    """Send beats of integers; return those that leave, and the cycles of beats in and out."""
    rng, found, cycles = random.Random(seed), [], ([], [])
    widths = [len(port.payload.as_value()) // len(beats[0]) for port in (dut.i, dut.o)]

    async def bench(ctx):
        index, waiting = 0, None
        offered = False
        for cycle in range(20 * count + 4000):
            offered = index < len(beats) and (offered or rng.random() >= gap)
            ctx.set(dut.i.valid, offered)
            if offered:
                ctx.set(dut.i.payload.as_value(), packed(beats[index], widths[0]))
            ready = rng.random() >= stall
            ctx.set(dut.o.ready, ready)
            if ctx.get(dut.o.valid):
                beat = ctx.get(dut.o.payload.as_value())
                assert waiting in (None, beat), "what is offered must stay"
                waiting = None if ready else beat
                if ready:
                    found.append(beat)
                    cycles[1].append(cycle)
            else:
                assert waiting is None, "what is offered must stay"
            if offered and ctx.get(dut.i.ready):
                cycles[0].append(cycle)
                index, offered = index + 1, False
            await ctx.tick()
            if len(found) == count:
                return
        raise AssertionError(f"{len(found)} of {count} beats left")

    simulator = Simulator(dut)
    simulator.add_clock(1)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array([unpacked(beat, len(beats[0]), widths[1]) for beat in found]), cycles


@pytest.mark.parametrize(("size", "lanes", "width"), CASES)
@pytest.mark.parametrize(("gap", "stall"), [(0.0, 0.0), (0.3, 0.4)])
def test_every_size_equals_golden(size, lanes, width, gap, stall):
    dut = HadamardTransform(size=size, lanes=lanes, width=width)
    blocks = blocks_of(size, width)
    beats = blocks.reshape(-1, lanes)
    found, (taken, left) = run(dut, beats, len(beats), gap=gap, stall=stall)
    expected = walsh_hadamard(blocks, size)
    assert expected.min() == -size * 2 ** (width - 1)
    np.testing.assert_array_equal(found.reshape(blocks.shape), expected)
    if not gap:
        # One beat per cycle, and the latency of the docstring.
        assert taken == list(range(len(beats)))
        assert left == [cycle + dut.latency for cycle in taken]


def test_a_reset_drops_what_is_on_its_way():
    dut, reset = HadamardTransform(size=64, lanes=16), Signal()
    first, second = blocks_of(64, 8)[2:].reshape(2, 4, 16)
    found = []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        for beat in first[:3]:
            ctx.set(dut.i.payload.as_value(), packed(beat, 8))
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        ctx.set(dut.i.valid, 1)
        for cycle in range(30):
            ctx.set(dut.i.valid, cycle < 4)
            ctx.set(dut.i.payload.as_value(), packed(second[cycle % 4], 8))
            if ctx.get(dut.o.valid):
                found.extend(unpacked(ctx.get(dut.o.payload.as_value()), 16, 14))
            await ctx.tick()

    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == walsh_hadamard(second.reshape(-1), 64).tolist()


def test_verilog_has_no_multiplier_and_equals_golden():
    dut = HadamardTransform(size=1024, lanes=4)
    text = component_verilog(dut, "hadamard")
    code = re.sub(r"\(\*.*?\*\)|//.*|/\*.*?\*/", "", text, flags=re.DOTALL)
    assert "*" not in code.replace("@*", "")
    blocks = np.random.default_rng(3).integers(-128, 128, (64, 1024), np.int8)
    beats = blocks.reshape(-1, 4)
    more = dut.latency + 4
    ones = np.ones((len(beats) + more, 1), np.uint8)
    inputs = {
        "i__payload": port_rows(np.pad(beats.view(np.uint8), ((0, more), (0, 0))), 32),
        "i__valid": np.pad(ones[: len(beats)], ((0, more), (0, 0))),
        "o__ready": ones,
    }
    out = run_clocked(HadamardTransform(size=1024, lanes=4), inputs)
    valid = out["o__valid"][:, 0].astype(bool)
    assert valid.nonzero()[0].tolist() == list(range(dut.latency, dut.latency + len(beats)))
    words = out["o__payload"][valid][:, :9]
    bits = np.unpackbits(words, axis=1, bitorder="little").reshape(-1, 4, 18)
    values = (bits * (1 << np.arange(18))).sum(axis=2)
    values -= (values >> 17) << 18
    np.testing.assert_array_equal(values.reshape(blocks.shape), walsh_hadamard(blocks, 1024))


@pytest.mark.parametrize(
    ("parameters", "kind", "message"),
    [
        ({"size": 32}, ValueError, "size must be 64, 128, 256, 512 or 1024, not 32"),
        ({"size": 64.0}, TypeError, "size must be an integer, not 64.0"),
        ({"lanes": 3}, ValueError, "lanes must be a power of two, not 3"),
        ({"lanes": 128}, ValueError, "lanes must be from 1 to 64, not 128"),
        ({"lanes": "4"}, TypeError, "lanes must be an integer, not '4'"),
        ({"width": 1}, ValueError, "width must be from 2 to 32, not 1"),
        ({"width": 33}, ValueError, "width must be from 2 to 32, not 33"),
    ],
)
def test_illegal_parameters(parameters, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        HadamardTransform(**{"size": 64, "lanes": 4} | parameters)

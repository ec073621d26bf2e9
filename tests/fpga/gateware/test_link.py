# amaranth: UnusedElaboratable=no
from itertools import pairwise

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from trilith.fpga.frames import MAX_PAYLOAD, Frame, FrameReader
from trilith.fpga.gateware.link import FrameReceiver, FrameTransmitter
from trilith.fpga.gateware.uart import UartReceiver, UartTransmitter
from trilith.sim.rtl.clocked import run_clocked


@pytest.mark.parametrize(("sender", "receiver"), [(4, 4), (25, 24), (24, 25), (8, 8), (100, 97)])
def test_bytes_cross_the_line_at_rates_four_percent_apart(sender, receiver):
    m = Module()
    m.submodules.sender = transmit = UartTransmitter(divisor=sender)
    m.submodules.receiver = receive = UartReceiver(divisor=receiver)
    m.d.comb += receive.rx.eq(transmit.tx)
    sent = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, 0x00]
    got, clocks = [], []

    async def produce(ctx):
        for byte in sent:
            ctx.set(transmit.data.p, byte)
            ctx.set(transmit.data.valid, 1)
            await ctx.tick().until(transmit.data.ready)
        ctx.set(transmit.data.valid, 0)

    async def consume(ctx):
        async for _, _, strobe, data in ctx.tick().sample(receive.strobe, receive.data):
            clocks.append(None)
            if strobe:
                got.append((data, len(clocks)))
            if len(got) == len(sent) or len(clocks) > 20_000:
                return

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(produce)
    simulator.add_testbench(consume)
    simulator.run()
    assert [data for data, _ in got] == sent
    # Back to back.
    assert {b - a for (_, a), (_, b) in pairwise(got)} <= {
        10 * sender - 1,
        10 * sender,
        10 * sender + 1,
    }


@pytest.mark.parametrize("component", [UartReceiver, UartTransmitter])
def test_too_few_clocks_per_bit(component):
    with pytest.raises(ValueError, match=r"^divisor must be at least 4, not 3$"):
        component(divisor=3)
    with pytest.raises(TypeError, match=r"^divisor must be an integer, not 4.0$"):
        component(divisor=4.0)


#: Clocks between two bytes from the line.
GAP = 3


def received(line):
    """Kind, sequence number and length of the frames that the receiver finds on a line."""
    clocks = GAP * len(line) + 2
    data, strobe = np.zeros((clocks, 1), np.uint8), np.zeros((clocks, 1), np.uint8)
    data[: GAP * len(line) : GAP, 0] = np.frombuffer(line, np.uint8)
    strobe[: GAP * len(line) : GAP] = 1
    idle = np.zeros((clocks, 1), np.uint8)
    inputs = {"data": data, "strobe": strobe, "take": idle, "address": idle}
    out = run_clocked(FrameReceiver(), inputs)
    at = np.flatnonzero(out["frame"][:, 0])
    return [tuple(int(out[name][i, 0]) for name in ("kind", "sequence", "length")) for i in at]


def soak(frames, corrupt, count, seed):
    """Send damaged frames, each with a good one behind it; only the good ones must be found."""
    rng = np.random.default_rng(seed)
    sent = [
        Frame(kind=frame.kind, sequence=frame.sequence, payload=frame.payload[:40])
        for frame in frames(rng, 200)
    ]
    lines = [frame.encode() for frame in sent]
    line, good = bytearray(), []
    for index in rng.integers(len(sent), size=count):
        # Bytes in front of a frame, or behind it, leave it good.
        bad = lines[index]
        while any(FrameReader().feed(bad + b"\0")):
            bad = corrupt(rng, lines[index])
        line += bad + lines[index - 1]
        good.append(sent[index - 1])
    assert received(bytes(line)) == [
        (frame.kind, frame.sequence, len(frame.payload)) for frame in good
    ]


def test_the_receiver_takes_no_damaged_frame(frames, corrupt):
    soak(frames, corrupt, 1_000, 6)


@pytest.mark.long
def test_the_receiver_takes_no_damaged_frame_in_a_million(frames, corrupt):
    for seed in range(50):
        soak(frames, corrupt, 20_000, 100 + seed)


def test_the_receiver_takes_what_golden_takes(frames, corrupt):
    rng = np.random.default_rng(3)
    line = b""
    for frame in frames(rng, 300):
        good = frame.encode()
        line += good if rng.random() < 0.5 else corrupt(rng, good)
    line += b"\0"
    expected = list(FrameReader().feed(line))
    assert 150 <= len(expected) <= 250
    assert received(line) == [
        (frame.kind, frame.sequence, len(frame.payload)) for frame in expected
    ]


def test_payloads_stay_while_the_next_frame_comes():
    rng = np.random.default_rng(4)
    first, second = (
        Frame(kind=1, sequence=0, payload=rng.integers(0, 3, MAX_PAYLOAD, np.uint8).tobytes())
        for _ in range(2)
    )
    line = first.encode() + second.encode()
    clocks = GAP * len(line) + 4
    inputs = {
        name: np.zeros((clocks, 1), np.uint8) for name in ("data", "strobe", "take", "address")
    }
    inputs["data"][: GAP * len(line) : GAP, 0] = np.frombuffer(line, np.uint8)
    inputs["strobe"][: GAP * len(line) : GAP] = 1
    taken = GAP * (len(first.encode()) - 1) + 1
    inputs["take"][taken] = 1
    inputs["address"][taken + 2 : taken + 2 + MAX_PAYLOAD, 0] = np.arange(MAX_PAYLOAD)
    out = run_clocked(FrameReceiver(), inputs)
    assert out["frame"][taken, 0]
    payload = out["payload"][taken + 3 : taken + 3 + MAX_PAYLOAD, 0]
    assert payload.tobytes() == first.payload


def test_the_transmitter_sends_what_golden_encodes(frames):
    rng = np.random.default_rng(5)
    sent = [Frame(kind=0, sequence=0), Frame(kind=255, sequence=0, payload=bytes(MAX_PAYLOAD))]
    sent += frames(rng, 40)
    dut = FrameTransmitter()
    line = bytearray()

    async def produce(ctx):
        for frame in sent:
            await ctx.tick().until(dut.ready)
            ctx.set(dut.kind, frame.kind)
            ctx.set(dut.sequence, frame.sequence)
            ctx.set(dut.length, len(frame.payload))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for byte in frame.payload:
                for _ in range(int(rng.integers(3)) // 2):
                    await ctx.tick()
                ctx.set(dut.payload.p, byte)
                ctx.set(dut.payload.valid, 1)
                await ctx.tick().until(dut.payload.ready)
                ctx.set(dut.payload.valid, 0)

    async def consume(ctx):
        expected = sum(len(frame.encode()) for frame in sent)
        for _ in range(100_000):
            ready = int(rng.random() < 0.5)
            ctx.set(dut.line.ready, ready)
            _, _, valid, byte = await ctx.tick().sample(dut.line.valid, dut.line.p)
            if valid and ready:
                line.append(byte)
            if len(line) == expected:
                return

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(produce)
    simulator.add_testbench(consume)
    simulator.run()
    assert bytes(line) == b"".join(frame.encode() for frame in sent)


@pytest.mark.parametrize("length", [0, 5])
def test_the_cycles_of_the_transmitter(length: int) -> None:
    """On a line that takes a byte in every cycle, a stuffed byte leaves every second cycle."""
    dut = FrameTransmitter()
    sent: list[int] = []

    async def run(ctx):
        for member, value in (
            (dut.start, 1),
            (dut.length, length),
            (dut.payload.valid, 1),
            (dut.payload.p, 7),
            (dut.line.ready, 1),
        ):
            ctx.set(member, value)
        for cycle in range(100):
            if ctx.get(dut.line.valid):
                sent.append(cycle)
            await ctx.tick()
            ctx.set(dut.start, 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()
    start = length + 6
    # A code, the three bytes of the header, and the payload.
    stuffed = 4 + length
    assert sent[:1] == [start]
    assert sent[1 : stuffed + 1] == [start + 2 + 2 * index for index in range(stuffed)]
    end = start + 2 * stuffed
    assert sent[stuffed + 1 :] == [end + 1 + index for index in range(6)]

# amaranth: UnusedElaboratable=no
"""The gearbox between bus words and beats, against a list of bytes."""

import random
from math import gcd

import pytest
from amaranth.sim import Simulator

from trilith.hw.gearbox import Gearbox

#: Narrower, wider, equal, one dividing the other or not; the last three as preset buses have them.
SIZES = [(4, 3), (4, 5), (8, 7), (7, 8), (4, 1), (1, 4), (6, 4), (8, 8), (4, 16), (20, 8), (4, 8)]


def run(gearbox, sizes, packets, *, gap, stall, seed=0):
    """Send packets of bytes; return those that come out, and the clocks of pieces in and out."""
    unit = gearbox.unit_bytes
    rng = random.Random(seed)
    pieces = []
    for packet in packets:
        for at in range(0, len(packet), sizes[0]):
            piece = packet[at : at + sizes[0]]
            pieces.append((piece, at + sizes[0] >= len(packet)))
    out, clocks = [bytearray()], ([], [])

    async def bench(ctx):
        index = clock = 0
        waiting = None
        while len(out) <= len(packets):
            offer = index < len(pieces) and rng.random() >= gap
            # An offered piece stays: the gap before it is decided once.
            while True:
                if offer:
                    piece, last = pieces[index]
                    word = int.from_bytes(piece, "little")
                    ctx.set(gearbox.i.p.data.as_value(), word)
                    ctx.set(gearbox.i.p.count, len(piece) // unit)
                    ctx.set(gearbox.i.p.last, last)
                ctx.set(gearbox.i.valid, offer)
                take = rng.random() >= stall
                ctx.set(gearbox.o.ready, take)
                taken = offer and ctx.get(gearbox.i.ready)
                if ctx.get(gearbox.o.valid):
                    count, last = ctx.get(gearbox.o.p.count), ctx.get(gearbox.o.p.last)
                    word = ctx.get(gearbox.o.p.data.as_value()) & ((1 << 8 * unit * count) - 1)
                    assert waiting in (None, (word, count, last)), "what is offered must stay"
                    waiting = (word, count, last)
                    if take:
                        out[-1] += word.to_bytes(unit * count, "little")
                        assert last or count * unit == sizes[1], "only the last may be partial"
                        if last:
                            out.append(bytearray())
                        waiting = None
                        clocks[1].append(clock)
                else:
                    assert waiting is None, "what is offered must stay"
                await ctx.tick()
                clock += 1
                assert clock < 10_000
                if taken:
                    clocks[0].append(clock - 1)
                    index += 1
                if taken or not offer or len(out) > len(packets):
                    break

    simulator = Simulator(gearbox)
    simulator.add_clock(1)
    simulator.add_testbench(bench)
    simulator.run()
    return out[:-1], clocks


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("gap", "stall"), [(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3)])
def test_that_bytes_and_packets_stay(sizes: tuple[int, int], gap: float, stall: float) -> None:
    rng = random.Random(1)
    unit = gcd(*sizes)
    packets = [rng.randbytes(unit * rng.randint(1, 12)) for _ in range(20)]
    gearbox = Gearbox(in_bytes=sizes[0], out_bytes=sizes[1])
    assert gearbox.unit_bytes == unit
    out, _ = run(gearbox, sizes, packets, gap=gap, stall=stall)
    assert out == packets


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_that_the_wider_side_sets_the_rate(sizes: tuple[int, int]) -> None:
    size = 12 * sizes[0] * sizes[1]
    gearbox = Gearbox(in_bytes=sizes[0], out_bytes=sizes[1])
    packet = random.Random(2).randbytes(size)
    out, (taken, given) = run(gearbox, sizes, [packet], gap=0, stall=0)
    assert out == [packet]
    if sizes[0] <= sizes[1]:
        assert taken == list(range(size // sizes[0]))
        assert given[0] == -(-sizes[1] // sizes[0])
    else:
        assert given == list(range(1, size // sizes[1] + 1))


@pytest.mark.parametrize(
    ("sizes", "units"), [((4, 3), (4, 3)), ((20, 8), (5, 2)), ((8, 8), (1, 1))]
)
def test_ports(sizes, units):
    gearbox = Gearbox(in_bytes=sizes[0], out_bytes=sizes[1])
    for piece, size, count in zip((gearbox.i.p, gearbox.o.p), sizes, units, strict=True):
        assert len(piece.data.as_value()) == 8 * size
        assert len(piece.count) == count.bit_length()
        assert len(piece.last) == 1
    assert (len(gearbox.clear), len(gearbox.empty)) == (1, 1)

# amaranth: UnusedElaboratable=no
"""Weight beats over several AXI masters, each with an equal part of each beat."""

import re
from collections import deque

import numpy as np
import pytest
from amaranth.sim import Simulator

from trilith.hw.axi.weight_readers import AxiWeightReaders

BASE, STRIDE, BEATS = 3 * 4096, 4096, 300


@pytest.mark.parametrize("ports", [1, 2, 4])
def test_that_parts_join_to_beats(ports: int) -> None:
    """Each port answers at its own pace, and one of them is much slower."""
    rng = np.random.default_rng(ports)
    beats = rng.integers(0, 256, (BEATS, 8), np.uint8)
    memory = {
        BASE + port * STRIDE + at: value
        for port, part in enumerate(beats.reshape(BEATS, ports, -1).transpose(1, 0, 2))
        for at, value in enumerate(part.tobytes())
    }
    reader = AxiWeightReaders(ports=ports, beat_bytes=8, bus_bits=32, longest=4, buffer_words=16)
    requests = [(7, 20), (0, 1), (250, 50), (30, 33)]
    wanted = [
        beats[at].tobytes() for first, count in requests for at in range(first, first + count)
    ]
    found = []

    async def fetch(ctx) -> None:
        ctx.set(reader.base, BASE)
        ctx.set(reader.stride, STRIDE)
        await ctx.tick().repeat(2)
        ctx.set(reader.fetch.valid, 1)
        for first, count in requests:
            ctx.set(reader.fetch.p, {"first": first, "beats": count})
            await ctx.tick().until(reader.fetch.ready)
        ctx.set(reader.fetch.valid, 0)

    async def take(ctx) -> None:
        while len(found) < len(wanted):
            ctx.set(reader.beats.ready, rng.random() < 0.8)
            _, _, valid, ready, beat = await ctx.tick().sample(
                reader.beats.valid, reader.beats.ready, reader.beats.p
            )
            if valid and ready:
                found.append(beat.to_bytes(8, "little"))
        await ctx.tick().repeat(3)
        assert ctx.get(reader.idle)
        assert not ctx.get(reader.beats.valid)

    def serve(port: int):
        axi, pace = getattr(reader, f"axi{port}"), 0.3 if port == ports - 1 else 0.9
        words: deque[int] = deque()

        async def process(ctx) -> None:
            while True:
                offers = bool(words) and rng.random() < pace
                ctx.set(axi.arready, rng.random() < 0.5)
                ctx.set(axi.rvalid, offers)
                if offers:
                    word = bytes(memory[words[0] + at] for at in range(4))
                    ctx.set(axi.rdata, int.from_bytes(word, "little"))
                _, _, asked, accepts, address, length, ready = await ctx.tick().sample(
                    axi.arvalid, axi.arready, axi.araddr, axi.arlen, axi.rready
                )
                if offers and ready:
                    words.popleft()
                if asked and accepts:
                    words.extend(range(address, address + 4 * (length + 1), 4))

        return process

    simulator = Simulator(reader)
    simulator.add_clock(1e-6)
    simulator.add_testbench(fetch)
    simulator.add_testbench(take)
    for port in range(ports):
        simulator.add_testbench(serve(port), background=True)
    simulator.run()
    assert found == wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ports": 3}, "ports must be 1, 2, 4 or 8, not 3"),
        ({"ports": 4, "beat_bytes": 6}, "beat_bytes must be a multiple of the ports, 4, not 6"),
    ],
)
def test_bad_arguments(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        AxiWeightReaders(**{"ports": 1, "beat_bytes": 8, "bus_bits": 32} | arguments)

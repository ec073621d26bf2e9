"""Bandwidth of the AXI4 masters of the token core, behind a memory with a latency."""

from collections import deque
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator

from ...hw.axi.memory_master import AxiMemoryMaster
from ...hw.axi.weight_reader import AxiWeightReader
from ...hw.token.config import TokenConfig
from ...hw.token.memory_port import MemoryPort

__all__ = ["Bandwidth", "memory_bandwidth", "weight_bandwidth"]


@dataclass(frozen=True, kw_only=True)
class Bandwidth:
    """Rate at which words come.

    Parameters
    ----------
    words : words of the bus
    cycles : cycles from the first one to the last one, both counted
    bursts : bursts that carried them
    """

    words: int
    cycles: int
    bursts: int

    @property
    def share(self) -> float:
        """Words per cycle; 1 is the rate of a stream without pauses."""
        return self.words / self.cycles


class _Memory:
    """AXI4 memory that takes an address in each cycle and gives a word in each cycle.

    Parameters
    ----------
    axi : the read channels of a master
    latency : cycles from an address to its first word
    """

    def __init__(self, axi: wiring.PureInterface, latency: int) -> None:
        self._axi: Any = axi
        self._latency, self.words = latency, []
        self._owed: deque[tuple[int, bool]] = deque()
        self.bursts = 0

    def step(self, ctx: Any, cycle: int) -> None:
        """Offer a word, and take an address and the word of this cycle."""
        axi, owed = self._axi, self._owed
        valid = bool(owed) and owed[0][0] <= cycle
        ctx.set(axi.arready, 1)
        ctx.set(axi.rvalid, valid)
        ctx.set(axi.rlast, valid and owed[0][1])
        if valid and ctx.get(axi.rready):
            owed.popleft()
            self.words.append(cycle)
        if ctx.get(axi.arvalid):
            length = ctx.get(axi.arlen)
            owed += [(cycle + self._latency, word == length) for word in range(length + 1)]
            self.bursts += 1

    def bandwidth(self) -> Bandwidth:
        """Rate of the words so far."""
        cycles = self.words[-1] - self.words[0] + 1
        return Bandwidth(words=len(self.words), cycles=cycles, bursts=self.bursts)


def _simulate(component: wiring.Component, memory: _Memory, words: int, start: Any) -> Bandwidth:
    """Run a component until its memory has given some words.

    Parameters
    ----------
    component : the master, or what contains it
    memory : its memory
    words : words to give
    start : called in each cycle with the context of the simulator, to make requests
    """

    async def bench(ctx: Any) -> None:
        cycle = 0
        while len(memory.words) < words:
            if cycle > 4 * words + 1000:
                raise AssertionError(f"{len(memory.words)} of {words} words in {cycle} cycles")
            start(ctx)
            memory.step(ctx, cycle)
            await ctx.tick()
            cycle += 1

    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return memory.bandwidth()


def weight_bandwidth(
    *, beat_bytes: int, bus_bits: int, latency: int, words: int = 4096
) -> Bandwidth:
    """Measure the rate of ``AxiWeightReader`` over requests of different sizes, back to back.

    Parameters
    ----------
    beat_bytes, bus_bits : see ``AxiWeightReader``; the engine takes a beat in each cycle
    latency : cycles from an address to its first word
    words : words of the bus to read
    """
    reader: Any = AxiWeightReader(beat_bytes=beat_bytes, bus_bits=bus_bits)
    first, sizes = 0, deque((700, 64, 333, 900))

    def start(ctx: Any) -> None:
        nonlocal first
        ctx.set(reader.beats.ready, 1)
        # Requests are whole words, as those of large products are.
        beats = sizes[0] * max(1, bus_bits // 8 // beat_bytes)
        ctx.set(reader.fetch.valid, 1)
        ctx.set(reader.fetch.p.first, first)
        ctx.set(reader.fetch.p.beats, beats)
        if ctx.get(reader.fetch.ready):
            first += beats
            sizes.rotate(-1)

    return _simulate(reader, _Memory(reader.axi, latency), words, start)


class _PortOverAxi(wiring.Component):
    """A channel of ``MemoryPort`` in front of an ``AxiMemoryMaster``.

    Parameters
    ----------
    config : configuration of the core
    """

    def __init__(self, config: TokenConfig) -> None:
        self.port: Any = MemoryPort(config, channels=1)
        self.master: Any = AxiMemoryMaster(config)
        super().__init__({"done": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Connect both."""
        m = Module()
        m.submodules.port, m.submodules.master = port, master = self.port, self.master
        wiring.connect(m, port.requests, master.requests)
        wiring.connect(m, port.write_data, master.write_data)
        wiring.connect(m, master.read_data, port.read_data)
        return m


def memory_bandwidth(config: TokenConfig, *, latency: int, words: int = 2048) -> Bandwidth:
    """Measure the rate of ``AxiMemoryMaster`` behind ``MemoryPort``, for one channel's rows.

    Parameters
    ----------
    config : configuration of the core
    latency : cycles from an address to its first word
    words : words of the bus to read
    """
    hardware = _PortOverAxi(config)
    channel, given = hardware.port.channel_requests[0], hardware.port.channel_words[0]
    size, address = config.memory_width // 8, 0

    def start(ctx: Any) -> None:
        nonlocal address
        ctx.set(given.ready, 1)
        ctx.set(channel.valid, 1)
        ctx.set(channel.p.address, address)
        ctx.set(channel.p.words, 160)
        if ctx.get(channel.ready):
            address += 160 * size

    return _simulate(hardware, _Memory(hardware.master.read, latency), words, start)

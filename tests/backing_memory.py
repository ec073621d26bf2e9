"""A memory behind a backing port, and clients of an arbiter, for Amaranth's simulator."""

from collections import deque

import numpy as np
from amaranth.hdl import Value
from amaranth.sim import Simulator


class Backing:
    """A memory with stalls at random. It counts commands, and demands the data of writes in time.

    ``size`` backing words of ``width`` bits; ``stalls`` is the share of cycles without ready or
    without data; a read takes ``latency`` cycles or more.
    """

    def __init__(self, port, width, size, *, stalls=0.0, latency=3, seed=0):
        self.port, self.words, self.bytes = port, [0] * size, width // 8
        self.stalls, self.latency = stalls, latency
        self.rng = np.random.default_rng(seed)
        #: Cycle, address and kind of each command.
        self.commands = []
        self.cycle = 0

    def goes(self):
        return self.stalls == 0 or self.rng.random() >= self.stalls

    def fault(self, address, value):
        """Word that a read of an address gives; memories with faults change it."""
        return value

    def place(self, address):
        """Where a word lies; for memories with faults."""
        return address

    async def run(self, ctx):
        port = self.port
        waiting = deque()  # Commands that are not executed, with the cycle of each.
        ready, takes = 1, 0
        ctx.set(port.commands.ready, ready)
        # Layouts are slow to sample: their bits are taken apart here.
        command, data = (Value.cast(stream.p) for stream in (port.commands, port.write_data))
        sampled = (port.commands.valid, command, port.write_data.valid, data)
        write_bit, strobes_bit = len(command) - 1, 8 * self.bytes
        async for _, _, valid, command, written, data in ctx.tick().sample(*sampled):
            self.cycle += 1
            if valid and ready:
                address = command & (1 << write_bit) - 1
                self.commands.append((self.cycle, address, command >> write_bit))
                waiting.append(self.commands[-1])
            owed = any(write for _, _, write in waiting)
            assert written or not owed, "a write has no data in the cycle of its command"
            if takes:
                self.store(waiting.popleft()[1], data, data >> strobes_bit)
            goes = bool(waiting) and self.goes()
            takes = int(goes and waiting[0][2])
            answers = goes and not takes and self.cycle >= waiting[0][0] + self.latency - 1
            if answers:
                address = waiting.popleft()[1]
                ctx.set(port.read_data.data, self.fault(address, self.words[self.place(address)]))
            ready = int(self.goes())
            ctx.set(port.read_data.valid, int(answers))
            ctx.set(port.write_data.ready, takes)
            ctx.set(port.commands.ready, ready)

    def store(self, address, data, strobes):
        place = self.place(address)
        for byte in range(self.bytes):
            if strobes >> byte & 1:
                mask = 0xFF << 8 * byte
                self.words[place] = (self.words[place] & ~mask) | (data & mask)


async def offer(ctx, stream, values, gaps=lambda: 0):
    """Offer values on a stream, with a number of idle cycles before each."""
    for value in values:
        for _ in range(gaps()):
            await ctx.tick()
        ctx.set(stream.p, value)
        ctx.set(stream.valid, 1)
        await ctx.tick().until(stream.ready)
        ctx.set(stream.valid, 0)


async def take(ctx, stream, got, count, goes=lambda: True):
    """Take a number of values from a stream, as integers; an offer must stay."""
    held = None
    while len(got) < count:
        ready = int(goes())
        ctx.set(stream.ready, ready)
        *_, valid, value = await ctx.tick().sample(stream.valid, Value.cast(stream.p))
        assert held is None or (valid and value == held)
        held = value if valid and not ready else None
        if valid and ready:
            got.append(value)
    ctx.set(stream.ready, 0)


def simulate(design, *testbenches, background=(), cycles=30_000):
    """Run testbenches until they have ended; more cycles are an error."""
    simulator = Simulator(design)
    simulator.add_clock(1e-6)

    async def limit(ctx):
        left = cycles
        async for _ in ctx.tick():
            left -= 1
            assert left, f"the simulation did not end in {cycles} cycles"

    for testbench in (*background, limit):
        simulator.add_testbench(testbench, background=True)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    simulator.run()

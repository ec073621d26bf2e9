"""cocotb testbench of the AXI4 masters alone, against the memories of ``cocotbext-axi``.

``tests/hw/axi/test_masters.py`` runs it.
"""

import json
import logging
import os
import random
from collections import deque
from itertools import cycle as forever
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiRam, AxiRamRead, AxiReadBus, AxiResp, AxiWriteBus

from trilith.sim.rtl.testbenches.bench import Bench, bursts, limited_test, often, rarely

from .axi_rules import AxiRules
from .waiting import Waiting

SETTINGS = json.loads(os.environ["TRILITH_MASTER"])
#: Bytes of the memory, and where it begins.
SIZE, BASE = 1 << 20, 0x0123_4567_0000_0000
PATTERNS = {"none": None, "rarely": rarely, "often": often, "bursts": bursts}


class Stream:
    """A stream that the testbench feeds or drains, with pauses at random.

    Parameters
    ----------
    dut, name : handle of the design, and the stream's name
    takes : the testbench takes beats, else it gives them
    pauses : an iterator of pauses, or None
    """

    def __init__(self, dut: Any, name: str, *, takes: bool, pauses: Any = None) -> None:
        self._valid, self._ready, self._payload = (
            getattr(dut, f"{name}__{end}") for end in ("valid", "ready", "payload")
        )
        self._takes, self._pauses = takes, pauses or forever([False])
        self.queue: deque[int] = deque()
        self.count = 0
        self._offered = False
        (self._ready if takes else self._valid).value = 0

    def drop(self) -> None:
        """Forget all beats; none is offered in the next cycle."""
        self.queue.clear()
        self.count, self._offered = 0, False
        (self._ready if self._takes else self._valid).value = 0

    def sample(self) -> None:
        """Note a beat of the cycle that has just ended, and prepare the next cycle."""
        taken = self._valid.value and self._ready.value
        if self._takes:
            if taken:
                self.queue.append(int(self._payload.value))
                self.count += 1
            self._ready.value = int(not next(self._pauses))
            return
        # Beats that were dropped at this edge of the clock are not counted.
        if taken and self.queue:
            self.queue.popleft()
            self.count += 1
            self._offered = False
        self._offered = bool(self.queue) and (self._offered or not next(self._pauses))
        self._valid.value = int(self._offered)
        if self._offered:
            self._payload.value = self.queue[0]


class MasterBench(Waiting, Bench):
    """A master with its memory, its streams, and the checkers of its buses."""

    def __init__(self, dut: Any, pattern: str, seed: int) -> None:
        super().__init__(dut.clk)
        logging.getLogger("cocotb.dut").setLevel(logging.ERROR)
        self.dut, self.random, self.cycle = dut, random.Random(seed), 0
        self.pauses = PATTERNS[pattern]
        self.streams: list[Stream] = []
        self.rules: list[AxiRules] = []
        self.errors: dict[str, int] = {}
        dut.rst.value = 1
        dut.clear.value = 0
        dut.base.value = BASE + 0x77  # The lowest bits do not matter.

    def pause(self, seed: int) -> Any:
        """A new iterator of pauses."""
        return self.pauses(seed) if self.pauses else None

    def stream(self, name: str, *, takes: bool) -> Stream:
        """Add a stream."""
        stream = Stream(self.dut, name, takes=takes, pauses=self.pause(len(self.streams)))
        self.streams.append(stream)
        return stream

    def slow(self, *channels: Any) -> None:
        """Let channels of the memory pause."""
        if self.pauses:
            for index, channel in enumerate(channels):
                channel.set_pause_generator(self.pauses(100 + index))

    async def reset(self) -> None:
        """Reset the master and its memory."""
        await self.start_clock()
        self.dut.rst.value = 1
        await self.wait(3)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    def sample(self) -> None:
        """Check the cycle that has just ended."""
        self.cycle += 1
        if self.dut.rst.value:
            for rules in self.rules:
                rules.reset_cycle()
            return
        for rules in self.rules:
            rules.sample(self.cycle)
        for stream in self.streams:
            stream.sample()
        for name in self.errors:
            self.errors[name] += int(getattr(self.dut, name).value)

    def progress(self) -> object:
        """Words that came so far."""
        return [stream.count for stream in self.streams], [len(one.bursts) for one in self.rules]


def fail_at_random(channel: Any, name: str, share: float, seed: int) -> list[bool]:
    """Turn a share of a memory's answers into errors of both kinds; return what each one was."""
    rng, send, kinds = random.Random(seed), channel.send, []

    async def faulty(transaction: Any) -> None:
        bad = rng.random() < share
        kinds.append(bad)
        if bad:
            setattr(transaction, name, rng.choice((AxiResp.SLVERR, AxiResp.DECERR)))
        await send(transaction)

    channel.send = faulty
    return kinds


class WeightBench(MasterBench):
    """``AxiWeightReader``, its memory of random bytes, and the beats that must come."""

    def __init__(self, dut: Any, pattern: str, seed: int = 1) -> None:
        super().__init__(dut, pattern, seed)
        self.fetch = self.stream("fetch", takes=False)
        self.beats = self.stream("beats", takes=True)
        self.ram = AxiRamRead(AxiReadBus.from_prefix(dut, "axi_"), dut.clk, dut.rst, size=SIZE)
        self.slow(self.ram.ar_channel, self.ram.r_channel)
        self.memory = self.random.randbytes(SIZE)
        self.ram.write(0, self.memory)
        self.rules = [AxiRules(dut, "axi__", write=False, longest=SETTINGS["longest"])]
        self.expected: list[int] = []
        self.errors = {"error": 0}

    def ask(self, first: int, beats: int) -> None:
        """Ask for beats, and note what must come."""
        size = SETTINGS["beat_bytes"]
        self.fetch.queue.append(first | beats << 32)
        for at in range(first * size, (first + beats) * size, size):
            self.expected.append(int.from_bytes(self.memory[at : at + size], "little"))

    def ask_at_random(self) -> None:
        """Ask for a random number of beats, a few or many, near a page's end or anywhere."""
        size, rng = SETTINGS["beat_bytes"], self.random
        most = SIZE // size
        beats = rng.choice((1, 2, 3, rng.randrange(1, 40), rng.randrange(1, 200)))
        page = rng.randrange(1, SIZE // 4096) * 4096 // size
        first = rng.choice((page - rng.randrange(1, 4), rng.randrange(most)))
        self.ask(max(0, min(first, most - beats)), beats)

    async def settle(self) -> None:
        """Wait until all beats have come, and compare them."""
        await self.wait_until(lambda: self.beats.count >= len(self.expected), limit=2_000_000)
        await self.wait(60)
        assert list(self.beats.queue) == self.expected
        assert self.dut.idle.value
        assert self.rules[0].quiet


class MemoryBench(MasterBench):
    """``AxiMemoryMaster``, its memory, and a memory of the testbench that must stay equal.

    A word that a read has asked for is not written before it has come, as in the core.
    """

    def __init__(self, dut: Any, pattern: str, seed: int = 1) -> None:
        super().__init__(dut, pattern, seed)
        self.requests = self.stream("requests", takes=False)
        self.written = self.stream("write_data", takes=False)
        self.read_data = self.stream("read_data", takes=True)
        read, write = AxiReadBus.from_prefix(dut, "read_"), AxiWriteBus.from_prefix(dut, "write_")
        self.ram = AxiRam(AxiBus(write, read), dut.clk, dut.rst, size=SIZE)
        reads, writes = self.ram.read_if, self.ram.write_if
        self.slow(
            reads.ar_channel,
            reads.r_channel,
            writes.aw_channel,
            writes.w_channel,
            writes.b_channel,
        )
        self.memory = bytearray(self.random.randbytes(SIZE))
        self.ram.write(0, bytes(self.memory))
        longest = SETTINGS["longest"]
        self.rules = [
            AxiRules(dut, "read__", write=False, longest=longest),
            AxiRules(dut, "write__", write=True, longest=longest),
        ]
        self.expected: list[int] = []
        self.asked = 0
        self.errors = {"read_error": 0, "write_error": 0}
        dut.failed.value = 0
        self.size = SETTINGS["word_bytes"]
        self.count_bits = SETTINGS["count_bits"]

    def request(self, address: int, words: int, *, write: bool) -> None:
        """Send a request, with random data and strobes if it writes."""
        self.requests.queue.append(address | words << 32 | write << (32 + self.count_bits))
        self.asked += 1
        for at in range(address, address + words * self.size, self.size):
            if not write:
                data = self.memory[at : at + self.size]
                self.expected.append(int.from_bytes(data, "little"))
                continue
            data = self.random.randbytes(self.size)
            strobes = self.random.choice((2**self.size - 1, self.random.randrange(2**self.size)))
            self.written.queue.append(int.from_bytes(data, "little") | strobes << (8 * self.size))
            for lane in range(self.size):
                if strobes >> lane & 1:
                    self.memory[at + lane] = data[lane]

    async def request_at_random(self, places: int) -> None:
        """A read or a write of 1 to 16 words in one of some places, often near a page's end."""
        rng, size = self.random, self.size
        words = rng.choice((1, 1, 2, 16, rng.randrange(1, 17)))
        page = rng.randrange(1, places) * 4096
        address = page + size * rng.choice((rng.randrange(-16, 1), rng.randrange(4096 // size)))
        write = rng.random() < 0.4
        if write:
            # No read may be under way where it writes.
            await self.wait_until(lambda: self.read_data.count >= len(self.expected))
        self.request(address, words, write=write)
        await self.wait_until(lambda: len(self.requests.queue) < 4)

    async def settle(self) -> None:
        """Wait until all words have come and all writes are answered, and compare the memories."""
        await self.wait_until(
            lambda: self.requests.count >= self.asked and self.dut.idle.value, limit=100_000
        )
        await self.wait(20)
        assert all(rules.quiet for rules in self.rules)
        assert [word & (2 ** (8 * self.size) - 1) for word in self.read_data.queue] == self.expected
        assert self.ram.read(0, SIZE) == bytes(self.memory)


WEIGHTS = SETTINGS["kind"] == "weights"


@limited_test(4_000_000)
@cocotb.parametrize(pattern=list(PATTERNS))
async def bursts_of_random_requests(dut, pattern: str) -> None:
    """Random requests: all beats and words are right, and no rule of AXI is broken."""
    share = SETTINGS["bursts"] // len(PATTERNS)
    if WEIGHTS:
        bench: Any = WeightBench(dut, pattern)
        await bench.reset()
        while len(bench.rules[0].bursts) < share:
            bench.ask_at_random()
            await bench.wait_until(lambda: len(bench.fetch.queue) < 4, limit=100_000)
    else:
        bench = MemoryBench(dut, pattern)
        await bench.reset()
        while sum(len(rules.bursts) for rules in bench.rules) < share:
            await bench.request_at_random(places=SETTINGS["places"])
    await bench.settle()
    assert not any(bench.errors.values())
    dut._log.info("%s bursts", [len(rules.bursts) for rules in bench.rules])


@limited_test(200_000)
async def answers_with_errors(dut) -> None:
    """Errors of both kinds in bursts: each is reported, and every word comes all the same."""
    if WEIGHTS:
        bench: Any = WeightBench(dut, "rarely", seed=2)
        kinds = fail_at_random(bench.ram.r_channel, "rresp", 0.1, seed=3)
        await bench.reset()
        for _ in range(20):
            bench.ask_at_random()
        await bench.settle()
        assert bench.errors["error"] == sum(kinds) > 0
        return
    bench = MemoryBench(dut, "rarely", seed=2)
    reads = fail_at_random(bench.ram.read_if.r_channel, "rresp", 0.1, seed=3)
    writes = fail_at_random(bench.ram.write_if.b_channel, "bresp", 0.2, seed=4)
    await bench.reset()
    for _ in range(60):
        await bench.request_at_random(places=8)
    await bench.settle()
    flags = [word >> (8 * bench.size) for word in bench.read_data.queue]
    assert flags == [int(bad) for bad in reads]
    assert bench.errors == {"read_error": sum(reads), "write_error": sum(writes)}
    assert sum(reads) > 0 < sum(writes)


@limited_test(400_000)
async def a_clear_within_requests(dut) -> None:
    """A clear at any time: what is offered stays, and the next requests are whole."""
    bench: Any = (WeightBench if WEIGHTS else MemoryBench)(dut, "bursts", seed=5)
    await bench.reset()
    for round_ in range(12):
        for _ in range(6):
            if WEIGHTS:
                bench.ask_at_random()
            else:
                # Writes that are dropped leave any bytes behind: only reads are compared.
                bench.request(4096 * 200 - 7 * bench.size, 16, write=bench.random.random() < 0.5)
        await bench.wait(bench.random.randrange(5, 150))
        dut.clear.value = 1
        for stream in bench.streams:
            stream.drop()
        await bench.wait_until(lambda: dut.idle.value)
        await bench.wait(bench.random.randrange(1, 4))
        assert all(rules.quiet for rules in bench.rules), f"idle in round {round_}, and is not"
        dut.clear.value = 0
        for stream in bench.streams:
            stream.drop()
        bench.expected.clear()
        bench.asked = 0
        await bench.wait(2)
        if WEIGHTS:
            bench.ask_at_random()
            await bench.settle()
        else:
            bench.request(4096 * 3 - 5 * bench.size, 16, write=True)
            bench.request(4096 * 3 - 5 * bench.size, 16, write=False)
            bench.request(4096 * 5 - 5 * bench.size, 16, write=False)
            await bench.wait_until(lambda: bench.read_data.count == 32)
            words = [word & (2 ** (8 * bench.size) - 1) for word in bench.read_data.queue]
            assert words == bench.expected
            await bench.wait_until(lambda: dut.idle.value)
        for stream in bench.streams:
            stream.drop()
        bench.expected.clear()

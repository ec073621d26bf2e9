"""cocotb testbench of ``AxiMatVec``, with ``cocotbext-axi`` as the other end of its buses.

Run it with ``trilith.sim.axi.run_axi_testbench``. Jobs, beats and what must come of them are those
of the engine's testbench. ``Bench`` looks at every clock: that what is offered stays until it is
taken, and what the counters must count.
"""

import json
import logging
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMasterRead,
    AxiLiteMasterWrite,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)
from cocotbext.axi.axil_channels import AxiLiteAWTransaction, AxiLiteWTransaction

from ....golden.codes import CODES
from ....hw.axi.registers import ADDRESS_BITS, REGISTERS
from ....hw.axi.wrapper import JOB_QUEUE_DEPTH, AxiMatVec, BusWidths
from ....hw.config import MatVecConfig
from ....hw.engine.timing import job_times
from ....hw.jobs import Job, JobShape, golden_beats
from .engine import illegal_bytes, random_job, random_jobs, reusing, stream_beats

__all__ = ["Bench"]

#: Steps of simulated time in a clock.
_PERIOD = 2


#: No test takes this many clocks; one that does hangs.
_CLOCK_LIMIT = 120_000


_limited_test = cocotb.test(timeout_time=_PERIOD * _CLOCK_LIMIT, timeout_unit="step")


OFFSETS = {register.name: register.offset for register in REGISTERS}


ERRORS = {
    field.name: 1 << field.lsb
    for register in REGISTERS
    if register.name == "error"
    for field in register.fields
}


COUNTERS = (
    "cycles",
    "jobs_done",
    "weight_beats",
    "wait_weights",
    "wait_activations",
    "wait_results",
)


CHANNELS = ("weights", "activations", "results", "aw", "w", "b", "ar", "r")


# ------------------------------------------------------------------------------------- pauses


def rarely(seed: int) -> Iterator[bool]:
    """Mostly no pause."""
    generator = random.Random(seed)
    while True:
        yield generator.random() < 0.15


def often(seed: int) -> Iterator[bool]:
    """Mostly a pause."""
    generator = random.Random(seed)
    while True:
        yield generator.random() < 0.7


def bursts(seed: int) -> Iterator[bool]:
    """Some clocks on, some off."""
    generator = random.Random(seed)
    while True:
        yield from (False for _ in range(generator.randrange(1, 30)))
        yield from (True for _ in range(generator.randrange(1, 60)))


#: Which channels pause, and how.
PATTERNS: dict[str, Mapping[str, Callable[[int], Iterable[bool]]]] = {
    "none": {},
    "slow weights": {"weights": often, "activations": rarely},
    "slow results": {"results": often, "b": rarely, "r": often},
    "slow control": dict.fromkeys(("aw", "w", "b", "ar", "r"), often),
    "all": dict.fromkeys(CHANNELS, rarely) | {"results": bursts, "weights": bursts},
}


# -------------------------------------------------------------------------------------- bench


@dataclass(kw_only=True)
class Seen:
    """What the bench has seen on the ports since the counters were cleared."""

    jobs_done: int = 0
    weight_beats: int = 0
    wait_weights: int = 0
    wait_activations: int = 0
    wait_results: int = 0


class Bench:
    """The other ends of the buses, and a look at every clock.

    Parameters
    ----------
    dut : ``ProbedAxiMatVec``
    pattern : a key of ``PATTERNS``
    seed : of pauses, jobs and noise

    Members
    -------
    seen : what the counters must say
    beats : clocks in which the engine took a weight beat, since the last reset
    """

    def __init__(self, dut, pattern: str = "none", *, seed: int = 0) -> None:
        logging.getLogger("cocotb.dut").setLevel(logging.ERROR)
        settings = json.loads(os.environ["TRILITH_AXI"])
        self.config = MatVecConfig(**settings["config"])
        self.widths = BusWidths(**settings["widths"])
        self.hardware = AxiMatVec(self.config, self.widths)
        self.rng = np.random.default_rng(seed)
        self._report = Path(settings["report"])
        self.dut = dut
        dut.aresetn.value = 0
        reset = (dut.aclk, dut.aresetn, False)
        self.weights, self.activations = (
            AxiStreamSource(AxiStreamBus.from_prefix(dut, f"s_axis_{name}"), *reset)
            for name in ("weights", "activations")
        )
        self.results = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_results"), *reset)
        control = AxiLiteBus.from_prefix(dut, "s_axi_ctrl")
        self._writes = writes = AxiLiteMasterWrite(control.write, *reset)
        self._reads = reads = AxiLiteMasterRead(control.read, *reset)
        ends = (
            self.weights,
            self.activations,
            self.results,
            writes.aw_channel,
            writes.w_channel,
            writes.b_channel,
            reads.ar_channel,
            reads.r_channel,
        )
        channels: dict[str, Any] = dict(zip(CHANNELS, ends, strict=True))
        for index, (name, pauses) in enumerate(PATTERNS[pattern].items()):
            channels[name].set_pause_generator(pauses(seed + index))
        self._running = False
        self.clock = 0
        self._forget()

    def _forget(self) -> None:
        self.seen = Seen()
        self.beats: list[int] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self._offered: dict[str, list[int] | None] = dict.fromkeys(
            ("m_axis_results", "s_axi_ctrl_b", "s_axi_ctrl_r")
        )

    async def reset(self, clocks: int = 2) -> None:
        """Hold ``aresetn`` low, and forget everything."""
        self.dut.aresetn.value = 0
        if not self._running:
            self._running = True
            await Timer(1, "step")
            Clock(self.dut.aclk, _PERIOD, unit="step").start()
            cocotb.start_soon(self._watch())
        for _ in range(clocks):
            await RisingEdge(self.dut.aclk)
        for end in (self.weights, self.activations, self.results):
            end.clear()
        self.dut.aresetn.value = 1
        self._forget()
        await RisingEdge(self.dut.aclk)

    async def wait(self, clocks: int) -> None:
        """Let clocks pass."""
        for _ in range(clocks):
            await RisingEdge(self.dut.aclk)

    async def wait_until(self, condition: Callable[[], object], *, limit: int = 20_000) -> None:
        """Let clocks pass until a condition holds, and fail after ``limit`` of them."""
        for _ in range(limit):
            if condition():
                return
            await RisingEdge(self.dut.aclk)
        raise AssertionError(f"the wrapper must get on within {limit} clocks: {self.seen}")

    async def write(self, name: str, value: int, *, resp: AxiResp = AxiResp.OKAY) -> None:
        """Write a register and look at the response."""
        answer: Any = await self._writes.write(OFFSETS[name], value.to_bytes(4, "little"))
        assert answer.resp == resp, f"write to {name}: {answer.resp}, not {resp}"

    async def write_lanes(
        self, address: int, word: int, strobe: int, *, resp: AxiResp = AxiResp.OKAY
    ) -> None:
        """Write the bytes of a word that have their strobe, which may be any or none."""
        await self._writes.aw_channel.send(AxiLiteAWTransaction(awaddr=address))
        await self._writes.w_channel.send(AxiLiteWTransaction(wdata=word, wstrb=strobe))
        answer = await self._writes.b_channel.recv()
        got = AxiResp(int(answer.bresp))
        assert got == resp, f"write to 0x{address:03X}: {got}, not {resp}"

    async def read(self, name: str) -> int:
        """Read a register."""
        return await self.read_address(OFFSETS[name])

    async def read_address(self, address: int, *, resp: AxiResp = AxiResp.OKAY) -> int:
        """Read an address and look at the response."""
        answer: Any = await self._reads.read(address, 4 - address % 4)
        assert answer.resp == resp, f"read of 0x{address:03X}: {answer.resp}, not {resp}"
        return int.from_bytes(answer.data, "little")

    async def clear_counters(self) -> None:
        """Clear the counters, while nothing goes on."""
        await self.write("control", 2)
        await self.wait(2)
        self.seen = Seen()

    async def start(self, job: Job) -> None:
        """Describe a job and put it into the queue, as soon as there is room."""
        await self.start_fields(**asdict(job.shape))

    async def start_fields(
        self, n: int, k: int, tokens: int, group_chunks: int, reuse: int
    ) -> None:
        """The same with numbers, legal or not."""
        while not await self.read("status") >> 8 & 0xFF:
            pass
        await self.write("job_n", n)
        await self.write("job_k", k)
        await self.write("job_tokens", tokens)
        await self.write("job_group_chunks", group_chunks)
        await self.write("job_reuse", int(reuse))
        await self.write("job_start", 1)

    def job_bytes(self, job: Job) -> tuple[bytes, bytes]:
        """Activations and weights of a job, beat after beat, with noise where nothing counts."""
        activations, weights = stream_beats(self.config, job, self.rng)
        size, bits = self.hardware.activation_bytes, self.config.lanes * self.config.act_bits
        fill = self.rng.integers(1 << (8 * size - bits), size=len(activations)).tolist()
        words = [a | f << bits for a, f in zip(activations, fill, strict=True)]
        return (
            b"".join(word.to_bytes(size, "little") for word in words),
            b"".join(w.to_bytes(self.config.weight_bytes, "little") for w in weights),
        )

    def send(self, job: Job, *, packets: bool = True) -> None:
        """Queue the data of a job, in packets of random numbers of beats or in one."""
        activations, weights = self.job_bytes(job)
        for source, data, size in (
            (self.activations, activations, self.hardware.activation_bytes),
            (self.weights, weights, self.config.weight_bytes),
        ):
            while data:
                beats = len(data) // size
                count = int(self.rng.integers(1, beats + 1)) if packets else beats
                source.send_nowait(AxiStreamFrame(data[: count * size]))
                data = data[count * size :]

    async def receive(self, job: Job) -> None:
        """Take the packet of a job's results and hold it to golden."""
        frame = await self.results.recv(compact=False)
        keep = "".join(map(str, frame.tkeep))
        size = keep.rstrip("0").count("1")
        assert keep.rstrip("0") == "1" * size, "only the end of a packet may be without TKEEP"
        assert len(keep) - size < self.widths.results // 8, "a packet must not have empty words"
        got = np.frombuffer(bytes(frame.tdata[:size]), "<i4").tolist()
        expected = golden_beats(self.config, job).ravel().tolist()
        assert got == expected, f"results must be {expected}, not {got}"

    async def run(self, jobs: Iterable[Job]) -> None:
        """Run jobs back to back and hold each to golden."""
        jobs = list(jobs)

        async def issue() -> None:
            for job in jobs:
                await self.start(job)

        for job in jobs:
            self.send(job)
        task = cocotb.start_soon(issue())
        for job in jobs:
            await self.receive(job)
        await task

    async def settle(self) -> None:
        """Wait until nothing goes on, and hold the counters to what was seen."""
        while await self.read("status") & 1:
            pass
        for name in COUNTERS[1:]:
            count, seen = await self.read(name), getattr(self.seen, name)
            assert count == seen, f"{name} must be {seen}, not {count}"

    async def expect_errors(self, *names: str) -> None:
        """Errors so far are these; clear them."""
        expected = sum(ERRORS[name] for name in names)
        got = await self.read("error")
        assert got == expected, f"error must be {names}, {expected:#x}, not {got:#x}"
        await self.write("error", got)
        assert await self.read("error") == 0, "1 must clear"

    def report(self, **facts: object) -> None:
        """Hand a measurement to ``run_axi_testbench``."""
        with open(self._report, "a") as file:
            print(json.dumps(facts), file=file)

    async def _watch(self) -> None:
        dut = self.dut
        payloads = {
            "m_axis_results": ("tdata", "tkeep", "tlast"),
            "s_axi_ctrl_b": ("resp",),
            "s_axi_ctrl_r": ("data", "resp"),
        }
        streams = {
            prefix: tuple(
                getattr(dut, f"{prefix}{'' if prefix.endswith(('_b', '_r')) else '_'}{name}")
                for name in (
                    ("valid", "ready", *names)
                    if prefix.endswith(("_b", "_r"))
                    else ("tvalid", "tready", *names)
                )
            )
            for prefix, names in payloads.items()
        }
        last = dut.m_axis_results_tlast
        writing = dut.s_axi_ctrl_awready, dut.s_axi_ctrl_awaddr
        while True:
            await RisingEdge(dut.aclk)
            self.clock += 1
            if not dut.aresetn.value:
                continue
            for name, (valid, ready, *payload) in streams.items():
                waiting, self._offered[name] = self._offered[name], None
                if not valid.value:
                    assert waiting is None, f"{name} must offer until it is taken"
                    continue
                now = [int(part.value) for part in payload]
                assert waiting in (None, now), f"{name} must not change before it is taken"
                if not ready.value:
                    self._offered[name] = now
                elif name == "m_axis_results" and last.value:
                    self.seen.jobs_done += 1
                    self.ends.append(self.clock)
            if writing[0].value and int(writing[1].value) == OFFSETS["job_start"]:
                self.starts.append(self.clock)
            # Bit 0 is valid, bit 1 ready.
            weights, activations, results = (
                int(getattr(dut, f"probe_{name}").value)
                for name in ("weights", "activations", "results")
            )
            if weights == 3:
                self.beats.append(self.clock)
            self.seen.weight_beats += weights == 3
            self.seen.wait_weights += weights == 2
            self.seen.wait_activations += activations == 2
            self.seen.wait_results += results == 1


def macs(jobs: Iterable[Job]) -> int:
    """Multiply-accumulates of jobs."""
    return sum(job.trits.size * len(job.activations) for job in jobs)


# -------------------------------------------------------------------------------------- tests


@_limited_test
@cocotb.parametrize(pattern=list(PATTERNS))
async def jobs_are_exact(dut, pattern: str) -> None:
    """Jobs of many shapes, back to back, with reuse and partial results; counters agree."""
    bench = Bench(dut, pattern, seed=1)
    await bench.reset()
    jobs = list(islice(random_jobs(bench.config, np.random.default_rng(2)), 14))
    started = perf_counter()
    await bench.run(jobs)
    await bench.settle()
    seconds = perf_counter() - started
    assert bench.seen.jobs_done == len(jobs)
    await bench.expect_errors()
    cycles = await bench.read("cycles")
    bench.report(pattern=pattern, jobs=len(jobs), macs=macs(jobs), cycles=cycles, seconds=seconds)


@_limited_test
async def registers_say_what_this_is(dut) -> None:
    """Constants, and their bytes at addresses that are not whole words."""
    bench = Bench(dut)
    await bench.reset()
    config, widths = bench.config, bench.widths
    assert await bench.read_address(0) == int.from_bytes(b"TRIL", "big")
    for name, value in {
        "lanes": config.lanes,
        "rows": config.rows,
        "tokens": config.tokens,
        "act_bits": config.act_bits,
        "code": list(CODES).index(config.code),
        "k_max": config.k_max,
        "n_max": config.n_max,
        "acc_width": config.acc_width,
        "weight_bytes": config.weight_bytes,
        "activation_bytes": -(-config.lanes * config.act_bits // 8),
        "queue_depth": JOB_QUEUE_DEPTH,
        "bus_bytes": (widths.results << 16 | widths.activations << 8 | widths.weights) // 8,
        "status": JOB_QUEUE_DEPTH << 8,
        "control": 0,
        "job_start": 0,
    }.items():
        assert await bench.read(name) == value, name
        for byte in range(1, 4):
            # cocotbext-axi cuts the bytes that it asked for out of the word.
            assert await bench.read_address(OFFSETS[name] + byte) == value >> 8 * byte, name


@_limited_test
async def writes_follow_their_strobes(dut) -> None:
    """Every part of a word that a write can have, on each register that can be written."""
    bench = Bench(dut, "slow control", seed=3)
    await bench.reset()
    masks = {
        "interrupt_enable": 3,
        "job_n": 2**32 - 1,
        "job_k": 2**32 - 1,
        "job_tokens": 2**32 - 1,
        "job_group_chunks": 2**32 - 1,
        "job_reuse": 1,
    }
    held = dict.fromkeys(masks, 0)
    for name, mask in masks.items():
        for strobe in range(16):
            word = int(bench.rng.integers(2**32))
            # The two lowest bits of an address do not matter.
            await bench.write_lanes(OFFSETS[name] + strobe % 4, word, strobe)
            lanes = sum(0xFF << 8 * lane for lane in range(4) if strobe >> lane & 1)
            held[name] = (held[name] & ~lanes | word & lanes) & mask
            assert await bench.read(name) == held[name], name
    for name, value in held.items():
        assert await bench.read(name) == value, name
    # A command, or a flag to clear, without its strobe does nothing.
    await bench.write_lanes(OFFSETS["job_start"], 0xFFFF_FFFF, 0b1110)
    assert not await bench.read("status") & 1
    await bench.expect_errors()
    await bench.start_fields(0, 1, 1, 0, 0)
    await bench.write_lanes(OFFSETS["error"], 0xFFFF_FFFF, 0b1110)
    await bench.expect_errors("job")


@_limited_test
async def illegal_accesses_are_refused(dut) -> None:
    """All addresses: SLVERR where nothing is and for writes to what is read only."""
    bench = Bench(dut, "slow control", seed=4)
    await bench.reset()
    access = {register.offset: register.access for register in REGISTERS}
    enabled = 3
    await bench.write("interrupt_enable", enabled)
    addresses = chain(range(0, 0x100, 4), range(0x100, 2**ADDRESS_BITS, 0x3C))
    for address in addresses:
        kind = access.get(address)
        await bench.read_address(address, resp=AxiResp.SLVERR if kind is None else AxiResp.OKAY)
        if kind is None or kind == "ro":
            await bench.write_lanes(address, 0xFFFF_FFFF, 15, resp=AxiResp.SLVERR)
    assert await bench.read("interrupt_enable") == enabled
    await bench.expect_errors()
    await bench.run([random_job(bench.config, bench.rng)])
    await bench.settle()


@_limited_test
async def interrupts(dut) -> None:
    """Pending without enable, enable, clearing, both causes; the line follows the registers."""
    bench = Bench(dut, seed=5)
    await bench.reset()
    await bench.run([random_job(bench.config, bench.rng)])
    await bench.wait(2)
    assert not dut.irq.value, "nothing is enabled"
    assert await bench.read("interrupt_pending") == 1
    await bench.write("interrupt_enable", 2)
    assert not dut.irq.value
    await bench.write("interrupt_enable", 1)
    await bench.wait(1)
    assert dut.irq.value
    await bench.write("interrupt_pending", 2)
    assert await bench.read("interrupt_pending") == 1, "only what is written as 1 is cleared"
    await bench.write("interrupt_pending", 1)
    await bench.wait(1)
    assert not dut.irq.value
    # It rises when the last result is taken, not before.
    bench.results.pause = True
    job = random_job(bench.config, bench.rng, n=1, tokens=1, group_chunks=0)
    bench.send(job)
    await bench.start(job)
    await bench.wait_until(lambda: dut.m_axis_results_tvalid.value)
    await bench.wait(50)
    assert not dut.irq.value
    bench.results.pause = False
    await bench.wait_until(lambda: dut.irq.value)
    await bench.receive(job)
    await bench.write("interrupt_pending", 3)
    await bench.write("interrupt_enable", 3)
    await bench.start_fields(0, 1, 1, 0, 0)
    await bench.wait_until(lambda: dut.irq.value)
    assert await bench.read("interrupt_pending") == 2
    await bench.write("interrupt_pending", 2)
    assert not dut.irq.value, "an error that stays set does not keep it pending"
    await bench.expect_errors("job")


@_limited_test
async def jobs_out_of_range_are_dropped(dut) -> None:
    """Also where the low bits of a number that is too large would be legal."""
    bench = Bench(dut, seed=6)
    await bench.reset()
    config = bench.config
    good = {"n": 1, "k": 1, "tokens": 1, "group_chunks": 0, "reuse": 0}
    kinds = [{name: 0} for name in ("n", "k", "tokens")]
    kinds += [{"n": config.n_max + 1}, {"k": config.k_max + 1}, {"tokens": config.tokens + 1}]
    kinds += [{"group_chunks": config.max_chunks + 1}, {"reuse": 1}]
    kinds += [{name: 1 + 2**bit} for name in ("n", "k", "tokens") for bit in (20, 31)]
    kinds += [{"group_chunks": 1 << bit} for bit in (20, 31)]
    for kind in kinds:
        await bench.start_fields(**(good | kind))
        await bench.wait(10)
        assert not await bench.read("status") & 1, kind
        await bench.expect_errors("job")
    assert bench.seen.jobs_done == 0
    await bench.run([random_job(config, bench.rng)])
    await bench.settle()


@_limited_test
async def a_full_queue_loses_the_job(dut) -> None:
    """It says so, keeps those that it has, and shows its room."""
    bench = Bench(dut, seed=7)
    await bench.reset()
    jobs = []
    job = random_job(bench.config, bench.rng)
    # One job is in the engine, which waits for activations.
    for room in range(JOB_QUEUE_DEPTH, -1, -1):
        await bench.start(job)
        jobs.append(job)
        await bench.wait(10)
        assert await bench.read("status") == 1 | room << 8
    await bench.write("job_start", 1)
    await bench.expect_errors("job_lost")
    for job in jobs:
        bench.send(job)
    for job in jobs:
        await bench.receive(job)
    await bench.settle()
    assert bench.seen.jobs_done == len(jobs) == JOB_QUEUE_DEPTH + 1


async def deliver(bench: Bench, job: Job, change: Callable[[str, bytes], AxiStreamFrame]) -> None:
    """Start a job whose data go out in one packet on each stream, as ``change`` makes it."""
    activations, weights = bench.job_bytes(job)
    bench.activations.send_nowait(change("activations", activations))
    bench.weights.send_nowait(change("weights", weights))
    await bench.start(job)


@_limited_test
async def empty_words_do_nothing(dut) -> None:
    """Before, between and behind the data, with TLAST or without."""
    bench = Bench(dut, seed=8)
    await bench.reset()

    def padded(name: str, data: bytes) -> AxiStreamFrame:
        word = getattr(bench.widths, name) // 8
        parts = [data[at : at + word] for at in range(0, len(data), word)]
        bytes_, keep = bytearray(), []
        for part in parts:
            for _ in range(int(bench.rng.integers(0, 3))):
                bytes_ += bench.rng.bytes(word)
                keep += [0] * word
            bytes_ += part
            keep += [1] * len(part)
        if len(parts[-1]) == word:
            bytes_ += bench.rng.bytes(word)
            keep += [0] * word
        return AxiStreamFrame(bytes(bytes_), keep)

    for _ in range(5):
        job = random_job(bench.config, bench.rng)
        await deliver(bench, job, padded)
        await bench.receive(job)
    await bench.settle()
    await bench.expect_errors()


@_limited_test
async def packets_do_not_have_to_end_with_jobs(dut) -> None:
    """One packet on each stream serves several jobs."""
    bench = Bench(dut, "all", seed=16)
    await bench.reset()
    jobs = [random_job(bench.config, bench.rng) for _ in range(6)]
    activations, weights = zip(*(bench.job_bytes(job) for job in jobs), strict=True)
    bench.activations.send_nowait(AxiStreamFrame(b"".join(activations)))
    bench.weights.send_nowait(AxiStreamFrame(b"".join(weights)))
    for job in jobs:
        await bench.start(job)
        await bench.receive(job)
    await bench.settle()
    await bench.expect_errors()


@_limited_test
@cocotb.parametrize(stream=["weights", "activations"])
async def holes_are_reported(dut, stream: str) -> None:
    """A word with holes counts as full and sets the stream's bit; so does a partial word inside."""
    bench = Bench(dut, seed=17)
    config = bench.config
    await bench.reset()
    word = getattr(bench.widths, stream) // 8
    tried = 0
    for kind in ("no lowest byte", "no highest byte", "a hole", "no lowest byte at the end"):
        job = random_job(config, bench.rng, n=config.n_max, k=config.k_max, tokens=config.tokens)

        def holes(name: str, data: bytes, kind: str = kind) -> AxiStreamFrame:
            keep = [1] * len(data)
            words = len(data) // word
            at = (words - 1) * word if kind.endswith("end") else (words - 1) // 2 * word
            at += {"no highest byte": word - 1, "a hole": word // 2}.get(kind, 0)
            if name == stream:
                keep[at] = 0
            return AxiStreamFrame(data, keep)

        size = len(bench.job_bytes(job)[stream == "weights"])
        if size // word < 2 or (kind.endswith("end") and size % word):
            continue
        tried += 1
        await deliver(bench, job, holes)
        await bench.receive(job)
        await bench.expect_errors(f"{stream}_keep")
    assert tried >= 3, "the configuration must allow the test"
    await bench.settle()


@_limited_test
@cocotb.parametrize(stream=["weights", "activations"])
async def torn_packets_are_reported(dut, stream: str) -> None:
    """Of a packet that ends inside a beat, the beat is dropped, and what follows is right."""
    bench = Bench(dut, seed=18)
    config = bench.config
    beat = {"weights": config.weight_bytes, "activations": bench.hardware.activation_bytes}[stream]
    await bench.reset()
    extras = sorted({1, beat // 2, beat - 1} - {0, beat})
    assert extras, "the configuration must allow the test"
    for extra in extras * 2:
        job = random_job(config, bench.rng, n=config.n_max, k=config.k_max, tokens=config.tokens)
        parts: dict[str, bytes] = {}
        parts["activations"], parts["weights"] = bench.job_bytes(job)
        data = parts.pop(stream)
        # In the middle of the job, where the engine would take another beat.
        cut = len(data) // beat // 2 * beat
        source = getattr(bench, stream)
        source.send_nowait(AxiStreamFrame(data[:cut] + bench.rng.bytes(extra)))
        for other, whole in parts.items():
            getattr(bench, other).send_nowait(AxiStreamFrame(whole))
        await bench.start(job)
        await bench.wait(2 * len(data))
        source.send_nowait(AxiStreamFrame(data[cut:]))
        await bench.receive(job)
        await bench.expect_errors(f"{stream}_frame")
    await bench.settle()


@_limited_test
async def illegal_operands_are_reported(dut) -> None:
    """An illegal weight code or activation sets its own bit."""
    bench = Bench(dut, seed=9)
    config = bench.config
    await bench.reset()
    job = random_job(config, bench.rng, n=config.n_max, k=config.k_max)
    activations, weights = bench.job_bytes(job)
    for byte in illegal_bytes(config)[:1]:
        bench.activations.send_nowait(AxiStreamFrame(activations))
        bench.weights.send_nowait(AxiStreamFrame(bytes([byte]) + weights[1:]))
        await bench.start(job)
        await bench.results.recv()
        await bench.expect_errors("weight")
    if config.act_bits == 2:
        bench.activations.send_nowait(AxiStreamFrame(b"\x02" + activations[1:]))
        bench.weights.send_nowait(AxiStreamFrame(weights))
        await bench.start(job)
        await bench.results.recv()
        await bench.expect_errors("activation")
    await bench.run([job])
    await bench.expect_errors()


@_limited_test
@cocotb.parametrize(phase=["load", "compute", "drain"])
async def reset_forgets_the_job(dut, phase: str) -> None:
    """After a reset in the middle of a job the registers are as at first and new jobs are exact."""
    generator = random.Random(10)
    bench = Bench(dut, "none" if phase == "drain" else "slow weights", seed=11)
    config = bench.config
    await bench.reset()
    for _ in range(4):
        job = random_job(config, bench.rng, tokens=config.tokens, k=config.k_max, n=config.n_max)
        await bench.write("interrupt_enable", 3)
        bench.results.pause = phase == "drain"
        bench.send(job)
        await bench.start(job)
        if phase == "load":
            await bench.wait(generator.randrange(40))
        elif phase == "compute":
            await bench.wait_until(lambda: bench.beats)
            await bench.wait(generator.randrange(20))
        else:
            await bench.wait_until(lambda: dut.m_axis_results_tvalid.value)
        await bench.reset(generator.randrange(1, 4))
        bench.results.pause = False
        assert await bench.read("status") == JOB_QUEUE_DEPTH << 8
        for name in ("error", "interrupt_enable", "interrupt_pending", "job_n", *COUNTERS):
            assert await bench.read(name) == 0, name
        await bench.run([random_job(config, bench.rng)])
        await bench.settle()


@_limited_test
@cocotb.parametrize(phase=["load", "compute", "drain"])
async def the_control_reset_keeps_the_registers(dut, phase: str) -> None:
    """It drops jobs and data, but not the word on the bus, which stays until it is taken."""
    generator = random.Random(12)
    bench = Bench(dut, seed=13)
    config = bench.config
    await bench.reset()
    for _ in range(4):
        job = random_job(config, bench.rng, tokens=config.tokens, k=config.k_max, n=config.n_max)
        bench.results.pause = True
        await bench.write("interrupt_enable", 3)
        bench.send(job)
        # The engine itself can hold two.
        for _ in range(4):
            await bench.start(job)
        if phase == "compute":
            await bench.wait_until(lambda: bench.beats)
        elif phase == "drain":
            await bench.wait_until(lambda: dut.m_axis_results_tvalid.value)
        await bench.wait(generator.randrange(20))
        for source in (bench.weights, bench.activations):
            source.assert_reset()
            source.clear()
        offered = bool(dut.m_axis_results_tvalid.value)
        await bench.write("control", 1)
        await bench.wait(5)
        assert bool(dut.m_axis_results_tvalid.value) >= offered
        bench.results.pause = False
        await bench.wait_until(lambda: not dut.m_axis_results_tvalid.value)
        await bench.wait(20)
        assert not dut.m_axis_results_tvalid.value
        bench.results.assert_reset()
        bench.results.clear()
        assert await bench.read("status") == JOB_QUEUE_DEPTH << 8
        assert await bench.read("interrupt_enable") == 3
        assert await bench.read("job_n") == config.n_max
        bench.beats.clear()
        await bench.run([random_job(config, bench.rng)])
        await bench.settle()
        await bench.expect_errors()


@_limited_test
async def clocks_are_as_stated(dut) -> None:
    """A weight beat per max(1, B / w) clocks, the latencies, and what ``cycles`` counts."""
    bench = Bench(dut, seed=14)
    config = bench.config
    await bench.reset()
    word, beat = bench.widths.weights // 8, config.weight_bytes
    chunks = config.max_chunks
    group = -(-4 * config.rows * 8 // bench.widths.results) * config.tokens
    assert chunks > max(config.tokens, group), "the configuration must let weights be the bound"
    job = random_job(config, bench.rng, n=config.n_max, k=config.k_max, group_chunks=0)
    beats = chunks * -(-config.n_max // config.rows)
    activations, weights = bench.job_bytes(job)
    for early in (False, True):
        await bench.clear_counters()
        before = len(bench.beats)
        bench.activations.send_nowait(AxiStreamFrame(activations))
        if early:
            bench.weights.send_nowait(AxiStreamFrame(weights))
            await bench.wait(50)
            await bench.start(job)
        else:
            await bench.start(job)
            await bench.wait_until(lambda: int(dut.probe_weights.value) == 2)
            bench.weights.send_nowait(AxiStreamFrame(weights))
        await bench.receive(job)
        await bench.settle()
        taken = bench.beats[before:]
        assert len(taken) == beats == await bench.read("weight_beats")
        between = taken[-1] - taken[0]
        if word <= beat:
            words = [-(-count * beat // word) for count in (1, beats)]
            # What came early waits in the gearbox: less than a beat and a word.
            ahead = (beat + word) // word if early else 0
            assert words[1] - words[0] - ahead <= between <= words[1] - words[0], between
        else:
            assert between == beats - 1, between
        if not early:
            stalls = await bench.read("wait_weights")
            assert stalls >= between - (beats - 1)
        cycles = await bench.read("cycles")
        # Queued in the clock after the command's, which follows the write; done with the last word.
        assert cycles == bench.ends[-1] - bench.starts[-1] - 2 + 1, cycles
        wide = bench.widths.activations >= 8 * bench.hardware.activation_bytes
        if early and wide and word >= beat:
            # No bus holds the engine up, and the last results follow at their bus's rate.
            tokens, size, out = len(job.activations), 4 * config.rows, bench.widths.results // 8
            shape = JobShape(n=config.n_max, k=config.k_max, tokens=tokens)
            alone = next(job_times(config, [shape])).cycles
            before_last = (beats // chunks - 1) * tokens * size % out
            words = -(-(before_last + tokens * size) // out)
            later = 1 if size <= out else words - tokens + 1
            assert cycles == alone + later, (cycles, alone, later)


@_limited_test
async def reuse_takes_no_activations(dut) -> None:
    """Jobs with reuse back to back; nothing is taken from the activation stream for them."""
    bench = Bench(dut, "all", seed=15)
    config = bench.config
    await bench.reset()
    loaded = random_job(config, bench.rng, tokens=config.tokens)
    jobs = [loaded, *(reusing(config, bench.rng, loaded, t + 1) for t in range(config.tokens))]
    await bench.run([*jobs, random_job(config, bench.rng)])
    await bench.settle()
    await bench.expect_errors()

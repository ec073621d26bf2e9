"""cocotb testbench of ``AxiMatVec`` that runs jobs; ``cocotbext-axi`` drives the buses.

``trilith.sim.rtl.axi_testbench.run_axi_testbench`` runs it.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
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

from ....hw.axi.registers import REGISTERS
from ....hw.axi.wrapper import AxiMatVec, BusWidths
from ....hw.config import MatVecConfig
from ....hw.jobs import Job, JobShape, golden_beats
from .bench import Bench, Monitor, bursts, limited_test, often, rarely
from .jobs import random_jobs, stream_beats

__all__ = ["COUNTERS", "OFFSETS", "AxiBench"]

#: Byte addresses of registers.
OFFSETS = {register.name: register.offset for register in REGISTERS}

_STREAMS = ("weights", "activations", "results")
_CONTROL = ("aw", "w", "b", "ar", "r")

#: Which channels pause, and in which cycles.
_PATTERNS: dict[str, Mapping[str, Callable[[int], Iterable[bool]]]] = {
    "none": {},
    "slow weights": {"weights": often, "activations": rarely},
    "slow results": {"results": often, "b": rarely, "r": often},
    "slow control": dict.fromkeys(_CONTROL, often),
    "all": dict.fromkeys((*_STREAMS, *_CONTROL), rarely) | {"results": bursts, "weights": bursts},
}


@dataclass(kw_only=True)
class Seen:
    """Events on the ports since the counters were cleared, under the names of the counters."""

    jobs_done: int = 0
    weight_beats: int = 0
    wait_weights: int = 0
    wait_activations: int = 0
    wait_results: int = 0


#: Registers that count; all but the first count what ``Seen`` has.
COUNTERS = ("cycles", *(field.name for field in fields(Seen)))


class AxiBench(Bench):
    """The buses of the wrapper, and a watch on the rules of the streams and on the counters.

    Parameters
    ----------
    dut : handle of ``ProbedAxiMatVec``
    pattern : a key of the patterns of pauses: ``none``, ``slow weights``, ``slow results``,
        ``slow control`` or ``all``
    seed : seed of pauses, jobs and noise

    Members
    -------
    config, widths : the configuration of the wrapper
    rng : source of random jobs
    weights, activations, results : the streams
    seen : values that the counters must have
    cycle : the number of cycles so far
    """

    def __init__(self, dut, pattern: str = "none", *, seed: int = 0) -> None:
        super().__init__(dut.aclk)
        logging.getLogger("cocotb.dut").setLevel(logging.ERROR)
        settings = json.loads(os.environ["TRILITH_AXI"])
        self.config = MatVecConfig(**settings["config"])
        self.widths = BusWidths(**settings["widths"])
        self.hardware = AxiMatVec(self.config, self.widths)
        self.rng = np.random.default_rng(seed)
        self.dut = dut
        self._report = Path(settings["report"])
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
        channels: dict[str, Any] = {name: getattr(self, name) for name in _STREAMS}
        channels |= {name: getattr(writes, f"{name}_channel") for name in ("aw", "w", "b")}
        channels |= {name: getattr(reads, f"{name}_channel") for name in ("ar", "r")}
        for index, (name, pauses) in enumerate(_PATTERNS[pattern].items()):
            channels[name].set_pause_generator(pauses(seed + index))
        self._monitors = [
            self._monitor("m_axis_results_t", "data", "keep", "last", callback=self._result_taken),
            self._monitor("s_axi_ctrl_b", "resp"),
            self._monitor("s_axi_ctrl_r", "data", "resp"),
        ]
        self.cycle = 0
        self.forget()

    def _monitor(
        self,
        prefix: str,
        *payload: str,
        callback: Callable[..., None] = lambda *payload: None,
    ) -> Monitor:
        """Watch a channel that the wrapper drives."""
        valid, ready, *signals = (
            getattr(self.dut, f"{prefix}{name}") for name in ("valid", "ready", *payload)
        )
        return Monitor(prefix, valid, ready, signals, callback)

    def forget(self) -> None:
        """Forget everything that was seen."""
        self.seen = Seen()
        for monitor in self._monitors:
            monitor.restart()

    async def reset(self, cycles: int = 2) -> None:
        """Keep ``aresetn`` low for some cycles, and forget everything."""
        self.dut.aresetn.value = 0
        await self.start_clock()
        await self.wait(cycles)
        for name in _STREAMS:
            getattr(self, name).clear()
        self.dut.aresetn.value = 1
        self.forget()
        await RisingEdge(self.dut.aclk)

    async def write(self, name: str, value: int, *, resp: AxiResp = AxiResp.OKAY) -> None:
        """Write a register, and check the response."""
        answer: Any = await self._writes.write(OFFSETS[name], value.to_bytes(4, "little"))
        assert answer.resp == resp, f"write to {name}: {answer.resp}, not {resp}"

    async def read(self, name: str) -> int:
        """Read a register."""
        answer: Any = await self._reads.read(OFFSETS[name], 4)
        assert answer.resp == AxiResp.OKAY, f"read of {name}: {answer.resp}"
        return int.from_bytes(answer.data, "little")

    async def start(self, job: JobShape) -> None:
        """Write the registers of a job and start it, as soon as the queue has room."""
        await self.start_fields(**asdict(job))

    async def start_fields(self, **fields: int) -> None:
        """Start a job from the fields of a ``JobShape``, which may be illegal here."""
        while not await self.read("status") >> 8 & 0xFF:
            pass
        for name, value in fields.items():
            await self.write(f"job_{name}", int(value))
        await self.write("job_start", 1)

    def job_bytes(self, job: Job) -> tuple[bytes, bytes]:
        """Bytes of a job's activations and weights, with noise where a value must not matter."""
        activations, weights = stream_beats(self.config, job, self.rng)
        size, bits = self.hardware.activation_bytes, self.config.lanes * self.config.act_bits
        fill = self.rng.integers(1 << (8 * size - bits), size=len(activations)).tolist()
        words = [a | f << bits for a, f in zip(activations, fill, strict=True)]
        return (
            b"".join(word.to_bytes(size, "little") for word in words),
            b"".join(w.to_bytes(self.config.weight_bytes, "little") for w in weights),
        )

    def send(self, job: Job) -> None:
        """Queue the data of a job, in packets of random numbers of beats."""
        activations, weights = self.job_bytes(job)
        for source, data, size in (
            (self.activations, activations, self.hardware.activation_bytes),
            (self.weights, weights, self.config.weight_bytes),
        ):
            while data:
                count = int(self.rng.integers(1, len(data) // size + 1))
                source.send_nowait(AxiStreamFrame(data[: count * size]))
                data = data[count * size :]

    async def receive(self, job: Job) -> None:
        """Take the packet of a job's results, and compare it with the golden model."""
        frame = await self.results.recv(compact=False)
        keep = "".join(map(str, frame.tkeep))
        size = keep.rstrip("0").count("1")
        assert keep.rstrip("0") == "1" * size, "only the end of a packet may be without TKEEP"
        assert len(keep) - size < self.widths.results // 8, "a packet must not have empty words"
        got = np.frombuffer(bytes(frame.tdata[:size]), "<i4").tolist()
        expected = golden_beats(self.config, job).ravel().tolist()
        assert got == expected, f"results must be {expected}, not {got}"

    async def run(self, jobs: Iterable[Job]) -> None:
        """Run jobs back to back, and compare each with the golden model."""
        jobs = list(jobs)

        async def issue() -> None:
            for job in jobs:
                await self.start(job.shape)

        for job in jobs:
            self.send(job)
        task = cocotb.start_soon(issue())
        for job in jobs:
            await self.receive(job)
        await task

    async def settle(self) -> None:
        """Wait until the wrapper is idle, and compare the counters with the events seen."""
        while await self.read("status") & 1:
            pass
        for name in COUNTERS[1:]:
            count, seen = await self.read(name), getattr(self.seen, name)
            assert count == seen, f"{name} must be {seen}, not {count}"

    def report(self, **facts: object) -> None:
        """Hand a measurement to ``run_axi_testbench``."""
        with self._report.open("a") as file:
            print(json.dumps(facts), file=file)

    def sample(self) -> None:
        """Check the cycle that has just ended, and count its events."""
        self.cycle += 1
        if not self.dut.aresetn.value:
            return
        for monitor in self._monitors:
            monitor.sample(self.cycle)
        # Bit 0 is valid, bit 1 ready.
        weights, activations, results = (
            int(getattr(self.dut, f"probe_{name}").value) for name in _STREAMS
        )
        self.seen.weight_beats += weights == 3
        self.seen.wait_weights += weights == 2
        self.seen.wait_activations += activations == 2
        self.seen.wait_results += results == 1

    def _result_taken(self, tdata: int, tkeep: int, tlast: int) -> None:
        self.seen.jobs_done += tlast


@limited_test(120_000)
@cocotb.parametrize(pattern=list(_PATTERNS))
async def jobs_are_exact(dut, pattern: str) -> None:
    """Jobs of many shapes, back to back, with reuse and partial results; counters agree."""
    bench = AxiBench(dut, pattern, seed=1)
    await bench.reset()
    jobs = list(islice(random_jobs(bench.config, np.random.default_rng(2)), 14))
    started = perf_counter()
    await bench.run(jobs)
    await bench.settle()
    seconds = perf_counter() - started
    assert bench.seen.jobs_done == len(jobs)
    assert await bench.read("error") == 0
    cycles = await bench.read("cycles")
    macs = sum(job.trits.size * len(job.activations) for job in jobs)
    bench.report(pattern=pattern, jobs=len(jobs), macs=macs, cycles=cycles, seconds=seconds)

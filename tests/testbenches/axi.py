"""cocotb testbench of ``AxiMatVec``: registers, errors, resets, packets and cycles.

``tests/sim/rtl/test_axi_testbench.py`` runs it, together with the testbench of ``make sim``, whose
bench it extends.
"""

import random
from collections.abc import Callable
from itertools import chain

import cocotb
from cocotbext.axi import AxiResp, AxiStreamFrame
from cocotbext.axi.axil_channels import AxiLiteAWTransaction, AxiLiteWTransaction

from trilith.golden.codes import CODES
from trilith.hw.axi.registers import ADDRESS_BITS, REGISTERS
from trilith.hw.axi.wrapper import JOB_QUEUE_DEPTH
from trilith.hw.engine.timing import job_times
from trilith.hw.jobs import Job, JobShape
from trilith.sim.rtl.testbenches.axi import COUNTERS, OFFSETS, AxiBench, Seen
from trilith.sim.rtl.testbenches.bench import limited_test
from trilith.sim.rtl.testbenches.jobs import random_job, reusing

from .codes import illegal_bytes
from .waiting import Waiting

#: No test takes so many cycles; one that does hangs.
_limited_test = limited_test(120_000)

#: A job that is out of range.
NO_OUTPUTS = {"n": 0, "k": 1, "tokens": 1, "group_chunks": 0, "reuse": 0}


#: Bits of the register ``error``.
ERRORS = {
    field.name: 1 << field.lsb
    for register in REGISTERS
    if register.name == "error"
    for field in register.fields
}


class AxiChecks(Waiting, AxiBench):
    """The bench of ``make sim``, with more access to the registers and to the moments of events.

    Members
    -------
    beats : cycles in which the engine took a weight beat, since the last reset
    starts : cycles in which ``job_start`` was written
    ends : cycles in which the last word of a job's results was taken
    """

    def forget(self) -> None:
        """Forget everything that was seen."""
        super().forget()
        self.beats: list[int] = []
        self.starts: list[int] = []
        self.ends: list[int] = []

    def sample(self) -> None:
        """Note the events of the cycle that has just ended."""
        jobs_done, weight_beats = self.seen.jobs_done, self.seen.weight_beats
        super().sample()
        if self.seen.jobs_done > jobs_done:
            self.ends.append(self.cycle)
        if self.seen.weight_beats > weight_beats:
            self.beats.append(self.cycle)
        dut = self.dut
        if (
            dut.aresetn.value
            and dut.s_axi_ctrl_awready.value
            and int(dut.s_axi_ctrl_awaddr.value) == OFFSETS["job_start"]
        ):
            self.starts.append(self.cycle)

    def progress(self) -> Seen:
        """The events so far."""
        return self.seen

    async def expect_errors(self, *names: str) -> None:
        """Check that exactly these bits of ``error`` are set, and clear them."""
        expected = sum(ERRORS[name] for name in names)
        got = await self.read("error")
        assert got == expected, f"error must be {names}, {expected:#x}, not {got:#x}"
        await self.write("error", got)
        assert await self.read("error") == 0, "writing 1 must clear a bit"

    async def read_address(self, address: int, *, resp: AxiResp = AxiResp.OKAY) -> int:
        """Read from an address up to the end of its word, and check the response."""
        answer = await self._reads.read(address, 4 - address % 4)
        assert answer.resp == resp, f"read of 0x{address:03X}: {answer.resp}, not {resp}"
        return int.from_bytes(answer.data, "little")

    async def write_lanes(
        self, address: int, word: int, strobe: int, *, resp: AxiResp = AxiResp.OKAY
    ) -> None:
        """Write the bytes of a word whose strobe is set, any or none, and check the response."""
        await self._writes.aw_channel.send(AxiLiteAWTransaction(awaddr=address))
        await self._writes.w_channel.send(AxiLiteWTransaction(wdata=word, wstrb=strobe))
        answer = await self._writes.b_channel.recv()
        got = AxiResp(int(answer.bresp))
        assert got == resp, f"write to 0x{address:03X}: {got}, not {resp}"

    async def clear_counters(self) -> None:
        """Clear the counters while the wrapper is idle."""
        await self.write("control", 2)
        await self.wait(2)
        self.seen = Seen()


@_limited_test
async def registers_say_what_this_is(dut) -> None:
    """Constants, and their bytes at addresses inside a word."""
    bench = AxiChecks(dut)
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
    """Every combination of strobes on each register that can be written."""
    bench = AxiChecks(dut, "slow control", seed=3)
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
    await bench.start_fields(**NO_OUTPUTS)
    await bench.write_lanes(OFFSETS["error"], 0xFFFF_FFFF, 0b1110)
    await bench.expect_errors("job")


@_limited_test
async def illegal_accesses_are_refused(dut) -> None:
    """Unmapped addresses and writes to read-only registers return SLVERR."""
    bench = AxiChecks(dut, "slow control", seed=4)
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
    bench = AxiChecks(dut, seed=5)
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
    await bench.start(job.shape)
    await bench.wait_until(lambda: dut.m_axis_results_tvalid.value)
    await bench.wait(50)
    assert not dut.irq.value
    bench.results.pause = False
    await bench.wait_until(lambda: dut.irq.value)
    await bench.receive(job)
    await bench.write("interrupt_pending", 3)
    await bench.write("interrupt_enable", 3)
    await bench.start_fields(**NO_OUTPUTS)
    await bench.wait_until(lambda: dut.irq.value)
    assert await bench.read("interrupt_pending") == 2
    await bench.write("interrupt_pending", 2)
    assert not dut.irq.value, "an error that stays set does not keep it pending"
    await bench.expect_errors("job")


@_limited_test
async def jobs_out_of_range_are_dropped(dut) -> None:
    """Jobs out of range, among them numbers whose low bits alone would be legal."""
    bench = AxiChecks(dut, seed=6)
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
    """A full queue reports the loss, keeps its jobs, and shows its room."""
    bench = AxiChecks(dut, seed=7)
    await bench.reset()
    jobs = []
    job = random_job(bench.config, bench.rng)
    # One job is in the engine, which waits for activations.
    for room in range(JOB_QUEUE_DEPTH, -1, -1):
        await bench.start(job.shape)
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


@_limited_test
async def jobs_are_accepted_ahead_of_the_one_that_computes(dut) -> None:
    """With weights held back, the engine keeps one job, loads one more, and the queue is full."""
    bench = AxiChecks(dut, seed=19)
    await bench.reset()
    jobs = [random_job(bench.config, bench.rng) for _ in range(JOB_QUEUE_DEPTH + 2)]
    data = [bench.job_bytes(job) for job in jobs]
    for activations, _ in data:
        bench.activations.send_nowait(AxiStreamFrame(activations))
    rooms = []
    for job in jobs:
        await bench.start(job.shape)
        # Long enough for the activations of any job.
        await bench.wait(300)
        rooms.append(await bench.read("status") >> 8)
    assert rooms == [JOB_QUEUE_DEPTH, *range(JOB_QUEUE_DEPTH, -1, -1)]
    await bench.expect_errors()
    await bench.write("job_start", 1)
    await bench.expect_errors("job_lost")
    for _, weights in data:
        bench.weights.send_nowait(AxiStreamFrame(weights))
    for job in jobs:
        await bench.receive(job)
    await bench.settle()
    assert bench.seen.jobs_done == JOB_QUEUE_DEPTH + 2


async def deliver(
    bench: AxiChecks, job: Job, change: Callable[[str, bytes], AxiStreamFrame]
) -> None:
    """Start a job whose data are one packet on each stream, which ``change`` makes."""
    activations, weights = bench.job_bytes(job)
    bench.activations.send_nowait(change("activations", activations))
    bench.weights.send_nowait(change("weights", weights))
    await bench.start(job.shape)


@_limited_test
async def empty_words_do_nothing(dut) -> None:
    """Words without bytes before, between and after the data, with TLAST or without."""
    bench = AxiChecks(dut, seed=8)
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
    bench = AxiChecks(dut, "all", seed=16)
    await bench.reset()
    jobs = [random_job(bench.config, bench.rng) for _ in range(6)]
    activations, weights = zip(*(bench.job_bytes(job) for job in jobs), strict=True)
    bench.activations.send_nowait(AxiStreamFrame(b"".join(activations)))
    bench.weights.send_nowait(AxiStreamFrame(b"".join(weights)))
    for job in jobs:
        await bench.start(job.shape)
        await bench.receive(job)
    await bench.settle()
    await bench.expect_errors()


@_limited_test
@cocotb.parametrize(stream=["weights", "activations"])
async def holes_are_reported(dut, stream: str) -> None:
    """A word with holes counts as full and sets the stream's error bit."""
    bench = AxiChecks(dut, seed=17)
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
    """If a packet ends inside a beat, that beat is dropped, and the next beats are right."""
    bench = AxiChecks(dut, seed=18)
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
        # In the middle of the job, so that the engine waits for another beat.
        cut = len(data) // beat // 2 * beat
        source = getattr(bench, stream)
        source.send_nowait(AxiStreamFrame(data[:cut] + bench.rng.bytes(extra)))
        for other, whole in parts.items():
            getattr(bench, other).send_nowait(AxiStreamFrame(whole))
        await bench.start(job.shape)
        await bench.wait(2 * len(data))
        source.send_nowait(AxiStreamFrame(data[cut:]))
        await bench.receive(job)
        await bench.expect_errors(f"{stream}_frame")
    await bench.settle()


@_limited_test
async def illegal_operands_are_reported(dut) -> None:
    """An illegal weight code or activation sets its own bit."""
    bench = AxiChecks(dut, seed=9)
    config = bench.config
    await bench.reset()
    job = random_job(config, bench.rng, n=config.n_max, k=config.k_max)
    activations, weights = bench.job_bytes(job)
    for byte in illegal_bytes(config.code)[:1]:
        bench.activations.send_nowait(AxiStreamFrame(activations))
        bench.weights.send_nowait(AxiStreamFrame(bytes([byte]) + weights[1:]))
        await bench.start(job.shape)
        await bench.results.recv()
        await bench.expect_errors("weight")
    if config.act_bits == 2:
        bench.activations.send_nowait(AxiStreamFrame(b"\x02" + activations[1:]))
        bench.weights.send_nowait(AxiStreamFrame(weights))
        await bench.start(job.shape)
        await bench.results.recv()
        await bench.expect_errors("activation")
    await bench.run([job])
    await bench.expect_errors()


@_limited_test
@cocotb.parametrize(phase=["load", "compute", "drain"])
async def reset_forgets_the_job(dut, phase: str) -> None:
    """A reset in the middle of a job also resets the registers, and new jobs are exact."""
    generator = random.Random(10)
    bench = AxiChecks(dut, "none" if phase == "drain" else "slow weights", seed=11)
    config = bench.config
    await bench.reset()
    for _ in range(4):
        job = random_job(config, bench.rng, tokens=config.tokens, k=config.k_max, n=config.n_max)
        await bench.write("interrupt_enable", 3)
        bench.results.pause = phase == "drain"
        bench.send(job)
        await bench.start(job.shape)
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
    """The control reset drops jobs and data; a word that is on the bus stays until it is taken."""
    generator = random.Random(12)
    bench = AxiChecks(dut, seed=13)
    config = bench.config
    await bench.reset()
    for _ in range(4):
        job = random_job(config, bench.rng, tokens=config.tokens, k=config.k_max, n=config.n_max)
        bench.results.pause = True
        await bench.write("interrupt_enable", 3)
        bench.send(job)
        # The engine itself can hold two.
        for _ in range(4):
            await bench.start(job.shape)
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
async def cycles_are_as_stated(dut) -> None:
    """One weight beat in max(1, B / w) cycles, the latencies, and the register ``cycles``."""
    bench = AxiChecks(dut, seed=14)
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
            await bench.start(job.shape)
        else:
            await bench.start(job.shape)
            await bench.wait_until(lambda: int(dut.probe_weights.value) == 2)
            bench.weights.send_nowait(AxiStreamFrame(weights))
        await bench.receive(job)
        await bench.settle()
        taken = bench.beats[before:]
        assert len(taken) == beats == await bench.read("weight_beats")
        between = taken[-1] - taken[0]
        if word <= beat:
            words = [-(-count * beat // word) for count in (1, beats)]
            # Words that came early wait in the gearbox: less than a beat and a word.
            ahead = (beat + word) // word if early else 0
            assert words[1] - words[0] - ahead <= between <= words[1] - words[0], between
        else:
            assert between == beats - 1, between
        if not early:
            stalls = await bench.read("wait_weights")
            assert stalls >= between - (beats - 1)
        cycles = await bench.read("cycles")
        # The job is queued two cycles after the write, and done with the last word.
        assert cycles == bench.ends[-1] - bench.starts[-1] - 2 + 1, cycles
        wide = bench.widths.activations >= 8 * bench.hardware.activation_bytes
        if early and wide and word >= beat:
            # No bus delays the engine, and the last results follow at the rate of their bus.
            tokens, size, out = len(job.activations), 4 * config.rows, bench.widths.results // 8
            shape = JobShape(n=config.n_max, k=config.k_max, tokens=tokens)
            alone = next(job_times(config, [shape])).cycles
            before_last = (beats // chunks - 1) * tokens * size % out
            words = -(-(before_last + tokens * size) // out)
            later = 1 if size <= out else words - tokens + 1
            assert cycles == alone + later, (cycles, alone, later)


@_limited_test
async def reuse_takes_no_activations(dut) -> None:
    """Jobs with reuse, back to back, take nothing from the activation stream."""
    bench = AxiChecks(dut, "all", seed=15)
    config = bench.config
    await bench.reset()
    loaded = random_job(config, bench.rng, tokens=config.tokens)
    jobs = [loaded, *(reusing(config, bench.rng, loaded, t + 1) for t in range(config.tokens))]
    await bench.run([*jobs, random_job(config, bench.rng)])
    await bench.settle()
    await bench.expect_errors()

"""cocotb testbench of ``MatVecEngine``: handshakes, cycles and results.

``tests/sim/rtl/test_testbenches.py`` runs it. The environment variable ``TRILITH_ENGINE`` holds the
fields of the ``MatVecConfig`` as JSON. ``Source`` drives an input stream and ``Sink`` takes the
results. ``EngineBench`` alone looks at the ports and checks them.
"""

import json
import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice, repeat

import cocotb
import numpy as np
from cocotb.task import Task
from cocotb.triggers import RisingEdge
from cocotb.utils import get_sim_time

from trilith.golden.codes import CODES
from trilith.golden.matmul import activation_range
from trilith.hw import MatVecConfig, MatVecEngine
from trilith.hw.beats import result_values
from trilith.hw.engine.loader import job_layout
from trilith.hw.jobs import Job, golden_beats, job_fields, job_word
from trilith.sim.rtl.testbenches.bench import (
    PERIOD,
    Bench,
    Monitor,
    bursts,
    limited_test,
    often,
    rarely,
)
from trilith.sim.rtl.testbenches.jobs import random_job, random_jobs, reusing, stream_beats

from .codes import illegal_bytes
from .waiting import Waiting

#: No test takes so many cycles; one that does hangs.
_limited_test = limited_test(60_000)

#: Values and ``last`` of a result beat.
ResultBeat = tuple[tuple[int, ...], bool]

#: Which streams pause, and in which cycles. The same jobs run with each pattern.
PATTERNS: dict[str, Mapping[str, Callable[[int], Iterable[bool]]]] = {
    "none": {},
    "gaps": {"jobs": bursts, "activations": often, "weights": often},
    "stalls": {"results": often},
    "both": {"jobs": rarely, "activations": bursts, "weights": bursts, "results": rarely},
    "long": {"activations": rarely, "results": bursts},
}


def expected_beats(config: MatVecConfig, job: Job) -> list[ResultBeat]:
    """Beats of the ``results`` stream that the golden model gives for a job."""
    values = golden_beats(config, job).tolist()
    return [(tuple(row), beat == len(values) - 1) for beat, row in enumerate(values)]


class JobRules:
    """The rules for jobs in range, as ``JobLoader`` documents them."""

    def __init__(self, config: MatVecConfig) -> None:
        self._config = config
        self._loaded_k = self._loaded_tokens = 0

    def accept(self, word: int) -> dict[str, int] | None:
        """The fields of a job, or None if it must be dropped."""
        config = self._config
        job = {}
        for name, bits in job_fields(config).items():
            job[name] = word % (1 << bits)
            word >>= bits
        if not (
            1 <= job["n"] <= config.n_max
            and 1 <= job["k"] <= config.k_max
            and 1 <= job["tokens"] <= config.tokens
            and job["group_chunks"] <= config.max_chunks
        ):
            return None
        if not job["reuse"]:
            self._loaded_k, self._loaded_tokens = job["k"], job["tokens"]
        elif job["k"] != self._loaded_k or job["tokens"] > self._loaded_tokens:
            return None
        return job


def idle_cycles(pauses: Iterable[bool]) -> Iterator[int]:
    """Cycles to pause before each beat, from a series that marks the cycles with a pause."""
    idle = 0
    for paused in pauses:
        if paused:
            idle += 1
        else:
            yield idle
            idle = 0


class Source:
    """Drives an input stream with the beats put into ``queue``.

    It pauses before each beat as ``pauses`` says. While it offers no beat, the payload is random.
    """

    def __init__(self, dut, name: str, pauses: Iterable[bool], seed: int) -> None:
        self._clk = dut.clk
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._payload = getattr(dut, f"{name}__payload")
        self._idle_cycles = idle_cycles(pauses)
        self._random = random.Random(seed)
        self.queue: deque[int] = deque()
        self._task: Task | None = None

    def restart(self) -> None:
        """Forget all beats, and offer none from now on."""
        if self._task is not None:
            self._task.cancel()
        self.queue.clear()
        self._idle()
        self._task = cocotb.start_soon(self._run())

    def _idle(self) -> None:
        self._valid.value = 0
        self._payload.value = self._random.getrandbits(len(self._payload))

    async def _run(self) -> None:
        while True:
            while not self.queue:
                self._idle()
                await RisingEdge(self._clk)
            for _ in range(next(self._idle_cycles)):
                self._idle()
                await RisingEdge(self._clk)
            self._payload.value = self.queue[0]
            self._valid.value = 1
            await RisingEdge(self._clk)
            while not self._ready.value:
                await RisingEdge(self._clk)
            self.queue.popleft()


class Sink:
    """Takes the beats of an output stream.

    While it pauses, ``ready`` stays low, and only cycles in which a beat is offered count. So a
    producer that waits for ``ready`` never gets it.
    """

    def __init__(self, dut, name: str, pauses: Iterable[bool]) -> None:
        self._clk = dut.clk
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._idle_cycles = idle_cycles(pauses)
        self._held = False
        self._task: Task | None = None

    def restart(self, *, held: bool = False) -> None:
        """Take beats from now on or, if ``held``, take none."""
        self._held = held
        if self._task is not None:
            self._task.cancel()
        self._task = cocotb.start_soon(self._run())

    async def _run(self) -> None:
        while True:
            idle = next(self._idle_cycles)
            while idle or self._held:
                self._ready.value = 0
                await RisingEdge(self._clk)
                idle = max(0, idle - bool(self._valid.value))
            self._ready.value = 1
            await RisingEdge(self._clk)
            while not self._valid.value:
                await RisingEdge(self._clk)


class EngineBench(Waiting, Bench):
    """Drivers, monitors and the golden model around an engine.

    In each cycle without reset it checks:

    - the rules of the streams, see ``Monitor``;
    - that a result is offered only if one is due, and each result beat that is taken: its values,
      and that ``last`` is set on a job's final beat and on no other;
    - that no more activation and weight beats are taken than the jobs accepted so far have;
    - ``busy``: high from the cycle after a job is accepted to the cycle in which its last result is
      taken; high for one cycle if a job is dropped;
    - ``error``: it stays set, and is low unless ``error_allowed``.

    Parameters
    ----------
    dut : handle of the engine
    pattern : a key of ``PATTERNS``
    seed : seed of the pauses, and of the noise where a value must not matter

    Members
    -------
    jobs, activations, weights, results : Monitor
    ends : cycles in which the last result of a job was taken, since the last reset
    error_allowed : whether ``error`` may rise; cleared by ``reset``
    """

    def __init__(self, dut, pattern: str = "none", *, seed: int = 0) -> None:
        super().__init__(dut.clk)
        self.config = MatVecConfig(**json.loads(os.environ["TRILITH_ENGINE"]))
        self.rng = np.random.default_rng(seed)
        self._dut = dut
        names = ("jobs", "activations", "weights", "results")
        none = dict.fromkeys(names, lambda seed: repeat(False))
        pauses = {
            name: make(seed + index)
            for index, (name, make) in enumerate((none | dict(PATTERNS[pattern])).items())
        }
        self._sources = {name: Source(dut, name, pauses[name], seed) for name in names[:3]}
        self._sink = Sink(dut, "results", pauses["results"])
        self.jobs = self._monitor("jobs", self._job_taken)
        self.activations = self._monitor("activations", self._activations_taken)
        self.weights = self._monitor("weights", self._weights_taken)
        self.results = self._monitor("results", self._result_taken)
        self._forget()

    def _monitor(self, name: str, callback: Callable[[int], None]) -> Monitor:
        valid, ready, payload = (
            getattr(self._dut, f"{name}__{part}") for part in ("valid", "ready", "payload")
        )
        return Monitor(name, valid, ready, [payload], callback)

    def _forget(self) -> None:
        self._rules = JobRules(self.config)
        self._submitted: deque[list[ResultBeat] | None] = deque()
        self._expected: deque[ResultBeat] = deque()
        self._outstanding = 0
        self._dropped = False
        self._due = {"activations": 0, "weights": 0}
        self._error = False
        self._cycle = 0
        self.error_allowed = False
        self.ends: list[int] = []
        for monitor in (self.jobs, self.activations, self.weights, self.results):
            monitor.restart()

    @property
    def idle(self) -> bool:
        """Whether all jobs and all their results were taken."""
        return not (self._submitted or self._outstanding)

    async def reset(self, cycles: int = 2) -> None:
        """Reset the engine, forget all jobs, and go on in the first cycle after the reset.

        The streams go on during the reset as before it.
        """
        self._dut.rst.value = 1
        if await self.start_clock():
            for source in self._sources.values():
                source.restart()
        await self.wait(cycles)
        self._dut.rst.value = 0
        self._forget()
        for driver in (*self._sources.values(), self._sink):
            driver.restart()

    def submit(
        self,
        job: Job,
        *,
        beats: tuple[list[int], list[int]] | None = None,
        expected: list[ResultBeat] | None = None,
    ) -> None:
        """Queue a job and its beats; ``beats`` and ``expected`` default to those of the job."""
        activations, weights = beats or stream_beats(self.config, job, self.rng)
        self._sources["jobs"].queue.append(job_word(self.config, job.shape))
        self._sources["activations"].queue.extend(activations)
        self._sources["weights"].queue.extend(weights)
        self._submitted.append(expected or expected_beats(self.config, job))

    def submit_out_of_range(self, **fields: int) -> None:
        """Queue a job that must be dropped."""
        self._sources["jobs"].queue.append(job_layout(self.config).const(fields).as_bits())
        self._submitted.append(None)
        self.error_allowed = True

    def hold_results(self, held: bool) -> None:
        """Take no results until the next reset if ``held``, else take them again."""
        self._sink.restart(held=held)

    def progress(self) -> str:
        """The jobs, results and beats that are missing."""
        return (
            f"{len(self._submitted)} jobs not taken, {self._outstanding} not finished, "
            f"{len(self._expected)} results missing, {self._due} beats not taken"
        )

    async def drain(self) -> None:
        """Wait for all results, and some cycles more, in which nothing may come."""
        await self.wait_until(lambda: self.idle)
        await self.wait(2 * MatVecEngine(self.config).latency)
        left = {name: len(source.queue) for name, source in self._sources.items()}
        assert not any(left.values()), f"all beats of the jobs must be taken; left are {left}"
        assert not any(self._due.values()), f"all beats of the jobs must be taken, not {self._due}"
        assert self._error == self.error_allowed, f"error must be {self.error_allowed} by now"

    def sample(self) -> None:
        """Check the cycle that has just ended."""
        dut = self._dut
        if dut.rst.value:
            return
        self._cycle = get_sim_time("step") // PERIOD
        assert dut.busy.value.is_resolvable, "busy must be known"
        busy = self._outstanding > 0 or self._dropped
        assert bool(dut.busy.value) == busy, (
            f"busy must be {busy} in cycle {self._cycle}, with {self._outstanding} jobs taken "
            "and not finished"
        )
        assert dut.error.value.is_resolvable, "error must be known"
        error = bool(dut.error.value)
        assert error or not self._error, f"error fell in cycle {self._cycle} without a reset"
        assert self.error_allowed or not error, f"error rose in cycle {self._cycle}"
        self._error = error

        self._dropped = False
        # Results first, jobs last: a job that is accepted in this cycle makes nothing due in it.
        offered = bool(dut.results__valid.value)
        assert self._expected or not offered, f"no result is due in cycle {self._cycle}"
        for monitor in (self.results, self.weights, self.activations, self.jobs):
            monitor.sample(self._cycle)

    def _job_taken(self, word: int) -> None:
        assert self._submitted, f"no job was offered in cycle {self._cycle}"
        beats = self._submitted.popleft()
        job = self._rules.accept(word)
        assert (job is None) == (beats is None), "the test must know which jobs are out of range"
        if job is None or beats is None:
            self._dropped = True
            return
        chunks = -(-job["k"] // self.config.lanes)
        if not job["reuse"]:
            self._due["activations"] += job["tokens"] * chunks
        self._due["weights"] += -(-job["n"] // self.config.rows) * chunks
        self._expected.extend(beats)
        self._outstanding += 1

    def _activations_taken(self, word: int) -> None:
        assert self._due["activations"], f"no activations are due in cycle {self._cycle}"
        self._due["activations"] -= 1

    def _weights_taken(self, word: int) -> None:
        assert self._due["weights"], f"no weights are due in cycle {self._cycle}"
        self._due["weights"] -= 1

    def _result_taken(self, word: int) -> None:
        size = self.config.rows * self.config.acc_width + 1
        beat = np.frombuffer(word.to_bytes(-(-size // 8), "little"), np.uint8)
        values, last = result_values(self.config, beat[np.newaxis])
        got = (tuple(map(int, values[0])), bool(last[0]))
        expected = self._expected.popleft()
        assert got == expected, f"result in cycle {self._cycle} must be {expected}, not {got}"
        if got[1]:
            self._outstanding -= 1
            self.ends.append(self._cycle)


@_limited_test
@cocotb.parametrize(pattern=list(PATTERNS))
async def jobs_are_exact(dut, pattern: str) -> None:
    """Jobs of many shapes, back to back, with reuse and partial results."""
    bench = EngineBench(dut, pattern, seed=1)
    await bench.reset()
    for job in islice(random_jobs(bench.config, np.random.default_rng(2)), 40):
        bench.submit(job)
    await bench.drain()
    assert len(bench.ends) == 40


@_limited_test
async def extremes_are_exact(dut) -> None:
    """The largest sums of either sign, and a mixture, at K = k_max."""
    bench = EngineBench(dut)
    config, rng = bench.config, np.random.default_rng(3)
    await bench.reset()
    least, most = activation_range(config.act_bits)
    n = min(config.rows + 1, config.n_max)
    # Zeros stand where the code must have them.
    magnitudes = -CODES[config.code].lowest((n, config.k_max))
    for weights, values in (
        ((-1,), (least,)),
        ((1,), (most,)),
        ((-1,), (most,)),
        ((1,), (least,)),
        ((-1, 1), (least,)),
        ((-1, 1), (least, most)),
    ):
        for group_chunks in (0, 1):
            bench.submit(
                Job(
                    trits=rng.choice(weights, magnitudes.shape).astype(np.int8) * magnitudes,
                    activations=rng.choice(values, (config.tokens, config.k_max)).astype(np.int8),
                    group_chunks=group_chunks,
                )
            )
    # Signs that agree with the activation reach the bound in every node of the tree.
    x = rng.choice((least, most), (1, config.k_max)).astype(np.int8)
    bench.submit(Job(trits=np.sign(x) * magnitudes, activations=x))
    bench.submit(Job(trits=-np.sign(x) * magnitudes, activations=x))
    await bench.drain()


@_limited_test
@cocotb.parametrize(phase=["load", "compute", "drain"])
async def reset_forgets_the_job(dut, phase: str) -> None:
    """After a reset at any moment no beat of the old job comes, and a fresh job is exact."""
    generator = random.Random(5)
    bench = EngineBench(dut, "gaps" if phase == "load" else "none", seed=6)
    config, rng = bench.config, np.random.default_rng(7)
    await bench.reset()
    for _ in range(12):
        bench.hold_results(phase == "drain")
        bench.submit(random_job(config, rng, tokens=config.tokens, k=config.k_max, n=config.n_max))
        bench.submit(random_job(config, rng))
        activations, weights = (
            -(-config.k_max // config.lanes) * factor
            for factor in (config.tokens, -(-config.n_max // config.rows))
        )
        if phase == "load":
            goal = generator.randrange(activations)
            await bench.wait_until(lambda goal=goal: len(bench.activations.cycles) >= goal)
        elif phase == "compute":
            goal = generator.randrange(1, weights)
            await bench.wait_until(lambda goal=goal: len(bench.weights.cycles) >= goal)
        else:
            await bench.wait_until(lambda: bench.results.offered is not None)
            await bench.wait(generator.randrange(20))
        await bench.reset(generator.randrange(1, 4))
        bench.submit(random_job(config, rng))
        await bench.drain()


@_limited_test
async def out_of_range_jobs_are_dropped(dut) -> None:
    """Each kind sets ``error`` and takes no beats; the next job and the buffer stay as they are."""
    bench = EngineBench(dut)
    config, rng = bench.config, np.random.default_rng(8)
    few = max(config.tokens - 1, 1)
    loaded = random_job(config, rng, k=max(config.k_max - 1, 1), tokens=few)
    n, k = loaded.trits.shape
    good = {"n": n, "k": k, "tokens": few, "group_chunks": 0, "reuse": 0}
    widths = job_fields(config)
    tops = {
        "n": config.n_max,
        "k": config.k_max,
        "tokens": config.tokens,
        "group_chunks": config.max_chunks,
    }
    kinds = [{name: 0} for name in ("n", "k", "tokens")]
    kinds += [{name: top + 1} for name, top in tops.items()]
    kinds += [{name: 2 ** widths[name] - 1} for name in tops]
    kinds += [{"reuse": 1, "k": k - 1}, {"reuse": 1, "k": k + 1}]
    kinds += [{"reuse": 1, "tokens": few + 1}, {"reuse": 1, "n": 0}]
    fresh = random_job(config, rng, k=k, tokens=few)
    for kind in kinds:
        name, value = list(kind.items())[-1]
        representable = value < 2 ** widths[name]
        in_range = "reuse" not in kind and 1 <= value <= tops[name]
        if not representable or in_range:
            continue
        await bench.reset()
        bench.submit(loaded)
        bench.submit_out_of_range(**(good | kind))
        bench.submit(reusing(config, rng, loaded, few))
        bench.submit_out_of_range(**(good | kind))
        bench.submit(fresh)
        await bench.drain()
        # Once more from idle, since the engine above was busy.
        bench.submit_out_of_range(**(good | kind))
        bench.submit(fresh)
        await bench.drain()
    # After a reset nothing is loaded.
    await bench.reset()
    bench.submit_out_of_range(**(good | {"reuse": 1}))
    bench.submit(random_job(config, rng))
    await bench.drain()
    await bench.reset()
    bench.submit(random_job(config, rng))
    await bench.drain()


@_limited_test
async def illegal_weights_count_as_zero(dut) -> None:
    """An illegal byte counts as the code's table says, and sets ``error`` until the reset."""
    bench = EngineBench(dut)
    config, rng, code = bench.config, np.random.default_rng(9), CODES[bench.config.code]
    await bench.reset()
    for byte in illegal_bytes(config.code):
        job = random_job(config, rng)
        n, k = job.trits.shape
        activations, weights = stream_beats(config, job, rng)
        # The byte that holds a weight of the matrix, in the middle of the stream.
        row, column = int(rng.integers(n)), int(rng.integers(k))
        chunk, lane = divmod(column, config.lanes)
        beat = row // config.rows * -(-k // config.lanes) + chunk
        index = (row % config.rows * config.lanes + lane) // code.field_trits
        weights[beat] &= ~(0xFF << 8 * index)
        weights[beat] |= byte << 8 * index
        trits = job.trits.copy()
        for place, trit in enumerate(code.table[byte], index * code.field_trits):
            row_place, lane = divmod(place, config.lanes)
            at = row // config.rows * config.rows + row_place, chunk * config.lanes + lane
            if row_place < config.rows and at[0] < n and at[1] < k:
                trits[at] = trit
        seen = Job(trits=trits, activations=job.activations, group_chunks=job.group_chunks)

        bench.submit(job, beats=(activations, weights), expected=expected_beats(config, seen))
        bench.error_allowed = True
        await bench.drain()
        bench.submit(random_job(config, rng))
        await bench.drain()
        await bench.reset(1)
        bench.submit(random_job(config, rng))
        await bench.drain()


@_limited_test
async def illegal_activations_count_as_zero(dut) -> None:
    """With ``act_bits`` 2, −2 counts as zero and sets ``error``; no other value is illegal."""
    bench = EngineBench(dut)
    config, rng = bench.config, np.random.default_rng(10)
    await bench.reset()
    for _ in range(6 if config.act_bits == 2 else 0):
        job = random_job(config, rng)
        k, tokens = job.trits.shape[1], len(job.activations)
        token, place = int(rng.integers(tokens)), int(rng.integers(k))
        x = job.activations.copy()
        x[token, place] = 0
        seen = Job(trits=job.trits, activations=x, group_chunks=job.group_chunks)
        activations, weights = stream_beats(config, seen, rng)
        chunk, lane = divmod(place, config.lanes)
        activations[token * -(-k // config.lanes) + chunk] |= 0b10 << 2 * lane

        bench.submit(seen, beats=(activations, weights))
        bench.error_allowed = True
        await bench.drain()
        bench.submit(reusing(config, rng, seen, tokens))
        await bench.drain()
        await bench.reset(1)
        bench.submit(random_job(config, rng))
        await bench.drain()


def group_lengths(config: MatVecConfig, job: Job) -> list[int]:
    """Weight beats of each result group of a job, in order."""
    n, k = job.trits.shape
    chunks = -(-k // config.lanes)
    length = job.group_chunks or chunks
    row_group = [min(length, chunks - start) for start in range(0, chunks, length)]
    return row_group * -(-n // config.rows)


def weight_schedule(config: MatVecConfig, job: Job) -> list[int]:
    """Cycles from the first to each weight beat, if only the tokens of result groups delay them.

    Two result groups end at least ``tokens`` cycles apart.
    """
    cycles: list[int] = []
    free = end = 0
    for length in group_lengths(config, job):
        end = max(free + length - 1, end + len(job.activations) if cycles else 0)
        cycles += [*range(free, free + length - 1), end]
        free = end + 1
    return cycles


@_limited_test
async def cycles_are_exact(dut) -> None:
    """Without gaps, a job takes the cycles that the engine's docstring states."""
    bench = EngineBench(dut)
    config, rng = bench.config, np.random.default_rng(11)
    latency = MatVecEngine(config).latency
    await bench.reset()
    full_rate = 0
    jobs = islice(random_jobs(config, rng), 40)
    for index, job in enumerate(jobs):
        bench.submit(job)
        await bench.drain()
        tokens = len(job.activations)
        lengths = group_lengths(config, job)
        beats = sum(lengths)
        chunks = -(-job.trits.shape[1] // config.lanes)
        load = 0 if job.reuse else tokens * chunks
        start, end = bench.jobs.cycles[index], bench.ends[index]
        weights = bench.weights.cycles[-beats:]
        assert weights[0] - start == 3 + load, f"first weight after {weights[0] - start} cycles"
        schedule = weight_schedule(config, job)
        assert [cycle - weights[0] for cycle in weights] == schedule, f"weights at {weights}"
        if min(lengths) >= tokens:
            full_rate += 1
            assert weights[-1] - weights[0] == beats - 1, "a weight beat must come in every cycle"
            cycles = 3 + load + beats + latency + tokens - 1
            assert end - start + 1 == cycles, f"the job must take {cycles}, not {end - start + 1}"
        assert end - weights[-1] == latency + tokens - 1, f"{end - weights[-1]} cycles of latency"
    assert full_rate >= 5


@_limited_test
async def loading_hides_behind_computing(dut) -> None:
    """If computing takes longer than loading, jobs follow each other without a lost cycle."""
    bench = EngineBench(dut)
    config, rng = bench.config, np.random.default_rng(12)
    chunks = config.max_chunks
    await bench.reset()
    fields = {"n": config.n_max, "k": config.k_max, "tokens": min(chunks, config.tokens)}
    beats = chunks * -(-config.n_max // config.rows)
    assert chunks * fields["tokens"] + 3 <= beats, "the configuration must allow the test"
    loaded = random_job(config, rng, **fields, group_chunks=0)
    for reuse in (False, False, True) * 3:
        bench.submit(Job(trits=loaded.trits, activations=loaded.activations, reuse=reuse))
    await bench.drain()
    cycles = bench.weights.cycles
    assert len(cycles) == 9 * beats
    assert cycles[-1] - cycles[0] == 9 * beats - 1, "a weight beat must come in every cycle"

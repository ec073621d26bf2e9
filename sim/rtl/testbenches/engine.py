"""cocotb testbench of ``MatVecEngine``: its handshakes and its clocks against the golden model.

Run it with ``trilith.sim.testbench.run_testbench``, the fields of the ``MatVecConfig`` as JSON in
the environment variable ``TRILITH_ENGINE``::

    fields = {"lanes": 7, "rows": 2, "k_max": 23, "n_max": 9}
    run_testbench(
        MatVecEngine(MatVecConfig(**fields)),
        "trilith.sim.rtl.testbenches.engine",
        environment={"TRILITH_ENGINE": json.dumps(fields)},
    )

``Source`` drives an input stream, ``Sink`` takes the results, both with idle clocks from an
iterable. They only drive. What happens on the ports is seen by ``Bench`` alone, which samples all
of them once in each clock, checks the rules of the streams, of ``busy`` and of ``error``, and
holds the results to the golden model. A signal is always read right after the rising edge, where it
has its value from before the edge.
"""

import json
import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import Task
from cocotb.triggers import RisingEdge, Timer
from cocotb.utils import get_sim_time
from numpy.typing import NDArray

from ....golden.codes import CODES
from ....golden.matmul import activation_range
from ....hw.beats import activation_beats, result_values, weight_beats
from ....hw.config import MatVecConfig
from ....hw.engine.engine import MatVecEngine
from ....hw.engine.loader import job_layout
from ....hw.jobs import Job, golden_beats, job_fields, job_word

__all__ = ["Bench", "Monitor", "Sink", "Source", "expected_beats", "random_jobs", "stream_beats"]

#: Steps of simulated time in a clock.
_PERIOD = 2


#: No test takes this many clocks; one that does hangs.
_CLOCK_LIMIT = 60_000


#: Values and ``last`` of a result beat.
ResultBeat = tuple[tuple[int, ...], bool]


#: All tests end at a cycle limit.
_limited_test = cocotb.test(timeout_time=_PERIOD * _CLOCK_LIMIT, timeout_unit="step")


# ---------------------------------------------------------------------------------------- model


def expected_beats(config: MatVecConfig, job: Job) -> list[ResultBeat]:
    """The ``results`` stream of a job, as ``golden_beats`` gives it."""
    values = golden_beats(config, job).tolist()
    return [(tuple(row), beat == len(values) - 1) for beat, row in enumerate(values)]


def stream_beats(config: MatVecConfig, job: Job, rng: np.random.Generator) -> tuple[list, list]:
    """The ``activations`` and ``weights`` beats of a job, with noise where nothing may count.

    Rows from N on, lanes from K on and the fillers of a beat's last byte hold random trits of the
    code; lanes of activations from K on hold random bits, at ``act_bits`` 2 also the illegal −2.
    """
    code = CODES[config.code]
    n, k = job.trits.shape
    chunks = -(-k // config.lanes)
    trits = rng.choice(code.values, (-(-n // config.rows) * config.rows, chunks * config.lanes))
    trits[:n, :k] = job.trits
    packed = weight_beats(config, trits.astype(np.int8))
    count = config.rows * config.lanes
    beats = code.unpack(packed, config.weight_bytes * code.trits_per_byte)
    beats[:, count:] = rng.choice(code.values, beats[:, count:].shape)
    weights = [int.from_bytes(beat.tobytes(), "little") for beat in code.pack(beats)]

    activations = []
    if not job.reuse:
        tail = config.act_bits * (k - (chunks - 1) * config.lanes)
        for index, beat in enumerate(activation_beats(config, job.activations)):
            word = int.from_bytes(beat.tobytes(), "little")
            if index % chunks == chunks - 1:
                noise = int.from_bytes(rng.bytes(len(beat)), "little")
                noise %= 1 << (config.act_bits * config.lanes)
                word |= noise >> tail << tail
            activations.append(word)
    return activations, weights


class JobRules:
    """Says which jobs are in range, as ``JobLoader`` documents it."""

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


# -------------------------------------------------------------------------------------- streams


class Source:
    """Drives an input stream with the beats put into ``queue``.

    Waits as many idle clocks before each beat as ``gaps`` says. Where no beat is offered, the
    payload is random.
    """

    def __init__(self, dut, name: str, gaps: Iterable[int], seed: int) -> None:
        self._clk = dut.clk
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._payload = getattr(dut, f"{name}__payload")
        self._gaps = iter(gaps)
        self._random = random.Random(seed)
        self.queue: deque[int] = deque()
        self._task: Task | None = None

    def restart(self) -> None:
        """Forget all beats and offer none from now on."""
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
            for _ in range(next(self._gaps)):
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

    ``stalls`` says for each beat how many clocks it is offered in vain; ready is low before too,
    so that a producer that waits for ready never gets one.
    """

    def __init__(self, dut, name: str, stalls: Iterable[int]) -> None:
        self._clk = dut.clk
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._stalls = iter(stalls)
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
            stall = next(self._stalls)
            while stall or self._held:
                self._ready.value = 0
                await RisingEdge(self._clk)
                stall = max(0, stall - bool(self._valid.value))
            self._ready.value = 1
            await RisingEdge(self._clk)
            while not self._valid.value:
                await RisingEdge(self._clk)


class Monitor:
    """Watches a stream; checks that an offered beat stays, unchanged, until it is taken.

    Members
    -------
    clocks : the clocks in which beats were taken, since the last reset
    """

    def __init__(self, dut, name: str, callback: Callable[[int], None]) -> None:
        self._name = name
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._payload = getattr(dut, f"{name}__payload")
        self._callback = callback
        self.restart()

    def restart(self) -> None:
        """Forget what was seen."""
        self.clocks: list[int] = []
        self.offered: int | None = None

    def sample(self, clock: int) -> None:
        """Look at the clock that has just ended; call back with a beat that was taken."""
        name = self._name
        valid, ready = self._valid.value, self._ready.value
        assert valid.is_resolvable, f"{name}: valid must be known"
        assert ready.is_resolvable, f"{name}: ready must be known"
        waiting, self.offered = self.offered, None
        if not valid:
            assert waiting is None, f"{name}: valid fell in clock {clock} before its beat was taken"
            return
        assert self._payload.value.is_resolvable, f"{name}: payload must be known while valid"
        payload = self._payload.value.to_unsigned()
        assert waiting in (None, payload), f"{name}: payload changed in clock {clock} while waiting"
        if ready:
            self.clocks.append(clock)
            self._callback(payload)
        else:
            self.offered = payload


# ---------------------------------------------------------------------------------------- bench


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Idle clocks on each stream; each is a function of a seed."""

    jobs: Callable[[int], Iterable[int]]
    activations: Callable[[int], Iterable[int]]
    weights: Callable[[int], Iterable[int]]
    stalls: Callable[[int], Iterable[int]]


def no_idle(seed: int = 0) -> Iterator[int]:
    """Never idle."""
    return repeat(0)


def short_idle(seed: int) -> Iterator[int]:
    """Mostly no idle clock, else one to four."""
    generator = random.Random(seed)
    while True:
        yield generator.choice((0, 0, 0, 1, 1, 2, 4))


def bursts(seed: int) -> Iterator[int]:
    """Bursts of beats, then a long pause."""
    generator = random.Random(seed)
    while True:
        yield from repeat(0, generator.randrange(1, 12))
        yield generator.randrange(5, 40)


#: The same jobs run with each.
PATTERNS = {
    "none": Pattern(jobs=no_idle, activations=no_idle, weights=no_idle, stalls=no_idle),
    "gaps": Pattern(jobs=bursts, activations=short_idle, weights=short_idle, stalls=no_idle),
    "stalls": Pattern(jobs=no_idle, activations=no_idle, weights=no_idle, stalls=short_idle),
    "both": Pattern(jobs=short_idle, activations=bursts, weights=bursts, stalls=short_idle),
    "long": Pattern(jobs=no_idle, activations=short_idle, weights=no_idle, stalls=bursts),
}


class Bench:
    """Drivers, monitors, model and scoreboard round an engine.

    In each clock that is not under reset it checks:

    - the rules of the streams, see ``Monitor``;
    - that a result is offered only where one is due, and each result beat that is taken: values,
      and ``last`` on a job's final beat and no other;
    - that no more activation and weight beats are taken than the jobs accepted so far have;
    - ``busy``: high from the clock after a job is accepted to the one in which its last result is
      taken; a dropped job shows for one clock;
    - ``error``: sticky, and low unless ``error_allowed``.

    Parameters
    ----------
    dut : the engine
    pattern : idle clocks
    seed : of the pattern and of the noise where nothing counts

    Members
    -------
    jobs, activations, weights, results : Monitor
    ends : clocks in which the last result of a job was taken, since the last reset
    error_allowed : whether ``error`` may rise; cleared by ``reset``
    """

    def __init__(self, dut, pattern: Pattern = PATTERNS["none"], *, seed: int = 0) -> None:
        self.config = MatVecConfig(**json.loads(os.environ["TRILITH_ENGINE"]))
        self.rng = np.random.default_rng(seed)
        self._dut = dut
        self._sources = {
            name: Source(dut, name, gaps(seed + index), seed)
            for index, (name, gaps) in enumerate(
                (
                    ("jobs", pattern.jobs),
                    ("activations", pattern.activations),
                    ("weights", pattern.weights),
                )
            )
        }
        self._sink = Sink(dut, "results", pattern.stalls(seed + 3))
        self.jobs = Monitor(dut, "jobs", self._job_taken)
        self.activations = Monitor(dut, "activations", self._activations_taken)
        self.weights = Monitor(dut, "weights", self._weights_taken)
        self.results = Monitor(dut, "results", self._result_taken)
        self._watching = False
        self._forget()

    def _forget(self) -> None:
        self._rules = JobRules(self.config)
        self._submitted: deque[list[ResultBeat] | None] = deque()
        self._expected: deque[ResultBeat] = deque()
        self._outstanding = 0
        self._dropped = False
        self._due = {"activations": 0, "weights": 0}
        self._error = False
        self._clock = 0
        self.error_allowed = False
        self.ends: list[int] = []
        for monitor in (self.jobs, self.activations, self.weights, self.results):
            monitor.restart()

    @property
    def idle(self) -> bool:
        """Everything submitted was taken, and all its results."""
        return not (self._submitted or self._outstanding)

    async def reset(self, clocks: int = 2) -> None:
        """Reset the engine, forget all jobs, and go on in the first clock after the reset.

        The streams go on under reset as they were.
        """
        self._dut.rst.value = 1
        if not self._watching:
            self._watching = True
            await Timer(1, "step")
            Clock(self._dut.clk, _PERIOD, unit="step").start()
            for source in self._sources.values():
                source.restart()
            cocotb.start_soon(self._watch())
        for _ in range(clocks):
            await RisingEdge(self._dut.clk)
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
        """Queue a job and its beats; ``beats`` and ``expected`` default to what the job says."""
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
        """Take no result until the next reset, or take them again."""
        self._sink.restart(held=held)

    async def wait(self, clocks: int) -> None:
        """Let some clocks pass."""
        for _ in range(clocks):
            await RisingEdge(self._dut.clk)

    async def wait_until(self, condition: Callable[[], bool], *, limit: int = 20_000) -> None:
        """Let clocks pass until a condition holds, and fail after ``limit`` of them."""
        for _ in range(limit):
            if condition():
                return
            await RisingEdge(self._dut.clk)
        raise AssertionError(
            f"the engine must get on within {limit} clocks: {len(self._submitted)} jobs not taken, "
            f"{self._outstanding} not finished, {len(self._expected)} results missing, "
            f"{self._due} beats not taken"
        )

    async def drain(self) -> None:
        """Wait for all results, and long enough after them to see what must not come."""
        await self.wait_until(lambda: self.idle)
        await self.wait(2 * MatVecEngine(self.config).latency)
        left = {name: len(source.queue) for name, source in self._sources.items()}
        assert not any(left.values()), f"all beats of the jobs must be taken; left are {left}"
        assert not any(self._due.values()), f"all beats of the jobs must be taken, not {self._due}"
        assert self._error == self.error_allowed, f"error must be {self.error_allowed} by now"

    async def _watch(self) -> None:
        dut = self._dut
        while True:
            await RisingEdge(dut.clk)
            if dut.rst.value:
                continue
            self._clock = get_sim_time("step") // _PERIOD

            assert dut.busy.value.is_resolvable, "busy must be known"
            busy = self._outstanding > 0 or self._dropped
            assert bool(dut.busy.value) == busy, (
                f"busy must be {busy} in clock {self._clock}, with {self._outstanding} jobs taken "
                "and not finished"
            )
            assert dut.error.value.is_resolvable, "error must be known"
            error = bool(dut.error.value)
            assert error or not self._error, f"error fell in clock {self._clock} without a reset"
            assert self.error_allowed or not error, f"error rose in clock {self._clock}"
            self._error = error

            self._dropped = False
            # Results first, jobs last: what was due in this clock was due before it.
            offered = bool(dut.results__valid.value)
            assert self._expected or not offered, f"no result is due in clock {self._clock}"
            for monitor in (self.results, self.weights, self.activations, self.jobs):
                monitor.sample(self._clock)

    def _job_taken(self, word: int) -> None:
        assert self._submitted, f"no job was offered in clock {self._clock}"
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
        assert self._due["activations"], f"no activations are due in clock {self._clock}"
        self._due["activations"] -= 1

    def _weights_taken(self, word: int) -> None:
        assert self._due["weights"], f"no weights are due in clock {self._clock}"
        self._due["weights"] -= 1

    def _result_taken(self, word: int) -> None:
        size = self.config.rows * self.config.acc_width + 1
        beat = np.frombuffer(word.to_bytes(-(-size // 8), "little"), np.uint8)
        values, last = result_values(self.config, beat[np.newaxis])
        got = (tuple(map(int, values[0])), bool(last[0]))
        expected = self._expected.popleft()
        assert got == expected, f"result in clock {self._clock} must be {expected}, not {got}"
        if got[1]:
            self._outstanding -= 1
            self.ends.append(self._clock)


# ----------------------------------------------------------------------------------------- jobs


def random_activations(
    config: MatVecConfig, rng: np.random.Generator, tokens: int, k: int
) -> NDArray[np.int8]:
    """Legal activations, int8[tokens, k]."""
    low, high = activation_range(config.act_bits)
    return rng.integers(low, high + 1, (tokens, k), np.int8)


def random_job(config: MatVecConfig, rng: np.random.Generator, **fields: int) -> Job:
    """A job without reuse; ``n``, ``k``, ``tokens`` and ``group_chunks`` random unless given."""
    n = fields.get("n", int(rng.integers(1, config.n_max + 1)))
    k = fields.get("k", int(rng.integers(1, config.k_max + 1)))
    tokens = fields.get("tokens", int(rng.integers(1, config.tokens + 1)))
    group_chunks = fields.get(
        "group_chunks", int(rng.integers(0, config.max_chunks + 1)) if rng.random() < 0.5 else 0
    )
    return Job(
        trits=rng.choice(CODES[config.code].values, (n, k)).astype(np.int8),
        activations=random_activations(config, rng, tokens, k),
        group_chunks=group_chunks,
    )


def reusing(config: MatVecConfig, rng: np.random.Generator, loaded: Job, tokens: int) -> Job:
    """A random job that reuses ``tokens`` of the activations that ``loaded`` has loaded."""
    fresh = random_job(config, rng, k=loaded.trits.shape[1])
    return Job(
        trits=fresh.trits,
        activations=loaded.activations[:tokens],
        group_chunks=fresh.group_chunks,
        reuse=True,
    )


def random_jobs(config: MatVecConfig, rng: np.random.Generator) -> Iterator[Job]:
    """Corners of the shape first, each with all tokens and followed by reuse; then random jobs."""
    lanes, rows = config.lanes, config.rows
    some_k = min(lanes + 1, config.k_max)
    shapes = [
        {"n": 1, "k": 1, "group_chunks": 0},
        {"n": min(rows + 1, config.n_max), "k": some_k, "group_chunks": 1},
        {"n": config.n_max, "k": config.k_max, "group_chunks": 0},
        {"n": config.n_max, "k": config.k_max, "group_chunks": config.max_chunks},
        {"n": min(2 * rows, config.n_max), "k": min(2 * lanes, config.k_max), "group_chunks": 1},
        {"n": 1, "k": max(config.k_max - 1, 1), "group_chunks": min(2, config.max_chunks)},
    ]
    corners = [{**shape, "tokens": config.tokens} for shape in shapes]
    corners += [{**shapes[1], "tokens": tokens} for tokens in range(1, config.tokens)]
    for fields in chain(corners, repeat({})):
        loaded = random_job(config, rng, **fields)
        yield loaded
        # What is loaded stays, whatever part of it a job in between has used.
        for _ in range(int(rng.integers(0, 3))):
            tokens = int(rng.integers(1, len(loaded.activations) + 1))
            yield reusing(config, rng, loaded, tokens)


def illegal_bytes(config: MatVecConfig) -> list[int]:
    """Up to eight illegal bytes of the code, the first and the last among them."""
    illegal = [int(byte) for byte in np.flatnonzero(~CODES[config.code].legal)]
    step = max(1, (len(illegal) - 1) // 6)
    return sorted({*illegal[::step], *illegal[-1:]})


# ---------------------------------------------------------------------------------------- tests


@_limited_test
@cocotb.parametrize(pattern=list(PATTERNS))
async def jobs_are_exact(dut, pattern: str) -> None:
    """Jobs of many shapes, back to back, with reuse and partial results."""
    bench = Bench(dut, PATTERNS[pattern], seed=1)
    await bench.reset()
    for job in islice(random_jobs(bench.config, np.random.default_rng(2)), 40):
        bench.submit(job)
    await bench.drain()
    assert len(bench.ends) == 40


@_limited_test
async def extremes_are_exact(dut) -> None:
    """The largest sums that there are, of either sign, and a mixture, at K = k_max."""
    bench = Bench(dut)
    config, rng = bench.config, np.random.default_rng(3)
    await bench.reset()
    least, most = activation_range(config.act_bits)
    n = min(config.rows + 1, config.n_max)
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
                    trits=rng.choice(weights, (n, config.k_max)).astype(np.int8),
                    activations=rng.choice(values, (config.tokens, config.k_max)).astype(np.int8),
                    group_chunks=group_chunks,
                )
            )
    # Signs that agree with the activation reach the bound in every node of the tree.
    x = rng.choice((least, most), (1, config.k_max)).astype(np.int8)
    bench.submit(Job(trits=np.repeat(np.sign(x), n, axis=0), activations=x))
    bench.submit(Job(trits=np.repeat(-np.sign(x), n, axis=0), activations=x))
    await bench.drain()


@_limited_test
@cocotb.parametrize(phase=["load", "compute", "drain"])
async def reset_forgets_the_job(dut, phase: str) -> None:
    """After a reset at any moment no beat of the old job comes, and a fresh job is exact."""
    generator = random.Random(5)
    bench = Bench(dut, PATTERNS["gaps" if phase == "load" else "none"], seed=6)
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
            await bench.wait_until(lambda goal=goal: len(bench.activations.clocks) >= goal)
        elif phase == "compute":
            goal = generator.randrange(1, weights)
            await bench.wait_until(lambda goal=goal: len(bench.weights.clocks) >= goal)
        else:
            await bench.wait_until(lambda: bench.results.offered is not None)
            await bench.wait(generator.randrange(20))
        await bench.reset(generator.randrange(1, 4))
        bench.submit(random_job(config, rng))
        await bench.drain()


@_limited_test
async def out_of_range_jobs_are_dropped(dut) -> None:
    """Each kind sets ``error``, takes no beats, and leaves the next job and the buffer as is."""
    bench = Bench(dut)
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
        # From idle, where the job meets an engine that waits for its beats.
        bench.submit_out_of_range(**(good | kind))
        bench.submit(fresh)
        await bench.drain()
    # Nothing is loaded after a reset, whatever was before it.
    await bench.reset()
    bench.submit_out_of_range(**(good | {"reuse": 1}))
    bench.submit(random_job(config, rng))
    await bench.drain()
    await bench.reset()
    bench.submit(random_job(config, rng))
    await bench.drain()


@_limited_test
async def illegal_weights_count_as_zero(dut) -> None:
    """An illegal byte counts as the code's table says and sets ``error`` until the reset."""
    bench = Bench(dut)
    config, rng, code = bench.config, np.random.default_rng(9), CODES[bench.config.code]
    await bench.reset()
    for byte in illegal_bytes(config):
        job = random_job(config, rng)
        n, k = job.trits.shape
        activations, weights = stream_beats(config, job, rng)
        # The byte that holds a weight of the matrix, in the middle of the stream.
        row, column = int(rng.integers(n)), int(rng.integers(k))
        chunk, lane = divmod(column, config.lanes)
        beat = row // config.rows * -(-k // config.lanes) + chunk
        index = (row % config.rows * config.lanes + lane) // code.trits_per_byte
        weights[beat] &= ~(0xFF << 8 * index)
        weights[beat] |= byte << 8 * index
        trits = job.trits.copy()
        for place, trit in enumerate(code.table[byte], index * code.trits_per_byte):
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
    """At ``act_bits`` 2 a −2 is zero and sets ``error``; at others nothing is illegal."""
    bench = Bench(dut)
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
    """Clocks from the first to each weight beat, where only the group's tokens hold them up.

    Two result groups end at least ``tokens`` clocks apart.
    """
    clocks: list[int] = []
    free = end = 0
    for length in group_lengths(config, job):
        end = max(free + length - 1, end + len(job.activations) if clocks else 0)
        clocks += [*range(free, free + length - 1), end]
        free = end + 1
    return clocks


@_limited_test
async def cycles_are_exact(dut) -> None:
    """Without gaps, a job takes the clocks that the engine's docstring says."""
    bench = Bench(dut)
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
        start, end = bench.jobs.clocks[index], bench.ends[index]
        weights = bench.weights.clocks[-beats:]
        assert weights[0] - start == 3 + load, f"first weight after {weights[0] - start} clocks"
        schedule = weight_schedule(config, job)
        assert [clock - weights[0] for clock in weights] == schedule, f"weights at {weights}"
        if min(lengths) >= tokens:
            full_rate += 1
            assert weights[-1] - weights[0] == beats - 1, "a weight beat must come every clock"
            cycles = 3 + load + beats + latency + tokens - 1
            assert end - start + 1 == cycles, f"the job must take {cycles}, not {end - start + 1}"
        assert end - weights[-1] == latency + tokens - 1, f"{end - weights[-1]} clocks of latency"
    assert full_rate >= 5


@_limited_test
async def loading_hides_behind_computing(dut) -> None:
    """Where computing takes longer than loading, jobs follow each other without a lost clock."""
    bench = Bench(dut)
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
    clocks = bench.weights.clocks
    assert len(clocks) == 9 * beats
    assert clocks[-1] - clocks[0] == 9 * beats - 1, "a weight beat must come every clock"

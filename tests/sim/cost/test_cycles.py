import re
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from math import floor

import numpy as np
import pytest

from trilith.hw import PRESETS, MatVecConfig, MatVecEngine
from trilith.hw.engine.timing import EngineTiming, job_times
from trilith.hw.jobs import JobShape
from trilith.sim import Job, MatVecSimulator
from trilith.sim.cost.cycles import PrefetchMemory, _extrapolated, matvec_cycles, throttled
from trilith.sim.rtl.suite import SWEEP_CONFIGS

#: Between them every code and activation width, 1 to 8 tokens, 1 to 4 levels in a stage.
CONFIGS = (
    *SWEEP_CONFIGS,
    MatVecConfig(lanes=5, rows=1, k_max=64, n_max=64, levels_per_stage=4),
    MatVecConfig(lanes=5, rows=8, tokens=3, code="two_bit", k_max=90, n_max=64),
    MatVecConfig(lanes=6, rows=3, tokens=8, act_bits=4, code="tq1", k_max=200, n_max=40),
    MatVecConfig(lanes=9, rows=2, tokens=5, act_bits=2, code="binary", k_max=150, n_max=50),
    MatVecConfig(lanes=10, rows=4, tokens=7, code="escape", k_max=130, n_max=80),
    MatVecConfig(lanes=12, rows=5, tokens=2, act_bits=4, k_max=300, n_max=100, levels_per_stage=2),
    MatVecConfig(lanes=15, rows=1, tokens=6, code="tq1", k_max=300, n_max=30, levels_per_stage=3),
    MatVecConfig(lanes=17, rows=7, code="two_bit", act_bits=2, k_max=400, n_max=200),
    MatVecConfig(lanes=24, rows=2, tokens=3, code="escape", k_max=500, n_max=64),
    MatVecConfig(lanes=32, rows=2, tokens=4, code="binary", k_max=64, n_max=300),
    MatVecConfig(lanes=40, rows=1, tokens=8, act_bits=4, k_max=400, n_max=64, levels_per_stage=4),
    MatVecConfig(lanes=64, rows=2, act_bits=2, code="escape", k_max=1000, n_max=60),
)
#: Configurations whose simulations other tests need too, run in ``make test``.
QUICK = (0, 1, 3)


def random_job(rng, config, tokens):
    return JobShape(
        n=int(rng.integers(1, min(config.n_max, 6 * config.rows) + 1)),
        k=int(rng.integers(1, min(config.k_max, 12 * config.lanes) + 1)),
        tokens=tokens,
        group_chunks=int(rng.choice([0, 0, 1, 2, 3, config.max_chunks])) % (config.max_chunks + 1),
    )


def random_chain(rng, config):
    jobs = []
    for _ in range(6):
        tokens = int(rng.integers(1, config.tokens + 1))
        if jobs and rng.random() < 0.4:
            before = jobs[-1]
            job = replace(random_job(rng, config, min(tokens, before.tokens)), k=before.k)
            jobs.append(replace(job, reuse=True))
        else:
            jobs.append(random_job(rng, config, tokens))
    return jobs


def random_memory(rng, config):
    burst = int(rng.choice([8, 32, 64, 256]))
    return PrefetchMemory(
        bytes_per_cycle=float(config.weight_bytes * rng.choice([0.13, 0.4, 0.71, 1, 1.5, 3.3])),
        burst_bytes=burst,
        latency=int(rng.integers(0, 120)),
        prefetch_bytes=config.weight_bytes + burst + int(rng.integers(0, 40 * config.weight_bytes)),
    )


def operands(config, jobs):
    """Jobs of these shapes; cycles do not depend on values, so most values are constant."""
    rng = np.random.default_rng(1)
    made = []
    for job in jobs:
        x = made[-1].activations[: job.tokens] if job.reuse else None
        if x is None:
            x = rng.integers(-1, 2, (job.tokens, job.k), np.int8)
        trits = rng.choice(np.array([-1, 1], np.int8), (job.n, job.k))
        groups = {"group_chunks": job.group_chunks, "reuse": job.reuse}
        made.append(Job(trits=trits, activations=x, **groups))
    return made


def measured(simulator, jobs, **gaps):
    runs, counters = simulator.run_jobs(operands(simulator.config, jobs), **gaps)
    assert not counters.error
    return [run.cycles for run in runs], counters.last_result - counters.first_job + 1


@pytest.mark.parametrize(
    "index",
    [
        index if index in QUICK else pytest.param(index, marks=pytest.mark.long)
        for index in range(len(CONFIGS))
    ],
)
def test_that_the_model_counts_what_the_rtl_takes(index):
    config = CONFIGS[index]
    rng = np.random.default_rng(index)
    with MatVecSimulator(config) as simulator:
        # Products, most of several passes: seven shapes.
        for case in range(7):
            tokens = int(rng.integers(1, 4 * config.tokens + 2)) if case else 6 * config.tokens + 1
            job = random_job(rng, config, tokens)
            full, rest = divmod(tokens, config.tokens)
            counts = [config.tokens] * full + [rest] * (rest > 0)
            _, cycles = measured(simulator, [replace(job, tokens=count) for count in counts])
            model = matvec_cycles(config, job.n, job.k, tokens, group_chunks=job.group_chunks)
            assert model == cycles, f"{job} takes {cycles}, not {model}"
        # Six jobs back to back, some with reuse.
        jobs = random_chain(rng, config)
        assert [times.cycles for times in job_times(config, jobs)] == measured(simulator, jobs)[0]
        # The same from a slow memory: idle cycles before each beat.
        memory = random_memory(rng, config)
        times, gaps = zip(*throttled(config, jobs, memory), strict=True)
        cycles, total = measured(simulator, jobs, weight_gaps=list(chain.from_iterable(gaps)))
        assert [time.cycles for time in times] == cycles, memory
        assert times[-1].last_result + 1 == total
        # Products from a slow memory: three shapes.
        for _ in range(3):
            job, memory = random_job(rng, config, config.tokens), random_memory(rng, config)
            job = replace(job, group_chunks=0)
            gaps = [gap for _, gaps in throttled(config, [job] * 2, memory) for gap in gaps]
            _, cycles = measured(simulator, [job] * 2, weight_gaps=gaps)
            model = matvec_cycles(config, job.n, job.k, 2 * config.tokens, memory)
            assert abs(model - cycles) <= 0.01 * cycles, f"{job} {memory}: {cycles}, not {model}"


def test_that_cycles_do_not_depend_on_data():
    config = CONFIGS[0]
    rng = np.random.default_rng(9)
    with MatVecSimulator(config) as simulator:
        counts = {
            simulator.run(
                rng.choice(
                    np.array([-1, 0, 1], np.int8), (11, 40), p=[share / 2, 1 - share, share / 2]
                ),
                rng.integers(-128, 128, (3, 40), np.int8),
            ).cycles
            for share in (0.0, 0.3, 1.0)
        }
    assert counts == {matvec_cycles(config, 11, 40, 3)}


def test_that_the_engine_has_these_latencies():
    for config in (*CONFIGS[:3], *PRESETS.values()):
        engine = MatVecEngine(config)
        engine._MustUse__silence = True  # Only its figures are wanted, and Amaranth warns of that.
        timing = EngineTiming.of(config)
        assert (engine.latency, engine.job_latency) == (timing.latency, timing.job_latency)


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 5, 9, 40, 41])
def test_that_skipping_passes_is_exact(tokens):
    for index, config in enumerate(CONFIGS):
        job = random_job(np.random.default_rng([tokens, index]), config, 1)
        full, rest = divmod(tokens * config.tokens + index % config.tokens, config.tokens)
        jobs = [replace(job, tokens=config.tokens)] * full
        jobs += [replace(job, tokens=rest)] if rest else []
        *_, last = job_times(config, jobs)
        total = sum(one.tokens for one in jobs)
        model = matvec_cycles(config, job.n, job.k, total, group_chunks=job.group_chunks)
        assert model == last.last_result + 1


def naive_cycles(config, job, memory):
    """Cycles of a job's weight beats, a cycle at a time, where its result groups never stall."""
    beats = job.row_groups(config) * job.chunks(config)
    first = EngineTiming.of(config).job_latency + job.tokens * job.chunks(config)
    rate = Fraction(memory.bytes_per_cycle)
    # Bytes of each burst that was requested, and when the first of them comes.
    bursts, taken, cycle = [], [], 0
    while len(taken) < beats:
        gone = sum(one < cycle for one in taken) * config.weight_bytes
        held = len(bursts) * memory.burst_bytes - gone
        while held + memory.burst_bytes <= memory.prefetch_bytes:
            free = bursts[-1] + memory.burst_bytes / rate if bursts else 0
            bursts.append(max(cycle + memory.latency, free))
            held += memory.burst_bytes
        come = sum(
            min(memory.burst_bytes, max(0, floor((cycle - start) * rate))) for start in bursts
        )
        if cycle >= first and come >= (len(taken) + 1) * config.weight_bytes:
            taken.append(cycle)
        cycle += 1
    return taken


@pytest.mark.parametrize("seed", range(6))
def test_that_the_memory_is_what_it_says(seed):
    rng = np.random.default_rng([6, seed])
    config = CONFIGS[0]
    job = JobShape(n=int(rng.integers(1, 20)), k=int(rng.integers(1, 60)), tokens=1)
    memory = PrefetchMemory(
        # Exact in binary, so that no cycle depends on a rounding.
        bytes_per_cycle=float(rng.choice([0.5, 0.75, 1.5, 3.0, 8.0])),
        burst_bytes=int(rng.choice([3, 8, 16])),
        latency=int(rng.integers(0, 40)),
        prefetch_bytes=int(rng.integers(19, 80)),
    )
    taken = naive_cycles(config, job, memory)
    ((times, gaps),) = throttled(config, [job], memory)
    assert times.last_weight == taken[-1]
    there = [gap + last + 1 for gap, last in zip(gaps, [-1, *taken], strict=False)]
    assert [max(cycle, times.first_weight) for cycle in there] == taken


def test_that_a_long_product_continues_as_it_began():
    rng = np.random.default_rng(5)
    for config in (PRESETS["micro"], PRESETS["block"], CONFIGS[1], CONFIGS[10]):
        for n, k, passes in (
            (config.n_max, config.k_max, 2),
            (config.n_max, config.k_max // 3, 5),
            (config.rows, config.k_max // 2 + 1, 40),
        ):
            memory = random_memory(rng, config)
            jobs = [JobShape(n=n, k=k, tokens=config.tokens)] * passes
            *_, (exact, _) = throttled(config, jobs, memory)
            cycles = exact.last_result + 1
            assert abs(_extrapolated(config, jobs, memory) - cycles) <= 0.01 * cycles, memory


def test_that_a_fast_memory_costs_its_latency_once():
    config = PRESETS["micro"]
    memory = PrefetchMemory(bytes_per_cycle=64, burst_bytes=64, latency=0, prefetch_bytes=4096)
    free = matvec_cycles(config, 100, 1000, 1)
    assert matvec_cycles(config, 100, 1000, 1, memory) == free
    # The engine loads activations for 3 + 125 cycles; the first beat is there in cycle 501.
    late = replace(memory, latency=500)
    assert matvec_cycles(config, 100, 1000, 1, late) > free + 500 - 128
    # A quarter of a beat in a cycle: four cycles a beat.
    slow = replace(memory, bytes_per_cycle=2.0)
    beats = 20 * 125
    assert abs(matvec_cycles(config, 100, 1000, 1, slow) - 4 * beats) < 0.01 * 4 * beats


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5, 1), "n must be an integer from 1 to 1024, not 0"),
        ((5, 1025, 1), "k must be an integer from 1 to 1024, not 1025"),
        ((5, 5, -1), "tokens must be an integer from 1 to 16777216, not -1"),
        ((5, 5.0, 1), "k must be an integer from 1 to 1024, not 5.0"),
    ],
)
def test_bad_sizes(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        matvec_cycles(PRESETS["micro"], *arguments)


def test_bad_memory():
    with pytest.raises(ValueError, match=r"^bytes_per_cycle must be above 0, not 0$"):
        PrefetchMemory(bytes_per_cycle=0, burst_bytes=1, latency=0, prefetch_bytes=1)
    memory = PrefetchMemory(bytes_per_cycle=1, burst_bytes=64, latency=0, prefetch_bytes=64)
    message = "prefetch_bytes must be at least a burst and a weight beat, 72, not 64"
    with pytest.raises(ValueError, match=f"^{message}$"):
        matvec_cycles(PRESETS["micro"], 5, 5, 1, memory)

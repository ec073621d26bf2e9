"""The cycle model: cycles of matrix products on the engine, equal to those of the RTL."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf

from ...hw.config import MatVecConfig
from ...hw.engine.timing import EngineTiming, JobChain, JobTimes
from ...hw.jobs import JobShape

__all__ = ["PrefetchMemory", "matvec_cycles", "passes", "throttled"]

#: Most weight beats that are followed one by one; a longer product is extrapolated.
_EXACT_BEATS = 32_768


@dataclass(frozen=True, kw_only=True)
class PrefetchMemory:
    """A memory that streams weights ahead of the engine, in bursts, into a buffer.

    Requests are made in order, from the cycle in which the first job is accepted. Each is made as
    soon as the buffer has room for its burst. A burst begins ``latency`` cycles after its request,
    but not before the end of the burst before it. The bytes of a beat are free in the cycle after
    the engine has taken it.

    Parameters
    ----------
    bytes_per_cycle : bytes per cycle while a burst is transferred, above 0
    burst_bytes : bytes of a burst, 1 or more
    latency : cycles from a request to its first byte, 0 or more
    prefetch_bytes : size of the buffer; at least a burst and a weight beat

    Raises
    ------
    ValueError
        If a value is not legal.
    """

    bytes_per_cycle: float
    burst_bytes: int
    latency: int
    prefetch_bytes: int

    def __post_init__(self) -> None:
        if not 0 < self.bytes_per_cycle < inf:
            raise ValueError(f"bytes_per_cycle must be above 0, not {self.bytes_per_cycle}")
        for name, low in (("burst_bytes", 1), ("latency", 0), ("prefetch_bytes", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise ValueError(f"{name} must be an integer from {low} on, not {value!r}")


def passes(n: int, k: int, tokens: int, config: MatVecConfig, group_chunks: int = 0) -> list[int]:
    """Return the tokens of each job that a product takes.

    Parameters
    ----------
    n, k : outputs and inputs, 1 to the configuration's maximum
    tokens : activation vectors, 1 to 2²⁴
    config : the engine
    group_chunks : 0 for one result per output; else a partial result every so many chunks

    Raises
    ------
    ValueError
        If a size is not legal for the configuration.
    """
    for name, value, low, high in (
        ("n", n, 1, config.n_max),
        ("k", k, 1, config.k_max),
        ("tokens", tokens, 1, 2**24),
        ("group_chunks", group_chunks, 0, config.max_chunks),
    ):
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{name} must be an integer from {low} to {high}, not {value!r}")
    full, rest = divmod(tokens, config.tokens)
    return [config.tokens] * full + [rest] * (rest > 0)


def matvec_cycles(
    config: MatVecConfig,
    n: int,
    k: int,
    tokens: int,
    memory: PrefetchMemory | None = None,
    *,
    group_chunks: int = 0,
) -> int:
    """Return the cycles of a product W (n, k) @ x (tokens, k), as ``MatVecSimulator.run`` counts.

    If ``tokens`` exceeds the engine's, jobs follow back to back. Without ``memory`` the count is
    exact. With it, the count is exact for at most 32,768 weight beats. A longer product begins
    exactly and continues at the rate of its beginning (within 1 %).

    Parameters
    ----------
    config : the engine
    n, k : outputs and inputs, 1 to the configuration's maximum
    tokens : activation vectors, 1 to 2²⁴
    memory : the weights' memory; None where a weight beat is always available
    group_chunks : 0 for one result per output; else a partial result every so many chunks

    Returns
    -------
    Cycles from the acceptance of the first job to that of the last result, both counted

    Raises
    ------
    ValueError
        If a size is not legal for the configuration, or the memory's buffer is too small for it.
    """
    counts = passes(n, k, tokens, config, group_chunks)
    shapes = {
        count: JobShape(n=n, k=k, tokens=count, group_chunks=group_chunks) for count in set(counts)
    }
    jobs = [shapes[count] for count in counts]
    if memory is None:
        return _chain_cycles(config, jobs)
    beats = jobs[0].row_groups(config) * jobs[0].chunks(config)
    if beats * len(jobs) <= _EXACT_BEATS:
        return _throttled_cycles(config, jobs, memory)
    return _extrapolated(config, jobs, memory)


def _chain_cycles(config: MatVecConfig, jobs: Sequence[JobShape]) -> int:
    """Return the cycles of passes without gaps; all but the last have the same shape."""
    chain = JobChain(config, EngineTiming.of(config))
    times = chain.run(jobs[0])
    place = 1
    if len(jobs) > 3:
        # The second pass begins while the engine works, as every later pass does.
        second, third = chain.run(jobs[1]), chain.run(jobs[2])
        step = third.last_weight - second.last_weight
        if third.first_weight - second.first_weight == step:
            chain.skip((len(jobs) - 4) * step)
            place = len(jobs) - 1
        else:
            place = 3
    for job in jobs[place:]:
        times = chain.run(job)
    return times.last_result + 1


def throttled(
    config: MatVecConfig, jobs: Sequence[JobShape], memory: PrefetchMemory
) -> Iterator[tuple[JobTimes, list[int]]]:
    """Yield the cycles of each job, and the idle cycles before each of its weight beats.

    The idle cycles are the ``weight_gaps`` of ``MatVecSimulator``: with them, the RTL's weight
    stream is that of the memory.

    Parameters
    ----------
    config : the engine
    jobs : jobs back to back, legal for it
    memory : the weights' memory

    Raises
    ------
    ValueError
        If the memory's buffer holds less than a burst and a weight beat.
    """
    width, burst = config.weight_bytes, memory.burst_bytes
    if memory.prefetch_bytes < width + burst:
        raise ValueError(
            f"prefetch_bytes must be at least a burst and a weight beat, {width + burst}, "
            f"not {memory.prefetch_bytes}"
        )
    chain = JobChain(config, EngineTiming.of(config))
    fired: list[int] = []
    bursts = 0
    # Begin and end of the last burst, in cycles times ``per``, so that nothing is rounded.
    per, byte = Fraction(memory.bytes_per_cycle).as_integer_ratio()
    begin = end = 0
    last = -1
    for job in jobs:
        chain.hand_over(job)
        count, length, rest = job.row_group(config)
        row_group = [length] * count + [rest] * (rest > 0)
        earliest, next_end = chain.first_weight, chain.next_end
        gaps = []
        for beats in row_group * job.row_groups(config):
            for left in range(beats - 1, -1, -1):
                needed = (len(fired) + 1) * width
                while bursts * burst < needed:
                    # Beats that must have left the buffer to make room for the burst.
                    gone = -(-((bursts + 1) * burst - memory.prefetch_bytes) // width)
                    request = fired[gone - 1] + 1 if gone > 0 else 0
                    begin = max((request + memory.latency) * per, end)
                    end = begin + burst * byte
                    bursts += 1
                there = -(-(begin + (needed - (bursts - 1) * burst) * byte) // per)
                gaps.append(max(0, there - last - 1))
                last = max(there, earliest)
                if not left:
                    last = max(last, next_end)
                    next_end = last + job.tokens
                earliest = last + 1
                fired.append(last)
        yield chain.finish(job, last), gaps


def _throttled_cycles(
    config: MatVecConfig, jobs: Sequence[JobShape], memory: PrefetchMemory
) -> int:
    """Return the cycles of jobs from a memory, each weight beat followed."""
    *_, (times, _) = throttled(config, jobs, memory)
    return times.last_result + 1


def _extrapolated(config: MatVecConfig, jobs: Sequence[JobShape], memory: PrefetchMemory) -> int:
    """Return the cycles of a long product: few row groups and passes give the steady rate."""
    row_groups, chunks = jobs[0].row_groups(config), jobs[0].chunks(config)
    some = min(row_groups, max(8, _EXACT_BEATS // 4 // chunks))

    def cycles(groups: int, count: int) -> int:
        n = min(jobs[0].n, groups * config.rows)
        return _throttled_cycles(config, [replace(job, n=n) for job in jobs[:count]], memory)

    def product(count: int) -> float:
        whole = cycles(some, count)
        if some == row_groups:
            return whole
        half = some // 2
        return whole + (row_groups - some) * (whole - cycles(half, count)) / (some - half)

    few = min(len(jobs), max(3, _EXACT_BEATS // (some * chunks)))
    total = product(few)
    if few < len(jobs):
        total += (len(jobs) - few) * (total - product(few // 2 + 1)) / (few - few // 2 - 1)
    return round(total)

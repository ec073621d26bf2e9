"""Cycles of jobs on the engine, in closed form."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from ..config import MatVecConfig
from ..jobs import JobShape

__all__ = ["EngineTiming", "JobChain", "JobTimes", "job_times"]


@dataclass(frozen=True, kw_only=True)
class JobTimes:
    """Numbers of the cycles in which the engine and its consumer accept the beats of a job.

    Cycle 0 is the one in which the first job is accepted.

    Parameters
    ----------
    accepted : cycle of the job word
    first_weight, last_weight : cycles of the first and the last weight beat
    last_result : cycle of the last result beat
    """

    accepted: int
    first_weight: int
    last_weight: int
    last_result: int

    @property
    def cycles(self) -> int:
        """Cycles from the acceptance of the job to its last result, both counted."""
        return self.last_result - self.accepted + 1


@dataclass(frozen=True, kw_only=True)
class EngineTiming:
    """Latencies of the engine's pipeline, in cycles.

    Parameters
    ----------
    job_latency : from the acceptance of a job to its first weight beat, with nothing to load
    latency : from the last weight beat of a result group to its first result beat
    """

    job_latency: int
    latency: int

    @classmethod
    def of(cls, config: MatVecConfig) -> Self:
        """Latencies of the engine of a configuration."""
        # A job is accepted, checked, and offered for computing: one cycle each.
        return cls(job_latency=3, latency=config.latency)


class JobChain:
    """Cycles of jobs back to back, one job after the other.

    A job is accepted in the cycle after the handover of the job before. Its own handover follows
    ``job_latency − 1`` cycles later, plus one cycle for each activation beat. It never comes before
    the last weight beat of the job before. The first weight beat may come in the cycle after the
    handover. Two result groups end at least as many cycles apart as the earlier one has tokens.

    Parameters
    ----------
    config : the configuration of the engine
    timing : the latencies of the engine

    Members
    -------
    accepted : cycle in which the next job is accepted
    first_weight : cycle of the first weight beat of the job that was handed over last
    last_weight : cycle of the last weight beat of the job before, −1 before the first job
    next_end : first cycle in which a result group may end
    """

    def __init__(self, config: MatVecConfig, timing: EngineTiming) -> None:
        self._config = config
        self._timing = timing
        self.accepted = 0
        self.first_weight = 0
        self.last_weight = self.next_end = -1

    def hand_over(self, job: JobShape) -> None:
        """Accept a job, and set ``first_weight`` to the cycle of its first weight beat."""
        load = 0 if job.reuse else job.tokens * job.chunks(self._config)
        loaded = self.accepted + self._timing.job_latency - 1 + load
        self.first_weight = max(loaded, self.last_weight) + 1

    def finish(self, job: JobShape, last_weight: int) -> JobTimes:
        """End the job with its last weight beat in a cycle, and return its cycles."""
        times = JobTimes(
            accepted=self.accepted,
            first_weight=self.first_weight,
            last_weight=last_weight,
            last_result=last_weight + self._timing.latency + job.tokens - 1,
        )
        self.accepted = self.first_weight
        self.last_weight = last_weight
        self.next_end = last_weight + job.tokens
        return times

    def skip(self, cycles: int) -> None:
        """Continue ``cycles`` later, as after jobs that all took the same time."""
        self.accepted += cycles
        self.last_weight += cycles
        self.next_end += cycles

    def run(self, job: JobShape) -> JobTimes:
        """Run a job whose weights never wait, and return its cycles."""
        self.hand_over(job)
        count, length, rest = job.row_group(self._config)
        rows = job.row_groups(self._config)
        first_end = max(self.first_weight + length - 1, self.next_end)
        later = (rows * count - 1) * max(length, job.tokens)
        if rest:
            later += rows * max(rest, job.tokens)
        return self.finish(job, first_end + later)


def job_times(
    config: MatVecConfig, jobs: Iterable[JobShape], *, timing: EngineTiming | None = None
) -> Iterator[JobTimes]:
    """Exact cycles of jobs back to back on an engine that was idle.

    No stream has gaps, and the consumer takes every result at once. Let a job have T tokens, C
    chunks, and G result groups of c chunks each. Alone it takes
    ``job_latency + T · C + (G − 1) · max(c, T) + c + latency + T − 1`` cycles:

    - ``job_latency + T · C`` before its first weight beat, or ``job_latency`` with ``reuse``,
    - ``(G − 1) · max(c, T) + c`` for its weight beats,
    - ``latency − 1`` between its last weight beat and the first result of its last group,
    - T for the results of that group.

    Parameters
    ----------
    config : the configuration of the engine
    jobs : shapes of jobs that the engine can run, in order
    timing : latencies; by default those of ``config``

    Returns
    -------
    One ``JobTimes`` for each job, in order.
    """
    chain = JobChain(config, timing or EngineTiming.of(config))
    return (chain.run(job) for job in jobs)

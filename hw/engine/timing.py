"""Clocks of jobs on the engine, in closed form."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from ..config import MatVecConfig
from ..jobs import JobShape

__all__ = ["EngineTiming", "JobChain", "JobTimes", "job_times"]


@dataclass(frozen=True, kw_only=True)
class JobTimes:
    """Clocks in which a job's beats are accepted; clock 0 is that of the first job's acceptance.

    Parameters
    ----------
    accepted : of the job
    first_weight, last_weight, last_result : of its beats
    """

    accepted: int
    first_weight: int
    last_weight: int
    last_result: int

    @property
    def cycles(self) -> int:
        """From the job's acceptance to its last result, both counted."""
        return self.last_result - self.accepted + 1


@dataclass(frozen=True, kw_only=True)
class EngineTiming:
    """Latencies of the engine's pipeline, in clocks.

    Parameters
    ----------
    job_latency : from a job's acceptance to its first weight beat, with nothing to load
    latency : from a result group's last weight beat to its first result beat
    """

    job_latency: int
    latency: int

    @classmethod
    def of(cls, config: MatVecConfig) -> Self:
        """Of the engine of a configuration."""
        return cls(
            # Taken, checked, offered.
            job_latency=3,
            latency=config.latency,
        )


class JobChain:
    """Jobs back to back, each handed over as soon as it is loaded and the one before is computed.

    A job waits from its acceptance in the clock after the handover of the one before. It is handed
    over ``job_latency − 1`` clocks and its activation beats later, though not before the last
    weight beat of the one before, and its first weight beat may come in the clock after. Two result
    groups end at least as many clocks apart as the earlier has tokens.
    """

    def __init__(self, config: MatVecConfig, timing: EngineTiming) -> None:
        self._config = config
        self._timing = timing
        self.accepted = 0
        self.first_weight = 0
        #: Of the job before: its last weight beat, and the clock from which on a group may end.
        self.last_weight = self.next_end = -1

    def hand_over(self, job: JobShape) -> None:
        """Take a job: ``first_weight`` is then its first weight beat's clock."""
        load = 0 if job.reuse else job.tokens * job.chunks(self._config)
        loaded = self.accepted + self._timing.job_latency - 1 + load
        self.first_weight = max(loaded, self.last_weight) + 1

    def finish(self, job: JobShape, last_weight: int) -> JobTimes:
        """End the job with its last weight beat, and accept the next."""
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

    def skip(self, clocks: int) -> None:
        """Continue so much later, as after jobs that all took the same clocks."""
        self.accepted += clocks
        self.last_weight += clocks
        self.next_end += clocks

    def run(self, job: JobShape) -> JobTimes:
        """Clocks of a job whose weights never wait."""
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
    """Clocks of jobs back to back on an engine that was idle, exactly.

    No stream has gaps and every result is taken at once. With T tokens, C chunks and G result
    groups of c chunks each, a job alone takes ``job_latency + T·C`` clocks to its first weight beat
    (without T·C where it reuses activations), ``(G − 1)·max(c, T) + c`` clocks for its weights,
    ``latency`` more to the first result of the last group, and T results.

    Parameters
    ----------
    config : the engine's
    jobs : legal for it
    timing : by default the engine's own
    """
    chain = JobChain(config, timing or EngineTiming.of(config))
    return (chain.run(job) for job in jobs)

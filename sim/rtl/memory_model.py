"""Memories behind a simulated token core: their speed, their pauses and their faults."""

from dataclasses import dataclass

from ...golden.checks import check_integer, check_number

__all__ = ["MemoryModel"]


@dataclass(frozen=True, kw_only=True)
class MemoryModel:
    """Speed and faults of the memories behind a token core; the defaults answer at once.

    Parameters
    ----------
    latency : cycles from a request to its first word, 1 or more
    interval : cycles from one word to the next, 1 or more
    weight_interval : cycles from one weight beat to the next, 1 or more
    refresh_interval, refresh_cycles : both memories pause for the last ``refresh_cycles`` of each
        ``refresh_interval`` cycles, counted from the offer of a token's command
    pauses : share of the cycles in which each port of the core pauses, at random, from 0 to 1; this
        includes the commands, the answers and the trace
    seed : of the pauses, 0 or more
    fails_at : byte; the first read of its word has an error, and wrong data; None for no fault

    Raises
    ------
    TypeError, ValueError
        If a value is not legal.
    """

    latency: int = 1
    interval: int = 1
    weight_interval: int = 1
    refresh_interval: int = 1
    refresh_cycles: int = 0
    pauses: float = 0.0
    seed: int = 0
    fails_at: int | None = None

    def __post_init__(self) -> None:
        for name in ("latency", "interval", "weight_interval", "refresh_interval"):
            check_integer(name, getattr(self, name), 1, 2**32 - 1)
        check_integer("refresh_cycles", self.refresh_cycles, 0, self.refresh_interval - 1)
        check_number("pauses", self.pauses, 0, 1)
        check_integer("seed", self.seed, 0, 2**63 - 1)
        if self.fails_at is not None:
            check_integer("fails_at", self.fails_at, 0, 2**32 - 1)

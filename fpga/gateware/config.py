"""Configuration of what goes on a board."""

from dataclasses import dataclass

from ...golden.checks import check_integer, check_kind
from ...hw.config import MatVecConfig
from ..frames import MAX_PAYLOAD, Identity
from .weight_memory import MemoryShape

__all__ = ["TopConfig"]


@dataclass(frozen=True, kw_only=True)
class TopConfig:
    """Configuration of a board's top level.

    Parameters
    ----------
    engine : configuration of the engine
    memory : shape of the weight memory; a beat has ``engine.weight_bytes`` bytes
    clock_hz : frequency of the one clock, in Hz
    baud : rate of the link, in bits per second
    queue : depth of the result queue in bytes; a power of two, larger than a frame's payload

    Raises
    ------
    TypeError
        If a field has the wrong type.
    ValueError
        If a number is not positive, if the queue's depth is not legal, if a bit takes less
        than four cycles, or if the length of a bit is more than 2 % off.
    """

    engine: MatVecConfig
    memory: MemoryShape
    clock_hz: int
    baud: int
    queue: int = 512

    def __post_init__(self) -> None:
        for name, kind in (("engine", MatVecConfig), ("memory", MemoryShape)):
            check_kind(name, getattr(self, name), kind)
        for name in ("clock_hz", "baud", "queue"):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), 1))
        if self.queue <= MAX_PAYLOAD or self.queue & (self.queue - 1):
            raise ValueError(f"queue must be a power of two above {MAX_PAYLOAD}, not {self.queue}")
        divisor = self.divisor
        if divisor < 4 or abs(self.clock_hz / divisor / self.baud - 1) > 0.02:
            raise ValueError(
                f"baud must be {self.clock_hz} Hz divided by an integer of 4 or more, within 2 %, "
                f"not {self.baud}"
            )

    @property
    def divisor(self) -> int:
        """Cycles per bit on the line."""
        return round(self.clock_hz / self.baud)

    @property
    def identity(self) -> Identity:
        """Identity with which the board answers a host."""
        return Identity(config=self.engine, beats=self.memory.beats, clock_hz=self.clock_hz)

"""Streams of the cycle model: gearboxes, queues and pipelines, without their data."""

from collections import deque

__all__ = ["Gear", "Pipeline"]


class Gear:
    """State of a ``Gearbox``: how many units it holds, and whether they end a packet.

    Parameters
    ----------
    outputs : units of a full output piece
    """

    __slots__ = ("_outputs", "ended", "level")

    def __init__(self, outputs: int) -> None:
        self._outputs = outputs
        self.level, self.ended = 0, False

    @property
    def valid(self) -> bool:
        """A piece is offered."""
        return self.level >= self._outputs or (self.ended and self.level > 0)

    @property
    def last(self) -> bool:
        """The piece that is offered ends its packet."""
        return self.ended and self.level <= self._outputs

    def _after(self, pop: bool) -> int:
        return max(0, self.level - self._outputs) if pop else self.level

    def ready(self, pop: bool) -> bool:
        """A piece is accepted, if the offered one is taken or not."""
        after = self._after(pop)
        return not after if self.ended else after < self._outputs

    def step(self, pop: bool, push: int = 0, last: bool = False) -> None:
        """Go to the next cycle.

        Parameters
        ----------
        pop : the offered piece is taken
        push : units of the piece that is accepted, 0 for none
        last : this piece ends a packet
        """
        self.level = self._after(pop) + push
        if push:
            self.ended = last


class Pipeline:
    """A pipeline that stops as a whole: entries leave a fixed number of steps later.

    An entry is a number above 0. Steps without an entry may be left out while the pipeline is
    empty.

    Parameters
    ----------
    latency : steps from an entry to its offer
    """

    __slots__ = ("_entries", "_steps", "latency")

    def __init__(self, latency: int) -> None:
        self.latency, self._steps = latency, 0
        self._entries: deque[tuple[int, int]] = deque()

    def __bool__(self) -> bool:
        return bool(self._entries)

    @property
    def out(self) -> int:
        """The entry that is offered in this cycle, or 0."""
        entries = self._entries
        return entries[0][1] if entries and entries[0][0] == self._steps else 0

    def step(self, entry: int = 0) -> None:
        """Advance by one step; the offered entry is gone.

        Parameters
        ----------
        entry : enters in this cycle, unless it is 0
        """
        entries = self._entries
        if entries and entries[0][0] == self._steps:
            entries.popleft()
        if entry:
            entries.append((self._steps + self.latency, entry))
        self._steps += 1

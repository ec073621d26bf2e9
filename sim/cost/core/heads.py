"""Heads of queries, keys and values in the cycle model, and their way to the cache."""

from collections import deque

from ....hw.token.config import TokenConfig
from .streams import Gear, Pipeline

__all__ = ["CacheWriter", "Heads", "Padder"]


class Heads:
    """``HeadUnit``: reads heads, turns them into two banks, and quantizes them."""

    def __init__(self, config: TokenConfig) -> None:
        self._latency = 10 + (config.vector_lanes - 1).bit_length()
        self.active = False
        self._heads = self._half = 0
        self._second, self._index, self._free = False, 0, 2
        self._pairs: list[int] = [-9, -9]  # Cycles of the last pairs.
        self._full: deque[tuple[int, int]] = deque()  # First cycle and words of each full bank.
        self._timer, self._quantizing, self._left = 0, False, 0
        self._pipeline = Pipeline(3)
        self.scale = False

    @property
    def busy(self) -> bool:
        """A head is not finished, or a scale is not taken."""
        return self.active or self._free != 2 or self.scale

    def ready(self, now: int) -> bool:
        """A command is accepted: it is none of the two cycles behind the last pair."""
        return not self.active and now - self._pairs[-1] > 2

    @property
    def out(self) -> int:
        """The bytes that are offered: 1, or 2 for the last ones of a head."""
        return self._pipeline.out

    def start(self, heads: int, half: int) -> None:
        """Accept a command, behind the other steps of the cycle."""
        self.active, self._heads, self._half = True, heads, half

    def step(self, now: int, *, bytes_ready: bool, scale_ready: bool) -> None:
        """Go to the next cycle.

        Parameters
        ----------
        now : the cycle
        bytes_ready, scale_ready : bytes, and a scale, are accepted
        """
        freed = self._quantize(now, bytes_ready=bytes_ready, scale_ready=scale_ready)
        started = False
        if self.active and (self._free or self._second or self._index):
            started = not self._second and not self._index
            if self._second:
                self._pairs[-1] = now
                self._index += 1
                if self._index == self._half:
                    self._index = 0
                    self._heads -= 1
                    self.active = self._heads > 0
                    self._full.append((now + self._latency, 2 * self._half))
            self._second = not self._second
        self._free += freed - started

    def _quantize(self, now: int, *, bytes_ready: bool, scale_ready: bool) -> bool:
        """Step of the second stage; return whether a bank is free again."""
        out, full = self._pipeline.out, self._full
        advance = bytes_ready or not out
        done = out == 2 and advance
        at_scale = self._timer == 2
        held = at_scale and self.scale and not scale_ready
        if scale_ready:
            self.scale = False
        entry = bool(full) and full[0][0] <= now
        reading = self._left if advance else 0
        if advance:
            self._pipeline.step((1 + (self._left == 1)) if self._left else 0)
            self._left -= bool(reading)
        if entry and not self._quantizing and not held:
            if at_scale:
                self.scale = True
            if self._timer == 6:
                self._quantizing, self._left, self._timer = True, full[0][1], 0
            else:
                self._timer += 1
        if done:
            self._quantizing = False
            full.popleft()
            if full:
                full[0] = (max(full[0][0], now + 1), full[0][1])
        return done


class Padder:
    """``RowPadder``: fills rows of bytes with zeros."""

    def __init__(self, config: TokenConfig) -> None:
        self._pieces = config.cache_row_bytes // config.vector_lanes
        self._place, self.filling = 0, False

    def step(self, piece: int, ready: bool) -> int:
        """Go to the next cycle.

        Parameters
        ----------
        piece : the piece at the input: 0 for none, 1, or 2 for the last one
        ready : the output is accepted

        Returns
        -------
        The piece that leaves: 0 for none, 1, or 2 for the last one
        """
        if not ready or not (self.filling or piece):
            return 0
        row_end = self._place == self._pieces - 1
        ends = self.filling or piece == 2
        self._place = 0 if row_end else self._place + 1
        self.filling = ends and not row_end
        return 2 if ends and row_end else 1


class CacheWriter:
    """``CacheWriter``: rows of heads, and their scales, to memory."""

    def __init__(self, config: TokenConfig) -> None:
        self.gear = Gear(config.memory_width // 8 // config.vector_lanes)
        self.busy = self.scaling = False
        self._heads = 0

    def valid(self, scale: bool) -> bool:
        """A write is offered; ``scale`` says that a scale is."""
        return scale if self.scaling else self.busy and self.gear.valid

    def step(self, *, heads: int, write: bool, piece: int) -> None:
        """Go to the next cycle.

        Parameters
        ----------
        heads : those of a command that is accepted, 0 for none
        write : the offered write is taken
        piece : piece of bytes that is accepted: 0 for none, 1, or 2 for the last one of a row
        """
        last = self.gear.last
        self.gear.step(write and not self.scaling, int(bool(piece)), piece == 2)
        if heads:
            self.busy, self._heads = True, heads
        elif write and self.scaling:
            self.scaling = False
            self._heads -= 1
            self.busy = self._heads > 0
        elif write:
            self.scaling = last

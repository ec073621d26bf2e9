"""Rules of AXI4 (ARM IHI 0022) for the channels that a master drives, checked in every cycle.

The checker knows nothing of the masters: it sees the signals of a bus, as a bus analyzer would.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from trilith.sim.rtl.testbenches.bench import Monitor

PAGE = 4096
INCR = 1


@dataclass
class Burst:
    """A burst: byte address and words."""

    address: int
    words: int


@dataclass
class AxiRules:
    """Watches one direction of an AXI4 bus.

    Parameters
    ----------
    dut : handle of the design
    prefix : of the ports, with the last underscore
    write : the write channels, else the read channels
    longest : words of the longest burst

    Members
    -------
    bursts : bursts whose address was taken
    words : words that were taken on the data channel
    answered : bursts that were answered
    bytes : bytes of a bus word
    """

    dut: Any
    prefix: str
    write: bool
    longest: int = 256
    bursts: list[Burst] = field(default_factory=list)
    words: int = 0
    answered: int = 0

    def __post_init__(self) -> None:
        kind, data = ("aw", "w") if self.write else ("ar", "r")
        self._kind = kind
        self.bytes = len(self._signal(f"{data}data")) // 8
        names = ("addr", "len", "size", "burst", "lock", "cache", "prot", "qos", "id")
        self._monitors = [self._monitor(kind, names, self._address)]
        if self.write:
            self._monitors += [
                self._monitor("w", ("last", "strb", "data"), self._word_written),
                self._monitor("b", ("resp",), self._write_answered),
            ]
        else:
            self._monitors.append(self._monitor("r", ("last", "resp"), self._word_read))
        self.restart()
        self._resets = 0

    def _signal(self, name: str) -> Any:
        return getattr(self.dut, f"{self.prefix}{name}")

    def _monitor(self, channel: str, names: tuple[str, ...], callback: Any) -> Monitor:
        valid, ready, *payload = (
            self._signal(f"{channel}{name}") for name in ("valid", "ready", *names)
        )
        return Monitor(f"{self.prefix}{channel}", valid, ready, payload, callback)

    def restart(self) -> None:
        """Forget what is under way: both sides were reset."""
        for monitor in self._monitors:
            monitor.restart()
        #: Bursts whose words have not all been taken, and words without a burst yet (AXI lets data
        #: come before its address): whether each is the last one.
        self._open: deque[Burst] = deque()
        self._early: deque[int] = deque()
        self._sent = 0
        self._unanswered = 0

    @property
    def quiet(self) -> bool:
        """Nothing is under way."""
        return not self._open and not self._early and not self._unanswered

    def sample(self, cycle: int) -> None:
        """Check the cycle that has just ended."""
        self._resets = 0
        for monitor in self._monitors:
            monitor.sample(cycle)

    def reset_cycle(self) -> None:
        """Check a cycle of a reset: from its second one on, no valid of the master is high."""
        self.restart()
        self._resets += 1
        if self._resets > 1:
            for name in (self._kind, "w")[: 1 + self.write]:
                assert not self._signal(f"{name}valid").value, f"{name}valid is high in a reset"

    def _address(
        self, addr: int, length: int, size: int, burst: int, lock: int, cache: int, *rest: int
    ) -> None:
        words, name = length + 1, f"{self.prefix}{self._kind}"
        assert burst == INCR, f"{name}burst must be INCR, not {burst}"
        assert 1 << size == self.bytes, f"{name}size must be that of the bus, not {size}"
        assert words <= self.longest, f"{name}len must be below {self.longest}, not {length}"
        assert addr % self.bytes == 0, f"{name}addr must be aligned, not {addr:#x}"
        last = addr + words * self.bytes - 1
        assert addr // PAGE == last // PAGE, f"{name}: {words} words from {addr:#x} cross 4 KB"
        assert not lock, f"{name}lock must be 0"
        assert cache & 0b1100 == 0 or cache & 0b10, f"{name}cache {cache:#b} is reserved"
        self.bursts.append(Burst(addr, words))
        self._open.append(Burst(addr, words))
        self._unanswered += 1
        while self._early and self._open:
            self._word(self._early.popleft())

    def _word_written(self, last: int, strobes: int, data: int) -> None:
        self.words += 1
        if self._open:
            self._word(last)
        else:
            self._early.append(last)

    def _word(self, last: int) -> None:
        """A word of the oldest burst: only its last one has WLAST or RLAST."""
        self._sent += 1
        burst, data = self._open[0], "w" if self.write else "r"
        expected = self._sent == burst.words
        assert last == expected, (
            f"{self.prefix}{data}last is {last} at word {self._sent} of {burst.words}"
        )
        if last:
            self._open.popleft()
            self._sent = 0

    def _word_read(self, last: int, resp: int) -> None:
        self.words += 1
        assert self._open, f"{self.prefix}r: a word came without a burst"
        self._word(last)
        if last:
            self._unanswered -= 1
            self.answered += 1

    def _write_answered(self, resp: int) -> None:
        assert self._unanswered > len(self._open), f"{self.prefix}b: an answer came without a burst"
        self._unanswered -= 1
        self.answered += 1

"""Parts that all cocotb testbenches share: limits of time, pauses of streams, and monitors."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

__all__ = ["PERIOD", "Bench", "Monitor", "bursts", "limited_test", "often", "rarely"]

#: Steps of simulated time in a cycle.
PERIOD = 2


def limited_test(cycles: int) -> Callable[..., Any]:
    """Make a decorator of cocotb tests that fail at a limit of time.

    Parameters
    ----------
    cycles : the limit; a test that runs so long is taken to hang
    """
    return cocotb.test(timeout_time=PERIOD * cycles, timeout_unit="step")


def _at_random(share: float, seed: int) -> Iterator[bool]:
    """Tell for each cycle whether a stream pauses: in a share of them, at random."""
    generator = random.Random(seed)
    while True:
        yield generator.random() < share


#: Pauses from a seed: in 15 % of the cycles, and in 70 % of them.
rarely, often = partial(_at_random, 0.15), partial(_at_random, 0.7)


def bursts(seed: int) -> Iterator[bool]:
    """Tell for each cycle whether a stream pauses: up to 29 cycles do not, then up to 59 do."""
    generator = random.Random(seed)
    while True:
        yield from (False for _ in range(generator.randrange(1, 30)))
        yield from (True for _ in range(generator.randrange(1, 60)))


class Monitor:
    """Watches a stream, and checks that an offered beat stays unchanged until it is taken.

    Parameters
    ----------
    name : the stream, for messages
    valid, ready : handles of the handshake
    payload : handles of the signals that must be stable while a beat is offered
    callback : called with the values of the payload of each beat that is taken

    Members
    -------
    cycles : the cycles in which beats were taken, since the last restart
    offered : the payload that is offered and not taken in the last sampled cycle, or None
    """

    def __init__(
        self,
        name: str,
        valid: Any,
        ready: Any,
        payload: Sequence[Any],
        callback: Callable[..., None] = lambda *payload: None,
    ) -> None:
        self._name = name
        self._valid = valid
        self._ready = ready
        self._payload = payload
        self._callback = callback
        self.restart()

    def restart(self) -> None:
        """Forget all beats."""
        self.cycles: list[int] = []
        self.offered: list[int] | None = None

    def sample(self, cycle: int) -> None:
        """Check the cycle that has just ended, and report a beat that was taken in it.

        Parameters
        ----------
        cycle : its number, for messages and for ``cycles``
        """
        name = self._name
        valid, ready = self._valid.value, self._ready.value
        assert valid.is_resolvable, f"{name}: valid must be known in cycle {cycle}"
        assert ready.is_resolvable, f"{name}: ready must be known in cycle {cycle}"
        waiting, self.offered = self.offered, None
        if not valid:
            assert waiting is None, f"{name}: valid fell in cycle {cycle} before its beat was taken"
            return
        values = [signal.value for signal in self._payload]
        known = all(value.is_resolvable for value in values)
        assert known, f"{name}: the payload must be known in cycle {cycle}, where valid is high"
        payload = [int(value) for value in values]
        assert waiting in (None, payload), f"{name}: the payload changed in cycle {cycle}, waiting"
        if ready:
            self.cycles.append(cycle)
            self._callback(*payload)
        else:
            self.offered = payload


class Bench(ABC):
    """Base of testbenches: starts the clock, waits, and watches every cycle.

    Signals are read right after the rising edge of the clock, where they still have the values that
    they had before it.

    Parameters
    ----------
    clk : handle of the clock
    """

    def __init__(self, clk: Any) -> None:
        self._clk = clk
        self._running = False

    async def start_clock(self) -> bool:
        """Start the clock and the watch, unless they run; return whether this call started them."""
        if self._running:
            return False
        self._running = True
        await Timer(1, "step")
        Clock(self._clk, PERIOD, unit="step").start()
        cocotb.start_soon(self._watch())
        return True

    async def wait(self, cycles: int) -> None:
        """Let cycles pass."""
        for _ in range(cycles):
            await RisingEdge(self._clk)

    async def _watch(self) -> None:
        while True:
            await RisingEdge(self._clk)
            self.sample()

    @abstractmethod
    def sample(self) -> None:
        """Check the cycle that has just ended."""

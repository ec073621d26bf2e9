"""Waits of the testbenches for a condition, with a limit."""

from abc import abstractmethod
from collections.abc import Callable

from trilith.sim.rtl.testbenches.bench import Bench


class Waiting(Bench):
    """A bench that can wait for a condition, and tells what was seen when it waits too long."""

    async def wait_until(self, condition: Callable[[], object], *, limit: int = 20_000) -> None:
        """Let cycles pass until a condition is true; fail after ``limit`` cycles."""
        for _ in range(limit):
            if condition():
                return
            await self.wait(1)
        raise AssertionError(f"the design must get on within {limit} cycles: {self.progress()}")

    @abstractmethod
    def progress(self) -> object:
        """Describe what was seen so far, for the message of a test that hangs."""

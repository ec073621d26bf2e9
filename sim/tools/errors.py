"""Errors of simulations and estimates."""

from collections.abc import Iterator
from contextlib import contextmanager

from ...golden.errors import TrilithError

__all__ = ["EstimateError", "SimulationError", "estimate_errors"]


class EstimateError(TrilithError, ValueError):
    """An input of an estimate is unknown or illegal, or contradicts another input."""


class SimulationError(TrilithError, RuntimeError):
    """The simulated hardware is wrong: a job did not finish, or a test of it failed."""

    exit_status = 1


@contextmanager
def estimate_errors() -> Iterator[None]:
    """Make an illegal value in a block, a ValueError, an error of the estimate.

    Raises
    ------
    EstimateError
        If the block raises ValueError, with its message.
    """
    try:
        yield
    except ValueError as error:
        raise EstimateError(str(error)) from None

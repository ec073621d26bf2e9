"""Errors of simulations and estimates."""

from ...golden.errors import TrilithError

__all__ = ["EstimateError", "SimulationError"]


class EstimateError(TrilithError, ValueError):
    """An input of an estimate is unknown or illegal, or contradicts another input."""


class SimulationError(TrilithError, RuntimeError):
    """The simulated hardware is wrong: a job did not finish, or a test of it failed."""

    exit_status = 1

"""Errors of simulations and estimates."""

from ...golden.errors import TrilithError

__all__ = ["EstimateError", "SimulationError"]


class EstimateError(TrilithError, ValueError):
    """An input of an estimate is unknown, is not legal, or contradicts another."""


class SimulationError(TrilithError, RuntimeError):
    """The simulated hardware did not do what every job must do, such as to finish."""

    exit_status = 1

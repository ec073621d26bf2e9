"""Runs the hardware under Verilator and holds it to the golden model."""

from .simulator import Job, MatVecRun, MatVecSimulator, SimulationError
from .toolchain import ToolchainError

__all__ = ["Job", "MatVecRun", "MatVecSimulator", "SimulationError", "ToolchainError"]

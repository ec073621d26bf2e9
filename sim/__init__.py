"""Simulation of the hardware, and estimates of its cycles and energy.

``tools`` runs external programs. ``rtl`` simulates Verilog with Verilator. ``gatelevel`` maps
components to cell libraries, and measures their energy. ``cost`` estimates cycles and energy of
whole models without simulation. The public names load their modules at first use, so that an
estimate imports neither Amaranth nor cocotb.
"""

from typing import TYPE_CHECKING

from ..golden.lazy import lazy_names

if TYPE_CHECKING:
    from ..hw.jobs import Job
    from .rtl.simulator import MatVecRun, MatVecSimulator
    from .tools.errors import SimulationError
    from .tools.toolchain import ToolchainError

__all__ = [
    "Job",
    "MatVecRun",
    "MatVecSimulator",
    "SimulationError",
    "ToolchainError",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Job": ".hw.jobs",
        "MatVecRun": "rtl.simulator",
        "MatVecSimulator": "rtl.simulator",
        "SimulationError": "tools.errors",
        "ToolchainError": "tools.toolchain",
    },
)

"""A board without a board: the top level in Verilator, behind a pseudo-terminal."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ...sim.rtl.build import build_simulation
from ...sim.tools.errors import SimulationError
from ...sim.tools.verilog import keep_verilog
from ..gateware.top import BoardTop, TopConfig

__all__ = ["Noise", "SimulatedBoard"]

_HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What happens to bytes on the line, in either direction: probabilities for each byte.

    Parameters
    ----------
    flip : one of its bits is inverted
    drop : it is lost
    repeat : it comes twice
    insert : a random byte follows it
    seed : of all this
    """

    flip: float = 0.0
    drop: float = 0.0
    repeat: float = 0.0
    insert: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("flip", "drop", "repeat", "insert"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {value}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be from 0 to {2**32 - 1}, not {self.seed}")


def _verilog(config: TopConfig) -> Path:
    """Verilog of the top level as module ``board``, in the cache."""
    fpga = _HERE.parent
    sources = [*(fpga / "gateware").glob("*.py"), fpga / "frames.py"]
    return keep_verilog(lambda: BoardTop(config), "board", repr(config), *sources)


class SimulatedBoard:
    """The Verilated board in a process of its own; ``port`` opens like a serial port.

    The line is simulated bit by bit, a bit taking ``divisor`` clocks, and time stands still while
    the board has nothing to do. Use it as a context manager, or ``close`` it; it ends with this
    process in any case.

    Parameters
    ----------
    config : of the board
    noise : on the line

    Raises
    ------
    ToolchainError
        If the simulation cannot be built.
    SimulationError
        If it does not start.
    """

    def __init__(self, config: TopConfig, noise: Noise | None = None) -> None:
        noise = noise or Noise()
        program = build_simulation(
            [_HERE / "simulate.vlt", _verilog(config)], top="board", main=_HERE / "simulate.cpp"
        )
        options = [f"+{name}={value}" for name, value in vars(noise).items()]
        self._process = subprocess.Popen(
            [str(program), "+until-eof", f"+divisor={config.divisor}", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        #: The path of its terminal.
        self.port = self._process.stdout.readline().strip()
        if not self.port:
            self.close()
            raise SimulationError("the simulated board must say its port, and ended")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def wait(self) -> None:
        """Until the process ends, which it does when it is killed."""
        self._process.wait()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

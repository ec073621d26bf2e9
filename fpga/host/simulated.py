"""A simulated board: the top level in Verilator, behind a pseudo-terminal."""

import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ...golden.checks import check_integer, check_kind, check_number
from ...golden.environment import child_environment
from ...golden.failures import ending
from ...sim.rtl.build import build_simulation
from ...sim.tools.errors import SimulationError
from ...sim.tools.verilog import keep_verilog
from ..gateware.config import TopConfig
from ..gateware.top import BoardTop

__all__ = ["Noise", "SimulatedBoard"]

_HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise on the line: probabilities for each byte, in either direction.

    Parameters
    ----------
    flip : probability that one bit of the byte is inverted, from 0 to 1
    drop : probability that the byte is lost
    repeat : probability that the byte comes twice
    insert : probability that a random byte follows it
    seed : seed of all random numbers, from 0 to 2**32 − 1

    Raises
    ------
    TypeError
        If a probability is not a number, or the seed is not an integer.
    ValueError
        If a value is not legal.
    """

    flip: float = 0.0
    drop: float = 0.0
    repeat: float = 0.0
    insert: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("flip", "drop", "repeat", "insert"):
            object.__setattr__(self, name, check_number(name, getattr(self, name), 0, 1))
        object.__setattr__(self, "seed", check_integer("seed", self.seed, 0, 2**32 - 1))


def _verilog(config: TopConfig) -> Path:
    """Write the Verilog of the top level as module ``board``, or find it in the cache."""
    fpga = _HERE.parent
    sources = [*(fpga / "gateware").glob("*.py"), fpga / "frames.py"]
    return keep_verilog(lambda: BoardTop(config), "board", repr(config), *sources)


class SimulatedBoard:
    """A Verilated board in a process of its own; ``port`` opens like a serial port.

    The line is simulated bit by bit, and a bit takes ``divisor`` cycles. Simulated time stands
    still while the board has nothing to do. It is a context manager. The process ends with
    ``close``, or when this process ends.

    Parameters
    ----------
    config : configuration of the board's top level
    noise : noise on the line; None is a line without noise

    Raises
    ------
    TypeError
        If an argument is of another class.
    ToolchainError
        If the simulation cannot be built.
    SimulationError
        If the simulation does not start.
    """

    def __init__(self, config: TopConfig, noise: Noise | None = None) -> None:
        noise = Noise() if noise is None else noise
        check_kind("config", config, TopConfig)
        check_kind("noise", noise, Noise)
        program = build_simulation(
            [_HERE / "simulate.vlt", _verilog(config)], top="board", main=_HERE / "simulate.cpp"
        )
        options = [f"+{name}={value}" for name, value in vars(noise).items()]
        # Not by ``run_program``: this one runs beside the host, and ends with its standard input.
        self._process = subprocess.Popen(
            [str(program), "+until-eof", f"+divisor={config.divisor}", *options],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        #: Path of the board's terminal.
        self.port = self._process.stdout.readline().strip()
        if not self.port:
            with suppress(subprocess.TimeoutExpired):  # It may only have closed its output.
                self._process.wait(1)
            status = self._process.returncode
            self.close()
            how = "printed no name" if status is None else ending(status)
            raise SimulationError(
                f"{program} must open a terminal, and {how}; run it by itself to see its message"
            )

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
        """Wait until the process ends; another process must kill it."""
        self._process.wait()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

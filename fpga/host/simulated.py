"""A simulated board: the top level in Verilator, behind a pseudo-terminal."""

import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from amaranth.hdl import ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_integer, check_kind, check_number
from ...golden.environment import child_environment
from ...golden.failures import ending
from ...hw.token.image_file import Image
from ...sim.rtl.build import build_simulation
from ...sim.tools.errors import SimulationError
from ...sim.tools.verilog import keep_verilog
from ..gateware.config import CoreTopConfig, TopConfig
from ..gateware.core_top import CoreTop
from ..gateware.litedram_verilog import litedram_verilog, sdram_chip
from ..gateware.top import BoardTop
from .core_image import Placement

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


class _TopWithSdram(wiring.Component):
    """A top level with a token core, and the model of its SDRAM; the members are those of a top."""

    def __init__(self, config: CoreTopConfig) -> None:
        self._config = config
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "active": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.top = top = CoreTop(config)
        pins, chip = top.pins, sdram_chip(config.memory.module, config.clock_hz)
        # When the test of the memory is over, which overwrites some words.
        tested = Signal()
        with m.If(~top.active):
            m.d.sync += tested.eq(1)
        outputs = ("a", "ba", "ras_n", "cas_n", "we_n", "cke", "dqm", "dq_o", "dq_oe")
        m.submodules.sdram = Instance(
            "sdram_model",
            i_clk=ClockSignal(),
            i_fill=tested,
            o_dq_i=pins.dq_i,
            **{f"p_{name}": value for name, value in chip.parameters.items()},
            **{f"i_{name}": getattr(pins, name) for name in outputs},
        )
        m.d.comb += [top.rx.eq(self.rx), self.tx.eq(top.tx), self.active.eq(top.active)]
        return m


def _sources(config: TopConfig | CoreTopConfig) -> list[Path]:
    """Write the Verilog of the top level as module ``board``, or find it in the cache."""
    fpga = _HERE.parent
    sources = [*(fpga / "gateware").glob("*.py"), *fpga.glob("*.py"), Path(__file__)]
    others: list[Path] = []
    make: type[wiring.Component] = BoardTop
    if isinstance(config, CoreTopConfig):
        make = CoreTop
        if config.memory.kind == "sdram":
            make = _TopWithSdram
            chip = sdram_chip(config.memory.module, config.clock_hz)
            others = [litedram_verilog(chip), _HERE / "sdram_model.sv"]
    verilog = keep_verilog(lambda: make(config), "board", repr(config), *sources)
    return [_HERE / "simulate.vlt", verilog, *others]


class SimulatedBoard:
    """A Verilated board in a process of its own; ``port`` opens like a serial port.

    The line is simulated bit by bit, and a bit takes ``divisor`` cycles. Simulated time stands
    still while the board has nothing to do. It is a context manager. The process ends with
    ``close``, or when this process ends.

    Parameters
    ----------
    config : configuration of the board's top level
    noise : noise on the line; None is a line without noise
    image : an image that the SDRAM of a token core has at its start

    Raises
    ------
    TypeError
        If an argument is of another class.
    ValueError
        If there is an image for a board without SDRAM.
    ToolchainError
        If the simulation cannot be built.
    SimulationError
        If the simulation does not start.
    """

    def __init__(
        self,
        config: TopConfig | CoreTopConfig,
        noise: Noise | None = None,
        image: Image | None = None,
    ) -> None:
        noise = Noise() if noise is None else noise
        if not isinstance(config, CoreTopConfig):
            check_kind("config", config, TopConfig)
        check_kind("noise", noise, Noise)
        program = build_simulation(_sources(config), top="board", main=_HERE / "simulate.cpp")
        options = [f"+{name}={value}" for name, value in vars(noise).items()]
        self._scratch = tempfile.TemporaryDirectory(prefix="trilith-")
        if image is not None:
            check_kind("image", image, Image)
            if not isinstance(config, CoreTopConfig) or config.memory.kind != "sdram":
                raise ValueError("an image must be for a board with SDRAM, and this one has none")
            file = Path(self._scratch.name) / "image"
            Placement(image=image).content().tofile(file)
            options.append(f"+image={file}")
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
        self._scratch.cleanup()

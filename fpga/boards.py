"""The boards, and the design that goes on each: the table is ``boards.toml``."""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..golden.checks import check_choice, check_integer, check_kind, check_number
from ..hw.axi.core_wrapper import CoreBuses
from ..hw.axi.weight_readers import WEIGHT_PORTS
from ..hw.config import MatVecConfig
from ..hw.token.config import CORE_PRESETS, TokenConfig
from ..sim.tools.toolchain import ToolchainError, remedy
from .gateware.config import TopConfig
from .gateware.weight_memory import MemoryShape

__all__ = [
    "BOARDS",
    "SIMULATED",
    "SOCS",
    "BoardDescription",
    "SocDescription",
    "fitting_boards",
    "memory_bytes",
]


@dataclass(frozen=True, kw_only=True)
class BoardDescription:
    """A board and its design.

    Parameters
    ----------
    name : key of ``BOARDS``
    title : name that its maker uses
    device : its FPGA
    family : ``ice40``, ``ecp5``, ``gowin`` or ``xc7``; decides which tools build it
    platform : module and class of its platform, in ``amaranth_boards``
    top : configuration of the top level
    dram_bytes : bytes of its external memory; 0 without one. No design here uses it; estimates do.
    dram_bytes_per_second : rate at the pins of that memory
    seed : nextpnr's seed of placement; another one gives another clock frequency
    note : remark for tables
    source : where the figures of the memory are from

    Raises
    ------
    TypeError, ValueError
        If ``top`` or a number is of another kind, or a number is not legal.
    """

    name: str
    title: str
    device: str
    family: str
    platform: str
    top: TopConfig
    dram_bytes: int = 0
    dram_bytes_per_second: float = 0.0
    seed: int = 1
    note: str = ""
    source: str

    def __post_init__(self) -> None:
        check_kind("top", self.top, TopConfig)
        for name in ("dram_bytes", "seed"):
            check_integer(name, getattr(self, name), 0, 2**63 - 1)
        check_number("dram_bytes_per_second", self.dram_bytes_per_second, 0)

    @property
    def design(self) -> dict[str, Any]:
        """Description of the design in a summary."""
        return {"top": asdict(self.top)}

    def make_platform(self) -> Any:
        """Make the platform of Amaranth.

        Returns
        -------
        The platform, with the board's pins and clocks.

        Raises
        ------
        ToolchainError
            If the extra ``fpga`` is not installed.
        """
        module, _, kind = self.platform.rpartition(".")
        try:
            make: Callable[[], Any] = getattr(import_module(module), kind)
        except ModuleNotFoundError as error:
            raise ToolchainError(
                f"{error.name} is not installed, and the board's pins stand there: "
                f"{remedy('amaranth-boards')}"
            ) from None
        return make()


@dataclass(frozen=True, kw_only=True)
class SocDescription:
    """A board whose processor drives a token core over AXI, which reads the processor's memory.

    Parameters
    ----------
    name : key of ``SOCS``
    title, device : see ``BoardDescription``
    family : ``xcup``
    preset : key of ``CORE_PRESETS``
    core : its configuration; its memory port is as wide as a port of the board
    weight_ports : ports of the board through which the core reads its weights
    clock_hz : frequency of the core and its buses in Hz
    note : remark for tables
    source : where the figures are from

    Raises
    ------
    TypeError, ValueError
        If the preset, the core, the ports or the frequency is of another kind, or not legal.
    """

    name: str
    title: str
    device: str
    family: str
    preset: str
    core: TokenConfig
    weight_ports: int
    clock_hz: int
    note: str
    source: str

    def __post_init__(self) -> None:
        check_choice("preset", self.preset, CORE_PRESETS)
        check_kind("core", self.core, TokenConfig)
        check_choice("weight_ports", self.weight_ports, WEIGHT_PORTS)
        check_integer("clock_hz", self.clock_hz, 1, 2**32 - 1)

    @property
    def buses(self) -> CoreBuses:
        """Shapes of the core's masters."""
        return CoreBuses.of(self.core, ports=self.weight_ports)

    @property
    def design(self) -> dict[str, Any]:
        """Description of the design in a summary."""
        return {"core": asdict(self.core), "buses": asdict(self.buses)}

    @property
    def weight_bytes_per_second(self) -> float:
        """The most bytes per second that the weight ports deliver."""
        return self.buses.weights / 8 * self.weight_ports * self.clock_hz


def _top(engine: dict[str, Any], memory: dict[str, Any], **rest: Any) -> TopConfig:
    """Configuration of a top level, from its table."""
    return TopConfig(engine=MatVecConfig(**engine), memory=MemoryShape(**memory), **rest)


_TABLES = tomllib.loads(Path(__file__).with_name("boards.toml").read_text(encoding="utf-8"))

#: The boards by name.
BOARDS = {
    name: BoardDescription(**board | {"name": name, "top": _top(**board["top"])})
    for name, board in _TABLES["boards"].items()
}

#: The boards with a processor, by name.
SOCS = {
    name: SocDescription(**board | {"name": name, "core": CORE_PRESETS[board["preset"]]})
    for name, board in _TABLES["socs"].items()
}

#: A small engine whose memory holds the trained language model, for simulation only.
SIMULATED = _top(**_TABLES["simulated"])


def memory_bytes(config: MatVecConfig, shapes: Sequence[tuple[int, int]]) -> int:
    """Count the bytes of matrices in the weight memory of an engine.

    Parameters
    ----------
    config : configuration of the engine
    shapes : (N, K) of each matrix

    Returns
    -------
    The bytes of whole beats, padding included.
    """
    beats = sum(-(-n // config.rows) * -(-k // config.lanes) for n, k in shapes)
    return beats * config.weight_bytes


def fitting_boards(shapes: Sequence[tuple[int, int]]) -> list[str]:
    """Find the boards whose weight memory holds all matrices.

    Parameters
    ----------
    shapes : (N, K) of each matrix

    Returns
    -------
    Names of the boards, in the order of ``BOARDS``.
    """
    return [
        name
        for name, board in BOARDS.items()
        if memory_bytes(board.top.engine, shapes) <= board.top.identity.memory_bytes
        and all(n <= board.top.engine.n_max and k <= board.top.engine.k_max for n, k in shapes)
    ]

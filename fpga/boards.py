"""The boards, and the design that goes on each: the table is ``boards.toml``."""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from ..golden.checks import check_choice, check_integer, check_kind, check_number
from ..hw.axi.core_wrapper import CoreBuses
from ..hw.axi.weight_readers import WEIGHT_PORTS
from ..hw.config import MatVecConfig
from ..hw.token.config import CORE_PRESETS, TokenConfig
from ..hw.token.plan import Plan
from ..sim.tools.toolchain import ToolchainError, remedy
from .gateware.config import CoreTopConfig, ExternalMemory, TopConfig
from .gateware.weight_memory import MemoryShape

__all__ = [
    "BOARDS",
    "SIMULATED",
    "SIMULATED_CORE",
    "SOCS",
    "WEIGHTS_AT",
    "BoardDescription",
    "SocDescription",
    "fitting_boards",
    "image_bytes",
    "memory_bytes",
]

#: Bytes of whose multiples the weights of an image begin in a board's memory.
WEIGHTS_AT = 4096


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
    top : configuration of the top level, with an engine that multiplies or with a token core
    dram_bytes : bytes of its external memory; 0 without one
    dram_bytes_per_second : rate at the pins of that memory; with a token core on SDRAM, at the
        clock of the design
    dram_share : share of this rate that the design's memory controller reaches while weights
        stream, refreshes included; 1 where no design uses the memory
    sdram_modules : bytes of each SDRAM that the board may carry, by its class in
        ``litedram.modules``
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
    top: TopConfig | CoreTopConfig
    dram_bytes: int = 0
    dram_bytes_per_second: float = 0.0
    dram_share: float = 1.0
    sdram_modules: dict[str, int] = field(default_factory=dict)
    seed: int = 1
    note: str = ""
    source: str

    def __post_init__(self) -> None:
        if not isinstance(self.top, CoreTopConfig):
            check_kind("top", self.top, TopConfig)
        for name in ("dram_bytes", "seed"):
            check_integer(name, getattr(self, name), 0, 2**63 - 1)
        check_number("dram_bytes_per_second", self.dram_bytes_per_second, 0)
        check_number("dram_share", self.dram_share, 0, 1)

    @property
    def engine(self) -> MatVecConfig:
        """The ternary engine, alone or in the token core."""
        return self.top.core.engine if isinstance(self.top, CoreTopConfig) else self.top.engine

    @property
    def has_sdram(self) -> bool:
        """The design uses the board's SDRAM."""
        return isinstance(self.top, CoreTopConfig) and self.top.memory.kind == "sdram"

    @property
    def weight_bytes(self) -> int:
        """Bytes of the block RAM for weights; with a token core those that stay there."""
        if isinstance(self.top, CoreTopConfig):
            beats = self.top.resident.beats if self.top.resident else 0
            return beats * self.engine.weight_bytes
        return self.top.identity.memory_bytes

    def with_sdram(self, module: str) -> Self:
        """Describe the board with another SDRAM, a key of ``sdram_modules``."""
        memory = ExternalMemory(kind="sdram", module=module, bytes=self.sdram_modules[module])
        return replace(self, dram_bytes=memory.bytes, top=replace(self.top, memory=memory))

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


def _engine_top(engine: dict[str, Any], memory: dict[str, Any], **rest: Any) -> TopConfig:
    """Configuration of a top level that multiplies, from its table."""
    return TopConfig(engine=MatVecConfig(**engine), memory=MemoryShape(**memory), **rest)


def _core_top(
    core: str, memory: dict[str, Any], resident: dict[str, Any] | None = None, **rest: Any
) -> CoreTopConfig:
    """Configuration of a top level with the token core of a preset, from its table."""
    return CoreTopConfig(
        core=CORE_PRESETS[core],
        memory=ExternalMemory(**memory),
        resident=None if resident is None else MemoryShape(**resident),
        **rest,
    )


def _top(**table: Any) -> TopConfig | CoreTopConfig:
    """Configuration of a top level, from its table."""
    return _core_top(**table) if "core" in table else _engine_top(**table)


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
SIMULATED = _engine_top(**_TABLES["simulated"])

#: The token core of the ULX3S, with a line that is as fast as can be, for simulation only.
SIMULATED_CORE = _core_top(**_TABLES["boards"]["ulx3s"]["top"] | {"baud": 12_500_000})


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
    """Find the boards that multiply, and whose weight memory holds all matrices.

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
        if isinstance(board.top, TopConfig)
        and memory_bytes(board.engine, shapes) <= board.weight_bytes
        and all(n <= board.engine.n_max and k <= board.engine.k_max for n, k in shapes)
    ]


def image_bytes(plan: Plan) -> int:
    """Count the bytes of an image in the memory of a board with a token core.

    These are the memory of the image with its cache, and behind it the weights.

    Parameters
    ----------
    plan : the plan of the image

    Returns
    -------
    The bytes from address 0 to the end of the weights
    """
    memory = -(-plan.memory_bytes // WEIGHTS_AT) * WEIGHTS_AT
    return memory + plan.beats[""] * plan.config.engine.weight_bytes

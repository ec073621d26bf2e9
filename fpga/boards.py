"""The boards, and the design that goes on each."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from ..hw.axi.wrapper import BusWidths
from ..hw.config import MatVecConfig
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
    note : remark for tables
    """

    name: str
    title: str
    device: str
    family: str
    platform: str
    top: TopConfig
    dram_bytes: int = 0
    dram_bytes_per_second: float = 0.0
    note: str = ""

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


def _engine(lanes: int, rows: int, tokens: int, **rest: int) -> MatVecConfig:
    """Configuration of a board's engine, for matrices of up to 6912 x 6912 by default."""
    return MatVecConfig(
        lanes=lanes,
        rows=rows,
        tokens=tokens,
        code="escape",
        **{"k_max": 6912, "n_max": 6912, **rest},
    )


#: The boards by name.
BOARDS = {
    board.name: board
    for board in (
        BoardDescription(
            name="icebreaker",
            title="iCEBreaker",
            device="iCE40UP5K-SG48",
            family="ice40",
            platform="amaranth_boards.icebreaker.ICEBreakerPlatform",
            top=TopConfig(
                engine=_engine(16, 5, 1, k_max=2560, levels_per_stage=4),
                memory=MemoryShape(beats=8192, words_per_beat=2, spram=True),
                clock_hz=24_000_000,
                baud=3_000_000,
            ),
        ),
        BoardDescription(
            name="ulx3s",
            title="ULX3S-85F",
            device="LFE5U-85F-6BG381",
            family="ecp5",
            platform="amaranth_boards.ulx3s.ULX3S_85F_Platform",
            top=TopConfig(
                engine=_engine(64, 5, 4),
                memory=MemoryShape(beats=4096, parts=8),
                clock_hz=80_000_000,
                baud=2_000_000,
                queue=2048,
            ),
            dram_bytes=32 * 2**20,
            dram_bytes_per_second=286e6,  # 16 bits at 143 MHz.
        ),
        BoardDescription(
            name="ecpix5",
            title="ECPIX-5 85F",
            device="LFE5UM5G-85F-8BG554",
            family="ecp5",
            platform="amaranth_boards.ecpix5.ECPIX585Platform",
            top=TopConfig(
                engine=_engine(64, 5, 4),
                memory=MemoryShape(beats=4096, parts=8),
                clock_hz=80_000_000,
                baud=2_000_000,
                queue=2048,
            ),
            dram_bytes=512 * 2**20,
            dram_bytes_per_second=1.6e9,  # 16 bits at 800 MT/s.
        ),
        BoardDescription(
            name="tang-nano-9k",
            title="Tang Nano 9K",
            device="GW1NR-LV9QN88PC6/I5",
            family="gowin",
            platform="amaranth_boards.tang_nano_9k.TangNano9kPlatform",
            top=TopConfig(
                engine=_engine(40, 2, 1, k_max=2560, levels_per_stage=4),
                memory=MemoryShape(beats=1536),
                clock_hz=27_000_000,
                baud=1_000_000,
            ),
        ),
        BoardDescription(
            name="arty-a7-35t",
            title="Arty A7-35T",
            device="xc7a35ticsg324-1L",
            family="xc7",
            platform="amaranth_boards.arty_a7.ArtyA7_35Platform",
            top=TopConfig(
                engine=_engine(64, 20, 1),
                memory=MemoryShape(beats=512),
                clock_hz=100_000_000,
                baud=4_000_000,
                queue=2048,
            ),
            dram_bytes=256 * 2**20,
            dram_bytes_per_second=1.333e9,  # 16 bits at 667 MT/s.
            note="sources for Vivado",
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class SocDescription:
    """A board whose processor drives the engine over AXI; weights come from its memory by DMA.

    Parameters
    ----------
    name : key of ``SOCS``
    title, device : see ``BoardDescription``
    family : ``xcup``
    engine : configuration of the engine, whose weight beat is as wide as the memory's port
    clock_hz : frequency of the engine, its buses and the DMAs in Hz
    note : remark for tables
    """

    name: str
    title: str
    device: str
    family: str
    engine: MatVecConfig
    clock_hz: int
    note: str

    @property
    def design(self) -> dict[str, Any]:
        """Description of the design in a summary."""
        return {"engine": asdict(self.engine)}

    @property
    def widths(self) -> BusWidths:
        """Widths of the streams; the DMAs have the same."""
        return BusWidths.of(self.engine)

    @property
    def weight_bytes_per_second(self) -> float:
        """The most bytes per second that the DMA of the weights delivers."""
        return self.widths.weights / 8 * self.clock_hz


#: The boards with a processor, by name.
SOCS = {
    board.name: board
    for board in (
        SocDescription(
            name="kv260",
            title="Kria KV260",
            device="xck26-sfvc784-2LV-c",
            family="xcup",
            # 80 trits have 128 bits, the width of a port of the processing system.
            engine=_engine(80, 1, 4),
            clock_hz=200_000_000,
            note="sources for Vivado; AXI to the processor, which has the weights",
        ),
    )
}

#: A small engine whose memory holds the trained language model, for simulation only.
SIMULATED = TopConfig(
    engine=_engine(8, 5, 2, k_max=1024, n_max=1024),
    memory=MemoryShape(beats=32_768),
    clock_hz=16_000_000,
    baud=4_000_000,
)


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

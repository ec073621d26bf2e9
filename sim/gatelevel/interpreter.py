"""Simulation of a netlist without delays, by an interpreter in C++ (``toggles.cpp``).

To compile a large netlist, as Verilator does, takes longer than all other steps together.
"""

from collections.abc import Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...golden.scratch import scratch_folder
from ..tools.cache import keep
from ..tools.errors import SimulationError
from ..tools.run import run_program
from ..tools.toolchain import ToolchainError
from .conditions import list_conditions, read_shares
from .liberty import names_in, truth_table
from .netlist import Activity, Memory, Net, Netlist

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
    nets, registers, cells, tables = _flatten(netlist)
    nets_in = [nets[bit] for _, bits in netlist.bits("input") for bit in bits]
    nets_out = [nets[bit] for _, bits in netlist.bits("output") for bit in bits]
    counts = [
        *(len(nets), len(nets_in), len(nets_out)),
        *(len(registers) // 2, len(cells), len(tables)),
    ]
    lists = np.array([*counts, *nets_in, *nets_out, *registers, *cells], np.int32)
    words, conditions, counted = list_conditions(netlist, nets)
    sizes = [len(words), len(conditions), sum(cell.nets.size for cell in counted)]
    parts = netlist.parts
    marks = [len(netlist.memories)]
    for memory in netlist.memories:
        marks += _memory_list(memory, nets)
    marks += [len(parts), *(parts.index(part) for part in netlist.register_parts())]
    stimuli = netlist.stimuli(inputs)
    cycles = len(stimuli) - 1
    with scratch_folder() as work:
        (work / "netlist.bin").write_bytes(lists.tobytes() + bytes(tables))
        groups = np.array([*sizes, *words], np.int32)
        (work / "conditions.bin").write_bytes(groups.tobytes() + bytes(conditions))
        (work / "parts.bin").write_bytes(np.array([len(marks), *marks], np.int32).tobytes())
        stimuli.tofile(work / "in.bin")
        run_program([_interpreter()], folder=work)
        found = np.fromfile(work / "out.bin", np.uint8)
        changes, ones = np.fromfile(work / "counts.bin", np.int64).reshape(2, -1)
        applied = np.fromfile(work / "groups.bin", np.int64)
        uses = np.fromfile(work / "uses.bin", np.int64).tolist()
    if len(found) != cycles * len(nets_out):
        raise SimulationError(
            f"the interpreter must write {cycles * len(nets_out)} output bits, not {len(found)}"
        )
    outputs = netlist.outputs(found.reshape(cycles, -1))
    activity = Activity.from_counts(nets, changes, ones, cycles)
    shares = read_shares(applied, counted, changes, cycles - 1)
    pairs = 2 * len(netlist.memories)
    return outputs, replace(
        activity,
        shares=shares,
        read_bits=uses[0:pairs:2],
        written_bits=uses[1:pairs:2],
        busy=dict(zip(parts, uses[pairs:], strict=True)),
    )


def _memory_list(memory: Memory, nets: Mapping[Net, int]) -> list[int]:
    """List the sizes and the nets of a memory, as ``toggles.cpp`` reads them."""
    lines = len(memory.reads[0][0])
    found = [memory.words, memory.bits, lines, len(memory.reads), len(memory.writes)]
    for (address, enable, data), transparent in zip(memory.reads, memory.transparent, strict=True):
        found += [*(nets[net] for net in (*address, enable, *data)), *map(int, transparent)]
    for port in memory.writes:
        found += [nets[net] for part in port for net in part]
    return found


def _interpreter() -> Path:
    """Compile ``toggles.cpp``, or find it compiled."""
    source = Path(__file__).parent / "toggles.cpp"
    with keep("toggles", source.read_text()) as (folder, making):
        if making is not None:
            run_program(["g++", "-O2", "-o", making / "toggles", source])
    return folder / "toggles"


def _gates(
    netlist: Netlist,
) -> tuple[dict[Net, tuple[str, list[Net]]], list[tuple[Net, Net]]]:
    """List the functions of all cells, and the next state and the state of all flip-flops.

    Returns
    -------
    gates : by the net that it drives, each function and the nets of the names in it
    registers : pairs of the nets of the next state and of the state
    """
    gates: dict[Net, tuple[str, list[Net]]] = {}
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
            gates[driven] = function, [values[pin] for pin in names_in(function)]
    return gates, registers


def _flatten(netlist: Netlist) -> tuple[dict[Net, int], list[int], list[int], list[int]]:
    """Order the functions as ``toggles.cpp`` reads them: the drivers of inputs stand in front.

    Returns
    -------
    nets : number of each net
    registers : for each flip-flop the nets of its next state and of its state
    cells : for each function its table, the net it drives, the number of its inputs, and the nets
        of these
    tables : truth tables, one behind the other

    Raises
    ------
    ToolchainError
        If there is no such order.
    """
    gates, registers = _gates(netlist)
    inputs = [bit for _, bits in netlist.bits("input") for bit in bits]
    read = [net for memory in netlist.memories for net in memory.outputs]
    given = dict.fromkeys([netlist.clock, *inputs, *read, *(state for _, state in registers)])
    # "x" shares the number of "0".
    nets: dict[Net, int] = {"0": 0, "1": 1, "x": 0}
    graph = TopologicalSorter({net: sources for net, (_, sources) in gates.items()})
    try:
        order = [net for net in graph.static_order() if net not in nets and net not in given]
        functions = [gates[net] for net in order]
    except (CycleError, KeyError):
        raise ToolchainError(
            "the netlist has a loop of gates; the component must have none"
        ) from None
    for net in (*given, *order):
        nets.setdefault(net, len(nets) - 1)
    cells: list[int] = []
    tables: list[int] = []
    places: dict[str, int] = {}
    for net, (function, sources) in zip(order, functions, strict=True):
        if function not in places:
            places[function] = len(tables)
            tables += truth_table(function, tuple(names_in(function)))
        cells += [places[function], nets[net], len(sources), *(nets[one] for one in sources)]
    pairs = [nets[net] for pair in registers for net in pair]
    return nets, pairs, cells, tables

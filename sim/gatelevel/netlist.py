"""Netlists: a component in cells of a library, and the activity of its nets in a simulation."""

import json
import re
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rtl.clocked import port_rows
from ..tools.errors import SimulationError
from ..tools.toolchain import ToolchainError
from .library import Cell, Library

__all__ = ["Activity", "Instance", "Net", "Netlist"]

#: A net as yosys numbers it, or one of the constants "0", "1" and "x".
Net = int | str


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A cell of a netlist.

    Parameters
    ----------
    cell : the cell of the library
    register : yosys' name of the instance; that of a flip-flop begins with its register
    nets : the net at each connected pin
    """

    cell: Cell
    register: str
    nets: dict[str, Net]

    def outputs(self) -> Iterator[tuple[str, str, Net]]:
        """Iterate over the connected outputs: pin, function and net."""
        for pin, function in self.cell.outputs:
            if pin in self.nets:
                yield pin, function, self.nets[pin]


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Activity of nets in a simulation.

    Parameters
    ----------
    changes : transitions per cycle of each net
    ones : share of the cycles at whose end each net was one
    shares : for each cell, the share of each internal power group in the transitions of its pin,
        see ``read_shares``; a cell that was not counted is left out
    """

    changes: dict[Net, float]
    ones: dict[Net, float]
    shares: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def from_counts(
        cls,
        nets: Mapping[Net, int],
        changes: NDArray[np.int64],
        ones: NDArray[np.int64],
        cycles: int,
    ) -> "Activity":
        """Make an activity of counts.

        Parameters
        ----------
        nets : place of each net in the counts
        changes : int64[nets], transitions from cycle to cycle; the first cycle has none before it
        ones : int64[nets], cycles at whose end the net was one
        cycles : simulated cycles, at least 2
        """
        return cls(
            changes={net: float(changes[place]) / (cycles - 1) for net, place in nets.items()},
            ones={net: float(ones[place]) / cycles for net, place in nets.items()},
        )


class Netlist:
    """A component in cells of a library.

    Parameters
    ----------
    file : yosys' JSON of the mapped module ``unit``
    library : the cells
    period_ps : period of the clock in ps
    parts : a regular expression for each part of the component, which the names of its registers
        match, see ``DotUnit``

    Raises
    ------
    ToolchainError
        If yosys left a cell that the library does not have.

    Attributes
    ----------
    ports : direction and nets of each port, as yosys writes them
    instances : the cells by short names
    wires : capacitance of the wire of each net, in the library's unit; empty if it is not placed
    buffers : names of the cells of the clock tree; empty if it is not placed
    """

    def __init__(
        self, file: Path, library: Library, period_ps: float, parts: Mapping[str, str]
    ) -> None:
        self.library = library
        self.period_ps = period_ps
        self._parts = parts
        module: dict[str, Any] = json.loads(file.read_text())["modules"]["unit"]
        kinds = {cell["type"] for cell in module["cells"].values()}
        unknown = kinds - set(library.cells)
        if unknown:
            raise ToolchainError(
                f"yosys must map all cells to the library, and left {', '.join(sorted(unknown))}"
            )
        self.ports: dict[str, dict[str, Any]] = module["ports"]
        self.wires: Mapping[Net, float] = {}
        self.buffers: frozenset[str] = frozenset()
        self.instances = {
            f"c{place}": Instance(
                cell=library.cells[cell["type"]],
                register=name,
                nets={pin: bits[0] for pin, bits in cell["connections"].items() if bits},
            )
            for place, (name, cell) in enumerate(module["cells"].items())
        }

    @property
    def area(self) -> float:
        """Area of all cells, in the library's unit."""
        return sum(instance.cell.area for instance in self.instances.values())

    @property
    def flip_flops(self) -> int:
        """Number of flip-flops."""
        kind = self.library.flip_flop.name
        return sum(instance.cell.name == kind for instance in self.instances.values())

    @property
    def clock(self) -> Net:
        """The net of the clock port."""
        return self.ports["clk"]["bits"][0]

    def bits(self, direction: str) -> list[tuple[str, list[Net]]]:
        """List the ports of a direction but the clock, each with its nets, lowest bit first.

        Parameters
        ----------
        direction : ``input`` or ``output``
        """
        return [
            (name, port["bits"])
            for name, port in self.ports.items()
            if name != "clk" and port["direction"] == direction
        ]

    def stimuli(self, inputs: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Arrange inputs bit by bit, behind a cycle of reset.

        Parameters
        ----------
        inputs : rows of each input port but ``clk`` and ``rst``, see ``run_clocked``

        Returns
        -------
        uint8[1 + cycles, bits], a byte for each bit in the order of ``bits("input")``

        Raises
        ------
        SimulationError
            If there are fewer than two cycles, between which nothing can change.
        """
        cycles = len(next(iter(inputs.values())))
        if cycles < 2:
            raise SimulationError(f"the activity of a netlist needs 2 cycles or more, not {cycles}")
        columns = []
        for name, bits in self.bits("input"):
            column = np.zeros((cycles + 1, len(bits)), np.uint8)
            if name == "rst":
                column[0] = 1
            else:
                unpacked = np.unpackbits(inputs[name], axis=1, bitorder="little")
                column[1:] = unpacked[:, : len(bits)]
            columns.append(column)
        return np.concatenate(columns, axis=1)

    def outputs(self, bits: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
        """Arrange outputs by port.

        Parameters
        ----------
        bits : uint8[cycles, bits], a byte for each bit in the order of ``bits("output")``

        Returns
        -------
        Rows of each output port, see ``run_clocked``
        """
        outputs, place = {}, 0
        for name, nets in self.bits("output"):
            packed = np.packbits(bits[:, place : place + len(nets)], axis=1, bitorder="little")
            outputs[name] = port_rows(packed, len(nets))
            place += len(nets)
        return outputs

    def loads(self) -> dict[Net, float]:
        """Sum the capacitance of each net's wire and the pins it drives, in the library's unit."""
        loads = dict(self.wires)
        for instance in self.instances.values():
            for pin, load in instance.cell.loads.items():
                net = instance.nets[pin]
                loads[net] = loads.get(net, 0.0) + load
        return loads

    def owners(self) -> dict[str, str]:
        """Assign each cell to a part of the component.

        A flip-flop belongs to the part whose pattern matches its register. Other cells belong to
        the first part, in the order of ``parts``, with a register that they lead to.

        Returns
        -------
        The part of each instance; ``control`` if it belongs to none, and ``clock tree`` for its
        buffers.
        """
        driver = {
            net: name
            for name, instance in self.instances.items()
            for _, _, net in instance.outputs()
        }
        owner: dict[str, str] = {}
        for name, instance in self.instances.items():
            if instance.cell.flip_flop:
                matching = (
                    part
                    for part, pattern in self._parts.items()
                    if re.match(pattern, instance.register)
                )
                owner[name] = next(matching, "control")
        registers = dict(owner)
        for part in (*self._parts, "control"):
            front = [name for name, p in registers.items() if p == part]
            while front:
                instance = self.instances[front.pop()]
                for pin in instance.cell.inputs:
                    source = driver.get(instance.nets[pin])
                    if source is not None and source not in owner:
                        owner[source] = part
                        front.append(source)
        owner |= dict.fromkeys(self.buffers, "clock tree")
        return {name: owner.get(name, "control") for name in self.instances}

    def placed(
        self,
        buffers: Mapping[str, Instance],
        leaves: Mapping[str, Net],
        wires: Mapping[Net, float],
    ) -> "Netlist":
        """Make a netlist with wires and a clock tree.

        Parameters
        ----------
        buffers : cells of the clock tree, by new names
        leaves : net at the clock pin of each flip-flop
        wires : see ``wires``
        """
        netlist = copy(self)
        netlist.instances = {
            name: replace(one, nets=one.nets | {one.cell.flip_flop.clock: leaves[name]})
            if one.cell.flip_flop
            else one
            for name, one in self.instances.items()
        }
        netlist.instances |= buffers
        netlist.wires = wires
        netlist.buffers = frozenset(buffers)
        return netlist

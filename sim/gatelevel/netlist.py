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

__all__ = ["Activity", "Instance", "Memory", "Net", "Netlist"]

#: A net as yosys numbers it, or one of the constants "0", "1" and "x".
Net = int | str

#: Type of a memory in yosys' netlists.
_MEMORY = "$mem_v2"


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
class Memory:
    """A memory that yosys left whole, with one clock: its bits are no cells of the library.

    Parameters
    ----------
    name : yosys' name, which begins with the places in the hierarchy
    words, bits : number of words, and bits of a word
    reads : for each read port the nets of its address, of its enable and of its data; data change
        at the rising edge of the clock
    writes : for each write port the nets of its address, of the enable of each bit, and of its data
    transparent : for each read port and write port, whether a read sees what is written in the same
        cycle; ``transparent[read][write]``
    """

    name: str
    words: int
    bits: int
    reads: list[tuple[list[Net], Net, list[Net]]]
    writes: list[tuple[list[Net], list[Net], list[Net]]]
    transparent: list[list[bool]]

    @classmethod
    def read(cls, name: str, cell: Mapping[str, Any]) -> "Memory":
        """Read a cell ``$mem_v2`` as yosys' JSON has it.

        Raises
        ------
        ToolchainError
            If the memory has another clock edge, a reset, contents or a port without a clock.
        """

        def parameter(key: str) -> int:
            return int(cell["parameters"][key].replace("x", "0"), 2)

        width, depth, lines = parameter("WIDTH"), parameter("SIZE"), parameter("ABITS")
        reads, writes = parameter("RD_PORTS"), parameter("WR_PORTS")
        nets: dict[str, list[Net]] = cell["connections"]
        plain = {
            "RD_CLK_ENABLE": 2**reads - 1,
            "RD_CLK_POLARITY": 2**reads - 1,
            "WR_CLK_ENABLE": 2**writes - 1,
            "WR_CLK_POLARITY": 2**writes - 1,
            "OFFSET": 0,
            "INIT": 0,
        }
        resets = {net for pin in ("RD_ARST", "RD_SRST") for net in nets[pin]}
        if resets - {"0", "x"} or any(parameter(key) != value for key, value in plain.items()):
            raise ToolchainError(
                f"the memory {name} must have ports of one rising edge, no reset and no contents"
            )

        def port(pin: str, place: int, size: int) -> list[Net]:
            return nets[pin][place * size : (place + 1) * size]

        mask = parameter("RD_TRANSPARENCY_MASK")
        return cls(
            name=name,
            words=depth,
            bits=width,
            reads=[
                (port("RD_ADDR", i, lines), nets["RD_EN"][i], port("RD_DATA", i, width))
                for i in range(reads)
            ],
            writes=[
                (port("WR_ADDR", i, lines), port("WR_EN", i, width), port("WR_DATA", i, width))
                for i in range(writes)
            ],
            transparent=[
                [bool(mask >> (i * writes + j) & 1) for j in range(writes)] for i in range(reads)
            ],
        )

    @property
    def inputs(self) -> list[Net]:
        """The nets of all its inputs."""
        return [
            *(net for address, enable, _ in self.reads for net in (*address, enable)),
            *(net for port in self.writes for nets in port for net in nets),
        ]

    @property
    def outputs(self) -> list[Net]:
        """The nets of the data of all its read ports."""
        return [net for _, _, data in self.reads for net in data]


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Activity of nets in a simulation.

    Parameters
    ----------
    changes : transitions per cycle of each net
    ones : share of the cycles at whose end each net was one
    shares : for each cell, the share of each internal power group in the transitions of its pin,
        see ``read_shares``; a cell that was not counted is left out
    read_bits, written_bits : bits that were read and written in all cycles, by memory; a read of
        the same word again does not count if it has the same data
    busy : cycles in which a register of a part changed, by part
    """

    changes: dict[Net, float]
    ones: dict[Net, float]
    shares: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    read_bits: list[int] = field(default_factory=list)
    written_bits: list[int] = field(default_factory=list)
    busy: dict[str, int] = field(default_factory=dict)

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
    memories : memories, which are not among the cells
    """

    def __init__(
        self, file: Path, library: Library, period_ps: float, parts: Mapping[str, str]
    ) -> None:
        self.library = library
        self.period_ps = period_ps
        self._parts = parts
        module: dict[str, Any] = json.loads(file.read_text())["modules"]["unit"]
        self.memories = [
            Memory.read(name, cell)
            for name, cell in module["cells"].items()
            if cell["type"] == _MEMORY
        ]
        kinds = {cell["type"] for cell in module["cells"].values()} - {_MEMORY}
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
            if cell["type"] != _MEMORY
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
    def memory_ports(self) -> dict[str, dict[str, Any]]:
        """Ports that stand for the data of memories, in the form of ``ports``."""
        return {
            f"memory{place}": {"direction": "input", "bits": memory.outputs}
            for place, memory in enumerate(self.memories)
        }

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

    @property
    def parts(self) -> list[str]:
        """Names of all parts, ``control`` last."""
        return [*self._parts, *({"control"} - set(self._parts))]

    def register_parts(self) -> list[str]:
        """List the part of each flip-flop, in the order of ``instances``."""
        return [
            self.part_of(instance.register)
            for instance in self.instances.values()
            if instance.cell.flip_flop
        ]

    def part_of(self, name: str) -> str:
        """Return the part whose pattern matches the name of a register; ``control`` if none does.

        Parameters
        ----------
        name : yosys' name of a register or of a memory
        """
        matching = (part for part, pattern in self._parts.items() if re.match(pattern, name))
        return next(matching, "control")

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
                owner[name] = self.part_of(instance.register)
        registers = dict(owner)
        for part in (*self._parts, "control"):
            front = [name for name, p in registers.items() if p == part]
            # The logic in front of a memory is its part's, as that in front of a register is.
            for memory in self.memories:
                if self.part_of(memory.name) == part:
                    for net in memory.inputs:
                        source = driver.get(net)
                        if source is not None and source not in owner:
                            owner[source] = part
                            front.append(source)
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

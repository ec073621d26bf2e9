"""Cell libraries: their cells, units and operating points."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from math import isclose
from pathlib import Path

from ...golden.templates import render
from ..tools.cache import keep
from . import energies, liberty
from .energies import EnergyGroup, EnergyTable, read_energies
from .liberty import (
    Group,
    LibertyError,
    LibertyFile,
    names_in,
    read_liberty,
    read_units,
    truth_table,
)

__all__ = ["Cell", "Library"]


@dataclass(frozen=True, kw_only=True)
class _FlipFlop:
    """The ``ff`` group of a cell.

    Parameters
    ----------
    state, inverse : names of the two state variables, which functions of outputs use
    next_state : the function that the state takes at the rising edge
    clock : the clock pin
    ties : values of the other inputs that neither set nor clear the state, by pin
    """

    state: str
    inverse: str
    next_state: str
    clock: str
    ties: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell, as far as mapping and simulation need it.

    Parameters
    ----------
    name : name of the cell
    area : in the library's unit, mostly µm²
    inputs : input pins
    outputs : output pins, each with its function in Liberty's notation
    loads : capacitance of each input, in the library's unit; 0 where the library gives none
    flip_flop : None if the cell is combinational, or a flip-flop that is not supported
    usable : whether yosys may map to the cell
    max_load : ``max_capacitance`` of the first output, in the library's unit; None if not given
    """

    name: str
    area: float
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, str], ...]
    loads: dict[str, float]
    flip_flop: _FlipFlop | None
    usable: bool
    max_load: float | None

    @property
    def is_plain_flip_flop(self) -> bool:
        """Whether the cell stores one input, or its inverse, at the rising edge of the clock."""
        if not self.usable or self.flip_flop is None or self.flip_flop.clock not in self.inputs:
            return False
        others = {self.flip_flop.clock, *self.flip_flop.ties}
        data = [pin for pin in self.inputs if pin not in others]
        return len(data) == 1 and names_in(self.flip_flop.next_state) == data

    @property
    def has_ties(self) -> bool:
        """Whether the cell is a flip-flop with set or reset."""
        return self.flip_flop is not None and len(self.flip_flop.ties) > 0

    @property
    def is_buffer(self) -> bool:
        """Whether the cell has one output, which follows its only input."""
        return (
            self.usable
            and self.flip_flop is None
            and len(self.inputs) == len(self.outputs) == 1
            and truth_table(self.outputs[0][1], self.inputs) == (0, 1)
        )


@dataclass(frozen=True, kw_only=True)
class _Corner:
    """Units and operating point, which all files of a library share.

    Parameters
    ----------
    time_ps : unit of time in ps
    farads : unit of capacitance in F, and of energy in J
    voltage : ``nom_voltage``, in V
    temperature : ``nom_temperature``, in °C
    conditions : the operating conditions that OpenSTA must be told; empty if the library has a
        default. Without any, OpenSTA takes the voltage, and so all dynamic power, for zero.
    """

    time_ps: float
    farads: float
    voltage: float
    temperature: float
    conditions: str


class Library:
    """A cell library in Liberty files.

    Cells, energies and units are kept in the build folder, because parsing a large library takes
    many seconds.

    Parameters
    ----------
    files : ``.lib`` or ``.lib.gz``, which together are the library

    Raises
    ------
    LibertyError
        If a file cannot be read, does not parse, or has no power tables; if units or operating
        points of the files differ; or if all files together lack a plain flip-flop, the
        capacitance of its inputs, or a buffer.

    Attributes
    ----------
    provenance : name and SHA-256 of each file
    files : decompressed copies of the files, for yosys and OpenSTA
    corner : units and operating point
    cells : all cells by name
    flip_flop : the smallest plain flip-flop, without set and reset if there is one; yosys maps all
        registers to it
    buffer : the smallest buffer, which drives the inputs while ABC sizes gates
    """

    def __init__(self, files: Sequence[Path]) -> None:
        contents = [read_liberty(file) for file in files]
        self.provenance = [{"file": one.name, "sha256": one.sha256} for one in contents]
        names = ", ".join(one.name for one in contents)
        sources = [
            Path(module).read_text() for module in (__file__, energies.__file__, liberty.__file__)
        ]
        key = [names, *(one.sha256 for one in contents), *sources]
        with keep("liberty", "\0".join(key)) as (folder, making):
            if making is not None:
                _extract(contents, making)
        self._folder = folder
        self.files = [folder / f"{place}.lib" for place in range(len(files))]
        stored = json.loads((folder / "cells.json").read_text())
        self.corner = _Corner(**stored["corner"])
        cells = [_cell_from_json(cell) for cell in stored["cells"]]
        self.cells = {cell.name: cell for cell in cells}
        self._places = {cell.name: place for place, cell in enumerate(cells)}
        flip_flops = [cell for cell in cells if cell.is_plain_flip_flop]
        buffers = [cell for cell in cells if cell.is_buffer]
        for kind, found in (("plain flip-flop", flip_flops), ("buffer", buffers)):
            if not found:
                raise LibertyError(f"{names}: the library must have a {kind}")
        self.flip_flop = min(flip_flops, key=lambda cell: (cell.has_ties, cell.area))
        if min(self.flip_flop.loads.values()) <= 0:
            raise LibertyError(
                f"{names}: the capacitance of each input of {self.flip_flop.name} must be given"
            )
        self.buffer = min(buffers, key=lambda cell: cell.area)

    def energies(self, cell: str) -> list[EnergyGroup]:
        """Read the internal power groups of a cell.

        Parameters
        ----------
        cell : name of the cell

        Returns
        -------
        The groups in the order of the file, see ``read_energies``
        """
        text = (self._folder / f"{self._places[cell]}.json").read_text()
        return [
            EnergyGroup(**group | {"tables": tuple(EnergyTable(**t) for t in group["tables"])})
            for group in json.loads(text)
        ]

    def register(self) -> str:
        """Write the Verilog with which yosys' ``techmap`` maps its flip-flop to ``flip_flop``."""
        cell = self.flip_flop
        assert cell.flip_flop
        states = (cell.flip_flop.state, cell.flip_flop.inverse)
        (pin,) = names_in(cell.flip_flop.next_state)
        stores_inverse = truth_table(cell.flip_flop.next_state, (pin,)) == (1, 0)
        out, function = cell.outputs[0]
        for name, candidate in cell.outputs:
            if names_in(candidate) == [cell.flip_flop.state]:
                out, function = name, candidate
        # Entry 1 of the table: the state is 1 and its inverse 0.
        shows_inverse = truth_table(function, states)[1] == 0
        return render(
            "trilith.sim.gatelevel",
            "register.v.jinja",
            cell=cell,
            data=pin,
            out=out,
            invert=stores_inverse != shows_inverse,
        )


def _cell_from_json(cell: dict) -> Cell:
    """Make a cell from the JSON of ``_extract``."""
    flip_flop = cell["flip_flop"]
    return Cell(
        **cell
        | {
            "inputs": tuple(cell["inputs"]),
            "outputs": tuple(map(tuple, cell["outputs"])),
            "flip_flop": _FlipFlop(**flip_flop) if flip_flop else None,
        }
    )


def _extract(files: Sequence[LibertyFile], folder: Path) -> None:
    """Write the cells, energies and corner of a library to a folder."""
    cells: list[Cell] = []
    groups: list[list[EnergyGroup]] = []
    corners: list[_Corner] = []
    for place, file in enumerate(files):
        group = file.parse()
        if b"internal_power" not in file.content:
            raise LibertyError(f"{file.name}: the library must have power tables (internal_power)")
        corners.append(_corner(group, file.name))
        try:
            cells += [_cell(cell, group) for cell in group.all("cell")]
            groups += read_energies(group)
        except (IndexError, KeyError, ValueError) as error:
            raise LibertyError(
                f"{file.name}: a cell must be described as Liberty requires: {error}"
            ) from None
        (folder / f"{place}.lib").write_bytes(file.content)
    _check_corners(corners, files)
    document = {"corner": asdict(corners[0]), "cells": [asdict(cell) for cell in cells]}
    (folder / "cells.json").write_text(json.dumps(document))
    for place, of_cell in enumerate(groups):
        text = json.dumps([asdict(group) for group in of_cell])
        (folder / f"{place}.json").write_text(text)


def _corner(library: Group, file: str) -> _Corner:
    """Read units and operating point of a file."""
    point = [library.get(name) for name in ("nom_voltage", "nom_temperature")]
    try:
        voltage, temperature = map(float, point)
    except ValueError:
        raise LibertyError(
            f"{file}: nom_voltage and nom_temperature must be numbers, not {point}"
        ) from None
    conditions = ""
    if not library.get("default_operating_conditions"):
        conditions = next((one.names[0] for one in library.all("operating_conditions")), "")
    if not re.fullmatch(r"[\w.]*", conditions):
        raise LibertyError(
            f"{file}: the name of operating conditions must be of letters, digits, '_' and '.', "
            f"not {conditions!r}"
        )
    time_ps, farads = read_units(library, file)
    return _Corner(
        time_ps=time_ps,
        farads=farads,
        voltage=voltage,
        temperature=temperature,
        conditions=conditions,
    )


def _check_corners(corners: Sequence[_Corner], files: Sequence[LibertyFile]) -> None:
    """Refuse files whose units or operating points differ."""
    for corner, file in zip(corners, files, strict=True):
        for name, first in asdict(corners[0]).items():
            mine = getattr(corner, name)
            # 1000 fF and 1 pF are the same unit, but not always the same float.
            if mine != first and not (isinstance(mine, float) and isclose(mine, first)):
                raise LibertyError(
                    f"{file.name}: {name} must be {first!r} as in {files[0].name}, not {mine!r}; "
                    "give the files of one library at one operating point"
                )


def _inactive(pins: Sequence[str], functions: Sequence[str]) -> dict[str, int] | None:
    """Find constants for the pins that make all functions zero; None if there are none."""
    for bits in product((1, 0), repeat=len(pins)):
        place = sum(bit << i for i, bit in enumerate(bits))
        if not all(set(names_in(function)) <= set(pins) for function in functions):
            return None
        if not any(truth_table(function, tuple(pins))[place] for function in functions):
            return dict(zip(pins, bits, strict=True))
    return None


def _capacitance(pin: Group, library: Group) -> float:
    """Read the capacitance of an input, in the library's unit; 0 if the library has none."""
    own = pin.get("capacitance")
    if own:
        return float(own)
    edges = [pin.get(f"{edge}_capacitance") for edge in ("rise", "fall")]
    if all(edges):
        return sum(map(float, edges)) / 2
    return float(library.get("default_input_pin_cap", "0"))


def _flip_flop(cell: Group, inputs: Sequence[str]) -> _FlipFlop | None:
    """Read the ``ff`` group of a cell; None if there is none, or its set and reset have no tie."""
    found = None
    for ff in cell.all("ff"):
        clock, following = ff.get("clocked_on").strip("() "), ff.get("next_state")
        others = [pin for pin in inputs if pin != clock and pin not in names_in(following)]
        ties = _inactive(others, [ff.get("clear", "0"), ff.get("preset", "0")])
        if len(ff.names) == 2 and ties is not None:
            found = _FlipFlop(
                state=ff.names[0],
                inverse=ff.names[1],
                next_state=following,
                clock=clock,
                ties=ties,
            )
    return found


def _cell(cell: Group, library: Group) -> Cell:
    """Read a cell.

    Raises
    ------
    ValueError
        If a name has characters that scripts and netlists cannot take.
    """
    pins = list(cell.all("pin"))
    for name in (cell.names[0], *(pin.names[0] for pin in pins)):
        if not re.fullmatch(r"[\w\[\]]+", name):
            raise ValueError(f"the name {name!r}")
    inputs = tuple(pin.names[0] for pin in pins if pin.get("direction") == "input")
    outputs = tuple(
        (pin.names[0], pin.get("function")) for pin in pins if pin.get("direction") == "output"
    )
    flip_flop = _flip_flop(cell, inputs)
    sequential = any(g.kind in ("ff", "latch", "statetable", "ff_bank") for g in cell.groups)
    # All but the first stand between power domains, of which a unit has one.
    unusable = ("dont_use", "is_level_shifter", "is_isolation_cell", "always_on")
    return Cell(
        name=cell.names[0],
        area=float(cell.get("area", "0")),
        inputs=inputs,
        outputs=outputs,
        loads={
            pin.names[0]: _capacitance(pin, library)
            for pin in pins
            if pin.get("direction") == "input"
        },
        flip_flop=flip_flop,
        usable=not any(cell.get(name) == "true" for name in unusable)
        and bool(outputs)
        and all(function for _, function in outputs)
        and (bool(flip_flop and flip_flop.next_state) or not sequential),
        max_load=_max_load(pins, library),
    )


def _max_load(pins: Sequence[Group], library: Group) -> float | None:
    """Read the capacitance that the first output may drive; None if it is not limited."""
    outputs = (pin for pin in pins if pin.get("direction") == "output")
    limit = next((pin.get("max_capacitance") for pin in outputs), "")
    limit = limit or library.get("default_max_capacitance")
    return float(limit) if limit else None

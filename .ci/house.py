"""Measures the source of the rooms, and fails where a file or a function is too long.

Run it at the top of a checkout: ``python .ci/house.py``. It prints, for each room, lines of code
(without docstrings, comments and blank lines), and the docstring and comment lines per 100 of them.
With the names of folders it prints the same for these folders, and judges the length alone.
"""

import ast
import io
import sys
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOMS = ("golden", "hw", "sim", "fpga", "reports", "cli")
#: Least docstring lines and least comment lines per 100 lines of code.
DOCSTRINGS = {"golden": 45, "hw": 45, "sim": 45, "fpga": 45}
COMMENTS = {"hw": 4, "fpga": 4}
COMPONENT_DOCSTRINGS = 55
FILE_LINES = 500
FUNCTION_LINES, ELABORATE_LINES = 80, 120
PARAMETERS = 8

_LAYOUT = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass
class Lines:
    """Lines of Python by kind; a line that holds code and a comment is code."""

    code: int = 0
    docstring: int = 0
    comment: int = 0

    def add(self, other: "Lines") -> None:
        """Add the lines of another file."""
        self.code += other.code
        self.docstring += other.docstring
        self.comment += other.comment


def _docstring_lines(tree: ast.AST) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            lines |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def count(text: str, tree: ast.AST) -> Lines:
    """Count the lines of a source text by kind."""
    documented = _docstring_lines(tree)
    code: set[int] = set()
    comment: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comment.add(token.start[0])
        elif token.type not in _LAYOUT:
            code |= set(range(token.start[0], token.end[0] + 1))
    source = text.splitlines()
    code = {line for line in code if source[line - 1].strip()} - documented
    return Lines(code=len(code), docstring=len(documented), comment=len(comment - code))


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def long_parts(file: Path, text: str, tree: ast.AST) -> list[str]:
    """Complaints about the length of a file, of its functions and of their parameter lists."""
    wrong = []
    if (lines := text.count("\n")) > FILE_LINES:
        wrong.append(f"{file}: {lines} lines, more than {FILE_LINES}")
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        size = (node.end_lineno or node.lineno) - node.lineno + 1
        most = ELABORATE_LINES if node.name == "elaborate" else FUNCTION_LINES
        if size > most:
            wrong.append(f"{file}:{node.lineno}: {node.name} has {size} lines, more than {most}")
        if _parameters(node) > PARAMETERS:
            wrong.append(
                f"{file}:{node.lineno}: {node.name} has {_parameters(node)} parameters, more than "
                f"{PARAMETERS}; pass a dataclass"
            )
    return wrong


def _component_lines(tree: ast.AST, text: str) -> Lines:
    """Lines of the Amaranth components of a file."""
    total = Lines()
    source = text.splitlines(keepends=True)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(
            ast.unparse(base).endswith("Component") for base in node.bases
        ):
            part = "".join(source[node.lineno - 1 : node.end_lineno])
            total.add(count(part, ast.parse(part)))
    return total


def main(folders: Sequence[str]) -> int:
    """Print the measures of the rooms, or of some folders; return 1 if a bar is missed."""
    wrong: list[str] = []
    whole, components = Lines(), Lines()
    print(f"{'':<24} {'code':>6} {'docstrings':>10} {'comments':>8}  (per 100 lines of code)")
    for folder in folders or ROOMS:
        lines = Lines()
        for file in sorted(Path(folder).rglob("*.py")):
            text = file.read_text()
            tree = ast.parse(text)
            lines.add(count(text, tree))
            if file.parts[0] in ("hw", "fpga"):
                components.add(_component_lines(tree, text))
            if "testbenches" not in file.parts:
                wrong += long_parts(file, text, tree)
        whole.add(lines)
        docs, comments = _show(folder, lines)
        if docs < DOCSTRINGS.get(folder, 0):
            wrong.append(f"{folder}: docstring lines per 100 must be {DOCSTRINGS[folder]} or more")
        if comments < COMMENTS.get(folder, 0):
            wrong.append(f"{folder}: comment lines per 100 must be {COMMENTS[folder]} or more")
    docs, _ = _show("components of hw, fpga", components)
    _show("all", whole)
    if not folders and docs < COMPONENT_DOCSTRINGS:
        wrong.append(f"components: docstring lines per 100 must be {COMPONENT_DOCSTRINGS} or more")
    for line in wrong:
        print(line)
    return int(bool(wrong))


def _show(name: str, lines: Lines) -> tuple[float, float]:
    """Print a row; return its docstring and comment lines per 100 lines of code."""
    docs, comments = (100 * n / max(lines.code, 1) for n in (lines.docstring, lines.comment))
    print(f"{name:<24} {lines.code:>6} {docs:>10.1f} {comments:>8.1f}")
    return docs, comments


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The printer of JSON and the printer of tables that all verbs use, and their progress displays.

Output to a terminal is styled and folded to its width. Any other output is plain text: one line per
row, without escape sequences, wrapping or truncation, so that other programs can read it. ``rich``
is imported only for a terminal and for progress displays, because it takes longer to import than
most tables take to compute.
"""

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..golden.errors import printable

__all__ = [
    "Column",
    "Table",
    "lower_bound",
    "print_facts",
    "print_json",
    "print_note",
    "print_published",
    "progress",
    "status",
]

#: Space between two columns: wider than any space within a cell.
_GAP = "  "
#: Indent of the second and further lines of a folded row.
_INDENT = "    "
#: Cells that stand out on a terminal.
_STYLES = {"PASS": "green", "FAIL": "bold red", "missing": "bold red", "measured": "cyan"}


def print_json(value: Any) -> None:
    """Print a value as JSON, in ASCII, which every terminal can show.

    Raises
    ------
    ValueError
        If a number is infinite or not a number: JSON has neither.
    """
    print(json.dumps(value, indent=2, allow_nan=False))


def _terminal_width() -> int | None:
    """Columns of the terminal, or None where the output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_note(text: str) -> None:
    """Print a sentence below a table, wrapped at the width of a terminal."""
    width = _terminal_width()
    print(text if width is None else textwrap.fill(text, width, break_on_hyphens=False))


def print_facts(facts: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
    """Print names and values, one pair per line; a terminal's lines wrap below the value.

    Names in a file may have line ends and colors of a terminal; such characters are escaped, here
    and in tables.
    """
    pairs = [*(facts.items() if isinstance(facts, Mapping) else facts)]
    room = max((len(name) for name, _ in pairs), default=0) + len(_GAP)
    width = _terminal_width()
    for name, value in pairs:
        line = printable(f"{name:<{room}}{value}")
        if width is not None and len(line) > width > 2 * room:
            line = textwrap.fill(line, width, subsequent_indent=" " * room, break_on_hyphens=False)
        print(line.rstrip())


def lower_bound(refused: float) -> str:
    """Explain an energy that is a lower bound, see ``trilith.sim.gatelevel.power.Power``."""
    return (
        f"{refused:.0%} of the outputs' transitions, the library's internal energy is so negative "
        "that the cells would give energy; it counts as zero"
    )


def print_published(figures: Iterable[Any]) -> None:
    """Print figures of other designs: see ``trilith.reports.published``."""
    print_facts(
        (figure.label, f"{figure.design}: {figure.figure} ({figure.what})") for figure in figures
    )


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    head : the header, with the unit where there is one
    value : the row's attribute, key or index that is the cell; or a function of the row
    width : least characters of a cell; a longer cell widens its row only
    form : format specification of a cell, such as ``.2f``; ``<`` aligns words left, and the
        other cells are aligned right
    """

    head: str
    value: str | int | Callable[[Any], Any]
    width: int = 0
    form: str = ""

    @property
    def room(self) -> int:
        """Characters of a cell, the header's included."""
        return max(self.width, len(self.head))

    def text(self, row: Any) -> str:
        """Text of the row's cell; a value that is not known is ``-``."""
        if callable(self.value):
            value = self.value(row)
        elif isinstance(self.value, int) or isinstance(row, Mapping):
            value = row[self.value]
        else:
            value = getattr(row, self.value)
        return "-" if value is None else printable(format(value, self.form))

    def aligned(self, text: str) -> str:
        """Cell with the spaces that fill it up to the column's width."""
        return text.ljust(self.room) if self.form == "<" else text.rjust(self.room)


class Table:
    """A table whose rows are printed as they come: the widths of its columns are fixed.

    Where a terminal is narrower than the table, a row continues on further, indented lines.

    Parameters
    ----------
    columns : the columns, from left to right
    silent : print nothing, because the rows will be printed as JSON
    """

    def __init__(self, *columns: Column, silent: bool = False) -> None:
        self._columns = columns
        self._silent = silent
        self._width = _terminal_width()
        self._started = False

    def row(self, row: Any) -> None:
        """Print a row: an object, a mapping or a sequence that the columns find their cells in."""
        if not self._started:
            # Not earlier: an error before the first row leaves the output empty.
            self._print([column.head for column in self._columns], "bold")
            self._started = True
        self._print([column.text(row) for column in self._columns], "")

    def rows(self, rows: Iterable[Any]) -> list[Any]:
        """Print rows as they come; return them."""
        found = []
        for row in rows:
            self.row(row)
            found.append(row)
        return found

    def _lines(self) -> list[list[int]]:
        """Columns of each line of a row: all in one line, or as many as fit a terminal."""
        lines: list[list[int]] = [[]]
        used = 0
        for place, column in enumerate(self._columns):
            if self._width and lines[-1] and used + column.room > self._width:
                lines.append([])
                used = len(_INDENT)
            lines[-1].append(place)
            used += column.room + len(_GAP)
        return lines

    def _print(self, texts: Sequence[str], style: str) -> None:
        if self._silent:
            return
        cells = [column.aligned(text) for column, text in zip(self._columns, texts, strict=True)]
        if self._width is None:
            print(_GAP.join(cells).rstrip(), flush=True)
            return
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False)
        for number, line in enumerate(self._lines()):
            shown = Text(_INDENT if number else "", style=style)
            for place in line:
                shown.append(cells[place] + _GAP, style=_STYLES.get(texts[place], ""))
            shown.rstrip()
            console.print(shown, soft_wrap=True)


@contextmanager
def status(what: str) -> Iterator[Callable[[str], None]]:
    """Show on the error output what is being done; yield a function that changes the text."""
    from rich.console import Console

    with Console(stderr=True).status(what, spinner="line") as shown:
        yield shown.update


@contextmanager
def progress(what: str) -> Iterator[Callable[..., None]]:
    """Show a bar with times on the error output.

    Yield a function of how much is done, of how much, and of a text if that changes. Lines that
    are printed meanwhile stand above the bar.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    shown = Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with shown as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total, text=None: bar.update(
            task, completed=done, total=total, description=text
        )

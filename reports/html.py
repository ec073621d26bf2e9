"""Reports as single HTML files, which need no network: see ``templates/base.html.jinja``."""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from ..golden.templates import render

__all__ = ["HtmlTable", "html_page"]


@dataclass(frozen=True)
class HtmlTable:
    """A table for the macro ``table`` of ``table.html.jinja``.

    Attributes
    ----------
    names : heads of the columns
    numeric : whether all values of a column are numbers
    cells : texts of each row; numbers have four digits, and None is empty
    """

    names: list[str]
    numeric: list[bool]
    cells: list[list[str]]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> "HtmlTable":
        """Make a table of rows; a key is a column, and a row may lack it."""
        rows = list(rows)
        names = list(dict.fromkeys(name for row in rows for name in row))
        numeric = [
            all(isinstance(row.get(name, 0), int | float | None) for row in rows) for name in names
        ]
        return cls(names, numeric, [[_text(row.get(name)) for name in names] for row in rows])


def _text(value: Any) -> str:
    """Write a cell."""
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    return "" if value is None else str(value)


def html_page(name: str, title: str, **values: Any) -> str:
    """Fill a template that extends ``base.html.jinja``.

    Parameters
    ----------
    name : its file in the folder ``templates``
    title : title and first head of the page
    values : other variables of the template

    Returns
    -------
    The page, with this version of the toolkit and the date of today
    """
    made = {"version": version("trilith"), "date": datetime.datetime.now().date().isoformat()}
    return render("trilith.reports", name, title=title, **made, **values)

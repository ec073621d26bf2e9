import json
import re
from types import SimpleNamespace

import pytest

from trilith.cli.output import Column, Table, print_facts, print_json

ROWS = [
    {"name": "a unit with a long name", "energy": 1234.5678, "verdict": "PASS"},
    {"name": "b", "energy": None, "verdict": "FAIL"},
]
COLUMNS = (
    Column("unit", "name", 10, "<"),
    Column("energy, fJ", "energy", form=".2f"),
    Column("twice", lambda row: row["energy"] and 2 * row["energy"], 9, ".1f"),
    Column("", "verdict", form="<"),
)


@pytest.fixture
def terminal(monkeypatch):
    """Make the output a terminal of some columns."""

    def make(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)

    return make


def test_plain_rows_are_one_line_each(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    Table(*COLUMNS).rows(ROWS)
    assert capsys.readouterr().out == (
        "unit        energy, fJ      twice\n"
        "a unit with a long name     1234.57     2469.1  PASS\n"
        "b                    -          -  FAIL\n"
    )


def test_a_table_without_rows_prints_nothing(capsys):
    Table(*COLUMNS).rows([])
    Table(*COLUMNS, silent=True).rows(ROWS)
    assert capsys.readouterr().out == ""


def test_cells_come_from_attributes_keys_and_places(capsys):
    columns = (Column("x", "x"), Column("y", lambda row: row.y))
    Table(*columns).row(SimpleNamespace(x=1, y=2))
    Table(Column("x", 0), Column("y", 1)).row((1, 2))
    Table(Column("x", "x"), Column("y", "y")).row({"x": 1, "y": 2})
    assert capsys.readouterr().out == "x  y\n1  2\n" * 3


def test_a_narrow_terminal_folds_rows_and_loses_no_cell(capsys, terminal):
    terminal(24)
    Table(*COLUMNS).row(ROWS[1])
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert lines == [
        "unit        energy, fJ",
        "        twice",
        "b                    -",
        "            -  FAIL",
    ]


def test_a_wide_terminal_keeps_a_row_in_a_line(capsys, terminal):
    terminal(120)
    Table(*COLUMNS).row(ROWS[1])
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_facts_wrap_in_a_terminal_only(capsys, terminal):
    facts = {"a": "one two three four five", "bc": 1}
    print_facts(facts)
    assert capsys.readouterr().out == "a   one two three four five\nbc  1\n"
    terminal(16)
    print_facts(facts)
    assert capsys.readouterr().out == "a   one two\n    three four\n    five\nbc  1\n"


def test_json_is_ascii_and_has_finite_numbers(capsys):
    print_json({"text": "µ\N{REPLACEMENT CHARACTER}", "number": 1.5})
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {"text": "µ\N{REPLACEMENT CHARACTER}", "number": 1.5}
    with pytest.raises(ValueError, match=r"^Out of range float values are not JSON compliant"):
        print_json(float("inf"))


def test_characters_that_cannot_be_printed_are_escaped(capsys):
    """Names in a file may have line ends and colors of a terminal."""
    print_facts({"model": "a\nb\x1b[31m"})
    Table(*COLUMNS).row({"name": "\u2028\x00", "energy": None, "verdict": "\r"})
    assert capsys.readouterr().out.splitlines() == [
        r"model  a\nb\x1b[31m",
        "unit        energy, fJ      twice",
        r"\u2028\x00           -          -  \r",
    ]

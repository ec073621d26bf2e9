"""The description of weight codes against the golden model, and against its own rules."""

import math
import re
from itertools import product

import numpy as np
import pytest

from trilith.golden import CODES
from trilith.golden.codes import CodeError
from trilith.golden.templates import render
from trilith.hw import MatVecConfig
from trilith.hw.export.weight_code import describe_code, encoding


def description(code: str) -> dict:
    return describe_code(MatVecConfig(lanes=12, rows=3, code=code, k_max=50, n_max=9))


@pytest.mark.parametrize("code", CODES)
def test_that_the_table_is_that_of_the_golden_model(code: str) -> None:
    described, golden = description(code), CODES[code]
    trits = described["symbol_trits"]
    assert (described["symbol_bits"], trits) == (golden.symbol_bits, golden.symbol_trits)
    assert len(described["symbols"]) == 2**golden.symbol_bits
    for value, symbol in enumerate(described["symbols"]):
        try:
            # The other symbols of the byte are those of 0, which all codes have.
            expected = golden.unpack(np.array([value], np.uint8), trits).tolist()
        except CodeError:
            expected = None
        assert symbol == expected


def rule(code: str, t: tuple[int, ...]) -> int:
    """Value of the symbol of some trits, written from the texts of the page."""
    if code == "base3":
        value = (t[0] + 1) + 3 * (t[1] + 1) + 9 * (t[2] + 1) + 27 * (t[3] + 1) + 81 * (t[4] + 1)
    elif code == "tq1":
        q = 81 * (t[0] + 1) + 27 * (t[1] + 1) + 9 * (t[2] + 1) + 3 * (t[3] + 1) + (t[4] + 1)
        value = math.ceil(256 * q / 243)
    elif code == "two_bit":
        value = t[0] + 1
    elif code == "binary":
        value = {1: 1, -1: 0}.get(t[0], -1)
    elif t.count(0) != 1:
        value = -1
    else:
        first, second, third = (trit for trit in t if trit)
        bits = (second != first, third != first, t.index(0) & 1, t.index(0) >> 1, first == -1)
        value = sum(bit << place for place, bit in enumerate(bits))
    return value


@pytest.mark.parametrize("code", [code for code in CODES if code != "escape"])
def test_that_the_rule_gives_the_table(code: str) -> None:
    table, trits = encoding(CODES[code]), CODES[code].symbol_trits
    for t in product((-1, 0, 1), repeat=trits):
        assert table[sum((trit + 1) * 3**j for j, trit in enumerate(t))] == rule(code, t)


def test_the_rule_of_escape() -> None:
    legal = 0
    for value, symbol in enumerate(description("escape")["symbols"]):
        pairs = [value >> 2 * i & 3 for i in range(4)]
        escapes = pairs.count(3)
        assert (symbol is None) == (escapes > 2)
        if escapes == 0:
            assert symbol == [*({0: 1, 1: 0, 2: -1}[pair] for pair in pairs), 0]
        legal += symbol is not None
    assert legal == 243


@pytest.mark.parametrize(
    ("lanes", "rows", "code", "symbols", "trits"),
    [
        (7, 2, "base3", 3, 14),
        (7, 2, "two_bit", 16, 14),
        (7, 3, "binary", 24, 21),
        (12, 3, "sherry", 9, 36),
    ],
)
def test_the_symbols_of_a_beat(lanes: int, rows: int, code: str, symbols: int, trits: int) -> None:
    described = describe_code(MatVecConfig(lanes=lanes, rows=rows, code=code, k_max=50, n_max=9))
    assert (described["beat_symbols"], described["beat_trits"]) == (symbols, trits)


def page_symbols(page: str) -> list[str]:
    """Read the table of symbols from a page: each as ``-``, ``0`` and ``+``, empty if illegal."""
    _, rest = page.split("\n| value |", 1)
    rows = re.findall(r"^\| \d+ \|(.*)\|$", rest.split("\n\n")[0], re.M)
    return [cell.strip(" `") for row in rows for cell in row.split("|")]


def page_of(config: MatVecConfig) -> str:
    """Fill the part of the page on the weight code."""
    return render(
        "trilith.hw.export",
        "weight_code.md.jinja",
        config=config,
        description={"weight_code": describe_code(config)},
    )


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"lanes": 7, "rows": 2, "code": "base3"},
            "The last trit of the beat belongs to no row. It is a filler.",
        ),
        (
            {"lanes": 8, "rows": 1, "code": "base3"},
            "The last 2 trits of the beat belong to no row. They are fillers.",
        ),
        (
            {"lanes": 12, "rows": 1, "code": "sherry"},
            "The top bit of the beat belongs to no symbol. The engine does not read it.",
        ),
        (
            {"lanes": 8, "rows": 1, "code": "sherry"},
            "The top 6 bits of the beat belong to no symbol. The engine does not read them.",
        ),
        ({"lanes": 8, "rows": 1, "code": "binary"}, "Symbol s stands in bit s of the beat."),
        (
            {"lanes": 8, "rows": 1, "code": "two_bit"},
            "Symbol s stands in bits 2 · s + 1 to 2 · s of the beat.",
        ),
    ],
)
def test_that_the_page_tells_one_from_many(fields: dict, line: str) -> None:
    page = page_of(MatVecConfig(**fields, k_max=50, n_max=9))
    assert f"- {line}" in page.splitlines()


@pytest.mark.parametrize("code", CODES)
def test_that_the_page_has_all_symbols(code: str) -> None:
    described = description(code)
    page = page_of(MatVecConfig(lanes=12, rows=3, code=code, k_max=50, n_max=9))
    expected = [
        "".join("-0+"[trit + 1] for trit in symbol or []) for symbol in described["symbols"]
    ]
    assert page_symbols(page) == expected
    assert described["rule"] in page

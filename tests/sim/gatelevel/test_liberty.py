import gzip
import os
import re
import time
from itertools import product

import pytest

from trilith.sim.gatelevel.liberty import (
    LibertyError,
    LibertyFile,
    names_in,
    read_liberty,
    read_units,
    truth_table,
    verilog_expression,
)


def parse(text):
    return LibertyFile(name="x.lib", sha256="", content=text.encode()).parse()


def test_groups_and_attributes():
    text = """
/* A comment. */
library (small) {
  time_unit : "1ns";
  capacitive_load_unit (1, pf);
  cell (BUF) {
    area : 2.5
    pin (A) { direction : input; }
    pin (Y) { function : "A"; internal_power () { values ( \\
      "1, 2", \\
      "3, 4"); } }
  }
}
"""
    library = parse(text)
    assert (library.kind, library.names) == ("library", ["small"])
    assert library.get("time_unit") == "1ns"
    assert library.get("nom_voltage", "none") == "none"
    assert library.attributes["capacitive_load_unit"] == ["1", "pf"]
    (cell,) = library.all("cell")
    # Its line ends without a semicolon.
    assert cell.get("area") == "2.5"
    first, second = cell.all("pin")
    assert (first.names, second.get("function")) == (["A"], "A")
    (power,) = second.all("internal_power")
    assert power.attributes["values"] == ["1, 2", "3, 4"]


COMPLETE = "x.lib: the file must be one complete library group of Liberty"
NAMELESS = "x.lib: a brace opens without a group's name; the file must be Liberty"
PAIR = "x.lib: an attribute must be a name and a value, not"
PARENTHESES = "x.lib: parentheses must be pairs without others inside"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("library (a) {", COMPLETE),
        ("no library", COMPLETE),
        ("cell (a) { }", COMPLETE),
        (
            "library (a) { } }",
            "x.lib: a brace closes that never opened; the file must be Liberty",
        ),
        ("{", NAMELESS),
        # Nothing is dropped, and nothing is taken for a part of its neighbor.
        ("library (a) { b; }", f"{PAIR} 'b'"),
        ("library (a) { b }", f"{PAIR} 'b'"),
        ("library (a) { b 1; }", f"{PAIR} 'b 1'"),
        ("library (a) { b (1) c; }", f"{PAIR} 'b c 1'"),
        ("library (a) { (1); }", f"{PAIR} '1'"),
        ("library (a) { x b : 1; }", "x.lib: a colon must follow a name, not 'x b'"),
        ("library (a) { b : 1 c : 2; }", "x.lib: a colon must follow a name, not 'b 1 c'"),
        ("library (a) { b (1; }", f"{PARENTHESES}, not ';'"),
        ("library (a) { b ((1)); }", f"{PARENTHESES}, not '('"),
        ("library (a) { b : 1); }", f"{PARENTHESES}, not ')'"),
        ("library (a) { x b () { } }", NAMELESS),
        ("library (a) { } x", COMPLETE),
    ],
)
def test_a_text_that_is_not_liberty_is_refused(text, message):
    with pytest.raises(LibertyError, match=f"^{re.escape(message)}$"):
        parse(text)


def test_lines_without_a_semicolon():
    """Some libraries leave it out, also behind parentheses."""
    text = 'library (a) {\n unit (1, pf)\n time : "1ns"\n cell (x) {\n values ("1", "2") }\n}'
    library = parse(text)
    assert library.attributes == {"unit": ["1", "pf"], "time": ["1ns"]}
    (cell,) = library.groups
    assert (cell.names, cell.attributes) == (["x"], {"values": ["1", "2"]})


def test_an_attribute_without_a_value_has_the_default():
    assert parse("library (a) { nom_voltage (); }").get("nom_voltage", "1") == "1"


def test_files_that_cannot_be_read(tmp_path):
    file = tmp_path / "cut.lib.gz"
    file.write_bytes(gzip.compress(b"library (a) { }" * 100)[:-20])
    for path, message in (
        (
            file,
            "the Liberty file cannot be read: Compressed file ended before the end-of-stream "
            "marker was reached",
        ),
        (
            tmp_path / "nowhere.lib",
            "must be a Liberty file that can be read: No such file or directory",
        ),
        (tmp_path, "must be a Liberty file, not a folder"),
    ):
        with pytest.raises(LibertyError, match=f"^{re.escape(f'{path}: {message}')}$"):
            read_liberty(path)


@pytest.mark.parametrize(
    ("content", "size", "message"),
    [
        (
            b"",
            3 * 2**30,
            "FILE: the Liberty file must have at most 268435456 bytes, decompressed; split the "
            "library into several files",
        ),
        (
            b"",
            2**24,
            "FILE: must be a Liberty file, not blank: it begins with zeros; download the file "
            "again",
        ),
        (
            gzip.compress(b" " * 2**21),
            0,
            "FILE: must be a Liberty file: a library group must begin within 1048576 bytes; it "
            "begins with ''",
        ),
        (b"library (a) {" + b" " * 2**24, 0, "x.lib: the file must be one complete library"),
        (
            b'library (a) { b : "' + b"\\a" * 2**20,
            0,
            "x.lib: the file must be one complete library",
        ),
        (b"library (a) {" + b"/*" * 2**20, 0, "x.lib: the file must be one complete library"),
        (b"library (a) {" + b"b (c) {" * 2**20, 0, "x.lib: groups must be at most 100 deep"),
        (b"library (a) {" + b"b " * 2**20, 0, "x.lib: an attribute must have at most 65536 words"),
    ],
)
def test_absurd_files_end_within_a_second(tmp_path, content, size, message):
    file = tmp_path / "x.lib"
    file.write_bytes(content)
    if size:
        os.truncate(file, size)
    start = time.process_time()
    with pytest.raises(LibertyError) as refusal:
        read_liberty(file).parse()
    assert str(refusal.value).startswith(message.replace("FILE", str(file)))
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("a " * 501, "the function 'a a a.*' must be .*: it has more than 1000 characters"),
        ("(" * 900 + "a", "a function must have fewer parentheses within another"),
    ],
)
def test_absurd_functions(function, message):
    with pytest.raises(LibertyError, match=f"^{message}$"):
        truth_table(function, ("a",))


@pytest.mark.parametrize(
    ("attributes", "time_ps", "farads"),
    [
        ('time_unit : "1ns"; capacitive_load_unit (1, pf);', 1000, 1e-12),
        ('time_unit : "10ps"; capacitive_load_unit (100.0, ff);', 10, 1e-13),
        ('voltage_unit : "1v"; capacitive_load_unit (0.5, "pF");', 1000, 5e-13),
    ],
)
def test_units(attributes, time_ps, farads):
    library = parse(f"library (a) {{ {attributes} }}")
    assert read_units(library, "x.lib") == (time_ps, pytest.approx(farads))


LOAD = "x.lib: capacitive_load_unit must be a number and ff or pf, such as (1, pf), not ({found})"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ('voltage_unit : "1mV";', "x.lib: voltage_unit must be 1V, not '1mV'"),
        ('time_unit : "1us";', "x.lib: time_unit must be a number of ps or ns, not '1us'"),
        ("", LOAD.format(found="")),
        ("capacitive_load_unit (1);", LOAD.format(found="1")),
        ("capacitive_load_unit (1, nf);", LOAD.format(found="1, nf")),
        ("capacitive_load_unit (one, pf);", LOAD.format(found="one, pf")),
    ],
)
def test_units_that_are_refused(attributes, message):
    library = parse(f"library (a) {{ {attributes} }}")
    with pytest.raises(LibertyError, match=f"^{re.escape(message)}$"):
        read_units(library, "x.lib")


NAMES = ("A1", "A2", "B", "C")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            "(!A1 * !B) + (!A2 * !B) + (!C)",
            lambda a1, a2, b, c: (not (a1 and a2) and not b) or not c,
        ),
        ("(A1 A2)' + B'", lambda a1, a2, b, c: not (a1 and a2) or not b),
        ("!A1'", lambda a1, a2, b, c: a1),
        ("A1 !B", lambda a1, a2, b, c: a1 and not b),
        ("A1 ^ A2 ^ C", lambda a1, a2, b, c: a1 ^ a2 ^ c),
        ("!(A1+(A2&B))", lambda a1, a2, b, c: not (a1 or (a2 and b))),
        ("A1 | B 1", lambda a1, a2, b, c: a1 or b),
        ("1", lambda a1, a2, b, c: 1),
        ("0", lambda a1, a2, b, c: 0),
        # Exclusive or binds more strongly than and, and inversion more strongly than both.
        ("A1 & A2 ^ B", lambda a1, a2, b, c: a1 and (a2 ^ b)),
        ("A1 ^ A2 * B", lambda a1, a2, b, c: (a1 ^ a2) and b),
        ("A1 ^ A2 B", lambda a1, a2, b, c: (a1 ^ a2) and b),
        ("A1 + A2 ^ B", lambda a1, a2, b, c: a1 or (a2 ^ b)),
        ("A1 ^ A2' & B + C", lambda a1, a2, b, c: ((a1 ^ (1 - a2)) and b) or c),
        ("!A1 ^ A2", lambda a1, a2, b, c: (1 - a1) ^ a2),
    ],
)
def test_functions(function, expected):
    """The truth table, and the Verilog as Python computes it."""
    table = truth_table(function, NAMES)
    verilog = verilog_expression(function, dict(zip(NAMES, "wxyz", strict=True)))
    verilog = verilog.replace("1'b", "")
    for values in product((0, 1), repeat=4):
        place = sum(value << i for i, value in enumerate(values))
        assert table[place] == int(bool(expected(*values))), values
        found = eval(verilog, dict(zip("wxyz", values, strict=True))) & 1
        assert found == table[place], values


def test_names():
    assert names_in("!(B A1) + 1 ^ A1'") == ["A1", "B"]
    # Words of Python are names as others.
    assert truth_table("in * is", ("in", "is")) == (0, 0, 0, 1)


BOOLEAN = "must be a Boolean expression of Liberty"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("A +", f"the function 'A +' {BOOLEAN}: an operand is missing at its end"),
        ("A & (B", f"the function 'A & (B' {BOOLEAN}: a parenthesis is not closed"),
        ("A ) B", f"the function 'A ) B' {BOOLEAN}: ')' is out of place"),
        ("A % B", f"the function 'A % B' {BOOLEAN}: '%' is out of place"),
        ("A[0]", f"the function 'A[0]' {BOOLEAN}: '[' is out of place"),
        ("2", f"the function '2' {BOOLEAN}: '2' is out of place"),
        ("", f"the function '' {BOOLEAN}: an operand is missing at its end"),
        ("A C", "the function 'A C' must be of A, B, not of 'C'"),
    ],
)
def test_functions_that_are_refused(function, message):
    with pytest.raises(LibertyError, match=f"^{re.escape(message)}$"):
        truth_table(function, ("A", "B"))


def test_functions_of_too_many_pins_are_refused():
    names = tuple(f"A{i}" for i in range(13))
    function = " + ".join(names)
    message = f"the function '{function}' must have at most 12 pins, not 13"
    with pytest.raises(LibertyError, match=f"^{re.escape(message)}$"):
        truth_table(function, names)

import re
from pathlib import Path

import pytest

from trilith.sim.gatelevel.liberty import LibertyError
from trilith.sim.gatelevel.library import Library

LIBRARY = """
/* A small library. */
library (small) {
  time_unit : "1ns";
  nom_voltage : 1.8;
  nom_temperature : 25;
  capacitive_load_unit (1, pf);
  default_input_pin_cap : 0.005;
  cell (BUF) {
    area : 2.5
    pin (A) { direction : input; }
    pin (Y) { direction : output; function : "A"; internal_power () { values ( \\
      "1, 2", \\
      "3, 4"); } }
  }
  cell (BIGBUF) {
    area : 9;
    pin(A) { direction : input; }
    pin(Y) { direction : output; function : "A"; }
  }
  cell (DFF) {
    area : 8;
    ff (IQ, IQN) { next_state : "!D"; clocked_on : "CLK"; }
    pin (CLK) { direction : input; rise_capacitance : 0.002; fall_capacitance : 0.004; }
    pin (D) { direction : input; capacitance : 0.001; rise_capacitance : 0.007; }
    pin (QN) { direction : output; function : "IQ"; }
  }
  cell (DFFR) {
    area : 5;
    ff (IQ, IQN) { next_state : "D"; clocked_on : "CLK"; clear : "!R"; }
    pin (CLK) { direction : input; }
    pin (D) { direction : input; }
    pin (R) { direction : input; }
    pin (Q) { direction : output; function : "IQ"; }
  }
}
"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path / "build"))
    return tmp_path


def library(folder: Path, *texts: str) -> Library:
    files = []
    for place, text in enumerate(texts):
        files.append(folder / f"small{place or ''}.lib")
        files[-1].write_text(text)
    return Library(files)


def test_a_library_is_read(build):
    small = library(build, LIBRARY)
    assert (small.buffer.name, small.buffer.area) == ("BUF", 2.5)
    assert small.flip_flop.name == "DFF"
    flip_flop = small.flip_flop.flip_flop
    assert (flip_flop.state, flip_flop.inverse) == ("IQ", "IQN")
    assert (flip_flop.next_state, flip_flop.clock) == ("!D", "CLK")
    assert small.cells["DFFR"].flip_flop.ties == {"R": 1}
    # The flip-flop stores its input inverted, and its output shows the state as it is.
    assert small.register() == (
        "module \\$_DFF_P_ (input D, input C, output Q);\nwire q;\n"
        "DFF _TECHMAP_REPLACE_ (.CLK(C), .D(D), .QN(q));\n"
        "\\$_NOT_ negate(.A(q), .Y(Q));\nendmodule\n"
    )
    # Given for the pin, as the mean of its edges, and for all inputs.
    assert small.flip_flop.loads == {"CLK": pytest.approx(0.003), "D": 0.001}
    assert small.buffer.loads == {"A": 0.005}
    (group,) = small.energies("BUF")
    assert (group.pin, group.related, group.when) == ("Y", "", "")
    assert small.energies("BIGBUF") == []
    assert (small.corner.voltage, small.corner.temperature) == (1.8, 25)
    assert small.corner.time_ps == 1000
    # A second time it comes from the build folder.
    again = library(build, LIBRARY)
    assert (again.cells, again.corner) == (small.cells, small.corner)


def test_set_and_reset_are_tied_where_there_is_no_other_flip_flop(build):
    small = library(build, LIBRARY.replace("!D", "!D + A"))
    assert (small.flip_flop.name, small.flip_flop.flip_flop.ties) == ("DFFR", {"R": 1})
    assert small.register() == (
        "module \\$_DFF_P_ (input D, input C, output Q);\nwire q;\n"
        "DFFR _TECHMAP_REPLACE_ (.CLK(C), .D(D), .Q(q), .R(1'b1));\n"
        "assign Q = q;\nendmodule\n"
    )


def test_cells_between_power_domains_are_not_used(build):
    text = LIBRARY.replace("cell (BUF) {", 'cell (BUF) { is_isolation_cell : "true";')
    assert library(build, text).buffer.name == "BIGBUF"


DESCRIBED = "small.lib: a cell must be described as Liberty requires"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LIBRARY[:-4], "small.lib: the file must be one complete library group of Liberty"),
        (
            LIBRARY.replace("internal_power", "x"),
            "small.lib: the library must have power tables (internal_power)",
        ),
        (
            LIBRARY.replace("next_state", "next"),
            "small.lib: the library must have a plain flip-flop",
        ),
        (LIBRARY.replace('"A"', '"!A"'), "small.lib: the library must have a buffer"),
        (LIBRARY.replace("cell (BUF)", 'cell ("../BUF")'), f"{DESCRIBED}: the name '../BUF'"),
        (LIBRARY.replace("cell (BUF)", "cell ()"), f"{DESCRIBED}: list index out of range"),
        (
            LIBRARY.replace("2.5", "large"),
            f"{DESCRIBED}: could not convert string to float: 'large'",
        ),
        (
            LIBRARY.replace("capacitance : 0.001; ", "").replace("default_input_pin_cap", "x"),
            "small.lib: the capacitance of each input of DFF must be given",
        ),
        (
            LIBRARY.replace("nom_voltage", "x"),
            "small.lib: nom_voltage and nom_temperature must be numbers, not ['', '25']",
        ),
        (
            LIBRARY.replace("nom_temperature : 25", "nom_temperature : warm"),
            "small.lib: nom_voltage and nom_temperature must be numbers, not ['1.8', 'warm']",
        ),
        (
            LIBRARY.replace("1, pf", "1, mf"),
            "small.lib: capacitive_load_unit must be a number and ff or pf, such as (1, pf), not "
            "(1, mf)",
        ),
        (
            LIBRARY.replace("nom_voltage", "operating_conditions ([exec]) { } nom_voltage"),
            "small.lib: the name of operating conditions must be of letters, digits, '_' and '.', "
            "not '[exec]'",
        ),
    ],
)
def test_a_library_is_refused(build, text, message):
    with pytest.raises(LibertyError, match=f"^{re.escape(message)}$"):
        library(build, text)


SAME = "give the files of one library at one operating point"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"1ns"', '"1ps"', "time_ps must be 1000.0 as in small.lib, not 1.0"),
        ("1, pf", "1, ff", "farads must be 1e-12 as in small.lib, not 1e-15"),
        ("1.8", "0.9", "voltage must be 1.8 as in small.lib, not 0.9"),
        ("25;", "85;", "temperature must be 25.0 as in small.lib, not 85.0"),
        (
            "nom_voltage",
            "operating_conditions (slow) { } nom_voltage",
            "conditions must be '' as in small.lib, not 'slow'",
        ),
    ],
)
def test_files_that_disagree_are_refused(build, old, new, message):
    """Capacitances, energies and slews of all files are added as if they had one unit."""
    with pytest.raises(LibertyError, match=f"^small1.lib: {re.escape(message)}; {SAME}$"):
        library(build, LIBRARY, LIBRARY.replace(old, new))


def test_files_that_agree_in_other_words_are_one_library(build):
    other = LIBRARY.replace('"1ns"', '"1000 ps"').replace("1, pf", "1000.0, ff")
    small = library(build, LIBRARY, other)
    assert [file.name for file in small.files] == ["0.lib", "1.lib"]
    assert small.corner.farads == pytest.approx(1e-12)

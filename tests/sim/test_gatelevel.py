import gzip
import re
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from trilith.hw.baselines import BASELINES
from trilith.sim.characterize import check_results, port_rows
from trilith.sim.gatelevel import (
    LibertyError,
    Library,
    _expression,
    _probability,
    _read,
    map_component,
    parse_liberty,
)
from trilith.sim.operands import operands
from trilith.sim.simulator import SimulationError

LIBRARY = """
/* A small library. */
library (small) {
  time_unit : "1ns";
  nom_voltage : 1.8;
  capacitive_load_unit (1, pf);
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
    pin (CLK) { direction : input; }
    pin (D) { direction : input; }
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


def library(folder: Path, text: str) -> Library:
    file = folder / "small.lib"
    file.write_text(text)
    return Library([file])


def test_a_library_is_read(build):
    small = library(build, LIBRARY)
    assert (small.buffer.name, small.buffer.area) == ("BUF", 2.5)
    assert small.flip_flop.name == "DFF"
    assert small.flip_flop.flip_flop == ("IQ", "IQN", "!D", "CLK")
    assert not small.cells["DFFR"].usable
    assert small.time_unit_ps == 1000
    tables = [g for g in parse_liberty(LIBRARY, "x").groups[0].groups if g.names == ["Y"]]
    assert tables[0].groups[0].attributes["values"] == ["1, 2", "3, 4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LIBRARY[:-4], "small.lib must be a Liberty file: one complete library group"),
        (LIBRARY + "}", "small.lib must be a Liberty file, and closes too many braces"),
        ("{", "small.lib must be a Liberty file, and has a brace without a group"),
        ("no library", "small.lib must be a Liberty file: one complete library group"),
        (LIBRARY.replace("internal_power", "x"), "small.lib must have power tables, and has none"),
        (LIBRARY.replace("!D", ""), "small.lib must have a plain flip-flop"),
        (LIBRARY.replace('"A"', '"!A"'), "small.lib must have a buffer"),
        (
            LIBRARY.replace("cell (BUF)", 'cell ("../BUF")'),
            "small.lib must describe cells as Liberty does, and has not: the name '../BUF'",
        ),
        (
            LIBRARY.replace("cell (BUF)", "cell ()"),
            "small.lib must describe cells as Liberty does, and has not: list index out of range",
        ),
        (
            LIBRARY.replace("2.5", "large"),
            "small.lib must describe cells as Liberty does, and has not: could not convert string "
            "to float: 'large'",
        ),
    ],
)
def test_a_library_is_refused(build, text, message):
    with pytest.raises(LibertyError, match=f"^{re.escape(message)}$"):
        library(build, text)


def test_files_that_cannot_be_read(build):
    file = build / "whole.lib.gz"
    file.write_bytes(gzip.compress(LIBRARY.encode())[:-20])
    for path, reason in (
        (file, "Compressed file ended before the end-of-stream marker was reached"),
        (build / "nowhere.lib", "No such file or directory"),
        (build, "Is a directory"),
    ):
        message = f"{path} must be a readable Liberty file: {reason}"
        with pytest.raises(LibertyError, match=f"^{re.escape(message)}$"):
            Library([path])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            "(!A1 * !B) + (!A2 * !B) + (!C)",
            lambda a1, a2, b, c: (not (a1 and a2) and not b) or not c,
        ),
        ("(A1 A2)' + B'", lambda a1, a2, b, c: not (a1 and a2) or not b),
        ("A1 ^ A2 ^ C", lambda a1, a2, b, c: a1 ^ a2 ^ c),
        ("!(A1+(A2&B))", lambda a1, a2, b, c: not (a1 or (a2 and b))),
        ("1", lambda a1, a2, b, c: 1),
    ],
)
def test_functions(function, expected):
    names = dict(zip(("A1", "A2", "B", "C"), "wxyz", strict=True))
    verilog = _expression(function, names).replace("1'b1", "1")
    for values in product((0, 1), repeat=4):
        found = eval(verilog, dict(zip("wxyz", values, strict=True))) & 1  # As Verilog has it.
        assert found == bool(expected(*values)), values


def test_energies_are_read_between_and_beyond_points():
    names = ["total_output_net_capacitance", "input_transition_time"]
    table = [names, [[1.0, 3.0], [10.0, 20.0, 40.0]], [1.0, 2.0, 4.0, 5.0, 6.0, 8.0]]
    for load, slew in [(1, 10), (3, 40), (2, 15), (2.5, 30), (0, 0), (5, 50)]:
        assert _read(table, slew, load) == pytest.approx(1 + 2 * (load - 1) + (slew - 10) / 10)
    assert _read([["input_transition_time"], [[5.0, 15.0], []], [1.0, 2.0]], 0, 7) == 0.5
    assert _read([["", ""], [[], []], [0.25]], 3, 4) == 0.25


@pytest.mark.parametrize(
    ("when", "share"),
    [
        ("", 1),
        ("A", 0.5),
        ("(A1 * !B) + (!A1 * B)", 0.5),
        ("!(A+B+C)", 0.125),
        ("A B'", 0.25),
        ("in * is", 0.25),
    ],
)
def test_probabilities_of_conditions(when, share):
    assert _probability(when) == share


@pytest.mark.parametrize("when", ["A +", "A & (B", " + ".join(f"A{i}" for i in range(13)), "2"])
def test_conditions_that_are_none(when):
    with pytest.raises(LibertyError, match=r"^the condition .* must be an expression of at most"):
        _probability(when)


OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")


@pytest.fixture(scope="module")
def measured():
    """A small unit in a real library, and the activity of its pins on operands."""
    if shutil.which("sta") is None:
        pytest.skip("sta is missing: apt-get install opensta")
    if not OSU018.exists():
        pytest.skip("osu018 is missing: apt-get install qflow-tech-osu018")
    baseline = BASELINES["ternaryxint4-escape"]
    unit = baseline.unit(lanes=5, k_max=64)
    netlist = map_component(unit, Library([OSU018]), 20_000)
    found = operands(baseline, "trained", beats=300, lanes=5)
    outputs, activity = netlist.run(port_rows(baseline, unit, found))
    return unit, netlist, found, outputs, activity


def test_a_netlist_that_differs_from_golden_is_refused(measured):
    unit, _, found, outputs, _ = measured
    name = "ternaryxint4-escape"
    assert check_results(name, unit, found, outputs) > 10
    wrong = outputs["total"].copy()
    wrong[-2 - np.argmax(outputs["done"][-2::-1, 0])] ^= 1
    message = (
        r"the netlist of ternaryxint4-escape must equal golden, and differs in 1 of \d+ results "
        r"with \d+ beats: no figures are given"
    )
    with pytest.raises(SimulationError, match=f"^{message}$"):
        check_results(name, unit, found, outputs | {"total": wrong})
    message = "the netlist of ternaryxint4-escape must be done when golden is, and is not"
    with pytest.raises(SimulationError, match=f"^{message}$"):
        check_results(name, unit, found, outputs | {"done": 1 - outputs["done"]})


def test_power_follows_activity(measured):
    _, netlist, _, _, activity = measured
    # OpenSTA ignores activity in silence where its commands come in the wrong order.
    powers = [
        netlist.power({pin: share * value for pin, value in activity.items()})
        for share in (0, 0.5, 1)
    ]
    idle, half, full = (power.total for power in powers)
    assert full - idle == pytest.approx(2 * (half - idle), rel=0.001)
    assert powers[2].parts["tree"] > 20 * powers[0].parts["tree"]
    assert sum(powers[2].parts.values()) == pytest.approx(full)
    assert powers[2].parts["clock"] == pytest.approx(powers[0].parts["clock"])
    assert powers[2].slack_ps > 0
    # Five lanes of four bits are registered twice, with a byte, five zeros and a tree.
    assert netlist.flip_flops > 2 * 5 * 4 + 8 + 5
    assert set(powers[2].parts) == {
        *("clock", "operands", "decode", "select", "tree", "accumulator", "control")
    }


def test_switching_and_leakage_are_the_direct_sums(measured):
    _, netlist, _, _, activity = measured
    power = netlist.power(activity)
    text = OSU018.read_text()
    volts, period = 1.8, 20e-9
    loads, switching, leakage = {}, 0.0, 0.0
    for kind, pins in netlist.cells.values():
        cell = text[text.index(f"cell ({kind})") :]
        leakage += 1e-9 * float(re.search(r"cell_leakage_power : (\S+);", cell)[1])
        for pin in netlist.library.cells[kind].inputs:
            picofarads = float(re.search(rf"pin\({pin}\).*?capacitance : (\S+);", cell, re.S)[1])
            loads[pins[pin][0]] = loads.get(pins[pin][0], 0) + picofarads * 1e-12
    for name, (kind, pins) in netlist.cells.items():
        for pin, _ in netlist.library.cells[kind].outputs:
            load = loads.get(pins[pin][0], 0)
            switching += load * volts**2 / 2 * activity.get((name, pin), 0) / period
    assert power.switching == pytest.approx(switching, rel=0.01)
    assert power.leakage == pytest.approx(leakage, rel=0.01)
    assert power.switching > 1e-5


def test_clock_energy_by_hand(measured):
    """DFFPOSX1's clock pin at a slew of zero: its tables start at 0.06 and 0.24 ns."""
    _, netlist, _, _, activity = measured
    rise = 0.006865 - (0.006943 - 0.006865) / 3
    fall = 0.11034 - (0.129769 - 0.11034) / 3
    assert netlist.library.flip_flop.name == "DFFPOSX1"
    clock = netlist.power(activity).parts["clock"]
    assert clock == pytest.approx(netlist.flip_flops * (rise + fall) * 1e-12 / 20e-9, rel=1e-6)


def test_internal_energy_by_hand(measured):
    """A NAND2X1's output: pins that change equally often share its transitions equally."""
    _, netlist, _, _, _ = measured
    name, (_, pins) = next(
        (name, cell) for name, cell in netlist.cells.items() if cell[0] == "NAND2X1"
    )
    busy = {(name, "A"): 0.5, (name, "B"): 0.5, (name, "Y"): 0.25}
    slews = {(cell, pin): 0.06 for cell, (_, pins) in netlist.cells.items() for pin in pins}
    clock, rest = netlist.internal(busy, slews)[name]
    load = netlist.loads()[pins["Y"][0]]
    # Fall and rise from A, then from B, at a slew of 0.06 ns.
    picofarads = [0.005, 0.0125, 0.025, 0.075, 0.15]
    energies = [
        [0.010032, 0.009375, 0.009041, 0.008135, 0.007774],
        [0.044515, 0.045446, 0.045658, 0.04651, 0.046968],
        [0.009782, 0.009413, 0.008958, 0.008019, 0.00768],
        [0.03356, 0.033477, 0.034205, 0.036401, 0.037565],
    ]
    energy = np.mean([np.interp(load, picofarads, row) for row in energies]) * 1e-12
    assert 0.005 < load < 0.15
    assert clock == 0
    assert rest == pytest.approx(0.25 * energy / 20e-9, rel=1e-6)

import gzip
import os
import re
import shutil
from copy import copy
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from trilith.hw.baselines import BASELINES
from trilith.sim.gatelevel.characterize import check_results, port_rows
from trilith.sim.gatelevel.netlist import (
    Activity,
    LibertyError,
    Library,
    _expression,
    _probability,
    _read,
    map_component,
    parse_liberty,
)
from trilith.sim.gatelevel.operands import operands
from trilith.sim.tools.errors import SimulationError
from trilith.sim.tools.toolchain import ToolchainError

LIBRARY = """
/* A small library. */
library (small) {
  time_unit : "1ns";
  nom_voltage : 1.8;
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


def library(folder: Path, text: str) -> Library:
    file = folder / "small.lib"
    file.write_text(text)
    return Library([file])


def test_a_library_is_read(build):
    small = library(build, LIBRARY)
    assert (small.buffer.name, small.buffer.area) == ("BUF", 2.5)
    assert small.flip_flop.name == "DFF"
    assert small.flip_flop.flip_flop == ("IQ", "IQN", "!D", "CLK")
    assert small.cells["DFFR"].ties == {"R": 1}
    # Its state is what follows inverted, and its pin the state as it is.
    assert small.register() == (
        "module \\$_DFF_P_ (input D, input C, output Q);\nwire q;\n"
        "DFF _TECHMAP_REPLACE_ (.CLK(C), .D(D), .QN(q));\n"
        "\\$_NOT_ negate(.A(q), .Y(Q));\nendmodule\n"
    )
    assert small.time_unit_ps == 1000
    # As it is said, as the mean of what is said of edges, and as for all inputs.
    assert small.flip_flop.loads == {"CLK": pytest.approx(0.003), "D": 0.001}
    assert small.buffer.loads == {"A": 0.005}
    tables = [g for g in parse_liberty(LIBRARY, "x").groups[0].groups if g.names == ["Y"]]
    assert tables[0].groups[0].attributes["values"] == ["1, 2", "3, 4"]


def test_set_and_reset_are_tied_where_there_is_no_other_flip_flop(build):
    small = library(build, LIBRARY.replace("!D", "!D + A"))
    assert (small.flip_flop.name, small.flip_flop.ties) == ("DFFR", {"R": 1})
    assert small.register() == (
        "module \\$_DFF_P_ (input D, input C, output Q);\nwire q;\n"
        "DFFR _TECHMAP_REPLACE_ (.CLK(C), .D(D), .Q(q), .R(1'b1));\n"
        "assign Q = q;\nendmodule\n"
    )


def test_cells_of_power_islands_are_not_used(build):
    text = LIBRARY.replace("cell (BUF) {", 'cell (BUF) { is_isolation_cell : "true";')
    assert library(build, text).buffer.name == "BIGBUF"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LIBRARY[:-4], "small.lib must be a Liberty file: one complete library group"),
        (LIBRARY + "}", "small.lib must be a Liberty file, and closes too many braces"),
        ("{", "small.lib must be a Liberty file, and has a brace without a group"),
        ("no library", "small.lib must be a Liberty file: one complete library group"),
        (LIBRARY.replace("internal_power", "x"), "small.lib must have power tables, and has none"),
        (LIBRARY.replace("next_state", "next"), "small.lib must have a plain flip-flop"),
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
        (
            LIBRARY.replace("capacitance : 0.001; ", "").replace("default_input_pin_cap", "x"),
            "small.lib must have the capacitance of each input of DFF, and has not",
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
    def read(table, slew, load):
        return _read(table, np.array([slew]), np.array([load]))[0]

    names = ["total_output_net_capacitance", "input_transition_time"]
    table = [names, [[1.0, 3.0], [10.0, 20.0, 40.0]], [1.0, 2.0, 4.0, 5.0, 6.0, 8.0]]
    for load, slew in [(1, 10), (3, 40), (2, 15), (2.5, 30), (0, 0), (5, 50)]:
        expected = table[2][0] + 2 * (load - 1) + (slew - 10) / 10
        assert read(table, slew, load) == pytest.approx(expected)
    assert read([["input_transition_time"], [[5.0, 15.0], []], [1.0, 2.0]], 0, 7) == 0.5
    assert read([["", ""], [[], []], [0.25]], 3, 4) == 0.25


@pytest.mark.parametrize(
    ("when", "share"),
    [
        ("", 1),
        ("A", 0.25),
        ("(A * !B) + (!A * B)", 0.5),
        ("!(A+B+C)", 0.75 * 0.5 * 0.5),
        ("A B'", 0.125),
        ("in * is", 0.25),
    ],
)
def test_probabilities_of_conditions(when, share):
    """A is one a quarter of the time, what is not known half of it."""
    (found,) = _probability(when, {"A": np.array([0.25])}, 1)
    assert found == share


@pytest.mark.parametrize("when", ["A +", "A & (B", " + ".join(f"A{i}" for i in range(13)), "2"])
def test_conditions_that_are_none(when):
    with pytest.raises(LibertyError, match=r"^the function .* must be an expression of at most"):
        _probability(when, {}, 1)


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
        netlist.power(
            Activity(
                changes={net: share * value for net, value in activity.changes.items()},
                ones=activity.ones,
            )
        )
        for share in (0, 0.5, 1)
    ]
    idle, half, full = (power.total for power in powers)
    assert full - idle == pytest.approx(2 * (half - idle), rel=0.001)
    assert powers[2].parts["tree"] > 20 * powers[0].parts["tree"]
    assert sum(powers[2].parts.values()) == pytest.approx(full)
    assert sum(powers[2].leakage_parts.values()) == pytest.approx(powers[2].leakage)
    assert powers[2].parts["clock"] == pytest.approx(powers[0].parts["clock"])
    assert powers[2].slack_ps > 0
    assert powers[2].refused == 0
    # Five lanes of four bits are registered, with a byte, five trits decoded and a tree.
    assert netlist.flip_flops > 5 * 4 + 8 + 2 * 5
    assert set(powers[2].parts) == {
        *("clock", "operands", "decode", "tree", "accumulator", "control")
    }


def test_unit_delays_add_glitches_and_nothing_else(measured):
    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is missing: apt-get install iverilog")
    unit, netlist, found, outputs, activity = measured
    inputs = port_rows(BASELINES["ternaryxint4-escape"], unit, found)
    others, changes = netlist.run_delayed(inputs)
    for name, values in outputs.items():
        assert np.array_equal(others[name], values), name
    clocks = len(found.last)
    for net, value in changes.items():
        # A glitch is there and back again.
        more = round((value - activity.changes[net]) * (clocks - 1), 6)
        assert more >= 0, net
        assert more % 2 == 0, net
    # Nothing glitches behind a register.
    for name, (kind, pins) in netlist.cells.items():
        if kind == netlist.library.flip_flop.name:
            assert changes[pins["Q"][0]] == pytest.approx(activity.changes[pins["Q"][0]]), name
    times = sum(changes.values()) / sum(activity.changes[net] for net in changes)
    assert 1.2 < times < 3


def test_a_loop_of_gates_is_refused(measured):
    _, netlist, _, _, _ = measured
    name, (kind, pins) = next(
        (name, cell) for name, cell in netlist.cells.items() if cell[0] == "NAND2X1"
    )
    loop = copy(netlist)
    loop.cells = netlist.cells | {name: (kind, pins | {"A": pins["Y"]})}
    with pytest.raises(ToolchainError, match=r"^the netlist must have no loop of gates, and has"):
        loop._flat()


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
    for kind, pins in netlist.cells.values():
        for pin, _ in netlist.library.cells[kind].outputs:
            load = loads.get(pins[pin][0], 0)
            switching += load * volts**2 / 2 * activity.changes[pins[pin][0]] / period
    assert power.switching == pytest.approx(switching, rel=0.01)
    assert power.leakage == pytest.approx(leakage, rel=0.01)
    assert power.switching > 1e-5


def test_the_charge_of_ports_by_hand(measured):
    """The clock, and a bit of the weights, which changes as its operands do."""
    _, netlist, found, _, activity = measured
    text = OSU018.read_text()
    cell = text[text.index("cell (DFFPOSX1)") :]
    pin = {
        name: float(re.search(rf"pin\({name}\).*?capacitance : (\S+);", cell, re.S)[1]) * 1e-12
        for name in ("CLK", "D")
    }
    energy = 1.8**2 / 2 / 20e-9
    clock = 2 * netlist.flip_flops * pin["CLK"] * energy
    quiet = Activity(changes=dict.fromkeys(activity.changes, 0.0), ones=activity.ones)
    assert netlist.charge(quiet) == pytest.approx(clock, rel=1e-6)
    # Operands go to one flip-flop a bit.
    inputs = port_rows(BASELINES["ternaryxint4-escape"], netlist._component, found)
    operands_only, times = dict(quiet.changes), 0.0
    for name, bits in netlist._bits("input"):
        if name in ("weights", "activations"):
            operands_only |= {bit: activity.changes[bit] for bit in bits}
            rows = np.unpackbits(inputs[name], axis=1)
            times += np.count_nonzero(rows[1:] != rows[:-1]) / (len(rows) - 1)
    charge = netlist.charge(Activity(changes=operands_only, ones=activity.ones))
    assert charge == pytest.approx(clock + times * pin["D"] * energy, rel=1e-6)
    assert charge < netlist.power(activity).ports < 1.1 * charge


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
    _, netlist, _, _, activity = measured
    name, (_, pins) = next(
        (name, cell) for name, cell in netlist.cells.items() if cell[0] == "NAND2X1"
    )
    changes = dict.fromkeys(activity.changes, 0.0)
    changes |= {pins["A"][0]: 0.5, pins["B"][0]: 0.5, pins["Y"][0]: 0.25}
    slews = {(cell, pin): 0.06 for cell, (_, pins) in netlist.cells.items() for pin in pins}
    powers, refused = netlist.internal(Activity(changes=changes, ones=activity.ones), slews)
    clock, rest = powers[name]
    assert refused == 0
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


def _line(points, values, x):
    i = max(i for i in range(len(points) - 1) if i == 0 or points[i] < x)
    return values[i] + (values[i + 1] - values[i]) * (x - points[i]) / (points[i + 1] - points[i])


def _energy(table, slew, load):
    """A table of osu018's text in pJ: by load and slew, or by slew alone."""
    axes = [
        [float(word) for word in match.split(",")]
        for match in re.findall(r"index_[12]\s*\(\s*\"([^\"]*)", table)
    ]
    rows = [
        [float(word) for word in row.split(",")]
        for row in re.findall(r'"([^"]*)"', table[table.index("values") :])
    ]
    if len(axes) == 1:
        return _line(axes[0], rows[0], slew)
    return _line(axes[0], [_line(axes[1], row, slew) for row in rows], load)


def _braces(text, start):
    """From a place to the end of the group that opens behind it."""
    depth = 0
    for place in range(text.index("{", start), len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start : place + 1]
    raise AssertionError("no end")


def _power_groups(text, kind):
    """Of each internal power group of a cell: pin, related pin or None, and the two tables."""
    cell = _braces(text, text.index(f"cell ({kind})"))
    for pin in re.finditer(r"pin\((\w+)\)", cell):
        inside = _braces(cell, pin.start())
        for group in re.finditer(r"internal_power\(\)", inside):
            found = _braces(inside, group.start())
            related = re.search(r'related_pin : "(\w+)"', found)
            tables = [_braces(found, m.start()) for m in re.finditer("(rise|fall)_power", found)]
            assert len(tables) == 2
            assert "when" not in found
            yield pin[1], related and related[1], tables


def test_all_power_is_the_direct_sum_of_transitions_times_energies(measured):
    """From the library's text and OpenSTA's slews: none of the code that sums energies."""
    _, netlist, _, _, activity = measured
    power = netlist.power(activity)
    text, volts, period = OSU018.read_text(), 1.8, 20e-9
    log = (netlist.folder / "sta.log").read_text()
    slews = {
        match[1]: (float(match[2]) + float(match[3])) / 2 * 1e9
        for match in re.finditer(r"^slew (\S+) (\S+) (\S+)$", log, re.M)
    }
    kinds = {kind for kind, _ in netlist.cells.values()}
    groups = {kind: list(_power_groups(text, kind)) for kind in kinds}
    capacitance = {
        (kind, match[1]): float(match[2])
        for kind in kinds
        for match in re.finditer(
            r"pin\((\w+)\)\s*\{\s*direction : input;\s*capacitance : ([\d.]+)",
            _braces(text, text.index(f"cell ({kind})")),
        )
    }
    loads = {}
    for kind, pins in netlist.cells.values():
        for pin, nets in pins.items():
            if (kind, pin) in capacitance:
                loads[nets[0]] = loads.get(nets[0], 0) + capacitance[kind, pin]
    total = 0.0  # In pJ per clock, or what is the same, 1e-12 J.
    for name, (kind, pins) in netlist.cells.items():
        changes = {pin: activity.changes[nets[0]] for pin, nets in pins.items()}
        if "CLK" in pins:
            changes["CLK"] = 2.0
        for pin, nets in pins.items():
            if (kind, pin) not in capacitance:
                total += loads.get(nets[0], 0) * volts**2 / 2 * changes[pin]
        for pin, related, tables in groups[kind]:
            share = 1.0
            if related:
                sharing = [other for one, other, _ in groups[kind] if one == pin]
                share = changes[related] / max(sum(changes[one] for one in sharing), 1e-9)
            slew, load = slews[f"{name}/{related or pin}"], loads.get(pins[pin][0], 0)
            energies = [_energy(table, slew, load) for table in tables]
            total += share * changes[pin] * sum(energies) / 2
        leakage = _braces(text, text.index(f"cell ({kind})"))
        nanowatts = float(re.search(r"cell_leakage_power : (\S+);", leakage)[1])
        total += nanowatts * 1e-9 * period * 1e12
    assert total * 1e-12 / period == pytest.approx(power.total, rel=0.01)
    assert power.internal > power.total / 3


def test_energy_that_a_cell_would_give_back_counts_as_zero(measured):
    _, netlist, _, _, activity = measured
    slews = {(cell, pin): 0.06 for cell, (_, pins) in netlist.cells.items() for pin in pins}
    whole, refused = netlist.internal(activity, slews)
    assert refused == 0
    broken = copy(netlist)
    broken.library = copy(netlist.library)

    def energies(kind):
        groups = netlist.library.energies(kind)
        for group in groups if kind == "NAND2X1" else ():
            for table in group["tables"] if group["related"] else ():
                table[2] = [value - 10 for value in table[2]]
        return groups

    broken.library.energies = energies
    powers, refused = broken.internal(activity, slews)
    assert 0 < refused < 1
    for name, (kind, _) in netlist.cells.items():
        if kind == "NAND2X1":
            assert powers[name] == (0, 0)
        else:
            assert powers[name] == whole[name]


@pytest.mark.skipif("TRILITH_PDK" not in os.environ, reason="TRILITH_PDK must name the libraries")
@pytest.mark.parametrize(
    ("pattern", "clock_ghz", "flip_flop", "ties", "refused"),
    [
        ("asap7/*.lib.gz", 1, "DFFHQNx1_ASAP7_75t_R", 0, False),
        ("gt2n/*.lib.gz", 1, "gt2_6t_dffasync_x1_w31_svt", 2, True),
        ("sky130hd/*.lib.gz", 0.1, "sky130_fd_sc_hd__dfxtp_1", 0, False),
        ("ihp-sg13g2/sg13g2_*.lib.gz", 0.1, "sg13g2_dfrbpq_1", 1, False),
    ],
)
def test_open_libraries(pattern, clock_ghz, flip_flop, ties, refused):
    if shutil.which("sta") is None:
        pytest.skip("sta is missing: apt-get install opensta")
    files = sorted(Path(os.environ["TRILITH_PDK"]).glob(pattern))
    if not files:
        pytest.skip(f"there is no {pattern} in TRILITH_PDK")
    some = Library(files)
    assert some.flip_flop.name == flip_flop
    assert list(some.flip_flop.ties.values()) == [1] * ties
    name = "ternaryxternary-two_bit"
    baseline = BASELINES[name]
    unit = baseline.unit(lanes=5, k_max=64)
    netlist = map_component(unit, some, 1000 / clock_ghz)
    found = operands(baseline, "trained", beats=300, lanes=5)
    outputs, activity = netlist.run(port_rows(baseline, unit, found))
    assert check_results(name, unit, found, outputs) > 10
    power = netlist.power(activity)
    assert power.slack_ps > 0
    assert min(power.internal, power.switching, power.leakage) > 0
    # GT2N's energies of rising outputs are negative at all loads that occur.
    assert (power.refused > 0.1) == refused

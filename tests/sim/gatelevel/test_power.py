import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace

import numpy as np
import pytest

from trilith.sim import ToolchainError
from trilith.sim.gatelevel.liberty import LibertyError
from trilith.sim.gatelevel.library import Library
from trilith.sim.gatelevel.netlist import Activity
from trilith.sim.gatelevel.power import _internal, _ports, _probability, _run_opensta, measure_power


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
    """A is one a quarter of the time; other pins are one half of it."""
    (found,) = _probability(when, {"A": np.array([0.25])}, 1)
    assert found == share


def test_a_condition_that_is_not_an_expression():
    message = r"^the function 'A \+' must be a Boolean expression of Liberty: an operand is missing"
    with pytest.raises(LibertyError, match=message):
        _probability("A +", {}, 1)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("true", "the power of each cell: it printed nothing"),
        ("echo OpenSTA 2.6; echo Killed", "the power of each cell: OpenSTA 2.6; Killed"),
        ("echo Error: no cell", "a report without an error: Error: no cell"),
    ],
)
def test_a_report_without_powers(measured, tmp_path, monkeypatch, script, message):
    (tmp_path / "sta").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "sta").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path / "build"))
    kept = tmp_path / "build" / "failed" / "sta.log"
    message = f"sta ended with status 0 and did not write {message} (all of its output: {kept})"
    with pytest.raises(ToolchainError, match=f"^{re.escape(message)}$"):
        measure_power(measured.netlist, measured.activity)


def cells(netlist):
    """Type and nets of each instance."""
    return {
        name: (instance.cell.name, instance.nets) for name, instance in netlist.instances.items()
    }


def test_power_follows_activity(measured):
    netlist, activity = measured.netlist, measured.activity
    # OpenSTA ignores activity in silence where its commands come in the wrong order.
    powers = [
        measure_power(
            netlist,
            Activity(
                changes={net: share * value for net, value in activity.changes.items()},
                ones=activity.ones,
            ),
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


def test_switching_and_leakage_are_the_direct_sums(measured, osu018):
    netlist, activity = measured.netlist, measured.activity
    power = measure_power(netlist, activity)
    text = osu018.read_text()
    volts, period = 1.8, 20e-9
    loads, switching, leakage = {}, 0.0, 0.0
    for kind, pins in cells(netlist).values():
        cell = text[text.index(f"cell ({kind})") :]
        leakage += 1e-9 * float(re.search(r"cell_leakage_power : (\S+);", cell)[1])
        for pin in netlist.library.cells[kind].inputs:
            picofarads = float(re.search(rf"pin\({pin}\).*?capacitance : (\S+);", cell, re.S)[1])
            loads[pins[pin]] = loads.get(pins[pin], 0) + picofarads * 1e-12
    for kind, pins in cells(netlist).values():
        for pin, _ in netlist.library.cells[kind].outputs:
            load = loads.get(pins[pin], 0)
            switching += load * volts**2 / 2 * activity.changes[pins[pin]] / period
    assert power.switching == pytest.approx(switching, rel=0.01)
    assert power.leakage == pytest.approx(leakage, rel=0.01)
    assert power.switching > 1e-5


def test_a_default_wire_load_is_no_wire(measured, osu018, tmp_path):
    """OpenSTA estimates wires by a library's default wire load, unless it is told their charge."""
    head, brace, rest = osu018.read_text().partition("{")
    model = """
      wire_load("long") { capacitance : 0.01; resistance : 0; area : 0; slope : 1;
        fanout_length(1, 10); }
      default_wire_load : "long";
      default_wire_load_mode : "top";
    """
    file = tmp_path / "wires.lib"
    file.write_text(head + brace + model + rest)
    netlist = copy(measured.netlist)
    netlist.library = Library([file])
    with_model = measure_power(netlist, measured.activity)
    assert with_model == measure_power(measured.netlist, measured.activity)


def test_the_charge_of_ports_by_hand(measured, osu018):
    """The clock, and a bit of the weights, which changes as its operands do."""
    netlist, activity = measured.netlist, measured.activity
    text = osu018.read_text()
    cell = text[text.index("cell (DFFPOSX1)") :]
    pin = {
        name: float(re.search(rf"pin\({name}\).*?capacitance : (\S+);", cell, re.S)[1]) * 1e-12
        for name in ("CLK", "D")
    }
    energy = 1.8**2 / 2 / 20e-9
    clock = 2 * netlist.flip_flops * pin["CLK"] * energy
    quiet = Activity(changes=dict.fromkeys(activity.changes, 0.0), ones=activity.ones)
    assert _ports(netlist, quiet) == pytest.approx(clock, rel=1e-6)
    # Operands go to one flip-flop a bit.
    inputs = measured.inputs
    operands_only, times = dict(quiet.changes), 0.0
    for name, bits in netlist.bits("input"):
        if name in ("weights", "activations"):
            operands_only |= {bit: activity.changes[bit] for bit in bits}
            rows = np.unpackbits(inputs[name], axis=1)
            times += np.count_nonzero(rows[1:] != rows[:-1]) / (len(rows) - 1)
    charge = _ports(netlist, Activity(changes=operands_only, ones=activity.ones))
    assert charge == pytest.approx(clock + times * pin["D"] * energy, rel=1e-6)
    assert charge < measure_power(netlist, activity).ports < 1.1 * charge


def test_clock_energy_by_hand(measured):
    """DFFPOSX1's clock pin at a slew of zero: its tables start at 0.06 and 0.24 ns."""
    netlist, activity = measured.netlist, measured.activity
    rise = 0.006865 - (0.006943 - 0.006865) / 3
    fall = 0.11034 - (0.129769 - 0.11034) / 3
    assert netlist.library.flip_flop.name == "DFFPOSX1"
    clock = measure_power(netlist, activity).parts["clock"]
    assert clock == pytest.approx(netlist.flip_flops * (rise + fall) * 1e-12 / 20e-9, rel=1e-6)


def test_internal_energy_by_hand(measured):
    """A NAND2X1's output: pins that change equally often share its transitions equally."""
    netlist, activity = measured.netlist, measured.activity
    name, (_, pins) = next(
        (name, cell) for name, cell in cells(netlist).items() if cell[0] == "NAND2X1"
    )
    changes = dict.fromkeys(activity.changes, 0.0)
    changes |= {pins["A"]: 0.5, pins["B"]: 0.5, pins["Y"]: 0.25}
    slews = {(cell, pin): 0.06 for cell, (_, pins) in cells(netlist).items() for pin in pins}
    powers, refused = _internal(netlist, Activity(changes=changes, ones=activity.ones), slews)
    clock, rest = powers[name]
    assert refused == 0
    load = netlist.loads()[pins["Y"]]
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
    """Iterate over power groups of a cell: pin, related pin or None, and the two tables."""
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


def test_all_power_is_the_direct_sum_of_transitions_times_energies(measured, osu018):
    """From the library's text and OpenSTA's slews, without the code that sums energies."""
    netlist, activity = measured.netlist, measured.activity
    power = measure_power(netlist, activity)
    text, volts, period = osu018.read_text(), 1.8, 20e-9
    slews = _run_opensta(netlist, activity).slews
    kinds = {kind for kind, _ in cells(netlist).values()}
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
    for kind, pins in cells(netlist).values():
        for pin, net in pins.items():
            if (kind, pin) in capacitance:
                loads[net] = loads.get(net, 0) + capacitance[kind, pin]
    total = 0.0  # In pJ per cycle, or the same in, 1e-12 J.
    for name, (kind, pins) in cells(netlist).items():
        changes = {pin: activity.changes[net] for pin, net in pins.items()}
        if "CLK" in pins:
            changes["CLK"] = 2.0
        for pin, net in pins.items():
            if (kind, pin) not in capacitance:
                total += loads.get(net, 0) * volts**2 / 2 * changes[pin]
        for pin, related, tables in groups[kind]:
            share = 1.0
            if related:
                sharing = [other for one, other, _ in groups[kind] if one == pin]
                share = changes[related] / max(sum(changes[one] for one in sharing), 1e-9)
            slew, load = slews[name, related or pin], loads.get(pins[pin], 0)
            energies = [_energy(table, slew, load) for table in tables]
            total += share * changes[pin] * sum(energies) / 2
        leakage = _braces(text, text.index(f"cell ({kind})"))
        nanowatts = float(re.search(r"cell_leakage_power : (\S+);", leakage)[1])
        total += nanowatts * 1e-9 * period * 1e12
    assert total * 1e-12 / period == pytest.approx(power.total, rel=0.01)
    assert power.internal > power.total / 3


def test_energy_that_a_cell_would_give_back_counts_as_zero(measured):
    netlist, activity = measured.netlist, measured.activity
    slews = {(cell, pin): 0.06 for cell, (_, pins) in cells(netlist).items() for pin in pins}
    whole, refused = _internal(netlist, activity, slews)
    assert refused == 0
    broken = copy(netlist)
    broken.library = copy(netlist.library)

    def energies(kind):
        return [
            replace(
                group,
                tables=tuple(
                    replace(table, values=[value - 10 for value in table.values])
                    for table in group.tables
                ),
            )
            if kind == "NAND2X1" and group.related
            else group
            for group in netlist.library.energies(kind)
        ]

    broken.library.energies = energies
    powers, refused = _internal(broken, activity, slews)
    assert 0 < refused < 1
    for name, (kind, _) in cells(netlist).items():
        if kind == "NAND2X1":
            assert powers[name] == (0, 0)
        else:
            assert powers[name] == whole[name]


def test_runs_on_one_netlist_do_not_meet(measured, tmp_path, monkeypatch):
    """Each OpenSTA starts late, when the others have written their scripts."""
    slow = tmp_path / "sta"
    slow.write_text(f'#!/bin/sh\nsleep 1\nexec {shutil.which("sta")} "$@"\n')
    slow.chmod(0o755)
    activity = measured.activity
    shares = (0.25, 0.5, 1.0)
    activities = [
        replace(activity, changes={net: share * n for net, n in activity.changes.items()})
        for share in shares
    ]
    alone = [measure_power(measured.netlist, one).switching for one in activities]
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with ThreadPoolExecutor(3) as pool:
        together = pool.map(lambda one: measure_power(measured.netlist, one).switching, activities)
        assert list(together) == alone
    assert alone[0] < alone[1] < alone[2]

"""Shares of internal power groups, against a simulation of the netlist in Python."""

from copy import copy
from dataclasses import replace

import numpy as np
import pytest

from trilith.sim.gatelevel.conditions import leave_rest
from trilith.sim.gatelevel.energies import EnergyGroup, EnergyTable
from trilith.sim.gatelevel.interpreter import _gates, run_netlist
from trilith.sim.gatelevel.liberty import names_in, truth_table
from trilith.sim.gatelevel.power import measure_power

CYCLES = 60

#: Conditions of a flip-flop's clock and data, and of a gate's pins, as libraries have them.
CONDITIONS = {
    "DFFPOSX1": [
        ("CLK", "", "(D * Q)"),
        ("CLK", "", "(D * !Q)"),
        ("CLK", "", ""),
        ("D", "", "CLK * Q"),
        ("D", "", "(!CLK * Q)"),
        ("D", "", ""),
        ("Q", "CLK", "D"),
        ("Q", "CLK", "!D"),
    ],
    "NAND2X1": [
        ("Y", "A", "B"),
        ("Y", "A", ""),
        ("Y", "B", "(A)"),
        ("Y", "B", "!A"),
        ("A", "", "!B * Y"),
    ],
}


def group(pin, related, when, energy=1.0):
    table = EnergyTable(variables=[], axes=[[], []], values=[energy])
    return EnergyGroup(pin=pin, related=related, when=when, tables=(table, table))


@pytest.fixture(scope="module")
def netlist(measured):
    """The small unit, with conditions in the library's flip-flop and one of its gates."""
    found = copy(measured.netlist)
    found.library = copy(found.library)
    own = measured.netlist.library.energies
    found.library.energies = lambda kind: (
        [group(*one) for one in CONDITIONS[kind]] if kind in CONDITIONS else own(kind)
    )
    return found


@pytest.fixture(scope="module")
def activity(measured, netlist):
    _, found = run_netlist(netlist, {name: x[:CYCLES] for name, x in measured.inputs.items()})
    return found


@pytest.fixture(scope="module")
def values(measured, netlist):
    """The value of each net in each cycle, bool[cycles], by the functions of the cells."""
    gates, registers = _gates(netlist)
    stimuli = netlist.stimuli({name: x[:CYCLES] for name, x in measured.inputs.items()})
    inputs = [bit for _, bits in netlist.bits("input") for bit in bits]
    state = {net: 0 for _, net in registers}
    rows = []
    for row in stimuli:
        now = (
            {"0": 0, "1": 1, "x": 0, netlist.clock: 0} | state | dict(zip(inputs, row, strict=True))
        )

        def at(net, now=now):
            if net not in now:
                function, sources = gates[net]
                place = sum(int(at(one)) << i for i, one in enumerate(sources))
                now[net] = truth_table(function, tuple(names_in(function)))[place]
            return now[net]

        for net in gates:
            at(net)
        rows.append(now)
        state = {net: at(following) for following, net in registers}
    return {net: np.array([row[net] for row in rows[1:]], bool) for net in rows[0]}


def pins_of(netlist, kind, values):
    for instance in netlist.instances.values():
        if instance.cell.name == kind:
            yield {pin: values[net] for pin, net in instance.nets.items()}


def changed(x):
    return x[1:] != x[:-1]


def both(x):
    """Half for the value before a transition, half for the value behind it."""
    return (x[1:].astype(float) + x[:-1]) / 2


def divide(parts, total):
    return [part / total if total else np.nan for part in parts]


def test_shares_of_a_gate(netlist, activity, values):
    seen = 0
    shares = activity.shares["NAND2X1"]
    for found, pins in zip(shares, pins_of(netlist, "NAND2X1", values), strict=True):
        a, b, y = pins["A"], pins["B"], pins["Y"]
        by_a, by_b = changed(y) & changed(a), changed(y) & changed(b)
        parts = [
            (by_a * both(b)).sum(),
            (by_a * both(~b)).sum(),
            (by_b * both(a)).sum(),
            (by_b * both(~a)).sum(),
        ]
        expected = divide(parts, sum(parts))
        expected += divide([(changed(a) * both(~b & y)).sum()], changed(a).sum())
        np.testing.assert_allclose(found, expected)
        seen += changed(y).any()
    assert seen > 3


def test_shares_of_a_flip_flop(netlist, activity, values):
    seen = 0
    shares = activity.shares["DFFPOSX1"]
    for found, pins in zip(shares, pins_of(netlist, "DFFPOSX1", values), strict=True):
        d, q = pins["D"][1:], pins["Q"][1:]
        clock = divide([(d & q).sum(), (d & ~q).sum(), (~d).sum()], CYCLES - 1)
        moves = changed(pins["D"])
        # The clock is high for half of a cycle.
        data = divide([(moves & q).sum() / 2] * 2 + [(moves & ~q).sum()], moves.sum())
        rises = changed(pins["Q"]) & pins["Q"][1:]
        out = divide(
            [rises.sum(), changed(pins["Q"]).sum() - rises.sum()], changed(pins["Q"]).sum()
        )
        np.testing.assert_allclose(found, [*clock, *data, *out])
        seen += changed(pins["Q"]).any()
    assert seen > 20


def test_a_group_without_a_condition_is_not_added_to_its_siblings(measured, netlist, activity):
    """IHP's flip-flop has the clock's energy once by condition, and once more as the default."""
    alone = copy(netlist)
    alone.library = copy(netlist.library)
    own = netlist.library.energies
    alone.library.energies = lambda kind: (
        [group("CLK", "", "")] if kind == "DFFPOSX1" else own(kind)
    )
    expected = measure_power(alone, replace(activity, shares={})).parts["clock"]
    for shares in (activity.shares, {}):
        found = measure_power(netlist, replace(activity, shares=shares)).parts["clock"]
        assert found == pytest.approx(expected)
    # All energies are 1 pJ, and the clock has two transitions in 20 ns.
    assert expected == pytest.approx(netlist.flip_flops * 2e-12 / 20e-9)


def test_only_siblings_take_from_a_default():
    groups = [group("A", "", ""), group("Y", "A", "B"), group("Y", "A", ""), group("Y", "B", "")]
    weights = np.array([[3.0, 1.0, 4.0, 5.0], [0.0, 2.0, 1.5, 0.0]])
    leave_rest(groups, weights)
    assert weights.tolist() == [[3, 1, 3, 5], [0, 2, 0, 0]]

import re
from copy import copy
from dataclasses import replace

import pytest

from trilith.sim.gatelevel.interpreter import _flatten, run_netlist
from trilith.sim.tools.errors import SimulationError
from trilith.sim.tools.toolchain import ToolchainError


def test_a_loop_of_gates_is_refused(measured):
    netlist = measured.netlist
    name, gate = next(
        (name, one) for name, one in netlist.instances.items() if one.cell.name == "NAND2X1"
    )
    loop = copy(netlist)
    loop.instances = netlist.instances | {
        name: replace(gate, nets=gate.nets | {"A": gate.nets["Y"]})
    }
    message = "the netlist has a loop of gates; the component must have none"
    with pytest.raises(ToolchainError, match=f"^{re.escape(message)}$"):
        _flatten(loop)


@pytest.mark.parametrize("cycles", [0, 1])
def test_a_run_without_a_second_cycle_is_refused(measured, cycles):
    """In one cycle nothing can change: transitions per cycle would divide by zero."""
    inputs = {name: rows[:cycles] for name, rows in measured.inputs.items()}
    message = f"the activity of a netlist needs 2 cycles or more, not {cycles}"
    with pytest.raises(SimulationError, match=f"^{message}$"):
        run_netlist(measured.netlist, inputs)


def test_two_cycles_are_enough(measured):
    inputs = {name: rows[:2] for name, rows in measured.inputs.items()}
    outputs, activity = run_netlist(measured.netlist, inputs)
    for name, rows in outputs.items():
        assert (rows == measured.outputs[name][:2]).all(), name
    assert set(activity.changes.values()) == {0, 1}
    assert set(activity.ones.values()) == {0, 0.5, 1}

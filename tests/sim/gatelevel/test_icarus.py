import re
import shutil

import numpy as np
import pytest

from trilith.sim.gatelevel.icarus import _bits, run_with_delays
from trilith.sim.tools.errors import SimulationError


@pytest.fixture(scope="module")
def delayed(measured):
    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is missing: apt-get install iverilog")
    return run_with_delays(measured.netlist, measured.inputs)


def test_the_interpreter_matches_icarus(measured, delayed):
    """Outputs in each cycle; transitions and duty of each net as sampled at the ends of cycles."""
    assert set(delayed.outputs) == set(measured.outputs)
    for name, values in measured.outputs.items():
        assert np.array_equal(delayed.outputs[name], values), name
    activity, settled = measured.activity, delayed.settled
    netlist = measured.netlist
    driven = {net for one in netlist.instances.values() for _, _, net in one.outputs()}
    driven |= {bit for _, bits in netlist.bits("input") for bit in bits}
    assert set(settled.changes) == driven
    assert len(driven) > 400
    for net in driven:
        assert settled.changes[net] == activity.changes[net], net
        assert settled.ones[net] == activity.ones[net], net
    assert sum(settled.changes.values()) > 50


def test_unit_delays_add_glitches_and_nothing_else(measured, delayed):
    netlist, activity = measured.netlist, measured.activity
    cycles = len(measured.operands.last)
    for net, value in delayed.changes.items():
        # A glitch goes there and back again.
        more = round((value - activity.changes[net]) * (cycles - 1), 6)
        assert more >= 0, net
        assert more % 2 == 0, net
    # Outputs of registers have no glitches.
    for name, instance in netlist.instances.items():
        if instance.cell.flip_flop:
            net = instance.nets["Q"]
            assert delayed.changes[net] == pytest.approx(activity.changes[net]), name
    times = sum(delayed.changes.values()) / sum(activity.changes[net] for net in delayed.changes)
    assert 1.2 < times < 3


def test_a_run_without_a_second_cycle_is_refused(measured):
    inputs = {name: rows[:1] for name, rows in measured.inputs.items()}
    message = "the activity of a netlist needs 2 cycles or more, not 1"
    with pytest.raises(SimulationError, match=f"^{re.escape(message)}$"):
        run_with_delays(measured.netlist, inputs)


@pytest.mark.parametrize("text", ["01\n1x\n", "01\nz0\n", "01\n", "01\n10\n11\n"])
def test_values_that_icarus_does_not_know_are_refused(tmp_path, text):
    file = tmp_path / "nets"
    file.write_text("01\n10\n")
    assert _bits(file, 2).tolist() == [[0, 1], [1, 0]]
    file.write_text(text)
    message = "all nets must have a known value in each cycle; Icarus shows others"
    with pytest.raises(SimulationError, match=f"^{re.escape(message)}$"):
        _bits(file, 2)

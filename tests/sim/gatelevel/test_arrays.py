import re

import numpy as np
import pytest

from trilith.sim.gatelevel.arrays import _propagate, measure_arrays, published_arrays
from trilith.sim.gatelevel.table import load_table
from trilith.sim.tools.errors import EstimateError


def test_published_powers_as_energies():
    """14.05 mW and 4.57 mW at 667 MHz, in 64 and 16 MACs per cycle."""
    large, small = published_arrays()
    assert (large.size, small.size) == (8, 4)
    assert large.energy_pj == pytest.approx(14.05 / 64 / (2 / 3), rel=0.001)
    assert small.energy_pj == pytest.approx(4.572 / 16 / (2 / 3), rel=0.001)
    assert large.sequential_pj / large.energy_pj == pytest.approx(0.3833, abs=0.001)
    assert large.clock_pj / large.energy_pj == pytest.approx(0.1126, abs=0.001)
    assert small.clock_pj / small.energy_pj == pytest.approx(0.1412, abs=0.001)
    for one in (large, small):
        kinds = one.internal_pj + one.switching_pj + one.leakage_pj
        assert kinds == pytest.approx(one.energy_pj, rel=0.001)


def test_stored_arrays_are_those_that_are_published():
    stored = load_table("asap7").arrays
    published = {one.size: one for one in published_arrays()}
    assert [one.size for one in stored] == [8, 8, 4, 4]
    for one in stored:
        kinds = one.internal_pj + one.switching_pj + one.leakage_pj
        assert kinds == pytest.approx(one.energy_pj, rel=1e-4)
        there = published[one.size]
        assert one.flip_flops == there.flip_flops - 1
        # Wires per net, of which there is one for each cell.
        length = one.wire_um / one.cells
        assert length == pytest.approx(there.wire_um / there.cells, rel=0.1)
        assert one.clock_wire_um == pytest.approx(there.clock_wire_um, rel=0.2)


def test_flip_flops_and_inputs_change_in_one_cycle_of_five(measured):
    netlist = measured.netlist
    activity = _propagate(netlist)
    states = [
        net
        for one in netlist.instances.values()
        if one.cell.flip_flop
        for _, _, net in one.outputs()
    ]
    inputs = [net for name, bits in netlist.bits("input") if name != "rst" for net in bits]
    for nets in (states, inputs):
        changes = np.array([activity.changes[net] for net in nets])
        assert changes.mean() == pytest.approx(0.2, abs=0.01)
        assert changes.max() < 0.26
        assert np.mean([activity.ones[net] for net in nets]) == pytest.approx(0.5, abs=0.05)


def test_another_library_is_one_line():
    message = "the library must be asap7, in which arrays are published, not 'mine'"
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        measure_arrays([], "mine")

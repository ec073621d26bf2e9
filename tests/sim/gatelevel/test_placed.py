import re
from collections import Counter
from copy import copy
from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest

from trilith.sim import ToolchainError
from trilith.sim.gatelevel import clock_tree as clock_tree_module
from trilith.sim.gatelevel.clock_tree import grow_clock_tree
from trilith.sim.gatelevel.placed import lay_out, measure_placed
from trilith.sim.gatelevel.placement import UTILIZATION, place
from trilith.sim.gatelevel.power import measure_power
from trilith.sim.gatelevel.wires import wire_technology
from trilith.sim.tools.errors import EstimateError

TECHNOLOGY = wire_technology("osu018")


@pytest.fixture(scope="module")
def layout(measured):
    pytest.importorskip("coloquinte_pybind")
    return lay_out(measured.netlist, "osu018")


def with_cells(netlist, **changes):
    """Copy a netlist, with changes to each of its cells."""
    other = copy(netlist)
    other.instances = {
        name: replace(one, cell=replace(one.cell, **changes))
        for name, one in netlist.instances.items()
    }
    return other


def test_cells_stand_in_rows_side_by_side(layout, measured):
    placement = layout.placement
    height = TECHNOLOGY.row_height_um
    areas = [one.cell.area for one in measured.netlist.instances.values()]
    assert placement.widths * height == pytest.approx(areas, rel=0.001)
    core = placement.width * placement.height
    assert sum(areas) / core == pytest.approx(UTILIZATION, rel=0.01)
    assert placement.width == pytest.approx(placement.height, rel=0.2)
    rows = placement.lower[:, 1] / height
    assert rows == pytest.approx(np.round(rows))
    assert placement.lower.min() >= 0
    assert (placement.lower[:, 0] + placement.widths).max() <= placement.width + 1e-9
    assert placement.lower[:, 1].max() + height <= placement.height + 1e-9
    for row in set(np.round(rows)):
        there = np.flatnonzero(np.round(rows) == row)
        there = there[np.argsort(placement.lower[there, 0])]
        ends = placement.lower[there, 0] + placement.widths[there]
        assert (placement.lower[there, 0][1:] >= ends[:-1] - 1e-9).all()


def test_ports_stand_at_the_edge(layout, measured):
    placement = layout.placement
    bits = [
        bit
        for kind in ("input", "output")
        for _, nets in measured.netlist.bits(kind)
        for bit in nets
    ]
    assert Counter(net for net, _ in placement.ports) == Counter(bits)
    assert len({point for _, point in placement.ports}) == len(bits)
    for _, (x, y) in placement.ports:
        assert x in (0, placement.width) or y in (0, placement.height)


def test_equal_netlists_get_equal_placements(layout, measured, tmp_path, monkeypatch):
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path))
    again = place(measured.netlist, TECHNOLOGY.row_height_um)
    assert np.array_equal(again.lower, layout.placement.lower)


def test_a_placement_is_better_than_chance(layout, measured):
    placement = layout.placement
    shuffled = replace(
        placement, lower=np.random.default_rng(1).permutation(placement.lower, axis=0)
    )

    def half_perimeters(one):
        spans = [np.ptp(points, axis=0).sum() for points in one.pins(measured.netlist).values()]
        return sum(spans)

    assert half_perimeters(placement) < 0.6 * half_perimeters(shuffled)


def test_the_clock_tree_reaches_each_flip_flop_once(layout, measured):
    tree, netlist = layout.tree, layout.netlist
    flip_flops = {name for name, one in netlist.instances.items() if one.cell.flip_flop}
    assert set(tree.leaves) == flip_flops
    assert set(tree.buffers) == netlist.buffers
    driver = {one.nets["Y"]: name for name, one in tree.buffers.items()}
    depths = set()
    for net in tree.leaves.values():
        depth = 0
        while net != measured.netlist.clock:
            net, depth = tree.buffers[driver[net]].nets["A"], depth + 1
        depths.add(depth)
    assert len(depths) == 1
    loads = Counter([*tree.leaves.values(), *(one.nets["A"] for one in tree.buffers.values())])
    assert max(loads.values()) <= 20
    assert loads[measured.netlist.clock] == 1
    assert set(tree.lengths) == set(loads)


def test_a_weak_buffer_drives_fewer_flip_flops(layout, measured, monkeypatch):
    buffer = measured.netlist.library.cells["BUFX4"]
    clock = measured.netlist.library.flip_flop.loads["CLK"]
    weak = replace(buffer, max_load=6 * clock)
    monkeypatch.setattr(clock_tree_module, "_find_buffer", lambda library, name: weak)
    short = replace(TECHNOLOGY, clock_ff_per_um=1e-6)
    tree = grow_clock_tree(measured.netlist, layout.placement, short)
    assert max(Counter(tree.leaves.values()).values()) in (4, 5, 6)
    weak = replace(buffer, max_load=clock)
    message = "the buffer BUFX4 must drive two pins of the clock, "
    with pytest.raises(EstimateError, match=f"^{message}"):
        grow_clock_tree(measured.netlist, layout.placement, short)


def test_wires_are_charged_as_their_nets_change(layout, measured):
    """OpenSTA's switching power, against the sum over nets."""
    before = measure_power(measured.netlist, measured.activity)
    after = measure_power(layout.netlist, measured.activity)
    volts, period, fj = 1.8, 20e-9, 1e-15
    inputs = {bit for _, bits in measured.netlist.bits("input") for bit in bits}
    charge = {
        net: length * TECHNOLOGY.signal_ff_per_um * fj * volts**2 / 2 / period
        for net, length in layout.lengths.items()
    }
    inside = sum(
        power * measured.activity.changes[net] for net, power in charge.items() if net not in inputs
    )
    outside = sum(charge[net] * measured.activity.changes[net] for net in inputs)
    tree, root = layout.tree, measured.netlist.clock
    wires = {
        net: length * TECHNOLOGY.clock_ff_per_um * fj * volts**2 / period
        for net, length in tree.lengths.items()
    }
    farads = 1e-12 * volts**2 / period
    buffer = measured.netlist.library.cells["BUFX4"].loads["A"]
    flip_flops = len(tree.leaves) * measured.netlist.library.flip_flop.loads["CLK"]
    driven = sum(wires.values()) - wires[root]
    pins = farads * (flip_flops + (len(tree.buffers) - 1) * buffer)
    assert after.switching - before.switching == pytest.approx(inside + driven + pins, rel=0.01)
    ports = outside + wires[root] + farads * (buffer - flip_flops)
    assert after.ports - before.ports == pytest.approx(ports, rel=0.01)
    assert after.slack_ps < before.slack_ps
    assert set(after.parts) == {*before.parts, "clock tree"}
    assert sum(after.parts.values()) == pytest.approx(after.total)
    macs = 5
    placed = measure_placed(layout, measured.activity, macs=macs, clock_ghz=0.05)
    to_fj = 1e15 * period / macs
    assert placed.energy_fj == pytest.approx((after.total + after.ports) * to_fj, rel=1e-4)
    assert placed.wires_fj == pytest.approx((inside + outside) * to_fj, rel=1e-4)
    assert placed.clock_wires_fj == pytest.approx(sum(wires.values()) * to_fj, rel=1e-4)
    pins = farads * len(tree.buffers) * buffer
    inner = sum(after.cells[name][0] + after.cells[name][2] for name in tree.buffers)
    assert placed.clock_buffers_fj == pytest.approx((inner + pins) * to_fj, rel=1e-4)
    assert placed.label == "placed, not routed"
    slower = measure_placed(layout, measured.activity, macs=macs, clock_ghz=0.025)
    leakage = after.leakage * to_fj
    assert slower.energy_fj - placed.energy_fj == pytest.approx(leakage, rel=1e-4)


def test_a_library_without_areas_is_one_line(measured):
    pytest.importorskip("coloquinte_pybind")
    netlist = with_cells(measured.netlist, area=0.0)
    kinds = ", ".join(sorted({one.cell.name for one in netlist.instances.values()}))
    message = f"the library gives no area for {kinds}, which a placement needs"
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        place(netlist, 10.0)


def test_a_library_without_the_buffer_is_one_line(layout, measured):
    technology = replace(TECHNOLOGY, clock_buffer="AOI21X1")
    message = "osu018_stdcells.lib: the buffer AOI21X1 of the clock tree is missing"
    with pytest.raises(EstimateError, match=f"^{message}$"):
        grow_clock_tree(measured.netlist, layout.placement, technology)


def test_without_coloquinte(measured, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    message = "^the Python package coloquinte was not found: run .* -m pip install "
    with pytest.raises(ToolchainError, match=message + r"'trilith\[placement\]'$"):
        place(measured.netlist, 10.0)

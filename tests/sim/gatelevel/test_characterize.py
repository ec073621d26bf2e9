import os
import re
import shutil
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from trilith.hw.baselines import BASELINES, DotConfig
from trilith.sim.gatelevel.characterize import (
    Characterization,
    _check_results,
    _check_settled,
    _port_rows,
    _row,
    energies,
)
from trilith.sim.gatelevel.interpreter import run_netlist
from trilith.sim.gatelevel.library import Library
from trilith.sim.gatelevel.operands import make_operands
from trilith.sim.gatelevel.power import measure_power
from trilith.sim.gatelevel.synthesis import map_component
from trilith.sim.tools.errors import SimulationError


def test_a_netlist_that_differs_from_the_golden_model_is_refused(measured):
    name, unit, operands = measured.name, measured.unit, measured.operands
    outputs = measured.outputs
    assert _check_results(name, unit, operands, outputs) > 10
    wrong = outputs["total"].copy()
    wrong[-2 - np.argmax(outputs["done"][-2::-1, 0])] ^= 1
    message = (
        r"ternaryxint4-escape: the netlist must match the golden model; 1 of \d+ results of \d+ "
        r"beats differ, and no figures are given"
    )
    with pytest.raises(SimulationError, match=f"^{message}$"):
        _check_results(name, unit, operands, outputs | {"total": wrong})
    message = (
        "ternaryxint4-escape: the netlist must signal each result when the golden model does; it "
        "does not, and no figures are given"
    )
    with pytest.raises(SimulationError, match=f"^{message}$"):
        _check_results(name, unit, operands, outputs | {"done": 1 - outputs["done"]})
    message = (
        f"ternaryxint4-escape: {len(operands.last)} beats must complete a dot product, and do not"
    )
    with pytest.raises(SimulationError, match=f"^{message}$"):
        _check_results(name, unit, replace(operands, dots=[]), outputs)


def test_glitches_add_their_power_times_the_period(measured):
    """1 W over 1 ps is 1 pJ: 1,000 fJ."""
    power = measure_power(measured.netlist, measured.activity)
    task = SimpleNamespace(config=DotConfig(lanes=5, rows=2, k_max=64))
    given = {
        *("clock_ghz", "glitches_fj", "glitch_transitions", "placed", "results", "beats"),
        *("zero_weights", "zero_activations"),
    }
    energy = energies(power, 20_000, clock_ghz=0.05, macs=10)
    common = {one.name: None for one in fields(Characterization)}
    common = {name: value for name, value in common.items() if name not in {*given, *energy}}

    def glitches(found):
        run = SimpleNamespace(
            power=power,
            operands=measured.operands,
            results=11,
            glitch_power=found,
            glitch_transitions=2.0,
        )
        return _row(task, measured.netlist, run, 0.05, common).glitches_fj

    assert measured.netlist.period_ps == 20_000
    assert glitches(1e-6) == pytest.approx(energy["energy_fj"] + 1e-6 * 20_000 * 1000 / 10)
    assert glitches(None) is None


def test_a_netlist_that_settles_otherwise_in_icarus_is_refused(measured):
    activity = measured.activity
    _check_settled(measured.name, activity, activity)
    net = max(activity.changes, key=activity.changes.__getitem__)
    changes = activity.changes | {
        net: activity.changes[net] - 1 / (len(measured.operands.last) - 1)
    }
    message = (
        f"{measured.name}: all nets must settle in Icarus to their values in the interpreter; 1 of "
        f"{len(changes)} differ, and no figures are given"
    )
    with pytest.raises(SimulationError, match=f"^{re.escape(message)}$"):
        _check_settled(measured.name, activity, replace(activity, changes=changes))


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
    assert list(some.flip_flop.flip_flop.ties.values()) == [1] * ties
    name = "ternaryxternary-two_bit"
    baseline = BASELINES[name]
    unit = baseline.unit(DotConfig(lanes=5, k_max=64))
    netlist = map_component(unit, some, 1000 / clock_ghz)
    found = make_operands(baseline, "trained", beats=300, lanes=5)
    outputs, activity = run_netlist(netlist, _port_rows(baseline, unit, found))
    assert _check_results(name, unit, found, outputs) > 10
    power = measure_power(netlist, activity)
    assert power.slack_ps > 0
    assert min(power.internal, power.switching, power.leakage) > 0
    # GT2N's energies of rising outputs are negative at all loads that occur.
    assert (power.refused > 0.1) == refused

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from trilith.hw.baselines import BASELINES, DotConfig, DotUnit
from trilith.sim.gatelevel.characterize import _port_rows
from trilith.sim.gatelevel.interpreter import run_netlist
from trilith.sim.gatelevel.library import Library
from trilith.sim.gatelevel.netlist import Activity, Netlist
from trilith.sim.gatelevel.operands import Operands, make_operands
from trilith.sim.gatelevel.synthesis import map_component


@dataclass(frozen=True)
class Measured:
    """A small unit in a real library, and its run."""

    name: str
    unit: DotUnit
    netlist: Netlist
    operands: Operands
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    activity: Activity


@pytest.fixture(scope="session")
def osu018() -> Path:
    file = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
    if not file.exists():
        pytest.skip("osu018 is missing: apt-get install qflow-tech-osu018")
    return file


@pytest.fixture(scope="session")
def measured(osu018) -> Measured:
    if shutil.which("sta") is None:
        pytest.skip("sta is missing: apt-get install opensta")
    name = "ternaryxint4-escape"
    unit = BASELINES[name].unit(DotConfig(lanes=5, k_max=64))
    netlist = map_component(unit, Library([osu018]), 20_000)
    operands = make_operands(BASELINES[name], "trained", beats=300, lanes=5)
    inputs = _port_rows(BASELINES[name], unit, operands)
    outputs, activity = run_netlist(netlist, inputs)
    return Measured(name, unit, netlist, operands, inputs, outputs, activity)

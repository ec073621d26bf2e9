"""A token core at gate level; the whole one takes minutes."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from trilith.golden.checkpoint.model_config import ModelConfig
from trilith.golden.data import PYDOC
from trilith.golden.errors import TrilithError
from trilith.golden.network.token_core import CoreModel
from trilith.golden.network.transformer import BitNetModel
from trilith.hw.token.config import CORE_PRESETS
from trilith.sim.gatelevel.core_parts import CORE_PARTS, _compare, _parts, measure_core
from trilith.sim.gatelevel.core_table import (
    check_core_table,
    load_core_table,
    operations,
    store_core_table,
)
from trilith.sim.tools.errors import EstimateError, SimulationError

STORED = load_core_table("asap7")


def sizes():
    return ModelConfig.read(json.loads((PYDOC / "config.json").read_text()), "pydoc")


def test_the_stored_parts_are_those_of_a_token_of_pydoc():
    counts = operations(sizes(), STORED.context)
    assert {part.part: part.operations for part in STORED.parts} == counts
    assert set(counts) == set(CORE_PARTS)
    assert STORED.refused == 0
    for part in STORED.parts:
        assert 0 < part.busy < STORED.cycles, part.part
        assert part.clock_fj >= part.leakage_fj
    # The core is busy with one thing after the other, so that no clock runs all the time.
    gated = sum(part.gated_fj * part.operations for part in STORED.parts)
    assert gated < 0.9 * STORED.token_fj


def test_the_names_of_registers_tell_their_part():
    def part(name):
        return next((one for one, pattern in CORE_PARTS.items() if re.match(pattern, name)), None)

    assert part("attention.dots.sum$3") == "dots"
    assert part("attention.softmax.scales$87") == "softmax"
    assert part("attention.constant.a") == "scores"
    assert part("peak$350.register") == "peak"
    assert part("head_rows.chunks.held") == "head rows"
    assert part("heads.banks") == "heads"
    assert part("vectors") == "writer"
    assert part("have") is None


def test_a_part_has_its_share_of_each_energy():
    """1 W over 1 ps is 1,000 fJ, and the clock's pins take farads times volts squared."""
    register = SimpleNamespace(
        area=2.0, loads={"CK": 3.0}, flip_flop=SimpleNamespace(clock="CK", q="Q")
    )
    gate = SimpleNamespace(area=0.5, flip_flop=None)
    owners = {"a": "control", "b": "sequencer", "c": "dots", "d": "dots"}
    cells = {"a": register, "b": register, "c": register, "d": gate}
    netlist = SimpleNamespace(
        library=SimpleNamespace(
            flip_flop=register, corner=SimpleNamespace(farads=1e-15, voltage=0.5)
        ),
        period_ps=2000.0,
        owners=lambda: owners,
        instances={name: SimpleNamespace(cell=cell) for name, cell in cells.items()},
        memories=(SimpleNamespace(name="dots"), SimpleNamespace(name="control")),
        part_of=lambda name: name,
    )
    power = SimpleNamespace(
        parts={"control": 4e-6, "sequencer": 5e-6, "dots": 7e-6},
        leakage_parts={"control": 1e-6, "sequencer": 2e-6, "dots": 3e-6},
        clock_parts={"control": 1e-7, "dots": 2e-7},
    )
    activity = SimpleNamespace(
        busy={"control": 5, "sequencer": 7, "dots": 6}, read_bits=[8, 9], written_bits=[3, 4]
    )
    first, second = _parts(netlist, activity, power, {"sequencer": 1, "dots": 40}, 10)
    assert (first.part, first.operations, first.cells, first.flip_flops) == ("sequencer", 1, 2, 2)
    assert (first.area, first.busy, first.read_bits, first.written_bits) == (4.0, 7, 9, 4)
    assert first.leakage_fj == pytest.approx(3e-6 * 2e6)
    assert first.data_fj == pytest.approx((9e-6 - 3e-6) * 2e6 * 10)
    assert first.clock_fj == pytest.approx(1e-7 * 2e6 + 2 * 3.0 * 0.25)
    assert (second.operations, second.cells, second.flip_flops, second.area) == (40, 2, 1, 2.5)
    assert second.leakage_fj == pytest.approx(3e-6 * 2e6)
    assert (second.busy, second.read_bits, second.written_bits) == (6, 8, 3)


class Ports:
    """Netlist of one stream."""

    def bits(self, direction):
        assert direction == "output"
        return [("answers__payload", [2]), ("answers__valid", [3])]


def test_payloads_count_while_they_are_valid():
    ports = {
        "answers__payload": np.array([[1], [2], [3]], np.uint8),
        "answers__valid": np.array([[0], [1], [1]], np.uint8),
    }
    other = ports | {"answers__payload": np.array([[9], [2], [3]], np.uint8)}
    assert _compare(Ports(), ports, other) == 3 + 2
    other = ports | {"answers__payload": np.array([[1], [2], [4]], np.uint8)}
    message = (
        "the netlist of the token core must equal the RTL; its port answers__payload differs in 1 "
        "of 3 cycles, in cycle 2 first, and no figures are given"
    )
    with pytest.raises(SimulationError, match=f"^{message}$"):
        _compare(Ports(), ports, other)


def test_a_table_is_read_as_it_was_stored(tmp_path):
    file = tmp_path / "token.json"
    assert check_core_table(file) is None
    store_core_table(STORED, file)
    assert check_core_table(file) == STORED


def test_another_file_is_not_replaced(tmp_path):
    file = tmp_path / "notes.txt"
    for text, message in (
        ("mine", "must be JSON"),
        ('{"mine": 1}', "the file must be a table of a token core, with its parts"),
    ):
        file.write_text(text)
        with pytest.raises(TrilithError, match=f"^{re.escape(str(file))}: {message}"):
            check_core_table(file)
        assert file.read_text() == text


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("operations", "many", "the key 'operations' must be of type int, not 'many'"),
        ("operations", 0, "operations must be 1 or more, not 0"),
        ("data_fj", float("nan"), "the key 'data_fj' must be of type float, not nan"),
        ("color", "red", "the key 'color' is unknown; legal keys are "),
    ],
)
def test_a_wrong_value_is_refused_by_its_place(tmp_path, key, value, message):
    file = tmp_path / "token.json"
    store_core_table(STORED, file)
    stored = json.loads(file.read_text())
    stored["parts"][1][key] = value
    file.write_text(json.dumps(stored))
    message = f"{file}: parts: 1: {message}"
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}"):
        check_core_table(file)


@pytest.mark.long
def test_a_whole_core_at_gate_level(osu018):
    if shutil.which("sta") is None:
        pytest.skip("sta is missing: apt-get install opensta")
    preset = CORE_PRESETS["pydoc"]
    config = replace(
        preset,
        engine=replace(preset.engine, lanes=16),
        vector_lanes=1,
        attention_lanes=4,
        memory_width=32,
    )
    core = measure_core(
        CoreModel(model=BitNetModel.load(PYDOC)),
        config,
        [5],
        2,
        library_name="osu018",
        node="",
        files=[Path(osu018)],
        clock_ghz=0.05,
    )
    assert core.compared > core.cycles
    assert {part.part for part in core.parts} == set(CORE_PARTS)
    assert core.token_fj > 0

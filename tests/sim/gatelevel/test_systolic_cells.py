"""Systolic cells: tiles, their sums, a measured array, and cells beside dot products."""

import json
import re
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
from made_systolic import made_systolic

from trilith.hw.baselines import BASELINES
from trilith.sim.gatelevel import campaign
from trilith.sim.gatelevel.best import systolic_beside
from trilith.sim.gatelevel.library import Library
from trilith.sim.gatelevel.operands import Tile, make_tiles
from trilith.sim.gatelevel.rivals import RIVALS, SEARCHED
from trilith.sim.gatelevel.systolic import _check_sums, _stimuli, make_array, measure_systolic
from trilith.sim.gatelevel.systolic_energy import SYSTOLIC_FORMATS, TERNARY_SYSTOLIC
from trilith.sim.gatelevel.table import METHOD, library_names, load_table, read_table, table_file
from trilith.sim.tools.errors import EstimateError, SimulationError


def stored(tmp_path, *cells):
    """A table of ASAP7 with cells, as a file."""
    table = json.loads(table_file("asap7").read_text())
    file = tmp_path / "gate-x.json"
    file.write_text(json.dumps(table | {"systolic": list(cells)}))
    return file


def test_every_format_of_the_comparison_has_one_cell():
    """Ternary codes share one, and FP16 sums are FP32 in it."""
    assert [name for name in RIVALS if name not in SYSTOLIC_FORMATS] == [
        *("ternary sherry", "ternary escape", "ternary base3", "FP16 to FP16"),
    ]


@pytest.mark.parametrize(
    ("name", "bits"),
    [(TERNARY_SYSTOLIC, 21), ("INT4 x INT4", 20), ("INT4 x INT8", 24), ("INT8", 28), ("FP16", 32)],
)
def test_sums_of_the_longest_dot_product_are_exact(name, bits):
    """6,912 times the largest product: 128, 8 · 8, 8 · 128 and 128 · 128."""
    array = make_array(BASELINES[RIVALS[name][0]], 4)
    assert (array.sum_bits, array.sum_cycles) == (bits, 2 if name == "FP16" else 1)


def test_tiles_are_those_of_the_trained_network():
    baseline = BASELINES["int8xint8"]
    tiles = make_tiles(baseline, tiles=6, vectors=5, size=4)
    assert [len(one.weights) for one in tiles] == [4] * 6
    for one in tiles:
        columns, k = one.weights.shape
        assert (columns, k % 4) == (4, 0)
        assert one.activations.shape == (5, k)
        assert len(np.unique(one.activations, axis=0)) == 5
    # The largest value of a whole matrix or vector is 127.
    assert max(np.abs(one.weights).max() for one in tiles) <= 127
    again = make_tiles(baseline, tiles=6, vectors=5, size=4)
    assert all(np.array_equal(a.weights, b.weights) for a, b in zip(tiles, again, strict=True))


@pytest.mark.parametrize("name", [TERNARY_SYSTOLIC, "INT8", "FP16"])
def test_inputs_arrive_in_their_cycle(name):
    """Operands of row r and column c are r · sum_cycles + c cycles late."""
    baseline = BASELINES[RIVALS[name][0]]
    array = make_array(baseline, 2)
    tile = Tile(
        weights=np.array([[0, 0, 1, -1], [0, 0, 0, 1]]),
        activations=np.arange(24).reshape(6, 4),
    )
    if name == "FP16":
        values = np.array([[1.5, -2, 0.5, 3], [1, 0, -1, 2]], np.float16)
        tile = replace(tile, weights=values.view(np.uint16).astype(np.int64))
        x = np.arange(24, dtype=np.float16).reshape(6, 4)
        tile = replace(tile, activations=x.view(np.uint16).astype(np.int64))
        exact = x.astype(np.float32) @ values.T.astype(np.float32)
    else:
        exact = tile.activations @ tile.weights.T
    inputs, sums = _stimuli(baseline, array, [tile])
    found = sums.astype(np.uint32).view(np.float32) if name == "FP16" else sums
    assert np.array_equal(found, exact)
    step = array.activation_bits // 8
    moved = inputs["activations"].reshape(6, -1)[:, : 2 * step]
    late = np.roll(tile.activations[:, 3], array.sum_cycles)
    assert np.array_equal(moved[:, step], late & 255)
    assert np.array_equal(moved[:, 0], tile.activations[:, 2] & 255)
    if name == TERNARY_SYSTOLIC:
        # +1 and −1 in column 0, zero and +1 in column 1: sign and zero flag of each.
        assert set(inputs["weights"][:, 0]) == {0b00_01_10_00}


def test_a_sum_that_differs_is_refused():
    baseline = BASELINES["int8xint8"]
    array = make_array(baseline, 2)
    sums = np.arange(40).reshape(20, 2)
    outputs = np.zeros((20, 8), np.uint8)
    for cycle in range(20):
        both = [sums[cycle - 3, 0], sums[cycle - 4, 1]]
        word = sum((int(one) & (1 << 28) - 1) << 28 * place for place, one in enumerate(both))
        outputs[cycle] = np.frombuffer(word.to_bytes(8, "little"), np.uint8)
    assert _check_sums("INT8", baseline, array, outputs, sums) == 17 + 16
    outputs[10, 0] ^= 4
    message = (
        "INT8: the array must match the golden model; 1 of 33 sums differ, and no figures are given"
    )
    with pytest.raises(SimulationError, match=f"^{message}$"):
        _check_sums("INT8", baseline, array, outputs, sums)


@pytest.mark.parametrize(
    ("name", "size", "flip_flops", "results"),
    [(TERNARY_SYSTOLIC, 2, 4 * (2 + 8 + 21), 189 + 188), ("FP8 E5M2", 1, 125, 188)],
)
def test_a_small_array(osu018, name, size, flip_flops, results):
    if shutil.which("sta") is None:
        pytest.skip("sta is missing: apt-get install opensta")
    cell = measure_systolic(
        name, Library([osu018]), mapped_for_ghz=0.05, clock_ghz=0.05, size=size, tiles=3
    )
    assert (cell.format, cell.size, cell.met) == (name, size, True)
    assert cell.flip_flops == flip_flops
    assert cell.results == results
    hold_together(cell)


def hold_together(cell):
    kinds = cell.internal_fj + cell.switching_fj + cell.leakage_fj
    assert kinds == pytest.approx(cell.energy_fj, rel=1e-3)
    assert sum(cell.parts_fj.values()) == pytest.approx(cell.energy_fj, rel=1e-3)
    assert cell.met == (cell.max_ghz >= cell.clock_ghz)
    assert cell.with_ports_fj > cell.energy_fj
    assert cell.parts_fj.get("control", 0) < 0.02 * cell.energy_fj


@pytest.mark.parametrize("library", library_names())
def test_stored_cells_hold_together(library):
    table = load_table(library)
    expected = list(SYSTOLIC_FORMATS) if library == SEARCHED else []
    assert [one.format for one in table.systolic] == expected
    for cell in table.systolic:
        hold_together(cell)
        baseline = BASELINES[RIVALS[cell.format][0]]
        array = make_array(baseline, cell.size)
        assert (cell.sum_bits, cell.sum_cycles) == (array.sum_bits, array.sum_cycles)
        registers = array.weight_bits + array.activation_bits + array.sum_bits
        assert cell.flip_flops_per_mac >= registers
        if baseline.to is None:
            assert cell.flip_flops_per_mac == registers
        assert cell.results > 0.99 * cell.size * cell.tiles * cell.vectors
    for beside in systolic_beside(table):
        assert beside.dot_fj is not None


def test_cells_stand_beside_the_best_dot_product():
    table = load_table("asap7")
    old = made_systolic("FP16", 350.0, provenance={"method": METHOD - 1})
    ternary, fp16 = systolic_beside(replace(table, systolic=(made_systolic(TERNARY_SYSTOLIC), old)))
    assert (ternary.over_ternary, ternary.stale) == (1.0, False)
    assert (fp16.over_ternary, fp16.stale) == (360 / 50, True)
    dot = table.best("FP16", clock_ghz=0.5)
    assert (fp16.dot_variant, fp16.dot_fj) == (dot.variant, dot.with_ports_fj)
    assert fp16.over_dot == 360 / dot.with_ports_fj
    held = table.best("FP16", clock_ghz=0.5, operands="held-weights")
    assert fp16.held_fj == (held and held.with_ports_fj)
    (alone,) = systolic_beside(replace(table, rows=table.rows[:1], systolic=(old,)))
    assert (alone.over_ternary, alone.dot_fj, alone.over_dot) == (None, None, None)


def test_a_table_with_cells_is_read(tmp_path):
    both = made_systolic(TERNARY_SYSTOLIC), made_systolic("INT8", 70.0)
    assert read_table(stored(tmp_path, *map(asdict, both)), "x").systolic == both


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"format": "INT9"},
            f"systolic: 1: the key 'format' must be one of {', '.join(SYSTOLIC_FORMATS)}, not "
            "'INT9'",
        ),
        (
            {"format": TERNARY_SYSTOLIC},
            f"systolic: 1: {TERNARY_SYSTOLIC!r} must be there once; it is there before",
        ),
        *(
            (
                change,
                "systolic: 1: size and energy_fj must be above 0, and ports_fj 0 or more; measure "
                "it again",
            )
            for change in ({"size": 0}, {"energy_fj": 0.0}, {"ports_fj": -1.0})
        ),
        (
            {"energy_fj": float("inf")},
            "systolic: 1: the key 'energy_fj' must be finite; measure it again",
        ),
        (
            {"parts_fj": {"clock": float("inf")}},
            "systolic: 1: the key 'parts_fj' must be finite; measure it again",
        ),
        ({"size": "4"}, "systolic: 1: the key 'size' must be of type int, not '4'"),
        ({"met": None}, "systolic: 1: the key 'met' must be of type bool, not None"),
    ],
)
def test_damaged_cells_are_refused_by_their_place(tmp_path, changes, message):
    file = stored(
        tmp_path, asdict(made_systolic(TERNARY_SYSTOLIC)), asdict(made_systolic("INT8")) | changes
    )
    with pytest.raises(EstimateError, match=f"^{re.escape(f'{file}: {message}')}$"):
        read_table(file, "x")


def test_arrays_and_cells_are_stored_together(tmp_path, monkeypatch):
    """Each cell is a line of the file, and other entries stay."""
    monkeypatch.setattr(campaign, "Library", lambda files: None)
    monkeypatch.setattr(campaign, "measure_arrays", lambda files, name: load_table(name).arrays[:1])
    monkeypatch.setattr(
        campaign, "measure_systolic", lambda name, library: made_systolic(name, 1 / 3 + 40)
    )
    file = stored(tmp_path)
    table = json.loads(file.read_text())
    (tmp_path / "gate-x.json").write_text(json.dumps(table | {"library": "asap7"}))
    seen = []
    found = campaign.store_arrays(
        file, library="asap7", liberty=[], progress=lambda *step: seen.append(step)
    )
    assert [one["format"] for one in found["systolic"]] == list(SYSTOLIC_FORMATS)
    assert seen[1] == (1, 10, f"systolic, {SYSTOLIC_FORMATS[0]}")
    assert seen[-1] == (10, 10, "")
    again = read_table(file, "asap7")
    assert [one.energy_fj for one in again.systolic] == [40.333] * 9
    assert (len(again.arrays), len(again.rows)) == (1, len(table["rows"]))
    assert sum(line.startswith('{"format": ') for line in file.read_text().splitlines()) == 9

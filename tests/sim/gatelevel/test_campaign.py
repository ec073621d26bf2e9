import json
from dataclasses import asdict

import pytest

from trilith.sim.gatelevel import table as table_module
from trilith.sim.gatelevel.campaign import _put, _store, store_sram
from trilith.sim.gatelevel.table import load_table
from trilith.sim.tools.errors import EstimateError


def row(unit, key, *, date="today", clock=1.0, glitches=None, placed=None):
    return {
        **{"unit": unit, "lanes": 16, "rows": 1, "levels_per_stage": 1, "variant": ""},
        **{"operands": "trained"},
        **{"clock_ghz": clock, "key": key, "library": "x", "label": "measured"},
        **{"glitches_fj": glitches, "glitch_transitions": glitches, "provenance": {"date": date}},
        "placed": placed,
    }


def empty():
    return {"library": "x", "node": "1 nm", "provenance": [], "sram": [], "rows": []}


def test_a_row_replaces_the_one_it_measures_again():
    table = empty()
    _put(table, row("b", "1"))
    _put(table, row("a", "2", clock=0.5))
    _put(table, row("a", "3"))
    _put(table, row("b", "4", date="tomorrow"))
    assert [(one["unit"], one["key"]) for one in table["rows"]] == [
        ("a", "2"),
        ("a", "3"),
        ("b", "4"),
    ]
    assert [one["provenance"] for one in table["rows"]] == [0, 0, 1]
    assert "library" not in table["rows"][0]


def test_glitches_stay_while_the_unit_does():
    table = empty()
    _put(table, row("a", "1", glitches=2.0))
    _put(table, row("a", "1"))
    assert table["rows"][0]["glitches_fj"] == 2.0
    _put(table, row("a", "2"))
    assert table["rows"][0]["glitches_fj"] is None


def test_a_placement_and_glitches_are_measured_one_after_the_other():
    table = empty()
    _put(table, row("a", "1", placed={"energy_fj": 3.0}))
    _put(table, row("a", "1", glitches=2.0))
    (found,) = table["rows"]
    assert (found["glitches_fj"], found["placed"]) == (2.0, {"energy_fj": 3.0})
    _put(table, row("a", "2"))
    assert table["rows"][0]["placed"] is None


def test_origins_that_no_row_has_are_left_out(tmp_path):
    table = empty()
    _put(table, row("a", "1", date="yesterday"))
    _put(table, row("b", "1", date="today"))
    _put(table, row("a", "2", date="today"))
    file = tmp_path / "folder" / "gate-x.json"
    _store(file, table)
    stored = json.loads(file.read_text())
    assert stored["provenance"] == [{"date": "today"}]
    assert [one["provenance"] for one in stored["rows"]] == [0, 0]
    # A row is a line, so that what changed can be seen.
    assert file.read_text().count('\n{"unit": ') == 2
    assert list(file.parent.iterdir()) == [file]


def test_a_table_of_an_older_version_is_kept_until_it_is_measured_again(tmp_path, monkeypatch):
    measured = load_table("asap7").rows[:3]
    monkeypatch.setattr(table_module, "_DATA", tmp_path)
    origins, rows = ["today"], []
    for place, one in enumerate(measured):
        rows.append(asdict(one) | {"key": str(place), "provenance": 0})
    del rows[1]["ports_fj"]
    file = tmp_path / "gate-x.json"
    stored = {"library": "x", "node": "1 nm", "provenance": origins, "sram": [], "rows": rows}
    file.write_text(json.dumps(stored))
    message = (
        "the table must have rows of this version; it has older ones: 'trilith characterize --all'"
    )
    with pytest.raises(EstimateError, match=message):
        load_table("x")
    store_sram(file, library="x", node="", macros=[])
    assert len(json.loads(file.read_text())["rows"]) == 3


def test_a_table_without_rows_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(table_module, "_DATA", tmp_path)
    store_sram(tmp_path / "gate-x.json", library="x", node="1 nm", macros=[])
    with pytest.raises(
        EstimateError, match="the table must have a row or more: 'trilith characterize"
    ):
        load_table("x")

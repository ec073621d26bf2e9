import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import trilith.fpga
from trilith.fpga.boards import BOARDS, SOCS
from trilith.hw.config import WeightCode
from trilith.reports.fpga import board_rows
from trilith.sim.cost.model_shapes import find_model

STORED = sorted(
    file
    for file in (Path(trilith.fpga.__file__).parent / "data").glob("*.json")
    if file.stem != "token-core"  # No board: tests/reports/test_area.py has it.
)


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.stem)
def test_what_is_stored_was_measured_of_the_board_as_it_is(file):
    stored = json.loads(file.read_text())
    board = (BOARDS | SOCS)[file.stem]
    assert stored["board"] == board.name
    assert stored["device"] == board.device
    assert stored | json.loads(json.dumps(board.design)) == stored
    if stored["mhz"] is None:
        assert stored["met"] is None
        assert "not placed" in stored["note"]
    else:
        assert stored["met"] == (stored["mhz"] >= stored["clock_mhz"])
    assert all(use["used"] <= use["available"] for use in stored["used"].values())
    assert Path(stored["file"]).name == stored["file"]


def test_what_was_measured_of_another_design_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path))
    folder = tmp_path / "fpga" / "icebreaker"
    folder.mkdir(parents=True)

    def measured(**change):
        design = asdict(BOARDS["icebreaker"].top) | change
        (folder / "summary.json").write_text(json.dumps({"top": design, "mhz": 12.5}))
        (row,) = (row for row in board_rows() if row.name == "icebreaker")
        return row.measured and row.measured["mhz"]

    assert measured() == 12.5
    assert measured(baud=1_000_000) != 12.5


def test_bytes_of_weights_are_those_of_the_code(monkeypatch):
    soc = SOCS["kv260"]
    weights = find_model("bitnet-2b4t").linear_weights
    rates = {}
    for code, trits_per_byte in ((WeightCode.ESCAPE, 5), (WeightCode.TWO_BIT, 4)):
        engine = replace(soc.core.engine, code=code)
        monkeypatch.setitem(SOCS, "kv260", replace(soc, core=replace(soc.core, engine=engine)))
        monkeypatch.setitem(
            BOARDS,
            "icebreaker",
            replace(
                BOARDS["icebreaker"],
                top=replace(
                    BOARDS["icebreaker"].top,
                    engine=replace(BOARDS["icebreaker"].top.engine, code=code),
                ),
            ),
        )
        rows = {row.name: row for row in board_rows()}
        compute = engine.lanes * engine.rows / trits_per_byte * soc.clock_hz
        slowest = min(SOCS["kv260"].weight_bytes_per_second, compute)
        assert rows["kv260"].big_memory_tokens == pytest.approx(
            slowest / (weights / trits_per_byte)
        )
        rates[code] = rows["icebreaker"].big_seconds
    assert rates[WeightCode.TWO_BIT] == pytest.approx(rates[WeightCode.ESCAPE] * 5 / 4)

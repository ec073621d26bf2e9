import csv
import json

import pytest

from trilith.reports.figures.layouts import LAYOUTS, unpack_layout
from trilith.reports.figures.plots import draw


@pytest.fixture(scope="module")
def stored():
    return json.loads(LAYOUTS.read_text())


def test_stored_cells_do_not_overlap_and_fill_the_core(stored):
    assert LAYOUTS.stat().st_size < 150_000
    assert [unit["unit"] for unit in stored["units"]] == [
        *("ternaryxint8-escape", "fp16xfp16-fp32-fused")
    ]
    for unit in stored["units"]:
        ends, area = {}, 0
        for part, start, width, row in unpack_layout(unit):
            assert part in unit["parts"]
            assert start >= ends.get(row, 0) - 1  # Sites are rounded.
            ends[row] = start + width
            area += width
        assert max(ends.values()) * stored["site"] <= unit["width"] + 0.1
        assert max(ends) < len(unit["rows"])
        filled = area * stored["site"] * unit["row_height"] / unit["width"] / unit["height"]
        assert filled == pytest.approx(0.7, abs=0.01)


def test_the_figure_counts_the_cells_of_each_part(stored, tmp_path):
    draw(tmp_path, ["gate_layout"])
    with open(tmp_path / "gate_layout.csv") as file:
        rows = list(csv.DictReader(file))
    for unit in stored["units"]:
        cells = sum(len(parts) for parts, _ in unit["rows"])
        assert sum(int(row["cells"]) for row in rows if row["unit"] == unit["unit"]) == cells

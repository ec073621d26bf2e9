"""Figures of the token core, with cycles by a formula instead of the cycle model."""

import csv
import re

import pytest

from trilith.reports.figures import core
from trilith.reports.figures.plots import draw
from trilith.sim.cost.core.core import PARTS
from trilith.sim.cost.core.cycles import CoreCycles


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Cycles of which attention takes 1000 for each token, and norms 8000 / vector lanes."""
    calls = []

    def cycles(config, sizes, *, position):
        calls.append((config, position))
        parts = dict.fromkeys(PARTS, 500_000)
        parts["attention"] = 1000 * (position + 1)
        parts["norms"] = 8000 // config.vector_lanes
        return CoreCycles(cycles=sum(parts.values()), by_part=parts)

    monkeypatch.setattr(core, "extended_cycles", cycles)
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path / "build"))
    return calls


def rows(folder, name):
    with open(folder / f"{name}.csv") as file:
        return list(csv.DictReader(file))


def test_cycles_by_context(calls, tmp_path):
    draw(tmp_path, ["core_context"])
    found = {(int(row["context"]), row["part"]): row for row in rows(tmp_path, "core_context")}
    assert float(found[4096, "attention"]["mega_cycles"]) == pytest.approx(4.096)
    assert float(found[1, "rest"]["mega_cycles"]) == 1
    assert len(found) == len(calls) * 6
    text = re.sub(r"\s+", " ", (tmp_path / "core_context.svg").read_text())
    assert "Modelled by the cycle model, which equals the RTL: 64x20x1 base3, 8 vector" in text
    assert "context (tokens)" in text
    assert "cycles of a token (10⁶)" in text


def test_cycles_by_width_are_kept(calls, tmp_path):
    draw(tmp_path, ["core_lanes"])
    norms = [
        float(row["mega_cycles"])
        for row in rows(tmp_path, "core_lanes")
        if (row["width"], row["part"]) == ("vector_lanes", "norms, quantizers")
    ]
    assert norms == [0.008, 0.004, 0.002, 0.001, 0.0005]
    # The core with the widths of the preset is in both panels.
    assert len(calls) == 5 + 6 - 1
    draw(tmp_path, ["core_lanes"], force=True)
    assert len(calls) == 10
    assert "+0%" in (tmp_path / "core_lanes.svg").read_text()

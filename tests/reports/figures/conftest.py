"""Cycles of the token core without its cycle model."""

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from trilith.reports.figures import core

FOLDER = Path(core.__file__).parent


@pytest.fixture
def kept_cycles(monkeypatch):
    """Cycles of the token core from the drawn files, as the cycle model takes a minute."""
    kept = defaultdict(dict)
    for name in ("core_context", "core_lanes"):
        with open(FOLDER / f"{name}.csv", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                config, context = core.CONFIG, core.CONTEXT
                if "width" in row:
                    config = replace(config, **{row["width"]: int(row["lanes"])})
                context = int(row.get("context", core.CONTEXT))
                kept[config, context][row["part"]] = float(row["mega_cycles"])
    monkeypatch.setattr(core, "shown", lambda *key: {part: kept[key][part] for part in core.SHOWN})

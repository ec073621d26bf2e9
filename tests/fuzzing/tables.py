"""Target: the stored table of a cell library, from which a core for ZigZag is made."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from trilith.hw import PRESETS
from trilith.sim.cost.zigzag import zigzag_core
from trilith.sim.gatelevel.table import table_file

from .campaign import Target
from .mutation import Object, to_json

_ENGINE = replace(PRESETS["block"], code="escape")
_LIBRARY = "ihp-sg13g2"
_FILE = table_file(_LIBRARY).name


def _tree() -> Object:
    """The rows of the engine's unit, and one memory macro."""
    table = json.loads(table_file(_LIBRARY).read_bytes())
    shape = {"unit": "ternaryxint8-escape", "lanes": 16, "rows": 1, "levels_per_stage": 1}
    shape["operands"] = "trained"
    table["rows"] = [row for row in table["rows"] if all(row[x] == y for x, y in shape.items())]
    table["sram"] = [one for one in table["sram"] if one["bits"] == 64][:2]
    return Object.of(table)


def _read(folder: Path) -> dict[str, Any]:
    with mock.patch("trilith.sim.gatelevel.table._DATA", folder):
        core = zigzag_core(_ENGINE, library=_LIBRARY, memory="ddr4")
    assert core.text.isprintable() or core.text.replace("\n", "").isprintable()
    return json.loads(json.dumps(core.as_dict(), allow_nan=False))


TARGETS = [
    Target(
        name="table",
        tree=_tree(),
        dump=lambda tree: {_FILE: to_json(tree).encode()},
        read=_read,
        naive=None,
        share=10_000,
    ),
]

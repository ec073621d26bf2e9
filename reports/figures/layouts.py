"""Program that stores the placements of two units in ASAP7 for the figure ``gate_layout``.

``make tables`` runs it with the Liberty files of ASAP7 as arguments.
"""

import json
import sys
from pathlib import Path
from typing import Any

from ...golden.files import write_text
from ...hw.baselines import DotConfig
from ...sim.gatelevel.characterize import K_MAX, Task
from ...sim.gatelevel.library import Library
from ...sim.gatelevel.placed import Layout, lay_out
from ...sim.gatelevel.synthesis import map_component
from ...sim.gatelevel.table import FP16_UNIT, LANES

__all__ = ["LAYOUTS", "pack_layout", "unpack_layout"]

LAYOUTS = Path(__file__).parent / "layouts.json"

_LIBRARY = "asap7"
_LEVELS = 4
_PERIOD_PS = 1000

#: Unit of stored lengths in µm: the width of a site in ASAP7.
_SITE = 0.054

#: A cell as it is drawn: part, lower left corner and width in sites, and row.
_Cell = tuple[str, int, int, int]


def pack_layout(layout: Layout) -> dict[str, Any]:
    """Make a small JSON object of a layout.

    Returns
    -------
    Size and height of rows in µm; the names of parts; for each row of cells the number of the part
    of each, and the gap before it and its width in sites; and the places of the clock tree's
    buffers in µm
    """
    placement = layout.placement
    owners = layout.netlist.owners()
    parts = sorted({owners[name] for name in owners if name not in layout.tree.places})
    rows: list[list[tuple[float, float, int]]] = [
        [] for _ in range(round(placement.height / placement.row_height))
    ]
    names = [name for name in layout.netlist.instances if name not in layout.tree.places]
    for name, (x, y), width in zip(names, placement.lower, placement.widths, strict=True):
        row = round(y / placement.row_height)
        rows[row].append((float(x), float(width), parts.index(owners[name])))
    packed = []
    for cells in rows:
        end, line = 0, [[], []]
        for x, width, part in sorted(cells):
            start = round(x / _SITE)
            line[0].append(str(part))
            line[1] += [start - end, round(width / _SITE)]
            end = start + round(width / _SITE)
        packed.append(["".join(line[0]), line[1]])
    return {
        "width": placement.width,
        "height": placement.height,
        "row_height": placement.row_height,
        "parts": parts,
        "rows": packed,
        "buffers": [[round(x, 2), round(y, 2)] for x, y in layout.tree.places.values()],
    }


def unpack_layout(packed: dict[str, Any]) -> list[_Cell]:
    """List the cells of a packed layout: part, first site, sites, and row."""
    cells = []
    for row, (parts, numbers) in enumerate(packed["rows"]):
        end = 0
        for part, gap, width in zip(parts, numbers[::2], numbers[1::2], strict=True):
            cells.append((packed["parts"][int(part)], end + gap, width, row))
            end += gap + width
    return cells


def main() -> None:
    """Place the units, and write ``layouts.json``."""
    library = Library([Path(file) for file in sys.argv[1:]])
    units = []
    for name in ("ternaryxint8-escape", FP16_UNIT):
        config = DotConfig(lanes=LANES, k_max=K_MAX, levels_per_stage=_LEVELS)
        unit = Task(unit=name, config=config, sources=()).make_unit()
        layout = lay_out(map_component(unit, library, _PERIOD_PS), _LIBRARY)
        units.append({"unit": name} | pack_layout(layout))
    head = {"library": _LIBRARY, "lanes": LANES, "levels_per_stage": _LEVELS, "site": _SITE}
    text = json.dumps(head | {"units": units}, separators=(",", ":"))
    # A row of cells is a line.
    write_text(LAYOUTS, text.replace('],["', '],\n["') + "\n", force=True)


if __name__ == "__main__":
    main()

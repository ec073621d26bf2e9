"""Program that places the cells of ``circuit.json`` with Coloquinte, and writes ``places.json``.

It is a process of its own, because Coloquinte prints its progress on standard output.
"""

import json
from pathlib import Path

__all__: list[str] = []

#: Effort of Coloquinte from 1 to 9; above 3 wires get less than 1 % shorter.
_EFFORT = 3
_SEED = 1


def _place() -> None:
    from coloquinte_pybind import Circuit, ColoquinteParameters, Rectangle

    given = json.loads(Path("circuit.json").read_text())
    height, widths, ports = given["row_height"], given["widths"], given["ports"]
    cells, pads = len(widths), len(ports)
    circuit = Circuit(cells + pads)
    circuit.cell_width = widths + [0] * pads
    circuit.cell_height = [height] * cells + [0] * pads
    circuit.cell_is_fixed = [False] * cells + [True] * pads
    circuit.cell_is_obstruction = [True] * cells + [False] * pads
    circuit.cell_x = [0] * cells + [x for x, _ in ports]
    circuit.cell_y = [0] * cells + [y for _, y in ports]
    middles = [width // 2 for width in widths] + [0] * pads
    for pins in given["nets"]:
        heights = [height // 2 if pin < cells else 0 for pin in pins]
        circuit.add_net(pins, [middles[pin] for pin in pins], heights)
    circuit.setup_rows(Rectangle(0, given["width"], 0, given["height"]), height, True, True)
    circuit.check()
    parameters = ColoquinteParameters(_EFFORT, _SEED)
    circuit.place_global(parameters, None)
    circuit.place_detailed(parameters, None)
    places = [circuit.cell_x[:cells], circuit.cell_y[:cells]]
    Path("places.json").write_text(json.dumps(places))


if __name__ == "__main__":
    _place()

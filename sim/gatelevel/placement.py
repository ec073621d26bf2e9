"""Placement of netlists by Coloquinte, and the nets whose wires it decides.

A cell is as wide as its area over the height of a row says, with its pins in the middle. The core
is square, and cells fill 70 % of it. Ports stand at its edge: inputs at the left, upper and right
sides in the order of their lanes, outputs at the lower side.
"""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..tools.cache import keep
from ..tools.errors import EstimateError
from ..tools.run import run_program
from ..tools.toolchain import ToolchainError, remedy
from . import placer
from .netlist import Net, Netlist
from .wires import Point

__all__ = ["UTILIZATION", "Placement", "place", "placer_version"]

#: Share of the core that cells fill.
UTILIZATION = 0.7

#: Units of length per µm.
_UNITS = 1000


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Places of the cells and ports of a netlist, in µm.

    Parameters
    ----------
    width, height : size of the core
    row_height : height of a row of cells
    lower, widths : float64[cells, 2] lower left corners and float64[cells] widths of the cells, in
        the order of ``Netlist.instances``
    ports : the nets at the edge, and their places
    """

    width: float
    height: float
    row_height: float
    lower: NDArray[np.float64]
    widths: NDArray[np.float64]
    ports: list[tuple[Net, Point]]

    def middle(self, cell: int) -> Point:
        """Return the place of the pins of a cell, by its place in ``Netlist.instances``."""
        x, y = self.lower[cell]
        return float(x + self.widths[cell] / 2), float(y + self.row_height / 2)

    def pins(self, netlist: Netlist) -> dict[Net, list[Point]]:
        """Collect the places of the pins and ports of each net but the clock and constants."""
        found: dict[Net, list[Point]] = {net: [point] for net, point in self.ports}
        for net, cells in _pins(netlist).items():
            found.setdefault(net, []).extend(self.middle(cell) for cell in cells)
        return found


def placer_version() -> str:
    """Return the version of Coloquinte.

    Raises
    ------
    ToolchainError
        If it is not installed.
    """
    try:
        return metadata.version("coloquinte")
    except metadata.PackageNotFoundError:
        raise ToolchainError(
            f"the Python package coloquinte was not found: {remedy('coloquinte')}"
        ) from None


def place(netlist: Netlist, row_height: float) -> Placement:
    """Place the cells of a netlist; equal netlists get equal placements.

    The result is kept in the build folder.

    Parameters
    ----------
    netlist : the netlist
    row_height : height of a row of cells in µm

    Returns
    -------
    The placement, without the cells of a clock tree.

    Raises
    ------
    EstimateError
        If a cell has no area.
    ToolchainError
        If Coloquinte is missing or fails.
    """
    version = placer_version()
    flat = {i.cell.name for i in netlist.instances.values() if i.cell.area <= 0}
    if flat:
        raise EstimateError(
            f"the library gives no area for {', '.join(sorted(flat))}, which a placement needs"
        )
    row = round(row_height * _UNITS)
    areas = [instance.cell.area for instance in netlist.instances.values()]
    widths = [max(1, round(area / row_height * _UNITS)) for area in areas]
    rows = math.ceil(math.sqrt(sum(widths) / UTILIZATION / row))
    width, height = math.ceil(sum(widths) / UTILIZATION / rows), rows * row
    ports = list(_ports(netlist, width, height))
    pins = _pins(netlist)
    for place_of_port, (net, _) in enumerate(ports, len(widths)):
        pins.setdefault(net, []).append(place_of_port)
    circuit = {
        "row_height": row,
        "width": width,
        "height": height,
        "widths": widths,
        "ports": [place_of_port for _, place_of_port in ports],
        "nets": [cells for cells in pins.values() if len(cells) > 1],
    }
    text = json.dumps(circuit)
    script = Path(placer.__file__)
    with keep("placement", "\0".join([version, script.read_text(), text])) as (folder, making):
        if making is not None:
            (making / "circuit.json").write_text(text)
            command = [sys.executable, script]
            run_program(
                command, folder=making, log=making / "coloquinte.log", makes=["places.json"]
            )
    xs, ys = json.loads((folder / "places.json").read_text())
    return Placement(
        width=width / _UNITS,
        height=height / _UNITS,
        row_height=row_height,
        lower=np.array([xs, ys]).T / _UNITS,
        widths=np.array(widths) / _UNITS,
        ports=[(net, (x / _UNITS, y / _UNITS)) for net, (x, y) in ports],
    )


def _pins(netlist: Netlist) -> dict[Net, list[int]]:
    """List the cells at each net but the clock and constants, one time for each pin."""
    pins: dict[Net, list[int]] = {}
    for place_of_cell, instance in enumerate(netlist.instances.values()):
        for net in instance.nets.values():
            if isinstance(net, int) and net != netlist.clock:
                pins.setdefault(net, []).append(place_of_cell)
    return pins


def _ports(netlist: Netlist, width: int, height: int) -> Iterator[tuple[Net, tuple[int, int]]]:
    """Place the bits of ports at the edge, equally far from each other."""
    sides: list[list[Net]] = []
    for direction in ("input", "output"):
        bits = [
            (place_in_port / len(nets), name, place_in_port, net)
            for name, nets in netlist.bits(direction)
            for place_in_port, net in enumerate(nets)
            if isinstance(net, int)
        ]
        sides.append([net for *_, net in sorted(bits)])
    inputs, outputs = sides
    around = 2 * height + width
    for index, net in enumerate(inputs):
        along = int((index + 0.5) / len(inputs) * around)
        if along < height:
            yield net, (0, along)
        elif along < height + width:
            yield net, (along - height, height)
        else:
            yield net, (width, around - along)
    for index, net in enumerate(outputs):
        yield net, (int((index + 0.5) / len(outputs) * width), 0)

"""Clock trees over placed flip-flops, of one buffer of the library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..tools.errors import EstimateError
from .library import Cell, Library
from .netlist import Instance, Net, Netlist
from .placement import Placement
from .wires import Point, WireTechnology, steiner_length

__all__ = ["ClockTree", "grow_clock_tree"]

#: Most flip-flops or buffers that a buffer drives, as in OpenROAD's clock tree synthesis
#: (``sink_clustering_size``).
_FAN_OUT = 20


@dataclass(frozen=True, kw_only=True)
class ClockTree:
    """Clock tree of a placed netlist.

    Parameters
    ----------
    buffers : the buffers by their names in the netlist
    places : their places in µm
    leaves : net at the clock pin of each flip-flop, by its name in the netlist
    lengths : length of the wire of each net in µm
    """

    buffers: dict[str, Instance]
    places: dict[str, Point]
    leaves: dict[str, Net]
    lengths: dict[Net, float]


@dataclass(frozen=True, kw_only=True)
class _Sink:
    """A pin that the clock drives: name of its cell, place, and capacitance in fF."""

    name: str
    place: Point
    load_ff: float


def grow_clock_tree(
    netlist: Netlist, placement: Placement, technology: WireTechnology
) -> ClockTree:
    """Cluster the flip-flops by their places, then the buffers of the clusters, up to one buffer.

    A cluster is halved across its longer side. All flip-flops have the same number of buffers
    between them and the clock port, which stands in the middle of the lower side.

    Parameters
    ----------
    netlist, placement : the netlist and its places
    technology : names the buffer, and gives the capacitance of wires

    Returns
    -------
    The tree; each buffer drives at most 20 pins, and at most its ``max_capacitance``.

    Raises
    ------
    EstimateError
        If the library does not have the buffer, or it cannot drive two flip-flops.
    """
    buffer = _find_buffer(netlist.library, technology.clock_buffer)
    scale = netlist.library.corner.farads * 1e15
    most_ff = math.inf if buffer.max_load is None else buffer.max_load * scale
    pin = buffer.inputs[0]
    sinks = [
        _Sink(
            name=name,
            place=placement.middle(index),
            load_ff=instance.cell.loads[instance.cell.flip_flop.clock] * scale,
        )
        for index, (name, instance) in enumerate(netlist.instances.items())
        if instance.cell.flip_flop
    ]
    tree = ClockTree(buffers={}, places={}, leaves={}, lengths={})
    at: dict[str, Net] = {}
    while True:
        clusters = _clusters(sinks, technology, most_ff)
        above = []
        for cluster in clusters:
            name, net = f"c{len(netlist.instances) + len(tree.buffers)}", f"k{len(tree.buffers)}"
            place = _median([sink.place for sink in cluster])
            tree.buffers[name] = Instance(
                cell=buffer, register="", nets={pin: netlist.clock, buffer.outputs[0][0]: net}
            )
            tree.places[name] = place
            tree.lengths[net] = steiner_length([place, *(sink.place for sink in cluster)])
            at |= {sink.name: net for sink in cluster}
            above.append(_Sink(name=name, place=place, load_ff=buffer.loads[pin] * scale))
        sinks = above
        if len(sinks) == 1:
            break
    tree.lengths[netlist.clock] = steiner_length([(placement.width / 2, 0.0), sinks[0].place])
    for name, net in at.items():
        if name in tree.buffers:
            tree.buffers[name].nets[pin] = net
        else:
            tree.leaves[name] = net
    return tree


def _find_buffer(library: Library, name: str) -> Cell:
    """Find the buffer of the clock tree."""
    cell = library.cells.get(name)
    if cell is None or not cell.is_buffer:
        files = ", ".join(one["file"] for one in library.provenance)
        raise EstimateError(f"{files}: the buffer {name} of the clock tree is missing")
    return cell


def _clusters(
    sinks: Sequence[_Sink], technology: WireTechnology, most_ff: float
) -> list[list[_Sink]]:
    """Divide sinks into clusters that a buffer can drive."""
    fan_out = _FAN_OUT
    while True:
        clusters = _halve(list(sinks), math.ceil(len(sinks) / fan_out))
        largest = max(
            sum(sink.load_ff for sink in cluster)
            + technology.clock_ff_per_um * steiner_length([sink.place for sink in cluster])
            for cluster in clusters
        )
        if largest <= most_ff:
            return clusters
        if fan_out == 2:
            raise EstimateError(
                f"the buffer {technology.clock_buffer} must drive two pins of the clock, "
                f"{largest:.3g} fF with their wire, and drives {most_ff:.3g} fF at most"
            )
        fan_out = max(2, fan_out * 3 // 4)


def _halve(sinks: list[_Sink], count: int) -> list[list[_Sink]]:
    """Divide sinks into a number of clusters of almost equal size, by their places."""
    if count == 1:
        return [sinks]
    xs, ys = zip(*(sink.place for sink in sinks), strict=True)
    axis = 0 if max(xs) - min(xs) >= max(ys) - min(ys) else 1
    ordered = sorted(sinks, key=lambda sink: (sink.place[axis], sink.place[1 - axis], sink.name))
    left = count // 2
    cut = round(len(sinks) * left / count)
    return [*_halve(ordered[:cut], left), *_halve(ordered[cut:], count - left)]


def _median(places: Sequence[Point]) -> Point:
    xs, ys = (sorted(axis) for axis in zip(*places, strict=True))
    return xs[len(xs) // 2], ys[len(ys) // 2]

"""Wires of placed netlists: their capacitance per length, and their length."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..tools.errors import EstimateError

__all__ = ["Point", "WireTechnology", "steiner_length", "wire_technology"]

_FILE = Path(__file__).parent / "data" / "wires.toml"

#: A place in µm.
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class WireTechnology:
    """Entry of ``data/wires.toml``, which documents the fields."""

    row_height_um: float
    signal_ff_per_um: float
    clock_ff_per_um: float
    clock_buffer: str
    source: str


@cache
def _technologies() -> dict[str, WireTechnology]:
    table = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return {name: WireTechnology(**entry) for name, entry in table.items()}


def wire_technology(library: str) -> WireTechnology:
    """Find the wires of a library.

    Parameters
    ----------
    library : name of the library, as in its table

    Raises
    ------
    EstimateError
        If the row height and the wires of the library are not known.
    """
    found = _technologies().get(library)
    if found is None:
        raise EstimateError(
            f"{_FILE}: the row height and the wires of the library {library!r} are missing, which "
            f"a placement needs; give one of {', '.join(_technologies())}, or add an entry"
        )
    return found


def _distance(one: Point, other: Point) -> float:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def _middle(one: float, two: float, three: float) -> float:
    return max(min(one, two), min(max(one, two), three))


def steiner_length(points: Sequence[Point]) -> float:
    """Estimate the length of the shortest rectilinear tree through points.

    It is exact up to three points. For more, a minimum spanning tree (R. C. Prim, 1957) is
    shortened as long as possible: two edges with a common end meet in a new point instead, the
    median of the three ends (M. Borah, R. M. Owens, M. J. Irwin: An edge-based heuristic for
    Steiner routing, IEEE TCAD 13(12), 1994, without its removal of loops).

    Parameters
    ----------
    points : places in µm, in any order; equal ones count once

    Returns
    -------
    The length in µm.
    """
    nodes = sorted(set(points))
    if len(nodes) < 4:
        xs, ys = zip(*nodes, strict=True)
        return max(xs) - min(xs) + max(ys) - min(ys)
    edges = _spanning_tree(nodes)
    length = sum(_distance(nodes[i], nodes[j]) for i, near in enumerate(edges) for j in near) / 2
    pending = list(range(len(nodes)))
    while pending:
        node = pending.pop()
        best, pair, place = 1e-9, None, nodes[node]
        near = sorted(edges[node])
        for position, i in enumerate(near):
            for j in near[position + 1 :]:
                ends = nodes[node], nodes[i], nodes[j]
                x, y = (_middle(*axis) for axis in zip(*ends, strict=True))
                gain = (
                    _distance(ends[0], ends[1])
                    + _distance(ends[0], ends[2])
                    - sum(_distance((x, y), end) for end in ends)
                )
                if gain > best:
                    best, pair, place = gain, (i, j), (x, y)
        if pair is None:
            continue
        length -= best
        new = len(nodes)
        nodes.append(place)
        edges.append({node, *pair})
        for end in pair:
            edges[node].remove(end)
            edges[end].remove(node)
            edges[end].add(new)
        edges[node].add(new)
        pending += [node, *pair, new]
    return length


def _spanning_tree(nodes: Sequence[Point]) -> list[set[int]]:
    """Find the neighbors of each point in a minimum spanning tree."""
    edges: list[set[int]] = [set() for _ in nodes]
    nearest = {i: (_distance(nodes[0], nodes[i]), 0) for i in range(1, len(nodes))}
    while nearest:
        node = min(nearest, key=lambda i: (nearest[i], i))
        _, parent = nearest.pop(node)
        edges[node].add(parent)
        edges[parent].add(node)
        for other, (before, _) in nearest.items():
            distance = _distance(nodes[node], nodes[other])
            if distance < before:
                nearest[other] = distance, node
    return edges

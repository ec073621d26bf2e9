import itertools
import re

import numpy as np
import pytest

from trilith.sim.gatelevel.wires import _FILE, steiner_length, wire_technology
from trilith.sim.tools.errors import EstimateError


def spanning_tree(points):
    """Kruskal's algorithm."""
    pairs = itertools.combinations(range(len(points)), 2)
    distances = sorted(
        (abs(points[i][0] - points[j][0]) + abs(points[i][1] - points[j][1]), i, j)
        for i, j in pairs
    )
    group, total = list(range(len(points))), 0
    for distance, i, j in distances:
        if group[i] != group[j]:
            total += distance
            group = [group[i] if one == group[j] else one for one in group]
    return total


def shortest_tree(points):
    """Try all sets of crossings of the points' lines (M. Hanan, 1966)."""
    grid = set(itertools.product(*({p[axis] for p in points} for axis in (0, 1)))) - set(points)
    most = len(points) - 2
    sets = itertools.chain(*(itertools.combinations(sorted(grid), n) for n in range(most + 1)))
    return min(spanning_tree([*points, *more]) for more in sets)


@pytest.mark.parametrize(
    ("points", "length"),
    [
        ([(1, 1)], 0),
        ([(0, 0), (3, 4)], 7),
        ([(0, 0), (2, 5), (4, 1)], 9),
        ([(1, 0), (0, 1), (2, 1), (1, 2)], 4),
        ([(0, 0), (0, 0), (0, 5), (0, 5), (0, 2), (0, 4)], 5),
    ],
)
def test_lengths_by_hand(points, length):
    assert steiner_length(points) == pytest.approx(length)


def test_lengths_are_close_to_the_shortest():
    generator = np.random.default_rng(1)
    ratios = []
    for count in (4, 4, 4, 5, 5, 5, 5):
        for _ in range(4):
            points = [(int(x), int(y)) for x, y in generator.integers(0, 30, (count, 2))]
            points = list(set(points))
            shortest = shortest_tree(points)
            found = steiner_length(points)
            assert shortest <= found + 1e-9 <= spanning_tree(points) + 2e-9
            ratios.append(found / shortest)
    assert np.mean(ratios) < 1.015


@pytest.mark.parametrize(("pins", "ratio"), [(4, 1.0828), (6, 1.2206), (10, 1.4493), (20, 1.8924)])
def test_ratios_to_the_half_perimeter_are_published(pins, ratio):
    """C.-L. E. Cheng: RISA, ICCAD 1994, table of net weighting factors."""
    generator = np.random.default_rng(2)
    found = []
    for _ in range(300):
        points = [(float(x), float(y)) for x, y in generator.random((pins, 2))]
        xs, ys = zip(*points, strict=True)
        found.append(steiner_length(points) / (max(xs) - min(xs) + max(ys) - min(ys)))
    assert np.mean(found) == pytest.approx(ratio, rel=0.025)


def test_a_library_without_wires_is_one_line():
    message = (
        f"{_FILE}: the row height and the wires of the library 'mine' are missing, which a "
        "placement needs; give one of asap7, sky130hd, ihp-sg13g2, gt2n, osu018, or add an entry"
    )
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        wire_technology("mine")

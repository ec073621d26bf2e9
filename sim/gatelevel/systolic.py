# amaranth: UnusedElaboratable=no
"""Energy of systolic arrays with stationary weights, in each number format."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...golden.codes import Code
from ...golden.floats import FP32, FloatFormat, multiply
from ...hw.baselines import BASELINES, Baseline, DotConfig, SystolicArray
from ...hw.baselines.baseline import pack_values
from ..rtl.clocked import port_rows
from ..tools.errors import SimulationError
from .characterize import K_MAX, energies, origin, port_width
from .interpreter import run_netlist
from .library import Library
from .operands import Tile, make_tiles, share_of_zeros
from .power import measure_power
from .rivals import RIVALS
from .synthesis import map_component
from .systolic_energy import SystolicEnergy
from .table import LANES

__all__ = ["make_array", "measure_systolic"]

#: Rows and columns of the arrays: as many MACs per cycle as dot products have lanes.
SIZE = 4

#: Tiles of a measurement: nine of each layer of the trained network.
TILES = 27

#: Vectors for which the weights of a tile stay.
VECTORS = 64

_Ints = NDArray[np.int64]
_Rows = dict[str, NDArray[np.uint8]]


def measure_systolic(
    name: str,
    library: Library,
    *,
    mapped_for_ghz: float = 1.0,
    clock_ghz: float = 0.5,
    size: int = SIZE,
    tiles: int = TILES,
) -> SystolicEnergy:
    """Map an array to a library, check its sums, and measure its energy.

    Weights and vectors are those of the trained network. A tile stays for ``VECTORS`` cycles, and
    the sums of the tiles in front of it enter at the top, so that a cell has a MAC in each cycle.
    The memory of these sums is not part of the array, and neither is a chain of registers that
    takes weights to their cells: each weight has a port.

    Parameters
    ----------
    name : one of ``SYSTOLIC_FORMATS``
    library : the library
    mapped_for_ghz, clock_ghz : clock for which yosys sizes gates, and that of the energies, in GHz;
        by default those of the dot products in ASAP7
    size, tiles : rows and columns of the array, and number of tiles, see ``make_tiles``

    Returns
    -------
    The energy of a cell, as the mean of the array

    Raises
    ------
    SimulationError
        If a sum of the netlist differs.
    ToolchainError
        If a tool fails.
    """
    baseline = BASELINES[RIVALS[name][0]]
    array = make_array(baseline, size)
    netlist = map_component(array, library, 1000 / mapped_for_ghz)
    found = make_tiles(baseline, tiles=tiles, vectors=VECTORS, size=size)
    inputs, sums = _stimuli(baseline, array, found)
    outputs, activity = run_netlist(netlist, inputs)
    results = _check_sums(name, baseline, array, outputs["sums"], sums)
    power = measure_power(netlist, activity)
    return SystolicEnergy(
        format=name,
        size=size,
        sum_bits=array.sum_bits,
        sum_cycles=array.sum_cycles,
        tiles=tiles,
        vectors=VECTORS,
        clock_ghz=clock_ghz,
        **energies(power, netlist.period_ps, clock_ghz=clock_ghz, macs=size**2),
        area=netlist.area,
        cells=len(netlist.instances),
        flip_flops=netlist.flip_flops,
        results=results,
        zero_weights=share_of_zeros(
            baseline.weights, np.stack([one.weights[:, -size:] for one in found])
        ),
        zero_activations=share_of_zeros(
            baseline.activations, np.stack([one.activations[:, -size:] for one in found])
        ),
        provenance=origin(library, mapped_for_ghz),
    )


def make_array(baseline: Baseline, size: int) -> SystolicArray:
    """Make the array of the formats of a dot product.

    Partial sums of integers are as wide as the accumulator of the dot product, which is exact up
    to ``K_MAX``. Those of floating-point numbers are FP32. Their addition takes two cycles, because
    one cycle does not meet 0.5 GHz in ASAP7.

    Parameters
    ----------
    baseline : gives the formats
    size : rows and columns
    """
    assert not isinstance(baseline.activations, Code)
    floating = baseline.to is not None
    accumulator = port_width(baseline.unit(DotConfig(lanes=LANES, k_max=K_MAX)), "total")
    return SystolicArray(
        rows=size,
        columns=size,
        weights=baseline.weights,
        activations=baseline.activations,
        sum_bits=FP32.bits if floating else accumulator,
        sum_cycles=2 if floating else 1,
    )


def _stimuli(
    baseline: Baseline, array: SystolicArray, tiles: Sequence[Tile]
) -> tuple[_Rows, _Ints]:
    """Arrange tiles as inputs of an array, a vector in every cycle, each operand in its cycle.

    Returns
    -------
    inputs : see ``run_clocked``
    sums : int64[cycles, columns] that the vectors must get, not yet delayed; patterns of FP32
    """
    size, vectors = array.rows, len(tiles[0].activations)
    weights = np.repeat(np.stack([tile.weights[:, -size:] for tile in tiles]), vectors, axis=0)
    if isinstance(baseline.weights, Code):
        # Zero flag, then sign.
        weights = np.where(weights == 0, 1, np.where(weights < 0, 2, 0))
    activations = np.concatenate([tile.activations[:, -size:] for tile in tiles])
    both = [_sums(baseline, tile, size) for tile in tiles]
    partial, sums = (np.concatenate(one) for one in zip(*both, strict=True))
    for row in range(size):
        below = row * array.sum_cycles
        activations[:, row] = np.roll(activations[:, row], below)
        for column in range(size):
            weights[:, column, row] = np.roll(weights[:, column, row], below + column)
    for column in range(size):
        late = column + array.product_cycles
        partial[:, column] = np.roll(partial[:, column], late)
    inputs = {
        port: port_rows(pack_values(values.reshape(len(values), -1), bits), port_width(array, port))
        for port, values, bits in (
            ("weights", weights, array.weight_bits),
            ("activations", activations, array.activation_bits),
            ("partial", partial, array.sum_bits),
        )
    }
    return inputs, sums


def _sums(baseline: Baseline, tile: Tile, size: int) -> tuple[_Ints, _Ints]:
    """Compute the sums of each vector and column, int64[vectors, columns], by the golden model.

    Returns
    -------
    partial : those in front of the tile's own ``size`` products
    sums : those behind it
    """
    weights, activations = tile.weights, tile.activations
    if baseline.to is None:
        front = activations[:, :-size] @ weights[:, :-size].T
        return front, front + activations[:, -size:] @ weights[:, -size:].T
    assert not isinstance(baseline.weights, Code)
    assert isinstance(baseline.activations, FloatFormat)
    products = multiply(
        weights, baseline.weights, activations[:, np.newaxis], baseline.activations, FP32
    )
    floats = products.astype(np.uint32).view(np.float32)
    # float32[vectors, columns, K + 1]: a zero, then the sums of 1, 2, … products.
    totals = np.add.accumulate(np.pad(floats, ((0, 0), (0, 0), (1, 0))), axis=2)
    patterns = totals.view(np.uint32).astype(np.int64)
    return patterns[..., -1 - size], patterns[..., -1]


def _check_sums(
    name: str,
    baseline: Baseline,
    array: SystolicArray,
    outputs: NDArray[np.uint8],
    sums: _Ints,
) -> int:
    """Compare the sums of an array with the golden model; return the number of compared sums.

    Raises
    ------
    SimulationError
        If one differs.
    """
    found = baseline.results(outputs, port_width(array, "sums"), array.columns)
    wrong = compared = 0
    for column in range(array.columns):
        late = array.rows * array.sum_cycles + array.product_cycles + column
        wanted = sums[: len(sums) - late, column]
        wrong += int(np.count_nonzero(found[late:, column] != wanted))
        compared += len(wanted)
    if wrong:
        raise SimulationError(
            f"{name}: the array must match the golden model; {wrong} of {compared} sums differ, "
            "and no figures are given"
        )
    return compared

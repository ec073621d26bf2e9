"""The operators on elements, against their golden functions."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from trilith.golden.elements import (
    LARGEST,
    element_bits,
    exp2,
    quantize_elements,
    reciprocal,
    reciprocal_root,
    round_element,
)
from trilith.hw.token.adder import ElementAdder
from trilith.hw.token.converter import IntegerConverter
from trilith.hw.token.multiplier import ElementMultiplier
from trilith.hw.token.quantizer import ElementQuantizer
from trilith.hw.token.special import Function, SpecialFunction
from trilith.sim.rtl.clocked import port_rows, run_clocked

_COUNT = 40_000


def words(values: NDArray, width: int) -> NDArray[np.uint8]:
    """Rows of a port, from integers."""
    columns = values.astype(np.int64)[:, np.newaxis].view(np.uint8)[:, : -(-width // 8)]
    if width % 8:  # Verilator wants the unused bits of a port to be zero.
        columns = columns.copy()
        columns[:, -1] &= (1 << width % 8) - 1
    return port_rows(columns, width)


def elements(values: NDArray) -> NDArray[np.uint8]:
    return words(element_bits(values), 24)


def read(rows: NDArray[np.uint8], latency: int, count: int) -> NDArray[np.int64]:
    """Numbers of an output port, without the cycles before the first result."""
    filled = np.pad(rows, ((0, 0), (0, 8 - rows.shape[1])))
    return np.ascontiguousarray(filled).view(np.int64)[latency : latency + count, 0]


def run(dut, latency: int, **ports: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
    """Results of a pipeline, one for each row of its inputs."""
    count = len(next(iter(ports.values())))
    inputs = {name: np.pad(rows, ((0, latency), (0, 0))) for name, rows in ports.items()}
    return {name: read(rows, latency, count) for name, rows in run_clocked(dut, inputs).items()}


@cache
def operands() -> tuple[NDArray, NDArray]:
    """Pairs of elements: of like and of far exponents, few bits set, zeros, and the extremes."""
    rng = np.random.default_rng(1)
    significands = rng.integers(2**15, 2**16, (2, _COUNT))
    significands[:, ::3] &= 0xFE00
    spread = rng.choice([1, 3, 20, 126], _COUNT)
    exponents = rng.integers(-spread, spread + 1, (2, _COUNT)) - 15
    pairs = np.ldexp(significands, exponents) * rng.choice([-1.0, 1.0], (2, _COUNT))
    corners = np.array([0.0, 2.0**-126, -(2.0**-126), LARGEST, -LARGEST, 1.0, 1 + 2.0**-15])
    grid = np.array(np.meshgrid(corners, corners)).reshape(2, -1)
    pairs = np.concatenate([grid, pairs], axis=1)
    return pairs[0], pairs[1]


def test_products() -> None:
    a, b = operands()
    out = run(ElementMultiplier(), ElementMultiplier.LATENCY, a=elements(a), b=elements(b))
    assert out["product"].tolist() == element_bits(round_element(a * b)).tolist()
    assert (out["overflow"] == (np.abs(a * b) >= 2.0**128 - 2.0**111)).all()


@pytest.mark.parametrize("subtract", [False, True])
def test_sums(subtract: bool) -> None:
    a, b = operands()
    out = run(
        ElementAdder(),
        ElementAdder.LATENCY,
        a=elements(a),
        b=elements(b),
        subtract=words(np.full(len(a), subtract), 1),
    )
    exact = a - b if subtract else a + b
    assert out["total"].tolist() == element_bits(round_element(exact)).tolist()
    assert (out["overflow"] == (np.abs(exact) >= 2.0**128 - 2.0**111)).all()


@pytest.mark.parametrize("width", [8, 17, 21, 36, 48])
def test_integers(width: int) -> None:
    rng = np.random.default_rng(width)
    sizes = rng.integers(1, width, 5000)
    integers = rng.integers(-(2 ** (sizes - 1)), 2 ** (sizes - 1))
    integers[:4] = [0, -1, 2 ** (width - 1) - 1, -(2 ** (width - 1))]
    exponents = rng.integers(-300, 301, 5000)
    exponents[::2] = 0
    out = run(
        IntegerConverter(width=width),
        IntegerConverter.LATENCY,
        integer=words(integers, width),
        exponent=words(exponents, 10),
    )
    expected = round_element(np.ldexp(integers.astype(np.float64), exponents))
    assert out["element"].tolist() == element_bits(expected).tolist()


@pytest.mark.parametrize("function", list(Function))
def test_special_functions(function: Function) -> None:
    a, _ = operands()
    golden = {
        Function.RECIPROCAL: lambda: reciprocal(np.abs(a)),
        Function.ROOT: lambda: reciprocal_root(np.abs(a)),
        Function.EXP2: lambda: exp2(a),
    }[function]
    out = run(
        SpecialFunction(),
        SpecialFunction.LATENCY,
        x=elements(a if function == Function.EXP2 else np.abs(a)),
        function=words(np.full(len(a), function.value), 2),
    )
    assert out["value"].tolist() == element_bits(golden()).tolist()


def test_quantizer() -> None:
    a, _ = operands()
    rows = a[: len(a) // 8 * 8].reshape(-1, 8)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    q, _ = quantize_elements(rows, largest)
    factor = np.broadcast_to(round_element(127 * reciprocal(largest)), rows.shape)
    out = run(
        ElementQuantizer(),
        ElementQuantizer.LATENCY,
        a=elements(rows.ravel()),
        b=elements(factor.ravel()),
    )
    signed = from_bytes(out["integer"])
    # Factors of vectors too small for a reciprocal are the largest element: such rows are left out.
    normal = np.repeat(largest[:, 0] > 2.0**-118, 8)
    assert signed[normal].tolist() == q.ravel()[normal].tolist()


def from_bytes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return values.astype(np.uint8).view(np.int8).astype(np.int64)

"""The operators on elements, against their golden functions."""

from functools import cache

import numpy as np
import pytest
from amaranth.hdl import Module, Shape, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
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
from trilith.hw.token.element import ELEMENT
from trilith.hw.token.multiplier import ElementMultiplier
from trilith.hw.token.quantizer import ElementQuantizer
from trilith.hw.token.special import Function, SpecialFunction
from trilith.sim.rtl.clocked import port_rows, run_clocked

_COUNT = 40_000

#: Smallest magnitude that rounds beyond the largest element.
TOO_LARGE = 2.0**128 - 2.0**111


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


class Operators(wiring.Component):
    """All operators beside each other, so that one build serves all tests."""

    NARROW, WIDE = 17, 48

    def __init__(self) -> None:
        super().__init__(
            {
                "a": In(ELEMENT),
                "b": In(ELEMENT),
                "subtract": In(1),
                "function": In(2),
                "integer": In(signed(self.WIDE)),
                "exponent": In(signed(10)),
                "product": Out(ELEMENT),
                "product_overflow": Out(1),
                "total": Out(ELEMENT),
                "total_overflow": Out(1),
                "value": Out(ELEMENT),
                "quantized": Out(signed(8)),
                "wide": Out(ELEMENT),
                "narrow": Out(ELEMENT),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = ElementMultiplier()
        m.submodules.adder = adder = ElementAdder()
        m.submodules.special = special = SpecialFunction()
        m.submodules.quantizer = quantizer = ElementQuantizer()
        m.submodules.wide = wide = IntegerConverter(width=self.WIDE)
        m.submodules.narrow = narrow = IntegerConverter(width=self.NARROW)
        for operator in (multiplier, adder, quantizer):
            m.d.comb += [operator.a.eq(self.a), operator.b.eq(self.b)]
        for converter in (wide, narrow):
            m.d.comb += [
                converter.integer.eq(self.integer),
                converter.exponent.eq(self.exponent),
            ]
        m.d.comb += [
            adder.subtract.eq(self.subtract),
            special.x.eq(self.a),
            special.function.eq(self.function),
            self.product.eq(multiplier.product),
            self.product_overflow.eq(multiplier.overflow),
            self.total.eq(adder.total),
            self.total_overflow.eq(adder.overflow),
            self.value.eq(special.value),
            self.quantized.eq(quantizer.integer),
            self.wide.eq(wide.element),
            self.narrow.eq(narrow.element),
        ]
        return m


def run(latency: int, **ports: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
    """Results of the operators, one for each row of the inputs; other inputs are zero."""
    count = len(next(iter(ports.values())))
    dut = Operators()
    inputs = {}
    for name, member in dut.signature.members.items():
        if member.flow == In:
            width = Shape.cast(member.shape).width
            rows = ports.get(name, words(np.zeros(count), width))
            inputs[name] = np.pad(rows, ((0, latency), (0, 0)))
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
    out = run(ElementMultiplier.LATENCY, a=elements(a), b=elements(b))
    assert out["product"].tolist() == element_bits(round_element(a * b)).tolist()
    assert (out["product_overflow"] == (np.abs(a * b) >= TOO_LARGE)).all()


@pytest.mark.parametrize("subtract", [False, True])
def test_sums(subtract: bool) -> None:
    a, b = operands()
    minus = words(np.full(len(a), subtract), 1)
    out = run(ElementAdder.LATENCY, a=elements(a), b=elements(b), subtract=minus)
    exact = a - b if subtract else a + b
    assert out["total"].tolist() == element_bits(round_element(exact)).tolist()
    assert (out["total_overflow"] == (np.abs(exact) >= TOO_LARGE)).all()


@pytest.mark.parametrize(
    ("port", "width"), [("narrow", Operators.NARROW), ("wide", Operators.WIDE)]
)
def test_integers(port: str, width: int) -> None:
    rng = np.random.default_rng(width)
    sizes = rng.integers(1, width, _COUNT)
    integers = rng.integers(-(2 ** (sizes - 1)), 2 ** (sizes - 1))
    integers[:4] = [0, -1, 2 ** (width - 1) - 1, -(2 ** (width - 1))]
    exponents = rng.integers(-300, 301, _COUNT)
    exponents[::2] = 0
    out = run(
        IntegerConverter.LATENCY,
        integer=words(integers, Operators.WIDE),
        exponent=words(exponents, 10),
    )
    expected = round_element(np.ldexp(integers.astype(np.float64), exponents))
    assert out[port].tolist() == element_bits(expected).tolist()


@pytest.mark.parametrize("function", list(Function))
def test_special_functions(function: Function) -> None:
    a, _ = operands()
    x = a if function == Function.EXP2 else np.abs(a)
    golden = {Function.RECIPROCAL: reciprocal, Function.ROOT: reciprocal_root, Function.EXP2: exp2}
    number = words(np.full(len(a), function.value), 2)
    out = run(SpecialFunction.LATENCY, a=elements(x), function=number)
    assert out["value"].tolist() == element_bits(golden[function](x)).tolist()


def test_quantizer() -> None:
    a, _ = operands()
    rows = a[: len(a) // 8 * 8].reshape(-1, 8)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    q, _ = quantize_elements(rows, largest)
    factor = np.broadcast_to(round_element(127 * reciprocal(largest)), rows.shape)
    out = run(ElementQuantizer.LATENCY, a=elements(rows.ravel()), b=elements(factor.ravel()))
    assert out["quantized"].astype(np.uint8).view(np.int8).tolist() == q.ravel().tolist()

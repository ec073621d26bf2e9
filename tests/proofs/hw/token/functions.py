"""Theorems about the sums and the special functions of the token core."""

from collections.abc import Callable

import numpy as np
from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value, signed
from numpy.typing import NDArray
from proofs.bench import Bench
from proofs.prover import Method
from proofs.theorem import Case, Theorem

from trilith.golden.elements import (
    BIAS,
    SEGMENT_BITS,
    SIGNIFICAND_BITS,
    TABLES,
    Table,
    exp2,
    from_element_bits,
    reciprocal,
    reciprocal_root,
)
from trilith.hw.token.adder import ElementAdder
from trilith.hw.token.special import Function, SpecialFunction

from .numbers import half_even

#: Places below the larger significand at which the smaller one is kept exactly.
_EXACT = 2 * SIGNIFICAND_BITS + 2

#: Largest element without its sign.
_LARGEST = (254 << 15) | (2**15 - 1)


def adder() -> Bench:
    """Sums of elements, from the registers of the ordered operands on."""
    dut = ElementAdder()
    bench = Bench(dut, resets=False)
    m, inside = bench.m, bench.inside
    names = ("larger", "smaller", "distance", "exponent", "negative", "opposite")
    larger, smaller, distance, exponent, negative, opposite = (inside[name] for name in names)
    # The first stage, against the operands one cycle ago.
    a, b = (bench.delay(Value.cast(x)) for x in (dut.a, dut.b))
    other = b[23] ^ bench.delay(dut.subtract)
    swapped = b[:23] > a[:23]
    high, low = Mux(swapped, b[:23], a[:23]), Mux(swapped, a[:23], b[:23])
    bench.claim("larger", larger == Cat(high[:15], Const(1, 1)))
    bench.claim("smaller", smaller == Mux(low[15:] == 0, 0, Cat(low[:15], Const(1, 1))))
    bench.claim("distance", distance == (high[15:] - low[15:])[:8])
    bench.claim("exponent", exponent == high[15:])
    bench.claim("negative", negative == Mux(swapped, other, a[23]))
    bench.claim("opposite", opposite == (a[23] ^ other))
    # The first stage gives these, and the later stages may rely on them.
    bench.claim("leading", larger[-1] & ((smaller == 0) | smaller[-1]))
    bench.claim("order", (distance != 0) | (larger >= smaller))
    bench.claim("none", (exponent != 0) | (smaller == 0))
    before = [bench.delay(inside[name], 2) for name in names]
    larger, smaller, distance, exponent, negative, opposite = before
    relies = larger[-1] & ((smaller == 0) | smaller[-1]) & ((exponent != 0) | (smaller == 0))
    relies &= (distance != 0) | (larger >= smaller)
    # The exact sum. What lies below all of its places counts as the last one.
    wide = Signal(SIGNIFICAND_BITS + _EXACT, name="wide")
    far = distance > _EXACT
    aligned = (Cat(Const(0, _EXACT), smaller) >> distance)[: len(wide)]
    m.d.comb += wide.eq(Mux(far, smaller != 0, aligned))
    total = Signal(len(wide) + 1, name="exact")
    first = Cat(Const(0, _EXACT), larger)
    m.d.comb += total.eq(Mux(opposite, first - wide, first + wide))
    # By the place of the leading one.
    place = Signal(range(len(total)), name="leading_place")
    for index in range(len(total)):
        with m.If(total[index]):
            m.d.comb += place.eq(index)
    rounded = Signal(17, name="rounded")
    m.d.comb += rounded.eq(half_even(total, (place - 15)[:6], 17))
    again = rounded[16]
    stored = (exponent + place + again - (_EXACT + 15)).as_signed()
    below, above = stored < 1, stored > 254
    clear = (exponent == 0) | (total == 0) | below
    magnitude = Mux(above, _LARGEST, Cat(Mux(again, 0, rounded[:15]), stored[:8]))
    wanted = Mux(clear, 0, Cat(magnitude[:23], negative))
    bench.claim("total", ~relies | (Value.cast(dut.total) == wanted))
    bench.claim("overflow", ~relies | (dut.overflow == (above & (exponent != 0))))
    bench.cover("overflow", dut.overflow & relies)
    bench.cover("below", below & (exponent != 0) & relies)
    bench.cover("far", far & (smaller != 0) & relies & opposite)
    return bench


def special(function: Function) -> Bench:
    """A special function against its golden tables, interpolated and rounded by the definition."""
    dut = SpecialFunction()
    bench = Bench(dut, resets=False)
    bench.drive("function", function)
    m = bench.m
    x = bench.delay(Value.cast(dut.x), SpecialFunction.LATENCY)
    fraction, stored, negative = x[:15], x[15:23], x[23]
    exponent = (stored - BIAS).as_signed()
    # rint(x · 2¹⁵), from the magnitude with 17 places more; it is nothing from 2⁻¹⁷ down.
    number = Cat(Const(0, 32), fraction, Const(1, 1), Const(0, 8))
    tiny, huge = exponent < -17, exponent > 7
    near = half_even(number, Mux(tiny | huge, 0, 32 - exponent)[:6], 25)
    magnitude = Mux(tiny, 0, near)[:24]
    fixed = Signal(signed(26), name="fixed")
    m.d.comb += fixed.eq(Mux(negative, -magnitude, magnitude))
    names, place, power = {
        Function.RECIPROCAL: (("reciprocal",), fraction, -exponent),
        Function.ROOT: (("root_even", "root_odd"), fraction, -(exponent >> 1)),
        Function.EXP2: (("exp2",), fixed[:15], (fixed >> 15) + 1),
    }[function]
    # The root has a table for each parity of the exponent.
    even, odd = (_look(TABLES[name], place) for name in (names[0], names[-1]))
    base, slope = (Mux(exponent[0], b, a) for a, b in zip(even, odd, strict=True))
    value = Signal(19, name="table_value")
    m.d.comb += value.eq(base + ((slope.as_signed() * place[:SEGMENT_BITS]) >> SEGMENT_BITS))
    # From ½ to 1, with 18 places below the binary point; 1 exactly is one place higher.
    one = value[18]
    rounded = half_even(value, Mux(one, 3, 2), 17)
    again = rounded[16]
    new = (power + (BIAS - 1) + one + again).as_signed()
    below, above = new < 1, new > 254
    if function == Function.EXP2:
        below, above = Mux(huge, negative, below), Mux(huge, ~negative, above)
        zero = Const(0, 1)
    else:
        zero = stored == 0
    result = Mux(above, _LARGEST, Cat(Mux(again, 0, rounded[:15]), new[:8]))[:23]
    wanted = Mux(zero | below, 0, result)
    bench.claim("value", Value.cast(dut.value) == wanted)
    bench.claim("overflow", dut.overflow == (above & ~zero))
    bench.claim("table", (value >= 2**17) & (value <= 2**18))
    if function != Function.ROOT:
        bench.cover("below", below & ~zero)
    if function == Function.EXP2:
        bench.cover("above", above)
    return bench


def _look(table: Table, place: Value) -> tuple[Value, Value]:
    """Base and slope of the segment of a place."""
    kinds = ((table.bases, 19), (table.slopes, signed(11)))
    words = [Array(Const(int(value), shape) for value in values) for values, shape in kinds]
    base, slope = (one[place[SEGMENT_BITS:]] for one in words)
    return base, slope


def _elements(*, negative: bool) -> NDArray[np.float64]:
    """All elements but zero."""
    bits = np.arange(1 << 15, 255 << 15, dtype=np.uint32)
    return from_element_bits(bits | np.uint32(negative << 23))


def reciprocal_error() -> float:
    """Largest relative error of 1/x over all positive x up to 2¹²⁶; exact in float64."""
    x = _elements(negative=False)
    x = x[x <= 2.0**126]
    return float(np.abs(reciprocal(x) * x - 1).max())


def root_error() -> float:
    """Largest relative error of 1/√x over all positive x.

    With an error of e the exact ``value² · x`` is ``(1 ± e)²``.
    """
    x = _elements(negative=False)
    value = reciprocal_root(x)
    return float(np.abs(np.sqrt(value * value * x) - 1).max())


def exp2_error() -> float:
    """Largest relative error of 2ˣ over all x from −126 to 128, at which no result saturates."""
    worst = 0.0
    for negative in (False, True):
        x = _elements(negative=negative)
        x = x[(x >= -126) & (x < 128)]
        worst = max(worst, float(np.abs(exp2(x) / 2.0**x - 1).max()))
    return worst


def _case(function: Function, error: Callable[[], float], most: float) -> Case:
    """A function for all elements, and its error over all of them."""
    return Case(
        build=lambda: special(function), depth=SpecialFunction.LATENCY, faults=24,
        exhaustive=lambda: error() <= most,
    )  # fmt: skip


THEOREMS = [
    Theorem(
        name="adder: rounding",
        file="hw/token/adder.py",
        statement="Every sum and every difference of two elements is the exact one, rounded once, "
        "half to even. A magnitude below the smallest becomes zero, and one above the largest "
        "becomes the largest, with `overflow` exactly then.",
        method=Method.STATE,
        cases={"all elements": Case(build=adder, depth=ElementAdder.LATENCY, faults=24)},
    ),
    Theorem(
        name="special functions: values and errors",
        file="hw/token/special.py",
        statement="For every element, 1/x, 1/√x and 2ˣ are the value of the golden table, "
        "interpolated and rounded once. The relative error of the golden functions, computed for "
        "each element in turn, is at most 2⁻¹⁵ for 1/x up to x = 2¹²⁶ and for 1/√x, and at most "
        "2⁻¹⁴ for 2ˣ from −126 to 128. Beyond these ends 1/x and 2ˣ are 0 or the largest element.",
        method=Method.STATE,
        cases={
            "1/x": _case(Function.RECIPROCAL, reciprocal_error, 2.0**-15),
            "1/√x": _case(Function.ROOT, root_error, 2.0**-15),
            "2ˣ": _case(Function.EXP2, exp2_error, 2.0**-14),
        },
    ),
]

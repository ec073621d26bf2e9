"""Theorems about the arithmetic of elements in the token core."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from proofs.bench import Bench
from proofs.prover import Method
from proofs.theorem import Case, Theorem

from trilith.golden.elements import BIAS, SIGNIFICAND_BITS
from trilith.hw.token.leading import leading_zeros, shift_left
from trilith.hw.token.multiplier import ElementMultiplier
from trilith.hw.token.quantizer import ElementQuantizer
from trilith.hw.token.tree import greater

#: Bits of the product of two significands, and those below its binary point.
_BITS, _POINT = 2 * SIGNIFICAND_BITS, 2 * (SIGNIFICAND_BITS - 1)


def half_even(number: Value, places: Value, width: int) -> Value:
    """``number / 2**places`` rounded half to even, by the definition: the remainder decides."""
    whole = (number >> places)[:width]
    rest = number - (whole << places)
    twice = rest << 1
    one = Const(1, 1) << places
    up = (twice > one) | ((twice == one) & whole[0])
    return whole + up


def quantizer() -> Bench:
    """Integers of products, from the registers of the exact product on."""
    dut = ElementQuantizer()
    bench = Bench(dut, resets=False)
    inside = bench.inside
    exact, exponent = inside["exact"], inside["exponent"]
    # The first stage, against the factors one cycle ago.
    a, b = (bench.delay(Value.cast(x)) for x in (dut.a, dut.b))
    zero = (a[15:23] == 0) | (b[15:23] == 0)
    product = Cat(a[:15], Const(1, 1)) * Cat(b[:15], Const(1, 1))
    bench.claim("exact", exact == product)
    bench.claim("exponent", exponent == a[15:23] + b[15:23] - 2 * BIAS)
    bench.claim("sign", inside["negative"] == (a[23] ^ b[23]))
    bench.claim("zero", inside["zero"] == zero)
    # The second stage, from any product that is at most 127.49, and from 1 to 4 as a significand.
    before, at = bench.delay(exact), bench.delay(exponent).as_signed()
    negative, none = bench.delay(inside["negative"]), bench.delay(inside["zero"])
    normal = before[-2:] != 0
    small = at < 5
    for power in (5, 6):
        small |= (at == power) & (before < int(127.49 * 2 ** (_POINT - power)))
    bench.claim("normal", (exact[-2:] != 0))
    # rint(before · 2**(at − _POINT)); nothing is left of a product far below a half.
    places = Signal(range(_POINT + 4), name="places")
    tiny = at < -2
    bench.m.d.comb += places.eq(Mux(tiny, 0, _POINT - at))
    magnitude = Mux(none | tiny, 0, half_even(before, places, 8))[:8]
    wanted = Mux(negative, -magnitude, magnitude)
    holds = dut.integer == wanted
    bench.claim("integer", ~(small & normal) | holds)
    bench.cover("tie", (before[:_POINT] == 2 ** (_POINT - 1)) & (at == 0) & small)
    return bench


def multiplier() -> Bench:
    """Products of elements, from the registers of the exact product on."""
    dut = ElementMultiplier()
    bench = Bench(dut, resets=False)
    inside = bench.inside
    exact, exponent = inside["exact"], inside["exponent"]
    a, b = (bench.delay(Value.cast(x)) for x in (dut.a, dut.b))
    bench.claim("exact", exact == Cat(a[:15], Const(1, 1)) * Cat(b[:15], Const(1, 1)))
    bench.claim("exponent", exponent == a[15:23] + b[15:23] - BIAS)
    bench.claim("sign", inside["negative"] == (a[23] ^ b[23]))
    bench.claim("zero", inside["zero"] == ((a[15:23] == 0) | (b[15:23] == 0)))
    before, at = bench.delay(exact), bench.delay(exponent).as_signed()
    negative, none = bench.delay(inside["negative"]), bench.delay(inside["zero"])
    # The definition: a product from 2 on is halved; then it is rounded to 16 bits, and one that
    # reaches 2 again is halved again.
    high = before[-1]
    rounded = half_even(before, Mux(high, SIGNIFICAND_BITS, SIGNIFICAND_BITS - 1), 17)
    again = rounded[16]
    stored = (at + high + again).as_signed()
    fraction = Mux(again, 0, rounded[:15])
    below, above = stored < 1, stored > 254
    largest = Cat(Const(2**15 - 1, 15), Const(254, 8), negative)
    wanted = Mux(above, largest, Cat(fraction, stored[:8], negative))
    wanted = Mux(none | below, 0, wanted)
    range_of = (at >= -BIAS) & (at <= 3 * BIAS) & (before[-2:] != 0)
    bench.claim("product", ~range_of | (Value.cast(dut.product) == wanted))
    bench.claim("overflow", ~range_of | (dut.overflow == (above & ~none)))
    bench.cover("again", again & range_of)
    bench.cover("overflow", dut.overflow & range_of)
    return bench


def leading(width: int) -> Bench:
    """Count of leading zeros, and the shift that removes them."""
    bench = Bench()
    value = bench.input("value", width)
    part = Module()
    bench.m.submodules.part = part
    count = Signal(max(1, (width - 1).bit_length()), name="count")
    shifted = Signal(width, name="shifted")
    part.d.comb += count.eq(leading_zeros(value))
    part.d.comb += shifted.eq(shift_left(part, value, count))
    for zeros in range(width):
        top = value[width - 1 - zeros]
        here = top & ~value[width - zeros :].any() if zeros else top
        bench.claim(f"zeros{zeros}", ~here | (count == zeros))
        bench.claim(f"shift{zeros}", ~here | (shifted == (value << zeros)[:width]))
    bench.claim("none", (value != 0) | count.all())
    bench.claim("top", (value == 0) | shifted[-1])
    return bench


def comparison(width: int) -> Bench:
    """Order of unsigned values."""
    bench = Bench()
    a, b = bench.input("a", width), bench.input("b", width)
    bench.m.submodules.part = part = Module()
    answer = Signal(name="answer")
    part.d.comb += answer.eq(greater(a, b))
    bench.claim("greater", answer == (a > b))
    return bench


THEOREMS = [
    Theorem(
        name="quantizer: rounding",
        file="hw/token/quantizer.py",
        statement="Every product of two elements up to 127.49 becomes the nearest integer, half "
        "to even, as in the golden `rint(a * b)`. The format is the whole one of 24 bits.",
        method=Method.STATE,
        cases={"all elements": Case(build=quantizer, depth=2, faults=24)},
    ),
    Theorem(
        name="multiplier: rounding",
        file="hw/token/multiplier.py",
        statement="Every product of two elements is rounded once, half to even; a magnitude below "
        "the smallest becomes zero, and one above the largest becomes the largest, with `overflow` "
        "exactly then.",
        method=Method.STATE,
        cases={"all elements": Case(build=multiplier, depth=2, faults=24)},
    ),
    Theorem(
        name="leading zeros and shift",
        file="hw/token/leading.py",
        statement="The count of leading zeros is exact for every value but 0, for which it is all "
        "ones. The shift by a count moves exactly so far.",
        method=Method.STATE,
        cases={f"{width} bits": Case(build=lambda w=width: leading(w)) for width in (24, 33, 8)},
    ),
    Theorem(
        name="comparison by a carry",
        file="hw/token/tree.py",
        statement="`greater` is the order of unsigned values.",
        method=Method.STATE,
        cases={
            f"{width} bits": Case(build=lambda w=width: comparison(w), faults=4)
            for width in (23, 24)
        },
    ),
]

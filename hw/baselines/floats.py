"""Floating-point operators of any format: IEEE 754, round half to even, subnormals and specials."""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.floats import FloatFormat, IntFormat
from .multiply import multiply

__all__ = [
    "FloatAdder",
    "FloatMultiplier",
    "Normalized",
    "Unpacked",
    "leading_zeros",
    "normalize",
    "register",
    "round_and_pack",
    "shift_right",
    "special",
    "unpack",
    "wire",
]


def wire(m: Module, value: Value, name: str) -> Signal:
    """A signal that is a value."""
    out = Signal(value.shape(), name=name)
    m.d.comb += out.eq(value)
    return out


def register(m: Module, value: Value, name: str) -> Signal:
    """A signal that is a value a clock later; it has no reset."""
    out = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += out.eq(value)
    return out


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """A value in parts, as ``FloatFormat.decode`` has them."""

    negative: Value
    exponent: Value
    significand: Value
    zero: Value
    infinite: Value
    nan: Value


def unpack(m: Module, fmt: FloatFormat | IntFormat, value: Value, name: str) -> Unpacked:
    """Take a value of a format apart, in logic."""
    if isinstance(fmt, IntFormat):
        magnitude = Mux(value[-1], -value.as_signed(), value)[: fmt.bits]
        return Unpacked(
            negative=value[-1],
            exponent=Const(0, 0),
            significand=wire(m, magnitude, f"{name}_magnitude"),
            zero=value == 0,
            infinite=Const(0, 1),
            nan=Const(0, 1),
        )
    fraction, field = value[: fmt.mantissa_bits], value[fmt.mantissa_bits : -1]
    normal = wire(m, field.any(), f"{name}_normal")
    full = wire(m, field.all(), f"{name}_full")
    if fmt.infinities:
        empty = wire(m, ~fraction.any(), f"{name}_empty")
        infinite, nan = full & empty, full & ~empty
    else:
        infinite, nan = Const(0, 1), full & fraction.all()
    return Unpacked(
        negative=value[-1],
        exponent=Cat(field[0] | ~normal, field[1:]),
        significand=Cat(fraction, normal),
        zero=~value[:-1].any(),
        infinite=infinite,
        nan=nan,
    )


def shift_right(value: Value, amount: Value, *, fill: Value | None = None) -> Value:
    """``value >> amount`` in as many bits, in stages of two-way multiplexers.

    Bits of the amount that shift everything out are told apart first. ``fill`` comes in at the
    top; zeros by default.
    """
    width = len(value)
    stages = (width - 1).bit_length()
    fill = Const(0, 1) if fill is None else fill
    for i in range(min(stages, len(amount))):
        shifted = Cat(value[2**i :], fill.replicate(2**i))
        value = Mux(amount[i], shifted, value)
    if len(amount) > stages:
        value = Mux(amount[stages:].any(), fill.replicate(width), value)
    return value


def _shift_right_sticky(value: Value, amount: Value) -> tuple[Value, Value]:
    """``value >> amount`` and whether a one was shifted out."""
    width = len(value)
    stages = width.bit_length()
    lost: list[Value] = []
    for i in range(min(stages, len(amount))):
        lost.append(amount[i] & value[: 2**i].any())
        value = Mux(amount[i], Cat(value[2**i :], Const(0, min(2**i, width))), value)
    if len(amount) > stages:
        far = amount[stages:].any()
        lost.append(far & value.any())
        value = Mux(far, Const(0, width), value)
    return value, Cat(lost).any()


def _shift_left(value: Value, amount: Value) -> Value:
    """``value << amount`` in as many bits; the amount is below the width."""
    width = len(value)
    for i in range(min((width - 1).bit_length(), len(amount))):
        value = Mux(amount[i], Cat(Const(0, 2**i), value[: width - 2**i]), value)
    return value


def leading_zeros(value: Value) -> Value:
    """Zeros above the highest one; if there is none, anything from 0 to 2^bits − 1 of the count."""
    size = 2 ** (len(value) - 1).bit_length()

    def count(part: Value) -> tuple[Value, Value]:
        """The count, and whether there is a one."""
        if len(part) == 1:
            return Const(0, 0), part
        half = len(part) // 2
        (low, low_any), (high, high_any) = count(part[:half]), count(part[half:])
        return Cat(Mux(high_any, high, low), ~high_any), low_any | high_any

    return count(Cat(Const(0, size - len(value)), value))[0]


@dataclass(frozen=True, kw_only=True)
class Normalized:
    """A significand with its leading one on top or, if subnormal, with exponent 1."""

    significand: Value
    exponent: Value
    sticky: Value

    def map(self, function: Callable[[Value, str], Value], name: str) -> "Normalized":
        """The same through a register, for instance."""
        return Normalized(
            significand=function(self.significand, f"{name}_significand"),
            exponent=function(self.exponent, f"{name}_exponent"),
            sticky=function(self.sticky, f"{name}_sticky"),
        )


def normalize(m: Module, value: Value, room: Value, lowest: int, name: str) -> Normalized:
    """Shift a magnitude so that it can be rounded.

    Parameters
    ----------
    m : where to put wires
    value : magnitude
    room : signed; places to shift left to exponent 1, where numbers become subnormal; negative if
        that is to the right
    lowest : the least that ``room`` can be
    name : of wires
    """
    zeros = wire(m, leading_zeros(value), f"{name}_zeros")
    if lowest >= len(value) - 1:
        # Never subnormal.
        left, limited = zeros, Const(0, 1)
    else:
        limited = wire(m, room < Cat(zeros, Const(0, 1)).as_signed(), f"{name}_limited")
        left = Mux(limited, room[: len(zeros)], zeros)
    sticky: Value = Const(0, 1)
    if lowest >= 0:
        shifted = _shift_left(value, wire(m, left, f"{name}_left"))
    else:
        below = wire(m, room[-1], f"{name}_below")
        left = wire(m, Mux(below, 0, left)[: len(zeros)], f"{name}_left")
        down = wire(m, Mux(below, -room, 0)[: (-lowest).bit_length()], f"{name}_down")
        shifted = wire(m, _shift_left(value, left), f"{name}_shifted")
        shifted, sticky = _shift_right_sticky(shifted, down)
    exponent = Mux(limited, 1, room + 1 - zeros)
    return Normalized(
        significand=wire(m, shifted, f"{name}_normalized"),
        exponent=wire(m, exponent[: len(room) + 2].as_signed(), f"{name}_exponent"),
        sticky=sticky,
    )


def round_and_pack(
    m: Module, fmt: FloatFormat, negative: Value, value: Normalized, name: str
) -> Value:
    """The nearest value of a format, half to even; its overflow where it is too large."""
    significand = Cat(Const(0, max(fmt.precision - len(value.significand), 0)), value.significand)
    cut = len(significand) - fmt.precision
    kept = significand[cut:]
    if cut:
        half, rest = significand[cut - 1], Cat(significand[: cut - 1], value.sticky).any()
        increment = half & (rest | kept[0])
    else:
        increment = Const(0, 1)  # Exact: the formats differ so much that nothing is below.
    # The leading one adds one to the exponent, and so does what rounds up to it.
    base = Cat(Const(0, fmt.mantissa_bits), (value.exponent - 1)[: fmt.exponent_bits])
    pattern = wire(m, (base + kept + increment)[: fmt.bits], f"{name}_pattern")
    over = value.exponent > fmt.largest_exponent
    if fmt.infinities:
        # The largest one rounds up to infinity by itself.
        return Cat(Mux(over, fmt.overflow, pattern)[: fmt.bits - 1], negative)
    over = wire(m, over | (pattern >= fmt.overflow), f"{name}_over")
    return Cat(Mux(over, fmt.overflow, pattern)[: fmt.bits - 1], negative & ~over)


def special(fmt: FloatFormat, value: Value, infinite: Value, negative: Value, nan: Value) -> Value:
    """A value, or the special that it is instead."""
    infinity = Cat(Const(fmt.overflow, fmt.bits - 1), negative)
    return Mux(nan, Const(fmt.nan, fmt.bits), Mux(infinite, infinity, value))


class FloatMultiplier(wiring.Component):
    """Multiplies two values and rounds the product once to a third format, as IEEE 754 has it.

    Latency: 2 clocks; after the first, the exact product of the significands is in a register.
    Throughput: a product per clock. No register has a reset.

    Parameters
    ----------
    a_format, b_format : of the operands
    to : of the product
    target : see ``multiply``

    Members
    -------
    a, b : In; patterns
    y : Out; pattern
    """

    def __init__(
        self,
        *,
        a_format: FloatFormat | IntFormat,
        b_format: FloatFormat,
        to: FloatFormat,
        target: str = "asic",
    ) -> None:
        self._target = target
        self._a_format = a_format
        self._b_format = b_format
        self._to = to
        super().__init__({"a": In(a_format.bits), "b": In(b_format.bits), "y": Out(to.bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        to = self._to
        a = unpack(m, self._a_format, self.a, "a")
        b = unpack(m, self._b_format, self.b, "b")
        infinite = a.infinite | b.infinite
        product = multiply(m, a.significand, b.significand, "product", self._target)
        product = register(m, product, "product")
        exponent = register(m, a.exponent + b.exponent, "exponent")
        negative = register(m, a.negative ^ b.negative, "negative")
        nan = register(m, a.nan | b.nan | (infinite & (a.zero | b.zero)), "nan")
        infinite = register(m, infinite, "infinite")
        # Were the highest bit the leading one, its exponent as stored would be one more.
        offset = self._a_format.scale + self._b_format.scale + len(product) - 2 + to.bias
        lowest = offset + 1 + isinstance(self._a_format, FloatFormat)
        room = wire(m, exponent + Const(offset, signed(len(exponent) + 3)), "room")
        # What is shifted right keeps the bits that the result has room for.
        pad = max(to.precision + 1 - len(product), 0) if lowest < 0 else 0
        normalized = normalize(m, Cat(Const(0, pad), product), room, lowest, "product")
        rounded = round_and_pack(m, to, negative, normalized, "product")
        # A zero has no leading one to be normalized.
        value = Mux(product.any(), rounded, Cat(Const(0, to.bits - 1), negative))
        m.d.sync += self.y.eq(special(to, value, infinite, negative, nan))
        return m


class FloatAdder(wiring.Component):
    """Adds two values of a format, as IEEE 754 has it.

    Latency: ``stages`` clocks. Throughput: a sum per clock. No register has a reset.

    Parameters
    ----------
    fmt : of operands and sum
    stages : 1, 2 or 3: a register at the end; after the alignment too; after the addition too

    Members
    -------
    a, b : In; patterns
    y : Out; pattern
    """

    def __init__(self, *, fmt: FloatFormat, stages: int) -> None:
        self._fmt = fmt
        self._stages = stages
        super().__init__({"a": In(fmt.bits), "b": In(fmt.bits), "y": Out(fmt.bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt = self._fmt

        def stage(number: int) -> Callable[[Value, str], Signal]:
            """A register where there is such a stage, otherwise a wire."""
            function = register if self._stages >= number else wire
            return lambda value, name: function(m, value, name)

        swap = wire(m, self.a[:-1] < self.b[:-1], "swap")
        large = unpack(m, fmt, wire(m, Mux(swap, self.b, self.a), "large"), "large")
        small = unpack(m, fmt, wire(m, Mux(swap, self.a, self.b), "small"), "small")
        behind = wire(m, (large.exponent - small.exponent)[: fmt.exponent_bits], "behind")
        differ = wire(m, large.negative ^ small.negative, "differ")
        # Three bits below: after a subtraction they are half, rest and one place to shift left.
        moved, lost = _shift_right_sticky(Cat(Const(0, 2), small.significand), behind)

        align = stage(2)
        significand = align(large.significand, "significand")
        addend = align(Cat(lost, moved), "addend")
        subtract = align(differ, "subtract")
        exponent = align(large.exponent, "exponent")
        # The sign of a sum of zero is minus only if both are.
        negative = align(large.negative, "negative")
        nan = align(large.nan | small.nan | (large.infinite & small.infinite & differ), "nan")
        infinite = align(large.infinite, "infinite")

        augend = Cat(Const(0, 3), significand, Const(0, 1))
        addend = Cat(addend, Const(0, 1)) ^ subtract.replicate(fmt.precision + 4)
        add = stage(3)
        total = add((augend + addend + subtract)[: fmt.precision + 4], "total")
        exponent, negative = add(exponent, "total_exponent"), add(negative, "total_negative")
        subtract = add(subtract, "total_subtract")
        nan, infinite = add(nan, "total_nan"), add(infinite, "total_infinite")

        # The highest bit is that of a carry, and worth twice the larger one's.
        room = wire(m, Cat(exponent, Const(0, 1)).as_signed(), "room")
        normalized = normalize(m, total, room, 1, "sum")
        rounded = round_and_pack(m, fmt, negative, normalized, "sum")
        zero = Cat(Const(0, fmt.bits - 1), negative & ~subtract)
        value = Mux(total.any(), rounded, zero)
        m.d.sync += self.y.eq(special(fmt, value, infinite, negative, nan))
        return m

"""Floating-point multiplier and adder of any binary format, and the steps that they consist of.

They follow IEEE 754-2019: results are rounded half to even, and subnormal numbers, infinities and
NaNs are handled. Formats with eight bits follow the OCP 8-bit Floating Point Specification (2023);
E4M3 has no infinities, so that an overflow gives NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice, check_integer
from ...golden.floats import FloatFormat, IntFormat
from ..config import Target
from .multiply import multiply

__all__ = [
    "FloatAdder",
    "FloatMultiplier",
    "Normalized",
    "check_format",
    "normalize",
    "register",
    "round_and_pack",
    "shift_right",
    "special",
    "unpack",
    "wire",
]


def check_format(name: str, value: object, *, integer: bool = False) -> None:
    """Check a number format.

    Parameters
    ----------
    name : the parameter's name, for the message
    value : must be a ``FloatFormat``
    integer : whether an ``IntFormat`` is legal too

    Raises
    ------
    TypeError
        If the value is of another type.
    """
    if not isinstance(value, (FloatFormat, IntFormat) if integer else FloatFormat):
        kinds = "a FloatFormat or an IntFormat" if integer else "a FloatFormat"
        raise TypeError(f"{name} must be {kinds}, not {value!r}")


def wire(m: Module, value: Value, name: str) -> Signal:
    """Give a value a name: a signal that always equals it."""
    out = Signal(value.shape(), name=name)
    m.d.comb += out.eq(value)
    return out


def register(m: Module, value: Value, name: str) -> Signal:
    """Delay a value by one cycle, in a register without a reset."""
    out = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += out.eq(value)
    return out


@dataclass(frozen=True, kw_only=True)
class _Unpacked:
    """Parts of a value, as ``FloatFormat.decode`` returns them.

    Parameters
    ----------
    negative : sign
    exponent : stored exponent; 1 instead of 0 for a subnormal number
    significand : with the leading one, if there is one
    zero, infinite, nan : classes of the value
    """

    negative: Value
    exponent: Value
    significand: Value
    zero: Value
    infinite: Value
    nan: Value


def unpack(m: Module, fmt: FloatFormat | IntFormat, value: Value, name: str) -> _Unpacked:
    """Split a value into its parts.

    Parameters
    ----------
    m : module to add wires to
    fmt : format of the value
    value : pattern, ``fmt.bits`` wide
    name : prefix of the wires' names
    """
    if isinstance(fmt, IntFormat):
        # The magnitude of the lowest number needs all bits, as an unsigned number.
        magnitude = Mux(value[-1], -value.as_signed(), value)[: fmt.bits]
        return _Unpacked(
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
    return _Unpacked(
        negative=value[-1],
        exponent=Cat(field[0] | ~normal, field[1:]),
        significand=Cat(fraction, normal),
        zero=~value[:-1].any(),
        infinite=infinite,
        nan=nan,
    )


def shift_right(value: Value, amount: Value, *, fill: Value | None = None) -> Value:
    """Shift right without widening, by a barrel shifter: one two-way multiplexer for each bit.

    Parameters
    ----------
    value : what to shift, unsigned
    amount : unsigned; from the width of the value on, all bits are shifted out
    fill : the bit that comes in at the top; zero by default
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
    """Shift right without widening, and tell whether a one was shifted out (the sticky bit)."""
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
    """Shift left without widening; the amount must be below the width."""
    width = len(value)
    for i in range(min((width - 1).bit_length(), len(amount))):
        value = Mux(amount[i], Cat(Const(0, 2**i), value[: width - 2**i]), value)
    return value


def _leading_zeros(value: Value) -> Value:
    """Count the zeros above the highest one, by halves (Oklobdzija, 1994).

    Without a one, the count is undefined.
    """
    size = 2 ** (len(value) - 1).bit_length()

    def count(part: Value) -> tuple[Value, Value]:
        """Count in a part, and tell whether it has a one."""
        if len(part) == 1:
            return Const(0, 0), part
        half = len(part) // 2
        (low, low_any), (high, high_any) = count(part[:half]), count(part[half:])
        return Cat(Mux(high_any, high, low), ~high_any), low_any | high_any

    return count(Cat(Const(0, size - len(value)), value))[0]


@dataclass(frozen=True, kw_only=True)
class Normalized:
    """Significand with its leading one at the top or, if subnormal, with exponent 1.

    Parameters
    ----------
    significand : as wide as the value that was normalized
    exponent : signed; stored exponent of the result before rounding
    sticky : whether a one was shifted out below the significand
    """

    significand: Value
    exponent: Value
    sticky: Value


def normalize(m: Module, value: Value, room: Value, lowest: int, name: str) -> Normalized:
    """Shift a magnitude so that it can be rounded.

    Parameters
    ----------
    m : module to add wires to
    value : magnitude, unsigned
    room : signed; places from the magnitude's own exponent to exponent 1, below which numbers are
        subnormal. A negative number means that the magnitude must be shifted right.
    lowest : lowest value that ``room`` can have; logic for values below it is left out
    name : prefix of the wires' names
    """
    zeros = wire(m, _leading_zeros(value), f"{name}_zeros")
    if lowest >= len(value) - 1:
        # There is always room for all leading zeros: the result is never subnormal.
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
    """Round to the nearest value of a format, half to even (IEEE 754-2019, 4.3.1).

    Parameters
    ----------
    m : module to add wires to
    fmt : format of the result
    negative : sign of the result
    value : the normalized value
    name : prefix of the wires' names

    Returns
    -------
    The pattern: ``fmt.overflow`` with the sign if the value is too large. The NaN of a format
    without infinities has no sign.
    """
    significand = Cat(Const(0, max(fmt.precision - len(value.significand), 0)), value.significand)
    cut = len(significand) - fmt.precision
    kept = significand[cut:]
    if cut:
        half, rest = significand[cut - 1], Cat(significand[: cut - 1], value.sticky).any()
        increment = half & (rest | kept[0])
    else:
        # The result is wider than the value, and therefore exact.
        increment = Const(0, 1)
    # The leading one, and a carry out of the fraction, each add one to the exponent.
    base = Cat(Const(0, fmt.mantissa_bits), (value.exponent - 1)[: fmt.exponent_bits])
    pattern = wire(m, (base + kept + increment)[: fmt.bits], f"{name}_pattern")
    over = value.exponent > fmt.largest_exponent
    if fmt.infinities:
        # Rounding up from the largest number gives the pattern of infinity.
        return Cat(Mux(over, fmt.overflow, pattern)[: fmt.bits - 1], negative)
    over = wire(m, over | (pattern >= fmt.overflow), f"{name}_over")
    return Cat(Mux(over, fmt.overflow, pattern)[: fmt.bits - 1], negative & ~over)


def special(fmt: FloatFormat, value: Value, infinite: Value, negative: Value, nan: Value) -> Value:
    """Select a finite value, an infinity, or NaN.

    Parameters
    ----------
    fmt : format of the result
    value : pattern of the finite value
    infinite, negative : whether the result is an infinity, and its sign
    nan : whether the result is NaN; it comes before ``infinite``
    """
    infinity = Cat(Const(fmt.overflow, fmt.bits - 1), negative)
    return Mux(nan, Const(fmt.nan, fmt.bits), Mux(infinite, infinity, value))


class FloatMultiplier(wiring.Component):
    """Multiplier that rounds the product of two numbers once, to a third format (IEEE 754-2019).

    Latency: ``stages`` cycles. Throughput: one product per cycle. No register has a reset.

    Parameters
    ----------
    a_format : format of the first operand; integers are legal too
    b_format : format of the second operand
    to : format of the product
    target : a ``Target`` or its value, see ``multiply``
    stages : 1 or 2; 1 has a register at the end, 2 also one after the product of the significands

    Raises
    ------
    TypeError
        If a format is not a number format, ``target`` is not a string, or ``stages`` is not an
        integer.
    ValueError
        If ``target`` or ``stages`` is not legal.

    Members
    -------
    a : In(``a_format.bits``); pattern of the first operand
    b : In(``b_format.bits``); pattern of the second operand
    y : Out(``to.bits``); pattern of the product
    """

    def __init__(
        self,
        *,
        a_format: FloatFormat | IntFormat,
        b_format: FloatFormat,
        to: FloatFormat,
        target: Target | str = Target.ASIC,
        stages: int = 2,
    ) -> None:
        self._stages = check_integer("stages", stages, 1, 2)
        check_format("a_format", a_format, integer=True)
        check_format("b_format", b_format)
        check_format("to", to)
        self._target = check_choice("target", target, Target)
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
        keep = register if self._stages == 2 else wire
        product = keep(m, product, "product")
        exponent = keep(m, a.exponent + b.exponent, "exponent")
        negative = keep(m, a.negative ^ b.negative, "negative")
        nan = keep(m, a.nan | b.nan | (infinite & (a.zero | b.zero)), "nan")
        infinite = keep(m, infinite, "infinite")
        # If the highest bit is the leading one, the stored exponent is one more than this.
        offset = self._a_format.scale + self._b_format.scale + len(product) - 2 + to.bias
        lowest = offset + 1 + isinstance(self._a_format, FloatFormat)
        room = wire(m, exponent + Const(offset, signed(len(exponent) + 3)), "room")
        # Zeros below keep the bits of a subnormal product that the result has room for.
        pad = max(to.precision + 1 - len(product), 0) if lowest < 0 else 0
        normalized = normalize(m, Cat(Const(0, pad), product), room, lowest, "product")
        rounded = round_and_pack(m, to, negative, normalized, "product")
        # Zero has no leading one, and is not normalized.
        value = Mux(product.any(), rounded, Cat(Const(0, to.bits - 1), negative))
        m.d.sync += self.y.eq(special(to, value, infinite, negative, nan))
        return m


class FloatAdder(wiring.Component):
    """Adder of two numbers of one format (IEEE 754-2019).

    Latency: ``stages`` cycles. Throughput: one sum per cycle. No register has a reset.

    Parameters
    ----------
    fmt : format of the operands and of the sum
    stages : 1 to 3; 1 has a register at the end, 2 also one after the alignment, and 3 also one
        after the addition

    Raises
    ------
    TypeError
        If ``fmt`` is not a ``FloatFormat``, or ``stages`` is not an integer.
    ValueError
        If ``stages`` is not legal.

    Members
    -------
    a, b : In(``fmt.bits``); patterns of the operands
    y : Out(``fmt.bits``); pattern of the sum
    """

    def __init__(self, *, fmt: FloatFormat, stages: int) -> None:
        check_format("fmt", fmt)
        self._fmt = fmt
        self._stages = check_integer("stages", stages, 1, 3)
        super().__init__({"a": In(fmt.bits), "b": In(fmt.bits), "y": Out(fmt.bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt = self._fmt

        def stage(number: int) -> Callable[[Value, str], Signal]:
            """Make a register if the adder has this stage, else a wire."""
            function = register if self._stages >= number else wire
            return lambda value, name: function(m, value, name)

        # The operand with the larger magnitude comes first; patterns compare like magnitudes.
        swap = wire(m, self.a[:-1] < self.b[:-1], "swap")
        large = unpack(m, fmt, wire(m, Mux(swap, self.b, self.a), "large"), "large")
        small = unpack(m, fmt, wire(m, Mux(swap, self.a, self.b), "small"), "small")
        behind = wire(m, (large.exponent - small.exponent)[: fmt.exponent_bits], "behind")
        differ = wire(m, large.negative ^ small.negative, "differ")
        # Three bits below: guard, round and sticky. A subtraction shifts left by one place at most
        # if the sticky bit is set.
        moved, lost = _shift_right_sticky(Cat(Const(0, 2), small.significand), behind)

        align = stage(2)
        significand = align(large.significand, "significand")
        addend = align(Cat(lost, moved), "addend")
        subtract = align(differ, "subtract")
        exponent = align(large.exponent, "exponent")
        # A sum of zero is negative only if both operands are.
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

        # The highest bit is the carry, and worth twice the leading one of the larger operand.
        room = wire(m, Cat(exponent, Const(0, 1)).as_signed(), "room")
        normalized = normalize(m, total, room, 1, "sum")
        rounded = round_and_pack(m, fmt, negative, normalized, "sum")
        zero = Cat(Const(0, fmt.bits - 1), negative & ~subtract)
        value = Mux(total.any(), rounded, zero)
        m.d.sync += self.y.eq(special(fmt, value, infinite, negative, nan))
        return m

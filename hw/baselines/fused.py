"""Dot products of floating-point numbers that align, add integers and round once."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from ...golden.floats import FloatFormat, IntFormat
from ..engine.dot import add_or_subtract
from .floats import (
    Normalized,
    normalize,
    register,
    round_and_pack,
    shift_right,
    special,
    unpack,
    wire,
)
from .multiply import multiply
from .unit import DotUnit, add_magnitudes, delay, slots

__all__ = ["FusedDot"]


def _largest(m: Module, values: list[Value], levels: int | None, name: str) -> list[Value]:
    """Maxima by a tree of comparisons: one, or those that so many levels leave."""
    level = 0
    while len(values) > 1 and level != levels:
        level += 1
        pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
        values = [
            wire(m, Mux(pair[0] > pair[-1], pair[0], pair[-1]), f"{name}{level}_{i}")
            if len(pair) == 2
            else pair[0]
            for i, pair in enumerate(pairs)
        ]
    return values


class FusedDot(DotUnit):
    """The dot product that ``trilith.golden.floats.fused_dot`` defines.

    Products are exact. Each is shifted right by how far its exponent is below the largest of its
    dot product so far, and cut off below ``window`` bits; integers are added in a tree whose signs
    travel beside the sums, and in an accumulator that is shifted when the largest exponent grows.
    Exponents run ahead of the products, so that the accumulator's loop is a shifter and an adder,
    one clock, and there is one accumulator: nothing is normalized or rounded before the end.

    Latency: ``8 + ceil(ceil(log2(lanes)) / levels_per_stage)`` clocks: operands; products and
    exponents; largest exponent; alignment; the tree; accumulator; its magnitude; normalization;
    rounding. Throughput: a beat per clock.

    Parameters
    ----------
    weight_format, activation_format : of the operands
    to : of the result
    lanes : products in a beat
    k_max : products in a dot product, at most
    window : bits kept of the largest product; by default three more than a significand of ``to``
    levels_per_stage : levels of the tree between two registers
    target : see ``multiply``
    """

    def __init__(
        self,
        *,
        weight_format: FloatFormat | IntFormat,
        activation_format: FloatFormat,
        to: FloatFormat,
        lanes: int,
        k_max: int,
        window: int | None = None,
        levels_per_stage: int = 1,
        target: str = "asic",
    ) -> None:
        self._target = target
        self._weight_format = weight_format
        self._activation_format = activation_format
        self._to = to
        self.window = to.precision + 3 if window is None else window
        self._width = (k_max * (2**self.window - 1)).bit_length() + 1
        self._levels_per_stage = levels_per_stage
        super().__init__(
            lanes=lanes,
            weights=lanes * weight_format.bits,
            activations=lanes * activation_format.bits,
            total=to.bits,
            latency=8 - (-(lanes - 1).bit_length() // levels_per_stage),
            parts={
                "operands": "weights|activations|packed",
                "product": "p[0-9]+",
                "align": "t[0-9]+|e[0-9]+_|maximum|running|largest|before|grown",
                "tree": "[us][0-9]+",
                "accumulator": "accumulator|exponent|seen",
                "result": "r[12]_|total",
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        weights, activations = self.operands(m)
        valid = delay(m, self.valid, 1, "valid", reset=True)
        last = delay(m, self.last, 1, "last")
        first = slots(m, valid, last, 1)

        # Products, their exponents, and what is special about them.
        products: list[Value] = []
        exponents: list[Value] = []
        negatives: list[Value] = []
        nans: list[Value] = []
        infinities: tuple[list[Value], list[Value]] = ([], [])
        for lane in range(self.lanes):
            w = unpack(m, self._weight_format, weights[lane], f"w{lane}")
            x = unpack(m, self._activation_format, activations[lane], f"x{lane}")
            negative = wire(m, w.negative ^ x.negative, f"negative{lane}")
            infinite, zero = w.infinite | x.infinite, w.zero | x.zero
            exponent = (w.exponent + x.exponent) & ~zero.replicate(
                max(len(w.exponent), len(x.exponent)) + 1
            )
            nans.append(w.nan | x.nan | (infinite & zero))
            infinities[0].append(infinite & ~negative)
            infinities[1].append(infinite & negative)
            product = multiply(m, w.significand, x.significand, f"p{lane}", self._target)
            products.append(register(m, product, f"p{lane}"))
            exponents.append(wire(m, exponent, f"e{lane}"))
            negatives.append(register(m, negative, f"s{lane}"))
        specials = register(m, Cat(Cat(lanes).any() for lanes in (nans, *infinities)), "specials")

        # The largest exponent so far, in two clocks; products wait for the second.
        levels = (self.lanes - 1).bit_length() // 2
        maxima = [
            register(m, value, f"maximum{i}")
            for i, value in enumerate(_largest(m, exponents, levels, "a"))
        ]
        exponents = [register(m, value, f"e{lane}_1") for lane, value in enumerate(exponents)]
        valid = delay(m, valid, 1, "valid_1", reset=True)
        last = delay(m, last, 1, "last_1")
        first = delay(m, first, 1, "first_1")
        running = Signal(len(exponents[0]), reset_less=True)
        (beat_largest,) = _largest(m, maxima, None, "b")
        before = Mux(first, 0, running)
        largest = wire(m, Mux(beat_largest > before, beat_largest, before), "largest")
        with m.If(valid):
            m.d.sync += running.eq(largest)
        largest, before = register(m, largest, "largest_1"), register(m, before, "before_1")
        exponents = [delay(m, value, 1, f"e{lane}_2") for lane, value in enumerate(exponents)]
        products = [delay(m, value, 1, f"p{lane}") for lane, value in enumerate(products)]
        negatives = [delay(m, value, 1, f"s{lane}") for lane, value in enumerate(negatives)]

        # Alignment.
        guard = self.window - len(products[0])
        terms: list[Value] = []
        for lane, (product, exponent) in enumerate(zip(products, exponents, strict=True)):
            behind = wire(m, (largest - exponent)[: len(exponent)], f"behind{lane}")
            aligned = shift_right(Cat(Const(0, max(guard, 0)), product), behind)
            terms.append(register(m, aligned[max(-guard, 0) :], f"t{lane}"))
        negatives = [delay(m, value, 1, f"s{lane}_3") for lane, value in enumerate(negatives)]
        total, subtract = add_magnitudes(m, terms, negatives, self._levels_per_stage)
        clocks = -(-(self.lanes - 1).bit_length() // self._levels_per_stage)
        grown = wire(m, (largest - before)[: len(largest)], "grown")
        steps = self._width.bit_length()
        if len(grown) > steps:
            # All that is beyond shifts everything out.
            grown = Mux(grown[steps:].any(), 2**steps - 1, grown[:steps])

        # The accumulator.
        valid = delay(m, valid, 2 + clocks, "valid_2", reset=True)
        last = delay(m, last, 2 + clocks, "last_2")
        first = delay(m, first, 2 + clocks, "first_2")
        grown = delay(m, grown, 1 + clocks, "grown")
        largest = delay(m, largest, 1 + clocks, "largest_2")
        specials = delay(m, specials, 2 + clocks, "specials_2")
        accumulator = Signal(self._width, reset_less=True)
        exponent = Signal(len(largest), reset_less=True)
        seen = Signal(3, reset_less=True)
        kept = Mux(first, 0, shift_right(accumulator, grown, fill=accumulator[-1]))
        with m.If(valid):
            m.d.sync += [
                accumulator.eq(add_or_subtract(kept, total, subtract, self._width)),
                exponent.eq(largest),
                seen.eq(Mux(first, 0, seen) | specials),
            ]

        # The result, once for a dot product; registers hold while there is none.
        finish = delay(m, valid & last, 1, "finish", reset=True)
        negative = accumulator[-1]
        magnitude = Mux(negative, -accumulator.as_signed(), accumulator)[: self._width]
        done = finish
        values = {"magnitude": magnitude, "negative": negative, "exponent": exponent, "seen": seen}
        values = self._hold(m, done, values, "r1")
        done = delay(m, done, 1, "done_1", reset=True)
        scale = self._weight_format.scale + self._activation_format.scale - guard
        offset = scale + self._width - 2 + self._to.bias
        lowest = offset + isinstance(self._weight_format, FloatFormat) + 1
        room = wire(m, (values["exponent"] + Const(offset, signed(12))).as_signed(), "room")
        normalized = normalize(m, values["magnitude"], room, lowest, "result")
        values = self._hold(
            m,
            done,
            {
                "significand": normalized.significand,
                "stored": normalized.exponent,
                "sticky": normalized.sticky,
                "zero": ~values["magnitude"].any(),
                "negative": values["negative"],
                "seen": values["seen"],
            },
            "r2",
        )
        done = delay(m, done, 1, "done_2", reset=True)
        normalized = Normalized(
            significand=values["significand"],
            exponent=values["stored"].as_signed(),
            sticky=values["sticky"],
        )
        rounded = round_and_pack(m, self._to, values["negative"], normalized, "result")
        nan, positive, minus = values["seen"]
        result = Mux(values["zero"], 0, rounded)
        result = special(self._to, result, positive | minus, minus, nan | (positive & minus))
        m.d.comb += self.done.eq(delay(m, done, 1, "done_3", reset=True))
        with m.If(done):
            m.d.sync += self.total.eq(result)
        return m

    @staticmethod
    def _hold(m: Module, enable: Value, values: dict[str, Value], name: str) -> dict[str, Value]:
        """Registers that take values when enabled."""
        held = {key: Signal(len(value), name=f"{name}_{key}") for key, value in values.items()}
        with m.If(enable):
            m.d.sync += [held[key].eq(value) for key, value in values.items()]
        return held

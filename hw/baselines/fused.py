"""Dot products of floating-point numbers that align, add integers and round once."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from ...golden.floats import FloatFormat, IntFormat
from ..engine.dot import add_or_subtract
from .config import Choice, DotConfig, check_config
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
from .unit import FloatDot, add_magnitudes, add_pairs, delay, slots

__all__ = ["FusedDot"]


def _largest(m: Module, values: list[Value], levels: int | None, name: str) -> list[Value]:
    """Find maxima by a tree of comparisons: the one maximum, or those that ``levels`` levels leave.

    Parameters
    ----------
    m : module to add wires to
    values : unsigned numbers
    levels : levels of the tree; None for all of them
    name : prefix of the wires' names
    """
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


@dataclass(frozen=True, kw_only=True)
class _Flags:
    """Flags that travel with a beat through the pipeline.

    Parameters
    ----------
    valid : the beat counts
    first, last : it is the first, or the last, beat of its dot product
    """

    valid: Value
    last: Value
    first: Value

    def later(self, m: Module, cycles: int, stage: int) -> "_Flags":
        """Delay the flags; ``stage`` numbers the registers."""
        return _Flags(
            valid=delay(m, self.valid, cycles, f"valid_{stage}", reset=True),
            last=delay(m, self.last, cycles, f"last_{stage}"),
            first=delay(m, self.first, cycles, f"first_{stage}"),
        )


@dataclass(frozen=True, kw_only=True)
class _Products:
    """Products of a beat, one for each lane.

    Parameters
    ----------
    magnitudes, negatives : exact product of the significands, and its sign, in registers unless
        the unit has none for products
    exponents : sum of the stored exponents, 0 for a product of zero; one register earlier
    specials : NaN, +∞ and −∞ among the products, one bit for each, beside the products
    """

    magnitudes: list[Value]
    negatives: list[Value]
    exponents: list[Value]
    specials: Value


@dataclass(frozen=True, kw_only=True)
class _Sum:
    """State of the accumulator: ``accumulator · 2^exponent``, scaled by a constant.

    Parameters
    ----------
    accumulator : two's complement
    exponent : largest exponent of the products so far
    specials : NaN, +∞ and −∞ among the products so far
    """

    accumulator: Value
    exponent: Value
    specials: Value


class FusedDot(FloatDot):
    """Dot product of floating-point numbers that rounds only once, at the end.

    ``trilith.golden.floats.fused_dot`` defines the result. Products are exact. Each product is
    shifted right by the distance of its exponent to the largest exponent of its dot product so far,
    and cut off below the window: three bits more than a significand of ``to``. Integers are added
    in a tree, beside which the signs travel, and in an accumulator, which is shifted right when the
    largest exponent grows. Matrix units of GPUs work in this way (Fasi et al., "Numerical behavior
    of NVIDIA tensor cores", PeerJ Computer Science 7:e330, 2021).

    Exponents run ahead of the products. The loop of the accumulator is therefore a shifter and an
    adder in one cycle, and one accumulator is enough.

    Latency: ``8 + ceil(ceil(log2(lanes)) / levels_per_stage)`` cycles, one each for operands;
    products and exponents; largest exponent; alignment; accumulator; magnitude; normalization; and
    rounding; besides those of the tree; one less for each register that ``config.choices`` leave
    out, and for ``early-maximum``. Throughput: one beat per cycle.

    Parameters
    ----------
    config : shape of the unit
    weight_format, activation_format : number formats of the operands
    to : format of the result

    Raises
    ------
    TypeError
        If ``config`` is not a ``DotConfig``, or a format is not a number format.
    ValueError
        If the unit does not have a choice of ``config``, or ``no-product`` stands without
        ``early-maximum``.

    Members
    -------
    weights, activations, valid, last, done, total : see ``DotUnit``
    """

    CHOICES = frozenset(Choice) - {Choice.NO_PACKED, Choice.PAIR_SUMS, Choice.FAST_ADDERS}

    def __init__(
        self,
        config: DotConfig,
        *,
        weight_format: FloatFormat | IntFormat,
        activation_format: FloatFormat,
        to: FloatFormat,
    ) -> None:
        check_config(config)
        #: Cycles of the registers that choices can leave out: 1 or 0.
        self._product = int(Choice.NO_PRODUCT not in config.choices)
        self._wait = int(Choice.EARLY_MAXIMUM not in config.choices)
        self._align = int(Choice.NO_ALIGN not in config.choices)
        self._sum = int(Choice.NO_SUM not in config.choices)
        self._normalized = int(Choice.NO_NORMALIZED not in config.choices)
        super().__init__(
            config,
            weight_format,
            activation_format,
            to,
            latency=4
            + (self._product + self._wait + self._align - 1)
            + (self._sum + self._normalized)
            + config.tree_cycles(config.lanes),
            parts={
                "operands": "weights|activations|packed",
                "product": "p[0-9]+",
                "align": "t[0-9]+|e[0-9]+_|maximum|running|largest|before|grown",
                "tree": "[us][0-9]+",
                "accumulator": "accumulator|exponent|seen",
                "result": "r[12]_|total",
            },
        )
        self._window = to.precision + 3
        # The accumulator holds k_max products of the largest exponent.
        self._width = (config.k_max * (2**self._window - 1)).bit_length() + 1

    @classmethod
    def check_choices(cls, config: DotConfig) -> None:
        super().check_choices(config)
        if Choice.NO_PRODUCT in config.choices and Choice.EARLY_MAXIMUM not in config.choices:
            raise ValueError("choices must have early-maximum beside no-product")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        products, flags = self._multiply(m)
        exponents, largest, before, flags = self._find_largest(m, products.exponents, flags)
        magnitudes, negatives = (
            [delay(m, x, self._wait, f"{name}{lane}") for lane, x in enumerate(values)]
            for name, values in (("p", products.magnitudes), ("s", products.negatives))
        )

        # Bits of the window below a product; negative if the product is wider than the window.
        guard = self._window - len(magnitudes[0])
        terms: list[Value] = []
        for lane, (magnitude, exponent) in enumerate(zip(magnitudes, exponents, strict=True)):
            behind = wire(m, (largest - exponent)[: len(exponent)], f"behind{lane}")
            aligned = shift_right(Cat(Const(0, max(guard, 0)), magnitude), behind)
            keep = register if self._align else wire
            terms.append(keep(m, aligned[max(-guard, 0) :], f"t{lane}"))
        negatives = [delay(m, x, self._align, f"s{lane}_3") for lane, x in enumerate(negatives)]
        beat = self._add(m, terms, negatives)
        grown = wire(m, (largest - before)[: len(largest)], "grown")
        steps = self._width.bit_length()
        if len(grown) > steps:
            # The largest distance shifts everything out, and so does every larger one.
            grown = Mux(grown[steps:].any(), 2**steps - 1, grown[:steps])

        # Flags and exponents wait for the alignment and the tree.
        cycles = self._align + self.config.tree_cycles(self.lanes) + self._sum - 1
        flags = flags.later(m, self._product + cycles, 2)
        grown = delay(m, grown, cycles, "grown")
        largest = delay(m, largest, cycles, "largest_2")
        specials = delay(m, products.specials, self._wait + cycles, "specials_2")
        state = self._accumulate(m, flags, grown, largest, specials, beat)
        self._round(m, delay(m, flags.valid & flags.last, 1, "finish", reset=True), state, guard)
        return m

    def _add(
        self, m: Module, terms: list[Value], negatives: list[Value]
    ) -> tuple[Value, Value | None]:
        """Add the terms of a beat; return the sum, and whether to subtract it, None for never."""
        levels, root = self.config.levels_per_stage, bool(self._sum)
        if Choice.CARRY_SAVE not in self.config.choices:
            return add_magnitudes(m, terms, negatives, levels, root=root)
        values: list[Value] = [
            (Cat(term, Const(0, 1)) ^ minus.replicate(len(term) + 1)).as_signed() + minus
            for term, minus in zip(terms, negatives, strict=True)
        ]
        return add_pairs(m, values, levels, root=root), None

    def _multiply(self, m: Module) -> tuple[_Products, _Flags]:
        """Multiply the lanes of a beat, and find the special values among the products."""
        weights, activations = self.operands(m)
        valid = delay(m, self.valid, 1, "valid", reset=True)
        last = delay(m, self.last, 1, "last")
        flags = _Flags(valid=valid, last=last, first=slots(m, valid, last, 1))
        magnitudes: list[Value] = []
        exponents: list[Value] = []
        negatives: list[Value] = []
        nans: list[Value] = []
        infinities: tuple[list[Value], list[Value]] = ([], [])
        keep = register if self._product else wire
        for lane in range(self.lanes):
            w = unpack(m, self._weight_format, weights[lane], f"w{lane}")
            x = unpack(m, self._activation_format, activations[lane], f"x{lane}")
            negative = wire(m, w.negative ^ x.negative, f"negative{lane}")
            infinite, zero = w.infinite | x.infinite, w.zero | x.zero
            # A product of zero must not decide the largest exponent.
            exponent = (w.exponent + x.exponent) & ~zero.replicate(
                max(len(w.exponent), len(x.exponent)) + 1
            )
            nans.append(w.nan | x.nan | (infinite & zero))
            infinities[0].append(infinite & ~negative)
            infinities[1].append(infinite & negative)
            product = multiply(m, w.significand, x.significand, f"p{lane}", self.config.target)
            magnitudes.append(keep(m, product, f"p{lane}"))
            exponents.append(wire(m, exponent, f"e{lane}"))
            negatives.append(keep(m, negative, f"s{lane}"))
        specials = keep(m, Cat(Cat(lanes).any() for lanes in (nans, *infinities)), "specials")
        products = _Products(
            magnitudes=magnitudes, negatives=negatives, exponents=exponents, specials=specials
        )
        return products, flags

    def _find_largest(
        self, m: Module, exponents: list[Value], flags: _Flags
    ) -> tuple[list[Value], Value, Value, _Flags]:
        """Find the largest exponent of the dot product so far, in two cycles or one.

        Returns
        -------
        The lanes' exponents, the largest exponent, the largest exponent before this beat, and the
        flags. The flags are ahead of the exponents by the register of the products.
        """
        wait, product = self._wait, self._product
        # In two cycles, each has half of the tree of comparisons.
        levels = self.config.tree_levels // 2 if wait else 0
        keep = register if wait else wire
        maxima = [
            keep(m, value, f"maximum{i}")
            for i, value in enumerate(_largest(m, exponents, levels, "a"))
        ]
        exponents = [delay(m, value, wait, f"e{lane}") for lane, value in enumerate(exponents)]
        flags = flags.later(m, wait, 1)
        running = Signal(len(exponents[0]), reset_less=True)
        (beat_largest,) = _largest(m, maxima, None, "b")
        before = Mux(flags.first, 0, running)
        largest = wire(m, Mux(beat_largest > before, beat_largest, before), "largest")
        with m.If(flags.valid):
            m.d.sync += running.eq(largest)
        keep = register if product else wire
        largest, before = keep(m, largest, "largest_1"), keep(m, before, "before_1")
        exponents = [delay(m, value, product, f"e{lane}_2") for lane, value in enumerate(exponents)]
        return exponents, largest, before, flags

    def _accumulate(
        self,
        m: Module,
        flags: _Flags,
        grown: Value,
        largest: Value,
        specials: Value,
        beat: tuple[Value, Value | None],
    ) -> _Sum:
        """Add the sum of a beat, or subtract it, after a shift by the growth of the exponent."""
        total, subtract = beat
        accumulator = Signal(self._width, reset_less=True)
        exponent = Signal(len(largest), reset_less=True)
        seen = Signal(3, reset_less=True)
        kept = Mux(flags.first, 0, shift_right(accumulator, grown, fill=accumulator[-1]))
        if subtract is None:
            added: Value = kept.as_signed() + total
        else:
            added = add_or_subtract(kept, total, subtract, self._width)
        with m.If(flags.valid):
            m.d.sync += [
                accumulator.eq(added),
                exponent.eq(largest),
                seen.eq(Mux(flags.first, 0, seen) | specials),
            ]
        return _Sum(accumulator=accumulator, exponent=exponent, specials=seen)

    def _round(self, m: Module, done: Value, state: _Sum, guard: int) -> None:
        """Round the accumulator once per dot product, in three cycles or two.

        The registers hold their values between results, which saves their energy.
        """
        negative = state.accumulator[-1]
        magnitude = Mux(negative, -state.accumulator.as_signed(), state.accumulator)[: self._width]
        values = {
            "magnitude": magnitude,
            "negative": negative,
            "exponent": state.exponent,
            "seen": state.specials,
        }
        values = self._hold(m, done, values, "r1")
        done = delay(m, done, 1, "done_1", reset=True)
        # The lowest bit of the accumulator is worth 2^(exponent + scale).
        scale = self._weight_format.scale + self._activation_format.scale - guard
        offset = scale + self._width - 2 + self._to.bias
        lowest = offset + isinstance(self._weight_format, FloatFormat) + 1
        room = wire(m, (values["exponent"] + Const(offset, signed(12))).as_signed(), "room")
        normalized = normalize(m, values["magnitude"], room, lowest, "result")
        values = {
            "significand": normalized.significand,
            "stored": normalized.exponent,
            "sticky": normalized.sticky,
            "zero": ~values["magnitude"].any(),
            "negative": values["negative"],
            "seen": values["seen"],
        }
        if self._normalized:
            values = self._hold(m, done, values, "r2")
            done = delay(m, done, 1, "done_2", reset=True)
        normalized = Normalized(
            significand=values["significand"],
            exponent=values["stored"].as_signed(),
            sticky=values["sticky"],
        )
        rounded = round_and_pack(m, self._to, values["negative"], normalized, "result")
        nan, positive, minus = values["seen"]
        result = Mux(values["zero"], 0, rounded)
        # Infinities of both signs add up to NaN.
        result = special(self._to, result, positive | minus, minus, nan | (positive & minus))
        m.d.comb += self.done.eq(delay(m, done, 1, "done_3", reset=True))
        with m.If(done):
            m.d.sync += self.total.eq(result)

    @staticmethod
    def _hold(m: Module, enable: Value, values: dict[str, Value], name: str) -> dict[str, Value]:
        """Register values, each under its key, while ``enable`` is high."""
        held = {key: Signal(len(value), name=f"{name}_{key}") for key, value in values.items()}
        with m.If(enable):
            m.d.sync += [held[key].eq(value) for key, value in values.items()]
        return held

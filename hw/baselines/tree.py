"""Dot products of floating-point numbers by IEEE 754 multipliers and adders."""

from amaranth.hdl import Cat, Const, Module, Mux, Value

from ...golden.floats import FloatFormat, IntFormat
from .floats import FloatAdder, FloatMultiplier
from .unit import DotUnit, delay, slots

__all__ = ["TreeDot"]


class TreeDot(DotUnit):
    """The dot product that ``trilith.golden.floats.tree_dot`` defines: every operation rounds.

    The accumulator's loop is an adder, which takes ``adder_stages`` clocks and serves as many dot
    products in turn: ``interleave`` is that number.

    Latency: ``3 + adder_stages · (ceil(log2(lanes)) + 1)`` clocks: operands, two of the
    multipliers, the adders of the tree and that of the accumulator. Throughput: a beat per clock.

    Parameters
    ----------
    weight_format, activation_format : of the operands
    to : of products, sums and the result
    lanes : products in a beat
    adder_stages : clocks of an adder, 1 to 3
    target : see ``multiply``
    """

    def __init__(
        self,
        *,
        weight_format: FloatFormat | IntFormat,
        activation_format: FloatFormat,
        to: FloatFormat,
        lanes: int,
        adder_stages: int = 2,
        target: str = "asic",
    ) -> None:
        self._target = target
        self._weight_format = weight_format
        self._activation_format = activation_format
        self._to = to
        self._adder_stages = adder_stages
        super().__init__(
            lanes=lanes,
            weights=lanes * weight_format.bits,
            activations=lanes * activation_format.bits,
            total=to.bits,
            latency=3 + adder_stages * ((lanes - 1).bit_length() + 1),
            parts={
                "operands": "weights|activations|packed",
                "product": r"multiplier[0-9]+\.",
                "tree": r"adder[0-9]+_|odd",
                "accumulator": r"accumulator\.",
            },
            interleave=adder_stages,
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        weights, activations = self.operands(m)
        values: list[Value] = []
        for lane in range(self.lanes):
            m.submodules[f"multiplier{lane}"] = multiplier = FloatMultiplier(
                a_format=self._weight_format,
                b_format=self._activation_format,
                to=self._to,
                target=self._target,
            )
            m.d.comb += [multiplier.a.eq(weights[lane]), multiplier.b.eq(activations[lane])]
            values.append(multiplier.y)
        level = 0
        while len(values) > 1:
            level += 1
            pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
            values = [
                self._add(m, pair[0], pair[1], f"adder{level}_{i}")
                if len(pair) == 2
                else delay(m, pair[0], self._adder_stages, f"odd{level}")
                for i, pair in enumerate(pairs)
            ]
        before = self.latency - self._adder_stages
        valid = delay(m, self.valid, before, "valid", reset=True)
        last = delay(m, self.last, before, "last")
        first = slots(m, valid, last, self.interleave)
        # What is added to −0 stays as it is.
        nothing = Cat(Const(0, self._to.bits - 1), Const(1, 1))
        m.submodules.accumulator = accumulator = FloatAdder(fmt=self._to, stages=self._adder_stages)
        m.d.comb += [
            accumulator.a.eq(Mux(valid, values[0], nothing)),
            accumulator.b.eq(Mux(first, nothing, accumulator.y)),
            self.total.eq(accumulator.y),
            self.done.eq(delay(m, valid & last, self._adder_stages, "done", reset=True)),
        ]
        return m

    def _add(self, m: Module, a: Value, b: Value, name: str) -> Value:
        m.submodules[name] = adder = FloatAdder(fmt=self._to, stages=self._adder_stages)
        m.d.comb += [adder.a.eq(a), adder.b.eq(b)]
        return adder.y

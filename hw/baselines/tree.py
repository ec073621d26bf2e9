"""Dot products of floating-point numbers by IEEE 754 multipliers and adders."""

from amaranth.hdl import Cat, Const, Module, Mux, Value

from ...golden.floats import FloatFormat, IntFormat
from .config import DotConfig, check_config
from .floats import FloatAdder, FloatMultiplier
from .unit import FloatDot, delay, slots

__all__ = ["TreeDot"]

#: Latency of an adder, and so the dot products that share the loop of the accumulator.
_ADDER_CYCLES = 2


class TreeDot(FloatDot):
    """Dot product of floating-point numbers in which every operation rounds (IEEE 754-2019).

    ``trilith.golden.floats.tree_dot`` defines the result: a binary tree of adders over the lanes,
    and an adder as accumulator. The adder of the accumulator takes two cycles, so that two dot
    products take turns in it: ``interleave`` is 2.

    Latency: ``5 + 2 · ceil(log2(lanes))`` cycles: one for the operands, two for the multipliers,
    and two for each level of adders and for the accumulator. Throughput: one beat per cycle.

    Parameters
    ----------
    config : shape of the unit; ``levels_per_stage`` is ignored
    weight_format, activation_format : number formats of the operands
    to : format of products, sums and the result

    Raises
    ------
    TypeError
        If ``config`` is not a ``DotConfig``, or a format is not a number format.

    Members
    -------
    weights, activations, valid, last, done, total : see ``DotUnit``
    """

    def __init__(
        self,
        config: DotConfig,
        *,
        weight_format: FloatFormat | IntFormat,
        activation_format: FloatFormat,
        to: FloatFormat,
    ) -> None:
        check_config(config)
        super().__init__(
            config,
            weight_format,
            activation_format,
            to,
            latency=3 + _ADDER_CYCLES * (config.tree_levels + 1),
            parts={
                "operands": "weights|activations|packed",
                "product": r"multiplier[0-9]+\.",
                "tree": r"adder[0-9]+_|odd",
                "accumulator": r"accumulator\.",
            },
            interleave=_ADDER_CYCLES,
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
                target=self.config.target,
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
                else delay(m, pair[0], _ADDER_CYCLES, f"odd{level}")
                for i, pair in enumerate(pairs)
            ]
        before = self.latency - _ADDER_CYCLES
        valid = delay(m, self.valid, before, "valid", reset=True)
        last = delay(m, self.last, before, "last")
        first = slots(m, valid, last, self.interleave)
        # The neutral element of addition is −0: x + −0 = x, also for x = −0.
        nothing = Cat(Const(0, self._to.bits - 1), Const(1, 1))
        m.submodules.accumulator = accumulator = FloatAdder(fmt=self._to, stages=_ADDER_CYCLES)
        m.d.comb += [
            accumulator.a.eq(Mux(valid, values[0], nothing)),
            accumulator.b.eq(Mux(first, nothing, accumulator.y)),
            self.total.eq(accumulator.y),
            self.done.eq(delay(m, valid & last, _ADDER_CYCLES, "done", reset=True)),
        ]
        return m

    def _add(self, m: Module, a: Value, b: Value, name: str) -> Value:
        """Add two values in an adder of the tree."""
        m.submodules[name] = adder = FloatAdder(fmt=self._to, stages=_ADDER_CYCLES)
        m.d.comb += [adder.a.eq(a), adder.b.eq(b)]
        return adder.y

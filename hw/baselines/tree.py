"""Dot products of floating-point numbers by IEEE 754 multipliers and adders."""

from amaranth.hdl import Cat, Const, Module, Mux, Value

from ...golden.floats import FloatFormat, IntFormat
from .config import Choice, DotConfig, check_config
from .floats import FloatAdder, FloatMultiplier
from .unit import FloatDot, delay, slots

__all__ = ["TreeDot"]


class TreeDot(FloatDot):
    """Dot product of floating-point numbers in which every operation rounds (IEEE 754-2019).

    ``trilith.golden.floats.tree_dot`` defines the result: a binary tree of adders over the lanes,
    and an adder as accumulator. The adder of the accumulator takes two cycles, so that two dot
    products take turns in it: ``interleave`` is 2, or 1 with ``fast-adders``.

    Latency: ``5 + 2 · ceil(log2(lanes))`` cycles: one for the operands, two for the multipliers,
    and two for each level of adders and for the accumulator. With ``fast-adders`` each of the
    latter takes one, and with ``no-product`` the multipliers do. Throughput: one beat per cycle.

    Parameters
    ----------
    config : shape of the unit; ``levels_per_stage`` is ignored
    weight_format, activation_format : number formats of the operands
    to : format of products, sums and the result

    Raises
    ------
    TypeError
        If ``config`` is not a ``DotConfig``, or a format is not a number format.
    ValueError
        If the unit does not have a choice of ``config``.

    Members
    -------
    weights, activations, valid, last, done, total : see ``DotUnit``
    """

    CHOICES = frozenset((Choice.NO_PRODUCT, Choice.ARRAY, Choice.FAST_ADDERS))

    def __init__(
        self,
        config: DotConfig,
        *,
        weight_format: FloatFormat | IntFormat,
        activation_format: FloatFormat,
        to: FloatFormat,
    ) -> None:
        check_config(config)
        self._multiplier_stages = 1 if Choice.NO_PRODUCT in config.choices else 2
        #: Latency of an adder, and so the dot products that share the loop of the accumulator.
        self._adder_stages = 1 if Choice.FAST_ADDERS in config.choices else 2
        super().__init__(
            config,
            weight_format,
            activation_format,
            to,
            latency=1 + self._multiplier_stages + self._adder_stages * (config.tree_levels + 1),
            parts={
                "operands": "weights|activations|packed",
                "product": r"multiplier[0-9]+\.",
                "tree": r"adder[0-9]+_|odd",
                "accumulator": r"accumulator\.",
            },
            interleave=self._adder_stages,
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
                stages=self._multiplier_stages,
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
        # The neutral element of addition is −0: x + −0 = x, also for x = −0.
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
        """Add two values in an adder of the tree."""
        m.submodules[name] = adder = FloatAdder(fmt=self._to, stages=self._adder_stages)
        m.d.comb += [adder.a.eq(a), adder.b.eq(b)]
        return adder.y

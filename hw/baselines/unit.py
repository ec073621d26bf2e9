"""The interface that all measured dot products share, and what they have in common."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..engine.dot import add_or_subtract
from .floats import register, wire

__all__ = ["DotRows", "DotUnit", "add_magnitudes", "add_pairs", "delay", "slots"]


class DotUnit(wiring.Component):
    """A row of ``lanes`` products, their sum, and an accumulator over the beats of a dot product.

    The operands of a beat enter in one clock, registers of their own first, and every clock may
    bring a beat. With ``interleave`` above 1 the accumulator's loop takes that many clocks and
    serves as many dot products in turn: beats that many clocks apart belong together.

    Latency: ``latency`` clocks from the last beat's weights to its result. Throughput: a beat per
    clock, and where a dot product is one beat a result per clock.

    ``skew`` is by how many clocks a beat's activations enter after its weights. ``parts`` says what
    registers, and the logic in front of them, are for: patterns of names from the operands on, the
    first that matches; what none matches is control.

    Members
    -------
    weights, activations : In; of one beat, lane 0 lowest
    valid, last : In; the beat counts; it ends its dot product, so that the next one begins another
    done : Out; ``total`` is a result
    total : Out; the result while ``done`` is set
    """

    def __init__(
        self,
        *,
        lanes: int,
        weights: int,
        activations: int,
        total: int,
        latency: int,
        parts: Mapping[str, str],
        interleave: int = 1,
        skew: int = 0,
    ) -> None:
        #: Part to the pattern of its registers' names.
        self.parts = parts
        self.lanes = lanes
        self.latency = latency
        self.interleave = interleave
        self.skew = skew
        super().__init__(
            {
                "weights": In(weights),
                "activations": In(activations),
                "valid": In(1),
                "last": In(1),
                "done": Out(1),
                "total": Out(total),
            }
        )

    def operands(self, m: Module) -> tuple[data.View, data.View]:
        """The registered operands as arrays of lanes."""
        views = []
        for name in ("weights", "activations"):
            port = getattr(self, name)
            layout = data.ArrayLayout(len(port) // self.lanes, self.lanes)
            views.append(data.View(layout, register(m, port, f"{name}_register")))
        return views[0], views[1]


class DotRows(DotUnit):
    """Several equal units that share their activations, each with weights of its own.

    What the rows have in common, the registers of the activations above all, synthesis makes one.
    Ports are a single unit's, ``weights`` and ``total`` once for every row, the first row lowest.

    Latency and throughput: the units'.

    Parameters
    ----------
    units : equal ones
    """

    def __init__(self, units: Sequence[DotUnit]) -> None:
        first = units[0]
        self._units = units
        super().__init__(
            lanes=first.lanes,
            weights=len(units) * len(first.weights),
            activations=len(first.activations),
            total=len(units) * len(first.total),
            latency=first.latency,
            parts={part: rf"row\d+\.({names})" for part, names in first.parts.items()},
            interleave=first.interleave,
            skew=first.skew,
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for row, unit in enumerate(self._units):
            m.submodules[f"row{row}"] = unit
            m.d.comb += [
                unit.weights.eq(self.weights.word_select(row, len(unit.weights))),
                unit.activations.eq(self.activations),
                unit.valid.eq(self.valid),
                unit.last.eq(self.last),
                self.total.word_select(row, len(unit.total)).eq(unit.total),
            ]
        m.d.comb += self.done.eq(self._units[0].done)
        return m


def delay(m: Module, value: Value, clocks: int, name: str, *, reset: bool = False) -> Value:
    """A value some clocks later; after a reset zero, if so asked."""
    for index in range(clocks):
        later = Signal(value.shape(), name=f"{name}_{index + 1}", reset_less=not reset)
        m.d.sync += later.eq(value)
        value = later
    return value


def slots(m: Module, valid: Value, last: Value, count: int) -> Value:
    """Whether a beat is the first of its dot product, where ``count`` of them take turns."""
    fresh = Signal(count, init=2**count - 1)
    m.d.sync += fresh.eq(Cat(fresh[1:], Mux(valid, last, fresh[0])))
    return fresh[0]


def add_pairs(m: Module, values: list[Value], levels_per_stage: int) -> Value:
    """The sum of integers by a tree of adders.

    A register follows every ``levels_per_stage`` levels, and the last.
    """
    level = 0
    while len(values) > 1:
        level += 1
        pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
        keep = register if level % levels_per_stage == 0 or len(pairs) == 1 else wire
        values = [
            keep(m, pair[0] + pair[1] if len(pair) == 2 else pair[0], f"u{level}_{i}")
            for i, pair in enumerate(pairs)
        ]
    return values[0]


def add_magnitudes(
    m: Module, magnitudes: list[Value], negative: list[Value], levels_per_stage: int
) -> tuple[Value, Value]:
    """The sum of signed magnitudes: a sum, and whether to subtract it.

    As in ``DotProduct`` no magnitude is negated: signs travel up the tree beside the sums, and a
    node adds or subtracts by whether its two differ. Registers are as in ``add_pairs``.
    """
    largest = 2 ** len(magnitudes[0]) - 1
    nodes = [
        (1, minus, Cat(magnitude, Const(0, 1)).as_signed())
        for minus, magnitude in zip(negative, magnitudes, strict=True)
    ]
    level = 0
    while len(nodes) > 1:
        level += 1
        pairs = [nodes[i : i + 2] for i in range(0, len(nodes), 2)]
        nodes = []
        keep = register if level % levels_per_stage == 0 or len(pairs) == 1 else wire
        for index, pair in enumerate(pairs):
            count, minus, total = pair[0]
            if len(pair) == 2:
                other_count, other_minus, other = pair[1]
                count += other_count
                differ = wire(m, minus ^ other_minus, f"d{level}_{index}")
                bits = (count * largest).bit_length() + 1
                total = add_or_subtract(total, other, differ, bits)
            nodes.append(
                (count, keep(m, minus, f"s{level}_{index}"), keep(m, total, f"u{level}_{index}"))
            )
    _, minus, total = nodes[0]
    return total, minus

"""Interface that all measured dot products share, and the parts that they have in common."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...golden.floats import FloatFormat, IntFormat
from ..engine.dot import add_or_subtract
from .config import Choice, DotConfig, check_config
from .floats import check_format, register, wire

__all__ = ["DotRows", "DotUnit", "FloatDot", "add_magnitudes", "add_pairs", "delay", "slots"]


class DotUnit(wiring.Component):
    """Base of the dot products: ``lanes`` products, their sum, and an accumulator over beats.

    The operands of a beat enter in one cycle and pass registers first. Every cycle may bring a
    beat. If ``interleave`` is above 1, the loop of the accumulator takes ``interleave`` cycles and
    serves as many dot products in turn: beats that are ``interleave`` cycles apart belong together.

    Latency: ``latency`` cycles from the weights of the last beat to the result. Throughput: one
    beat per cycle, and one result per cycle if a dot product is one beat.

    Parameters
    ----------
    config : shape of the unit
    weights, activations, total : widths of the ports, in bits
    latency : see above
    parts : pattern of register names for each part of the unit, for the split of its energy. A
        register, and the logic in front of it, belongs to the first part whose pattern matches the
        start of its name; ``control`` is the rest.
    interleave : see above
    skew : cycles by which the activations of a beat enter after its weights

    Raises
    ------
    TypeError
        If ``config`` is not a ``DotConfig``.
    ValueError
        If the unit does not have a choice of ``config``.

    Members
    -------
    weights, activations : In(as wide as given); operands of a beat, lane 0 lowest
    valid : In(1); the beat counts
    last : In(1); with ``valid``, the beat ends its dot product, and the next beat starts another
    done : Out(1); ``total`` is a result
    total : Out(as wide as given); the result, while ``done`` is high
    """

    #: The choices that the kind of unit has, see ``Choice``.
    CHOICES: ClassVar[frozenset[Choice]] = frozenset()

    def __init__(
        self,
        config: DotConfig,
        *,
        weights: int,
        activations: int,
        total: int,
        latency: int,
        parts: Mapping[str, str],
        interleave: int = 1,
        skew: int = 0,
    ) -> None:
        check_config(config)
        self.check_choices(config)
        self.config = config
        #: Whether synthesis makes Booth's multipliers.
        self.booth = Choice.ARRAY not in config.choices
        self.lanes = config.lanes
        #: Pattern of the registers' names for each part.
        self.parts = parts
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

    @classmethod
    def check_choices(cls, config: DotConfig) -> None:
        """Check that this kind of unit has the choices of a configuration, and all of them at once.

        Raises
        ------
        ValueError
            If it does not.
        """
        for choice in config.choices:
            if choice not in cls.CHOICES:
                have = ", ".join(one for one in Choice if one in cls.CHOICES) or "none"
                raise ValueError(
                    f"choices of {cls.__name__} must be among {have}, not {choice.value!r}"
                )
        if {Choice.NO_PRODUCT, Choice.ARRAY} <= set(config.choices):
            # yosys would merge both to one sum of single bits, which takes ABC many minutes.
            raise ValueError("choices must not have both no-product and array")

    def operands(self, m: Module) -> tuple[data.View, data.View]:
        """Register the operands, and return weights and activations as arrays of lanes."""
        views = []
        for name in ("weights", "activations"):
            port = getattr(self, name)
            layout = data.ArrayLayout(len(port) // self.lanes, self.lanes)
            views.append(data.View(layout, register(m, port, f"{name}_register")))
        return views[0], views[1]


class FloatDot(DotUnit):
    """Base of the dot products of floating-point numbers.

    Latency, throughput and members: see ``DotUnit`` and each unit.

    Parameters
    ----------
    config : shape of the unit
    weight_format, activation_format : number formats of the operands
    to : format of the result
    latency, parts, interleave : see ``DotUnit``

    Raises
    ------
    TypeError
        If a format is not a number format.
    """

    def __init__(
        self,
        config: DotConfig,
        weight_format: FloatFormat | IntFormat,
        activation_format: FloatFormat,
        to: FloatFormat,
        *,
        latency: int,
        parts: Mapping[str, str],
        interleave: int = 1,
    ) -> None:
        check_format("weight_format", weight_format, integer=True)
        check_format("activation_format", activation_format)
        check_format("to", to)
        self._weight_format = weight_format
        self._activation_format = activation_format
        self._to = to
        super().__init__(
            config,
            weights=config.lanes * weight_format.bits,
            activations=config.lanes * activation_format.bits,
            total=to.bits,
            latency=latency,
            parts=parts,
            interleave=interleave,
        )


class DotRows(DotUnit):
    """Several equal units side by side, which share their activations.

    Each unit has weights of its own. Synthesis merges the logic that the rows have in common, above
    all the registers of the activations.

    Latency: that of one unit. Throughput: that of one unit, in each row.

    Parameters
    ----------
    units : the units, one for each row, row 0 first

    Raises
    ------
    ValueError
        If there is no unit, or the units differ in their kind or their configuration.

    Members
    -------
    weights, total : as those of a unit, once for each row, row 0 lowest
    activations, valid, last, done : as those of a unit
    """

    def __init__(self, units: Sequence[DotUnit]) -> None:
        if not units:
            raise ValueError("units must have at least one unit")
        first = units[0]
        if any(type(unit) is not type(first) or unit.config != first.config for unit in units):
            raise ValueError("units must have the same kind and configuration")
        self._units = units
        super().__init__(
            first.config,
            weights=len(units) * len(first.weights),
            activations=len(first.activations),
            total=len(units) * len(first.total),
            latency=first.latency,
            parts={part: rf"row\d+\.({names})" for part, names in first.parts.items()},
            interleave=first.interleave,
            skew=first.skew,
        )

    @classmethod
    def check_choices(cls, config: DotConfig) -> None:
        """Accept all choices: each unit has checked them."""

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
        # All rows are in step.
        m.d.comb += self.done.eq(self._units[0].done)
        return m


def delay(m: Module, value: Value, cycles: int, name: str, *, reset: bool = False) -> Value:
    """Delay a value by a chain of registers.

    Parameters
    ----------
    m : module to add the registers to
    value : any value
    cycles : length of the chain, 0 or more
    name : registers are named ``<name>_1``, ``<name>_2``, …
    reset : whether a reset sets the registers to 0; without it they keep their values
    """
    for index in range(cycles):
        later = Signal(value.shape(), name=f"{name}_{index + 1}", reset_less=not reset)
        m.d.sync += later.eq(value)
        value = later
    return value


def slots(m: Module, valid: Value, last: Value, count: int) -> Value:
    """Tell whether a beat is the first one of its dot product.

    Parameters
    ----------
    m : module to add the logic to
    valid, last : flags of the beat, see ``DotUnit``
    count : dot products that take turns, 1 or more
    """
    # One bit for each dot product, the next one in turn lowest.
    fresh = Signal(count, init=2**count - 1)
    m.d.sync += fresh.eq(Cat(fresh[1:], Mux(valid, last, fresh[0])))
    return fresh[0]


def _keep(
    level: int, levels_per_stage: int, nodes: int, *, root: bool
) -> Callable[[Module, Value, str], Signal]:
    """Return ``register`` or ``wire``, whichever follows a level of a tree with so many nodes."""
    registered = root if nodes == 1 else level % levels_per_stage == 0
    return register if registered else wire


def add_pairs(m: Module, values: list[Value], levels_per_stage: int, *, root: bool = True) -> Value:
    """Add integers in a binary tree of adders, without loss.

    Parameters
    ----------
    m : module to add the tree to
    values : signed or unsigned integers, at least one
    levels_per_stage : levels between two registers
    root : whether the root has a register

    Returns
    -------
    The sum, ``ceil(ceil(log2(len(values))) / levels_per_stage)`` cycles later, or one less without
    a register at the root.
    """
    level = 0
    while len(values) > 1:
        level += 1
        pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
        keep = _keep(level, levels_per_stage, len(pairs), root=root)
        values = [
            keep(m, pair[0] + pair[1] if len(pair) == 2 else pair[0], f"u{level}_{i}")
            for i, pair in enumerate(pairs)
        ]
    return values[0]


def add_magnitudes(
    m: Module,
    magnitudes: list[Value],
    negative: list[Value],
    levels_per_stage: int,
    *,
    root: bool = True,
) -> tuple[Value, Value]:
    """Add numbers that are given as sign and magnitude, in a binary tree of adders.

    No magnitude is negated, as in ``DotProduct``: the signs travel up the tree beside the sums, and
    a node subtracts if its two signs differ, else it adds.

    Parameters
    ----------
    m : module to add the tree to
    magnitudes : unsigned integers of one width, at least one
    negative : the sign of each
    levels_per_stage, root : see ``add_pairs``

    Returns
    -------
    A signed sum, and whether the result is its negative. Both arrive as late as in ``add_pairs``.
    """
    largest = 2 ** len(magnitudes[0]) - 1
    # Each node: magnitudes below it, sign, and sum.
    nodes = [
        (1, minus, Cat(magnitude, Const(0, 1)).as_signed())
        for minus, magnitude in zip(negative, magnitudes, strict=True)
    ]
    level = 0
    while len(nodes) > 1:
        level += 1
        pairs = [nodes[i : i + 2] for i in range(0, len(nodes), 2)]
        nodes = []
        keep = _keep(level, levels_per_stage, len(pairs), root=root)
        for index, pair in enumerate(pairs):
            count, minus, total = pair[0]
            if len(pair) == 2:
                other_count, other_minus, other = pair[1]
                count += other_count
                # (−1)^s · a + (−1)^t · b = (−1)^s · (a + (−1)^(s xor t) · b)
                differ = wire(m, minus ^ other_minus, f"d{level}_{index}")
                bits = (count * largest).bit_length() + 1
                total = add_or_subtract(total, other, differ, bits)
            nodes.append(
                (count, keep(m, minus, f"s{level}_{index}"), keep(m, total, f"u{level}_{index}"))
            )
    _, minus, total = nodes[0]
    return total, minus

"""Dot products of integers, trits and bits, all of them exact."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from ...golden.checks import check_choice, check_integer
from ...golden.codes import Code
from ..config import ACT_BITS, Target, check_lanes
from ..engine.dot import DotProduct, Operands, add_or_subtract
from ..engine.weight_decoder import BeatDecoder
from .config import Choice, DotConfig, check_config
from .floats import register, wire
from .multiply import multiply
from .unit import DotUnit, add_pairs, delay, slots

__all__ = ["BinaryDot", "IntegerDot", "TernaryDot"]

#: Parts of a unit, and the names of their registers, see ``DotUnit``.
_PARTS = {
    "operands": "weights|activations|packed",
    "product": "[pc][0-9]+",
    "tree": "u[0-9]+_",
    "accumulator": "accumulator|total",
}


def _signed_bits(largest: int) -> int:
    """Count the bits of a signed number from ``−largest`` to ``largest``."""
    return largest.bit_length() + 1


class _ExactDot(DotUnit):
    """Base of the dot products whose accumulator never rounds and never overflows.

    Latency, throughput, parameters and members: see ``DotUnit`` and each unit.
    """

    def _accumulate(self, m: Module, value: Value, subtract: Value | None = None) -> None:
        """Add the sum of a beat to the accumulator, or subtract it if ``subtract`` is high."""
        before = self.latency - 1
        valid = delay(m, self.valid, before, "valid", reset=True)
        last = delay(m, self.last, before, "last")
        first = slots(m, valid, last, 1)
        width = len(self.total)
        accumulator = Signal(signed(width), reset_less=True)
        kept = Mux(first, 0, accumulator)[:width].as_signed()
        total = kept + value
        if subtract is not None:
            total = add_or_subtract(kept, value, subtract, width)
        # Beats that do not count leave the accumulator as it is.
        with m.If(valid):
            m.d.sync += accumulator.eq(total)
        m.d.comb += self.total.eq(accumulator)
        m.d.comb += self.done.eq(delay(m, valid & last, 1, "done", reset=True))


class IntegerDot(_ExactDot):
    """Dot product of two's complement integers: multipliers and a tree of adders.

    Latency: ``3 + ceil(ceil(log2(lanes)) / levels_per_stage)`` cycles: one for the operands, one
    for the products, those of the tree, and one for the accumulator; one less for each register
    that ``config.choices`` leave out. Throughput: one beat per cycle.

    Parameters
    ----------
    config : shape of the unit
    weight_bits, activation_bits : 2 to 16; widths of the operands, whose whole range is legal

    Raises
    ------
    TypeError
        If ``config`` is not a ``DotConfig``, or a width is not an integer.
    ValueError
        If a width is not legal, or the unit does not have a choice of ``config``.

    Members
    -------
    weights, activations, valid, last, done, total : see ``DotUnit``
    """

    CHOICES = frozenset((Choice.NO_PRODUCT, Choice.NO_SUM, Choice.ARRAY))

    def __init__(self, config: DotConfig, *, weight_bits: int, activation_bits: int) -> None:
        check_config(config)
        weight_bits = check_integer("weight_bits", weight_bits, 2, 16)
        activation_bits = check_integer("activation_bits", activation_bits, 2, 16)
        self._product_register = Choice.NO_PRODUCT not in config.choices
        self._sum_register = Choice.NO_SUM not in config.choices
        super().__init__(
            config,
            weights=config.lanes * weight_bits,
            activations=config.lanes * activation_bits,
            # Both operands at their lowest value give the largest product.
            total=_signed_bits(config.k_max * 2 ** (weight_bits + activation_bits - 2)),
            latency=1
            + self._product_register
            + self._sum_register
            + config.tree_cycles(config.lanes),
            parts=_PARTS,
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        weights, activations = self.operands(m)
        products = [
            multiply(m, w.as_signed(), x.as_signed(), f"p{lane}", self.config.target)
            for lane, (w, x) in enumerate(zip(weights, activations, strict=True))
        ]
        if self._product_register:
            products = [register(m, product, f"p{lane}") for lane, product in enumerate(products)]
        levels = self.config.levels_per_stage
        self._accumulate(m, add_pairs(m, products, levels, root=self._sum_register))
        return m


class TernaryDot(_ExactDot):
    """Dot product of packed trits and integers: the engine's weight decoder and ``DotProduct``.

    The weight decoder stands between the registers of the packed weights and those of the trits;
    the activations are registered beside the latter. For an FPGA, one more register holds each
    activation or zero.

    Latency: ``3 + ceil(ceil(log2(operands)) / levels_per_stage)`` cycles from the weights, and one
    more for an FPGA; one less from the activations. The operands are the lanes, or three for each
    four lanes with ``sherry``. Throughput: one beat per cycle. ``config.choices`` can leave out the
    registers in front of the weight decoder or those behind it; weights then take one cycle less,
    as many as activations. They can also leave out the register in front of the accumulator. With
    ``pair-sums`` the operands are the lanes, for ``sherry`` too.

    Parameters
    ----------
    config : shape of the unit; whole symbols of ``sherry`` fill its lanes
    code : code of the weights; ``binary`` packs bits for ±1
    activation_bits : 8, 4 or 2; with 2 bits, only −1, 0 and +1 are legal

    Raises
    ------
    TypeError
        If ``config`` is not a ``DotConfig``, ``code`` is not a ``Code``, or ``activation_bits`` is
        not an integer.
    ValueError
        If ``activation_bits``, ``lanes`` or a choice is not legal.

    Members
    -------
    weights : In(bytes of a packed row); see ``DotUnit``
    activations, valid, last, done, total : see ``DotUnit``
    """

    CHOICES = frozenset((Choice.NO_PRODUCT, Choice.NO_PACKED, Choice.NO_SUM, Choice.PAIR_SUMS))

    def __init__(self, config: DotConfig, *, code: Code, activation_bits: int) -> None:
        check_config(config)
        if not isinstance(code, Code):
            raise TypeError(f"code must be a Code, not {code!r}")
        check_lanes(config.lanes, code)
        activation_bits = check_choice("activation_bits", activation_bits, ACT_BITS)
        self._packed_register = Choice.NO_PACKED not in config.choices
        self._weight_registers = Choice.NO_PRODUCT not in config.choices
        self._sum_register = Choice.NO_SUM not in config.choices
        operands = code.operands(config.lanes)
        self._operands = Operands.QUADS if code.quads else Operands.LANES
        if Choice.PAIR_SUMS in config.choices:
            operands, self._operands = config.lanes, Operands.PAIRS
        self._code = code
        self._activation_bits = activation_bits
        largest = 1 if activation_bits == 2 else 2 ** (activation_bits - 1)
        super().__init__(
            config,
            weights=8 * code.packed_bytes(config.lanes),
            activations=config.lanes * activation_bits,
            total=_signed_bits(config.k_max * largest),
            latency=self._packed_register
            + self._weight_registers
            + self._sum_register
            + (config.target != Target.ASIC)
            + config.tree_cycles(operands),
            parts={
                "operands": "weights|activations|packed",
                "decode": r"dot\.(zero|later|take|s0_|[sd]1?_)",
                "select": r"dot\.x",
                "tree": r"dot\.",
                "accumulator": "accumulator|total",
            },
            skew=int(self._packed_register and self._weight_registers),
        )

    @classmethod
    def check_choices(cls, config: DotConfig) -> None:
        super().check_choices(config)
        if config.choices and config.target != Target.ASIC:
            raise ValueError(f"choices of {cls.__name__} must be empty for an FPGA")
        if {Choice.NO_PRODUCT, Choice.NO_PACKED} <= set(config.choices):
            raise ValueError("choices must not have both no-product and no-packed")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder = decoder = BeatDecoder(code=self._code.name, count=self.lanes)
        m.submodules.dot = dot = DotProduct(
            lanes=self.lanes,
            tokens=1,
            act_bits=self._activation_bits,
            levels_per_stage=self.config.levels_per_stage,
            target=self.config.target,
            operands=self._operands,
            without=[
                *(() if self._weight_registers else ("weights",)),
                *(() if self._sum_register else ("sum",)),
            ],
        )
        keep = register if self._packed_register else wire
        m.d.comb += [
            decoder.packed.eq(keep(m, self.weights, "weights_register")),
            dot.zero.eq(decoder.zero),
            dot.negative.eq(decoder.negative),
            dot.activations.as_value().eq(register(m, self.activations, "activations_register")),
        ]
        self._accumulate(m, dot.sums[0], dot.subtract)
        return m


class BinaryDot(_ExactDot):
    """Dot product of bits for ±1 on both sides: exclusive nor, and a count of the ones.

    A product is +1 if the two bits agree, else −1, so that the sum of a beat is ``2 · count −
    lanes`` (Rastegari et al., "XNOR-Net", arXiv:1603.05279). Full adders count three lanes in the
    cycle of the products.

    Latency: ``3 + ceil(ceil(log2(ceil(lanes / 3) + 1)) / levels_per_stage)`` cycles: one for the
    operands, one for the counts of three, those of the tree, and one for the accumulator.
    Throughput: one beat per cycle.

    Parameters
    ----------
    config : shape of the unit

    Raises
    ------
    TypeError
        If ``config`` is not a ``DotConfig``.

    Members
    -------
    weights, activations : In(lanes); a bit is 1 for +1 and 0 for −1
    valid, last, done, total : see ``DotUnit``
    """

    def __init__(self, config: DotConfig) -> None:
        check_config(config)
        super().__init__(
            config,
            weights=config.lanes,
            activations=config.lanes,
            total=_signed_bits(config.k_max),
            # The tree adds a count for each three lanes, and −lanes.
            latency=3 + config.tree_cycles(-(-config.lanes // 3) + 1),
            parts=_PARTS,
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        weights, activations = self.operands(m)
        agree = ~(weights.as_value() ^ activations.as_value())
        counts: list[Value] = []
        for start in range(0, self.lanes, 3):
            count = sum(agree[start : start + 3], Const(0, 0))
            # Twice the count, by a zero below it.
            counts.append(Cat(Const(0, 1), register(m, count[:2], f"c{start}")))
        counts.append(Const(-self.lanes, signed(_signed_bits(self.lanes))))
        self._accumulate(m, add_pairs(m, counts, self.config.levels_per_stage))
        return m

"""Dot products of integers, trits and bits."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from ...golden.codes import Code
from ..engine.dot import DotProduct, add_or_subtract
from ..engine.weight_decoder import BeatDecoder
from .floats import register
from .multiply import multiply
from .unit import DotUnit, add_pairs, delay, slots

__all__ = ["BinaryDot", "IntegerDot", "TernaryDot"]


def _width(largest: int) -> int:
    """Bits of a signed number from ``−largest`` to ``largest``."""
    return largest.bit_length() + 1


#: What registers are for, in most units.
_PARTS = {
    "operands": "weights|activations|packed",
    "product": "[pc][0-9]+",
    "tree": "u[0-9]+_",
    "accumulator": "accumulator|total",
}


class _ExactDot(DotUnit):
    """What units with an exact accumulator share.

    Latency: ``3 + ceil(ceil(log2(lanes)) / levels_per_stage)`` clocks: operands, products, the tree
    and the accumulator, unless a unit says otherwise. Throughput: a beat per clock.
    """

    def __init__(
        self,
        *,
        lanes: int,
        weights: int,
        activations: int,
        largest: int,
        latency: int,
        parts: Mapping[str, str] = _PARTS,
        skew: int = 0,
    ) -> None:
        super().__init__(
            lanes=lanes,
            weights=weights,
            activations=activations,
            total=_width(largest),
            latency=latency,
            parts=parts,
            skew=skew,
        )

    def _accumulate(self, m: Module, value: Value, subtract: Value | None = None) -> None:
        """Add a beat's sum, or subtract it."""
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
        with m.If(valid):
            m.d.sync += accumulator.eq(total)
        m.d.comb += self.total.eq(accumulator)
        m.d.comb += self.done.eq(delay(m, valid & last, 1, "done", reset=True))


def _stages(lanes: int, levels_per_stage: int) -> int:
    return -(-(lanes - 1).bit_length() // levels_per_stage)


class IntegerDot(_ExactDot):
    """Multipliers of two's complement integers, a tree of adders, an exact accumulator.

    Latency and throughput: see ``_ExactDot``.

    Parameters
    ----------
    weight_bits, activation_bits : of the operands; the whole range is legal
    lanes : products in a beat
    k_max : products in a dot product, at most
    levels_per_stage : levels of the tree between two registers
    target : see ``multiply``
    """

    def __init__(
        self,
        *,
        weight_bits: int,
        activation_bits: int,
        lanes: int,
        k_max: int,
        levels_per_stage: int = 1,
        target: str = "asic",
    ) -> None:
        self._levels_per_stage = levels_per_stage
        self._target = target
        super().__init__(
            lanes=lanes,
            weights=lanes * weight_bits,
            activations=lanes * activation_bits,
            largest=k_max * 2 ** (weight_bits + activation_bits - 2),
            latency=3 + _stages(lanes, levels_per_stage),
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        weights, activations = self.operands(m)
        products = [
            multiply(m, w.as_signed(), x.as_signed(), f"p{lane}", self._target)
            for lane, (w, x) in enumerate(zip(weights, activations, strict=True))
        ]
        products = [register(m, product, f"p{lane}") for lane, product in enumerate(products)]
        self._accumulate(m, add_pairs(m, products, self._levels_per_stage))
        return m


class TernaryDot(_ExactDot):
    """Packed trits, or bits for ±1, times integers: the engine's decoder and ``DotProduct``.

    The decoder stands between the registers of the weights and those of its trits, beside which the
    activations are registered. For an FPGA further registers hold an activation or zero.

    Latency: ``3 + ceil(ceil(log2(lanes)) / levels_per_stage)`` clocks from the weights and for an
    FPGA one more, one less from the activations. Throughput: a beat per clock.

    Parameters
    ----------
    code : of the weights
    activation_bits : 8, 4 or 2, at two bits −1, 0 and +1
    lanes, k_max, levels_per_stage : see ``IntegerDot``
    target : ``fpga`` or ``asic``, see ``DotProduct``
    """

    def __init__(
        self,
        *,
        code: Code,
        activation_bits: int,
        lanes: int,
        k_max: int,
        levels_per_stage: int = 1,
        target: str = "asic",
    ) -> None:
        self._code = code
        self._activation_bits = activation_bits
        self._levels_per_stage = levels_per_stage
        self._target = target
        super().__init__(
            lanes=lanes,
            weights=8 * code.packed_bytes(lanes),
            activations=lanes * activation_bits,
            largest=k_max * (1 if activation_bits == 2 else 2 ** (activation_bits - 1)),
            latency=(4 if target == "fpga" else 3) + _stages(lanes, levels_per_stage),
            parts={
                "operands": "weights|activations|packed",
                "decode": r"dot\.(zero|s0_|[sd]1?_)",
                "select": r"dot\.x",
                "tree": r"dot\.",
                "accumulator": "accumulator|total",
            },
            skew=1,
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder = decoder = BeatDecoder(code=self._code.name, count=self.lanes)
        m.submodules.dot = dot = DotProduct(
            lanes=self.lanes,
            tokens=1,
            act_bits=self._activation_bits,
            levels_per_stage=self._levels_per_stage,
            target=self._target,
        )
        m.d.comb += [
            decoder.packed.eq(register(m, self.weights, "weights_register")),
            dot.zero.eq(decoder.zero),
            dot.negative.eq(decoder.negative),
            dot.activations.as_value().eq(register(m, self.activations, "activations_register")),
        ]
        self._accumulate(m, dot.sums[0], dot.subtract)
        return m


class BinaryDot(_ExactDot):
    """Bits for ±1 on both sides: exclusive nor, and a count of the ones.

    A product is +1 where the bits agree, so that a beat's sum is ``2 · count − lanes``. Full adders
    count three lanes in the clock of the products.

    Latency: ``3 + ceil(ceil(log2(ceil(lanes / 3) + 1)) / levels_per_stage)`` clocks. Throughput: a
    beat per clock.

    Parameters
    ----------
    lanes, k_max, levels_per_stage : see ``IntegerDot``
    """

    def __init__(self, *, lanes: int, k_max: int, levels_per_stage: int = 1) -> None:
        self._levels_per_stage = levels_per_stage
        super().__init__(
            lanes=lanes,
            weights=lanes,
            activations=lanes,
            largest=k_max,
            latency=3 + _stages(-(-lanes // 3) + 1, levels_per_stage),
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        weights, activations = self.operands(m)
        agree = ~(weights.as_value() ^ activations.as_value())
        counts: list[Value] = []
        for start in range(0, self.lanes, 3):
            count = sum(agree[start : start + 3], Const(0, 0))
            counts.append(Cat(Const(0, 1), register(m, count[:2], f"c{start}")))
        counts.append(Const(-self.lanes, signed(_width(self.lanes))))
        self._accumulate(m, add_pairs(m, counts, self._levels_per_stage))
        return m

"""Systolic array with stationary weights, of any number format."""

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_integer
from ...golden.codes import Code
from ...golden.floats import FP32, FloatFormat, IntFormat
from ..config import Target
from ..engine.dot import add_or_subtract
from .floats import FloatAdder, FloatMultiplier, register
from .multiply import multiply

__all__ = ["SystolicArray"]


class SystolicArray(wiring.Component):
    """Systolic array: each cell holds a weight, and adds its product to the sum from above.

    Activations move to the right by a register per cell, partial sums move down. Column ``c`` adds
    the products of its weights and an activation vector to the partial sum at its top. Operands
    are skewed, as in every systolic array: those of row ``r`` and column ``c`` belong to the
    vector whose first activation entered ``r × sum_cycles + c`` cycles before. A weight is
    registered in its cell in every cycle, and stays while its input does. Trits take two bits in a
    cell, zero and sign, so that a code's decoder stands outside.

    Integers are exact if ``sum_bits`` suffice. Floating-point cells round each product to FP32,
    where those of all formats but BF16 are exact, and add it with one more rounding. A register
    stands between the two.

    Latency: ``rows × sum_cycles + product_cycles`` cycles from the first activation of a vector to
    the sum of column 0, and one more for each further column. ``product_cycles`` is 1, or 2 for
    floating-point numbers. Throughput: ``rows × columns`` MACs per cycle.

    Parameters
    ----------
    rows : 1 to 64; activations of a vector
    columns : 1 to 64; sums
    weights : format of the weights; a ``Code`` means trits
    activations : format of the activations, integers exactly if the weights are integers or trits
    sum_bits : 8 to 64; bits of a partial sum of integers; FP32 has 32
    sum_cycles : 1 or 2; cycles of an addition, see ``FloatAdder``; integers have one

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number is not legal, or a floating-point format meets a code.

    Members
    -------
    weights : In(columns × rows × bits of a weight); row 0 of column 0 lowest; trits are zero flag,
        then sign
    activations : In(rows × bits)
    partial : In(columns × ``sum_bits``); partial sums of earlier tiles, ``product_cycles`` after
        the first activation
    sums : Out(columns × ``sum_bits``)
    """

    def __init__(
        self,
        *,
        rows: int,
        columns: int,
        weights: FloatFormat | IntFormat | Code,
        activations: FloatFormat | IntFormat,
        sum_bits: int = 32,
        sum_cycles: int = 1,
    ) -> None:
        self.rows = check_integer("rows", rows, 1, 64)
        self.columns = check_integer("columns", columns, 1, 64)
        self.sum_bits = check_integer("sum_bits", sum_bits, 8, 64)
        self.sum_cycles = check_integer("sum_cycles", sum_cycles, 1, 2)
        self._floating = isinstance(activations, FloatFormat)
        if self._floating and isinstance(weights, Code):
            raise ValueError("activations must be integers for trits")
        if self._floating and sum_bits != FP32.bits:
            raise ValueError(f"sum_bits must be 32 for floating-point numbers, not {sum_bits}")
        if not self._floating and sum_cycles != 1:
            raise ValueError(f"sum_cycles must be 1 for integers, not {sum_cycles}")
        self._weights, self._activations = weights, activations
        #: Bits of a weight in its cell.
        self.weight_bits = 2 if isinstance(weights, Code) else weights.bits
        #: Bits of an activation.
        self.activation_bits = activations.bits
        #: Cycles from an activation to its product.
        self.product_cycles = 2 if self._floating else 1
        #: Pattern of the registers' names for each part, see ``DotUnit``.
        self.parts = {
            # yosys names those in front of a floating-point multiplier after its ports.
            "operands": r"w[0-9]|x[0-9]|[ab][$[]",
            "product": "multiplier",
            "accumulator": "sum[0-9]|adder",
        }
        super().__init__(
            {
                "weights": In(columns * rows * self.weight_bits),
                "activations": In(rows * activations.bits),
                "partial": In(columns * sum_bits),
                "sums": Out(columns * sum_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = data.ArrayLayout(self.weight_bits, self.rows)
        weights = data.View(data.ArrayLayout(lanes, self.columns), self.weights)
        moving: list[Value] = list(
            data.View(data.ArrayLayout(self._activations.bits, self.rows), self.activations)
        )
        for column in range(self.columns):
            total: Value = self.partial.word_select(column, self.sum_bits)
            for row in range(self.rows):
                name = f"{row}_{column}"
                weight = register(m, weights[column][row], f"w{name}")
                moving[row] = register(m, moving[row], f"x{name}")
                total = self._cell(m, weight, moving[row], total, name)
            m.d.comb += self.sums.word_select(column, self.sum_bits).eq(total)
        return m

    def _cell(self, m: Module, weight: Value, value: Value, total: Value, name: str) -> Value:
        """Add the product of a cell to a partial sum, in a register."""
        weights, activations = self._weights, self._activations
        if isinstance(activations, FloatFormat):
            assert not isinstance(weights, Code)
            m.submodules[f"multiplier{name}"] = multiplier = FloatMultiplier(
                a_format=weights, b_format=activations, to=FP32, stages=1
            )
            m.submodules[f"adder{name}"] = adder = FloatAdder(fmt=FP32, stages=self.sum_cycles)
            m.d.comb += [
                multiplier.a.eq(weight),
                multiplier.b.eq(value),
                adder.a.eq(total),
                adder.b.eq(multiplier.y),
            ]
            return adder.y
        total = total.as_signed()
        if isinstance(weights, Code):
            operand = Mux(weight[0], 0, value)
            added: Value = add_or_subtract(total, operand, weight[1], self.sum_bits)
        else:
            added = total + multiply(
                m, weight.as_signed(), value.as_signed(), f"p{name}", Target.ASIC
            )
        return register(m, added[: self.sum_bits], f"sum{name}")

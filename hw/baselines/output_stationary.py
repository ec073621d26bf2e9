"""Systolic array of INT8 products with results that stay in place, as a published one is built."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_integer

__all__ = ["OutputStationaryArray"]

_BITS = 8
_RESULT_BITS = 32


class OutputStationaryArray(wiring.Component):
    """Product of two square matrices of INT8, in a systolic array with its operand registers.

    It follows the INT8 design of tinyTPU (github.com/Kev1nLevin/tinyTPU, revision ece0f09), whose
    energy after routing is published. Rows of A enter at the left side and columns of B at the top,
    each one cycle later than the one before. Each element multiplies, adds to an accumulator of 32
    bits, and passes both operands on. Registers of operands and accumulators have no reset here;
    there, all have an asynchronous one.

    Latency: ``3 * size`` cycles from ``start`` to ``done``. Throughput: a product of matrices in as
    many cycles.

    Parameters
    ----------
    size : 2, 4, 8 or 16; rows and columns

    Raises
    ------
    TypeError
        If ``size`` is not an integer.
    ValueError
        If it is not legal.

    Members
    -------
    write_a, write_b : In(1); write ``write_data`` to a row of A or B
    write_row : In(log2(size)); the row
    write_data : In(8 * size); a row, column 0 lowest
    start : In(1); starts the product, while the array is not busy
    busy : Out(1); the array multiplies
    done : Out(1); the product is ready
    read_row : In(log2(size)); row of the product to read
    read_data : Out(32 * size); that row, column 0 lowest
    """

    def __init__(self, *, size: int) -> None:
        self.size = check_integer("size", size, 2, 16)
        if size & (size - 1):
            raise ValueError(f"size must be a power of two, not {size}")
        row = (size - 1).bit_length()
        super().__init__(
            {
                "write_a": In(1),
                "write_b": In(1),
                "write_row": In(row),
                "write_data": In(_BITS * size),
                "start": In(1),
                "busy": Out(1),
                "done": Out(1),
                "read_row": In(row),
                "read_data": Out(_RESULT_BITS * size),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.size
        # Idle, then a cycle to clear, and those in which operands enter and pass through.
        count = Signal(range(3 * size))
        clear, enable, load = Signal(), Signal(), Signal()
        with m.If(self.busy):
            m.d.sync += count.eq(count + 1)
            with m.If(count == 3 * size - 1):
                m.d.sync += [self.busy.eq(0), count.eq(0)]
        with m.Elif(self.start):
            m.d.sync += self.busy.eq(1)
        m.d.sync += self.done.eq(self.busy & (count == 3 * size - 1))
        m.d.comb += [
            clear.eq(self.busy & (count == 0)),
            enable.eq(self.busy & (count != 0)),
            load.eq(enable & (count <= size)),
        ]
        a = self._matrix(m, "a", self.write_a)
        b = self._matrix(m, "b", self.write_b)
        # The first operands enter when the counter is one.
        step = Signal((size - 1).bit_length())
        m.d.comb += step.eq(count - 1)
        rows = [Mux(load, Array(a[i])[step], 0) for i in range(size)]
        columns = [Mux(load, Array(b[k][j] for k in range(size))[step], 0) for j in range(size)]
        west = [self._skewed(m, row, i, f"skew_a{i}", clear) for i, row in enumerate(rows)]
        north = [self._skewed(m, col, j, f"skew_b{j}", clear) for j, col in enumerate(columns)]
        results = []
        for i in range(size):
            results.append([])
            for j in range(size):
                result = Signal(signed(_RESULT_BITS), name=f"sum{i}_{j}", reset_less=True)
                with m.If(clear):
                    m.d.sync += result.eq(0)
                with m.Elif(enable):
                    m.d.sync += result.eq(result + west[i] * north[j])
                results[i].append(result)
                west[i] = self._passed(m, west[i], enable, f"east{i}_{j}")
                north[j] = self._passed(m, north[j], enable, f"south{i}_{j}")
        m.d.comb += self.read_data.eq(Array(Cat(row) for row in results)[self.read_row])
        return m

    def _matrix(self, m: Module, name: str, write: Value) -> list[list[Signal]]:
        """Store a matrix in registers."""
        size = self.size
        matrix = [
            [Signal(signed(_BITS), name=f"{name}{i}_{j}", reset_less=True) for j in range(size)]
            for i in range(size)
        ]
        for i, row in enumerate(matrix):
            with m.If(write & (self.write_row == i)):
                m.d.sync += Cat(row).eq(self.write_data)
        return matrix

    @staticmethod
    def _skewed(m: Module, value: Value, cycles: int, name: str, clear: Value) -> Value:
        """Delay an operand by a chain of registers that can be cleared."""
        for index in range(cycles):
            later = Signal(signed(_BITS), name=f"{name}_{index}", reset_less=True)
            m.d.sync += later.eq(Mux(clear, Const(0, _BITS), value))
            value = later
        return value.as_signed()

    @staticmethod
    def _passed(m: Module, value: Value, enable: Value, name: str) -> Value:
        """Pass an operand to the next element."""
        later = Signal(signed(_BITS), name=name, reset_less=True)
        with m.If(enable):
            m.d.sync += later.eq(value)
        return later

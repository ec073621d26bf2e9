# amaranth: UnusedElaboratable=no
"""Systolic arrays against NumPy: a tile of weights for many vectors, then another."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilith.golden.codes import CODES
from trilith.golden.floats import FP16, IntFormat
from trilith.hw.baselines import SystolicArray
from trilith.sim.rtl.clocked import port_rows, run_clocked

INT8 = IntFormat(name="int8", bits=8)
INT4 = IntFormat(name="int4", bits=4)
ROWS, COLUMNS, CYCLES = 3, 2, 2000
CASES = {
    "int8": (INT8, INT8),
    "int4": (INT4, INT8),
    "trits": (CODES["base3"], INT8),
    "fp16": (FP16, FP16),
    "fp16_2": (FP16, FP16),
}


class All(wiring.Component):
    """The arrays of all cases side by side."""

    def __init__(self) -> None:
        self.arrays = {
            name: SystolicArray(
                rows=ROWS,
                columns=COLUMNS,
                weights=w,
                activations=x,
                sum_cycles=2 if name.endswith("_2") else 1,
            )
            for name, (w, x) in CASES.items()
        }
        members = {}
        for name, array in self.arrays.items():
            for (port,), member, value in array.signature.flatten(array):
                flow = In if member.flow == In else Out
                members[f"{name}_{port}"] = flow(len(value))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, array in self.arrays.items():
            m.submodules[name] = array
            for (port,), member, value in array.signature.flatten(array):
                outer = getattr(self, f"{name}_{port}")
                m.d.comb += value.eq(outer) if member.flow == In else outer.eq(value)
        return m


def pack(values: np.ndarray, bits: int) -> np.ndarray:
    """Pack values[cycles, n] to bytes, the first value lowest."""
    ones = (values[..., np.newaxis] >> np.arange(bits) & 1).astype(np.uint8)
    return np.packbits(ones.reshape(len(values), -1), axis=1, bitorder="little")


@pytest.fixture(scope="module")
def outputs():
    """Operands of each case, and what the arrays delivered."""
    rng = np.random.default_rng(0)
    both, inputs, operands = All(), {}, {}
    for name, array in both.arrays.items():
        weights, values = CASES[name]
        # A tile stays for 50 vectors.
        tiles = rng.integers(0, 2**16, (CYCLES // 50, COLUMNS, ROWS))
        if name == "trits":
            w = (tiles % 3 - 1).repeat(50, 0)
            stored = np.where(w == 0, 1, np.where(w < 0, 2, 0))
        elif "fp16" in name:
            w = rng.standard_normal(tiles.shape).astype(np.float16).repeat(50, 0)
            stored = w.view(np.uint16).astype(np.int64)
        else:
            high = 2 ** (weights.bits - 1)
            w = (tiles % (2 * high) - high).repeat(50, 0)
            stored = w & (2 * high - 1)
        if "fp16" in name:
            x = rng.standard_normal((CYCLES, ROWS)).astype(np.float16)
            partial = rng.standard_normal((CYCLES, COLUMNS)).astype(np.float32)
            bits = x.view(np.uint16).astype(np.int64), partial.view(np.uint32).astype(np.int64)
        else:
            x = rng.integers(-128, 128, (CYCLES, ROWS))
            partial = rng.integers(-(2**30), 2**30, (CYCLES, COLUMNS))
            bits = x & 255, partial & 0xFFFFFFFF
        operands[name] = w, x, partial
        # Operands of row r and column c enter r · sum_cycles + c cycles later.
        stored, x_bits, partial_bits = stored.copy(), bits[0].copy(), bits[1].copy()
        for row in range(ROWS):
            below = row * array.sum_cycles
            x_bits[:, row] = np.roll(x_bits[:, row], below)
            for column in range(COLUMNS):
                stored[:, column, row] = np.roll(stored[:, column, row], below + column)
        for column in range(COLUMNS):
            place = partial_bits[:, column]
            partial_bits[:, column] = np.roll(place, column + array.product_cycles)
        for port, packed in (
            ("weights", pack(stored.reshape(CYCLES, -1), array.weight_bits)),
            ("activations", pack(x_bits, values.bits)),
            ("partial", pack(partial_bits, 32)),
        ):
            inputs[f"{name}_{port}"] = port_rows(packed, len(getattr(array, port)))
    return both.arrays, operands, run_clocked(both, inputs)


@pytest.mark.parametrize("name", CASES)
def test_sums(outputs, name: str) -> None:
    arrays, operands, found = outputs
    w, x, partial = operands[name]
    sums = found[f"{name}_sums"].view("<u4")
    expected = partial.copy()
    for row in range(ROWS):
        if "fp16" in name:
            # A product of two FP16 numbers is exact in FP32, and the sum rounds once.
            expected += w[:, :, row].astype(np.float32) * x[:, row, None].astype(np.float32)
        else:
            expected += w[:, :, row] * x[:, row, None]
    for column in range(COLUMNS):
        late = ROWS * arrays[name].sum_cycles + arrays[name].product_cycles + column
        got = sums[late:, column]
        wanted = expected[: CYCLES - late, column]
        wanted = wanted.view("<u4") if "fp16" in name else (wanted & 0xFFFFFFFF)
        assert np.array_equal(got, wanted), column


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "rows must be from 1 to 64, not 0"),
        ({"columns": 65}, "columns must be from 1 to 64, not 65"),
        ({"sum_bits": 7}, "sum_bits must be from 8 to 64, not 7"),
        ({"sum_cycles": 3}, "sum_cycles must be from 1 to 2, not 3"),
        ({"sum_cycles": 2}, "sum_cycles must be 1 for integers, not 2"),
        (
            {"activations": FP16, "weights": FP16, "sum_bits": 16},
            "sum_bits must be 32 for floating-point numbers, not 16",
        ),
        (
            {"activations": FP16, "weights": CODES["base3"]},
            "activations must be integers for trits",
        ),
    ],
)
def test_bad_parameters(change: dict, message: str) -> None:
    fields = {"rows": 2, "columns": 2, "weights": INT8, "activations": INT8}
    with pytest.raises(ValueError, match=f"^{message}$"):
        SystolicArray(**fields | change)

# amaranth: UnusedElaboratable=no
import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from trilith.hw.baselines.output_stationary import OutputStationaryArray


@pytest.mark.parametrize("size", [2, 4])
def test_products_of_matrices(size):
    generator = np.random.default_rng(size)
    extreme = np.full((size, size), -128)
    pairs = [generator.integers(-128, 128, (2, size, size)) for _ in range(2)]
    pairs.append(np.array([extreme, extreme]))
    array = OutputStationaryArray(size=size)
    found = []

    async def bench(context):
        for a, b in pairs:
            for name, matrix in (("write_a", a), ("write_b", b)):
                context.set(getattr(array, name), 1)
                for row, values in enumerate(matrix):
                    context.set(array.write_row, row)
                    packed = values.astype(np.int8).tobytes()
                    context.set(array.write_data, int.from_bytes(packed, "little"))
                    await context.tick()
                context.set(getattr(array, name), 0)
            context.set(array.start, 1)
            await context.tick()
            context.set(array.start, 0)
            cycles = 0
            while not context.get(array.done):
                assert context.get(array.busy)
                cycles += 1
                assert cycles <= 3 * size
                await context.tick()
            assert cycles == 3 * size
            assert not context.get(array.busy)
            rows = []
            for row in range(size):
                context.set(array.read_row, row)
                data = context.get(array.read_data).to_bytes(4 * size, "little")
                rows.append(np.frombuffer(data, np.int32))
            found.append(np.array(rows))

    simulator = Simulator(array)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    for (a, b), product in zip(pairs, found, strict=True):
        assert np.array_equal(product, a @ b)


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (1, ValueError, "size must be from 2 to 16, not 1"),
        (6, ValueError, "size must be a power of two, not 6"),
        (4.5, TypeError, "size must be an integer, not 4.5"),
    ],
)
def test_sizes_that_are_refused(size, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        OutputStationaryArray(size=size)

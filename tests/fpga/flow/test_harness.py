# amaranth: UnusedElaboratable=no
import re

import numpy as np
import pytest
from amaranth.sim import Simulator

from trilith.fpga.flow.harness import BareDotProduct, SerialPins
from trilith.golden.codes import CODES
from trilith.hw import MatVecConfig


def test_the_measured_dot_product_computes():
    config = MatVecConfig(lanes=10, rows=1, code="two_bit", k_max=10, n_max=1)
    rng = np.random.default_rng(0)
    trits = rng.integers(-1, 2, (6, 10), np.int8)
    activations = rng.integers(-128, 128, (6, 10)).astype(int)
    packed = CODES["two_bit"].pack(trits)
    dut = BareDotProduct(config)
    latency = 3 + config.tree_stages

    async def testbench(ctx):
        ctx.set(dut.valid, 1)
        ctx.set(dut.last, 1)
        for clock in range(6 + latency):
            if clock < 6:
                ctx.set(dut.packed, int.from_bytes(packed[clock].tobytes(), "little"))
            if 1 < clock <= 7:
                ctx.set(dut.activations, [activations[clock - 2].tolist()])
            if clock >= latency:
                beat = clock - latency
                assert ctx.get(dut.total) == trits[beat].astype(int) @ activations[beat]
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BareDotProduct(5), TypeError, "config must be a MatVecConfig, not 5"),
        (
            lambda: BareDotProduct(MatVecConfig(lanes=5, rows=2, k_max=5, n_max=5)),
            ValueError,
            "config must have one row and one token, not 5x2x1",
        ),
        (lambda: SerialPins(5), TypeError, "component must be a wiring.Component, not 5"),
    ],
)
def test_parameters_that_are_not_legal_are_refused(make, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        make()

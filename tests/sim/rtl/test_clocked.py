# amaranth: UnusedElaboratable=no
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilith.sim.rtl.clocked import port_bytes, run_clocked


class Counter(wiring.Component):
    """A running sum, and a wide input one cycle later."""

    step: In(3)
    wide: In(70)
    total: Out(9)
    late: Out(70)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += [self.total.eq(self.total + self.step), self.late.eq(self.wide)]
        return m


@pytest.mark.parametrize(
    ("width", "size"), [(1, 1), (8, 1), (9, 2), (17, 4), (33, 8), (64, 8), (65, 12), (97, 16)]
)
def test_port_bytes(width, size):
    assert port_bytes(width) == size


def test_cycle_by_cycle():
    rng = np.random.default_rng(0)
    steps = rng.integers(0, 8, 50)
    wide = rng.integers(0, 256, (50, 12), dtype=np.uint8)
    wide[:, 8] &= 63
    wide[:, 9:] = 0
    inputs = {"step": steps.astype(np.uint8)[:, np.newaxis], "wide": wide}
    outputs = run_clocked(Counter(), inputs)
    totals = np.concatenate([[0], np.cumsum(steps)[:-1]]) % 512
    assert np.array_equal(outputs["total"].view("<u2")[:, 0], totals)
    assert np.array_equal(outputs["late"][1:], wide[:-1])

"""Fixed-point values of the softmax."""

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from trilith.golden.elements import element_bits, exp2, round_element
from trilith.hw.token.element import ELEMENT
from trilith.hw.token.exponentials import _fixed


def test_elements_round_half_to_even_in_sixteen_bits():
    halves = (2 * np.arange(1, 200) + 1) * 2.0**-17  # Ties between neighbors.
    powers = 2.0 ** -np.arange(0, 34.0)
    results = exp2(round_element(-np.linspace(0, 20, 301)))
    values = round_element(np.concatenate([[0.0], halves, powers, results]))
    m = Module()
    element, fixed = Signal(ELEMENT), Signal(17)
    m.d.comb += fixed.eq(_fixed(m, element))
    found = []

    async def bench(ctx):
        for bits in element_bits(values).tolist():
            ctx.set(element.as_value(), bits)
            found.append(ctx.get(fixed))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == np.rint(values * 2.0**16).astype(int).tolist()

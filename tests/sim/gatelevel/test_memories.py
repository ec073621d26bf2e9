"""Netlists with memories, which yosys leaves whole."""

import re

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from trilith.sim.gatelevel.interpreter import run_netlist
from trilith.sim.gatelevel.library import Library
from trilith.sim.gatelevel.netlist import Memory
from trilith.sim.gatelevel.power import measure_power
from trilith.sim.gatelevel.synthesis import map_component
from trilith.sim.tools.toolchain import ToolchainError

TABLE = [3, 1, 4, 1, 5, 9, 2, 6]


class Store(wiring.Component):
    """Memories of all kinds: read at the edge, seen through, read within the cycle, and a table."""

    def __init__(self) -> None:
        super().__init__(
            {
                **{name: In(3) for name in ("to", "at")},
                "data": In(4),
                **{name: In(1) for name in ("writes", "reads")},
                **{name: Out(4) for name in ("late", "seen", "now", "constant")},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.store = store = memory.Memory(shape=4, depth=8, init=[])
        m.submodules.other = other = memory.Memory(shape=4, depth=8, init=[])
        m.submodules.table = table = memory.Memory(shape=4, depth=8, init=TABLE)
        write, also = store.write_port(), other.write_port()
        late, seen = store.read_port(), store.read_port(transparent_for=(write,))
        now, constant = other.read_port(domain="comb"), table.read_port()
        for port in (write, also):
            m.d.comb += [port.addr.eq(self.to), port.data.eq(self.data), port.en.eq(self.writes)]
        # Two ports at one address would become one that is read within the cycle.
        m.d.comb += late.addr.eq(self.to)
        for port in (seen, now, constant):
            m.d.comb += port.addr.eq(self.at)
        for port in (late, seen):
            m.d.comb += port.en.eq(self.reads)
        m.d.comb += [
            self.late.eq(late.data),
            self.seen.eq(seen.data),
            self.now.eq(now.data),
            self.constant.eq(constant.data),
        ]
        return m


@pytest.fixture(scope="module")
def store(osu018):
    parts = {"store": r"store", "other": r"other", "table": r"table"}
    return map_component(Store(), Library([osu018]), 20_000, parts)


def inputs(cycles=400):
    rng = np.random.default_rng(3)
    tops = {"to": 8, "at": 8, "data": 16, "writes": 2, "reads": 2}
    return {name: rng.integers(0, top, (cycles, 1), np.uint8) for name, top in tops.items()}


def test_memories_of_a_netlist_are_those_of_a_list(store):
    found, activity = run_netlist(store, given := inputs())
    words, late, seen, constant = [0] * 8, 0, 0, 0
    read = written = busy = moves = 0
    last = (None, 0), (None, 0)
    for cycle in range(400):
        to, at, data, writes, reads = (int(rows[cycle, 0]) for rows in given.values())
        row = [int(found[name][cycle, 0]) for name in ("late", "seen", "now")]
        assert row == [late, seen, words[at]], cycle
        if cycle:
            assert found["constant"][cycle, 0] == constant
        old = list(words)
        if writes:
            words[to] = data
            written += 4
            busy += old[to] != data
        if reads:
            new = (to, old[to]), (at, words[at])
            read += 4 * (new[0] != last[0]) + 4 * (new[1] != last[1])
            (_, late), (_, seen) = last = new
        moves += TABLE[at] != (constant if cycle else TABLE[0])
        constant = TABLE[at]
    (whole,) = store.memories
    assert (whole.name, whole.words, whole.bits) == ("store", 8, 4)
    assert (activity.read_bits, activity.written_bits) == ([read], [written])
    assert activity.busy["other"] == busy
    # The register of the table has the name of its output, which is of no part.
    assert activity.busy["control"] == moves


def test_power_counts_no_cell_for_a_memory(store):
    _, activity = run_netlist(store, inputs())
    power = measure_power(store, activity)
    assert sum(power.clock_parts.values()) == pytest.approx(power.parts["clock"])
    # The words of the memory that is read within a cycle, and the register of the table.
    assert store.flip_flops >= 8 * 4 + 3
    assert power.slack_ps > 0


def test_a_memory_with_contents_is_refused():
    cell = {
        "parameters": {
            **dict.fromkeys(("WIDTH", "ABITS", "RD_PORTS", "WR_PORTS", "SIZE"), "1"),
            **{f"{end}_CLK_{kind}": "1" for end in ("RD", "WR") for kind in ("ENABLE", "POLARITY")},
            "OFFSET": "0",
            "INIT": "1",
        },
        "connections": {"RD_ARST": ["0"], "RD_SRST": ["0"]},
    }
    message = "the memory m must have ports of one rising edge, no reset and no contents"
    with pytest.raises(ToolchainError, match=f"^{re.escape(message)}$"):
        Memory.read("m", cell)

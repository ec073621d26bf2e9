"""Heads of queries, keys and values."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In
from stream_ports import CONFIG, beats_of, element_fields, elements_of, fields_of

from trilith.golden.elements import quantize_elements, round_element
from trilith.golden.network.token_core import rotate_elements, rotation_table
from trilith.hw.token.heads import HeadUnit, heads_command
from trilith.hw.token.scaler import vector_word
from trilith.hw.token.writer import vector_depth, vector_write
from trilith.sim.rtl.streams import run_streams

#: Each file builds a simulation; tests/sim/rtl/test_token_core.py covers all parts at once.
pytestmark = pytest.mark.long


class Heads(wiring.Component):
    """A vector memory, and the unit that reads heads from it once it is full."""

    def __init__(self, config, words: int) -> None:
        self.config, self.words = config, words
        self.unit = HeadUnit(config)
        members = self.unit.signature.members
        super().__init__(
            {
                "writes": In(stream.Signature(vector_write(config))),
                **{name: members[name] for name in ("table", "commands", "bytes", "scales")},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        m.submodules.memory = vectors = memory.Memory(
            shape=vector_word(self.config).size, depth=vector_depth(self.config), init=[]
        )
        read, write = vectors.read_port(), vectors.write_port()
        written = Signal(range(self.words + 1))
        for name in ("table", "bytes", "scales"):
            pair = (getattr(unit, name), wiring.flipped(getattr(self, name)))
            wiring.connect(m, *pair)
        full = written == self.words
        with m.If(self.writes.valid & ~full):
            m.d.sync += written.eq(written + 1)
        m.d.comb += [
            unit.commands.p.eq(self.commands.p),
            unit.commands.valid.eq(self.commands.valid & full),
            self.commands.ready.eq(unit.commands.ready & full),
            self.writes.ready.eq(~full),
            write.addr.eq(self.writes.p.address),
            write.data.eq(self.writes.p.elements),
            write.en.eq(self.writes.valid),
            read.addr.eq(unit.address),
            Value.cast(unit.stored).eq(read.data),
        ]
        return m


@pytest.mark.parametrize("paused", [False, True])
def test_heads(paused: bool) -> None:
    lanes, size, position = CONFIG.vector_lanes, 8, 13
    rng = np.random.default_rng(3)
    spread = 2.0 ** rng.integers(-6, 6, (8, 1))
    heads = round_element(rng.standard_normal((8, size)) * spread)
    heads[5] = 0
    cos, sin = rotation_table(size, 32, 10000.0)
    turned = rotate_elements(heads[np.newaxis, :6], position, (cos, sin))[0]
    final = np.concatenate([turned, heads[6:]])
    q, scales = quantize_elements(final, np.abs(final).max(axis=1, keepdims=True))
    rows = heads.reshape(-1, lanes)
    table = []
    for word in range(size // 2 // lanes):
        part = slice(word * lanes, (word + 1) * lanes)
        table += [element_fields(cos[position, part]), element_fields(sin[position, part])]
    half = size // 2 // lanes
    inputs = {
        "writes": (
            vector_write(CONFIG),
            [
                {"address": index, "elements": element_fields(row), "last": 0}
                for index, row in enumerate(rows)
            ],
        ),
        "table": (vector_word(CONFIG), table),
        "commands": (
            heads_command(CONFIG),
            [
                {"source": 0, "heads": 4, "half": half, "turn": 1},
                {"source": 4 * 2 * half, "heads": 2, "half": half, "turn": 1},
                {"source": 6 * 2 * half, "heads": 2, "half": half, "turn": 0},
            ],
        ),
    }
    pauses = {}
    if paused:
        patterns = np.random.default_rng(2)
        names = (*inputs, "bytes", "scales")
        pauses = {name: patterns.choice([0, 0, 0, 1, 17], 101) for name in names}
    out = run_streams(
        Heads(CONFIG, len(rows)),
        {name: beats_of(shape, values) for name, (shape, values) in inputs.items()},
        {"bytes": len(rows), "scales": len(heads)},
        pauses=pauses,
        limit=20_000,
    )
    layout = data.StructLayout({"values": data.ArrayLayout(8, lanes), "last": 1})
    found = np.stack(
        [
            fields_of(layout, out.beats["bytes"], "values", lane).astype(np.int8)
            for lane in range(lanes)
        ],
        axis=1,
    )
    assert found.reshape(q.shape).tolist() == q.tolist()
    last = fields_of(layout, out.beats["bytes"], "last").reshape(len(heads), -1)
    assert last.tolist() == [[0] * (2 * half - 1) + [1]] * len(heads)
    found_scales = fields_of(data.StructLayout({"x": 24}), out.beats["scales"], "x")
    assert elements_of(found_scales).tolist() == scales[:, 0].tolist()
    if not paused:
        print(out.cycles["bytes"])

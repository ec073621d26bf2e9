"""Results of products: scaled, and written to the vector memory."""

import numpy as np
import pytest
from amaranth.hdl import Module, Value
from amaranth.lib import data, memory, wiring
from stream_ports import CONFIG, beats_of, element_fields, elements_of, fields_of

from trilith.golden.elements import LOG2_E, exp2, reciprocal, round_element
from trilith.hw.engine.results import results_shape
from trilith.hw.token.config import TokenConfig
from trilith.hw.token.element import ELEMENT
from trilith.hw.token.scaler import ResultScaler, scaler_command, vector_word
from trilith.hw.token.writer import (
    VectorWriter,
    WriteMode,
    vector_depth,
    vector_write,
    writer_command,
)
from trilith.sim.rtl.streams import run_streams

_INPUTS = ("commands", "factor", "results", "bytes", "scales")

#: Each file builds a simulation; tests/sim/rtl/test_token_core.py covers all parts at once.
pytestmark = pytest.mark.long


class Results(wiring.Component):
    """A scaler, a writer, and the vector memory behind them."""

    def __init__(self, config: TokenConfig) -> None:
        self.config = config
        self.scaler, self.writer = ResultScaler(config), VectorWriter(config)
        scaler = self.scaler.signature.members
        super().__init__(
            {
                **{name: scaler[name] for name in _INPUTS},
                "modes": self.writer.signature.members["commands"],
                "writes": self.writer.signature.members["writes"],
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.scaler, m.submodules.writer = scaler, writer = self.scaler, self.writer
        m.submodules.memory = vectors = memory.Memory(
            shape=vector_word(self.config).size, depth=vector_depth(self.config), init=[]
        )
        read, write = vectors.read_port(), vectors.write_port()
        for name in _INPUTS:
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(scaler, name))
        wiring.connect(m, wiring.flipped(self.modes), writer.commands)
        wiring.connect(m, scaler.words, writer.words)
        wiring.connect(m, writer.writes, wiring.flipped(self.writes))
        m.d.comb += [
            read.addr.eq(writer.address),
            read.en.eq(writer.enable),
            Value.cast(writer.stored).eq(read.data),
            write.addr.eq(writer.writes.p.address),
            write.data.eq(writer.writes.p.elements),
            write.en.eq(writer.writes.valid & writer.writes.ready),
        ]
        return m


class Vectors:
    """Streams of a run, and the vectors that must come out."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.beats = {name: [] for name in _INPUTS}
        self.modes, self.expected = [], []
        self.memory = np.zeros((vector_depth(CONFIG), CONFIG.vector_lanes))

    def product(self, count: int, mode: WriteMode, at: tuple[int, int], groups: int = 1,
                table: bool = False) -> None:  # fmt: skip
        """A product of ``count`` outputs; ``at`` is the first word that is read, and written."""
        rows, lanes = CONFIG.engine.rows, CONFIG.vector_lanes
        factor = round_element(np.ldexp(self.rng.uniform(1, 2), -6))
        scale = round_element(self.rng.uniform(0.5, 2))
        row_groups, pieces = -(-count // rows), -(-rows // lanes)
        integers = np.zeros((row_groups, groups, rows), np.int64)
        scales = np.full((row_groups, groups, rows), scale)
        for index in range(count):
            integers[index // rows, :, index % rows] = self.rng.integers(-8192, 8193, groups)
        if table:
            scales = round_element(self.rng.uniform(0.5, 2, scales.shape))
            padded = np.zeros((row_groups, groups, pieces * lanes))
            padded[..., :rows] = scales
            self.beats["scales"] += [element_fields(words) for words in padded.reshape(-1, lanes)]
        totals = np.zeros((row_groups, rows))
        for group in range(groups):
            c = round_element(scales[:, group] * factor)
            totals = round_element(totals + round_element(round_element(integers[:, group]) * c))
        self._vector(totals.ravel()[:count], mode, at)
        self.beats["results"] += [
            {"values": values.tolist(), "last": index == row_groups * groups - 1}
            for index, values in enumerate(integers.reshape(-1, rows))
        ]
        self._command(count, scale, factor, groups=groups, table=table)

    def bytes(self, count: int, at: tuple[int, int]) -> None:
        """A vector of bytes."""
        lanes = CONFIG.vector_lanes
        values = self.rng.integers(-127, 128, -(-count // lanes) * lanes)
        scale = round_element(self.rng.uniform(0.5, 2))
        self.beats["bytes"] += values.reshape(-1, lanes).tolist()
        self._vector(round_element(values[:count] * scale), WriteMode.STORE, at)
        self._command(count, scale, 1.0, bytes=1)

    def _command(self, count: int, scale: float, factor: float, **fields: int) -> None:
        (scale_bits,), (factor_bits,) = element_fields(scale), element_fields(factor)
        command = {"count": count, "scale": scale_bits, "groups": 1, "table": 0, "bytes": 0}
        self.beats["commands"].append(command | fields)
        self.beats["factor"].append(factor_bits)

    def _vector(self, w: np.ndarray, mode: WriteMode, at: tuple[int, int]) -> None:
        source, destination = at
        self.modes.append({"mode": mode.value, "source": source, "destination": destination})
        words = np.zeros((-(-len(w) // CONFIG.vector_lanes), CONFIG.vector_lanes))
        words.ravel()[: len(w)] = w
        stored = self.memory[source : source + len(words)]
        if mode == WriteMode.ADD:
            words = round_element(words + stored)
        elif mode == WriteMode.MULTIPLY:
            words = round_element(words * stored)
        elif mode == WriteMode.RELU2:
            words = round_element(np.maximum(words, 0) ** 2)
        elif mode == WriteMode.SILU:
            power = exp2(round_element(words * round_element(-LOG2_E)))
            words = round_element(words * reciprocal(round_element(1 + power)))
        self.memory[destination : destination + len(words)] = words
        self.expected += [
            (destination + index, index == len(words) - 1, word.tolist())
            for index, word in enumerate(words)
        ]


SHAPES = {
    "commands": scaler_command(CONFIG),
    "factor": ELEMENT,
    "results": results_shape(CONFIG.engine),
    "bytes": data.ArrayLayout(8, CONFIG.vector_lanes),
    "scales": vector_word(CONFIG),
}


@pytest.mark.parametrize("paused", [False, True])
def test_products_of_all_kinds(paused: bool) -> None:
    run = Vectors(1)
    run.bytes(30, (0, 0))
    run.product(32, WriteMode.STORE, (0, 8))
    run.product(32, WriteMode.ADD, (0, 0))
    run.product(40, WriteMode.RELU2, (8, 8))
    run.product(40, WriteMode.MULTIPLY, (8, 8))
    run.product(39, WriteMode.SILU, (8, 8))
    run.product(39, WriteMode.MULTIPLY, (8, 8), groups=3, table=True)
    run.product(7, WriteMode.STORE, (8, 8), table=True)
    run.product(1, WriteMode.STORE, (8, 8))
    run.product(32, WriteMode.ADD, (0, 0), groups=2, table=True)
    pauses = {}
    if paused:
        rng = np.random.default_rng(2)
        for name in ("results", "bytes", "scales", "writes", "modes", "factor"):
            pauses[name] = rng.choice([0, 0, 0, 1, 7], 101)
    beats = {name: beats_of(shape, run.beats[name]) for name, shape in SHAPES.items()}
    beats["modes"] = beats_of(writer_command(CONFIG), run.modes)
    out = run_streams(Results(CONFIG), beats, {"writes": len(run.expected)}, pauses=pauses)
    shape, rows = vector_write(CONFIG), out.beats["writes"]
    found = [
        fields_of(shape, rows, "address"),
        fields_of(shape, rows, "last"),
        np.stack(
            [
                elements_of(fields_of(shape, rows, "elements", lane))
                for lane in range(CONFIG.vector_lanes)
            ],
            axis=1,
        ),
    ]
    assert list(zip(*(x.tolist() for x in found), strict=True)) == run.expected

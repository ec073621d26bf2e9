"""Norms and quantizers of vectors, with the peaks that they need."""

import numpy as np
import pytest
from amaranth.hdl import Module, Value
from amaranth.lib import data, memory, wiring
from stream_ports import CONFIG, beats_of, element_fields, elements_of, fields_of

from trilith.golden.elements import round_element
from trilith.golden.network.token_core import normalize_and_quantize
from trilith.hw.token.element import ELEMENT
from trilith.hw.token.normalizer import Normalizer, normalizer_command
from trilith.hw.token.peak import PeakTracker, peak_command
from trilith.hw.token.scaler import vector_word
from trilith.hw.token.writer import vector_depth, vector_write
from trilith.sim.rtl.streams import run_streams

EPSILON = 1e-5

#: A beat of the stream of factors.
_FACTOR = data.StructLayout({"x": ELEMENT.size})

#: Each file builds a simulation; tests/sim/rtl/test_token_core.py covers all parts at once.
pytestmark = pytest.mark.long


class Norm(wiring.Component):
    """A vector memory, the peaks of what is written to it, and a normalizer that reads it."""

    def __init__(self, config) -> None:
        self.config = config
        self.peak, self.normalizer = PeakTracker(config), Normalizer(config)
        peak, normalizer = self.peak.signature.members, self.normalizer.signature.members
        super().__init__(
            {
                "gained": peak["commands"],
                "writes": peak["words"],
                "peak_gains": peak["gains"],
                "commands": normalizer["commands"],
                "gains": normalizer["gains"],
                "bytes": normalizer["bytes"],
                "factor": normalizer["factor"],
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.peak, m.submodules.normalizer = peak, normalizer = self.peak, self.normalizer
        m.submodules.memory = vectors = memory.Memory(
            shape=vector_word(self.config).size, depth=vector_depth(self.config), init=[]
        )
        read, write = vectors.read_port(), vectors.write_port()
        wiring.connect(m, wiring.flipped(self.gained), peak.commands)
        wiring.connect(m, wiring.flipped(self.writes), peak.words)
        wiring.connect(m, wiring.flipped(self.peak_gains), peak.gains)
        wiring.connect(m, peak.peaks, normalizer.peaks)
        wiring.connect(m, wiring.flipped(self.commands), normalizer.commands)
        wiring.connect(m, wiring.flipped(self.gains), normalizer.gains)
        wiring.connect(m, normalizer.bytes, wiring.flipped(self.bytes))
        wiring.connect(m, normalizer.factor, wiring.flipped(self.factor))
        m.d.comb += [
            read.addr.eq(normalizer.address),
            read.en.eq(normalizer.enable),
            Value.cast(normalizer.stored).eq(read.data),
            write.addr.eq(peak.words.p.address),
            write.data.eq(peak.words.p.elements),
            write.en.eq(peak.words.valid & peak.words.ready),
        ]
        return m


def vectors() -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Vectors, with gains or without: plain, wide in range, tiny, of one element, and zero."""
    rng = np.random.default_rng(5)
    found = []
    for size, spread in ((32, 1), (32, 30), (31, 5), (29, 8), (1, 1), (2, 1)):
        x = round_element(rng.standard_normal(size) * 2.0 ** rng.integers(-spread, spread, size))
        gain = round_element(rng.uniform(-2, 2, size))
        found += [(x, gain), (x, None)]
    zero = np.zeros(8)
    return [*found, (zero, zero + 1), (zero, None), (round_element(zero + 1e-30), zero + 1)]


@pytest.mark.parametrize("paused", [False, True])
def test_vectors(paused: bool) -> None:
    lanes = CONFIG.vector_lanes
    lists = {name: [] for name in ("gained", "writes", "peak_gains", "commands", "gains")}
    expected_bytes, expected_factors = [], []
    for number, (x, gain) in enumerate(vectors()):
        words = -(-len(x) // lanes)
        padded = np.zeros((2, words * lanes))
        padded[0, : len(x)] = x
        # The next vector is written while this one is read.
        source = number % 2 * 10
        lists["gained"].append({"gained": gain is not None})
        for index, word in enumerate(padded[0].reshape(-1, lanes)):
            write = {"address": source + index, "elements": element_fields(word)}
            lists["writes"].append(write | {"last": index == words - 1})
        if gain is not None:
            padded[1, : len(x)] = gain
            rows = [element_fields(word) for word in padded[1].reshape(-1, lanes)]
            lists["peak_gains"] += rows
            lists["gains"] += rows
        (inverse,), (epsilon,) = element_fields(1 / len(x)), element_fields(EPSILON)
        lists["commands"].append(
            {
                "source": source,
                "words": words,
                "gained": gain is not None,
                "inverse": inverse,
                "epsilon": epsilon,
            }
        )
        q, factor = normalize_and_quantize(x[np.newaxis], gain, EPSILON)
        bytes_of = np.zeros(words * lanes, np.int64)
        bytes_of[: len(x)] = q[0]
        ends = [index == words - 1 for index in range(words)]
        expected_bytes += list(zip(bytes_of.reshape(-1, lanes).tolist(), ends, strict=True))
        expected_factors.append(float(factor[0, 0]))
    shapes = {
        "gained": peak_command(CONFIG),
        "writes": vector_write(CONFIG),
        "peak_gains": vector_word(CONFIG),
        "commands": normalizer_command(CONFIG),
        "gains": vector_word(CONFIG),
    }
    pauses = {}
    if paused:
        rng = np.random.default_rng(2)
        names = (*lists, "bytes", "factor")
        pauses = {name: rng.choice([0, 0, 0, 1, 7], 101) for name in names}
    out = run_streams(
        Norm(CONFIG),
        {name: beats_of(shape, lists[name]) for name, shape in shapes.items()},
        {"bytes": len(expected_bytes), "factor": len(expected_factors)},
        pauses=pauses,
        limit=20_000,
    )
    layout = data.StructLayout({"values": data.ArrayLayout(8, lanes), "last": 1})
    columns = [
        fields_of(layout, out.beats["bytes"], "values", lane).astype(np.int8).tolist()
        for lane in range(lanes)
    ]
    last = fields_of(layout, out.beats["bytes"], "last").astype(bool).tolist()
    assert list(zip(map(list, zip(*columns, strict=True)), last, strict=True)) == expected_bytes
    factors = elements_of(fields_of(_FACTOR, out.beats["factor"], "x"))
    assert factors.tolist() == expected_factors

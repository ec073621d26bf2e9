"""Attention over a cache, and the products of the head."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In
from stream_ports import CONFIG, beats_of, element_fields, elements_of, fields_of

from trilith.golden.elements import quantize_elements, round_element, score_factor
from trilith.golden.network.token_core import attend
from trilith.hw.token.attention import AttentionUnit, attention_command
from trilith.hw.token.config import TokenConfig
from trilith.hw.token.dots import byte_row, query_piece
from trilith.hw.token.element import ELEMENT
from trilith.hw.token.memory_port import read_request
from trilith.hw.token.router import element_words
from trilith.hw.token.scores import logit_shape
from trilith.hw.token.tree import tree_latency
from trilith.hw.token.writer import vector_write
from trilith.sim.rtl.streams import run_streams

#: Rows of two chunks; chunks of two and of four rows.
CONFIGS = {
    name: replace(CONFIG, attention_lanes=lanes, heads_max=8, kv_heads_max=4)
    for name, lanes in {"C2": 8, "G2": 32, "G4": 64}.items()
}

#: Each configuration builds a simulation. tests/sim/rtl/test_token_core.py has all parts at once.
pytestmark = pytest.mark.long


#: Inputs in front of the queries: their kind, and the constant of the scores.
BEGIN = data.StructLayout({"head": 1, "kappa": ELEMENT})


class Attention(wiring.Component):
    """The unit with streams alone."""

    def __init__(self, config: TokenConfig) -> None:
        self.unit = AttentionUnit(config)
        members = self.unit.signature.members
        super().__init__(
            {
                "reset": In(stream.Signature(1)),
                "begin": In(stream.Signature(BEGIN)),
                **{
                    name: member
                    for name, member in members.items()
                    if member.is_signature and isinstance(member.signature, stream.Signature)
                },
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        unit = self.unit
        m.submodules.unit = ResetInserter(self.reset.valid)(unit)
        for name in self.signature.members:
            if name not in ("begin", "reset"):
                wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(unit, name))
        m.d.comb += [
            self.reset.ready.eq(1),
            self.begin.ready.eq(1),
            unit.clear.eq(self.begin.valid),
            unit.head.eq(self.begin.p.head),
        ]
        with m.If(self.begin.valid):
            m.d.sync += Value.cast(unit.kappa).eq(Value.cast(self.begin.p.kappa))
        return m


def padded(array: np.ndarray, multiple: int) -> np.ndarray:
    """Zeros behind the last axis, to a multiple."""
    rest = -array.shape[-1] % multiple
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, rest)])


def element_beats(config: TokenConfig, scales: np.ndarray) -> list[dict]:
    """A request's words of elements, to whole words of memory."""
    lanes = config.vector_lanes
    words = padded(scales, max(config.memory_width // 32, lanes)).reshape(-1, lanes)
    return [
        {"elements": element_fields(word), "last": index == len(words) - 1}
        for index, word in enumerate(words)
    ]


def run_unit(config, command, queries, scales, elements, rows, counts, kappa, paused=False):
    """Run one command; ``queries`` are pieces, and ``rows`` chunks."""
    pauses = {}
    if paused:
        rng = np.random.default_rng(2)
        names = ("elements", "rows", "writes", "logits", "element_requests", "row_requests")
        pauses = {name: rng.choice([0, 0, 0, 1, 9], 101) for name in names}
    # The queries are there before the command.
    pauses["commands"] = np.array([200])
    pauses["queries"] = pauses["query_scales"] = np.array([3] + [0] * 99)
    beats = unit_beats(config, command, queries, scales, elements, rows, kappa)
    return run_streams(Attention(config), beats, counts, pauses=pauses, limit=50_000)


def unit_beats(config, command, queries, scales, elements, rows, kappa):
    """Beats of the input streams for one command."""
    base = {name: 0 for name, _ in attention_command(config)}
    shapes = {
        "begin": (BEGIN, [{"head": command.get("head", 0), "kappa": element_fields(kappa)[0]}]),
        "queries": (query_piece(config), queries.tolist()),
        "query_scales": (ELEMENT, element_fields(scales)),
        "commands": (attention_command(config), [base | command]),
        "elements": (element_words(config), elements),
        "rows": (byte_row(config), rows.tolist()),
    }
    beats = {name: beats_of(shape, values) for name, (shape, values) in shapes.items()}
    return beats | {"reset": np.zeros((0, 1), np.uint8)}


def attention_cycles(config: TokenConfig, groups: int, vectors: int, rows: int, words: int) -> int:
    """Cycles from a command to its last word, list by list: K0, K1, V0, K2, V1 and so on."""
    scores = -(-rows // config.segments) * vectors
    chunks = scores * config.cache_chunks(config.head_size_max)
    levels, t = tree_latency(config.attention_lanes), tree_latency(config.segments)
    # Last chunk of the list before, last factor of the group before, and its last word.
    end = factors = delivered = 0
    before, weights = "", []
    for kind in ["K", *"KV" * (groups - 1), "V"]:
        if kind == "K":
            start = end + (1 if before == "V" else 2)
            end = start + chunks - 1
            factors = max(end + 7 + levels + t, factors) + scores + 14 + t + 11 * vectors
            weights.append(factors + 4)
        else:
            start = max(end + 1, weights.pop(0), delivered + 2)
            end = start + chunks - 1
            delivered = end + 7 + t + vectors * words
        before = kind
    return delivered


def test_the_example_of_the_description() -> None:
    engine = replace(CONFIG.engine, k_max=512, n_max=512)
    widths = {"attention_lanes": 256, "memory_width": 512, "vector_lanes": 8}
    config = replace(CONFIG, engine=engine, head_size_max=128, **widths)
    assert attention_cycles(config, groups=5, vectors=4, rows=512, words=16) == 10_469


def attention_case(config: TokenConfig, positions: int, groups: int, vectors: int):
    """A command, its input, and the mixed vector."""
    rng = np.random.default_rng(positions)
    size, segments = config.head_size_max, config.segments
    word, heads = config.memory_width // 8, groups * vectors

    def quantized(*shape: int):
        spread = 2.0 ** rng.integers(-3, 4, (*shape, 1))
        x = round_element(rng.standard_normal((*shape, size)) * spread)
        return quantize_elements(x, np.abs(x).max(axis=-1, keepdims=True))

    q, q_scales = quantized(heads)
    k, k_scales = quantized(positions, groups)
    v, v_scales = quantized(positions, groups)
    v[0, 0], v_scales[0, 0] = 0, 0
    k_scales, v_scales = k_scales[..., 0], v_scales[..., 0]
    expected = attend((q, q_scales), (k, k_scales), (v, v_scales))
    # Behind the last position, memory has the largest bytes and scales.
    rest = [(0, -positions % segments), (0, 0)]

    def chunks(values: np.ndarray) -> np.ndarray:
        rows = np.pad(padded(values, config.cache_row(size)), rest, constant_values=-128)
        return rows.reshape(-1, config.attention_lanes)

    elements, keys, values = [], [], []
    for group in range(groups):
        pairs = np.stack([k_scales[:, group], v_scales[:, group]], axis=1)
        elements += element_beats(config, np.pad(pairs, rest, constant_values=1e38).ravel())
        keys.append(chunks(k[:, group]))
        values.append(chunks(v[:, group]))
    # K0, K1, V0, K2, V1 and so on.
    lists = [keys[0], *(one for two in zip(keys[1:], values, strict=False) for one in two)]
    command = {
        "groups": groups,
        "vectors": vectors,
        "chunks": config.cache_chunks(size),
        "query_step": vectors * config.cache_chunks(size),
        "rows": positions,
        "scale_words": -(-8 * -(-positions // segments) * segments // word),
        "row_words": keys[0].size // word,
        "address": 4096,
        "scale_step": 8 * 32,
        "row_step": 32 * config.cache_row(size),
        "words": size // config.vector_lanes,
        "destination": 3,
    }
    pieces = padded(q, config.cache_row(size)).reshape(-1, config.segment_bytes)
    rows = np.concatenate([*lists, values[-1]])
    return (command, pieces, q_scales, elements, rows), expected


def mixed(config: TokenConfig, beats: np.ndarray) -> list[float]:
    """Elements of written words."""
    shape = vector_write(config)
    lanes = range(config.vector_lanes)
    fields = [elements_of(fields_of(shape, beats, "elements", lane)) for lane in lanes]
    return np.stack(fields, axis=1).ravel().tolist()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    ("positions", "groups", "vectors", "paused"),
    [(1, 2, 2, False), (13, 2, 2, False), (32, 2, 2, True), (6, 1, 2, False), (31, 4, 1, False)],
)
def test_attention(name: str, positions: int, groups: int, vectors: int, paused: bool) -> None:
    config = CONFIGS[name]
    case, expected = attention_case(config, positions, groups, vectors)
    command = case[0]
    words = groups * vectors * command["words"]
    counts = {"writes": words, "element_requests": groups, "row_requests": 2 * groups}
    out = run_unit(config, *case, counts, score_factor(config.head_size_max), paused)
    shape = vector_write(config)
    assert mixed(config, out.beats["writes"]) == expected.tolist()
    assert fields_of(shape, out.beats["writes"], "address").tolist() == list(range(3, 3 + words))
    assert fields_of(shape, out.beats["writes"], "last").tolist() == [0] * (words - 1) + [1]
    scales, row_step = command["scale_step"], command["row_step"]
    starts = 4096 + (scales + 2 * row_step) * np.arange(groups)
    keys, values = starts + scales, starts + scales + row_step
    lists = [keys[0], *np.stack([keys[1:], values[:-1]], axis=1).ravel(), values[-1]]
    requested = read_request(config)
    found = {
        name: fields_of(requested, out.beats[f"{name}_requests"], "address").tolist()
        for name in ("element", "row")
    }
    assert found == {"element": starts.tolist(), "row": lists}
    # Four segments take two words of elements for a chunk.
    if not paused and 2 * config.segments <= config.vector_lanes:
        cycles = out.cycles["writes"][-1] - out.cycles["commands"][0]
        assert cycles == attention_cycles(config, groups, vectors, positions, command["words"])


def test_a_reset_drops_a_command() -> None:
    config = CONFIGS["G2"]
    case, expected = attention_case(config, 13, 2, 2)
    kappa = score_factor(config.head_size_max)
    beats = unit_beats(config, *case, kappa)
    # Before the reset, the second list of keys has begun.
    begun = {"rows": 9, "elements": 9}
    beats = {
        name: np.concatenate([rows[: begun.get(name, len(rows))], rows])
        for name, rows in beats.items()
    }
    pauses = {name: np.zeros(len(rows), np.uint8) for name, rows in beats.items()}
    beats["reset"] = np.zeros((1, 1), np.uint8)
    pauses["reset"] = np.array([150])
    for name, first, second in (
        ("begin", 0, 160), ("queries", 3, 170), ("query_scales", 3, 170), ("commands", 80, 180),
        ("rows", 0, 200), ("elements", 0, 200),
    ):  # fmt: skip
        half = begun.get(name, len(beats[name]) // 2)
        pauses[name][[0, half]] = first, second
    words = len(expected) // config.vector_lanes
    counts = {"writes": words, "element_requests": 4, "row_requests": 8}
    out = run_streams(Attention(config), beats, counts, pauses=pauses, limit=5_000)
    assert out.cycles["rows"][8] < out.cycles["reset"][0] < out.cycles["begin"][1]
    assert mixed(config, out.beats["writes"]) == expected.tolist()


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_logits(name: str, paused: bool) -> None:
    config = CONFIGS[name]
    rng = np.random.default_rng(9)
    hidden, vocabulary = config.hidden_max - 4, config.vocabulary_max - 3
    q = rng.integers(-127, 128, (1, hidden))
    rows = rng.integers(-127, 128, (vocabulary, hidden))
    scales = round_element(rng.uniform(0.5, 2, vocabulary))
    factor = round_element(np.array([0.37]))
    expected = round_element(round_element(q @ rows.T)[0] * round_element(scales * factor))
    command = {
        "head": 1,
        "groups": 1,
        "vectors": 1,
        "chunks": config.row_chunks(hidden),
        "rows": vocabulary,
        "scale_words": 16,
        "row_words": 122,
        "address": 512,
        "scale_step": 256,
    }
    counts = {"logits": vocabulary, "element_requests": 1, "row_requests": 1}
    pieces = padded(q, config.cache_row_bytes).reshape(-1, config.segment_bytes)
    chunks = padded(rows, config.row_bytes).reshape(-1, config.attention_lanes)
    out = run_unit(
        config, command, pieces, factor, element_beats(config, scales), chunks, counts, 1.0, paused
    )
    shape = logit_shape()
    found = elements_of(fields_of(shape, out.beats["logits"], "value"))
    assert found.tolist() == expected.tolist()
    assert fields_of(shape, out.beats["logits"], "last").tolist() == [0] * (vocabulary - 1) + [1]
    requested = read_request(config)
    assert fields_of(requested, out.beats["row_requests"], "address").tolist() == [768]
    if not paused:
        cycles = out.cycles["logits"][-1] - out.cycles["commands"][0]
        levels = tree_latency(config.attention_lanes)
        assert cycles == 8 + levels + vocabulary * config.row_chunks(hidden)

"""Attention over a cache, and the products of the head."""

import numpy as np
import pytest
from amaranth.hdl import Module, Value
from amaranth.lib import data, stream, wiring
from stream_ports import CONFIG, beats_of, element_fields, elements_of, fields_of

from trilith.golden.elements import quantize_elements, round_element
from trilith.golden.network.token_core import attend, score_factor
from trilith.hw.token.attention import AttentionUnit, attention_command
from trilith.hw.token.config import TokenConfig
from trilith.hw.token.element import ELEMENT
from trilith.hw.token.memory_port import read_request
from trilith.hw.token.scaler import vector_word
from trilith.hw.token.scores import score_shape
from trilith.hw.token.writer import vector_write
from trilith.sim.rtl.streams import run_streams

SIZE = CONFIG.head_size_max

#: Each file builds a simulation; tests/sim/rtl/test_token_core.py covers all parts at once.
pytestmark = pytest.mark.long


class Attention(wiring.Component):
    """The unit with streams alone, and the constant of its scores."""

    def __init__(self, config: TokenConfig, kappa: float) -> None:
        self.unit, self.kappa = AttentionUnit(config), kappa
        members = self.unit.signature.members
        super().__init__(
            {
                name: member
                for name, member in members.items()
                if member.is_signature and isinstance(member.signature, stream.Signature)
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        for name in self.signature.members:
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(unit, name))
        (kappa,) = element_fields(self.kappa)
        m.d.comb += Value.cast(unit.kappa).eq(kappa)
        return m


def padded(array: np.ndarray, multiple: int) -> np.ndarray:
    """Zeros behind the last axis, to a multiple."""
    rest = -array.shape[-1] % multiple
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, rest)])


def element_beats(scales: np.ndarray) -> list[dict]:
    """A request's words of elements, to whole words of memory."""
    lanes = CONFIG.vector_lanes
    words = padded(scales, CONFIG.memory_width // 32).reshape(-1, lanes)
    return [
        {"elements": element_fields(word), "last": index == len(words) - 1}
        for index, word in enumerate(words)
    ]


def row_beats(rows: np.ndarray) -> list[list[int]]:
    """Chunks of rows of int8."""
    whole = padded(rows, CONFIG.row_bytes)
    return whole.reshape(-1, CONFIG.attention_lanes).tolist()


def run_unit(command, queries, scales, elements, rows, counts, kappa, paused):
    """Run one command."""
    base = {name: 0 for name, _ in attention_command(CONFIG)}
    shapes = {
        "queries": (data.ArrayLayout(8, CONFIG.attention_lanes), row_beats(queries)),
        "query_scales": (ELEMENT, element_fields(scales)),
        "commands": (attention_command(CONFIG), [base | command]),
        "elements": (
            data.StructLayout({"elements": vector_word(CONFIG), "last": 1}),
            elements,
        ),
        "rows": (data.ArrayLayout(8, CONFIG.attention_lanes), rows),
    }
    pauses = {}
    if paused:
        rng = np.random.default_rng(2)
        names = ("elements", "rows", "writes", "logits", "element_requests", "row_requests")
        pauses = {name: rng.choice([0, 0, 0, 1, 9], 101) for name in names}
    # The queries are there before the command.
    pauses["commands"] = np.array([200])
    return run_streams(
        Attention(CONFIG, kappa),
        {name: beats_of(shape, values) for name, (shape, values) in shapes.items()},
        counts,
        pauses=pauses,
        limit=50_000,
    )


@pytest.mark.parametrize(("positions", "paused"), [(1, False), (13, False), (32, True)])
def test_attention(positions: int, paused: bool) -> None:
    rng = np.random.default_rng(positions)
    heads, groups = CONFIG.heads_max, CONFIG.kv_heads_max
    lanes, word = CONFIG.vector_lanes, CONFIG.memory_width // 8

    def quantized(*shape: int):
        spread = 2.0 ** rng.integers(-3, 4, (*shape, 1))
        x = round_element(rng.standard_normal((*shape, SIZE)) * spread)
        return quantize_elements(x, np.abs(x).max(axis=-1, keepdims=True))

    q, q_scales = quantized(heads)
    k, k_scales = quantized(positions, groups)
    v, v_scales = quantized(positions, groups)
    v[0, 0], v_scales[0, 0] = 0, 0
    k_scales, v_scales = k_scales[..., 0], v_scales[..., 0]
    expected = attend((q, q_scales), (k, k_scales), (v, v_scales))
    elements, rows = [], []
    for group in range(groups):
        for values, scales in ((k, k_scales), (v, v_scales)):
            elements += element_beats(scales[:, group])
            rows += row_beats(values[:, group])
    scale_words = -(-4 * positions // word)
    row_words = positions * CONFIG.row_bytes // word
    scale_step, row_step = 4 * 32, 32 * CONFIG.row_bytes
    command = {
        "groups": groups,
        "vectors": heads // groups,
        "chunks": CONFIG.row_chunks(SIZE),
        "query_step": heads // groups * CONFIG.row_chunks(SIZE),
        "rows": positions,
        "scale_words": scale_words,
        "row_words": row_words,
        "address": 4096,
        "scale_step": scale_step,
        "row_step": row_step,
        "words": SIZE // lanes,
        "destination": 3,
    }
    words = heads * SIZE // lanes
    counts = {"writes": words, "element_requests": 2 * groups, "row_requests": 2 * groups}
    out = run_unit(command, q, q_scales, elements, rows, counts, score_factor(SIZE), paused)
    shape = vector_write(CONFIG)
    found = np.stack(
        [
            elements_of(fields_of(shape, out.beats["writes"], "elements", lane))
            for lane in range(lanes)
        ],
        axis=1,
    )
    assert found.ravel().tolist() == expected.tolist()
    assert fields_of(shape, out.beats["writes"], "address").tolist() == list(range(3, 3 + words))
    assert fields_of(shape, out.beats["writes"], "last").tolist() == [0] * (words - 1) + [1]
    group_step = 2 * (scale_step + row_step)
    starts = [4096 + group * group_step for group in range(groups)]
    requested = read_request(CONFIG)
    assert fields_of(requested, out.beats["element_requests"], "address").tolist() == [
        start + step for start in starts for step in (0, scale_step)
    ]
    assert fields_of(requested, out.beats["row_requests"], "address").tolist() == [
        start + 2 * scale_step + step for start in starts for step in (0, row_step)
    ]
    if not paused:
        print(positions, out.cycles["writes"][[0, -1]] - out.cycles["commands"][0])


@pytest.mark.parametrize("paused", [False, True])
def test_logits(paused: bool) -> None:
    rng = np.random.default_rng(9)
    hidden, vocabulary = CONFIG.hidden_max, CONFIG.vocabulary_max - 3
    q = rng.integers(-127, 128, (1, hidden))
    rows = rng.integers(-127, 128, (vocabulary, hidden))
    scales = round_element(rng.uniform(0.5, 2, vocabulary))
    factor = round_element(np.array([0.37]))
    expected = round_element(round_element(q @ rows.T)[0] * round_element(scales * factor))
    command = {
        "head": 1,
        "groups": 1,
        "vectors": 1,
        "chunks": CONFIG.row_chunks(hidden),
        "rows": vocabulary,
        "scale_words": 16,
        "row_words": 122,
        "address": 512,
        "scale_step": 256,
    }
    counts = {"logits": vocabulary, "element_requests": 1, "row_requests": 1}
    out = run_unit(command, q, factor, element_beats(scales), row_beats(rows), counts, 1.0, paused)
    shape = score_shape(CONFIG)
    found = elements_of(fields_of(shape, out.beats["logits"], "value"))
    assert found.tolist() == expected.tolist()
    assert fields_of(shape, out.beats["logits"], "last").tolist() == [0] * (vocabulary - 1) + [1]
    requested = read_request(CONFIG)
    assert fields_of(requested, out.beats["row_requests"], "address").tolist() == [768]

# amaranth: UnusedElaboratable=no
import json
import pickle
import re
from dataclasses import asdict

import numpy as np
import pytest

from trilith.golden.codes import CODES
from trilith.hw import PRESETS, MatVecConfig, MatVecEngine
from trilith.hw.config import Target, WeightCode

LEGAL = {"lanes": 8, "rows": 2, "k_max": 100, "n_max": 100}


def test_acc_width_is_exact():
    for k_max, act_bits, width in (
        (2560, 8, 20),
        (6912, 8, 21),
        (23040, 8, 23),
        (4096, 8, 21),  # 4096 · 128 = 2¹⁹, one more than 20 signed bits hold.
        (4095, 8, 20),
        (7, 2, 4),
        (8, 2, 5),
        (16, 4, 9),
    ):
        config = MatVecConfig(**LEGAL | {"k_max": k_max, "act_bits": act_bits})
        assert config.acc_width == width
        largest = k_max * (1 if act_bits == 2 else 2 ** (act_bits - 1))
        assert -(2 ** (width - 1)) <= -largest
        assert largest <= 2 ** (width - 1) - 1
        assert largest > 2 ** (width - 2) - 1


def test_derived_values():
    config = MatVecConfig(lanes=7, rows=2, tokens=3, k_max=100, n_max=9, levels_per_stage=2)
    assert config.macs_per_clock == 42
    assert config.weight_bytes == 3
    assert config.max_chunks == 15
    assert (config.tree_levels, config.tree_stages) == (3, 2)
    # Ten quads of five bits are 50 bits in 7 bytes; 80 lanes have 60 operands.
    assert MatVecConfig(lanes=8, rows=5, code="sherry", k_max=9, n_max=9).weight_bytes == 7
    assert MatVecConfig(lanes=80, rows=1, code="sherry", k_max=9, n_max=9).tree_levels == 6


def test_the_queue_holds_what_is_under_way():
    # Four tokens: latency 1 + 2 + 6 + 3, and two groups of results.
    assert PRESETS["block"].queue_depth == 20
    assert str(PRESETS["block"]) == "64x5x4"


def test_the_codes_are_those_of_the_golden_model_in_its_order():
    assert [code.value for code in WeightCode] == list(CODES)


def test_strings_and_numpy_integers_become_choices_and_integers():
    config = MatVecConfig(**LEGAL | {"code": "tq1", "target": "asic", "lanes": np.int64(8)})
    assert config.code is WeightCode.TQ1
    assert config.target is Target.ASIC
    assert type(config.lanes) is int
    values = json.loads(json.dumps(asdict(config)))
    assert (values["code"], values["target"], values["lanes"]) == ("tq1", "asic", 8)
    assert MatVecConfig(**values) == config
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fill_base3_beats(name):
    config = PRESETS[name]
    trits = config.rows * config.lanes
    assert (config.lanes == 64 and config.rows % 5 == 0) or trits % 40 == 0
    assert config.code == "base3"
    assert config.weight_bytes * 5 == trits
    assert config.weight_bytes in (8, 16, 32, 64, 128, 256)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"lanes": 4}, ValueError, "lanes must be from 5 to 320, not 4"),
        ({"lanes": 321}, ValueError, "lanes must be from 5 to 320, not 321"),
        ({"rows": 0}, ValueError, "rows must be from 1 to 64, not 0"),
        ({"tokens": 9}, ValueError, "tokens must be from 1 to 8, not 9"),
        ({"act_bits": 3}, ValueError, "act_bits must be 8, 4 or 2, not 3"),
        (
            {"code": "huffman"},
            ValueError,
            "code must be base3, escape, tq1, two_bit, binary or sherry, not 'huffman'",
        ),
        ({"k_max": 65537}, ValueError, "k_max must be from 1 to 65536, not 65537"),
        ({"n_max": 0}, ValueError, "n_max must be from 1 to 262144, not 0"),
        ({"levels_per_stage": 5}, ValueError, "levels_per_stage must be from 1 to 4, not 5"),
        ({"lanes": 8.0}, TypeError, "lanes must be an integer, not 8.0"),
        ({"rows": True}, TypeError, "rows must be an integer, not True"),
        ({"act_bits": "8"}, TypeError, "act_bits must be an integer, not '8'"),
        ({"target": "fgpa"}, ValueError, "target must be fpga, compact-fpga or asic, not 'fgpa'"),
        ({"target": None}, TypeError, "target must be a string, not None"),
        ({"code": 3}, TypeError, "code must be a string, not 3"),
        (
            {"code": "sherry", "lanes": 10},
            ValueError,
            "lanes must be a multiple of 4 with the code 'sherry', not 10",
        ),
    ],
)
def test_illegal_values(change, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        MatVecConfig(**LEGAL | change)


def test_engine_wants_a_configuration():
    with pytest.raises(TypeError, match=r"^config must be a MatVecConfig, not \{\}$"):
        MatVecEngine({})


def test_presets():
    """Shapes that the documentation and the figures name."""
    sizes = {
        name: (one.lanes, one.rows, one.tokens, one.k_max, one.n_max, one.levels_per_stage)
        for name, one in PRESETS.items()
    }
    assert sizes == {
        "micro": (8, 5, 1, 1024, 1024, 1),
        "line": (80, 1, 1, 6912, 6912, 1),
        "block": (64, 5, 4, 6912, 6912, 1),
        "bitnet": (64, 20, 1, 6912, 6912, 1),
        "compact": (80, 1, 1, 6912, 6912, 2),
    }
    assert {one.act_bits for one in PRESETS.values()} == {8}
    assert {one.code for one in PRESETS.values()} == {"base3"}
    assert [name for name, one in PRESETS.items() if one.compact] == ["compact"]

"""Multipliers of the token core: where they are, and how many."""

import re
from collections import Counter

import pytest
from amaranth.back import rtlil

from trilith.hw import MatVecConfig
from trilith.hw.token.config import TokenConfig
from trilith.hw.token.core import TokenCore

#: Multipliers of each part of a core: for each vector lane, attention lane and segment, and beside.
PARTS = {
    "scaler": (2, 0, 0, 0),
    "writer": (4, 0, 0, 0),
    "peak": (1, 0, 0, 0),
    "normalizer": (3, 0, 0, 2),
    "heads": (3, 0, 0, 2),
    "attention": (1, 2, 5, 1),
}


def multipliers(config):
    """Count of multipliers by part of the elaborated core.

    Amaranth also writes a ``$mul`` for the place of a lane in a word, whose factors are narrower
    than those of the multiplier of a table's slope: 7 bits.
    """
    counts, text = Counter(), rtlil.convert(TokenCore(config), name="top")
    for module in re.split(r"^module ", text, flags=re.MULTILINE)[1:]:
        part = re.match(r"\\top\.?(\w*)", module)[1]
        for cell in re.findall(r"cell \$mul .*?^ +end$", module, re.MULTILINE | re.DOTALL):
            widths = re.findall(r"parameter \\[AB]_WIDTH (\d+)", cell)
            counts[part] += min(map(int, widths)) >= 7
    return {part: count for part, count in counts.items() if count}


@pytest.mark.parametrize(("lanes", "attention", "segments"), [(1, 4, 1), (2, 8, 1), (2, 16, 2)])
def test_multipliers_are_in_operators_and_dot_products_alone(lanes, attention, segments):
    config = TokenConfig(
        engine=MatVecConfig(lanes=8, rows=3, k_max=16, n_max=16),
        vector_lanes=lanes,
        attention_lanes=attention,
        memory_width=64,
        hidden_max=8,
        ffn_max=8,
        heads_max=2,
        kv_heads_max=1,
        head_size_max=4,
        context_max=4,
        vocabulary_max=8,
    )
    assert config.segments == segments
    counts = multipliers(config)
    # The ternary engine, the sequencer and the memory's addresses have none.
    assert counts == {
        name: lanes * vector + attention * products + segments * scores + scalars
        for name, (vector, products, scores, scalars) in PARTS.items()
    }
    assert sum(counts.values()) == config.multipliers

"""Extended cycles of large models against the cycle model that follows every layer."""

from dataclasses import replace

import numpy as np
import pytest

from trilith.hw import MatVecConfig
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.plan import CompileError, plan_image
from trilith.sim.cost.core.cycles import core_cycles
from trilith.sim.cost.core.extension import extended_cycles
from trilith.sim.cost.core.validate import random_sizes
from trilith.sim.cost.core_system import core_sizes
from trilith.sim.cost.model_shapes import MODELS
from trilith.sim.rtl import core_suite

SMALL = replace(CORE_PRESETS["small"], vocabulary_max=8192)
#: The rows of the head are weight beats of 20 bytes.
PAIRS = replace(core_suite.PAIRS, vocabulary_max=8192)
WIDE = replace(
    SMALL,
    engine=MatVecConfig(lanes=64, rows=20, k_max=128, n_max=160),
    vector_lanes=16,
    attention_lanes=64,
    memory_width=512,
    head_size_max=32,
)
#: Chunks of the attention take 16 words of memory.
NARROW = replace(WIDE, vector_lanes=2, attention_lanes=128, memory_width=64)


@pytest.mark.parametrize(
    ("config", "layers", "vocabulary", "most"),
    [
        (NARROW, 8, 1001, 8 * 20),
        (PAIRS, 1, 3797, 0),
        (SMALL, 8, 3795, 1),
        (SMALL, 7, 40, 0),
        (SMALL, 1, 9, 0),
        (WIDE, 8, 3001, 24),
        (WIDE, 6, 1200, 24),
    ],
)
def test_models_of_some_layers(config, layers, vocabulary, most):
    """A layer of the wide core is wrong by at most 3 cycles, and one of the narrow core by 20."""
    sizes = random_sizes(config, np.random.default_rng(layers))
    sizes = replace(sizes, layers=layers, vocabulary=vocabulary)
    position = sizes.max_positions - 1
    found = extended_cycles(config, sizes, position=position)
    full = core_cycles(config, plan_image(config, sizes).program, token=0, position=position)
    print(f"{config}, {layers} layers: {found.cycles - full.cycles} of {full.cycles} cycles")
    assert abs(found.cycles - full.cycles) <= most
    assert sum(found.by_part.values()) == found.cycles
    assert found.by_part["products"] == full.by_part["products"]
    # Words of the program, which belong to no part, come earlier or later.
    read, expected = (sum(one.bytes_by_part.values()) for one in (found, full))
    assert read == pytest.approx(expected, rel=0.02)


@pytest.mark.long
def test_a_whole_token_of_2b4t():
    config = CORE_PRESETS["2b4t"]
    sizes = core_sizes(MODELS["bitnet-2b4t"], 4096)
    found = extended_cycles(config, sizes, position=0)
    full = core_cycles(config, plan_image(config, sizes).program, token=0, position=0)
    print(f"{found.cycles - full.cycles} of {full.cycles} cycles")
    assert abs(found.cycles - full.cycles) <= 90


def test_more_layers_than_those_of_a_program():
    """All layers count as the first 65."""
    layers = 10**9
    sizes = replace(random_sizes(WIDE, np.random.default_rng(4)), vocabulary=16)
    few, some = (
        extended_cycles(WIDE, replace(sizes, layers=count), position=0).cycles for count in (1, 65)
    )
    found = extended_cycles(WIDE, replace(sizes, layers=layers), position=0).cycles
    assert found == pytest.approx(few + (some - few) / 64 * (layers - 1), abs=8)


def test_a_model_that_is_too_large():
    sizes = replace(random_sizes(SMALL, np.random.default_rng(1)), vocabulary=9000)
    message = "^the model is .* core: its vocabulary must be at most 8192, not 9000$"
    with pytest.raises(CompileError, match=message):
        extended_cycles(SMALL, sizes, position=0)

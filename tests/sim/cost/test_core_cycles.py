"""The cycle model of the token core against the RTL."""

from dataclasses import replace

import numpy as np
import pytest

from trilith.hw import MatVecConfig
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.plan import plan_image
from trilith.sim.cost.core.cycles import core_cycles
from trilith.sim.cost.core.validate import compare_cycles, random_sizes
from trilith.sim.cost.core_system import core_sizes
from trilith.sim.cost.model_shapes import MODELS
from trilith.sim.rtl.core_suite import PAIRS, PROMPTS
from trilith.sim.rtl.memory_model import MemoryModel

SMALL, PYDOC = CORE_PRESETS["small"], CORE_PRESETS["pydoc"]
SLOW = MemoryModel(
    latency=23, interval=3, weight_interval=2, refresh_interval=500, refresh_cycles=60
)

#: Narrow and wide ports, from a quarter of the attention's bytes per cycle to four times as many.
#: The last three have the rows of the head in weight beats of 256, 256 and 13 bytes.
WIDTHS = [
    replace(
        SMALL,
        engine=MatVecConfig(lanes=lanes, rows=rows, k_max=128, n_max=160),
        vector_lanes=vector,
        attention_lanes=attention,
        memory_width=width,
        head_size_max=32,
    )
    for lanes, rows, vector, attention, width in (
        (16, 3, 1, 4, 32),
        (8, 7, 4, 64, 128),
        (64, 20, 16, 16, 512),
        (64, 20, 2, 128, 64),
        (64, 20, 2, 16, 64),
        (13, 5, 2, 32, 64),
    )
]

#: Two tokens in a pass, result beats of more rows than lanes, and chunks with rows of 4 positions.
TWO = replace(
    WIDTHS[2],
    engine=replace(WIDTHS[2].engine, tokens=2),
    attention_lanes=256,
)


def check(config, count, seed, memory=None):
    """Compare random models; the cycles of every part must be those of the RTL."""
    wrong = [one for one in compare_cycles(config, count, seed=seed, memory=memory)
             if one.rtl != one.model]  # fmt: skip
    assert wrong == []


@pytest.mark.parametrize(
    ("config", "count", "memory"),
    [
        (SMALL, 20, None), (SMALL, 10, SLOW), (PAIRS, 10, None), (PAIRS, 5, SLOW),
        (PYDOC, 5, None), (PYDOC, 3, SLOW), (PROMPTS, 20, None), (PROMPTS, 10, SLOW),
    ],
    ids=[
        "small", "small, slow memory", "pairs", "pairs, slow memory", "pydoc", "pydoc, slow memory",
        "passes of up to 4 tokens", "passes of up to 4 tokens, slow memory",
    ],
)  # fmt: skip
def test_random_models(config, count, memory):
    check(config, count, 2, memory)


@pytest.mark.long
@pytest.mark.parametrize("memory", [None, SLOW, MemoryModel(latency=90)], ids=str)
@pytest.mark.parametrize("config", [SMALL, PYDOC, PROMPTS, TWO, *WIDTHS], ids=str)
def test_many_random_models(config, memory):
    check(config, 40, 3, memory)


def test_a_command_that_the_core_refuses():
    sizes = random_sizes(SMALL, np.random.default_rng(5))
    program = plan_image(SMALL, sizes).program
    command = {"token": 0, "position": 0, "k": 1}
    for name, value, most in (
        ("token", sizes.vocabulary, sizes.vocabulary - 1),
        ("position", sizes.max_positions, sizes.max_positions - 1),
        ("k", 33, min(32, sizes.vocabulary)),
    ):
        with pytest.raises(ValueError, match=f"^{name} must be from 0 to {most}, not {value}$"):
            core_cycles(SMALL, program, **command | {name: value})


@pytest.mark.parametrize("rows", [40, 300])
def test_a_row_of_the_head_of_2b4t_takes_10_cycles(rows):
    config = CORE_PRESETS["2b4t"]
    sizes = replace(core_sizes(MODELS["bitnet-2b4t"], 4096), layers=1, vocabulary=rows)
    program = plan_image(config, sizes).program
    assert core_cycles(config, program, token=0, position=0).by_part["head"] == 10 * rows + 16


def test_a_prompt_of_2b4t_reads_its_weights_once():
    config = replace(CORE_PRESETS["2b4t"], vector_lanes=16)
    config = replace(config, engine=replace(config.engine, tokens=4))
    sizes = replace(core_sizes(MODELS["bitnet-2b4t"], 4096), layers=1, vocabulary=1024)
    program = plan_image(config, sizes).program
    one, four = (
        core_cycles(config, program, token=tokens, position=0, k=0) for tokens in (5, [5, 6, 7, 8])
    )
    assert one.by_part["products"] == four.by_part["products"] == 54_304
    assert four.cycles < 1.15 * one.cycles


@pytest.mark.parametrize(
    ("tokens", "position", "message"),
    [
        ([0] * 5, 0, "the number of tokens must be from 1 to 4, not 5"),
        ([0, 0, 0], 2, "position must be from 0 to 1, not 2"),
    ],
)
def test_a_pass_that_the_core_refuses(tokens, position, message):
    sizes = replace(random_sizes(PROMPTS, np.random.default_rng(5)), max_positions=4)
    program = plan_image(PROMPTS, sizes).program
    with pytest.raises(ValueError, match=f"^{message}$"):
        core_cycles(PROMPTS, program, token=tokens, position=position)


def test_parts_add_up():
    sizes = random_sizes(PYDOC, np.random.default_rng(6))
    found = core_cycles(PYDOC, plan_image(PYDOC, sizes).program, token=1, position=0)
    assert sum(found.by_part.values()) == found.cycles
    assert all(found.by_part.values())

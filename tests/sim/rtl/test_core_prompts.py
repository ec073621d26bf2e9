"""Prompts in passes of several tokens: every vector, illegal passes, resets and slow memories."""

from functools import partial
from itertools import islice

import numpy as np
import pytest
from small_core import PROMPTS, check_token, small_model

from trilith.golden.network.token_core import CoreCache
from trilith.hw.token.image import compile_image
from trilith.sim.rtl.core_text import CoreNetwork
from trilith.sim.rtl.memory_model import MemoryModel
from trilith.sim.rtl.token_core import GoldenTrace, TokenCoreSimulator
from trilith.sim.tools.errors import SimulationError

LIMIT = 200_000
#: A prompt of 10 tokens, in passes of 4, 1, 3 and 2.
PASSES = [[3, 150, 7, 0], [5], [9, 9, 2], [77, 4]]


@pytest.fixture(scope="module")
def core_model(random_model):
    """A model in the arithmetic of the core, by family."""
    return partial(small_model, random_model)


@pytest.fixture(scope="module")
def model(core_model):
    return core_model()


@pytest.fixture(scope="module")
def image(model):
    return compile_image(model, PROMPTS)


def check_passes(core, model, k=2, passes=PASSES):
    """Run passes from position 0 on, and compare all vectors; return the cycles of each."""
    cache, cycles = CoreCache(model.config), []
    for tokens in passes:
        position = cache.length
        golden = GoldenTrace(model, tokens, cache)
        cycles.append(check_token(core, golden, tokens, position, k).cycles)
    return cycles


@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("family", ["bitnet", "llama"])
def test_every_vector_of_every_pass(core_model, family, k):
    model = core_model(family)
    with TokenCoreSimulator(compile_image(model, PROMPTS), limit=LIMIT) as core:
        four, one, *_ = check_passes(core, model, k)
        # The weights are read once; a small core has much work for each token besides.
        assert four < 3 * one
        assert not core.command(5, 0, k).error


@pytest.mark.parametrize(
    "memory",
    [
        MemoryModel(latency=23, interval=3, weight_interval=2),
        MemoryModel(refresh_interval=100, refresh_cycles=20),
        *(MemoryModel(pauses=pauses, seed=4) for pauses in (0.3, 0.8)),
    ],
    ids=["slow", "refreshes", "some pauses", "many pauses"],
)
def test_memories_that_make_a_pass_wait(model, image, memory):
    with TokenCoreSimulator(image, memory=memory, limit=LIMIT) as core:
        check_passes(core, model, k=0)
        check_passes(core, model)


def test_passes_do_not_change_values(model, image):
    """All ways to cut a prompt into passes give the same answers."""
    tokens = [token for some in PASSES for token in some]
    answers = []
    with TokenCoreSimulator(image, limit=LIMIT) as core:
        for size in (1, 2, 3, 4):
            for position in range(0, len(tokens), size):
                found = core.run(tokens[position : position + size], position, 5)
            answers.append((found.tokens, found.logits))
    assert answers == [answers[0]] * 4


@pytest.mark.parametrize(
    "commands",
    [
        [(3, place, 1) for place in range(5)],
        [(3, place, 1) for place in range(9)],
        [(3, 0, 0), (3, 0, 1)],
        [(3, 0, 0), (3, 2, 1)],
        [(3, 0, 0), (3, 1, 0), (3, 0, 1)],
        [(3, 11, 0), (3, 12, 1)],
        [(3, 31, 0), (3, 0, 1)],
        [(160, 0, 0), (3, 1, 1)],
        [(3, 0, 0), (160, 1, 1)],
        [(3, 0, 0), (3, 1, 0), (255, 2, 0), (3, 3, 1)],
        [(3, 0, 0), (3, 1, 33)],
    ],
    ids=str,
)
def test_passes_that_the_core_refuses(model, image, commands):
    with TokenCoreSimulator(image, limit=LIMIT) as core:
        for _ in range(2):
            found = core.commands(commands)
            assert (found.error, found.tokens, found.vectors) == (True, [], [])
        check_passes(core, model)
        core.reset()
        assert not core.run([3, 5, 7, 9], 0).error


def test_k_of_the_last_command_counts(model, image):
    tokens, cache = [3, 5], CoreCache(model.config)
    golden = GoldenTrace(model, tokens, cache)
    with TokenCoreSimulator(image, limit=LIMIT) as core:
        # 63 is no legal k.
        found = core.commands([(3, 0, 63), (5, 1, 2)])
    assert golden.difference(found.vectors, head=True) is None
    assert (found.error, found.tokens) == (False, np.argsort(-golden.logits)[:2].tolist())


@pytest.mark.parametrize(("pauses", "points"), [(0.0, 16), (0.5, 4)])
def test_resets_within_a_pass(model, image, pauses, points):
    memory = MemoryModel(pauses=pauses, seed=1)
    with TokenCoreSimulator(image, memory=memory, limit=LIMIT) as core:
        cycles = core.run(PASSES[0], 0).cycles
        for after in [*range(1, 8), *np.linspace(8, cycles, points).astype(int).tolist()]:
            core.reset(PASSES[0], 0, 1, cycles=after)
            check_passes(core, model, passes=PASSES[2:3])


def test_a_memory_error_within_a_pass(model, image):
    with TokenCoreSimulator(image, memory=MemoryModel(fails_at=0), limit=LIMIT) as core:
        message = r" error; token 0 at position 3 ended after \d+ cycles with 0 of 2 answers$"
        with pytest.raises(SimulationError, match=message):
            core.run(PASSES[0], 0, 2)
        core.reset()
        check_passes(core, model)


def test_a_pass_that_does_not_end(image):
    message = r"the pass of 4 tokens from position 0 did not end within 99 cycles; missing: "
    with (
        TokenCoreSimulator(image, limit=99) as core,
        pytest.raises(SimulationError, match=f"^the token core stopped: {message}"),
    ):
        core.run(PASSES[0], 0)


def test_a_text_runs_its_prompt_in_passes(model, image):
    with TokenCoreSimulator(image, limit=LIMIT) as core:
        network = CoreNetwork(model, core)
        list(islice(network.generate([3, 5, 7, 9, 11, 13]), 2))
        assert [run.count for run in network.runs] == [4, 2, 1]
        long = CoreNetwork(model, core)
        with pytest.raises(ValueError, match=r"^the context must be at most 12 tokens, not 13$"):
            next(long.generate([0] * 13))
        assert long.runs == []


@pytest.mark.parametrize(
    ("tokens", "position", "message"),
    [
        ([1] * 5, 0, "the number of tokens must be from 1 to 4, not 5"),
        ([], 0, "the number of tokens must be from 1 to 4, not 0"),
        ([1, 160], 0, "token must be from 0 to 159, not 160"),
        ([1, 2], 3, "position must be from 0 to 0, not 3"),
    ],
)
def test_what_is_not_sent_to_the_core(image, tokens, position, message):
    with (
        TokenCoreSimulator(image, limit=LIMIT) as core,
        pytest.raises(ValueError, match=f"^{message}$"),
    ):
        core.run(tokens, position)


def test_a_pass_beyond_the_context(image):
    with TokenCoreSimulator(image, limit=LIMIT) as core:
        for position in range(0, 10, 2):
            core.run([1, 2], position, 0)
        message = "^position must be from 0 to 9, not 10$"
        with pytest.raises(ValueError, match=message):
            core.run([1, 2, 3], 10)

"""A token behind a cache that the image holds, and the size of BitNet b1.58 2B4T."""

from functools import partial

import pytest
from small_core import CONFIG, small_model

from trilith.hw.token.image import compile_image, with_cache
from trilith.reports.bench_core import cycles_2b4t
from trilith.sim import SimulationError
from trilith.sim.rtl.core_2b4t import random_cache, run_2b4t
from trilith.sim.rtl.core_text import CoreNetwork
from trilith.sim.rtl.token_core import TokenCoreSimulator


@pytest.fixture(scope="module")
def core_model(random_model):
    """A model in the arithmetic of the core, by family."""
    return partial(small_model, random_model)


@pytest.mark.parametrize(("family", "length"), [("llama", 11), ("bitnet", 4)])
def test_a_token_runs_behind_the_cache_of_an_image(core_model, family, length):
    model = core_model(family)
    cache = random_cache(model, length, seed=6)
    image = with_cache(compile_image(model, CONFIG), cache)
    with TokenCoreSimulator(image, limit=200_000, filled=length) as core:
        CoreNetwork(model, core).run_pass([7], cache, 2)
    assert cache.length == length + 1


def test_another_cache_gives_other_vectors(core_model):
    """The comparison can fail: the image's cache is not golden's."""
    model = core_model()
    image = with_cache(compile_image(model, CONFIG), random_cache(model, 5, seed=6))
    with TokenCoreSimulator(image, limit=200_000, filled=5) as core:
        network = CoreNetwork(model, core)
        with pytest.raises(SimulationError, match="at position 5: layer 0, mixed: element"):
            network.run_pass([7], random_cache(model, 5, seed=7), 2)


def test_positions_behind_the_cache_are_refused(core_model):
    model = core_model()
    image = with_cache(compile_image(model, CONFIG), random_cache(model, 5, seed=6))
    with (
        TokenCoreSimulator(image, filled=5) as core,
        pytest.raises(ValueError, match=r"^position must be from 0 to 5, not 6$"),
    ):
        core.run(7, 6)


@pytest.mark.long
def test_a_layer_of_2b4t_equals_the_golden_model_and_the_cycle_model():
    for position, run in zip((0, 511), run_2b4t(1, (0, 511), vocabulary=64, k=1), strict=True):
        assert run.cycles == cycles_2b4t(1, position, vocabulary=64, k=1)

"""Cases of the token core in ``make sim``, without simulations."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from trilith.golden.network.random_model import random_model
from trilith.hw.token.config import CORE_PRESETS
from trilith.sim import SimulationError
from trilith.sim.rtl import core_suite


def test_all_cases_share_four_cores():
    images = core_suite.core_images()
    cores = [CORE_PRESETS["pydoc"], CORE_PRESETS["small"], core_suite.PAIRS]
    cores.append(core_suite.PROMPTS)
    assert [image.config for image in images] == cores
    names = [case.name for case in core_suite._cases()]
    assert len(set(names)) == len(names) > 10


@pytest.mark.long
@pytest.mark.parametrize("tokens", [2, 8])
def test_prompts_of_other_passes(tokens, monkeypatch):
    engine = replace(core_suite.PAIRS.engine, tokens=tokens)
    monkeypatch.setattr(core_suite, "PROMPTS", replace(core_suite.PAIRS, engine=engine))
    results = [case.run() for case in core_suite._prompt_cases({})]
    assert [result.detail for result in results if not result.passed] == []
    assert len(results) == 2


@pytest.fixture
def case(monkeypatch):
    """A case on a core that is not built."""

    class Core:
        def __init__(self, image, **memory):
            self.image = image

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def command(self, token, position, k):
            return SimpleNamespace(error=position != 31, tokens=[], vectors=[])

    monkeypatch.setattr(core_suite, "TokenCoreSimulator", Core)
    monkeypatch.setattr(core_suite.CoreNetwork, "generate", lambda self, prompt, **_: iter([7]))
    return next(one for one in core_suite._cases() if one.beyond)


def test_a_token_behind_a_full_context_that_runs_is_a_failure(case):
    assert case.model.config.max_positions == 31
    result = case.run()
    assert not result.passed
    assert result.detail == "the core must refuse a token behind a full context, and runs it"
    assert replace(case, beyond=False).run().passed


def test_a_difference_is_a_failure(case, monkeypatch):
    def differs(self, prompt, **_):
        raise SimulationError("layer 0, q: element 3 is 1, not 2")

    monkeypatch.setattr(core_suite.CoreNetwork, "generate", differs)
    result = case.run()
    assert (result.passed, result.detail) == (False, "layer 0, q: element 3 is 1, not 2")


def test_a_missing_overflow_is_a_failure(case, monkeypatch):
    def runs(self, prompt, **_):
        self.runs.append(SimpleNamespace(error=False, cycles=9, vectors=[], count=1))
        yield 7

    monkeypatch.setattr(core_suite.CoreNetwork, "generate", runs)
    result = replace(case, beyond=False, overflow=True).run()
    assert (result.passed, result.detail) == (False, "a value must be too large, and none is")


@pytest.mark.parametrize("groups", [1, 2])
def test_random_models(groups):
    table = core_suite._TABLE
    config = table["model"] | table["families"]["llama"]
    model = random_model(config, seed=1, groups=groups)
    scale = model.layers[0].linears["self_attn.q_proj"].weight.scale
    assert scale.shape == ((1, 1) if groups == 1 else (96, 2))
    logits = model.forward([1, 2, 3])
    assert 0.1 < np.abs(logits).mean() < 10
    again = random_model(config, seed=1, groups=groups).forward([1, 2, 3])
    assert (logits == again).all()

"""Models for the small token core, and the comparison of a token."""

from collections.abc import Callable

import numpy as np

from trilith.golden.network.token_core import CoreModel
from trilith.golden.network.transformer import BitNetModel
from trilith.hw.token.config import CORE_PRESETS
from trilith.sim.rtl.core_suite import PAIRS, PROMPTS
from trilith.sim.rtl.token_core import CoreRun, GoldenTrace, TokenCoreSimulator

__all__ = ["CONFIG", "PAIRS", "PROMPTS", "SIZES", "check_token", "small_model"]

CONFIG = CORE_PRESETS["small"]
SIZES = {"head_dim": 24, "max_position_embeddings": 12, "num_hidden_layers": 2}


def small_model(
    random_model: Callable,
    family: str = "bitnet",
    change: Callable[[BitNetModel], BitNetModel] = lambda model: model,
    **sizes: int,
) -> CoreModel:
    """A random model of a family in the arithmetic of the core, with a change."""
    return CoreModel(model=change(BitNetModel.load(random_model(family, seed=3, **SIZES | sizes))))


def check_token(
    core: TokenCoreSimulator,
    golden: GoldenTrace,
    tokens: int | list[int],
    position: int,
    k: int,
) -> CoreRun:
    """Run a token or a pass, and compare all vectors and answers."""
    result = core.run(tokens, position, k)
    assert golden.difference(result.vectors, head=k > 0) is None
    best = np.argsort(-golden.logits, kind="stable")[:k]
    assert result.tokens == best.tolist()
    assert result.logits == golden.logits[best].tolist()
    return result

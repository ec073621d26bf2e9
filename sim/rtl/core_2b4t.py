"""The token core at the size of BitNet b1.58 2B4T, against the golden model.

The weights are random: the cycles of the core do not depend on them.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...golden.elements import round_element
from ...golden.network.bitnet_2b4t import CONFIG
from ...golden.network.random_model import random_model
from ...golden.network.token_core import CoreCache, CoreModel
from ...hw.token.config import CORE_PRESETS
from ...hw.token.image import compile_image, with_cache
from .core_text import CoreNetwork
from .token_core import CoreRun, TokenCoreSimulator

__all__ = ["TOKEN", "config_2b4t", "random_cache", "run_2b4t"]

#: Token that runs.
TOKEN = 5

#: Positions of the model, and most cycles of a token: about ten times those of 2B4T.
_CONTEXT, _LIMIT = 512, 50_000_000


def random_cache(model: CoreModel, length: int, *, seed: int) -> CoreCache:
    """Make a cache of random keys and values.

    Parameters
    ----------
    model : the model
    length : number of tokens in the cache
    seed : of the random numbers
    """
    rng, cache = np.random.default_rng(seed), CoreCache(model.config)
    for rows in (cache.keys, cache.values):
        rows[:, :length] = rng.integers(-127, 128, rows[:, :length].shape, np.int8)
    for scales in (cache.key_scales, cache.value_scales):
        scales[:, :length] = round_element(rng.uniform(0.005, 0.02, scales[:, :length].shape))
    cache.length = length
    return cache


def config_2b4t(layers: int, vocabulary: int) -> dict[str, Any]:
    """Keys of a ``config.json`` with the shapes of 2B4T, and 512 positions.

    Parameters
    ----------
    layers, vocabulary : their numbers
    """
    sizes = {"num_hidden_layers": layers, "vocab_size": vocabulary}
    return CONFIG | sizes | {"max_position_embeddings": _CONTEXT}


def run_2b4t(layers: int, positions: Iterable[int], *, vocabulary: int, k: int) -> list[CoreRun]:
    """Run tokens of a random model with the shapes of 2B4T; compare every vector and answer.

    Parameters
    ----------
    layers : number of layers, 1 or more; 2B4T has 30
    positions : of the tokens, 0 to 511; each token is run behind a cache of random keys and values
    vocabulary : number of tokens, 6 to 128,256, which is 2B4T's
    k : logits to answer with; 0 skips the head

    Raises
    ------
    SimulationError
        If a vector or an answer differs from the golden model.
    ToolchainError
        If the simulation cannot be built.
    """
    model = CoreModel(model=random_model(config_2b4t(layers, vocabulary), seed=1))
    image = compile_image(model, CORE_PRESETS["2b4t"])
    runs = []
    for position in positions:
        cache = random_cache(model, position, seed=position)
        filled = with_cache(image, cache)
        with TokenCoreSimulator(filled, limit=_LIMIT, filled=position) as simulator:
            network = CoreNetwork(model, simulator)
            runs.append(network.run_pass([TOKEN], cache, k))
    return runs

"""Self-test of a board with a token core."""

import time
from collections.abc import Iterator

from ...golden.network.random_model import random_model
from ...golden.network.token_core import CoreCache, CoreModel
from ...hw.token.config import K_MAX, TokenConfig
from ...hw.token.image import compile_image
from .core_board import CoreBoard
from .core_text import BoardText
from .selftest import TestRow

__all__ = ["core_self_test", "made_model"]

#: Positions of the made model.
_CONTEXT = 4


def made_model(config: TokenConfig, *, seed: int = 0) -> CoreModel:
    """Make a small model of random weights that a core can run.

    Its matrices have more than one chunk and more than one group of rows, where the core's maxima
    allow it.

    Parameters
    ----------
    config : configuration of the core
    seed : seed of the weights
    """
    engine, lanes = config.engine, config.vector_lanes

    def size(wanted: int, most: int, unit: int) -> int:
        return max(unit, min(wanted, most) // unit * unit)

    head = size(16, config.head_size_max, 2 * lanes)
    sizes = {
        "model_type": "bitnet",
        "hidden_act": "relu2",
        "hidden_size": size(engine.lanes + 2 * lanes, config.hidden_max, lanes),
        "intermediate_size": size(2 * engine.lanes + lanes, config.ffn_max, lanes),
        "num_attention_heads": min(2, config.shared_max),
        "num_key_value_heads": 1,
        "head_dim": head,
        "num_hidden_layers": 2,
        "max_position_embeddings": min(_CONTEXT, config.context_max),
        "vocab_size": min(40, config.vocabulary_max),
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
    }
    return CoreModel(model=random_model(sizes, seed=seed))


def core_self_test(board: CoreBoard, *, seed: int = 0) -> Iterator[TestRow]:
    """Load a small made model, and compare its tokens with the golden model.

    The tokens run twice if the board has block RAM for weights: from there, and streamed from the
    memory. A memory that failed its test at the start ends the self-test.

    Parameters
    ----------
    board : the board
    seed : seed of the model

    Yields
    ------
    A row for the memory, for the loading and for each token, as soon as it is done. ``shape`` tells
    the bytes of the memory, those of the model, and the position of a token.
    """
    identity = board.identity
    found = identity.tested_bytes
    yield _row("memory at the start", f"{found} bytes", found == identity.memory_bytes)
    if found != identity.memory_bytes:
        return
    model = made_model(board.config, seed=seed)
    image = compile_image(model, board.config, name="made")
    loaded = board.load(image, name="the made model")
    yield _row("load and checksums", f"{loaded.bytes} bytes", True, seconds=loaded.seconds)
    k = min(K_MAX, model.config.vocabulary)
    for stream in (False, True) if identity.resident_beats else (True,):
        board.begin_model(image, stream=stream)
        text, cache = BoardText(model, board), CoreCache(model.config)
        for position in range(model.config.max_positions):
            begin = time.monotonic()
            token = (7 * position + 3) % model.config.vocabulary
            answer = text.run_pass([token], cache, k)
            yield _row(
                "token, weights " + ("streamed" if stream else "in block RAM"),
                f"position {position}",
                text.difference is None,
                cycles=answer.cycles,
                waits=answer.waits,
                seconds=time.monotonic() - begin,
            )


def _row(
    name: str, shape: str, passed: bool, *, cycles: int = 0, waits: int = 0, seconds: float = 0.0
) -> TestRow:
    return TestRow(
        name=name, shape=shape, passed=passed, cycles=cycles, waits=waits, seconds=seconds
    )

"""Cycles of a token of a large model, of which the cycle model follows one layer and few rows.

A real model has many layers of one shape, and a head of many rows of one length. A program with a
layer and one without any give the cycles of each layer. A head that is longer by one burst of
scales gives those of each further row.
"""

from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from math import gcd

from ....golden.checkpoint.model_config import ModelConfig
from ....hw.token.config import TokenConfig
from ....hw.token.plan import plan_image
from ....hw.token.program import Op
from .core import PARTS
from .cycles import CoreCycles, core_cycles
from .memory import BURST_WORDS, QUEUE_WORDS

__all__ = ["extended_cycles"]

#: Rows of the head behind the layer that is followed.
_ROWS = 16

#: Most layers of the very small model. Its instructions fill whole bursts every 16 layers.
_SMALL_LAYERS = 65

#: Instructions of a program without its layers.
_OUTSIDE = (Op.SETUP, Op.ANGLES, Op.EMBED, Op.HEAD, Op.END)


def extended_cycles(config: TokenConfig, sizes: ModelConfig, *, position: int) -> CoreCycles:
    """Return the cycles of token 0 of a model, extended from one layer and few rows of the head.

    One layer is followed, and the others count as much. The words of the program come in bursts, so
    that layers differ by a few cycles. A very small model gives this difference; it has as many
    layers, up to 65.
    Rows of the head are followed until the queue of their scales is full, and for one more burst of
    scales. Each further row counts as those of this burst. Memories answer at once.

    In random models, the error is at most 20 cycles per layer. A token of BitNet 2B4T at position 0
    is 87 cycles too long, of 3.0 million. Another token takes up to 18 cycles more: one for each
    bit of its number.

    Parameters
    ----------
    config : configuration of the core
    sizes : those of the model; its layers are alike
    position : position of the token, which attends to itself and all before it

    Returns
    -------
    Cycles and bytes by part, rounded to integers

    Raises
    ------
    CompileError
        If the model does not fit the core.
    ValueError
        If the position is beyond the model's context.
    """
    # Sizes that the followed programs do not have are refused here.
    plan_image(config, replace(sizes, layers=1))
    rows, more = min(sizes.vocabulary, _ROWS), sizes.layers - 1
    one = _run(config, sizes, 1, rows, position)
    terms = [(1.0, one)]
    if more:
        lanes, layers = config.vector_lanes, min(sizes.layers, _SMALL_LAYERS)
        share = more / (layers - 1)
        small = replace(sizes, hidden=lanes, ffn=lanes, heads=1, kv_heads=1, head_size=2 * lanes)
        first = _run(config, small, 1, rows)
        terms += [
            (more, one),
            (-more, _run(config, sizes, 1, rows, position, _OUTSIDE)),
            (share, _run(config, small, layers, rows)),
            (-share - more, first),
            (more, _run(config, small, 1, rows, ops=_OUTSIDE)),
        ]
    if sizes.vocabulary > rows:
        terms += _head(config, sizes)
    return _sum(terms)


def _run(
    config: TokenConfig,
    sizes: ModelConfig,
    layers: int,
    rows: int,
    position: int = 0,
    ops: Collection[Op] = tuple(Op),
) -> CoreCycles:
    """Follow a token of a model with so many layers and rows; of its program some operations."""
    few = replace(sizes, layers=layers, vocabulary=rows)
    program = [one for one in plan_image(config, few).program if one.op in ops]
    return core_cycles(config, program, token=0, position=position)


@lru_cache(maxsize=64)
def _head(config: TokenConfig, sizes: ModelConfig) -> list[tuple[float, CoreCycles]]:
    """Make the terms of the rows of the head beyond ``_ROWS``, from programs without layers."""

    def run(rows: int) -> CoreCycles:
        return _run(config, sizes, 1, rows, ops=_OUTSIDE)

    per_word = config.memory_width // 32
    full, burst = QUEUE_WORDS * per_word, BURST_WORDS * per_word
    if config.head_on_weights:
        # Rows that end with a weight beat, as well as with a burst of scales.
        beat = config.engine.weight_bytes
        burst *= beat // gcd(beat, burst * config.row_chunks(sizes.hidden) * config.attention_lanes)
    first = (-1.0, run(_ROWS))
    if sizes.vocabulary <= full + burst:
        return [(1.0, run(sizes.vocabulary)), first]
    share = (sizes.vocabulary - full) / burst
    return [(share, run(full + burst)), (1 - share, run(full)), first]


def _sum(terms: Collection[tuple[float, CoreCycles]]) -> CoreCycles:
    """Add cycles and bytes, each with its factor."""

    def total(name: str) -> dict[str, int]:
        sums = {
            part: sum(factor * getattr(one, name)[part] for factor, one in terms) for part in PARTS
        }
        return {part: max(0, round(value)) for part, value in sums.items()}

    by_part = total("by_part")
    return CoreCycles(
        cycles=sum(by_part.values()), by_part=by_part, bytes_by_part=total("bytes_by_part")
    )

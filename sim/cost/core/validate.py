"""Comparison of the cycle model with the RTL, over models of random sizes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ....golden.checkpoint.model_config import TRANSFORMER_LINEARS, ModelConfig
from ....hw.token.config import TokenConfig
from ....hw.token.image import blank_image
from ....hw.token.plan import LinearScales, plan_image
from ...rtl.memory_model import MemoryModel
from ...rtl.token_core import TokenCoreSimulator
from .cycles import CoreCycles, core_cycles

__all__ = ["Comparison", "compare_cycles", "random_sizes"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Cycles of a pass in the RTL and in the model.

    Parameters
    ----------
    sizes : those of the model that runs
    tokens, position, k : the commands of the pass
    memory : speed of the memories
    rtl, model : the cycles, in all and by part
    """

    sizes: ModelConfig
    tokens: list[int]
    position: int
    k: int
    memory: MemoryModel
    rtl: CoreCycles
    model: CoreCycles


def random_sizes(config: TokenConfig, rng: np.random.Generator) -> ModelConfig:
    """Draw the sizes of a model that fits a core, of the families BitNet or Llama.

    Parameters
    ----------
    config : the core
    rng : source of the numbers
    """
    lanes = config.vector_lanes

    def multiple(unit: int, most: int) -> int:
        return unit * int(rng.integers(1, most // unit + 1))

    kv_heads = int(rng.integers(1, config.kv_heads_max + 1))
    shared = int(rng.integers(1, min(config.shared_max, config.heads_max // kv_heads) + 1))
    bitnet = bool(rng.integers(2))
    keys = {
        "model_type": "bitnet" if bitnet else "llama",
        "hidden_act": "relu2" if bitnet else "silu",
        "hidden_size": multiple(lanes, config.hidden_max),
        "intermediate_size": multiple(lanes, config.ffn_max),
        "num_hidden_layers": int(rng.integers(1, 3)),
        "num_attention_heads": kv_heads * shared,
        "num_key_value_heads": kv_heads,
        "head_dim": multiple(2 * lanes, config.head_size_max),
        "vocab_size": int(rng.integers(2, config.vocabulary_max + 1)),
        "max_position_embeddings": int(rng.integers(1, config.context_max + 1)),
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": bool(rng.integers(2)),
    }
    return ModelConfig.read(keys, "random sizes")


def _random_scales(
    config: TokenConfig, sizes: ModelConfig, rng: np.random.Generator
) -> dict[str, LinearScales]:
    """Draw how the scales of each matrix are given: one, a table, or a table of groups."""
    scales = {}
    for layer in range(sizes.layers):
        for linear in TRANSFORMER_LINEARS:
            chunks, rest = divmod(sizes.linear_shapes[linear][1], config.engine.lanes)
            legal = [1] if rest else [one for one in (1, 2, 3, 4) if chunks % one == 0]
            if rng.integers(2):
                groups = int(rng.choice(legal)) if chunks else 1
                scales[f"layers.{layer}.{linear}"] = LinearScales(scale=None, groups=groups)
    return scales


def compare_cycles(
    config: TokenConfig, count: int, *, seed: int, memory: MemoryModel | None = None
) -> Iterator[Comparison]:
    """Compare a pass of each of some random models in the RTL with the cycle model.

    Parameters
    ----------
    config : the core
    count : number of models
    seed : of the random numbers
    memory : speed of the memories; by default they answer at once

    Raises
    ------
    ToolchainError
        If the simulation cannot be built.
    """
    rng, memory = np.random.default_rng(seed), memory or MemoryModel()
    for _ in range(count):
        sizes = random_sizes(config, rng)
        plan = plan_image(config, sizes, scales=_random_scales(config, sizes, rng))
        most = min(config.tokens, sizes.max_positions)
        tokens = rng.integers(sizes.vocabulary, size=rng.integers(1, most + 1)).tolist()
        position = int(rng.integers(sizes.max_positions - len(tokens) + 1))
        k = int(rng.integers(min(4, sizes.vocabulary)))
        with TokenCoreSimulator(blank_image(plan), memory=memory) as core:
            run = core.command(tokens, position, k)
        model = core_cycles(
            config, plan.program, token=tokens, position=position, k=k, memory=memory
        )
        yield Comparison(
            sizes=sizes,
            tokens=tokens,
            position=position,
            k=k,
            memory=memory,
            rtl=CoreCycles(cycles=run.cycles, by_part=run.by_part),
            model=model,
        )

"""Models of random weights, for tests and examples."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..checkpoint.model_config import ModelConfig
from ..checkpoint.tensors import TernaryTensor
from .layers import BitLinear
from .transformer import BitNetModel, Layer

__all__ = ["random_model"]


def random_model(config: Mapping[str, Any], *, seed: int, groups: int = 1) -> BitNetModel:
    """Make a model of random weights, whose values stay near 1.

    Parameters
    ----------
    config : content of a ``config.json``
    seed : of the weights
    groups : 1 for a scale for each matrix; above 1 for so many groups of the inputs, each with a
        scale for each output
    """
    rng = np.random.default_rng(seed)
    sizes = ModelConfig.read(config, "the random model")

    def gain(size: int) -> Any:
        return (1 + rng.standard_normal(size) / 4).astype(np.float32)

    def linear(name: str, n: int, k: int) -> BitLinear:
        shape = (n, groups) if groups > 1 else (1, 1)
        scale = (rng.uniform(0.5, 2, shape) / k**0.5).astype(np.float32)
        trits = rng.integers(-1, 2, (n, k), np.int8)
        return BitLinear(weight=TernaryTensor.from_trits(name, trits, scale, k // groups))

    layers = tuple(
        Layer(
            linears={
                name: linear(f"model.layers.{index}.{name}", n, k)
                for name, (n, k) in sizes.linear_shapes.items()
            },
            gains={name: gain(size) for name, size in sizes.norm_sizes.items()},
        )
        for index in range(sizes.layers)
    )
    table = (sizes.vocabulary, sizes.hidden)
    embedding = rng.standard_normal(table, np.float32)
    head = embedding if sizes.tied else rng.standard_normal(table, np.float32) / 4
    return BitNetModel(
        config=sizes,
        embedding=embedding,
        head=head,
        final_norm=gain(sizes.hidden),
        layers=layers,
    )

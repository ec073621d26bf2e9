"""BitNet b1.58 2B4T: its sizes, the matrices of a layer, and random ones of the same shapes."""

import tomllib
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..checkpoint.model_config import ModelConfig
from ..checkpoint.packing import pack_weights
from ..checkpoint.tensors import Checkpoint, LazyTensors, TernaryTensor
from ..errors import CheckpointError
from ..quantize import absmax_quantize

__all__ = [
    "CONFIG",
    "LAYER_SHAPES",
    "ZERO_FRACTION",
    "read_layer",
    "synthetic_activations",
    "synthetic_checkpoint",
]

_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


#: Keys of the released config.json that are used here.
CONFIG = _DATA["config"]


_MODEL = ModelConfig.read(CONFIG, "BitNet b1.58 2B4T")


#: (N, K) of the seven ternary matrices of one layer.
LAYER_SHAPES = _MODEL.linear_shapes


#: Share of zeros among the released weights.
ZERO_FRACTION: float = _DATA["weights"]["zero_fraction"]


def _full_names(layer: int) -> dict[str, str]:
    """Names of a layer's modules by their short names."""
    return {short: f"model.layers.{layer}.{short}" for short in LAYER_SHAPES}


def _random_trits(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int8]:
    """Draw trits with the released model's share of zeros."""
    sign = rng.integers(0, 2, shape, np.int8) * np.int8(2) - np.int8(1)
    return sign * (rng.random(shape, np.float32) >= ZERO_FRACTION)


def _random_quads(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int8]:
    """Draw trits of which exactly one in four is 0, for the quads of ``sherry`` and of STQ1_0.

    A quad of ``sherry`` has four neighbors, and one of STQ1_0 four weights at a distance of 16: the
    zeros of four neighboring quads of STQ1_0 are at four different places.
    """
    n, k = shape
    places = rng.random((n, k // 64, 1, 4, 4), np.float32).argsort(axis=-1)
    trits = np.where(places == np.arange(4)[:, np.newaxis, np.newaxis], np.int8(0), np.int8(1))
    return trits.reshape(shape) * (rng.integers(0, 2, shape, np.int8) * np.int8(2) - np.int8(1))


def synthetic_checkpoint(*, seed: int = 0, quads: bool = False) -> Checkpoint:
    """Make a whole model of random trits with the released model's shapes and names.

    All layers have the matrices of one layer, each turned along K. Scales differ, norms are 1, and
    embeddings are random bfloat16.

    Parameters
    ----------
    seed : of the random numbers
    quads : exactly one weight in four is zero, as ``sherry`` and STQ1_0 need; else the share of
        zeros is that of the released model
    """
    rng = np.random.default_rng(seed)
    draw, turn = (_random_quads, 64) if quads else (_random_trits, 1)
    first = {short: pack_weights(draw(rng, x)) for short, x in LAYER_SHAPES.items()}

    def matrix(layer: int, short: str) -> TernaryTensor:
        n, k = LAYER_SHAPES[short]
        return TernaryTensor(
            name=_full_names(layer)[short],
            packed=np.roll(first[short], turn * layer, axis=1),
            out_features=n,
            scale=np.full((1, 1), 1 + layer / 32, np.float32),
            group_size=k,
        )

    def embedding() -> NDArray:
        shape = _MODEL.vocabulary, _MODEL.hidden
        values = np.random.default_rng(seed).standard_normal(shape, np.float32)
        return values.astype(ml_dtypes.bfloat16)

    layers = range(_MODEL.layers)
    norms = {"model.norm": _MODEL.hidden} | {
        f"model.layers.{layer}.{name}": size
        for layer in layers
        for name, size in _MODEL.norm_sizes.items()
    }
    where = Path("synthetic")
    names = {name: (layer, s) for layer in layers for s, name in _full_names(layer).items()}
    return Checkpoint(
        path=where,
        config=CONFIG,
        format="synthetic",
        scale_convention="multiplied",
        ternary=LazyTensors(where, {name: partial(matrix, *x) for name, x in names.items()}),
        stored={},
        tensors=LazyTensors(
            where,
            {"model.embed_tokens.weight": embedding}
            | {f"{x}.weight": partial(np.ones, n, ml_dtypes.bfloat16) for x, n in norms.items()},
        ),
    )


def read_layer(checkpoint: Checkpoint, layer: int = 0) -> dict[str, NDArray[np.int8]]:
    """Read the seven matrices of one layer of a checkpoint of 2B4T's shapes.

    Parameters
    ----------
    checkpoint : checkpoint to read
    layer : from 0 to 29

    Returns
    -------
    int8[N, K] by names as ``self_attn.q_proj``

    Raises
    ------
    CheckpointError
        If the checkpoint has no such layer, or other shapes.
    """
    trits = {}
    for short, name in _full_names(layer).items():
        matrix = checkpoint.ternary[name]
        if matrix.shape != LAYER_SHAPES[short]:
            raise CheckpointError(
                f"{checkpoint.path}: {name} must be {LAYER_SHAPES[short]} as in BitNet b1.58 2B4T, "
                f"not {matrix.shape}"
            )
        trits[short] = matrix.trits
    return trits


def synthetic_activations(short: str, *, tokens: int = 1, seed: int = 0) -> NDArray[np.int8]:
    """Draw quantized inputs for one matrix: normal values, or their squared ReLU for down.

    Parameters
    ----------
    short : name of the matrix, a key of ``LAYER_SHAPES``
    tokens : T
    seed : of the random numbers

    Returns
    -------
    int8[tokens, K]
    """
    x = np.random.default_rng(seed).standard_normal((tokens, LAYER_SHAPES[short][1]), np.float32)
    if short == "mlp.down_proj":
        x = np.maximum(x, 0) ** 2
    return absmax_quantize(x)[0]

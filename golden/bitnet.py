"""The matrices of a decoder layer of BitNet b1.58 2B4T."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from .huggingface import pack_weights, read_packed
from .quantize import absmax_quantize

__all__ = [
    "LAYER_SHAPES",
    "ZERO_FRACTION",
    "read_layer",
    "synthetic_activations",
    "write_synthetic_layer",
]

#: (N, K) of the seven ternary matrices of one layer (config.json of microsoft/bitnet-b1.58-2B-4T).
LAYER_SHAPES = {
    "self_attn.q_proj": (2560, 2560),
    "self_attn.k_proj": (640, 2560),
    "self_attn.v_proj": (640, 2560),
    "self_attn.o_proj": (2560, 2560),
    "mlp.gate_proj": (6912, 2560),
    "mlp.up_proj": (6912, 2560),
    "mlp.down_proj": (2560, 6912),
}

#: Share of zeros among the released weights.
ZERO_FRACTION = 0.422


def _full_names(layer: int) -> dict[str, str]:
    return {short: f"model.layers.{layer}.{short}" for short in LAYER_SHAPES}


def write_synthetic_layer(path: Path, *, layer: int = 0, seed: int = 0) -> None:
    """Write one layer of random trits with the released model's shapes and share of zeros.

    The file has the released checkpoint's names and packed layout (unit scales), so that it is
    read as the released one is.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    rng = np.random.default_rng(seed)
    tensors: dict[str, NDArray] = {}
    for short, name in _full_names(layer).items():
        sign = rng.integers(0, 2, LAYER_SHAPES[short], np.int8) * np.int8(2) - np.int8(1)
        nonzero = rng.random(LAYER_SHAPES[short], np.float32) >= ZERO_FRACTION
        tensors[f"{name}.weight"] = pack_weights(sign * nonzero)
        tensors[f"{name}.weight_scale"] = np.ones(1, np.float32)
    try:
        save_file(tensors, path, metadata={"format": "np"})
    except SafetensorError as error:
        raise OSError(f"{path}: must be writable: {error}") from error


def read_layer(path: Path, layer: int = 0) -> dict[str, NDArray[np.int8]]:
    """Read the seven matrices of one layer of a packed 2B4T checkpoint.

    Returns
    -------
    dict of int8[N, K], by names as ``self_attn.q_proj``

    Raises
    ------
    CheckpointError
        If the file is not such a checkpoint.
    """
    names = _full_names(layer)
    trits = read_packed(path, {names[short]: shape for short, shape in LAYER_SHAPES.items()})
    return {short: trits[name] for short, name in names.items()}


def synthetic_activations(short: str, *, tokens: int = 1, seed: int = 0) -> NDArray[np.int8]:
    """Quantized random inputs for one matrix: normal values, and squared ReLU of them for down.

    Returns
    -------
    int8[tokens, K]
    """
    x = np.random.default_rng(seed).standard_normal((tokens, LAYER_SHAPES[short][1]), np.float32)
    if short == "mlp.down_proj":
        x = np.maximum(x, 0) ** 2
    return absmax_quantize(x)[0]

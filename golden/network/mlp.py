"""A small BitNet classifier, and its twin in float."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..checkpoint.config_keys import ConfigKeys
from ..checkpoint.finite import to_finite_float32
from ..checkpoint.load import load_checkpoint
from ..checkpoint.safetensors import read_tensors
from ..checkpoint.understood import check_understood
from ..data import DIGITS
from ..errors import CheckpointError, within
from ..files import read_json
from .layers import BitLinear, Matmul, check_activations_finite, packed_matmul, rms_norm

__all__ = ["BitNetMLP", "load_digits"]


@dataclass(frozen=True, kw_only=True)
class BitNetMLP:
    """A multilayer perceptron as ``trilith.golden.training.digits`` trains it.

    Each layer is RMSNorm with gain, then a linear layer, then squared ReLU except after the last.

    Parameters
    ----------
    layers : functions of float32[T, K] to float32[T, N]; ``BitLinear``, or a float product
    gains : gain float32[K] of each layer's norm
    epsilon : constant of the norms
    input_scale : factor of the pixels
    """

    layers: tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], ...]
    gains: tuple[NDArray[np.float32], ...]
    epsilon: float
    input_scale: float

    @classmethod
    def load(cls, folder: Path = DIGITS, *, matmul: Matmul = packed_matmul) -> Self:
        """Read the network from ``config.json`` and ``model.safetensors``.

        Parameters
        ----------
        folder : folder of both files
        matmul : product of integers, in NumPy or in simulated hardware

        Raises
        ------
        CheckpointError
            If a file is missing or wrong.
        """
        checkpoint = load_checkpoint(folder)
        sizes, constants = _read_config(checkpoint.config, folder)
        check_understood(checkpoint)
        shapes = _layers(sizes)
        norms = [f"{name}.norm.weight" for name in shapes]
        weights = [checkpoint.ternary[name] for name in shapes]
        gains = [to_finite_float32(f"{folder}: {name}", checkpoint.tensors[name]) for name in norms]
        for name, gain, (_, k) in zip(norms, gains, shapes.values(), strict=True):
            _check_shape(folder, name, gain.shape, (k,))
        return cls(
            layers=tuple(BitLinear(weight=weight, matmul=matmul) for weight in weights),
            gains=tuple(gains),
            **constants,
        )

    @classmethod
    def load_float(cls, folder: Path = DIGITS) -> Self:
        """Read the float twin, which has the same recipe, from ``float.safetensors``.

        Parameters
        ----------
        folder : folder of this file and of ``config.json``

        Raises
        ------
        CheckpointError
            If a file is missing or wrong.
        """
        sizes, constants = _read_config(read_json(folder / "config.json"), folder)
        file, shapes = folder / "float.safetensors", _layers(sizes)
        weights = read_tensors(file, [f"float.{name}.weight" for name in shapes])
        gains = read_tensors(file, [f"float.{name}.norm.weight" for name in shapes])
        for (name, weight), (norm, gain), shape in zip(
            weights.items(), gains.items(), shapes.values(), strict=True
        ):
            _check_shape(file, name, weight.shape, shape)
            _check_shape(file, norm, gain.shape, shape[1:])
        return cls(
            # W (N, K) @ x (T, K) -> y (T, N)
            layers=tuple(lambda x, w=w: x @ w.T for w in weights.values()),
            gains=tuple(gains.values()),
            **constants,
        )

    def forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the logits of images.

        Parameters
        ----------
        images : uint8[T, inputs]

        Returns
        -------
        float32[T, classes]

        Raises
        ------
        ActivationError
            If a value overflows float32; the message names the layer.
        """
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            x = images.astype(np.float32) * np.float32(self.input_scale)
            for index, (layer, gain) in enumerate(zip(self.layers, self.gains, strict=True)):
                with within(f"layer {index}"):
                    if index:
                        x = np.maximum(x, 0) ** 2
                    x = layer(rms_norm(x, gain, self.epsilon))
        check_activations_finite("logits", x)
        return x


def _layers(sizes: list[int]) -> dict[str, tuple[int, int]]:
    """Shape (N, K) of each layer by its name."""
    return {f"layers.{index}": (n, k) for index, (k, n) in enumerate(pairwise(sizes))}


def _check_shape(where: Path, name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Refuse a tensor of another shape than the configuration states."""
    if found != expected:
        raise CheckpointError(
            f"{where}: {name} must have the shape {expected} of config's layer_sizes, not {found}"
        )


def _read_config(config: dict[str, Any], where: Path) -> tuple[list[int], dict[str, float]]:
    """Read the sizes between the layers, and the constants."""
    keys = ConfigKeys(config, where)
    sizes = config.get("layer_sizes")
    if (
        not isinstance(sizes, list)
        or len(sizes) < 2
        or any(type(size) is not int or not 0 < size < 2**31 for size in sizes)
    ):
        raise keys.wrong("layer_sizes", "a list of the sizes between layers")
    if keys.text("hidden_act") != "relu2":
        raise keys.wrong("hidden_act", "relu2")
    constants = {"epsilon": keys.number("rms_norm_eps"), "input_scale": keys.number("input_scale")}
    return sizes, constants


def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the test images of handwritten digits.

    Returns
    -------
    Images uint8[T, 64], and their labels uint8[T]
    """
    with np.load(DIGITS / "test_images.npz", allow_pickle=False) as file:
        return file["images"], file["labels"]

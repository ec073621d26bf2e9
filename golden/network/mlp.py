"""A small BitNet classifier, and its twin in float."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..checkpoint.safetensors import read_packed, read_tensors
from ..checkpoint.tensors import TernaryTensor
from ..data import DIGITS
from ..errors import CheckpointError
from .layers import BitLinear, Matmul, packed_matmul, rms_norm

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
        """Read ``config.json`` and ``model.safetensors`` (weights packed, scales multiplicative).

        Parameters
        ----------
        folder : folder of both files
        matmul : product of integers, in NumPy or in simulated hardware

        Raises
        ------
        CheckpointError
            If a file is missing or wrong.
        """
        names, sizes, constants = _read_config(folder)
        shapes = dict(zip(names, zip(sizes[1:], sizes[:-1], strict=True), strict=True))
        trits = read_packed(folder, shapes)
        scales = read_tensors(folder, [f"{name}.weight_scale" for name in names])
        gains = read_tensors(folder, [f"{name}.norm.weight" for name in names])
        return cls(
            layers=tuple(
                BitLinear(
                    weight=TernaryTensor.from_trits(
                        name, trits[name], scales[f"{name}.weight_scale"][0]
                    ),
                    matmul=matmul,
                )
                for name in names
            ),
            gains=tuple(gains.values()),
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
        names, _, constants = _read_config(folder)
        file = folder / "float.safetensors"
        weights = read_tensors(file, [f"float.{name}.weight" for name in names])
        gains = read_tensors(file, [f"float.{name}.norm.weight" for name in names])
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
        """
        x = images.astype(np.float32) * np.float32(self.input_scale)
        for index, (layer, gain) in enumerate(zip(self.layers, self.gains, strict=True)):
            if index:
                x = np.maximum(x, 0) ** 2
            x = layer(rms_norm(x, gain, self.epsilon))
        return x


def _read_config(folder: Path) -> tuple[list[str], list[int], dict[str, float]]:
    """Read names and sizes of the layers, and the constants."""
    try:
        config = json.loads((folder / "config.json").read_text())
        sizes = config["layer_sizes"]
        constants = {"epsilon": config["rms_norm_eps"], "input_scale": config["input_scale"]}
    except (OSError, ValueError, KeyError) as error:
        file = folder / "config.json"
        raise CheckpointError(f"{file}: must describe a BitNet MLP: {error}") from error
    return [f"layers.{i}" for i in range(len(sizes) - 1)], sizes, constants


def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the test images of handwritten digits.

    Returns
    -------
    Images uint8[T, 64], and their labels uint8[T]
    """
    with np.load(DIGITS / "test_images.npz", allow_pickle=False) as file:
        return file["images"], file["labels"]

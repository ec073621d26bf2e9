"""Networks in QONNX: chains of ternary or binary products, with quantized activations between.

A product's inputs are integers, its weights trits, and its sums exact: the engine computes the
same. What stands between two products is computed in float32, in the order of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..checkpoint.finite import to_finite_float32
from ..checkpoint.onnx_graph import read_onnx
from ..checkpoint.tensors import Checkpoint, LazyTensors
from ..errors import CheckpointError, within
from ..input_files import mistaken, unreadable
from .layers import BitLinear, Matmul, check_activations_finite, packed_matmul
from .qonnx_reader import QonnxLayer, QonnxReader
from .qonnx_steps import Step

__all__ = ["QonnxNetwork", "read_inputs"]


@dataclass(frozen=True, kw_only=True)
class QonnxNetwork:
    """A network as ``load`` reads it from a QONNX file.

    Parameters
    ----------
    path : the file
    producer : program that wrote the file
    shape : sizes of one input
    layers : the products in their order
    steps : all steps, those of the layers among them: where each stands in the file, and its
        function of float32[T, ...]
    """

    path: Path
    producer: str
    shape: tuple[int, ...]
    layers: tuple[QonnxLayer, ...]
    steps: tuple[tuple[str, Step], ...] = field(repr=False)

    @classmethod
    def load(cls, file: Path, *, matmul: Matmul = packed_matmul) -> Self:
        """Read a network.

        Parameters
        ----------
        file : QONNX file, such as Brevitas's ``export_qonnx`` writes
        matmul : product of integers, in NumPy or in simulated hardware

        Raises
        ------
        CheckpointError
            If the file is wrong, or a node computes what is not understood. The message has the
            node, the reason and the remedy.
        """
        graph = read_onnx(Path(file))
        reader = QonnxReader(graph, matmul)
        return cls(
            path=graph.path,
            producer=graph.producer,
            shape=reader.input_shape,
            layers=tuple(reader.layers),
            steps=tuple(reader.steps),
        )

    @property
    def act_bits(self) -> int:
        """Width of the activations that an engine for all layers needs."""
        return max(layer.act_bits for layer in self.layers)

    @property
    def operators(self) -> list[str]:
        """Operators that are computed in float32 beside the products, each once."""
        found = (where for where, step in self.steps if not isinstance(step, BitLinear))
        return [*dict.fromkeys(where.rpartition(" of type ")[2] for where in found)]

    @property
    def checkpoint(self) -> Checkpoint:
        """The matrices of all layers as a checkpoint, for conversions and statistics."""
        weights = {layer.linear.weight.name: layer.linear.weight for layer in self.layers}
        return Checkpoint(
            path=self.path,
            config={},
            format="qonnx",
            scale_convention="multiplied",
            ternary=weights,
            stored={name: ("float32", 4 * w.shape[0] * w.shape[1]) for name, w in weights.items()},
            tensors=LazyTensors(self.path, {}),
        )

    def forward(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the outputs of inputs.

        Parameters
        ----------
        x : float32[T, *shape]

        Returns
        -------
        float32[T, ...]

        Raises
        ------
        ActivationError
            If a value overflows float32; the message names the node.
        ValueError
            If the inputs are not of this shape.
        """
        if x.ndim < 2 or x.shape[1:] != self.shape or not len(x):
            raise ValueError(f"x must have the shape {('T', *self.shape)}, not {x.shape}")
        check_activations_finite("inputs", x.reshape(len(x), -1))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for where, step in self.steps:
                with within(where):
                    x = step(x)
        check_activations_finite("outputs", x.reshape(len(x), -1))
        return x


def read_inputs(file: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Read input vectors from a NumPy file that is not trusted.

    Parameters
    ----------
    file : ``.npy`` file of integers or floats [T, *shape]
    shape : sizes of one input

    Returns
    -------
    float32[T, *shape], rounded where the file has more bits

    Raises
    ------
    CheckpointError
        If the file is another one, or a value is not finite in float32.
    """
    wanted = "a NumPy file (.npy)"
    if message := unreadable(file, wanted):
        raise CheckpointError(message)
    try:
        # Mapped: a header that states a larger array than the file has takes no memory.
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # Parsers of Python, which NumPy calls, raise others than NumPy.
        raise CheckpointError(mistaken(file, wanted, error)) from None
    if not isinstance(array, np.ndarray):
        raise CheckpointError(f"{file}: must be one array (.npy), not an archive (.npz); save it")
    if array.dtype.kind not in "biuf":
        raise CheckpointError(f"{file}: must have integers or floats, not {array.dtype}")
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape or not len(array):
        expected = ", ".join(map(str, ("T", *shape)))
        raise CheckpointError(
            f"{file}: must have the shape ({expected}) of T inputs, not {array.shape}; reshape it"
        )
    return to_finite_float32(f"{file}: the inputs", array)

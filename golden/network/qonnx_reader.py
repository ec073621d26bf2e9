"""The reader of graphs in QONNX: which chains of nodes are networks that the engine can run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpoint.onnx_graph import OnnxGraph, OnnxNode
from ..checkpoint.tensors import TernaryTensor
from ..checks import first_place
from ..errors import CheckpointError, within
from ..input_files import shown
from ..matmul import activation_range
from .layers import EXACT_K, BitLinear, Matmul
from .qonnx_steps import (
    ELEMENTWISE,
    QUANTIZERS,
    Quantizer,
    Step,
    batch_normalization,
    check_attributes,
    check_broadcast,
    check_operands,
    elementwise,
    in_parts,
    multi_threshold,
    read_quantizer,
)

__all__ = ["QonnxLayer", "QonnxReader"]

#: Stands among trits for a weight that is none.
_NO_TRIT = 2

#: Largest integer up to which float32 has all.
_EXACT = 2**24

#: Widths of activations: what a file may state, bipolar values apart.
_BITS = (2, 4, 8)

#: Operators that are read, for messages.
_READ = (
    "Quant, IntQuant, BipolarQuant, MultiThreshold, MatMul, Gemm, Add, Sub, Mul, Div, "
    "BatchNormalization, Relu, Reshape, Flatten and Identity"
)


@dataclass(frozen=True, kw_only=True)
class QonnxLayer:
    """A product of a network, with the quantizer in front of it.

    Integers that no signed width holds, such as 0 to 255, are shifted by an offset, and the product
    adds ``offset · Σ W`` again. So ``W · q`` stays exact.

    Parameters
    ----------
    node : name of the product's node in the file
    linear : the layer; it shifts by itself
    low, high : smallest and largest integer of the quantizer
    act_bits : 2, 4 or 8; width of the engine's activations that this layer needs
    offset : what is subtracted from the integers before they go to the engine
    """

    node: str
    linear: BitLinear = field(repr=False)
    low: int
    high: int
    act_bits: int
    offset: int


@dataclass(frozen=True)
class _Weights:
    """Quantized constant: its integers, and scales that broadcast to their shape."""

    integers: NDArray[Any]
    scale: NDArray[np.float32]

    @property
    def turned(self) -> _Weights:
        """The transposed matrix."""
        return _Weights(self.integers.T, np.atleast_2d(self.scale).T)


class _Constants(Mapping[str, NDArray[Any]]):
    """Constants by name. Floats of quantized ones are computed at each access.

    Parameters
    ----------
    arrays : the constants of the file
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = dict(arrays)
        self.quantized: dict[str, _Weights] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name in self.quantized:
            weights = self.quantized[name]
            return weights.integers * weights.scale
        return self._arrays[name]

    def __setitem__(self, name: str, array: NDArray[Any]) -> None:
        self._arrays[name] = array

    def axes(self, name: str) -> int:
        """Return the number of axes of a constant."""
        return (self.quantized[name].integers if name in self.quantized else self[name]).ndim

    def __contains__(self, name: object) -> bool:
        return name in self.quantized or name in self._arrays

    def __iter__(self) -> Iterator[str]:
        yield from self._arrays
        yield from self.quantized

    def __len__(self) -> int:
        return len(self._arrays) + len(self.quantized)


class QonnxReader:
    """Follows the chain of a graph from its input to its output.

    Parameters
    ----------
    graph : the graph
    matmul : product of integers, for the layers

    Members
    -------
    input_shape : sizes of one input
    steps : where each step stands in the file, and its function of float32[T, ...]
    layers : the products among the steps

    Raises
    ------
    CheckpointError
        If a node computes what is not understood. The message has the node, the reason and the
        remedy.
    """

    def __init__(self, graph: OnnxGraph, matmul: Matmul) -> None:
        self._graph = graph
        self._matmul = matmul
        self._constants = _Constants(graph.constants)
        self.steps: list[tuple[str, Step]] = []
        self.layers: list[QonnxLayer] = []
        #: Quantizer behind the last step, and the steps that stand for it if no product follows.
        self._quantizer: Quantizer | None = None
        self._waiting: list[tuple[str, Step]] = []
        if None in graph.shape[1:] or len(graph.shape) < 2:
            raise CheckpointError(
                f"{graph.path}: the input {shown(graph.input)} must have a first axis for the "
                f"input vectors, and stated sizes of the others, not the shape {graph.shape}; "
                "export the network with an input of such a shape"
            )
        self.input_shape = tuple(size for size in graph.shape[1:] if size)
        self._shape = self.input_shape
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self._follow()

    def _follow(self) -> None:
        """Read all nodes."""
        graph = self._graph
        for node in graph.nodes:
            check_operands(node)
        rest = [node for node in graph.nodes if not self._fold(node)]
        users: dict[str, list[OnnxNode]] = {}
        for node in rest:
            for name in {*node.inputs} - {"", *self._constants}:
                users.setdefault(name, []).append(node)
        value, read = graph.input, 0
        while value != graph.output:
            found = users.pop(value, [])
            if not found:
                raise CheckpointError(
                    f"{graph.path}: no node computes the output {shown(graph.output)} from "
                    f"{shown(value)}; export the network again"
                )
            if len(found) > 1:
                raise found[1].refuse(
                    f"its input {shown(value)} is used by another node too; only chains of nodes "
                    "are read, so export a network without branches"
                )
            self._read(found[0], value)
            read += 1
            value = found[0].outputs[0]
        if read < len(rest):
            left = next(node for nodes in users.values() for node in nodes)
            raise left.refuse(
                "its result does not reach the output; only chains of nodes are read, so remove it"
            )
        self._settle()
        if not self.layers:
            raise CheckpointError(
                f"{graph.path}: the network must have a product with ternary or binary weights "
                "(MatMul or Gemm); name another file"
            )

    def _fold(self, node: OnnxNode) -> bool:
        """Compute a node whose inputs are all constant; return whether they are."""
        if not all(name in self._constants for name in filter(None, node.inputs)):
            return False
        inputs, name = node.inputs, next(iter(node.outputs), "")
        constants, quantized = self._constants, self._constants.quantized
        if node.op == "Constant" and not node.domain:
            constants[name] = check_attributes(node, {"value": np.zeros(())})["value"]
        elif node.op in QUANTIZERS:
            quantizer = read_quantizer(node, constants)
            source = constants[inputs[0]]
            if source.dtype != np.float32:
                raise node.refuse(f"its input must be float32, not {source.dtype}; export it so")
            check_broadcast(node, quantizer.scale, source.shape)
            quantized[name] = _Weights(quantizer.constant(source), quantizer.scale)
        elif node.op == "Transpose" and not node.domain and constants.axes(inputs[0]) == 2:
            if check_attributes(node, {"perm": (1, 0)})["perm"] != (1, 0):
                raise node.refuse("perm must be (1, 0); export the network again")
            if inputs[0] in quantized:
                quantized[name] = quantized[inputs[0]].turned
            else:
                constants[name] = constants[inputs[0]].T
        else:
            raise node.refuse(
                "a node of constants must be Constant, Quant, IntQuant, BipolarQuant or a "
                "Transpose of a matrix; compute its result before the export"
            )
        return True

    def _read(self, node: OnnxNode, value: str) -> None:
        """Read the node that a value goes to."""
        own = node.op in (*QUANTIZERS, "MultiThreshold")
        if not own and node.domain:
            raise node.refuse(
                f"its domain {shown(node.domain)} is not known; export the network with standard "
                "operators"
            )
        if node.op not in ELEMENTWISE and node.inputs[0] != value:
            raise node.refuse("its first input must be the computed one, and the others constant")
        step: Step
        match node.op:
            case "Quant" | "IntQuant" | "BipolarQuant":
                self._quantize(node, read_quantizer(node, self._constants))
                return
            case "MultiThreshold":
                self._check_flat(node)
                self._quantize(node, multi_threshold(node, self._constants, self._shape[0]))
                return
            case "MatMul" | "Gemm":
                self._product(node)
                return
            case "Reshape" | "Flatten":
                self._flatten(node)
                return
            case "Identity":
                check_attributes(node, {})
                return
            case "Relu":
                check_attributes(node, {})
                step = partial(np.maximum, np.float32(0))
            case "BatchNormalization":
                step = batch_normalization(node, self._constants, self._shape)
            case op if op in ELEMENTWISE:
                step = elementwise(node, value, self._constants, self._shape)
                if self._rescale(node, value, step):
                    return
            case _:
                raise node.refuse(f"this type is not read; use {_READ}")
        self._settle()
        self.steps.append((node.where, step))

    def _settle(self) -> None:
        """Keep the quantizer behind the last step as a step of floats: no product follows."""
        self.steps += self._waiting
        self._waiting, self._quantizer = [], None

    def _quantize(self, node: OnnxNode, quantizer: Quantizer) -> None:
        """Take a quantizer of activations."""
        self._settle()
        if quantizer.scale.size != 1:
            raise node.refuse(
                "the scale of activations must be one number, not of shape "
                f"{quantizer.scale.shape}; quantize with one scale for the tensor"
            )
        self._quantizer = replace(quantizer, scale=quantizer.scale.reshape(()))
        self._waiting = [(node.where, self._quantizer.floats)]

    def _rescale(self, node: OnnxNode, value: str, step: Step) -> bool:
        """Take a factor of quantized activations into their scale, where it is one number."""
        if self._quantizer is None or node.op not in ("Mul", "Div"):
            return False
        operand = self._constants[node.inputs[int(node.inputs[0] == value)]]
        if operand.size != 1 or not operand > 0:
            return False
        scale = ELEMENTWISE[node.op](self._quantizer.scale, operand.reshape(()))
        self._quantizer = replace(self._quantizer, scale=scale)
        self._waiting.append((node.where, step))
        return True

    def _check_flat(self, node: OnnxNode) -> None:
        """Refuse an input with more axes than T and one other."""
        if len(self._shape) != 1:
            raise node.refuse(
                f"its input must have one axis beside the first, not {len(self._shape)}; flatten "
                "it before"
            )

    def _flatten(self, node: OnnxNode) -> None:
        """Join all axes but the first: the only change of shape that is read."""
        size = int(np.prod(self._shape))
        batch = self._graph.shape[0]
        if node.op == "Flatten":
            flat = check_attributes(node, {"axis": 1})["axis"] in (1, -len(self._shape))
        else:
            check_attributes(node, {"allowzero": 0})
            target = self._constants.get(node.inputs[1])
            shape = () if target is None else tuple(target.ravel().tolist())
            # 0 keeps a size, and -1 stands for what is left.
            first = shape[:1] == (0,) or shape[:1] == (-1,) or shape[:1] == (batch,)
            flat = len(shape) == 2 and first and shape[1] in (size, -1) and shape != (-1, -1)
        if not flat:
            raise node.refuse(
                f"it must keep the first axis and join the others to {size}; flatten the input "
                "so, or leave it out"
            )
        self.steps.append((node.where, lambda x: x.reshape(len(x), size)))
        self._shape = (size,)

    def _product(self, node: OnnxNode) -> None:
        """Read a product: its weights, its quantizer and its bias."""
        self._check_flat(node)
        quantizer = self._quantizer
        if quantizer is None:
            raise node.refuse(
                "its activations are not quantized; add a quantizer of 2, 4 or 8 bits in front"
            )
        if quantizer.bits not in _BITS and (quantizer.low, quantizer.high) != (-1, 1):
            raise node.refuse(
                f"its activations must have 2, 4 or 8 bits, or be bipolar, not {quantizer.bits} "
                "bits; quantize them to such a width"
            )
        if not np.isfinite(np.float32(1) / quantizer.scale):
            raise node.refuse(
                f"the scale of its activations must have a finite inverse, not {quantizer.scale:g}"
            )
        weight = self._weight(node)
        low, high = quantizer.low, quantizer.high
        ranges = {bits: activation_range(bits) for bits in _BITS}
        bits = next((b for b, (a, z) in ranges.items() if high - low <= z - a), None)
        if bits is None:
            raise node.refuse(
                f"its activations must be at most 256 integers, not those from {low} to {high}; "
                "quantize them to 8 bits"
            )
        largest, k = max(-low, high), weight.shape[1]
        if largest * k > _EXACT:
            raise node.refuse(
                f"its sums must be at most {_EXACT}, up to which float32 is exact, not {k} inputs "
                f"times {largest}; export thresholds with a smaller out_bias"
            )
        least, most = ranges[bits]
        offset = 0 if least <= low and high <= most else low - least
        linear = BitLinear(
            weight=weight,
            quantize=partial(_quantize, quantizer, offset),
            matmul=partial(_unshifted, self._matmul, offset),
        )
        self._waiting, self._quantizer = [], None
        self.steps.append((node.where, linear))
        self.layers.append(
            QonnxLayer(
                node=node.name,
                linear=linear,
                low=low,
                high=high,
                act_bits=bits,
                offset=offset,
            )
        )
        self._shape = (weight.shape[0],)
        if node.op == "Gemm" and len(node.inputs) > 2 and node.inputs[2]:
            bias = replace(node, op="Add", inputs=node.inputs[1:], attributes={})
            step = elementwise(bias, node.inputs[1], self._constants, self._shape)
            self.steps.append((f"{node.where} (bias)", step))

    def _weight(self, node: OnnxNode) -> TernaryTensor:
        """Read the weights of a product as trits with scales."""
        transposed = False
        if node.op == "Gemm":
            known = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
            values = check_attributes(node, known)
            if (values["alpha"], values["beta"], values["transA"]) != (1.0, 1.0, 0):
                raise node.refuse("alpha and beta must be 1, and transA 0; multiply apart from it")
            transposed = values["transB"] != 0
        else:
            check_attributes(node, {})
        name = node.inputs[1]
        if name not in self._constants:
            raise node.refuse(
                f"its weights {shown(name)} must be constant, not computed from the input; "
                "attention and other products of two inputs are not read"
            )
        known = self._constants.quantized.get(name)
        weights = known or _Weights(self._constants[name], np.ones((), np.float32))
        shape, kind = weights.integers.shape, weights.integers.dtype
        if len(shape) != 2 or kind == np.int64:
            raise node.refuse(
                f"its weights must be a float32 matrix, not {kind} of shape {shape}; export the "
                "network again"
            )
        weights = weights if transposed else weights.turned
        integers, scale = weights.integers, np.atleast_2d(weights.scale)
        n, k = integers.shape
        if k != self._shape[0] or not n or not k:
            raise node.refuse(
                f"its weights must have {self._shape[0]} inputs, not {k}; export the network again"
            )
        if k > EXACT_K:
            raise node.refuse(f"it must have at most {EXACT_K} inputs, not {k}; split it")
        trits = in_parts(lambda x: np.where(np.isin(x, (-1, 0, 1)), x, _NO_TRIT), np.int8, integers)
        if trits.max() == _NO_TRIT:
            row, column = first_place(trits == _NO_TRIT)
            raise node.refuse(
                f"its weights must be ternary or binary, not {integers[row, column]:g} for output "
                f"{row}, input {column}{' (in units of the scale)' * (known is not None)}; "
                "quantize them to -1, 0 and 1"
            )
        if not (scale == scale[:, :1]).all():
            raise node.refuse(
                "its weights must have one scale, or one for each output; quantize them so"
            )
        scales = np.ascontiguousarray(
            scale[:1, :1] if (scale == scale[0, 0]).all() else scale[:, :1]
        )
        with within(node.where):
            return TernaryTensor.from_trits(f"layers.{len(self.layers)}", trits, scales)


def _quantize(
    quantizer: Quantizer, offset: int, x: NDArray[np.float32]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize as a ``Quantizer`` of ``layers``: integers minus the offset, and 1 / scale."""
    inverse = np.full((len(x), 1), np.float32(1) / quantizer.scale, np.float32)
    return (quantizer.integers(x) - np.float32(offset)).astype(np.int8), inverse


def _unshifted(
    matmul: Matmul, offset: int, weight: TernaryTensor, q: NDArray[np.int8]
) -> NDArray[np.int32]:
    """Multiply integers from which the offset was subtracted; return the product with it."""
    return matmul(weight, q) + np.int32(offset) * weight.trits.sum(axis=1, dtype=np.int32)

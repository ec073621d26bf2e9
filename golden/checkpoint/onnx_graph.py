"""Graphs of ONNX files that are not trusted: nodes, attributes and constants, in NumPy.

The file is parsed by the package ``onnx``, which is imported here only. Nothing is executed, and no
other file is opened, whatever the file says. Source of the format: ``onnx.proto`` of ONNX 1.23.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..environment import pip_install
from ..errors import CheckpointError
from ..input_files import mistaken, shown, unreadable
from .finite import check_finite

__all__ = ["OnnxGraph", "OnnxNode", "read_onnx"]

#: Largest file in bytes: protobuf has no larger messages.
_LARGEST = 2**31 - 1

#: Versions of the standard operators whose rules are known: from 9 on, batch normalization has one
#: output in inference, and operands broadcast as in NumPy.
_OPSETS = 9, 26


@dataclass(frozen=True, kw_only=True)
class OnnxNode:
    """A node of a graph.

    Parameters
    ----------
    name : name of the node, or of its first output
    where : the file and the node, for messages: ``FILE: node NAME of type OP``
    op : type of the operator, such as ``Gemm``
    domain : domain of the operator; empty for the standard operators
    inputs, outputs : names of tensors; an empty name is an input that is left out
    attributes : int, float, str, array or tuple by name
    """

    name: str
    where: str
    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def refuse(self, reason: str) -> CheckpointError:
        """Make the error that refuses the node."""
        return CheckpointError(f"{self.where}: {reason}")


@dataclass(frozen=True, kw_only=True)
class OnnxGraph:
    """A graph with one input and one output.

    Parameters
    ----------
    path : the file
    producer : program that wrote the file, with its version
    nodes : the nodes in the order of the file
    constants : initializers by name: float32 or int64
    input : name of the input
    shape : sizes of the input; None for a size that the file leaves open
    output : name of the output
    """

    path: Path
    producer: str
    nodes: tuple[OnnxNode, ...]
    constants: dict[str, NDArray[Any]]
    input: str
    shape: tuple[int | None, ...]
    output: str


def read_onnx(file: Path) -> OnnxGraph:
    """Read the graph of an ONNX file.

    Parameters
    ----------
    file : at most 2 GiB, with all its weights inside

    Returns
    -------
    The graph; its constants are read-only.

    Raises
    ------
    CheckpointError
        If the package ``onnx`` is missing, the file is of another kind or damaged, a tensor lies in
        another file, is not finite or is of another type than float32 and int64, a name is given
        twice, or the graph has several inputs or outputs.
    """
    wanted = "an ONNX file"
    if message := unreadable(file, wanted):
        raise CheckpointError(message)
    if (size := file.stat().st_size) > _LARGEST:
        raise CheckpointError(f"{file}: must have at most {_LARGEST} bytes, not {size}")
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise CheckpointError(
            f"{file}: the package onnx, which reads ONNX files, is not installed: "
            f"{pip_install('trilith[qonnx]')}"
        ) from None
    try:
        model = onnx.ModelProto.FromString(file.read_bytes())
    except DecodeError as error:
        raise CheckpointError(mistaken(file, wanted, error)) from None
    graph = model.graph
    if not graph.node:
        raise CheckpointError(mistaken(file, wanted, "it has no graph; export the network again"))
    _check_model(file, model)
    constants: dict[str, NDArray[Any]] = {}
    for tensor in graph.initializer:
        if tensor.name in constants:
            raise CheckpointError(
                f"{file}: every initializer must have its own name, not {shown(tensor.name)} twice"
            )
        constants[tensor.name] = _array(f"{file}: the initializer {shown(tensor.name)}", tensor)
    nodes = tuple(_nodes(file, graph))
    _check_names(nodes, constants)
    inputs = [one for one in graph.input if one.name not in constants]
    for name, found in (("input", inputs), ("output", graph.output)):
        if len(found) != 1:
            names = ", ".join(_text(one.name) for one in found) or "none"
            raise CheckpointError(
                f"{file}: the graph must have one {name}, not {len(found)} ({names}); "
                f"export a network of one {name}"
            )
    sizes = inputs[0].type.tensor_type.shape.dim
    return OnnxGraph(
        path=file,
        producer=f"{_text(model.producer_name)} {_text(model.producer_version)}".strip()
        or "not stated",
        nodes=nodes,
        constants=constants,
        input=inputs[0].name,
        shape=tuple(one.dim_value if one.dim_value > 0 else None for one in sizes),
        output=graph.output[0].name,
    )


def _check_model(file: Path, model: Any) -> None:
    """Refuse parts of a file that would change what its nodes compute."""
    for what, found in (
        ("functions of its own", model.functions),
        ("training", model.training_info),
        ("sparse initializers", model.graph.sparse_initializer),
    ):
        if found:
            raise CheckpointError(
                f"{file}: an ONNX file with {what} is not read; export the network without them"
            )
    versions = [one.version for one in model.opset_import if one.domain in ("", "ai.onnx")]
    low, high = _OPSETS
    if len(versions) != 1 or not low <= versions[0] <= high:
        found = " and ".join(map(str, versions)) or "no version"
        raise CheckpointError(
            f"{file}: the version of the operators (opset) must be stated once, from {low} to "
            f"{high}, not {found}; export the network with such a version"
        )


def _check_names(nodes: tuple[OnnxNode, ...], constants: dict[str, NDArray[Any]]) -> None:
    """Refuse a tensor that two nodes, or a node and an initializer, compute."""
    made = set(constants)
    for node in nodes:
        for name in filter(None, node.outputs):
            if name in made:
                raise node.refuse(
                    f"its output {shown(name)} must be computed once, but another node or "
                    "initializer has this name; export the network again"
                )
            made.add(name)


def _nodes(file: Path, graph: Any) -> Iterator[OnnxNode]:
    """Read the nodes of a graph."""
    for node in graph.node:
        name = _text(node.name or next(iter(node.output), "") or "without a name")
        where = f"{file}: node {name} of type {_text(node.op_type)}"
        attributes: dict[str, Any] = {}
        for one in node.attribute:
            if one.name in attributes:
                raise CheckpointError(
                    f"{where}: the attribute {shown(one.name)} must be given once; export the "
                    "network again"
                )
            attributes[one.name] = _attribute(where, one)
        yield OnnxNode(
            name=name,
            where=where,
            op=_text(node.op_type),
            domain="" if node.domain == "ai.onnx" else _text(node.domain),
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attributes=attributes,
        )


def _text(value: str | bytes) -> str:
    """Return a text; protobuf gives bytes where it is not in UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _attribute(where: str, attribute: Any) -> Any:
    """Read the value of an attribute; None for a kind that no operator here has."""
    match type(attribute).AttributeType.Name(attribute.type):
        case "INT":
            return attribute.i
        case "FLOAT":
            return attribute.f
        case "STRING":
            return attribute.s.decode("utf-8", "replace")
        case "INTS":
            return tuple(attribute.ints)
        case "FLOATS":
            return tuple(attribute.floats)
        case "TENSOR":
            return _array(f"{where}: the attribute {shown(attribute.name)}", attribute.t)
    return None


def _array(what: str, tensor: Any) -> NDArray[Any]:
    """Read a tensor of float32 or int64 that lies in the file itself."""
    from onnx import TensorProto

    if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
        raise CheckpointError(
            f"{what} must be stored in the file itself, not in another file; save the network "
            "without external data"
        )
    kind = tensor.data_type
    if kind not in (TensorProto.FLOAT, TensorProto.INT64):
        known = kind in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(kind) if known else f"the number {kind}"
        raise CheckpointError(
            f"{what} must have the type FLOAT or INT64, not {name}; export the network in float32"
        )
    floats = kind == TensorProto.FLOAT
    dtype = np.dtype("<f4" if floats else "<i8")
    values = tensor.float_data if floats else tensor.int64_data
    try:
        if min(tensor.dims, default=0) < 0:
            raise ValueError(f"its sizes must be 0 or more, not {list(tensor.dims)}")
        # No list of Python's numbers, which would take many times the memory of the file.
        array = (
            np.frombuffer(tensor.raw_data, dtype)
            if tensor.HasField("raw_data")
            else np.fromiter(values, dtype, len(values))
        ).reshape(tuple(tensor.dims))
    except (ValueError, OverflowError) as error:
        raise CheckpointError(f"{what} is damaged: {error}; export the network again") from None
    array.flags.writeable = False
    check_finite(what, array)
    return array

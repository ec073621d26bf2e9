"""Targets: networks in QONNX, compared with ONNX's own reference execution, and their inputs."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from qonnx_files import QONNX, Maker

from trilith.golden.network.qonnx import QonnxNetwork, read_inputs

from .campaign import Near, Target
from .mutation import Object, integer, pairs, text

# Trees of protobuf messages, and their bytes. The writer takes any tree.


def _tree(message: Any) -> Any:
    """A message as pairs of field and value; a repeated field has a list."""
    if isinstance(message, int | float | str | bytes):
        return message
    if not isinstance(message, Message):
        return [_tree(one) for one in message]
    return Object([field.name, _tree(value)] for field, value in message.ListFields())


#: Wires and struct letters of the types that are no integers, texts or messages.
_WIRES = {FieldDescriptor.TYPE_FLOAT: (5, "<f"), FieldDescriptor.TYPE_DOUBLE: (1, "<d")}


def _message(tree: Any, kind: Descriptor) -> bytes:
    """Write a message; a field that the message does not have gets the number 99."""
    out, fields = bytearray(), {field.name: field for field in kind.fields}
    for name, value in pairs(tree):
        field = fields.get(name)
        plain = isinstance(value, Object) or not isinstance(value, list)
        for one in [value] if plain else value:
            out += _field(99 if field is None else field.number, one, field)
    return bytes(out)


def _field(number: int, value: Any, field: FieldDescriptor | None) -> bytes:
    """Write a value in the form that its field has, or in that of its own type."""
    if field is not None and field.message_type:
        return _sized(number, _message(value, field.message_type))
    if field is not None and field.type in _WIRES:
        wire, letter = _WIRES[field.type]
        try:
            return _varint(number << 3 | wire) + struct.pack(letter, value)
        except (OverflowError, struct.error):
            return _varint(number << 3 | wire) + bytes(struct.calcsize(letter))
    if isinstance(value, str | bytes):
        return _sized(number, text(value))
    return _varint(number << 3) + _varint(integer(value, 64))


def _sized(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _dump(tree: Any) -> dict[str, bytes]:
    return {"network.onnx": _message(tree, onnx.ModelProto.DESCRIPTOR)}


# The networks.


def _trits(n: int, k: int) -> np.ndarray:
    return np.random.default_rng(n * k).integers(-1, 2, (n, k)).astype(np.float32)


def _ternary() -> Maker:
    """Activations of 8 bits, then of 4; scales of the outputs; a bias; a normalization."""
    maker = Maker(1, 6)
    maker.node("Div", np.asarray(16.0))
    maker.quant(0.0625, 8)
    scales = np.float32([[0.5], [0.25], [1.0], [2.0], [0.5]])
    weights = maker.quant(scales, 2, narrow=1, weights=_trits(5, 6) * scales)
    maker.node("Gemm", weights, np.arange(5) / 4, transB=1)
    channels = [np.linspace(low, 1, 5) for low in (0.5, 0.0, 0.25, 0.75)]
    maker.node("BatchNormalization", *channels, epsilon=1e-5)
    maker.node("Relu")
    maker.quant(0.25, 4, signed=0)
    maker.node("MatMul", _trits(3, 5).T)
    maker.node("Mul", np.asarray(0.5))
    return maker


def _binary() -> Maker:
    """Images; bipolar activations and weights; thresholds to 2 bits; a matrix that is turned."""
    maker = Maker("T", 2, 3)
    maker.node("Flatten")
    maker.bipolar(0.5)
    weights = maker.bipolar(0.25, weights=np.where(_trits(4, 6) < 0, -0.25, 0.25))
    maker.node("MatMul", maker.node("Transpose", weights, first=False, perm=[1, 0]))
    thresholds = np.float32([[-1, 0, 1], [0, 0.5, 1], [-2, 0, 2], [-1, -0.5, 0]])
    values = {"out_dtype": "UINT2", "out_scale": 0.5, "out_bias": 0.0, "data_layout": "NC"}
    maker.node("MultiThreshold", thresholds, domain=QONNX, **values)
    trits = onnx.numpy_helper.from_array(_trits(3, 4), "trits")
    maker.node("Gemm", maker.node("Constant", first=False, value=trits), transB=1)
    maker.node("Add", np.arange(3) / 8)
    return maker


def _small() -> Maker:
    """Signed activations of 2 bits, which need a product of 4; unsigned ones of 2 and 8."""
    maker = Maker(1, 2, 2)
    maker.quant(0.5, 2)
    maker.node("Reshape", np.array([0, -1]))
    maker.node("Mul", np.asarray(2.0))
    maker.node("Gemm", _trits(3, 4), transB=1)
    maker.quant(1.0, 2, signed=0, narrow=1)
    maker.node("Sub", np.asarray(0.0))
    maker.quant(0.125, 8, signed=0)
    maker.node("MatMul", _trits(2, 3).T)
    maker.node("Identity")
    maker.quant(0.125, 8, narrow=1)
    maker.nodes[0].op_type = "IntQuant"
    return maker


def as_numbers(model: Any) -> Any:
    """Store the constants of a model as lists of numbers, not as bytes; return it."""
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        tensor.ClearField("raw_data")
        one = tensor.float_data if array.dtype == np.float32 else tensor.int64_data
        one.extend(array.ravel().tolist())
    return model


# Outputs of a few inputs are compared with those of ONNX's reference execution.


def _inputs(shape: tuple[int, ...]) -> np.ndarray:
    # Between the borders of the first quantizers.
    integers = np.random.default_rng(1).integers(-40, 41, (2, *shape))
    return integers.astype(np.float32) / 4 + np.float32(0.0625)


def _read(folder: Path) -> dict[str, Any]:
    network = QonnxNetwork.load(folder / "network.onnx")
    return {"shape": list(network.shape), "outputs": network.forward(_inputs(network.shape))}


#: Distances of the values to the nearest border of a quantizer, in its steps.
_distances: list[float] = []


class Quant(OpRun):
    """QONNX's Quant, by its definition."""

    op_domain = QONNX

    def _run(self, x, scale, zero, bits, signed, narrow, rounding_mode="ROUND"):
        assert rounding_mode.upper() in ("ROUND", "HALF_EVEN")
        if signed and bits == 1:
            return BipolarQuant.of(x, scale)
        count = 2 ** float(bits.reshape(()))
        low, high = (-count / 2 + narrow, count / 2 - 1) if signed else (0, count - 1 - narrow)
        q = np.clip(x / scale + zero, low, high)
        _distances.append(np.abs(q - np.floor(q) - 0.5).min())
        return (((np.rint(q) - zero) * scale).astype(np.float32),)


class IntQuant(Quant):
    """The same under its newer name."""


class BipolarQuant(OpRun):
    """Signs times a scale."""

    op_domain = QONNX

    @staticmethod
    def of(x, scale):
        _distances.append(np.abs(x / scale).min())
        return (np.where(x >= 0, scale, -scale).astype(np.float32),)

    def _run(self, x, scale):
        return self.of(x, scale)


class MultiThreshold(OpRun):
    """The number of thresholds of a channel that a value reaches."""

    op_domain = QONNX

    def _run(self, x, thresholds, out_dtype="", out_scale=1.0, out_bias=0.0, data_layout=""):
        steps = x[:, :, np.newaxis] - thresholds
        _distances.append(np.abs(steps).min())
        return ((out_scale * (steps >= 0).sum(axis=2) + out_bias).astype(np.float32),)


def _naive(folder: Path) -> dict[str, Any]:
    """The outputs by ``onnx.reference``, not known where rounding decides between two integers."""
    model = onnx.load_model_from_string((folder / "network.onnx").read_bytes())
    constants = {one.name for one in model.graph.initializer}
    (entry,) = (one for one in model.graph.input if one.name not in constants)
    batch, *shape = (one.dim_value for one in entry.type.tensor_type.shape.dim)
    batch = batch if 0 < batch < 1000 else 1
    _sort(model.graph)
    for node in model.graph.node:
        for one in node.attribute:
            one.s = one.s.decode(errors="replace").encode()
    if QONNX not in {one.domain for one in model.opset_import}:
        model.opset_import.append(onnx.helper.make_opsetid(QONNX, 2))
    _distances.clear()
    ops = [Quant, IntQuant, BipolarQuant, MultiThreshold]
    with np.errstate(all="ignore"):
        runner = ReferenceEvaluator(model, new_ops=ops)
        outputs = [
            runner.run(None, {entry.name: np.stack([x] * batch)})[0][0]
            for x in _inputs(tuple(shape))
        ]
    known = min(_distances) > 1e-3
    return {"shape": shape, "outputs": Near(np.stack(outputs) if known else None)}


def _sort(graph: Any) -> None:
    """Put each node behind those that compute its inputs."""
    nodes, known = list(graph.node), {graph.input[0].name, *(x.name for x in graph.initializer), ""}
    del graph.node[:]
    while nodes:
        node = next(one for one in nodes if known.issuperset(one.input))
        nodes.remove(node)
        graph.node.append(node)
        known.update(node.output)


# Inputs.


def _inputs_tree() -> Object:
    header = {"descr": "<f4", "fortran_order": False, "shape": [3, 4]}
    data = np.arange(12, dtype=np.float32).tobytes()
    return Object([["magic", b"\x93NUMPY\x01\0"], ["header", Object.of(header)], ["data", data]])


def _dump_inputs(tree: Any) -> dict[str, bytes]:
    parts = dict(pairs(tree))
    fields = ", ".join(f"{name!r}: {_python(x)}" for name, x in pairs(parts.get("header")))
    header = f"{{{fields}}}".encode("latin-1", "replace").ljust(117) + b"\n"
    size = struct.pack("<H", len(header) & 65535)
    data = text(parts.get("magic")) + size + header + text(parts.get("data"))
    return {"inputs.npy": data}


def _python(value: Any) -> str:
    """A value as Python writes it; a list is a tuple."""
    return repr(tuple(value)) if type(value) is list else repr(value)


def _read_inputs(folder: Path) -> np.ndarray:
    return read_inputs(folder / "inputs.npy", (4,))


def _naive_inputs(folder: Path) -> np.ndarray:
    """The values by NumPy's own reader of a stream."""
    found = np.load(BytesIO((folder / "inputs.npy").read_bytes()), allow_pickle=False)
    assert found.shape == (len(found), 4)
    return found.astype(np.float32)


def _network(name: str, model: Any, share: int) -> Target:
    return Target(
        name=f"qonnx {name}",
        tree=_tree(model),
        dump=_dump,
        read=_read,
        naive=_naive,
        share=share,
    )


TARGETS = [
    _network("ternary", _ternary().model(), 40_000),
    _network("binary", _binary().model(), 30_000),
    _network("2 bits", as_numbers(_small().model()), 30_000),
    Target(
        name="inputs",
        tree=_inputs_tree(),
        dump=_dump_inputs,
        read=_read_inputs,
        naive=_naive_inputs,
        share=15_000,
    ),
]

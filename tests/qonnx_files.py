"""QONNX files for tests, made with onnx.helper, and their execution by the package qonnx."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trilith.golden.network.mlp import load_digits

QONNX = "qonnx.custom_op.general"


class Maker:
    """Writes a chain of nodes; each method adds a node to the last value."""

    def __init__(self, *shape):
        self.shape = shape
        self.nodes = []
        self.constants = {}
        self.value = "input"

    def constant(self, array, name=None):
        name = name or f"constant_{len(self.constants)}"
        array = np.asarray(array)
        self.constants[name] = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        return name

    def node(self, op, *operands, domain="", first=True, name=None, **attributes):
        """Add a node of the last value and constants."""
        operands = [self.constant(one) if isinstance(one, np.ndarray) else one for one in operands]
        inputs = [self.value, *operands] if first else operands
        name = name or f"{op.lower()}_{len(self.nodes)}"
        out = f"{name}_out"
        self.nodes.append(
            helper.make_node(op, inputs, [out], name=name, domain=domain, **attributes)
        )
        if first:
            self.value = out
        return out

    def quant(self, scale, bits, *, signed=1, narrow=0, zero=0.0, mode="ROUND", weights=None):
        first = weights is None
        operands = [np.float32(scale), np.float32(zero), np.float32(bits)]
        operands = [np.asarray(one) for one in operands]
        return self.node(
            "Quant",
            *([] if first else [np.asarray(weights, np.float32)]),
            *operands,
            first=first,
            domain=QONNX,
            signed=signed,
            narrow=narrow,
            rounding_mode=mode,
        )

    def bipolar(self, scale, weights=None):
        operands = [] if weights is None else [np.asarray(weights, np.float32)]
        return self.node(
            "BipolarQuant",
            *operands,
            np.asarray(scale, np.float32),
            first=weights is None,
            domain=QONNX,
        )

    def model(self):
        batch, *_ = self.shape
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(self.value, TensorProto.FLOAT, [batch, None])],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid(QONNX, 2)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def write(self, file):
        Path(file).write_bytes(self.model().SerializeToString())
        return file


def execute(file, x):
    """Execute a file by the package qonnx; return all values by name, the output last."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    model = onnx.load(file)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = len(x)
    model.graph.ClearField("value_info")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    wrapper = ModelWrapper(model).transform(InferShapes())
    found = execute_onnx(wrapper, {model.graph.input[0].name: x}, return_full_exec_context=True)
    return found, found[model.graph.output[0].name]


def train(images, labels, *, hidden, levels, seed=0, epochs=150):
    """Train 64 x hidden x 10 with ternary weights by straight-through estimation, in NumPy.

    ``levels`` is the largest activation of the hidden layer. Returns the float weights of both
    layers, their scales, and the scale of the hidden activations.
    """
    rng = np.random.default_rng(seed)
    x = images.astype(np.float32) / 16
    target = np.eye(10, dtype=np.float32)[labels]
    weights = [
        rng.normal(0, k**-0.5, (n, k)).astype(np.float32) for n, k in ((hidden, 64), (10, hidden))
    ]
    moments = [[np.zeros_like(w), np.zeros_like(w)] for w in weights]
    step = np.float32(2.0 / levels)

    def ternary(w):
        scale = np.abs(w).mean(axis=1, keepdims=True)
        return scale, np.clip(np.rint(w / scale), -1, 1)

    for epoch in range(1, epochs + 1):
        (s0, t0), (s1, t1) = map(ternary, weights)
        before = x @ (s0 * t0).T
        q = np.clip(np.rint(before / step), 0, levels) * step
        logits = q @ (s1 * t1).T
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = (p / p.sum(axis=1, keepdims=True) - target) / len(x)
        back = error @ (s1 * t1) * ((before > 0) & (before < levels * step))
        for w, m, g in zip(weights, moments, (back.T @ x, error.T @ q), strict=True):
            m[0] = 0.9 * m[0] + 0.1 * g
            m[1] = 0.99 * m[1] + 0.01 * g * g
            w -= 0.02 * m[0] / (1 - 0.9**epoch) / (np.sqrt(m[1] / (1 - 0.99**epoch)) + 1e-8)
    return weights, [ternary(w)[0] for w in weights], step


def digits_network(file, bits, *, hidden=32):
    """Train on 240 of the repository's digits, and write the network; activations 8, then bits."""
    images, labels = load_digits()
    weights, scales, step = train(images[:240], labels[:240], hidden=hidden, levels=2**bits - 1)
    maker = Maker(1, 64)
    maker.node("Div", np.asarray(16.0))
    maker.quant(1 / 16, 8)
    maker.node("Gemm", maker.quant(scales[0], 2, narrow=1, weights=weights[0]), transB=1)
    maker.node("Relu")
    maker.quant(step, bits, signed=0)
    last = maker.quant(scales[1], 2, narrow=1, weights=weights[1])
    maker.node("Gemm", last, np.zeros(10), transB=1)
    return maker.write(file)


def random_network(file, seed):
    """Write a random network whose numbers are sums of few powers of two, so that floats are exact.

    Returns the file, and the shape of an input.
    """
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 40))
    shape = (k,)
    maker = Maker(1, k)
    for _ in range(rng.integers(1, 4)):
        n = int(rng.integers(1, 30))
        bits = int(rng.choice([2, 4, 8]))
        if rng.random() < 0.2:
            maker.bipolar(0.5)
        else:
            signed, narrow = map(int, rng.integers(0, 2, 2))
            maker.quant(2.0 ** rng.integers(-4, 1), bits, signed=signed, narrow=narrow)
        trits = rng.integers(-1, 2, (n, k)).astype(np.float32)
        scale = 2.0 ** rng.integers(-3, 3, (n, 1) if rng.random() < 0.5 else ())
        bias = [rng.integers(-9, 9, n) / 8.0] if rng.random() < 0.5 else []
        match rng.integers(3):
            case 0:
                trits = maker.quant(scale, 2, narrow=1, weights=trits * scale)
                maker.node("Gemm", trits, *bias, transB=1)
            case 1:
                maker.node("MatMul", maker.bipolar(scale.T, weights=trits.T))
            case _:
                maker.node("MatMul", trits.T)
        if rng.random() < 0.5:
            maker.node("Mul", 2.0 ** rng.integers(-3, 3, n))
        if rng.random() < 0.5:
            maker.node("Relu")
        k = n
    return maker.write(file), shape

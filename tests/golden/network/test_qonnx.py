import numpy as np
import pytest

pytest.importorskip("qonnx", reason="qonnx is in the extras test and qonnx")

import onnx
from onnx import TensorProto, helper
from qonnx_files import QONNX, Maker, digits_network, execute, random_network

from trilith.golden.checkpoint.onnx_graph import read_onnx
from trilith.golden.errors import CheckpointError
from trilith.golden.network.layers import packed_matmul
from trilith.golden.network.mlp import load_digits
from trilith.golden.network.qonnx import QonnxNetwork, read_inputs

RNG = np.random.default_rng(0)
TRITS = RNG.integers(-1, 2, (5, 8)).astype(np.float32)


def inputs(count, *shape):
    return np.random.default_rng(1).normal(0, 1, (count, *shape)).astype(np.float32)


@pytest.mark.parametrize(("bits", "levels", "engine"), [(2, 3, 4), (4, 15, 4), (8, 255, 8)])
def test_trained_digits_equal_the_execution_by_qonnx(tmp_path, bits, levels, engine):
    images, labels = load_digits()
    file = digits_network(tmp_path / "digits.onnx", bits)
    seen = []

    def matmul(weight, q):
        seen.append(q)
        return packed_matmul(weight, q)

    network = QonnxNetwork.load(file, matmul=matmul)
    x = images.astype(np.float32)
    logits = network.forward(x)
    values, reference = execute(file, x)
    first, second = network.layers
    assert (first.low, first.high, first.act_bits, first.offset) == (-128, 127, 8, 0)
    assert (second.low, second.high, second.act_bits) == (0, levels, engine)
    # The integers of both layers are those of the package qonnx, on every image.
    for layer, q, name in zip(network.layers, seen, ("quant_1", "quant_5"), strict=True):
        scale = np.float32(1) / layer.linear.quantize(np.zeros((1, 1), np.float32))[1]
        expected = np.rint(values[f"{name}_out"] / scale)
        assert np.array_equal(q.astype(int) + layer.offset, expected)
    np.testing.assert_allclose(logits, reference, rtol=0, atol=1e-5 * np.abs(reference).max())
    assert np.array_equal(logits.argmax(axis=1), reference.argmax(axis=1))
    # The network learned: these images were not in its training.
    assert (logits.argmax(axis=1) == labels)[240:].mean() > 0.85


@pytest.mark.parametrize("seed", range(12))
def test_networks_with_powers_of_two_equal_qonnx_in_every_bit(tmp_path, seed):
    file, shape = random_network(tmp_path / "random.onnx", seed)
    x = np.round(inputs(20, *shape) * 64) / np.float32(64)
    values = QonnxNetwork.load(file).forward(x)
    assert np.array_equal(values, execute(file, x)[1])


def test_ties_round_to_even(tmp_path):
    maker = Maker(1, 4)
    maker.quant(1.0, 4)
    maker.node("MatMul", np.eye(4))
    network = QonnxNetwork.load(maker.write(tmp_path / "a.onnx"))
    x = np.array([[0.5, 1.5, -2.5, 2.5]], np.float32)
    assert network.forward(x).tolist() == [[0, 2, -2, 2]]


@pytest.mark.parametrize(
    ("signed", "narrow", "bits", "low", "high", "engine", "offset"),
    [
        (1, 0, 2, -2, 1, 4, 0),
        (1, 1, 2, -1, 1, 2, 0),
        (0, 0, 2, 0, 3, 4, 0),
        (0, 1, 2, 0, 2, 2, 1),
        (1, 0, 4, -8, 7, 4, 0),
        (1, 1, 4, -7, 7, 4, 0),
        (0, 0, 4, 0, 15, 4, 8),
        (0, 1, 4, 0, 14, 4, 8),
        (1, 0, 8, -128, 127, 8, 0),
        (1, 1, 8, -127, 127, 8, 0),
        (0, 0, 8, 0, 255, 8, 128),
        (0, 1, 8, 0, 254, 8, 128),
    ],
)
def test_every_range_of_activations(tmp_path, signed, narrow, bits, low, high, engine, offset):
    maker = Maker(1, 8)
    maker.quant(0.25, bits, signed=signed, narrow=narrow)
    maker.node("Gemm", TRITS, np.arange(5.0), transB=1)
    file = maker.write(tmp_path / "a.onnx")
    network = QonnxNetwork.load(file)
    (layer,) = network.layers
    found = (layer.low, layer.high, layer.act_bits, layer.offset)
    assert found == (low, high, engine, offset)
    x = np.linspace(-40, 70, 8 * 100, dtype=np.float32).reshape(-1, 8)
    assert np.array_equal(network.forward(x), execute(file, x)[1])


def bipolar(maker):
    maker.bipolar(0.5)
    maker.node("MatMul", maker.bipolar([0.25, 0.5, 1, 2, 4], weights=TRITS.T))


def one_signed_bit(maker):
    maker.quant(0.5, 8)
    maker.node("MatMul", maker.quant(2.0, 1, weights=TRITS.T))


def transpose(maker):
    maker.quant(0.5, 8)
    weights = maker.quant(np.array([[1], [2], [4], [8], [0.5]]), 2, narrow=1, weights=TRITS)
    maker.node("MatMul", maker.node("Transpose", weights, first=False, perm=[1, 0]))


def between(maker):
    maker.node("Sub", np.asarray(0.5))
    maker.quant(0.5, 8)
    maker.node("Div", np.asarray(2.0))
    maker.node("Identity")
    maker.node("MatMul", TRITS.T)
    maker.node("Mul", np.array([1.0, 2, 4, 8, 16]))
    maker.node("Add", np.array([[1.0, 2, 3, 4, 5]]))
    maker.node("Relu")


def quantized_bias(maker):
    maker.quant(0.5, 8)
    bias = maker.quant(0.125, 32, weights=np.array([0.3, -1e20, 1e20, 2**24 + 1, 0.0625]))
    maker.node("Gemm", TRITS, bias, transB=1)


def normalized(maker):
    maker.quant(0.5, 8)
    maker.node("MatMul", TRITS.T)
    ones = np.ones(5)
    maker.node("BatchNormalization", ones * 2, ones, ones * 3, ones * 3.75, epsilon=0.25)
    maker.quant(0.5, 2)  # A quantizer at the end.


def thresholds(maker):
    steps = np.sort(np.random.default_rng(3).normal(0, 1, (8, 3)), axis=1)
    maker.node(
        "MultiThreshold", steps, domain=QONNX, out_dtype="INT2", out_scale=0.5, out_bias=-1.0
    )
    maker.node("MatMul", TRITS.T)


@pytest.mark.parametrize(
    "build", [bipolar, one_signed_bit, transpose, between, quantized_bias, normalized, thresholds]
)
def test_nodes_equal_qonnx(tmp_path, build):
    maker = Maker(1, 8)
    build(maker)
    file = maker.write(tmp_path / "a.onnx")
    x = inputs(30, 8)
    assert np.array_equal(QonnxNetwork.load(file).forward(x), execute(file, x)[1])


@pytest.mark.parametrize("how", ["Flatten", "Reshape", "Reshape after a quantizer"])
def test_images_are_flattened(tmp_path, how):
    maker = Maker(1, 2, 2, 2)
    if how.endswith("quantizer"):
        maker.quant(0.5, 8)
    maker.node("Flatten") if how == "Flatten" else maker.node("Reshape", np.array([1, -1]))
    if not how.endswith("quantizer"):
        maker.quant(0.5, 8)
    maker.node("Gemm", TRITS, transB=1)
    file = maker.write(tmp_path / "a.onnx")
    network = QonnxNetwork.load(file)
    x = inputs(7, 2, 2, 2)
    assert network.shape == (2, 2, 2)
    expected = [execute(file, one[np.newaxis])[1][0] for one in x]
    assert np.array_equal(network.forward(x), expected)


def change(**values):
    """Make a good network with one thing changed."""

    def make(maker):
        maker.quant(**({"scale": 0.5, "bits": 8} | values.get("quant", {})))
        weights = values.get("weights", {})
        weights = {"scale": 1.0, "bits": 2, "narrow": 1, "weights": TRITS} | weights
        gemm = {"transB": 1} | values.get("gemm", {})
        maker.node("Gemm", maker.quant(**weights), np.zeros(5), **gemm)
        for op, operands, attributes in values.get("more", ()):
            maker.node(op, *operands, **attributes)

    return make


def branch(maker):
    maker.quant(0.5, 8)
    before = maker.value
    maker.node("MatMul", TRITS.T)
    maker.nodes.append(helper.make_node("Relu", [before], ["side"], name="side"))


def attention(maker):
    maker.quant(0.5, 8)
    maker.nodes.append(helper.make_node("MatMul", [maker.value, maker.value], ["y"], name="qk"))
    maker.value = "y"


def dead(maker):
    change()(maker)
    maker.nodes.append(helper.make_node("Relu", ["nowhere"], ["side"], name="side"))


def nameless(maker):
    change(more=[("Softmax", (), {})])(maker)
    maker.nodes[-1].name = ""


def operands(place, *names):
    """Make a good network, and give one of its nodes other inputs."""

    def make(maker):
        change()(maker)
        maker.nodes[place].input[:] = names

    return make


def far_thresholds(bias):
    """Count thresholds from a large number on: its product with the weights has no exact sum."""

    def make(maker):
        steps = np.arange(3, dtype=np.float32)[np.newaxis]
        values = {"out_dtype": "INT32", "out_scale": 1.0, "out_bias": bias}
        maker.node("MultiThreshold", steps, domain=QONNX, **values)
        maker.node("MatMul", TRITS.T)

    return make


def another_output(maker):
    change(more=[("Relu", (), {})])(maker)
    maker.nodes[-1].output.append("more")


def nameless_output(maker):
    change()(maker)
    maker.nodes[1].output[:] = [""]


def flat_twice(maker):
    maker.node("Flatten")
    change()(maker)
    maker.nodes[0].input.append("input")


def integer_weights(maker):
    maker.quant(0.5, 8)
    numbers = [np.asarray(one) for one in (1.0, 0.0, 2.0)]
    name = maker.node(
        "Quant", TRITS.astype(int), *numbers, first=False, domain=QONNX, signed=1, narrow=1
    )
    maker.node("Gemm", name, transB=1)


def random_weights(maker):
    maker.quant(0.5, 8)
    weights = maker.node("RandomNormal", first=False, shape=[8, 5])
    maker.node("MatMul", weights)


ONES = np.ones(5)
#: Refused files, with the message: the node and its type, then the reason and the remedy.
REFUSED = {
    "sums beyond float32": (
        far_thresholds(2.0**21),
        "matmul_1 of type MatMul: its sums must be at most 16777216, up to which float32 is exact, "
        "not 8 inputs times 2097155; export thresholds with a smaller out_bias",
    ),
    "thresholds beyond int64": (
        far_thresholds(-(2.0**63)),
        "matmul_1 of type MatMul: its sums must be at most 16777216, up to which float32 is exact, "
        "not 8 inputs times 9223372036854775808; export thresholds with a smaller out_bias",
    ),
    "weights that are not there": (
        operands(1),
        "quant_1 of type Quant: it must have 4 inputs and one output, each with a name, not 0 and "
        "1; export the network again",
    ),
    "weights without a name": (
        operands(1, "", "constant_4", "constant_5", "constant_6"),
        "quant_1 of type Quant: it must have 4 inputs and one output, each with a name, not 3 and "
        "1; export the network again",
    ),
    "no scale": (
        operands(1, "constant_3"),
        "quant_1 of type Quant: it must have 4 inputs and one output, each with a name, not 1 and "
        "1; export the network again",
    ),
    "product of one": (
        operands(2, "quant_0_out"),
        "gemm_2 of type Gemm: it must have 2 or 3 inputs and one output, each with a name, not 1 "
        "and 1; export the network again",
    ),
    "two inputs of one": (
        flat_twice,
        "flatten_0 of type Flatten: it must have 1 input and one output, each with a name, not 2 "
        "and 1; export the network again",
    ),
    "two outputs of one": (
        another_output,
        "relu_3 of type Relu: it must have 1 input and one output, each with a name, not 1 and 2; "
        "export the network again",
    ),
    "output without a name": (
        nameless_output,
        "quant_1 of type Quant: it must have 4 inputs and one output, each with a name, not 4 and "
        "0; export the network again",
    ),
    "integers to quantize": (
        integer_weights,
        "quant_1 of type Quant: its input must be float32, not int64; export it so",
    ),
    "zero point": (
        change(quant={"zero": -3.0}),
        "quant_0 of type Quant: its zero point must be 0, not -3; quantize symmetrically",
    ),
    "rounding": (
        change(quant={"mode": "FLOOR"}),
        "quant_0 of type Quant: rounding_mode must be ROUND, to nearest with ties to even, not "
        "'FLOOR'; train and export with this mode",
    ),
    "3 bits": (
        change(quant={"bits": 3}),
        "gemm_2 of type Gemm: its activations must have 2, 4 or 8 bits, or be bipolar, not 3 bits; "
        "quantize them to such a width",
    ),
    "half a bit": (
        change(quant={"bits": 2.5}),
        "quant_0 of type Quant: its bit width must be an integer from 1 to 32, not 2.5; quantize "
        "to such a width",
    ),
    "scale per channel": (
        change(quant={"scale": np.ones(8)}),
        "quant_0 of type Quant: the scale of activations must be one number, not of shape (8,); "
        "quantize with one scale for the tensor",
    ),
    "tiny scale": (
        change(quant={"scale": 1e-40}),
        "gemm_2 of type Gemm: the scale of its activations must have a finite inverse, not "
        "9.99995e-41",
    ),
    "negative scale": (
        change(quant={"scale": -0.5}),
        "quant_0 of type Quant: its scales must be above 0, not -0.5; export the network again",
    ),
    "signed of 2": (
        change(quant={"signed": 2}),
        "quant_0 of type Quant: signed must be 0 or 1, not 2; export the network again",
    ),
    "4-bit weights": (
        change(weights={"bits": 4, "weights": np.full((5, 8), 5.0)}),
        "gemm_2 of type Gemm: its weights must be ternary or binary, not 5 for output 0, input 0 "
        "(in units of the scale); quantize them to -1, 0 and 1",
    ),
    "float weights": (
        lambda maker: (maker.quant(0.5, 8), maker.node("MatMul", TRITS.T * 0.3)),
        "matmul_1 of type MatMul: its weights must be ternary or binary, not 0.3 for output 0, "
        "input 0; quantize them to -1, 0 and 1",
    ),
    "scale per input": (
        change(weights={"scale": np.arange(1.0, 9.0)}),
        "gemm_2 of type Gemm: its weights must have one scale, or one for each output; quantize "
        "them so",
    ),
    "alpha": (
        change(gemm={"alpha": 2.0}),
        "gemm_2 of type Gemm: alpha and beta must be 1, and transA 0; multiply apart from it",
    ),
    "float activations": (
        lambda maker: maker.node("MatMul", TRITS.T),
        "matmul_0 of type MatMul: its activations are not quantized; add a quantizer of 2, 4 or 8 "
        "bits in front",
    ),
    "two inputs": (
        attention,
        "qk of type MatMul: its weights 'quant_0_out' must be constant, not computed from the "
        "input; attention and other products of two inputs are not read",
    ),
    "convolution": (
        change(more=[("Conv", (np.ones((1, 1, 1, 1)),), {})]),
        "conv_3 of type Conv: this type is not read; use Quant, IntQuant, BipolarQuant, "
        "MultiThreshold, MatMul, Gemm, Add, Sub, Mul, Div, BatchNormalization, Relu, Reshape, "
        "Flatten and Identity",
    ),
    "no name": (
        nameless,
        "softmax_3_out of type Softmax: this type is not read; use Quant, IntQuant, BipolarQuant, "
        "MultiThreshold, MatMul, Gemm, Add, Sub, Mul, Div, BatchNormalization, Relu, Reshape, "
        "Flatten and Identity",
    ),
    "another domain": (
        change(more=[("Relu", (), {"domain": "my.ops"})]),
        "relu_3 of type Relu: its domain 'my.ops' is not known; export the network with standard "
        "operators",
    ),
    "Quant of another domain": (
        change(more=[("Quant", (ONES,), {"domain": "my.ops"})]),
        "quant_3 of type Quant: its domain must be qonnx.custom_op.general, onnx.brevitas or "
        "finn.custom_op.general, not 'my.ops'; export the network as QONNX",
    ),
    "attribute": (
        change(more=[("Relu", (), {"slope": 0.1})]),
        "relu_3 of type Relu: the attribute 'slope' is not understood; results without it may be "
        "wrong, so export the network without it",
    ),
    "branch": (
        branch,
        "side of type Relu: its input 'quant_0_out' is used by another node too; only chains of "
        "nodes are read, so export a network without branches",
    ),
    "dead node": (
        dead,
        "side of type Relu: its result does not reach the output; only chains of nodes are read, "
        "so remove it",
    ),
    "random weights": (
        random_weights,
        "randomnormal_1 of type RandomNormal: a node of constants must be Constant, Quant, "
        "IntQuant, BipolarQuant or a Transpose of a matrix; compute its result before the export",
    ),
    "training": (
        change(more=[("BatchNormalization", (ONES, ONES, ONES, ONES), {"training_mode": 1})]),
        "batchnormalization_3 of type BatchNormalization: it must be for inference; export the "
        "network in its evaluation mode",
    ),
    "bias of another size": (
        change(more=[("Add", (np.ones(3),), {})]),
        "add_3 of type Add: its constant of shape (3,) must broadcast to a value of shape (T, 5); "
        "export the network again",
    ),
    "bias per input vector": (
        change(more=[("Add", (np.ones((2, 5)),), {})]),
        "add_3 of type Add: its constant of shape (2, 5) must broadcast to a value of shape "
        "(T, 5); export the network again",
    ),
    "reshape": (
        change(more=[("Reshape", (np.array([-1, 1]),), {})]),
        "reshape_3 of type Reshape: it must keep the first axis and join the others to 5; flatten "
        "the input so, or leave it out",
    ),
    "division by zero": (
        change(more=[("Div", (np.zeros(5),), {})]),
        "div_3 of type Div: its divisor must not be 0; mend the network",
    ),
    "weights of another size": (
        change(weights={"weights": TRITS[:, :7]}),
        "gemm_2 of type Gemm: its weights must have 8 inputs, not 7; export the network again",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_node_and_reason(tmp_path, case):
    build, message = REFUSED[case]
    maker = Maker(1, 8)
    build(maker)
    file = maker.write(tmp_path / "a.onnx")
    with pytest.raises(CheckpointError) as error:
        QonnxNetwork.load(file)
    assert str(error.value) == f"{file}: node {message}"


def edited(tmp_path, edit):
    maker = Maker(1, 8)
    change()(maker)
    model = maker.model()
    edit(model)
    file = tmp_path / "a.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def external(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def hidden_external(model):
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "weights.bin"


def three_numbers(model):
    model.graph.initializer[3].ClearField("raw_data")
    model.graph.initializer[3].float_data[:] = [0, 1, -1]


#: Changes of a good file, and what is said of the file.
WRONG_FILES = {
    "external": (
        external,
        "the initializer 'constant_0' must be stored in the file itself, not in another file; save "
        "the network without external data",
    ),
    "external data that is not declared": (
        hidden_external,
        "the initializer 'constant_0' must be stored in the file itself, not in another file; save "
        "the network without external data",
    ),
    "too little data": (
        lambda model: model.graph.initializer[3].dims.append(2**40),
        "the initializer 'constant_3' is damaged: cannot reshape array of size 40 into shape "
        "(5,8,1099511627776); export the network again",
    ),
    "double": (
        lambda model: setattr(model.graph.initializer[0], "data_type", TensorProto.DOUBLE),
        "the initializer 'constant_0' must have the type FLOAT or INT64, not DOUBLE; export the "
        "network in float32",
    ),
    "unknown type": (
        lambda model: setattr(model.graph.initializer[0], "data_type", 99),
        "the initializer 'constant_0' must have the type FLOAT or INT64, not the number 99; export "
        "the network in float32",
    ),
    "not finite": (
        lambda model: setattr(model.graph.initializer[0], "raw_data", np.float32("inf").tobytes()),
        "the initializer 'constant_0' must be finite, not inf at []; the file is damaged, or was "
        "written after an overflow",
    ),
    "twice": (
        lambda model: model.graph.initializer.append(model.graph.initializer[0]),
        "every initializer must have its own name, not 'constant_0' twice",
    ),
    "computed twice": (
        lambda model: model.graph.node.append(model.graph.node[0]),
        "node quant_0 of type Quant: its output 'quant_0_out' must be computed once, but another "
        "node or initializer has this name; export the network again",
    ),
    "functions": (
        lambda model: model.functions.add(name="Relu"),
        "an ONNX file with functions of its own is not read; export the network without them",
    ),
    "old operators": (
        lambda model: setattr(model.opset_import[0], "version", 7),
        "the version of the operators (opset) must be stated once, from 9 to 26, not 7; export the "
        "network with such a version",
    ),
    "operators of no version": (
        lambda model: model.ClearField("opset_import"),
        "the version of the operators (opset) must be stated once, from 9 to 26, not no version; "
        "export the network with such a version",
    ),
    "operators of two versions": (
        lambda model: model.opset_import.add(version=19),
        "the version of the operators (opset) must be stated once, from 9 to 26, not 20 and 19; "
        "export the network with such a version",
    ),
    "negative size": (
        lambda model: model.graph.initializer[3].dims.__setitem__(0, -1),
        "the initializer 'constant_3' is damaged: its sizes must be 0 or more, not [-1, 8]; export "
        "the network again",
    ),
    "too few numbers": (
        three_numbers,
        "the initializer 'constant_3' is damaged: cannot reshape array of size 3 into shape (5,8); "
        "export the network again",
    ),
    "two outputs": (
        lambda model: model.graph.output.append(
            helper.make_tensor_value_info("quant_0_out", TensorProto.FLOAT, [1, 8])
        ),
        "the graph must have one output, not 2 (gemm_2_out, quant_0_out); export a network of one "
        "output",
    ),
    "open sizes": (
        lambda model: model.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_value"),
        "the input 'input' must have a first axis for the input vectors, and stated sizes of the "
        "others, not the shape (1, None); export the network with an input of such a shape",
    ),
    "no path": (
        lambda model: setattr(model.graph.output[0], "name", "elsewhere"),
        "no node computes the output 'elsewhere' from 'gemm_2_out'; export the network again",
    ),
    "no nodes": (
        lambda model: model.graph.ClearField("node"),
        "must be an ONNX file: it has no graph; export the network again",
    ),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_wrong_files(tmp_path, case):
    edit, message = WRONG_FILES[case]
    file = edited(tmp_path, edit)
    with pytest.raises(CheckpointError) as error:
        QonnxNetwork.load(file)
    assert str(error.value).partition("; it begins with")[0] == f"{file}: {message}"


def test_only_products_are_run(tmp_path):
    maker = Maker(1, 8)
    maker.node("Relu")
    file = maker.write(tmp_path / "a.onnx")
    with pytest.raises(CheckpointError) as error:
        QonnxNetwork.load(file)
    assert str(error.value) == (
        f"{file}: the network must have a product with ternary or binary weights (MatMul or Gemm); "
        "name another file"
    )


def test_the_package_is_missing(tmp_path, monkeypatch):
    file = edited(tmp_path, lambda model: None)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(CheckpointError) as error:
        read_onnx(file)
    start, _, end = str(error.value).partition(": run ")
    assert start == f"{file}: the package onnx, which reads ONNX files, is not installed"
    assert end.endswith(" -m pip install 'trilith[qonnx]'")


def npy(tmp_path, array):
    file = tmp_path / "x.npy"
    with file.open("wb") as opened:
        np.save(opened, array)
    return file


def test_inputs_of_any_number_type(tmp_path):
    for kind in (np.uint8, np.int64, np.float64, np.float16, bool):
        x = read_inputs(npy(tmp_path, np.ones((3, 2, 4), kind)), (2, 4))
        assert (x.shape, x.dtype) == ((3, 2, 4), np.float32)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((3, 5)), "must have the shape (T, 4) of T inputs, not (3, 5); reshape it"),
        (np.ones(4), "must have the shape (T, 4) of T inputs, not (4,); reshape it"),
        (np.ones((0, 4)), "must have the shape (T, 4) of T inputs, not (0, 4); reshape it"),
        (np.full((1, 4), "a"), "must have integers or floats, not <U1"),
        (
            np.full((1, 4), np.nan),
            "the inputs in float32 must be finite, not nan at [0, 0]; the file is damaged, or was "
            "written after an overflow",
        ),
    ],
)
def test_wrong_inputs(tmp_path, array, message):
    file = npy(tmp_path, array)
    with pytest.raises(CheckpointError) as error:
        read_inputs(file, (4,))
    assert str(error.value) == f"{file}: {message}"


def test_inputs_that_state_more_than_they_have(tmp_path):
    file = npy(tmp_path, np.ones((3, 4), np.float32))
    file.write_bytes(file.read_bytes().replace(b"(3, 4)", b"(9**9,4)"[:6] + b""))
    with pytest.raises(CheckpointError, match="must be a NumPy file"):
        read_inputs(file, (4,))
    big = npy(tmp_path, np.ones((3, 4), np.float32))
    big.write_bytes(big.read_bytes().replace(b"(3, 4), }     ", b"(3000000, 4), "))
    with pytest.raises(CheckpointError, match="must be a NumPy file"):
        read_inputs(big, (4,))


def test_a_product_reads_what_onnx_itself_reads(tmp_path):
    file = edited(tmp_path, lambda model: None)
    graph = read_onnx(file)
    assert [node.op for node in graph.nodes] == [n.op_type for n in onnx.load(file).graph.node]
    assert (graph.input, graph.shape, graph.output) == ("input", (1, 8), "gemm_2_out")


def test_names_that_are_no_text(tmp_path):
    file = edited(tmp_path, lambda model: None)
    file.write_bytes(file.read_bytes().replace(b"gemm_2", b"gemm\xff2"))
    (layer,) = QonnxNetwork.load(file).layers
    assert layer.node == "gemm\ufffd2"

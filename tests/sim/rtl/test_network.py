import pytest

pytest.importorskip("qonnx", reason="qonnx is in the extras test and qonnx")

import numpy as np
from qonnx_files import Maker, digits_network, execute

from trilith.golden.errors import CheckpointError
from trilith.golden.network.mlp import load_digits
from trilith.golden.network.qonnx import QonnxNetwork
from trilith.hw import PRESETS
from trilith.sim.rtl.network import network_config, run_network
from trilith.sim.rtl.suite import SWEEP_CONFIGS

#: Engines of the sweep by their width of activations, so that the builds are shared.
EIGHT, FOUR, BINARY, TWO = (SWEEP_CONFIGS[place] for place in (0, 3, 4, 5))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_trained_digits_in_rtl_equal_the_execution_by_qonnx(tmp_path, bits):
    images, _ = load_digits()
    x = images[240:300].astype(np.float32)
    file = digits_network(tmp_path / "digits.onnx", bits)
    run = run_network(QonnxNetwork.load(file), x, EIGHT)
    shapes = [(case.name, case.shape, case.passed) for case in run.cases]
    assert shapes == [("gemm_3", "32x64x60", True), ("gemm_7", "10x32x60", True)]
    _, reference = execute(file, x)
    np.testing.assert_allclose(run.outputs, reference, rtol=0, atol=1e-5 * abs(reference).max())
    assert np.array_equal(run.outputs.argmax(axis=1), reference.argmax(axis=1))


@pytest.mark.long  # Engines that only make sim builds.
@pytest.mark.parametrize(("config", "bits"), [(FOUR, 4), (FOUR, 2), (TWO, 2), (BINARY, 8)])
def test_narrow_activations_and_binary_weights_in_rtl(tmp_path, config, bits):
    rng = np.random.default_rng(0)
    maker = Maker(1, 50)
    maker.quant(0.5, bits, narrow=1)
    if config is BINARY:
        maker.node("MatMul", maker.bipolar(0.25, weights=rng.normal(0, 1, (50, 20))))
    else:
        maker.node("MatMul", rng.integers(-1, 2, (50, 20)).astype(float))
    file = maker.write(tmp_path / "a.onnx")
    assert QonnxNetwork.load(file).act_bits == bits
    x = rng.normal(0, 2, (5, 50)).astype(np.float32)
    run = run_network(QonnxNetwork.load(file), x, config)
    assert [case.passed for case in run.cases] == [True]
    assert np.array_equal(run.outputs, execute(file, x)[1])


def test_the_network_decides_the_width_and_the_sizes(tmp_path):
    maker = Maker(1, 7000)
    maker.quant(0.5, 4)
    maker.node("MatMul", np.ones((7000, 3)))
    file = maker.write(tmp_path / "a.onnx")
    network = QonnxNetwork.load(file)
    config = network_config(network, PRESETS["block"], {"lanes": 40})
    assert (config.lanes, config.act_bits, config.k_max, config.n_max) == (40, 4, 7000, 6912)
    for given, message in (
        ({"act_bits": 2}, "act_bits must be 4 or more for this network, not 2; give --act-bits 4"),
        ({"k_max": 9}, "k_max must be 7000 or more for this network, not 9; give --k-max 7000"),
    ):
        with pytest.raises(CheckpointError) as error:
            network_config(network, PRESETS["block"], given)
        assert str(error.value) == f"{file}: {message}, or leave it out"


def test_a_code_without_zeros(tmp_path):
    maker = Maker(1, 8)
    maker.quant(0.5, 4)
    maker.node("MatMul", np.eye(8))
    file = maker.write(tmp_path / "a.onnx")
    for code, rule in (
        ("binary", "code 'binary' holds -1 and +1 only, not 0 at [0, 1]"),
        (
            "sherry",
            "code 'sherry' must have exactly one zero in each 4 trits of a row, not 3 at [0, 0]",
        ),
    ):
        with pytest.raises(CheckpointError) as error:
            network_config(QonnxNetwork.load(file), PRESETS["block"], {"code": code})
        assert str(error.value) == f"{file}: node matmul_1: {rule}; give another --code"

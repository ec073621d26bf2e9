import json
import re

import pytest

pytest.importorskip("qonnx", reason="qonnx is in the extras test and qonnx")

import numpy as np
from qonnx_files import Maker, digits_network, execute

from trilith.golden.network.mlp import load_digits

#: Options of the first engine of the sweep, so that the build is shared.
ENGINE = ["--preset", "micro", "--lanes", "7", "--rows", "2", "--k-max", "100", "--n-max", "64"]


@pytest.fixture
def digits(tmp_path):
    """A network and its inputs."""
    file = digits_network(tmp_path / "digits.onnx", 4)
    images, _ = load_digits()
    np.save(tmp_path / "images.npy", images[:9])
    return file, tmp_path / "images.npy"


def test_a_network_runs_on_the_engine(trilith, digits, tmp_path):
    file, images = digits
    out = tmp_path / "logits.npy"
    arguments = ["sim", "--network", file, "--inputs", images, *ENGINE]
    done = trilith(*arguments, "--out", out)
    assert done.returncode == 0, done.stderr
    first, second, last = done.stdout.splitlines()[-3:]
    assert first.startswith("PASS    network: gemm_3")
    assert second.startswith("PASS    network: gemm_7")
    assert last == "2 passed, 0 failed"
    _, reference = execute(file, np.load(images).astype(np.float32))
    np.testing.assert_allclose(np.load(out), reference, rtol=0, atol=1e-4)
    done = trilith(*arguments, "--json")
    found = json.loads(done.stdout)
    assert (found["passed"], found["failed"], found["inputs"]) == (2, 0, 9)
    assert [case["shape"] for case in found["cases"]] == ["32x64x9", "10x32x9"]


def test_refused_networks_and_inputs(trilith, refused, digits, tmp_path):
    file, images = digits
    refused(trilith("sim", "--network", file), "--inputs is missing: give the inputs of --network")
    maker = Maker(1, 64)
    maker.node("Softmax")
    other = maker.write(tmp_path / "other.onnx")
    refused(
        trilith("sim", "--network", other, "--inputs", images),
        f"{other}: node softmax_0 of type Softmax: this type is not read; use Quant",
    )
    np.save(images, np.ones((2, 63)))
    refused(
        trilith("sim", "--network", file, "--inputs", images),
        f"{images}: must have the shape (T, 64) of T inputs, not (2, 63); reshape it",
    )
    np.save(images, np.ones((2, 64)))
    refused(
        trilith("sim", "--network", file, "--inputs", images, "--out", images, "--force"),
        f"{images}: must not be the input {images}",
    )
    refused(
        trilith("sim", "--network", file, "--inputs", images, "--lanes", "3"),
        "lanes must be from 5 to 320, not 3",
    )


def test_a_network_is_inspected(trilith, refused, digits):
    file, _ = digits
    done = trilith("model", "inspect", file)
    assert done.returncode == 0, done.stderr
    for line in (
        r"container +ONNX",
        r"input +T x 64",
        r"needs +Div, Relu, Gemm \(bias\)",
        r"engine +yes, with 8-bit activations: trilith sim --network",
        r"gemm_3 +32 x 64 +ternary +32 +[\d.]+% +-128 to 127 +8 +0",
        r"gemm_7 +10 x 32 +ternary +10 +[\d.]+% +0 to 15 +4 +8",
    ):
        assert re.search(line, done.stdout), line
    found = json.loads(trilith("model", "inspect", file, "--json").stdout)
    assert (found["container"], found["needs"]) == ("ONNX", ["Div", "Relu", "Gemm (bias)"])
    assert [row["activations"] for row in found["tensors"]] == [[-128, 127], [0, 15]]
    # The name does not matter.
    other = file.rename(file.with_suffix(".model"))
    assert trilith("model", "inspect", other).stdout == done.stdout
    refused(
        trilith("model", "inspect", other, "--quantize", "absmean"),
        f"{other}: --quantize is for checkpoints; leave it out",
    )


def test_the_matrices_are_converted_to_streams_only(trilith, refused, digits, tmp_path):
    file, _ = digits
    out = tmp_path / "out"
    for to in ("huggingface", "mlx", "tq1_0", "i2_s"):
        refused(
            trilith("model", "convert", file, out, "--to", to),
            f"{file}: streams hold the matrices of a network in QONNX, and no format holds its "
            "other operators; give --to stream",
        )
    assert not out.exists()
    done = trilith("model", "convert", file, out, "--to", "stream", "--preset", "micro")
    assert done.returncode == 0, done.stderr
    done = trilith("model", "verify", out, file)
    assert done.stdout.startswith("2 matrices compared and equal: 2368 trits and 42 scales")
    refused(
        trilith("generate", "--model", file, "--prompt", "a"),
        f"{file}: must be a safetensors or GGUF file, not an ONNX file; 'trilith sim --network' "
        "runs networks in QONNX",
    )

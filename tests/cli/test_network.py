import json

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
    refused(
        trilith("sim", "--network", file, "--inputs", images, "--out", images, "--force"),
        f"{images}: must not be the input {images}",
    )
    refused(
        trilith("sim", "--network", file, "--inputs", images, "--lanes", "3"),
        "lanes must be from 5 to 320, not 3",
    )

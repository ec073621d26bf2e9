import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trilith.golden import CODES, BitNetMLP, CheckpointError
from trilith.golden.data import DIGITS, SHERRY_DIGITS
from trilith.golden.errors import ActivationError
from trilith.golden.network.mlp import load_digits


def accuracy(network):
    images, labels = load_digits()
    return int((network.forward(images).argmax(axis=1) == labels).sum()), len(labels)


def test_digits_are_classified():
    # Trained, counted and stored by trilith.golden.training.digits; its README has these figures.
    assert accuracy(BitNetMLP.load()) == (356, 360)
    assert accuracy(BitNetMLP.load(SHERRY_DIGITS)) == (356, 360)
    assert accuracy(BitNetMLP.load_float()) == (360, 360)


def test_each_four_weights_of_the_sherry_network_have_one_zero():
    for layer in BitNetMLP.load(SHERRY_DIGITS).layers:
        trits = layer.weight.trits
        assert ((trits.reshape(len(trits), -1, 4) == 0).sum(axis=2) == 1).all()
        assert CODES["sherry"].pack(trits).size == trits.size * 5 // 32


def test_layers_are_what_the_config_says():
    network = BitNetMLP.load()
    assert [layer.weight.shape for layer in network.layers] == [(256, 64), (256, 256), (10, 256)]
    assert all(np.isin(layer.weight.trits, (-1, 0, 1)).all() for layer in network.layers)


def test_overflows_name_the_layer():
    network = BitNetMLP.load()
    images = load_digits()[0][:3]
    gains = (network.gains[0], np.full_like(network.gains[1], 3e38), network.gains[2])
    message = re.escape("layer 1: the inputs of layers.1 must be finite in float32, not inf for ")
    with pytest.raises(ActivationError, match=f"^{message}"):
        replace(network, gains=gains).forward(images)
    with pytest.raises(ActivationError, match=r"^layer 0: the squares of a norm's inputs must be "):
        replace(network, input_scale=1e30).forward(images)


def test_a_folder_that_is_something_else(tmp_path):
    with pytest.raises(CheckpointError, match=r"must be a folder with model\.safetensors or "):
        BitNetMLP.load(tmp_path)
    with pytest.raises(CheckpointError, match=r"config\.json: .* can be read: No such file"):
        BitNetMLP.load_float(tmp_path)
    shutil.copy(DIGITS / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match=r"must be a safetensors file or a folder with"):
        BitNetMLP.load_float(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"layer_sizes": 3},
            "config's layer_sizes must be a list of the sizes between layers, not 3",
        ),
        (
            {"layer_sizes": [64, 256, True, 10]},
            "config's layer_sizes must be a list of the sizes between layers, not "
            "[64, 256, True, 10]",
        ),
        (
            {"layer_sizes": [64, 256, 255, 10]},
            "layers.2.weight must be packed with shape (3, 255) for the 10 x 255 of "
            "config.json, not (3, 256)",
        ),
        (
            {"layer_sizes": [64, 256, 256]},
            "no layer of the model reads layers.2.weight, layers.2.norm.weight; results without "
            "them would be wrong, so take the files and the config.json of one model",
        ),
        (
            {"input_scale": None},
            "config's input_scale is missing; take the model's own config.json",
        ),
        ({"rms_norm_eps": "x"}, "config's rms_norm_eps must be a number from 0 to 1, not 'x'"),
    ],
)
def test_a_configuration_that_is_something_else(tmp_path, change, message):
    shutil.copy(DIGITS / "model.safetensors", tmp_path)
    config = json.loads((DIGITS / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match=f"^{re.escape(f'{tmp_path}: {message}')}$"):
        BitNetMLP.load(tmp_path)


@pytest.mark.parametrize(
    ("gain", "message"),
    [
        (
            np.ones(63, np.float32),
            ": layers.0.norm.weight must have the shape (64,) of config's layer_sizes, not (63,)",
        ),
        (
            np.full(64, np.inf, np.float16),
            "/model.safetensors: layers.0.norm.weight must be finite, not inf at [0]; the file is "
            "damaged, or was written after an overflow",
        ),
    ],
)
def test_a_norm_that_does_not_fit(tmp_path, gain, message):
    shutil.copy(DIGITS / "config.json", tmp_path)
    tensors = load_file(DIGITS / "model.safetensors") | {"layers.0.norm.weight": gain}
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"^{re.escape(f'{tmp_path}{message}')}$"):
        BitNetMLP.load(tmp_path)


def test_a_float_twin_that_does_not_fit(tmp_path):
    shutil.copy(DIGITS / "config.json", tmp_path)
    file = tmp_path / "float.safetensors"
    tensors = load_file(DIGITS / "float.safetensors")
    save_file(tensors | {"float.layers.1.weight": np.ones((2, 2), np.float32)}, file)
    message = (
        f"{file}: float.layers.1.weight must have the shape (256, 256) of config's layer_sizes, "
        "not (2, 2)"
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        BitNetMLP.load_float(tmp_path)

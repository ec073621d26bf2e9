import shutil

import numpy as np
import pytest

from trilith.golden import BitNetMLP, CheckpointError
from trilith.golden.data import DIGITS
from trilith.golden.network.mlp import load_digits


def accuracy(network):
    images, labels = load_digits()
    return int((network.forward(images).argmax(axis=1) == labels).sum()), len(labels)


def test_digits_are_classified():
    # Trained, counted and stored by trilith.golden.training.digits; its README has these figures.
    assert accuracy(BitNetMLP.load()) == (356, 360)
    assert accuracy(BitNetMLP.load_float()) == (360, 360)


def test_layers_are_what_the_config_says():
    network = BitNetMLP.load()
    assert [layer.weight.shape for layer in network.layers] == [(256, 64), (256, 256), (10, 256)]
    assert all(np.isin(layer.weight.trits, (-1, 0, 1)).all() for layer in network.layers)


def test_a_folder_that_is_something_else(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json: must describe a BitNet MLP: "):
        BitNetMLP.load(tmp_path)
    shutil.copy(DIGITS / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match=r"must be a safetensors file or a folder with"):
        BitNetMLP.load(tmp_path)

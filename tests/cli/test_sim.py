import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from trilith.golden.network.bitnet_2b4t import CONFIG


def test_sim_of_the_digits(command):
    done = command("sim", "--part", "digits")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "6 passed, 0 failed"
    assert "356 of 360 right (98.89%); trained in float: 360 (100.00%)" in lines[-2]
    cases = json.loads(command("sim", "--part", "digits", "--json").stdout)
    assert (cases["passed"], cases["failed"]) == (6, 0)
    # The ternary network, and the one for the code sherry.
    shapes = ["256x64x360", "256x256x360", "10x256x360"]
    assert [case["shape"] for case in cases["cases"]] == 2 * shapes


def test_unknown_part(command, refused):
    message = "--part must be sweep, digits, language, bitnet, axi or core, not 'all'"
    refused(command("sim", "--part", "all"), message)


def test_part_and_checkpoint(command, refused):
    refused(
        command("sim", "--part", "digits", "--checkpoint", "x"),
        "--part must not be given with --checkpoint, which does not use it",
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "checkpoint, not an empty file; download or write it again"),
        (b"not safetensors at all", "safetensors or GGUF file: it has neither's first bytes"),
        (None, "checkpoint that can be read: No such file or directory"),
    ],
)
def test_unreadable_checkpoint(command, refused, tmp_path, content, what):
    file = tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    if content is not None:
        file.write_bytes(content)
    refused(command("sim", "--checkpoint", file), f"trilith: {file}: must be a {what}")


def test_checkpoint_of_something_else(command, refused, tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": np.zeros(1, np.float32)}, file)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    refused(
        command("sim", "--checkpoint", file),
        f"trilith: {file}: must have linear layers named model.layers.0.self_attn.q_proj.weight",
    )


def test_layer_out_of_range(command, refused):
    message = "--layer must be from 0 to 29, not 30"
    refused(command("sim", "--checkpoint", "x", "--layer", "30"), message)


def test_a_layout_without_a_checkpoint(command, refused):
    refused(
        command("sim", "--i2s-layout", "block64"),
        "--i2s-layout must not be given without --checkpoint, which it is for",
    )

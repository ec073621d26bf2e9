"""The choice of a reader: folders, files beside their configuration, shards."""

import json
import re
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trilith.golden import (
    CheckpointError,
    load_checkpoint,
)

Q = "model.layers.0.self_attn.q_proj"


def refuses(message, path, **options):
    with pytest.raises(CheckpointError) as refusal:
        list(load_checkpoint(path, **options).ternary.values())
    assert str(refusal.value) == message.replace("FOLDER", str(path))


def test_a_file_beside_its_config(tiny):
    folder, trits, _ = tiny()
    file = folder / "model.safetensors"
    np.testing.assert_array_equal(load_checkpoint(file).ternary[Q].trits, trits[Q])
    (folder / "config.json").unlink()
    refuses(
        "FOLDER: config.json, which has the meaning of the scales, is missing beside it; copy it "
        "there, or name the folder",
        file,
    )
    refuses(
        "FOLDER: config.json, which has the meaning of the scales, is missing; take the model's "
        "own",
        folder,
    )


def test_shards(tiny):
    folder, trits, _ = tiny()
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for index, name in enumerate(tensors):
        shard = f"model-0000{index % 2 + 1}-of-00002.safetensors"
        weight_map[name] = shard
    for shard in set(weight_map.values()):
        save_file({n: x for n, x in tensors.items() if weight_map[n] == shard}, folder / shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    checkpoint = load_checkpoint(folder)
    for name, expected in trits.items():
        np.testing.assert_array_equal(checkpoint.ternary[name].trits, expected)
    index.write_text(json.dumps({"weight_map": weight_map | {"x": "../other.safetensors"}}))
    refuses(
        f"{index}: weight_map must name safetensors files in its own folder, not "
        "'../other.safetensors' for 'x'",
        folder,
    )
    index.write_text(json.dumps({"weight_map": []}))
    refuses(f"{index}: must have an object weight_map of tensors and files", folder)
    index.write_text(json.dumps({"weight_map": weight_map}))
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        CheckpointError,
        match=r"00002\.safetensors: .* can be read: No such file",
    ):
        load_checkpoint(folder)
    shutil.copy(
        folder / "model-00001-of-00002.safetensors", folder / "model-00002-of-00002.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"one file, and .*00001-of.* has it too; take "):
        load_checkpoint(folder)


def test_paths_that_are_no_checkpoint(tmp_path, tiny):
    refuses(
        "FOLDER: must be a checkpoint that can be read: No such file or directory",
        tmp_path / "none",
    )
    refuses(
        "FOLDER: must be a folder with model.safetensors or model.safetensors.index.json; found "
        "neither",
        tmp_path,
    )
    (tmp_path / "ggml-model.gguf").touch()
    refuses(
        "FOLDER: must be a folder with model.safetensors or model.safetensors.index.json; found "
        "ggml-model.gguf; name that file itself",
        tmp_path,
    )
    pickle = tmp_path / "pytorch_model.bin"
    pickle.write_bytes(b"PK\3\4" + bytes(26) + b"archive/data.pkl")
    refuses(
        "FOLDER: must be a safetensors or GGUF file, not a pickle, which can run code when it is "
        "read; convert it with save_pretrained(safe_serialization=True)",
        pickle,
    )
    folder, _, _ = tiny()
    config = folder / "config.json"
    for text, rule in (
        ("{", "must be JSON: "),
        ("[" * 100_000, "must have fewer lists or objects inside another"),
        ("[]", "must hold an object, not a list"),
        ('{"a": ' + "9" * 10_000 + "}", "must be JSON: "),
    ):
        config.write_text(text)
        with pytest.raises(CheckpointError, match=f"^{re.escape(f'{config}: {rule}')}"):
            load_checkpoint(folder)
    config.write_text("{}")
    save_file({"wte.weight": np.ones(3, np.float32)}, folder / "model.safetensors")
    refuses(
        "FOLDER: must have linear layers named model.layers.0.self_attn.q_proj.weight and so on, "
        "or packed uint8 weights; found 1 tensors, such as 'wte.weight'",
        folder,
    )


def edit_config(folder, **changes):
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: x for key, x in config.items() if x is not None}))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"quantization_config": None},
            f"FOLDER: {Q}.weight is packed, and config's quantization_config is missing; take the "
            "config.json that belongs to these weights",
        ),
        (
            {"quantization_config": {"quant_method": "gptq"}},
            "FOLDER: quantization_config's quant_method must be 'bitnet', not 'gptq'; this "
            "quantization is not known here",
        ),
        (
            {"quantization_config": {"quant_method": "bitnet", "linear_class": ["x"]}},
            "FOLDER: quantization_config's linear_class must be 'bitlinear' or 'autobitlinear', "
            "not ['x']",
        ),
        (
            {
                "quantization_config": {
                    "quant_method": "bitnet",
                    "linear_class": "autobitlinear",
                    "quantization_mode": "online",
                }
            },
            f"FOLDER: {Q}.weight is packed, so quantization_config's quantization_mode must be "
            "'offline', not 'online'; the config belongs to the float weights",
        ),
        (
            {"hidden_size": "256"},
            "FOLDER: config's hidden_size must be an integer from 1 to 1048576, not '256'",
        ),
        (
            {"intermediate_size": True},
            "FOLDER: config's intermediate_size must be an integer from 1 to 4194304, not True",
        ),
        (
            {"num_key_value_heads": 3},
            "FOLDER: config's num_key_value_heads must be a divisor of num_attention_heads = 4, "
            "not 3",
        ),
        (
            {"hidden_size": 258},
            "FOLDER: config's hidden_size must be a multiple of num_attention_heads = 4, not 258",
        ),
        (
            {"num_hidden_layers": 2},
            "FOLDER: the tensor 'model.layers.1.self_attn.q_proj.weight' is missing; config's "
            "num_hidden_layers is 2, and 7 of 14 linear layers are missing",
        ),
        (
            {"num_hidden_layers": 10**9},
            "FOLDER: config's num_hidden_layers must be an integer from 1 to 10000, not 1000000000",
        ),
        (
            {"head_dim": 32},
            f"FOLDER: {Q}.weight must be packed with shape (32, 256) for the 128 x 256 of "
            "config.json, not (64, 256)",
        ),
    ],
)
def test_wrong_configurations(tiny, config, message):
    folder, _, _ = tiny()
    edit_config(folder, **config)
    refuses(message, folder)


def test_a_single_file_goes_before_an_index(tiny):
    # As in transformers: save_pretrained may leave the index of earlier, larger shards behind.
    folder, trits, _ = tiny(seed=1)
    stale, _, _ = tiny("stale", seed=2)
    (stale / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    weight_map = dict.fromkeys(
        load_file(folder / "model.safetensors"), "model-00001-of-00001.safetensors"
    )
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    checkpoint = load_checkpoint(folder)
    for name, expected in trits.items():
        np.testing.assert_array_equal(checkpoint.ternary[name].trits, expected)

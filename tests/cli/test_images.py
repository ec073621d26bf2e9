"""``trilith model compile``, and what ``trilith model`` says of the images that it writes."""

import json
import shutil
from dataclasses import replace

import pytest
from safetensors.numpy import load_file, save_file

from trilith.golden.data import PYDOC
from trilith.golden.network.token_core import CoreModel
from trilith.golden.network.transformer import BitNetModel
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.image import compile_image, core_for
from trilith.hw.token.image_file import read_image, write_image


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """An image of the model in the repository."""
    model = CoreModel(model=BitNetModel.load(PYDOC))
    file = tmp_path_factory.mktemp("image") / "pydoc.image"
    write_image(compile_image(model, core_for(model.config), name="pydoc"), file)
    return file


def test_compile_writes_an_image_and_its_listing(trilith, compiled, tmp_path):
    file = tmp_path / "new" / "pydoc.image"
    done = trilith("model", "compile", PYDOC, "--out", file, "--json")
    assert json.loads(done.stdout) == {
        "image": str(file),
        "listing": f"{file}.txt",
        "instructions": 38,
        "memory_bytes": 556_416,
        "weight_beats": 3_744,
        "weight_bytes": 239_616,
    }
    mine, other = read_image(file), read_image(compiled)
    assert (mine.program, mine.model_digest) == (other.program, other.model_digest)
    assert (mine.memory == other.memory).all()
    assert sorted(one.name for one in file.parent.iterdir()) == ["pydoc.image", "pydoc.image.txt"]


def test_compile_for_a_core_that_is_exported(trilith, refused, tmp_path):
    file = tmp_path / "pydoc.image"
    core = ("--core", "pydoc", "--context-max", "512", "--lanes", "40")
    done = trilith("model", "compile", PYDOC, *core, "--out", file)
    assert done.returncode == 0, done.stderr
    pydoc = CORE_PRESETS["pydoc"]
    assert read_image(file).config == replace(
        pydoc, context_max=512, engine=replace(pydoc.engine, lanes=40)
    )
    refused(
        trilith("model", "compile", PYDOC, "--core", "small", "--out", tmp_path / "small"),
        "the model is too large for this token core: its hidden must be at most 64, not 256; its "
        "ffn must be at most 96, not 256; its head_size must be at most 24, not 64; its context "
        "must be at most 32, not 256; its vocabulary must be at most 160, not 1024\n",
    )
    assert not (tmp_path / "small").exists()


def test_inspect_tells_what_an_image_is(trilith, compiled):
    lines = trilith("model", "inspect", compiled).stdout.splitlines()
    assert lines[:2] == ["format        image of the token core", "model         pydoc"]
    assert lines[3] == (
        "core          64x5x1 base3, 4 vector lanes, 64 attention lanes, 512 bits of memory"
    )
    assert "activation  relu2" in lines
    found = json.loads(trilith("model", "inspect", compiled, "--json").stdout)
    assert found["path"] == str(compiled)
    assert (found["instructions"], found["weight_bytes"]) == (38, 239_616)
    assert found["sizes"]["layers"] == 3
    assert found["config"]["engine"]["lanes"] == 64


def test_a_damaged_image_is_refused(trilith, refused, compiled, tmp_path):
    file, content = tmp_path / "a", bytearray(compiled.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    refused(
        trilith("model", "inspect", file),
        f"{file}: the content must have the digest that the file says; it is damaged; compile it "
        f"again: 'trilith model compile MODEL --out {file} --force'\n",
    )
    refused(
        trilith("model", "inspect", compiled, "--quantize", "absmean"),
        f"{compiled}: --quantize is for checkpoints; leave it out\n",
    )


def scale(folder):
    """Make one scale of a model too small for the core."""
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight_scale"][:] = 1e-39
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("command", ["compile", "generate"])
@pytest.mark.parametrize(
    ("sizes", "change", "message"),
    [
        (
            {"max_position_embeddings": 131_072},
            None,
            "no token core can run the model: its context must be at most 65536, not 131072",
        ),
        (
            {"num_attention_heads": 300, "num_key_value_heads": 300, "head_dim": 2},
            None,
            "no token core can run the model: its heads must be at most 256, not 300; its kv_heads "
            "must be at most 256, not 300",
        ),
        (
            {"head_dim": 23},
            None,
            "{}: config's head_dim must be even, not 23; BitNetModel computes nothing else",
        ),
        (
            {"num_key_value_heads": 3},
            None,
            "{}: config's num_key_value_heads must be a divisor of num_attention_heads = 4, not 3",
        ),
        (
            {"head_dim": 12},
            None,
            "the model's head_size must be a multiple of twice the vector lanes, 8, not 12",
        ),
        (
            {},
            scale,
            "scales of model.layers.1.mlp.up_proj: must be from 2^-126 to 3.4e+38, the number "
            "format of the core, not 1e-39",
        ),
        (
            {"rms_norm_eps": 1e-40},
            None,
            "rms_norm_eps: must be from 2^-126 to 3.4e+38, the number format of the core, not "
            "1e-40",
        ),
    ],
)
def test_models_that_no_core_runs(trilith, random_model, tmp_path, command, sizes, change, message):
    folder, out = random_model(vocab_size=1024, **sizes), tmp_path / "new" / "image"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(PYDOC / name, folder)
    if change is not None:
        change(folder)
    arguments = {
        "compile": ("model", "compile", folder, "--out", out),
        "generate": ("generate", "--backend", "core", "--model", folder),
    }
    done = trilith(*arguments[command])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"trilith: {message.format(folder)}\n"
    assert not out.parent.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("model", "convert", "IMAGE", "new.gguf", "--to", "i2_s"),
        ("model", "verify", "IMAGE", "IMAGE"),
        ("model", "compile", "IMAGE", "--out", "new"),
        ("generate", "--model", "IMAGE"),
        ("sim", "--checkpoint", "IMAGE"),
    ],
)
def test_an_image_is_no_checkpoint(trilith, refused, compiled, arguments):
    arguments = [compiled if one == "IMAGE" else one for one in arguments]
    refused(
        trilith(*arguments),
        f"{compiled}: must be a checkpoint, not an image of the token core; name the model that it "
        "was compiled from\n",
    )

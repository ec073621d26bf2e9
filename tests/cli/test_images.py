"""``trilith model compile``, and what ``trilith model`` says of the images that it writes."""

import json

import pytest

from trilith.golden.data import PYDOC
from trilith.golden.network.token_core import CoreModel
from trilith.golden.network.transformer import BitNetModel
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
        f"{compiled}: --quantize and --i2s-layout are for checkpoints; leave them out\n",
    )


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

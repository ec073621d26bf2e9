"""Images of models for the token core."""

import json

import pytest
from safetensors import safe_open

from trilith.golden.data import PYDOC
from trilith.golden.errors import OutputError
from trilith.golden.network.token_core import CoreModel
from trilith.golden.network.transformer import BitNetModel
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.image import compile_image, core_for, write_image
from trilith.hw.token.program import FIELDS, INSTRUCTION_BYTES, Op, encode


def test_an_image_is_a_file_with_a_listing(tmp_path):
    model = CoreModel(model=BitNetModel.load(PYDOC))
    config = core_for(model.config)
    assert config == CORE_PRESETS["pydoc"]
    image = compile_image(model, config)
    file = tmp_path / "pydoc.image"
    listing = write_image(image, file)
    lines = listing.read_text().splitlines()
    assert len(lines) == 3 + 11 * 3 + 2
    assert lines[3].split()[:4] == ["3", "PRODUCT", "load", "gained"]
    with safe_open(file, "np") as opened:
        metadata = opened.metadata()
        assert opened.get_tensor("memory").tobytes() == image.memory.tobytes()
        assert opened.get_tensor("weights").shape == (3744, 64)
    assert metadata["format"] == "trilith token core image"
    assert int(metadata["program_words"]) * 64 == len(lines) * INSTRUCTION_BYTES
    assert json.loads(metadata["config"])["hidden_max"] == 256
    with pytest.raises(OutputError, match="exists already"):
        write_image(image, file)


def test_instructions_have_exactly_their_fields():
    fields = dict.fromkeys(FIELDS[Op.ANGLES], 7)
    code = encode(Op.ANGLES, {"load": True}, fields)
    assert code.hex() == "02010000" + "07000000" * 2 + "00" * (INSTRUCTION_BYTES - 12)
    for flags, wrong in (({}, {}), ({"jump": True}, fields), ({}, fields | {"more": 1})):
        with pytest.raises(ValueError, match=r"^ANGLES must have the fields "):
            encode(Op.ANGLES, flags, wrong)
    with pytest.raises(ValueError, match=r"^fields of ANGLES must be from 0 to 2³² − 1"):
        encode(Op.ANGLES, {}, fields | {"words": 2**32})

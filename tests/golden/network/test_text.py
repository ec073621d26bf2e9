"""Bits per byte of the stored model."""

import json

import pytest

from trilith.golden import BitNetModel
from trilith.golden.checkpoint.tokenizer import load_tokenizer
from trilith.golden.data import PYDOC
from trilith.golden.network.text import bits_per_byte


def test_the_stored_model_is_as_good_as_its_record_says():
    record = json.loads((PYDOC / "training.json").read_text())
    texts = json.loads((PYDOC / "held_out.json").read_text())
    assert sum(len(text.encode()) for text in texts) == record["held_out_bytes"]
    # As training.language computed it, in PyTorch and before embeddings became bfloat16.
    figure = bits_per_byte(BitNetModel.load(PYDOC), load_tokenizer(PYDOC), texts)
    assert figure == pytest.approx(record["bits_per_byte"]["ternary"], rel=2e-3)

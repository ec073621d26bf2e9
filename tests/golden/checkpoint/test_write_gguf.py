"""Writer of GGUF files."""

import re
import warnings

import gguf
import ml_dtypes
import numpy as np
import pytest
from gguf.quants import dequantize, quantize
from tokenizers import Tokenizer, models

from trilith.golden import (
    CODES,
    CheckpointError,
    TernaryTensor,
    load_checkpoint,
)
from trilith.golden.checkpoint.compare import compare
from trilith.golden.checkpoint.gguf_file import GgufFile
from trilith.golden.checkpoint.gguf_names import gguf_name
from trilith.golden.checkpoint.tokenizer import load_tokenizer
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.checkpoint.write_huggingface import write_huggingface
from trilith.golden.errors import CheckpointWarning, FormatError, MissingTokenizerError

Q = "model.layers.0.self_attn.q_proj"


DOWN = "model.layers.0.mlp.down_proj"


def test_cross_format_chain(tmp_path, tiny):
    """Hugging Face to I2_S to base-3 bytes, each weight followed by hand."""
    folder, trits, _ = tiny()
    write_gguf(load_checkpoint(folder), tmp_path / "a.gguf", "i2_s")
    tensor = load_checkpoint(tmp_path / "a.gguf").ternary[Q]
    code = CODES["base3"]
    base3 = code.pack(tensor.trits)
    for row, k in ((0, 0), (3, 17), (255, 250)):
        t = trits[Q][row, k : k + 5]
        k -= k % 5
        t = trits[Q][row, k : k + 5]
        assert base3[row, k // 5] == sum((int(x) + 1) * 3**j for j, x in enumerate(t))
    np.testing.assert_array_equal(code.unpack(base3, 256), trits[Q])


def test_scales_that_a_format_cannot_hold(tmp_path, tiny, changed):
    folder, _, _ = tiny()
    source = load_checkpoint(folder)
    shards = np.array([[0.5], [0.25]], np.float32)
    several = changed(source, Q, scale=shards)

    def refuses(message, write, *arguments):
        with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
            write(*arguments)
        assert {file.name for file in tmp_path.iterdir()} == {"source"}

    refuses(
        f"{Q} has 2 x 1 scales, and I2_S must have one for each matrix",
        write_gguf,
        several,
        tmp_path / "new",
        "i2_s",
    )
    refuses(
        f"{Q} has 2 scales, and those of TQ2_0 must be exact in float16, not 0.10000000149011612",
        write_gguf,
        changed(source, Q, scale=np.array([[0.5], [0.1]], np.float32)),
        tmp_path / "new",
        "tq2_0",
    )
    refuses(
        f"{Q} must have scales of a multiple of 256 inputs for TQ2_0, not 128",
        write_gguf,
        changed(source, Q, scale=np.array([[0.5, 0.25]], np.float32), group_size=128),
        tmp_path / "new",
        "tq2_0",
    )
    refuses(
        "kind must be one of tq1_0, tq2_0, i2_s, q2_0_64, q2_0_128, stq1_0, iq2_bn, pq2_0, ptq1_0, "
        "not 'q4_k'",
        write_gguf,
        source,
        tmp_path / "new",
        "q4_k",
    )
    refuses(
        f"{folder}: GGUF must have a name for the model, and none is known for model_type "
        "'of-my-own' with hidden_act 'relu2' and sub-norms",
        write_gguf,
        type(source)(**vars(source) | {"config": source.config | {"model_type": "of-my-own"}}),
        tmp_path / "new",
        "i2_s",
    )
    write_huggingface(several, tmp_path / "shards")
    assert not compare(load_checkpoint(tmp_path / "shards"), several).difference
    write_gguf(several, tmp_path / "shards.gguf", "tq1_0")
    assert not compare(load_checkpoint(tmp_path / "shards.gguf"), several).difference


def test_inputs_that_do_not_fill_a_block(tmp_path, tiny):
    folder, _, _ = tiny(hidden_size=64)
    for kind, block in (("i2_s", 128), ("tq1_0", 256)):
        message = f"{Q}.weight must have a multiple of {block} inputs for {kind}, not 64"
        with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
            write_gguf(load_checkpoint(folder), tmp_path / "new", kind)


def test_a_failure_leaves_nothing(tmp_path, tiny):
    folder, _, _ = tiny(tensors={f"{DOWN}.weight": np.full((64, 512), 0xFF, np.uint8)})
    source = load_checkpoint(folder)
    old = tmp_path / "old.gguf"
    old.write_text("as it was")
    for write in (
        lambda: write_huggingface(source, tmp_path / "new"),
        lambda: write_gguf(source, old, "i2_s", force=True),
        lambda: write_gguf(source, old, "tq1_0", force=True),
    ):
        with pytest.raises(CheckpointError, match="must hold the codes 0, 1 and 2, not 3"):
            write()
    assert {file.name for file in tmp_path.iterdir()} == {"source", "old.gguf"}
    assert old.read_text() == "as it was"


@pytest.mark.parametrize("kind", ["tq1_0", "tq2_0"])
@pytest.mark.parametrize("scale", [0.75, 1.2345])
def test_writes_what_other_readers_read(tmp_path, tiny, kind, scale):
    folder, trits, _ = tiny()
    source = load_checkpoint(folder)
    scales = dict.fromkeys(source.ternary, np.float32(scale))
    ternary = {
        name: TernaryTensor.from_trits(name, t, np.float32(scale)) for name, t in trits.items()
    }
    object.__setattr__(source, "ternary", ternary)
    write_gguf(source, tmp_path / "a.gguf", kind)
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    for name, t in trits.items():
        tensor = found[gguf_name(f"{name}.weight")]
        assert tensor.tensor_type.name == kind.upper()
        beside = found.get(tensor.name.replace(".weight", ".scale"))
        assert (beside is None) == (scale == 0.75)
        unit = np.float32(scale) if beside is None else np.float32(1)
        # Bit by bit what ggml's own quantizer makes, and its dequantizer gives back.
        np.testing.assert_array_equal(tensor.data, quantize(t * unit, tensor.tensor_type))
        values = dequantize(tensor.data, tensor.tensor_type)
        if beside is not None:
            values = values * beside.data
        np.testing.assert_array_equal(values, t * scales[name])
    np.testing.assert_array_equal(
        found["token_embd.weight"].data.view(ml_dtypes.bfloat16),
        source.tensors["model.embed_tokens.weight"],
    )


@pytest.mark.parametrize("key", ["type", "rope_type"])
def test_linearly_scaled_positions_keep_their_factor(tmp_path, tiny, key):
    folder, _, _ = tiny(rope_scaling={key: "linear", "factor": 4})
    write_gguf(load_checkpoint(folder), tmp_path / "a.gguf", "i2_s")
    metadata = GgufFile(tmp_path / "a.gguf").metadata
    assert metadata["bitnet-b1.58.rope.scaling.type"] == "linear"
    assert metadata["bitnet-b1.58.rope.scaling.factor"] == 4
    found = load_checkpoint(tmp_path / "a.gguf").config["rope_scaling"]
    assert found == {"rope_type": "linear", "factor": 4}


@pytest.mark.parametrize("key", ["type", "rope_type"])
def test_other_scaled_positions_have_no_place_in_gguf(tmp_path, tiny, key):
    folder, _, _ = tiny(rope_scaling={key: "yarn", "factor": 4})
    message = f"{folder}: rotary positions must be plain or linearly scaled for GGUF, not 'yarn'"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        write_gguf(load_checkpoint(folder), tmp_path / "a.gguf", "i2_s")


def test_the_tokenizer_of_a_model_without_one(tmp_path, tiny):
    folder, _, _ = tiny()
    reason = write_gguf(load_checkpoint(folder), tmp_path / "a.gguf", "i2_s")
    assert reason == (f"{folder}/tokenizer.json: the model's tokenizer is missing; copy it there")
    write_gguf(load_checkpoint(tmp_path / "a.gguf"), tmp_path / "b.gguf", "tq2_0")
    for file in (tmp_path / "a.gguf", tmp_path / "b.gguf"):
        # llama.cpp refuses files without the key.
        assert GgufFile(file).metadata["tokenizer.ggml.model"] == "none"
        message = (
            f"{file}: the model's tokenizer is missing: the file has none, and tokenizer.json is "
            "not beside it; copy it there"
        )
        with pytest.raises(MissingTokenizerError, match=f"^{re.escape(message)}$"):
            load_tokenizer(file)


def test_that_gguf_says_none_for_a_tokenizer_without_a_name(tmp_path, tiny):
    folder, _, _ = tiny()
    (folder / "tokenizer.json").write_text(
        Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).to_str()
    )
    assert write_gguf(load_checkpoint(folder), tmp_path / "a.gguf", "i2_s").startswith(
        "the tokenizer is neither byte-level BPE"
    )
    assert GgufFile(tmp_path / "a.gguf").metadata["tokenizer.ggml.model"] == "none"


@pytest.mark.parametrize(
    ("kind", "ffn", "remedy"),
    [
        ("tq1_0", 512, "; I2_S, which has its scales inside, is for those: --to i2_s"),
        ("tq2_0", 512, "; I2_S, which has its scales inside, is for those: --to i2_s"),
        ("q2_0_64", 576, ""),
    ],
)
def test_a_warning_of_scales_beside_the_matrices(tmp_path, tiny, kind, ffn, remedy):
    file = tmp_path / "a.gguf"
    with pytest.warns(CheckpointWarning) as seen:
        write_gguf(load_checkpoint(tiny(intermediate_size=ffn)[0]), file, kind)
    assert [str(one.message) for one in seen] == [
        f"{file}: the scales of 7 matrices are not exact in float16, and stand in tensors named "
        ".scale. llama.cpp reads them, and some readers ignore them and make wrong text "
        f"(pytritium){remedy}"
    ]


@pytest.mark.parametrize("kind", ["tq1_0", "i2_s", "iq2_bn"])
def test_that_scales_inside_give_no_warning(tmp_path, tiny, kind):
    scale = np.float16 if kind == "tq1_0" else np.float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_gguf(load_checkpoint(tiny(scale_dtype=scale)[0]), tmp_path / "a.gguf", kind)


@pytest.mark.parametrize(("embeddings", "number"), [("float16", 1), ("float32", 0), (None, 30)])
def test_types_of_the_embedding(tmp_path, tiny, embeddings, number):
    source = load_checkpoint(tiny()[0])
    name = "model.embed_tokens.weight"
    write_gguf(source, tmp_path / "a.gguf", "i2_s", embeddings=embeddings)
    entries = GgufFile(tmp_path / "a.gguf").entries
    assert entries["token_embd.weight"].kind == number
    assert entries["output_norm.weight"].kind == 0
    stored = load_checkpoint(tmp_path / "a.gguf").tensors[name]
    theirs = source.tensors[name]
    np.testing.assert_array_equal(stored, theirs.astype(embeddings or theirs.dtype))
    found = compare(load_checkpoint(tmp_path / "a.gguf"), source)
    assert (found.difference, found.rounded_values) == ("", 0)


def test_an_embedding_that_float16_does_not_hold(tmp_path, tiny):
    name = "model.embed_tokens.weight"
    large = np.zeros((10, 256), ml_dtypes.bfloat16)
    large[3, 4] = -131072
    source = load_checkpoint(tiny(tensors={name: large})[0])
    message = (
        f"{name} must have values of at most 65504 for float16, not 131072.0; give --embeddings "
        "float32"
    )
    with pytest.raises(FormatError, match=f"^{re.escape(message)}$"):
        write_gguf(source, tmp_path / "a.gguf", "i2_s", embeddings="float16")
    assert [one.name for one in tmp_path.iterdir()] == ["source"]

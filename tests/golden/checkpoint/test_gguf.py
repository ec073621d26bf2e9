"""Reader of GGUF files."""

import re
import struct

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize

from trilith.golden import CheckpointError, load_checkpoint
from trilith.golden.checkpoint.gguf_file import GgufFile
from trilith.golden.checkpoint.write_gguf import write_gguf

TQ1_0 = gguf.GGMLQuantizationType.TQ1_0


TQ2_0 = gguf.GGMLQuantizationType.TQ2_0


I2_S = 36


HIDDEN, FFN, HEADS, KV_HEADS = 256, 512, 4, 2


SHAPES = {
    "attn_q": (256, 256),
    "attn_k": (128, 256),
    "attn_v": (128, 256),
    "attn_output": (256, 256),
    "ffn_gate": (512, 256),
    "ffn_up": (512, 256),
    "ffn_down": (256, 512),
}


MODULES = dict(
    zip(
        SHAPES,
        [f"self_attn.{x}_proj" for x in "qkvo"] + [f"mlp.{x}_proj" for x in ("gate", "up", "down")],
        strict=True,
    )
)


def random_trits(shape, seed=0):
    return np.random.default_rng(seed).integers(-1, 2, shape, np.int8)


def i2_s_bytes(trits, scale):
    """As the format is defined: weights p, p + 32, p + 64, p + 96 from the highest bits down."""
    c0, c1, c2, c3 = (trits + 1).astype(np.uint8).reshape(-1, 4, 32).swapaxes(0, 1)
    codes = c0 << 6 | c1 << 4 | c2 << 2 | c3
    return np.frombuffer(codes.tobytes() + struct.pack("<f", scale) + bytes(28), np.uint8)


def write(path, tensors, arch="bitnet-b1.58", **metadata):
    """A model of one layer; a tensor is an array, or (type, shape, bytes)."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(1)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_token_list(["a", "bé", ""])
    writer.add_token_scores([0.0, -1.0, 0.5])
    for key, value in metadata.items():
        writer.add_uint32(key.replace("__", "."), value)
    data = []
    for name, tensor in tensors.items():
        if isinstance(tensor, tuple):
            kind, shape, raw = tensor
            writer.add_tensor_info(name, shape, np.dtype(np.int8), raw.nbytes, kind)
            data.append(raw)
        else:
            writer.add_tensor_info(name, tensor.shape, tensor.dtype, tensor.nbytes)
            data.append(tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for raw in data:
        writer.write_tensor_data(raw)
    writer.close()


def layer(kind, scale=1.5, seed=0):
    """The seven matrices by GGUF name as ``write`` takes them, and their trits."""
    tensors, trits = {}, {}
    for index, (name, shape) in enumerate(SHAPES.items()):
        t = random_trits(shape, seed + index)
        raw = (
            i2_s_bytes(t, scale)
            if kind == I2_S
            else quantize((t * np.float32(scale)).astype(np.float32), kind)
        )
        tensors[f"blk.0.{name}.weight"] = kind, shape, raw
        trits[MODULES[name]] = t
    return tensors, trits


EMBEDDING = {"token_embd.weight": np.ones((3, HIDDEN), np.float16)}


@pytest.mark.parametrize("kind", [TQ1_0, TQ2_0, I2_S])
def test_reads_what_other_writers_write(tmp_path, kind):
    tensors, trits = layer(kind)
    norm = np.arange(HIDDEN, dtype=np.float32)
    tensors |= EMBEDDING | {"blk.0.attn_sub_norm.weight": norm}
    write(tmp_path / "a.gguf", tensors)
    checkpoint = load_checkpoint(tmp_path / "a.gguf")
    name = "I2_S" if kind == I2_S else kind.name
    assert (checkpoint.format, checkpoint.scale_convention) == (f"gguf {name}", "multiplied")
    assert len(checkpoint.ternary) == 7
    for short, t in trits.items():
        tensor = checkpoint.ternary[f"model.layers.0.{short}"]
        np.testing.assert_array_equal(tensor.trits, t)
        assert tensor.scale.tolist() == [[1.5]]
        assert tensor.group_size == t.shape[1]
    assert set(checkpoint.tensors) == {
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.attn_sub_norm.weight",
    }
    assert checkpoint.tensors["model.embed_tokens.weight"].dtype == np.float16
    np.testing.assert_array_equal(
        checkpoint.tensors["model.layers.0.self_attn.attn_sub_norm.weight"], norm
    )
    assert checkpoint.config == {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "hidden_act": "relu2",
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "hidden_size": 256,
        "num_hidden_layers": 1,
        "intermediate_size": 512,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-05,
        "vocab_size": 3,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def test_scales_of_groups_and_blocks_of_zeros(tmp_path):
    tensors, _ = layer(TQ2_0)
    w = random_trits(SHAPES["ffn_down"], 9) * np.float32(0.5)
    w[:, 256:] *= 2
    w[3, :256] = 0
    tensors["blk.0.ffn_down.weight"] = TQ2_0, w.shape, quantize(w, TQ2_0)
    rows = random_trits(SHAPES["ffn_up"], 10) * np.repeat(np.float32([1, 2]), FFN // 2)[:, None]
    rows[5] = 0
    tensors["blk.0.ffn_up.weight"] = TQ2_0, rows.shape, quantize(rows, TQ2_0)
    write(tmp_path / "a.gguf", tensors | EMBEDDING)
    ternary = load_checkpoint(tmp_path / "a.gguf").ternary
    down = ternary["model.layers.0.mlp.down_proj"]
    assert (down.scale.tolist(), down.group_size) == ([[0.5, 1.0]], 256)
    np.testing.assert_array_equal(down.trits, np.sign(w))
    up = ternary["model.layers.0.mlp.up_proj"]
    assert (up.scale.tolist(), up.group_size) == ([[1.0], [2.0]], 256)
    np.testing.assert_array_equal(up.trits, np.sign(rows))


def test_scale_tensor_multiplies(tmp_path):
    tensors, _ = layer(TQ1_0, scale=1)
    tensors["blk.0.attn_v.scale"] = np.array([0.3], np.float32)
    write(tmp_path / "a.gguf", tensors | EMBEDDING)
    checkpoint = load_checkpoint(tmp_path / "a.gguf")
    assert checkpoint.scale_convention == "multiplied with a .scale tensor"
    assert checkpoint.ternary["model.layers.0.self_attn.v_proj"].scale == np.float32(0.3)
    assert checkpoint.ternary["model.layers.0.self_attn.q_proj"].scale == 1
    assert set(checkpoint.tensors) == {"model.embed_tokens.weight"}
    for value in ([np.nan], [0], [1, 2]):
        tensors["blk.0.attn_v.scale"] = np.array(value, np.float32)
        write(tmp_path / "a.gguf", tensors | EMBEDDING)
        with pytest.raises(CheckpointError, match=r"blk\.0\.attn_v\.scale must be (one|finite)"):
            load_checkpoint(tmp_path / "a.gguf").ternary["model.layers.0.self_attn.v_proj"]


def test_rows_of_llama_are_put_back(tmp_path, tiny):
    tensors, trits = layer(I2_S)
    for short, heads in (("attn_q", HEADS), ("attn_k", KV_HEADS)):
        n, k = SHAPES[short]
        half = n // heads // 2
        theirs = np.empty((n, k), np.int8)
        for head in range(heads):
            for i in range(2):
                for j in range(half):
                    # llama.cpp rotates rows 2j and 2j + 1 together; Hugging Face j and j + half.
                    theirs[head * 2 * half + 2 * j + i] = trits[MODULES[short]][
                        head * 2 * half + i * half + j
                    ]
        tensors[f"blk.0.{short}.weight"] = I2_S, (n, k), i2_s_bytes(theirs, 1.5)
    write(tmp_path / "a.gguf", tensors | EMBEDDING, arch="llama")
    ternary = load_checkpoint(tmp_path / "a.gguf").ternary
    for short, t in trits.items():
        np.testing.assert_array_equal(ternary[f"model.layers.0.{short}"].trits, t)
    # Written again, every byte is where it was.
    checkpoint = load_checkpoint(tmp_path / "a.gguf")
    write_gguf(checkpoint, tmp_path / "b.gguf", "i2_s")
    a, b = GgufFile(tmp_path / "a.gguf"), GgufFile(tmp_path / "b.gguf")
    for name in a.entries:
        np.testing.assert_array_equal(a.raw(name)[:-32], b.raw(name)[:-32])
    assert b.strings("tokenizer.ggml.tokens") == ["a", "bé", ""]
    assert b.metadata["tokenizer.ggml.scores"].tolist() == [0.0, -1.0, 0.5]


def test_the_head_size_that_qwen3_leaves_unsaid(tmp_path):
    """llama.cpp divides the hidden size by the heads; Hugging Face's Qwen3 has 128."""
    tensors, trits = layer(TQ2_0)
    write(tmp_path / "a.gguf", tensors | EMBEDDING, arch="qwen3")
    checkpoint = load_checkpoint(tmp_path / "a.gguf")
    assert checkpoint.config["head_dim"] == HIDDEN // HEADS
    for short, t in trits.items():
        np.testing.assert_array_equal(checkpoint.ternary[f"model.layers.0.{short}"].trits, t)


def test_quantized_embeddings_are_dequantized(tmp_path):
    tensors, _ = layer(TQ1_0)
    values = np.random.default_rng(0).standard_normal((3, HIDDEN)).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q8_0
    raw = quantize(values, kind)
    tensors["token_embd.weight"] = kind, values.shape, raw
    write(tmp_path / "a.gguf", tensors)
    found = load_checkpoint(tmp_path / "a.gguf").tensors["model.embed_tokens.weight"]
    np.testing.assert_array_equal(found, dequantize(raw, kind))


def refuses(tmp_path, message, tensors, **options):
    file = tmp_path / "refused.gguf"
    write(file, tensors, **options)
    with pytest.raises(CheckpointError) as refusal:
        list(load_checkpoint(file).ternary.values())
    assert str(refusal.value) == f"{file}: {message}"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            38,
            "TL1, whose tiles depend on the machine it was made for; make an I2_S file "
            "(bitnet.cpp) from the original checkpoint",
        ),
        (
            39,
            "TL2 (or MXFP4, which has the same number), whose tiles depend on the machine it was "
            "made for; make an I2_S file (bitnet.cpp) from the original checkpoint",
        ),
        (12, "Q4_K; these weights are not ternary, take the original checkpoint"),
        (1, "F16; these weights are not ternary, take the original checkpoint"),
        (
            77,
            "a type of the unknown number 77 (known are 0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, "
            "14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 34, 35, 36, 38, "
            "39, 40, 41, 42, 43, 135, 142, 143); a newer or another program wrote the file, or "
            "it is damaged",
        ),
    ],
)
def test_other_types(tmp_path, kind, message):
    tensors, _ = layer(I2_S)
    _, shape, _ = tensors["blk.0.attn_v.weight"]
    tensors["blk.0.attn_v.weight"] = kind, shape, np.zeros(2 * shape[0] * shape[1], np.uint8)
    message = (
        "blk.0.attn_v.weight must be TQ1_0, TQ2_0, I2_S, Q2_0_64, Q2_0_128, STQ1_0, IQ2_BN, PQ2_0 "
        f"or PTQ1_0, not {message}"
    )
    refuses(tmp_path, message, tensors | EMBEDDING)


def test_wrong_models(tmp_path):
    tensors, _ = layer(I2_S)
    tensors |= EMBEDDING
    refuses(
        tmp_path,
        "general.architecture must be one of llama, bitnet, bitnet-b1.58, bitnet-25, qwen3, "
        "minicpm, for which the order of rows is known, not 'gpt2'; convert the original "
        "checkpoint instead",
        tensors,
        arch="gpt2",
    )
    refuses(
        tmp_path,
        "must be a whole model, not one of 3 parts; join them with llama-gguf-split --merge",
        tensors,
        split__count=3,
    )
    kind, _, raw = tensors["blk.0.attn_q.weight"]
    refuses(
        tmp_path,
        "blk.0.attn_q.weight must have the shape (256, 256) of the metadata, not (128, 512)",
        tensors | {"blk.0.attn_q.weight": (kind, (128, 512), raw)},
    )
    refuses(
        tmp_path,
        "the tensor 'model.layers.0.mlp.up_proj.weight' is missing; config's num_hidden_layers is "
        "1, and 1 of 7 linear layers are missing",
        {name: x for name, x in tensors.items() if "ffn_up" not in name},
    )
    bad = raw.copy()
    bad[-32:-28] = np.array([np.inf], np.float32).view(np.uint8)
    refuses(
        tmp_path,
        "blk.0.attn_q.weight: the scale after the weights must be finite and not negative, not "
        "inf; the file is damaged",
        tensors | {"blk.0.attn_q.weight": (kind, (256, 256), bad)},
    )
    bad = raw.copy()
    bad[70] = 0b00_00_11_00
    refuses(
        tmp_path,
        "blk.0.attn_q.weight: model.layers.0.self_attn.q_proj: packed weights must hold the codes "
        "0, 1 and 2, not 3 at output 1, input 70",
        tensors | {"blk.0.attn_q.weight": (kind, (256, 256), bad)},
    )
    tq, _ = layer(TQ2_0)
    kind, _, raw = tq["blk.0.attn_q.weight"]
    bad = raw.copy()
    bad[0, 64:66] = np.array([np.nan], np.float16).view(np.uint8)
    refuses(
        tmp_path,
        "blk.0.attn_q.weight: scales must be finite and not negative, not nan at [0, 0]; "
        "the file is damaged",
        tq | {"blk.0.attn_q.weight": (kind, (256, 256), bad)},
    )


def header(*parts):
    return b"GGUF" + b"".join(parts)


def text(value):
    return struct.pack("<Q", len(value)) + value


def tensor_info(name=b"x", dims=(256,), kind=0, offset=0):
    return (
        text(name)
        + struct.pack("<I", len(dims))
        + b"".join(struct.pack("<Q", d) for d in dims)
        + struct.pack("<IQ", kind, offset)
    )


COUNTS = struct.pack("<IQQ", 3, 1, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a checkpoint, not an empty file; download or write it again"),
        (b"GGUF", "its header must be whole: unpack_from requires a buffer of at least 24 bytes "),
        (b"GGML" + bytes(40), "must be a GGUF file: it must start with GGUF, not b'GGML'"),
        (
            header(struct.pack("<IQQ", 1, 0, 0)),
            "must be GGUF of version 2 or 3 in little-endian order, not 0x1; convert it with ",
        ),
        (
            header(struct.pack(">IQQ", 3, 0, 0)),
            "must be GGUF of version 2 or 3 in little-endian order, not 0x3000000; convert it ",
        ),
        (
            header(struct.pack("<IQQQ", 3, 0, 1, 2**63)),
            "its header must be whole: 9223372036854775808 bytes are announced, 0 are left",
        ),
        (
            header(struct.pack("<IQQ", 3, 0, 1), text(b"k"), struct.pack("<I", 13)),
            "metadata must be of the types 0 to 12, not 13",
        ),
        (
            header(struct.pack("<IQQ", 3, 0, 1), text(b"k"), struct.pack("<IIQ", 9, 9, 1)),
            "arrays must be of scalars or strings, not of type 9",
        ),
        (
            header(struct.pack("<IQQ", 3, 0, 1), text(b"k"), struct.pack("<IIQ", 9, 8, 2**27)),
            "k must have at most 2097152 strings, not 134217728",
        ),
        (
            header(struct.pack("<IQQ", 3, 2**40, 2**40)),
            "must have at most 65536 tensors and as many keys, not 1099511627776 and 1099511627776",
        ),
        (
            header(
                struct.pack("<IQQ", 3, 0, 1), text(b"k"), struct.pack("<I", 8), text(b"a" * 2**25)
            ),
            "strings must have at most 16777216 bytes, not 33554432",
        ),
        (
            header(struct.pack("<IQQ", 3, 0, 1), text(b"k"), struct.pack("<IIQ", 9, 4, 2**62)),
            "its header must be whole: 18446744073709551616 bytes are announced, 0 are left",
        ),
        (
            header(struct.pack("<IQQ", 3, 0, 2), 2 * (text(b"k") + struct.pack("<IB", 0, 7))),
            "metadata must have each key once, not 'k' twice",
        ),
        (
            header(struct.pack("<IQQ", 3, 0, 1), text(b"\xff"), struct.pack("<IB", 0, 7)),
            "its header must be whole: 'utf-8' codec can't decode byte 0xff in position 0",
        ),
        (header(COUNTS, tensor_info(dims=())), "x must have 1 to 4 dimensions, not 0"),
        (
            header(COUNTS, tensor_info(dims=(2**40, 2**40))),
            "x must have a size from 1 to 2**48, not (1099511627776, 1099511627776)",
        ),
        (header(COUNTS, tensor_info(dims=(0,))), "x must have a size from 1 to 2**48, not (0,)"),
        (
            header(struct.pack("<IQQ", 3, 2, 0), 2 * tensor_info()),
            "must have each tensor once, not 'x' twice",
        ),
        (
            header(COUNTS, tensor_info()),
            "x must be aligned to 32 bytes and lie in the file, not take 1024 bytes from 64 in a "
            "file of 57; the file is damaged or truncated",
        ),
        *(
            (
                header(
                    struct.pack("<IQQ", 3, 0, 1), text(b"general.alignment"), struct.pack(*value)
                ),
                f"general.alignment must be a power of two, not {found}",
            )
            for value, found in (
                (("<II", 4, 3), "3"),
                (("<II", 4, 0), "0"),
                (("<Ii", 5, -32), "-32"),
                (("<IB", 7, 1), "True"),
            )
        ),
    ],
)
def test_damaged_headers(tmp_path, content, message):
    file = tmp_path / "a.gguf"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"^{re.escape(f'{file}: {message}')}"):
        load_checkpoint(file)


def test_quantize_is_not_for_gguf(tmp_path):
    write(tmp_path / "a.gguf", EMBEDDING)
    message = (
        f"{tmp_path}/a.gguf: quantize is for float master weights, and a GGUF file is quantized "
        "already; leave it out"
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_checkpoint(tmp_path / "a.gguf", quantize="absmean")

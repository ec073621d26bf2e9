"""Reader of safetensors files: packed, ternary-valued and float weights."""

import re

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trilith.golden import (
    CheckpointError,
    absmean_quantize,
    load_checkpoint,
    pack_weights,
)
from trilith.golden.checkpoint.packing import count_trits
from trilith.golden.checkpoint.safetensors import read_tensors
from trilith.golden.data import DIGITS

Q = "model.layers.0.self_attn.q_proj"


LLAMA = {
    "model_type": "llama",
    "hidden_act": "silu",
    "quantization_config": {"quant_method": "bitnet", "modules_to_not_convert": ["lm_head"]},
}


def refuses(message, path, **options):
    with pytest.raises(CheckpointError) as refusal:
        list(load_checkpoint(path, **options).ternary.values())
    assert str(refusal.value) == message.replace("FOLDER", str(path))


@pytest.mark.parametrize("scale_dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_scales_that_multiply(tiny, scale_dtype):
    folder, trits, scales = tiny(scale_dtype=scale_dtype)
    checkpoint = load_checkpoint(folder)
    assert checkpoint.format == "huggingface packed"
    assert checkpoint.scale_convention == "multiplied (autobitlinear)"
    assert list(checkpoint.ternary) == list(trits)
    for name, tensor in checkpoint.ternary.items():
        np.testing.assert_array_equal(tensor.trits, trits[name])
        assert tensor.scale.dtype == np.float32
        assert tensor.scale.tolist() == [[float(scales[name][0])]]
        assert tensor.group_size == tensor.shape[1]
        n, k = tensor.shape
        assert checkpoint.stored[name] == ("U8", n * k // 4 + scales[name].nbytes)
        assert count_trits(tensor.packed, n).tolist() == [
            np.count_nonzero(trits[name] == t) for t in (-1, 0, 1)
        ]


TYPES = [
    *(np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.bool_),
    *(np.int64, np.int32, np.int16, np.int8, np.uint64, np.uint32, np.uint16, np.uint8),
]


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: np.dtype(dtype).name)
def test_every_type_has_its_width(tmp_path, dtype):
    """A second tensor stands behind the first one, so that a wrong width moves it."""
    first, second = np.arange(7).astype(dtype), (np.arange(7) % 2).astype(dtype)
    save_file({"a": first, "b": second}, tmp_path / "model.safetensors")
    read = read_tensors(tmp_path, ["a", "b"])
    for name, written in (("a", first), ("b", second)):
        assert read[name].dtype == dtype
        np.testing.assert_array_equal(read[name], written)


@pytest.mark.parametrize("scale", [1e-40, 0])
def test_a_divisor_without_a_finite_inverse(tiny, scale):
    tensors = {f"{Q}.weight_scale": np.array([scale], np.float32)}
    folder, _, _ = tiny(tensors=tensors, **LLAMA)
    with pytest.raises(CheckpointError, match=r"positive"):
        load_checkpoint(folder).ternary[Q]


@pytest.mark.parametrize("linear_class", [{}, {"linear_class": "bitlinear"}])
def test_scales_that_divide(tiny, linear_class):
    quantization = {"quant_method": "bitnet"} | linear_class
    folder, trits, scales = tiny(**LLAMA | {"quantization_config": quantization})
    checkpoint = load_checkpoint(folder)
    assert checkpoint.scale_convention == "divided by (bitlinear)"
    for name, tensor in checkpoint.ternary.items():
        np.testing.assert_array_equal(tensor.trits, trits[name])
        assert tensor.divides
        assert tensor.scale == scales[name]
        assert tensor.multiplier == np.float32(1) / scales[name]


def test_other_tensors_keep_their_type_and_are_mapped(tiny):
    folder, _, _ = tiny()
    tensors = load_checkpoint(folder).tensors
    assert set(tensors) == {
        "model.embed_tokens.weight",
        "model.norm.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.self_attn.attn_sub_norm.weight",
    }
    embedding = tensors["model.embed_tokens.weight"]
    assert embedding.dtype == ml_dtypes.bfloat16
    assert not embedding.flags.owndata
    assert not embedding.flags.writeable
    assert "lm_head.weight" not in tensors
    assert tensors.get("lm_head.weight") is None
    message = f"{folder}: must contain the tensor 'lm_head.weight'; it has 4 others, such as "
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}"):
        tensors["lm_head.weight"]


def as_floats(trits, scale, dtype=np.float16):
    return {f"{name}.weight": (t * scale).astype(dtype) for name, t in trits.items()} | {
        f"{name}.weight_scale": None for name in trits
    }


def test_ternary_valued_floats_and_their_shards(tiny):
    _, trits, _ = tiny("packed")
    # Row blocks as TriLM has them; the second matrix has two equal scales in a row.
    blocks = {name: np.array([0.5, 0.25]) for name in trits}
    blocks["model.layers.0.mlp.up_proj"] = np.array([0.5, 0.5, 0.25, 0.125])
    floats = {}
    for name, t in trits.items():
        scale = blocks[name].repeat(len(t) // len(blocks[name]))[:, None]
        floats |= as_floats({name: t}, scale, ml_dtypes.bfloat16)
    folder, _, _ = tiny("floats", floats, quantization_config=None)
    for quantize in (None, "absmean"):
        checkpoint = load_checkpoint(folder, quantize=quantize)
        assert checkpoint.format == "huggingface ternary float"
        for name, tensor in checkpoint.ternary.items():
            np.testing.assert_array_equal(tensor.trits, trits[name])
            assert tensor.scale.tolist() == [[s] for s in blocks[name]]
            assert checkpoint.stored[name] == ("BF16", 2 * tensor.trits.size)


def test_binary_weights(tiny):
    rng = np.random.default_rng(1)
    _, trits, _ = tiny("packed")
    binary = {name: rng.integers(0, 2, t.shape, np.int8) * 2 - 1 for name, t in trits.items()}
    folder, _, _ = tiny("floats", as_floats(binary, 0.5))
    for name, tensor in load_checkpoint(folder).ternary.items():
        np.testing.assert_array_equal(tensor.trits, binary[name])
        assert tensor.scale.tolist() == [[0.5]]


def test_master_weights_only_when_asked(tiny):
    rng = np.random.default_rng(2)
    _, trits, _ = tiny("packed")
    masters = {n: rng.standard_normal(t.shape).astype(np.float32) for n, t in trits.items()}
    floats = as_floats(dict.fromkeys(trits, np.int8(0)), 1)
    folder, _, _ = tiny("floats", floats | {f"{n}.weight": w for n, w in masters.items()})
    refuses(
        f"{folder}/model.safetensors: {Q}.weight must be ternary (each scale's weights in -s, 0, "
        "+s), and holds float master weights; quantize them with --quantize absmean "
        "(quantize='absmean')",
        folder,
    )
    refuses("quantize must be None or 'absmean', not 'int4'", folder, quantize="int4")
    checkpoint = load_checkpoint(folder, quantize="absmean")
    assert checkpoint.format == "huggingface float (absmean)"
    for name, w in masters.items():
        expected, scale = absmean_quantize(w)
        np.testing.assert_array_equal(checkpoint.ternary[name].trits, expected)
        assert checkpoint.ternary[name].scale == scale
    # One float matrix among ternary-valued ones comes to light when it is read.
    up = "model.layers.0.mlp.up_proj"
    floats = as_floats(trits, 0.5) | {f"{up}.weight": masters[up]}
    folder, _, _ = tiny("mixed", floats)
    refuses(
        f"{folder}/model.safetensors: {up}.weight must be ternary (each scale's weights in -s, 0, "
        "+s), and holds float master weights; quantize them with --quantize absmean "
        "(quantize='absmean')",
        folder,
    )
    masters[up][3, 4] = np.nan
    folder, _, _ = tiny("nan", floats)
    refuses(
        f"{folder}/model.safetensors: {up}.weight must be finite, not nan at [3, 4]; the file is "
        "damaged, or was written after an overflow",
        folder,
        quantize="absmean",
    )


def test_packed_and_quantize(tiny):
    refuses(
        f"FOLDER: quantize is for float master weights, and {Q}.weight is packed already; leave it "
        "out",
        tiny(seed=1)[0],
        quantize="absmean",
    )


def test_the_stored_digits():
    checkpoint = load_checkpoint(DIGITS)
    assert [tensor.shape for tensor in checkpoint.ternary.values()] == [
        (256, 64),
        (256, 256),
        (10, 256),
    ]
    stored = load_file(DIGITS / "model.safetensors")
    np.testing.assert_array_equal(checkpoint.ternary["layers.2"].packed, stored["layers.2.weight"])


PACKED = pack_weights(np.zeros((256, 256), np.int8))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {f"{Q}.weight_scale": None},
            f"FOLDER: {Q}.weight_scale, the scale of the packed {Q}.weight, is missing; take the "
            "model's own files",
        ),
        (
            {f"{Q}.weight_scale": np.array([np.nan], np.float32)},
            f"FOLDER/model.safetensors: {Q}.weight_scale must be finite, not nan at [0]; the "
            "file is damaged, or was written after an overflow",
        ),
        (
            {f"{Q}.weight_scale": np.array([0], np.float32)},
            f"FOLDER/model.safetensors: {Q}.weight_scale must be finite and positive, not 0.0; the "
            "file is damaged",
        ),
        (
            {f"{Q}.weight_scale": np.ones(2, np.float32)},
            f"FOLDER/model.safetensors: {Q}.weight_scale must be one float, or one for "
            "each of 256 outputs, or for each group of 256 inputs too, not F32 of shape (2,)",
        ),
        (
            {f"{Q}.weight_scale": np.ones(1, np.int32)},
            f"FOLDER/model.safetensors: {Q}.weight_scale must be one float, or one for "
            "each of 256 outputs, or for each group of 256 inputs too, not I32 of shape (1,)",
        ),
        (
            {f"{Q}.weight": PACKED | np.uint8(3)},
            f"FOLDER/model.safetensors: {Q}: packed weights must hold the codes 0, 1 and 2, not 3 "
            "at output 0, input 0",
        ),
        (
            {f"{Q}.weight": PACKED.ravel()},
            f"FOLDER: {Q}.weight is uint8 and must have two non-empty dimensions, not shape "
            "(16384,)",
        ),
        (
            {f"{Q}.weight": PACKED.astype(np.float32)},
            f"FOLDER: {Q}.weight must be packed uint8 as {Q.replace('q_', 'k_')}.weight "
            "is, not F32",
        ),
        (
            {f"{Q}.weight": None},
            f"FOLDER: the tensor '{Q}.weight' is missing; config's num_hidden_layers is 1, and 1 "
            "of 7 linear layers are missing",
        ),
        (
            {"model.layers.1.mlp.up_proj.weight": PACKED},
            "FOLDER: the tensor 'model.layers.1.mlp.up_proj.weight' is of a layer beyond config's "
            "num_hidden_layers = 1",
        ),
    ],
)
def test_wrong_tensors(tiny, tensors, message):
    folder, _, _ = tiny(tensors=tensors)
    refuses(message.replace("FOLDER", str(folder)), folder)


def test_wrong_float_tensors(tiny):
    _, trits, _ = tiny("packed")
    folder, _, _ = tiny("short", as_floats(trits, 1) | {f"{Q}.weight": np.ones((4, 256))})
    refuses(
        f"FOLDER: {Q}.weight must have the shape (256, 256) of config.json, not (4, 256)",
        folder,
    )
    whole = {f"{Q}.weight": np.ones((256, 256), np.int8)}
    folder, _, _ = tiny("int8", as_floats(trits, 1) | whole)
    refuses(
        f"FOLDER: {Q}.weight must be packed uint8 or float, not I8; this quantization is not known "
        "here",
        folder,
    )


def test_tensors_by_name(tmp_path):
    array = np.arange(18, dtype=np.uint8).reshape(3, 6)
    file = tmp_path / "model.safetensors"
    save_file({"a.weight": array}, file)
    for path in (tmp_path, file):
        np.testing.assert_array_equal(read_tensors(path, ["a.weight"])["a.weight"], array)

    def refuses(path, name, message):
        with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))}{message}"):
            read_tensors(path, [name])

    refuses(tmp_path / "none", "a.weight", ": must be a safetensors file or a folder with")
    refuses(file, "b.weight", r": must contain the tensor 'b.weight'; .* such as 'a.weight'$")
    whole = file.read_bytes()
    for size in (0, 7, 20, len(whole) - 1):
        file.write_bytes(whole[:size])
        refuses(file, "a.weight", ": must be a safetensors file")
    short = ": must be a safetensors file: its size is not that of its header; get a whole copy"
    refuses(file, "a.weight", re.escape(short))


@pytest.mark.parametrize(("size", "tensors"), [(2**26, 0), (2**21, 2**16 + 1)])
def test_absurd_headers(tmp_path, size, tensors):
    file = tmp_path / "model.safetensors"
    entries = ",".join(f'"{i}":{{"dtype":"U8"}}' for i in range(tensors))
    header = f"{{{entries}}}".encode().ljust(size)
    file.write_bytes(len(header).to_bytes(8, "little") + header + b" ")
    message = (
        f"{file}: the header must have at most 33554432 bytes and 65536 tensors, not {len(header)} "
        f"and {tensors or 'more'}"
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        read_tensors(file, ["a"])


def test_a_key_that_stands_twice(tiny):
    """The format forbids it, and the library takes either."""
    folder, _, _ = tiny()
    file = folder / "model.safetensors"
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].rstrip()
    entry = re.search(rb'"model\.norm\.weight":({.*?})', header)
    twice = header[:-1] + b"," + entry[0] + b"}"
    file.write_bytes(len(twice).to_bytes(8, "little") + twice + data[8 + size :])
    refuses(
        f"{file}: must be a safetensors file: the header must have each key once, not "
        "'model.norm.weight' twice",
        folder,
    )

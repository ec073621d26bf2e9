"""Every container, layout and family on small files: identified, read, and written as defined.

The packings are those of ``independent.py``, byte by byte.
"""

import json
import struct
from dataclasses import replace
from functools import cache

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trilith.golden import BitNetModel, CheckpointError, TernaryTensor, load_checkpoint
from trilith.golden.checkpoint.compare import compare
from trilith.golden.checkpoint.gguf_file import GgufFile
from trilith.golden.checkpoint.gguf_layouts import LAYOUTS
from trilith.golden.checkpoint.gguf_names import gguf_name
from trilith.golden.checkpoint.statistics import statistics
from trilith.golden.checkpoint.tensors import StrangeKeys
from trilith.golden.checkpoint.understood import check_matrices
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.checkpoint.write_huggingface import write_huggingface
from trilith.golden.data import PYDOC

from . import independent
from .test_gguf import EMBEDDING, MODULES, SHAPES, write

SUB_NORM = {"blk.0.attn_sub_norm.weight": np.ones(256, np.float32)}
FAMILIES = {"llama": {}, "bitnet-b1.58": SUB_NORM, "qwen3": {}}
GROUPS = {"IQ2_BN": None} | {name: block for name, (_, block, _) in independent.BLOCKS.items()}


def made_trits(name, shape, seed):
    """Random trits; those of STQ1_0 have one zero in each four that are 16 apart."""
    rng = np.random.default_rng(seed)
    if name != "STQ1_0":
        return rng.integers(-1, 2, shape, np.int8)
    trits = rng.choice(np.array([-1, 1], np.int8), shape)
    fours = trits.reshape(shape[0], -1, 4, 16)
    np.put_along_axis(fours, rng.integers(0, 4, (*fours.shape[:2], 1, 16)), 0, axis=2)
    return trits


def made_scales(name, shape, seed):
    """Exact scales of each block, or of the row or matrix where the layout has no others."""
    rng = np.random.default_rng(seed)
    if name == "I2_S":
        return np.full((1, 1), 0.3, np.float32)
    blocks = shape[1] // GROUPS[name] if GROUPS[name] else 1
    scale = (rng.random((shape[0], blocks)) + 0.5).astype(np.float16).astype(np.float32)
    return scale + np.float32(1e-5) * (GROUPS[name] is None)


def rotated(rows, heads):
    """Rows of a head as llama.cpp has them: the two halves one by one."""
    n = len(rows)
    return rows.reshape(heads, 2, n // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


@cache
def made_layer(name, permuted=False):
    """Seven matrices as ``write`` takes them, and their trits and scales by module."""
    tensors, expected = {}, {}
    for seed, (short, shape) in enumerate(SHAPES.items()):
        trits, scale = made_trits(name, shape, seed), made_scales(name, shape, 50 + seed)
        expected[f"model.layers.0.{MODULES[short]}"] = trits, scale
        if permuted and short in ("attn_q", "attn_k"):
            heads = 4 if short == "attn_q" else 2
            trits = rotated(trits, heads)
            scale = rotated(scale, heads) if len(scale) > 1 else scale
        number, data = independent.gguf_matrix(name, trits, scale)
        tensors[f"blk.0.{short}.weight"] = number, shape, np.frombuffer(data, np.uint8)
    return tensors, expected


def whole(tensor):
    """Each weight of a matrix in float32."""
    scale = tensor.multiplier.repeat(tensor.shape[0] // len(tensor.scale), axis=0)
    return tensor.trits * scale.repeat(tensor.group_size, axis=1)


@pytest.mark.parametrize("arch", FAMILIES)
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.filterwarnings("ignore::trilith.golden.errors.CheckpointWarning")
def test_layouts_of_gguf(tmp_path, name, arch):
    file = tmp_path / "a.gguf"
    tensors, expected = made_layer(name, arch == "llama")
    write(file, tensors | EMBEDDING | FAMILIES[arch], arch=arch)
    checkpoint = load_checkpoint(file)
    assert checkpoint.format == f"gguf {name}"
    for module, (trits, scale) in expected.items():
        tensor = checkpoint.ternary[module]
        np.testing.assert_array_equal(tensor.trits, trits)
        repeats = trits.shape[0] // len(scale), trits.shape[1] // scale.shape[1]
        every = scale.repeat(repeats[0], 0).repeat(repeats[1], 1)
        np.testing.assert_array_equal(whole(tensor), trits * every)
    if LAYOUTS[name].transform:
        return
    # Written again, every byte of the matrices is where it was.
    write_gguf(checkpoint, tmp_path / "b.gguf", name.lower())
    a, b = GgufFile(file), GgufFile(tmp_path / "b.gguf")
    tail = 32 if name == "I2_S" else 0
    for one in tensors:
        size = a.raw(one).size - tail
        np.testing.assert_array_equal(a.raw(one)[:size], b.raw(one)[:size])
    assert compare(load_checkpoint(tmp_path / "b.gguf"), checkpoint).difference == ""


@pytest.mark.parametrize("name", ["PQ2_0", "PTQ1_0"])
def test_types_of_models_with_a_transform(tmp_path, tiny, name):
    """A foreign file says nothing of the transform and is refused; Trilith's own says none."""
    file = tmp_path / "a.gguf"
    tensors, expected = made_layer(name)
    write(file, tensors | EMBEDDING, arch="qwen3")
    foreign = load_checkpoint(file)
    missing = f"prism.hadamard (missing, though models with {name} need its transform)"
    assert foreign.strange_keys.unknown == (missing,)
    raises(
        f"{file}: the metadata key {missing} is not understood; results without it may be wrong, "
        "so take the original checkpoint",
        lambda: write_gguf(foreign, tmp_path / "b.gguf", "tq2_0"),
    )
    with pytest.raises(CheckpointError, match=r"^.*: the metadata key prism\.hadamard \(missing, "):
        check_matrices(foreign)
    source = load_checkpoint(tiny()[0])
    ternary = {
        module: TernaryTensor.from_trits(module, trits, scale, GROUPS[name])
        for module, (trits, scale) in expected.items()
    }
    object.__setattr__(source, "ternary", {x: ternary[x] for x in source.ternary})
    write_gguf(source, tmp_path / "c.gguf", name.lower())
    ours, theirs = GgufFile(tmp_path / "c.gguf"), GgufFile(file)
    for module in expected:
        one = gguf_name(f"{module}.weight")
        np.testing.assert_array_equal(ours.raw(one), theirs.raw(one))
    assert load_checkpoint(tmp_path / "c.gguf").strange_keys == StrangeKeys()


@pytest.mark.parametrize("name", sorted(set(LAYOUTS) - {"TQ1_0", "TQ2_0", "I2_S"}))
def test_ternary_embeddings_are_dequantized(tmp_path, name):
    tensors, _ = made_layer(name)
    trits, scale = made_trits(name, (1024, 256), 8), made_scales(name, (1024, 256), 9)
    number, data = independent.gguf_matrix(name, trits, scale)
    head = np.frombuffer(data, np.uint8)
    write(tmp_path / "a.gguf", tensors | {"token_embd.weight": (number, trits.shape, head)})
    found = load_checkpoint(tmp_path / "a.gguf").tensors["model.embed_tokens.weight"]
    assert found.dtype == (np.float32 if name == "IQ2_BN" else np.float16)
    every = scale.repeat(256 // scale.shape[1], 1)
    np.testing.assert_array_equal(found.astype(np.float32), trits * every)
    assert not np.signbit(found[trits == 0]).any()


def packed_rows(codes):
    """Hugging Face's packing: row r of a quarter of the rows is in bits 2i and 2i + 1."""
    quarter = len(codes) // 4
    return np.stack(
        [
            sum(codes[row + i * quarter].astype(np.uint8) << 2 * i for i in range(4))
            for row in range(quarter)
        ]
    ).astype(np.uint8)


def mlx_parts(module, trits, scale, group):
    """MLX's words, scales and biases, sixteen codes a word, the first one lowest."""
    words = np.zeros((trits.shape[0], trits.shape[1] // 16), np.uint32)
    for i in range(16):
        words |= (trits[:, i::16] + 1).astype(np.uint32) << np.uint32(2 * i)
    scale = scale.repeat(trits.shape[1] // scale.shape[1] // group, axis=1).astype(np.float16)
    parts = {"weight": words, "scales": scale, "biases": -scale}
    return {f"{module}.{part}": one for part, one in parts.items()}


#: Groups of scales of a matrix of safetensors: outputs and inputs that share one.
GRANULARITY = {"matrix": (0, 0), "output": (1, 0), "output and 128 inputs": (1, 128)}


@pytest.mark.parametrize("model_type", ["llama", "bitnet", "qwen3"])
@pytest.mark.parametrize("layout", ["U8", "F16", "MLX 2-bit"])
@pytest.mark.parametrize("shared", GRANULARITY)
def test_layouts_of_safetensors(tmp_path, tiny, shared, layout, model_type):
    rows, inputs = GRANULARITY[shared]
    act = "relu2" if model_type == "bitnet" else "silu"
    config = {"model_type": model_type, "hidden_act": act, "head_dim": 64}
    folder, trits, _ = tiny(**config)
    stored, expected = load_file(folder / "model.safetensors"), {}
    for seed, (module, t) in enumerate(trits.items()):
        n, k = t.shape
        shape = n if rows else 1, k // inputs if inputs else 1
        scale = np.random.default_rng(seed).integers(1, 9, shape).astype(np.float32) / 8
        expected[module] = t * scale.repeat(n // shape[0], 0).repeat(k // shape[1], 1)
        del stored[f"{module}.weight"], stored[f"{module}.weight_scale"]
        if layout == "U8":
            stored[f"{module}.weight"] = packed_rows(t + 1)
            stored[f"{module}.weight_scale"] = scale.astype(np.float16)
        elif layout == "F16":
            stored[f"{module}.weight"] = expected[module].astype(np.float16)
        else:
            every = scale.repeat(n // shape[0], 0).repeat(k // 128 // shape[1], 1)
            stored |= mlx_parts(module, t, every, 128)
    save_file(stored, folder / "model.safetensors")
    if layout == "MLX 2-bit":
        full = json.loads((folder / "config.json").read_text())
        words = {"group_size": 128, "bits": 2}
        full |= {"quantization": words, "quantization_config": words}
        (folder / "config.json").write_text(json.dumps(full))
    checkpoint = load_checkpoint(folder)
    for module, weights in expected.items():
        np.testing.assert_array_equal(whole(checkpoint.ternary[module]), weights)
        assert checkpoint.stored[module][0] == layout
    found = statistics(checkpoint, "model.layers.0.mlp.down_proj")
    assert found.granularity == shared
    # Written in both forms of safetensors, and back, nothing is different.
    for mlx in (False, True):
        if mlx and layout == "U8" and checkpoint.ternary[module].divides:
            continue
        target = tmp_path / f"written {mlx}"
        write_huggingface(checkpoint, target, mlx=mlx)
        assert compare(load_checkpoint(target), checkpoint).difference == ""


@pytest.mark.parametrize(
    "to", [*(name.lower() for name in LAYOUTS if name != "STQ1_0"), "huggingface", "mlx"]
)
@pytest.mark.filterwarnings("ignore::trilith.golden.errors.CheckpointWarning")
def test_a_model_runs_alike_from_every_format(tmp_path, to):
    """No trained model here has STQ1_0's zeros; its weights are compared above."""
    target = tmp_path / ("a" if to in ("huggingface", "mlx") else "a.gguf")
    if target.suffix:
        write_gguf(load_checkpoint(PYDOC), target, to)
    else:
        write_huggingface(load_checkpoint(PYDOC), target, mlx=to == "mlx")
    tokens = [1, 2, 300, 4]
    np.testing.assert_array_equal(
        BitNetModel.load(target).forward(tokens), BitNetModel.load(PYDOC).forward(tokens)
    )


@pytest.mark.parametrize("to", [*(name.lower() for name in LAYOUTS), "huggingface", "mlx"])
@pytest.mark.filterwarnings("ignore::trilith.golden.errors.CheckpointWarning")
def test_qwen3_runs_alike_from_every_format(tmp_path, random_model, to):
    """Scales of a group, or of a row or matrix where the format has no others."""
    sizes = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64, "num_hidden_layers": 1}
    source = load_checkpoint(random_model("qwen3", seed=1, **sizes))
    name = to.upper() if to.upper() in LAYOUTS else "PQ2_0"
    ternary = {}
    for seed, (module, tensor) in enumerate(source.ternary.items()):
        scale = made_scales(name, tensor.shape, seed)
        trits = made_trits(name, tensor.shape, seed)
        group = tensor.shape[1] // scale.shape[1]
        ternary[module] = TernaryTensor.from_trits(module, trits, scale, group)
    source = replace(source, ternary=ternary)
    write_huggingface(source, tmp_path / "source")
    target = tmp_path / ("a" if to in ("huggingface", "mlx") else "a.gguf")
    if target.suffix:
        write_gguf(source, target, to)
    else:
        write_huggingface(load_checkpoint(tmp_path / "source"), target, mlx=to == "mlx")
    model, tokens = BitNetModel.load(target), [1, 2, 100, 4]
    assert model.config.model_type == "qwen3"
    np.testing.assert_array_equal(
        model.forward(tokens), BitNetModel.load(tmp_path / "source").forward(tokens)
    )


def test_words_of_mlx_with_another_zero_and_what_is_not_ternary(tmp_path, tiny):
    """Groups whose zero is the code 0, 2 or 3, negative scales, and scales of 0."""
    folder, trits, _ = tiny(model_type="llama", hidden_act="silu")
    stored, config = load_file(folder / "model.safetensors"), folder / "config.json"
    for module, t in trits.items():
        del stored[f"{module}.weight"], stored[f"{module}.weight_scale"]
        stored |= mlx_parts(module, t, np.full((t.shape[0], t.shape[1] // 64), 0.5), 64)
    words = {"group_size": 64, "bits": 2, "mode": "affine"}
    content = json.loads(config.read_text()) | {"quantization": words, "quantization_config": words}
    config.write_text(json.dumps(content))
    name = "model.layers.0.self_attn.q_proj"
    cases = [  # Code of all weights, scale, bias, and value of all weights.
        (0, 0.5, 0.0, 0.0),
        (1, 0.5, 0.0, 0.5),
        (1, 0.5, -1.0, -0.5),
        (2, 0.5, -1.5, -0.5),
        (0, -0.5, 0.5, 0.5),
        (2, -0.5, 0.5, -0.5),
        (3, 0.0, 0.25, 0.25),
        (2, 0.0, 0.0, 0.0),
    ]
    for row, (code, scale, bias, _) in enumerate(cases):
        stored[f"{name}.weight"][row] = code * 0x55555555
        stored[f"{name}.scales"][row], stored[f"{name}.biases"][row] = scale, bias
    save_file(stored, folder / "model.safetensors")
    found = whole(load_checkpoint(folder).ternary[name])
    for row, (_, _, _, value) in enumerate(cases):
        assert (found[row] == value).all(), row
    np.testing.assert_array_equal(found[len(cases) :], trits[name][len(cases) :] * 0.5)
    for code, scale, bias in ((3, 0.5, -0.5), (1, 0.5, -0.25), (3, 0.5, 0.0)):
        stored[f"{name}.weight"][0] = code * 0x55555555
        stored[f"{name}.scales"][0], stored[f"{name}.biases"][0] = scale, bias
        save_file(stored, folder / "model.safetensors")
        raises(
            f"{folder}/model.safetensors: {name}: a group must have the weights -s, 0 and s, and "
            f"that of output 0, input 0 has the scale {scale} and the bias {bias}; these weights "
            "are not ternary, take the original checkpoint",
            lambda: load_checkpoint(folder).ternary[name],
        )
    for key, value, legal in (
        ("bits", 4, "2"),
        ("group_size", 16, "32 or 64 or 128"),
        ("mode", "mxfp4", "affine"),
        ("lm_head", {"bits": 8}, "absent"),
    ):
        changed = {"quantization": words | {key: value}}
        content.pop("quantization_config", None)
        config.write_text(json.dumps(content | changed))
        raises(
            f"{folder}: quantization's {key} must be {legal} for ternary weights of MLX, not "
            f"{value!r}",
            lambda: load_checkpoint(folder),
        )


def test_golden_bytes():
    """Blocks worked by hand: weight j is (j mod 3) - 1 with the scale 1, which is 0x3C00."""
    ramp = [j % 3 - 1 for j in range(256)]
    one = struct.pack("<e", 1)
    # Weights 0 to 3 have the codes 0 1 2 0, and 4 to 7 the codes 1 2 0 1, the first one lowest.
    assert independent.q2_0(ramp[:64], 1)[:4] == one + bytes([0b00_10_01_00, 0b01_00_10_01])
    # Weights 0, 16, 32, 48, 64: digits 0 1 2 0 1 = 46, ceil(46 * 256 / 243) = 49.
    assert independent.ptq1_0(ramp[:128], 1)[0] == 49
    # Weights 120, 122, 124, 126: digits 0 2 1 0 and 0 are 63, and ceil(63 * 256 / 243) is 67.
    assert independent.ptq1_0(ramp[:128], 1)[24] == 67
    # A four is 0, -1, +1, -1: place 0, the second nonzero differs from the first, which is -1.
    sherry = [(0, -1, 1, -1)[j // 16 % 4] for j in range(256)]
    block = independent.stq1_0(sherry, 1)
    assert (block[0], block[32], block[40:]) == (0x11, 0xFF, one)
    # Weights 0, 16, 32, 48 have the codes 0 1 2 0.
    assert independent.iq2_bn_row(ramp[:64], [1])[:5] == struct.pack("<f", 1) + bytes(
        [0b00_10_01_00]
    )


def raises(message, read):
    with pytest.raises(CheckpointError) as refusal:
        read()
    assert str(refusal.value) == message


def test_the_type_42_is_told_apart_or_refused(tmp_path):
    file = tmp_path / "a.gguf"
    three, _ = made_layer("Q2_0_64")
    other, _ = made_layer("Q2_0_128")
    write(file, three | EMBEDDING, arch="qwen3")
    assert load_checkpoint(file, type42="q2_0_64").format == "gguf Q2_0_64"
    raises(
        f"{file}: the layout of the type 42 must be q2_0_64, as the sizes of the tensors are, not "
        "stq1_0; leave out --type42 (type42)",
        lambda: load_checkpoint(file, type42="stq1_0"),
    )
    raises(
        "type42 must be one of q2_0_64, q2_0_128, stq1_0, not 'q2_0'",
        lambda: load_checkpoint(file, type42="q2_0"),
    )
    mixed = three | {"blk.0.ffn_down.weight": other["blk.0.ffn_down.weight"]}
    write(file, mixed | EMBEDDING, arch="qwen3")
    raises(
        f"{file}: tensors of the type 42 must have one layout, but blk.0.ffn_up.weight has the "
        "size of q2_0_64 and blk.0.ffn_down.weight that of q2_0_128; take a file of one program",
        lambda: load_checkpoint(file),
    )
    kind, shape, raw = three["blk.0.attn_q.weight"]
    wrong = np.zeros(raw.size + 64, np.uint8)
    write(file, three | {"blk.0.attn_q.weight": (kind, shape, wrong)} | EMBEDDING, arch="qwen3")
    raises(
        f"{file}: blk.0.attn_q.weight of the type 42 must have the size of Q2_0_64 (18 bytes per "
        "64 weights) or Q2_0_128 (34 bytes per 128 weights) or STQ1_0 (42 bytes per 256 weights), "
        "not 18496 bytes for 256 x 256 weights; the number also stands for other layouts, or the "
        "file is damaged or truncated",
        lambda: load_checkpoint(file),
    )
    tq2, _ = made_layer("TQ2_0")
    write(file, tq2 | EMBEDDING, arch="qwen3")
    raises(
        f"{file}: the layout of the type 42 must not be given, because no tensor is of this type; "
        "leave out --type42 (type42)",
        lambda: load_checkpoint(file, type42="stq1_0"),
    )


def test_padding_that_leaves_the_type_42_open(tmp_path):
    """One row of 256 weights takes 72 or 68 bytes, and 96 with the padding."""
    file = tmp_path / "a.gguf"
    trits = made_trits("Q2_0_64", (1, 256), 0)
    data = independent.gguf_matrix("Q2_0_64", trits, np.ones((1, 4)))[1]
    raw = np.frombuffer(data, np.uint8)
    write(file, {"a": (42, (1, 256), raw), "b": np.zeros(4, np.float32)})
    raises(
        f"{file}: the type 42 stands for q2_0_64 or q2_0_128, and the padded sizes of the tensors "
        "leave open which; name it with --type42 (type42=)",
        lambda: GgufFile(file),
    )
    found = GgufFile(file, "q2_0_64")
    assert found.entries["a"].type_name == "Q2_0_64"
    np.testing.assert_array_equal(found.array("a"), trits)


@pytest.mark.parametrize(("number", "name"), [(43, "STQ1_0"), (143, "PTQ1_0"), (135, "IQ2_BN")])
def test_numbers_of_several_projects(tmp_path, number, name):
    file = tmp_path / "a.gguf"
    tensors, expected = made_layer(name)
    again = {one: (number, shape, raw) for one, (_, shape, raw) in tensors.items()}
    write(file, again | EMBEDDING, arch="qwen3")
    for module, (trits, _) in expected.items():
        np.testing.assert_array_equal(load_checkpoint(file).ternary[module].trits, trits)
    _, shape, raw = again["blk.0.attn_q.weight"]
    again["blk.0.attn_q.weight"] = number, shape, np.zeros(raw.size + 512, np.uint8)
    write(file, again | EMBEDDING, arch="qwen3")
    with pytest.raises(CheckpointError, match=f"the type {number} must have the size of {name} "):
        load_checkpoint(file)


def test_codes_and_scales_that_are_not_ternary(tmp_path):
    file = tmp_path / "a.gguf"
    tensors, _ = made_layer("Q2_0_128")
    kind, shape, raw = tensors["blk.0.attn_v.weight"]
    name = "model.layers.0.self_attn.v_proj"
    for place, value, message in (
        (
            2,
            0b10_11_01_00,
            "must hold the codes 0, 1 and 2, not 3 at output 0, input",
        ),
        (1, 0xBC, "scales must be finite and not negative, not -1"),
        (1, 0x7C, "scales must be finite and not negative, not inf"),
    ):
        bad = raw.copy()
        bad[place] = value
        write(file, tensors | EMBEDDING | {"blk.0.attn_v.weight": (kind, shape, bad)}, arch="qwen3")
        checkpoint = load_checkpoint(file)
        with pytest.raises(CheckpointError, match=message if value != 0x7C else "not (inf|nan)"):
            checkpoint.ternary[name]


def test_sherry_needs_one_zero_in_each_four(tmp_path, tiny):
    folder, trits, _ = tiny()
    first = "model.layers.0.self_attn.q_proj"
    with pytest.raises(CheckpointError) as refusal:
        write_gguf(load_checkpoint(folder), tmp_path / "a.gguf", "stq1_0")
    zeros = (trits[first].reshape(256, 4, 4, 16) == 0).sum(axis=2)
    row, part, place = np.argwhere(zeros != 1)[0]
    zeros, place = zeros[row, part, place], 64 * part + place
    assert str(refusal.value) == (
        f"{first}: the inputs {place}, {place + 16}, {place + 32}, {place + 48} of output "
        f"{row} must have exactly one zero for STQ1_0, not {zeros}"
    )
    assert not (tmp_path / "a.gguf").exists()


def test_the_library_knows_no_other_ternary_type():
    """A newer ``gguf`` with one of our numbers asks for a comparison with its own quantizer."""
    numbers = {number for one in LAYOUTS.values() for number in one.numbers}
    assert numbers & set(gguf.GGMLQuantizationType) == {34, 35}

import json
import re

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from trilith.golden import (
    CODES,
    CheckpointError,
    TernaryTensor,
    load_checkpoint,
    pack_weights,
    unpack_weights,
)
from trilith.golden.checkpoint.compare import Comparison, compare
from trilith.golden.checkpoint.statistics import statistics
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.checkpoint.write_huggingface import write_huggingface

LLAMA = {
    "model_type": "llama",
    "hidden_act": "silu",
    "quantization_config": {"quant_method": "bitnet", "modules_to_not_convert": ["lm_head"]},
}
Q = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.0.mlp.down_proj"
TRITS = 256 * (256 + 128 + 128 + 256) + 3 * 512 * 256


@pytest.mark.parametrize("model", [{}, LLAMA], ids=["bitnet", "llama"])
@pytest.mark.parametrize("kind", ["tq1_0", "tq2_0", "i2_s", "huggingface"])
def test_round_trips(tmp_path, tiny, model, kind):
    folder, _, _ = tiny(num_hidden_layers=2, **model)
    source = load_checkpoint(folder)
    target = tmp_path / "target"
    seen = []
    if kind == "huggingface":
        write_huggingface(source, target, progress=lambda *x: seen.append(x))
    else:
        write_gguf(source, target, kind, progress=lambda *x: seen.append(x))
    count = len(source.ternary) + len(source.tensors)
    assert seen == [(i + 1, count) for i in range(count)]
    converted = load_checkpoint(target)
    # Llama's scales divide. GGUF's multiply: the inverses of all these random scales are rounded.
    rounded = 14 if model and kind != "huggingface" else 0
    equal = Comparison(14, 2 * TRITS, 14, len(source.tensors), "", rounded)
    assert compare(converted, source) == equal
    assert compare(source, converted) == equal
    for key in ("hidden_size", "rms_norm_eps", "rope_theta", "vocab_size", "hidden_act"):
        assert converted.config[key] == source.config[key]
    # And back to Hugging Face, from which nothing differs either.
    write_huggingface(converted, tmp_path / "back")
    assert compare(load_checkpoint(tmp_path / "back"), source) == equal
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("scale_dtype", [np.float32, np.float16])
@pytest.mark.parametrize("divides", [False, True])
def test_that_scales_keep_value_and_direction(tmp_path, tiny, divides, scale_dtype):
    folder, _, scales = tiny(scale_dtype=scale_dtype, **(LLAMA if divides else {}))
    write_huggingface(load_checkpoint(folder), tmp_path / "new")
    stored = load_file(tmp_path / "new" / "model.safetensors")
    for name, scale in scales.items():
        np.testing.assert_array_equal(stored[f"{name}.weight_scale"], scale.astype(np.float32))
    assert compare(load_checkpoint(tmp_path / "new"), load_checkpoint(folder)).rounded_scales == 0


def test_that_a_folder_has_one_direction_of_scales(tmp_path, tiny):
    source = load_checkpoint(tiny()[0])
    message = (
        f"{DOWN}: scales of a Hugging Face folder must all multiply or all divide; convert to gguf "
        "or stream instead"
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        write_huggingface(changed(source, DOWN, divides=True), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_files_of_a_folder(tmp_path, tiny):
    folder, trits, scales = tiny(**LLAMA)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    write_huggingface(load_checkpoint(folder), tmp_path / "new")
    names = {file.name for file in (tmp_path / "new").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json"}
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["quantization_config"] == {
        "modules_to_not_convert": ["lm_head"],
        "quant_method": "bitnet",
        "linear_class": "bitlinear",
        "quantization_mode": "offline",
    }
    with safe_open(tmp_path / "new" / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}
        np.testing.assert_array_equal(file.get_tensor(f"{Q}.weight"), pack_weights(trits[Q]))
        np.testing.assert_array_equal(file.get_tensor(f"{Q}.weight_scale"), scales[Q])


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


def test_the_example_of_transformers():
    """The bytes and values that the docstring of transformers' unpack_weights shows."""
    packed = np.array([[0b10100001, 0b00011000], [0b10010000, 0b00001010]], np.uint8)
    expected = [[0, -1], [-1, 1], [-1, 1], [-1, 1], [1, 0], [0, -1], [1, -1], [1, -1]]
    trits = unpack_weights(packed, 8)
    assert trits.tolist() == expected
    np.testing.assert_array_equal(pack_weights(trits), packed)


PARITY = "needs the extra parity: pip install trilith[parity]"


@pytest.mark.parametrize("n", [4, 8, 36])
def test_packing_of_transformers(n):
    torch = pytest.importorskip("torch", reason=PARITY)
    bitnet = pytest.importorskip("transformers.integrations.bitnet", reason=PARITY)
    trits = np.random.default_rng(n).integers(-1, 2, (n, 20), np.int8)
    packed = bitnet.pack_weights(torch.from_numpy(trits.copy()))
    np.testing.assert_array_equal(pack_weights(trits), packed.numpy())
    unpack = bitnet.unpack_weights
    theirs = unpack(torch.from_numpy(pack_weights(trits)), torch.int8).numpy()
    np.testing.assert_array_equal(theirs, trits)
    np.testing.assert_array_equal(unpack_weights(packed.numpy(), n), theirs)


@pytest.mark.parametrize("model", [{}, LLAMA], ids=["bitnet", "llama"])
def test_transformers_loads_what_is_written(tmp_path, tiny, model):
    torch = pytest.importorskip("torch", reason=PARITY)
    pytest.importorskip("accelerate", reason=PARITY)
    transformers = pytest.importorskip("transformers", reason=PARITY)
    norms = {
        "model.layers.0.post_attention_layernorm.weight": np.ones(256, np.float32),
        "model.layers.0.mlp.ffn_sub_norm.weight": None if model else np.ones(512, np.float32),
    }
    folder, trits, _ = tiny(tensors=norms, tie_word_embeddings=True, **model)
    source = load_checkpoint(folder)
    write_huggingface(source, tmp_path / "new")
    loaded, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "new", dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    for name, t in trits.items():
        module = loaded.get_submodule(name)
        assert type(module).__name__ == ("BitLinear" if model else "AutoBitLinear")
        weight = module.weight.detach().numpy()
        np.testing.assert_array_equal(weight, pack_weights(t) if model else t)
        np.testing.assert_array_equal(module.weight_scale.numpy(), source.ternary[name].scale[0])


def changed(checkpoint, name, **fields):
    """The checkpoint with one matrix's fields changed."""
    old = checkpoint.ternary[name]
    new = {x: getattr(old, x) for x in old.__dataclass_fields__} | fields
    ternary = dict(checkpoint.ternary) | {name: TernaryTensor(**new)}
    return type(checkpoint)(**vars(checkpoint) | {"ternary": ternary})


def test_comparison_names_the_first_difference(tiny):
    folder, trits, scales = tiny()
    source = load_checkpoint(folder)
    other = trits[DOWN].copy()
    other[7, 300] = (other[7, 300] + 2) % 3 - 1
    found = compare(changed(source, DOWN, packed=pack_weights(other)), source)
    assert found == Comparison(
        6,
        TRITS - 512 * 256,
        6,
        0,
        f"{DOWN} has the trit {other[7, 300]} at output 7, input 300, and {trits[DOWN][7, 300]} "
        "in the source",
    )
    scale = np.full((2, 1), scales[Q][0])
    assert not compare(changed(source, Q, scale=scale), source).difference
    scale[1] = np.nextafter(scale[1], np.float32(9))
    assert compare(changed(source, Q, scale=scale), source) == Comparison(
        0,
        0,
        0,
        0,
        f"{Q} has the scale {scale[1, 0]} at output 128, input 0, and {scales[Q][0]} in the source",
    )
    norm = "model.norm.weight"
    tensors = dict(source.tensors)
    tensors[norm] = tensors[norm] + 1
    found = compare(type(source)(**vars(source) | {"tensors": tensors}), source)
    assert found.matrices == 7
    assert found.difference == f"{norm} has other values than in the source"
    del tensors[norm]
    found = compare(type(source)(**vars(source) | {"tensors": tensors}), source)
    assert found == Comparison(0, 0, 0, 0, f"{norm} is missing")
    fewer = {name: x for name, x in source.ternary.items() if name != Q}
    found = compare(source, type(source)(**vars(source) | {"ternary": fewer}))
    assert found.difference == f"{Q} is not in the source"


def test_that_comparison_sees_a_rounded_scale(tiny):
    source = load_checkpoint(tiny(**LLAMA)[0])
    s = np.float32(0.206)
    divided = changed(source, Q, scale=np.array([[s]]))
    # A copy that multiplies by the inverse has it rounded, unless the scale is a power of two.
    inverse = {"scale": np.array([[1 / s]]), "divides": False}
    found = compare(changed(source, Q, **inverse), divided)
    assert (found.difference, found.scales, found.rounded_scales) == ("", 7, 1)
    assert compare(divided, divided).rounded_scales == 0
    exact = {"scale": np.array([[4]], np.float32), "divides": False}
    quarter = changed(source, Q, scale=np.array([[0.25]], np.float32))
    assert compare(changed(source, Q, **exact), quarter).rounded_scales == 0
    # A divisor that went through its inverse and back is another one.
    back = np.float32(1) / (np.float32(1) / s)
    assert back != s
    found = compare(changed(source, Q, scale=np.array([[back]])), divided)
    assert found.difference == (
        f"{Q} has the scale {float(back)} (a divisor) at output 0, input 0, and {float(s)} (a "
        "divisor) in the source"
    )
    found = compare(changed(source, Q, scale=np.array([[s]]), divides=False), divided)
    assert found.difference == (
        f"{Q} has the scale {float(s)} at output 0, input 0, and {float(s)} (a divisor) in the "
        "source"
    )
    # Two equal scales in the source count twice.
    twice = changed(source, Q, scale=np.array([[s], [s]]))
    assert compare(changed(source, Q, **inverse), twice).rounded_scales == 2


def test_scales_that_a_format_cannot_hold(tmp_path, tiny):
    folder, _, _ = tiny()
    source = load_checkpoint(folder)
    shards = np.array([[0.5], [0.25]], np.float32)
    several = changed(source, Q, scale=shards)

    def refuses(message, write, *arguments):
        with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
            write(*arguments)
        assert {file.name for file in tmp_path.iterdir()} == {"source"}

    refuses(
        f"{Q} has 2 x 1 scales, and Hugging Face's packed format must have one for each matrix; "
        "convert to tq2_0 or stream instead",
        write_huggingface,
        several,
        tmp_path / "new",
    )
    refuses(
        f"{Q} has 2 x 1 scales, and I2_S must have one for each matrix; convert to tq2_0 or stream "
        "instead",
        write_gguf,
        several,
        tmp_path / "new",
        "i2_s",
    )
    refuses(
        f"{Q} has 2 scales, and TQ's must be exact in float16, not 0.10000000149011612; convert to "
        "stream instead",
        write_gguf,
        changed(source, Q, scale=np.array([[0.5], [0.1]], np.float32)),
        tmp_path / "new",
        "tq2_0",
    )
    refuses(
        f"{Q} must have scales of a multiple of 256 inputs for TQ, not 128; convert to stream "
        "instead",
        write_gguf,
        changed(source, Q, scale=np.array([[0.5, 0.25]], np.float32), group_size=128),
        tmp_path / "new",
        "tq2_0",
    )
    refuses(
        "kind must be one of tq1_0, tq2_0, i2_s, not 'q4_k'",
        write_gguf,
        source,
        tmp_path / "new",
        "q4_k",
    )
    refuses(
        f"{folder}: GGUF must have a name for the model, and none is known for model_type 'gemma' "
        "with hidden_act 'relu2' and sub-norms; convert to huggingface or stream instead",
        write_gguf,
        type(source)(**vars(source) | {"config": source.config | {"model_type": "gemma"}}),
        tmp_path / "new",
        "i2_s",
    )
    write_gguf(several, tmp_path / "shards.gguf", "tq1_0")
    assert not compare(load_checkpoint(tmp_path / "shards.gguf"), several).difference


def test_inputs_that_do_not_fill_a_block(tmp_path, tiny):
    folder, _, _ = tiny(hidden_size=64)
    for kind, block in (("i2_s", 128), ("tq1_0", 256)):
        message = (
            f"{Q}.weight must have a multiple of {block} inputs for {kind}, not 64; convert to "
            "huggingface or stream instead"
        )
        with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
            write_gguf(load_checkpoint(folder), tmp_path / "new", kind)


def test_a_failure_leaves_nothing(tmp_path, tiny):
    folder, _, _ = tiny(tensors={f"{DOWN}.weight": np.full((64, 512), 0xFF, np.uint8)})
    source = load_checkpoint(folder)
    old = tmp_path / "old.gguf"
    old.write_text("as it was")
    for write in (
        lambda: write_huggingface(source, tmp_path / "new"),
        lambda: write_gguf(source, old, "i2_s"),
        lambda: write_gguf(source, old, "tq1_0"),
    ):
        with pytest.raises(CheckpointError, match="must hold the codes 0, 1 and 2, not 3"):
            write()
    assert {file.name for file in tmp_path.iterdir()} == {"source", "old.gguf"}
    assert old.read_text() == "as it was"


def test_statistics(tiny):
    folder, trits, _ = tiny()
    for name, t in trits.items():
        p = np.array([(t == x).mean() for x in (-1, 0, 1)])
        found = statistics(load_checkpoint(folder), name)
        assert found.zero_fraction == pytest.approx(p[1])
        assert found.entropy_bits_per_trit == pytest.approx(-(p * np.log2(p)).sum())
        assert found.stored_bits_per_weight == 2 + 32 / t.size
        assert (found.n, found.k, found.scales, found.stored_type) == (*t.shape, 1, "U8")
    zeros = np.full((64, 256), 0x55, np.uint8)
    folder, _, _ = tiny("zeros", {f"{Q}.weight": zeros})
    found = statistics(load_checkpoint(folder), Q)
    assert (found.zero_fraction, found.entropy_bits_per_trit) == (1.0, 0.0)
    assert load_file(folder / "model.safetensors")[f"{Q}.weight_scale"].size == 1

"""Comparison of checkpoints, and round trips through every format."""

from dataclasses import replace

import numpy as np
import pytest

from trilith.golden import (
    load_checkpoint,
    pack_weights,
)
from trilith.golden.checkpoint.compare import Comparison, Difference, compare
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
    equal = Comparison(14, 2 * TRITS, 14, len(source.tensors), (), rounded)
    assert compare(converted, source) == equal
    assert compare(source, converted) == equal
    for key in ("hidden_size", "rms_norm_eps", "rope_theta", "vocab_size", "hidden_act"):
        assert converted.config[key] == source.config[key]
    # And back to Hugging Face, from which nothing differs either.
    write_huggingface(converted, tmp_path / "back")
    assert compare(load_checkpoint(tmp_path / "back"), source) == equal
    assert not list(tmp_path.glob(".*"))


def test_that_differences_are_counted(tiny, changed):
    folder, trits, scales = tiny()
    source = load_checkpoint(folder)
    other = trits[DOWN].copy()
    places = [(7, 300), (7, 301), (9, 0), (255, 511)]
    for place in places:
        other[place] = (other[place] + 2) % 3 - 1
    copy = changed(source, DOWN, packed=pack_weights(other))
    scale = np.full((2, 1), scales[Q][0])
    assert not compare(changed(copy, Q, scale=scale), source).differences[1:]
    scale[1] = np.nextafter(scale[1], np.float32(9))
    norm = "model.norm.weight"
    tensors = dict(source.tensors)
    tensors[norm] = tensors[norm].copy()
    tensors[norm][[3, 255]] += 1
    copy = replace(changed(copy, Q, scale=scale), tensors=tensors)
    seen = []
    found = compare(copy, source, progress=lambda *x: seen.append(x))
    wrong = [
        f"has the trit {other[place]} at output {place[0]}, input {place[1]}, and "
        f"{trits[DOWN][place]} in the source"
        for place in places[:3]
    ]
    at = "at output 128, input 0"
    values = [
        f"has the value {tensors[norm][k]} at {k}, and {source.tensors[norm][k]} in the source"
        for k in (3, 255)
    ]
    differences = (
        Difference(
            Q, (f"has the scale {scale[1, 0]} {at}, and {scales[Q][0]} in the source",), 0, 1
        ),
        Difference(DOWN, tuple(wrong), 4),
        Difference(norm, tuple(values), values=2),
    )
    assert found == Comparison(7, TRITS, 7, len(source.tensors), differences)
    assert found.different() == {"tensors": 3, "trits": 4, "scales": 1, "values": 2}
    assert found.difference == f"{Q} {differences[0].first[0]}"
    assert seen == [(i + 1, 7 + len(tensors)) for i in range(7 + len(tensors))]


def test_tensors_that_one_side_does_not_have(tiny, changed):
    folder, trits, _ = tiny()
    source = load_checkpoint(folder)
    fewer = replace(
        source,
        ternary={name: x for name, x in source.ternary.items() if name != Q},
        tensors={name: x for name, x in source.tensors.items() if name != "model.norm.weight"},
    )
    small = trits[DOWN][:, :256]
    fewer = changed(fewer, DOWN, packed=pack_weights(small), group_size=256)
    shape = f"has the shape {small.shape}, and {trits[DOWN].shape} in the source"
    count = TRITS - trits[Q].size - trits[DOWN].size, 5, len(source.tensors) - 1
    found = compare(fewer, source)
    assert found == Comparison(
        5,
        *count,
        tuple(
            Difference(name, (words,))
            for name, words in (
                (Q, "is missing"),
                (DOWN, shape),
                ("model.norm.weight", "is missing"),
            )
        ),
    )
    names = [Q, "model.norm.weight"]
    found = compare(source, fewer)
    assert [one for one in found.differences if one.name in names] == [
        Difference(name, ("is not in the source",)) for name in names
    ]


def test_values_that_float16_rounds(tiny):
    source = load_checkpoint(tiny()[0])
    name = "model.embed_tokens.weight"
    floats = source.tensors[name].astype(np.float32) * np.float32(1 / 3)
    floats[0, :2] = 1e-9, 0.5
    half = floats.astype(np.float16)
    rounded = int((half != floats).sum())
    wide, narrow = (
        replace(source, tensors=dict(source.tensors) | {name: x}) for x in (floats, half)
    )
    for found in (compare(narrow, wide), compare(wide, narrow)):
        assert (found.differences, found.rounded_values) == ((), rounded)
    half[0, 1] = np.nextafter(half[0, 1], np.float16(1))
    found = compare(narrow, wide)
    assert found.differences == (
        Difference(name, (f"has the value {half[0, 1]} at 0, 1, and 0.5 in the source",), values=1),
    )
    assert found.rounded_values == rounded


def test_that_comparison_sees_a_rounded_scale(tiny, changed):
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

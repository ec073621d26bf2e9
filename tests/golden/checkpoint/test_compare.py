"""Comparison of checkpoints, and round trips through every format."""

import numpy as np
import pytest

from trilith.golden import (
    load_checkpoint,
    pack_weights,
)
from trilith.golden.checkpoint.compare import Comparison, compare
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


def test_comparison_names_the_first_difference(tiny, changed):
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

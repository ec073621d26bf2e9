import re

import ml_dtypes
import numpy as np
import pytest

from trilith.golden.data import PYDOC
from trilith.golden.network.mlp import BitNetMLP, load_digits
from trilith.golden.network.transformer import BitNetModel
from trilith.hw.baselines import BASELINES
from trilith.sim.gatelevel.operands import _convert, _record, make_operands

CASES = [
    ("ternaryxint8-escape", 1),
    ("binaryxbinary", 1),
    ("int4xfp16-fp32-tree", 2),
    ("e4m3xe4m3-fp32-fused", 1),
    ("int8xint8", 1),
]


@pytest.mark.parametrize("source", ["trained", "2b4t"])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("name", "interleave"), CASES)
def test_beats_are_whole_dot_products_in_turn(name, interleave, rows, source):
    baseline = BASELINES[name]
    shape = {"beats": 300, "lanes": 20, "rows": rows, "interleave": interleave}
    found = make_operands(baseline, source, **shape)
    again = make_operands(baseline, source, **shape)
    assert found.weights.shape == (300, rows, 20)
    assert found.activations.shape == (300, 20)
    assert np.array_equal(found.weights, again.weights)
    assert np.array_equal(found.activations, again.activations)
    ends = np.flatnonzero(found.last)
    assert sorted(dot[-1] for dot in found.dots) == list(ends)
    for dot in found.dots:
        assert set(np.diff(dot)) <= {interleave}
        assert not found.last[dot[:-1]].any()
    taken = np.concatenate(found.dots)
    assert len(set(taken)) == len(taken)
    # The ports take the operands.
    baseline.weight_port(found.weights)
    baseline.activation_port(found.activations)


def test_trained_operands_are_those_that_the_layers_multiply():
    found = make_operands(BASELINES["ternaryxint8-escape"], "trained", beats=2000, lanes=64)
    seen = []

    def record(weight, q):
        seen.append((weight.trits, q))
        return np.zeros((len(q), weight.shape[0]), np.int32)

    BitNetMLP.load(matmul=record).forward(load_digits()[0])
    trits, q = seen[0]  # Later layers saw zeros.
    rows = {row.tobytes() for row in trits.astype(np.int64)}
    tokens = {row.tobytes() for row in q.astype(np.int64)}
    single = [dot[0] for dot in found.dots if len(dot) == 1]
    assert len(single) >= 32
    for beat in single:
        assert found.weights[beat, 0].tobytes() in rows
        assert found.activations[beat].tobytes() in tokens
    assert 0.2 < found.zero_weights < 0.6


def test_the_twin_is_recorded_as_it_computes():
    network = BitNetMLP.load_float()
    images = load_digits()[0][:5]
    inputs = _record(network, images)
    assert np.array_equal(network.layers[-1](inputs[-1]), network.forward(images))


def test_statistics_of_2b4t():
    found = make_operands(BASELINES["ternaryxint8-escape"], "2b4t", beats=1710, lanes=80)
    assert found.zero_weights == pytest.approx(0.422, abs=0.005)
    # A quarter of the beats has 59.8 % zeros, the rest 1 %.
    assert found.zero_activations == pytest.approx(0.16, abs=0.01)
    down = [dot for dot in found.dots if len(dot) == 86]
    zeros = np.mean([np.mean(found.activations[dot] == 0) for dot in down])
    assert zeros == pytest.approx(0.598, abs=0.02)


@pytest.mark.parametrize("name", ["ternaryxint8-base3", "fp16xfp16-fp32-fused"])
def test_held_operands_stay_for_eight_beats(name):
    def make(source):
        return make_operands(BASELINES[name], source, beats=320, lanes=16)

    trained, x, w = make("trained"), make("held-activations"), make("held-weights")
    assert np.array_equal(x.activations, trained.activations[:40].repeat(8, axis=0))
    assert np.array_equal(w.weights, trained.weights[:40].repeat(8, axis=0))
    assert np.array_equal(x.weights, trained.weights)
    assert np.array_equal(w.activations, trained.activations)
    assert np.array_equal(x.last, trained.last)


def test_operands_of_the_language_model():
    trits = make_operands(BASELINES["ternaryxint8-base3"], "pydoc", beats=300, lanes=16)
    assert set(np.unique(trits.weights)) == {-1, 0, 1}
    model = BitNetModel.load(PYDOC)
    first = model.layers[0].linears["self_attn.q_proj"].weight.trits
    rows = {row.tobytes() for row in first.reshape(-1, 16)}
    assert all(row.astype(np.int8).tobytes() in rows for row in trits.weights[:16, 0])
    assert abs(trits.activations).max() == 127
    # The activations of both formats are of the same tokens.
    floats = make_operands(BASELINES["fp16xfp16-fp32-fused"], "pydoc", beats=300, lanes=16)
    values = floats.activations.astype(np.uint16).view(np.float16)
    assert np.array_equal(values[0] < 0, trits.activations[0] < 0) or (values[0] == 0).any()


@pytest.mark.parametrize("source", ["trained", "2b4t", "pydoc", "held-weights"])
def test_operands_of_sherry_have_one_zero_in_each_four(source):
    found = make_operands(BASELINES["ternaryxint8-sherry"], source, beats=300, lanes=16)
    assert ((found.weights.reshape(-1, 4) == 0).sum(axis=1) == 1).all()
    assert found.zero_weights == 0.25
    message = (
        "operands must be trained, held-activations, held-weights, pydoc or 2b4t for "
        "ternaryxint8-sherry, which has one zero in each four weights, not '2b4t:0.3'"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_operands(BASELINES["ternaryxint8-sherry"], "2b4t:0.3", beats=300, lanes=16)


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", np.float32), ("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)]
)
def test_floats_round_as_numpy_does(name, dtype):
    fmt = next(b.activations for b in BASELINES.values() if b.activations.name == name)
    values = np.random.default_rng(0).standard_normal((4, 500), np.float32)
    values[0] *= 1e-6
    values[1, :250] = 0
    expected = values.astype(dtype).view(f"u{fmt.bits // 8}").astype(np.int64)
    assert np.array_equal(_convert(fmt, values), expected)


def test_eight_bit_floats_reach_their_largest():
    fmt = BASELINES["e4m3xe4m3-fp32-fused"].weights
    values = np.random.default_rng(0).standard_normal((4, 500)).astype(np.float32)
    found = _convert(fmt, values).astype(np.uint8).view(ml_dtypes.float8_e4m3fn)
    scaled = values * (448 / np.abs(values).max(axis=1, keepdims=True)).astype(np.float32)
    assert np.abs(found.astype(np.float32)).max() == 448
    assert np.allclose(found.astype(np.float32), scaled, rtol=0.0626, atol=0.002)

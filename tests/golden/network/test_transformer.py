"""The golden transformer."""

import json
import re
import tracemalloc
from itertools import islice

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trilith.golden import BitNetModel, CheckpointError, ternary_matmul
from trilith.golden.errors import ActivationError
from trilith.golden.network import transformer
from trilith.golden.network.transformer import KVCache


@pytest.mark.parametrize("family", ["bitnet", "llama", "qwen3"])
def test_tokens_one_by_one_or_at_once(random_model, family):
    model = BitNetModel.load(random_model(family, seed=7))
    tokens = np.random.default_rng(0).integers(0, 160, 12)
    whole = model.forward(tokens)
    assert whole.shape == (12, 160)
    assert whole.dtype == np.float32
    cache = KVCache(model.config)
    alone = np.concatenate([model.forward([token], cache) for token in tokens])
    np.testing.assert_allclose(alone, whole, atol=2e-4 * np.abs(whole).max())
    last = model.forward(tokens, last=True)
    np.testing.assert_allclose(last, whole[-1:], atol=1e-6 * np.abs(whole).max())


def test_any_exact_product_gives_the_same_logits(random_model):
    folder = random_model(seed=8)
    plain = BitNetModel.load(folder, matmul=lambda weight, q: ternary_matmul(weight.trits, q))
    tokens = [5, 6, 7]
    np.testing.assert_array_equal(plain.forward(tokens), BitNetModel.load(folder).forward(tokens))


@pytest.mark.parametrize(
    ("activations", "ranges"),
    [("int8", (127, 127)), ("int4", (7, 7)), ("a4.8", (8, 127))],
)
def test_activation_widths(random_model, activations, ranges):
    seen = {"inner": 0, "outer": 0}

    def multiply(weight, q):
        kind = "inner" if weight.name.endswith(("o_proj", "down_proj")) else "outer"
        seen[kind] = max(seen[kind], int(np.abs(q.astype(int)).max()))
        return ternary_matmul(weight.trits, q)

    model = BitNetModel.load(random_model(seed=9), activations=activations, matmul=multiply)
    model.forward(range(40))
    assert (seen["outer"], seen["inner"]) == ranges


def test_unknown_activations(random_model):
    with pytest.raises(
        ValueError, match=r"^activations must be one of int8, int4, a4\.8, not 'int3'$"
    ):
        BitNetModel.load(random_model(), activations="int3")


def test_greedy_is_the_likeliest_and_draws_follow_the_seed(random_model):
    model = BitNetModel.load(random_model(seed=10))
    prompt = [1, 2, 3]
    greedy = list(islice(model.generate(prompt), 8))
    logits = model.forward(prompt + greedy[:-1])
    assert greedy == logits[2:].argmax(axis=1).tolist()
    draws = [list(islice(model.generate(prompt, temperature=9.0, seed=s), 8)) for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_drawn_tokens_have_the_models_distribution(random_model):
    model = BitNetModel.load(random_model(seed=11))
    logits = model.forward([4]).astype(np.float64)[0] / 20
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    drawn = [next(model.generate([4], temperature=20.0, seed=seed)) for seed in range(1000)]
    counts = np.bincount(drawn, minlength=160) / 1000
    # Three standard deviations of the likeliest token's count, and of all together.
    likeliest = expected.argmax()
    sigma = np.sqrt(expected * (1 - expected) / 1000)
    assert abs(counts[likeliest] - expected[likeliest]) < 3 * sigma[likeliest]
    assert np.abs(counts - expected).sum() < 3 * sigma.sum()


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], r"tokens must be a non-empty sequence of integers, not \[\]"),
        ([0.5], r"tokens must be a non-empty sequence of integers, not \[0\.5\]"),
        ([160], "tokens must be from 0 to 159, not 160 to 160"),
        ([-1, 3], "tokens must be from 0 to 159, not -1 to 3"),
    ],
)
def test_illegal_tokens(random_model, tokens, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        BitNetModel.load(random_model()).forward(tokens)


LARGE = "; weights, scales or norms are out of range"
SQUARES = "the squares of a norm's inputs"


@pytest.mark.parametrize(
    ("family", "changes", "place", "values", "found"),
    [
        ("bitnet", {"model.embed_tokens": 1e30}, "positions 0 to 1, layer 0", SQUARES, "inf"),
        (
            "bitnet",
            {"model.layers.1.input_layernorm": 3e38},
            "positions 0 to 1, layer 1",
            "the inputs of model.layers.1.self_attn.q_proj",
            "-?inf",
        ),
        (
            "bitnet",
            {f"model.layers.0.self_attn.{x}_proj.weight_scale": 1e25 for x in "qk"},
            "positions 0 to 1, layer 0",
            SQUARES,
            "nan",
        ),
        (
            "bitnet",
            {"model.layers.2.mlp.gate_proj.weight_scale": 1e25},
            "positions 0 to 1, layer 2",
            SQUARES,
            "inf",
        ),
        (
            "llama",
            {"model.layers.2.mlp.up_proj.weight_scale": 3e-38},
            "positions 0 to 1, layer 2",
            "the inputs of model.layers.2.mlp.down_proj",
            "-?inf",
        ),
        (
            "bitnet",
            {"model.layers.2.mlp.down_proj.weight_scale": 1e38},
            "positions 1 to 1",
            SQUARES,
            "inf",
        ),
        ("bitnet", {"model.norm": 3e38}, "positions 1 to 1", "the logits", "-?(inf|nan)"),
    ],
)
def test_overflows_name_the_layer_and_the_step(random_model, family, changes, place, values, found):
    folder = random_model(family, seed=12)
    tensors = load_file(folder / "model.safetensors")
    for name, value in changes.items():
        full = name if name in tensors else f"{name}.weight"
        tensors[full] = np.full_like(tensors[full], value)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model = BitNetModel.load(folder)
    message = re.escape(f"{place}: {values} must be finite in float32, not ")
    rest = r" for token \d of \d" + re.escape(LARGE)
    with pytest.raises(ActivationError, match=f"^{message}{found}{rest}$"):
        next(model.generate([1, 2]))


def test_a_saturated_gate_is_no_overflow(random_model):
    """exp(-gate) is infinite in float32 far below zero, and SiLU is 0 there."""
    folder = random_model("llama", seed=13)
    tensors = load_file(folder / "model.safetensors")
    for layer in range(3):
        tensors[f"model.layers.{layer}.mlp.gate_proj.weight_scale"] /= 1e4
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert np.isfinite(BitNetModel.load(folder).forward([1, 2, 3])).all()


def test_a_tiny_temperature_is_greedy(random_model):
    model = BitNetModel.load(random_model(seed=10))
    greedy = next(model.generate([1, 2, 3]))
    assert next(model.generate([1, 2, 3], temperature=5e-324)) == greedy


ONLY = "; BitNetModel computes nothing else"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "qwen2", "head_dim": 16},
            "config's model_type must be one of bitnet, llama, qwen3, not 'qwen2'",
        ),
        (
            {"hidden_act": "gelu"},
            f"config's hidden_act must be relu2 or silu, not 'gelu'{ONLY}",
        ),
        (
            {"hidden_act": None},
            f"config's hidden_act must be relu2 or silu, not None{ONLY}",
        ),
        (
            {
                "quantization_config": {
                    "quant_method": "bitnet",
                    "linear_class": "autobitlinear",
                    "use_rms_norm": True,
                }
            },
            f"config's use_rms_norm must be false, not True{ONLY}",
        ),
        (
            {"attention_bias": True},
            f"config's attention_bias and mlp_bias must be false, not True{ONLY}",
        ),
        (
            {"mlp_bias": True},
            f"config's attention_bias and mlp_bias must be false, not True{ONLY}",
        ),
        (
            {"rope_scaling": {"rope_type": "llama3"}},
            f"config's rope_type must be default, not 'llama3'{ONLY}",
        ),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            f"config's rope_type must be default, not 'linear'{ONLY}",
        ),
        ({"rope_scaling": 3}, "config's rope_scaling must be an object, not 3"),
        (
            {"rms_norm_eps": None},
            "config's rms_norm_eps is missing; take the model's own config.json",
        ),
        ({"rope_theta": -1}, "config's rope_theta must be a number from 1 to 1e+15, not -1"),
        ({"rope_theta": 0}, "config's rope_theta must be a number from 1 to 1e+15, not 0"),
        (
            {"vocab_size": "x"},
            "config's vocab_size must be an integer from 1 to 16777216, not 'x'",
        ),
    ],
)
def test_configurations_that_are_not_such_a_model(random_model, changes, message):
    folder = random_model()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(CheckpointError, match=f"^{re.escape(f'{folder}: {message}')}$"):
        BitNetModel.load(folder)


def test_a_tensor_of_another_shape(random_model):
    folder = random_model()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 161}))
    with pytest.raises(
        CheckpointError,
        match=r"model\.embed_tokens\.weight must have the shape \(161, 64\) of config\.json, "
        r"not \(160, 64\)$",
    ):
        BitNetModel.load(folder)


def test_scaled_rotary_positions(random_model):
    folder = random_model()
    tensors = load_file(folder / "model.safetensors")
    tensors["rope_freqs.weight"] = np.ones(8, np.float32)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no layer of the model reads rope_freqs\.weight;"):
        BitNetModel.load(folder)


def test_long_prompts_in_pieces(random_model, monkeypatch):
    model = BitNetModel.load(random_model("bitnet", seed=9))
    tokens = np.random.default_rng(0).integers(0, model.config.vocabulary, 40)
    whole = model.forward(tokens)
    monkeypatch.setattr(transformer, "_PIECE", 7)
    monkeypatch.setattr(transformer, "_SCORES", model.config.heads * 40 * 3)
    pieces = model.forward(tokens)
    np.testing.assert_allclose(pieces, whole, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(pieces.argmax(axis=1), whole.argmax(axis=1))
    np.testing.assert_allclose(model.forward(tokens, last=True)[0], whole[-1], rtol=1e-4, atol=1e-4)


def test_the_memory_of_a_long_prompt_is_bounded(random_model):
    model = BitNetModel.load(random_model("llama", seed=9))
    tokens = np.zeros(2000, np.int64)
    tracemalloc.start()
    model.forward(tokens, last=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The products of all queries and keys of the four heads would take 64 MB, twice.
    assert peak < 60e6

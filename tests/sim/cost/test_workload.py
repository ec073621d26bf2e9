import json
import re
from dataclasses import replace
from math import ceil

import numpy as np
import pytest

from trilith.golden import CheckpointError
from trilith.golden.network.bitnet_2b4t import CONFIG
from trilith.sim.cost.config_shapes import read_model
from trilith.sim.cost.datafiles import read_data
from trilith.sim.cost.model_shapes import _FILE, GPT3, MODELS, find_model
from trilith.sim.cost.workload import decode, prefill, weights_per_pass
from trilith.sim.tools.errors import EstimateError

LLAMA = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
}


def test_heads_divide_the_width_where_no_other_size_is_known():
    for group in read_data(_FILE).values():
        for model in group["models"]:
            known = group | model
            if "heads" in known and "head_size" not in known:
                assert known["hidden"] % known["heads"] == 0, known["name"]


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("bitnet-2b4t", 2_084_044_800),
        ("bitnet-large", 0.679e9),
        ("bitnet-3b", 3.222e9),
        ("llama3-8b", 6.979e9),
        ("falcon3-1b", 1.132e9),
        ("falcon3-7b", 6.650e9),
        ("falcon3-10b", 9.50e9),
        ("falcon-e-1b", 1.585e9),
        ("falcon-e-3b", 2.919e9),
        ("trilm-190m", 0.113e9),
        ("trilm-3.9b", 3.681e9),
        ("bonsai-1.7b", 1.409e9),
        ("bonsai-8b", 6.946e9),
    ],
)
def test_ternary_weights_are_those_of_the_checkpoints(name, weights):
    assert MODELS[name].linear_weights == pytest.approx(weights, rel=3e-3)


def test_parameters_are_what_the_names_say():
    assert MODELS["llama3.2-1b"].parameters == pytest.approx(1.236e9, rel=1e-3)
    assert MODELS["qwen2.5-1.5b"].parameters == pytest.approx(1.544e9, rel=1e-3)
    assert MODELS["gemma3-1b"].parameters == pytest.approx(1.0e9, rel=2e-3)
    assert MODELS["smollm2-1.7b"].parameters == pytest.approx(1.711e9, rel=1e-3)
    assert MODELS["matmulfree-370m"].parameters == pytest.approx(0.374e9, rel=2e-3)
    # 12 d² a layer: d = 4096, 32 layers.
    assert GPT3["gpt3-6.7b"].linear_weights == 12 * 4096**2 * 32


def test_a_configuration_gives_the_named_shape(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    for path in (tmp_path, tmp_path / "config.json"):
        model = find_model(str(path))
        assert model.linears == MODELS["llama3.2-1b"].linears
        assert model.parameters == MODELS["llama3.2-1b"].parameters
        assert model.norm_elements == MODELS["llama3.2-1b"].norm_elements


def test_the_stored_sizes_of_2b4t_are_those_of_its_configuration():
    stored = MODELS["bitnet-2b4t"]
    found = read_model(CONFIG, stored.source)
    # Keys of the file whose values the stored sizes leave to their defaults.
    assert (found.sizes.head_size, found.sizes.windows) == (128, ((None, 30),))
    assert replace(found.sizes, head_size=None, windows=None) == stored.sizes
    assert replace(found, name=stored.name, sizes=stored.sizes) == stored


def test_decode_counts_by_hand():
    # One layer: hidden 8, 2 heads of 4, 1 for keys and values, feed-forward 16, vocabulary 32.
    config = {
        "model_type": "llama",
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 32,
    }
    work = decode(read_model(config, "x"), 10, batch=3)
    linear = 8 * 8 + 2 * 4 * 8 + 8 * 8 + 3 * 16 * 8
    assert work.linear_macs == 3 * linear
    assert work.linear_weights == linear
    # Each head: 4 products for each of 10 positions, and as many for the values.
    assert work.attention_macs == 3 * 2 * 10 * 2 * 4
    assert work.head_macs == 3 * 32 * 8
    assert work.kv_reads == 3 * 2 * 10 * 4
    assert work.kv_writes == 3 * 2 * 4
    # Twice through three norms of 8 and the inputs of q, o, gate, down; once through outputs
    # (8 + 4 + 4 + 8 + 16 + 16 + 8), the gate, rotary positions and two residuals.
    assert work.vector_elements == 3 * (2 * (24 + 8 + 8 + 8 + 16) + 64 + 16 + 12 + 16)


def test_prefill_is_causal_and_counts_each_position():
    model = MODELS["bitnet-2b4t"]
    whole = prefill(model, 100)
    assert whole.linear_macs == 100 * model.active_weights
    steps = [decode(model, position) for position in range(1, 101)]
    assert whole.attention_macs == sum(step.attention_macs for step in steps)
    assert whole.head_macs == model.head_weights


def test_windows_bound_attention():
    config = LLAMA | {"model_type": "mistral", "sliding_window": 16}
    model = read_model(config, "x")
    assert decode(model, 1000).attention_macs == decode(model, 16).attention_macs
    steps = sum(decode(model, position).attention_macs for position in range(1, 51))
    assert prefill(model, 50).attention_macs == steps
    gemma = MODELS["gemma3-1b"]
    assert decode(gemma, 512).kv_reads < decode(gemma, 1024).kv_reads < 2 * 512 * 26 * 512


def test_gemma_and_qwen_configurations():
    gemma = read_model(
        {
            "architectures": ["Gemma3ForCausalLM"],
            "text_config": {
                "model_type": "gemma3_text",
                "hidden_size": 1152,
                "intermediate_size": 6912,
                "num_hidden_layers": 26,
                "num_attention_heads": 4,
                "num_key_value_heads": 1,
                "head_dim": 256,
                "vocab_size": 262144,
                "sliding_window": 512,
                "sliding_window_pattern": 6,
            },
        },
        "x",
    )
    named = MODELS["gemma3-1b"]
    assert (gemma.linears, gemma.windows, gemma.tied) == (named.linears, named.windows, True)
    assert gemma.norm_elements == named.norm_elements
    qwen = read_model(LLAMA | {"model_type": "qwen3", "head_dim": 128}, "x")
    assert qwen.norm_elements == 2048 * 33 + (32 + 8) * 128 * 16


def test_mixtures_read_what_their_tokens_choose():
    mixtral = read_model(
        LLAMA | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}, "x"
    )
    expert = 3 * 2048 * 8192 * 16
    attention = MODELS["llama3.2-1b"].linear_weights - expert
    router = 8 * 2048 * 16
    assert mixtral.linear_weights == attention + router + 8 * expert
    assert mixtral.active_weights == attention + router + 2 * expert
    one, four = decode(mixtral, 1), decode(mixtral, 1, batch=4)
    assert one.linear_weights == attention + router + 2 * expert
    assert four.linear_weights == pytest.approx(attention + router + 8 * expert * (1 - 0.75**4))
    qwen = read_model(
        LLAMA
        | {
            "model_type": "qwen3_moe",
            "num_experts": 64,
            "num_experts_per_tok": 4,
            "moe_intermediate_size": 512,
            "mlp_only_layers": [0],
        },
        "x",
    )
    dense, sparse = 3 * 2048 * 8192, 3 * 2048 * 512 * 4 + 64 * 2048
    projections = 2 * 2048 * 64 * (32 + 8)
    assert qwen.active_weights == dense + 15 * sparse + 16 * projections


def test_passes_over_an_expert_are_those_of_random_choices():
    tokens, chance = 24, 1 / 16
    rng = np.random.default_rng(4)
    chosen = rng.binomial(tokens, chance, 200_000)
    config = LLAMA | {
        "model_type": "qwen3_moe",
        "num_hidden_layers": 1,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 64,
    }
    model = read_model(config, "x")
    (*_, down, router) = model.linears
    dense = model.linear_weights - 3 * down.weights
    for shared in (2, 3, 5, 23):
        passes = ceil(tokens / shared)
        mean = np.ceil(chosen / shared).mean()
        expected = dense + 3 * down.weights * mean / passes
        read = weights_per_pass(model, tokens, shared)
        assert read == pytest.approx(expected, rel=0.01)
        assert read < model.linear_weights
    assert router.count == router.active
    # A long prompt gives every expert its mean share of tokens, and its last pass is half empty.
    long = weights_per_pass(model, 2**20, 4) * 2**18 - dense * 2**18
    assert long == pytest.approx(3 * down.weights * (2**20 / 16 / 4 + 3 / 8), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_type": "gpt_neox"},
            "x: config's model_type must be one of llama, bitnet, mistral, qwen2, qwen3, gemma, "
            "gemma2, gemma3_text, minicpm, mixtral, qwen2_moe, qwen3_moe, not 'gpt_neox'",
        ),
        (
            {"vocab_size": None},
            "x: config's vocab_size is missing; take the model's own config.json",
        ),
        (
            {"num_key_value_heads": 5},
            "x: config's num_key_value_heads must be a divisor of num_attention_heads = 32, not 5",
        ),
        (
            {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 8},
            "x: config's num_experts_per_tok must be at most num_local_experts = 4, not 8",
        ),
        (
            {
                "model_type": "qwen2",
                "use_sliding_window": True,
                "sliding_window": 64,
                "max_window_layers": 99,
            },
            "x: config's max_window_layers must be at most num_hidden_layers = 16, not 99",
        ),
        (
            {"model_type": "gemma2", "sliding_window": 64, "sliding_window_pattern": "6"},
            "x: config's sliding_window_pattern must be an integer from 1 to 2147483647, not '6'",
        ),
        (
            {"sliding_window": 64, "layer_types": ["full_attention"]},
            "x: config's layer_types must be a list with the kind of each of the 16 layers, "
            "not ['full_attention']",
        ),
    ],
)
def test_bad_configurations(change, message):
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        read_model(LLAMA | change, "x")


@pytest.mark.parametrize("nested", [False, True])
def test_kinds_of_attention_that_are_not_counted(nested):
    config = LLAMA | {"kv_lora_rank": 512}
    message = (
        "x: config's kv_lora_rank must be absent, not 512: estimates do not know this kind of "
        "attention"
    )
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        read_model({"text_config": config} if nested else config, "x")


def test_bad_files(tmp_path):
    with pytest.raises(EstimateError, match=r"^the model must be a config\.json, a "):
        find_model("gpt-5")
    file = tmp_path / "config.json"
    file.write_text("{")
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(file))}: must be JSON: "):
        find_model(str(file))
    file.write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(file))}: must have fewer lists "):
        find_model(str(file))
    file.write_text("[]")
    with pytest.raises(CheckpointError, match=r"must hold an object, not a list$"):
        find_model(str(file))


@pytest.mark.parametrize("value", [0, -5, 2**40, 1.5])
def test_bad_sizes(value):
    message = f"context must be an integer from 1 to {2**27}, not {value!r}"
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        decode(MODELS["bitnet-2b4t"], value)

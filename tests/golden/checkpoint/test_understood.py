"""Refusal of keys and tensors that the model does not use."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trilith.golden import BitNetMLP, BitNetModel, CheckpointError, load_checkpoint
from trilith.golden.checkpoint.tensors import StrangeKeys
from trilith.golden.checkpoint.understood import strange_config, strange_keys
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.checkpoint.write_huggingface import write_huggingface
from trilith.golden.data import DIGITS, PYDOC
from trilith.hw import MatVecConfig
from trilith.hw.weight_file import write_streams

ENGINE = MatVecConfig(lanes=40, rows=2, k_max=1024, n_max=1024)
VECTOR = np.ones(64, np.float32)
WRITERS = {
    "gguf": lambda source, target: write_gguf(source, target, "tq2_0"),
    "huggingface": write_huggingface,
    "stream": lambda source, target: write_streams(source, target, ENGINE),
}


def refuses(message):
    return pytest.raises(CheckpointError, match=f"^{re.escape(message)}$")


@pytest.fixture
def changed(random_model):
    """Make a random model with more tensors or other keys in its configuration."""

    def make(family="llama", tensors=None, **config):
        folder = random_model(family)
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | config))
        file = folder / "model.safetensors"
        stored = load_file(file) | (tensors or {})
        save_file(stored, file, metadata={"format": "pt"})
        return folder

    return make


#: Tensors that a file may have beyond those of the model, by what they would do.
UNREAD = {
    "bias": "model.layers.0.self_attn.q_proj.bias",
    "norm of queries": "model.layers.1.self_attn.q_norm.weight",
    "norm in front of o": "model.layers.2.self_attn.attn_sub_norm.weight",
    "second scale": "model.layers.0.mlp.up_proj.weight_scale_2",
    "low-rank update": "model.layers.0.mlp.up_proj.lora_A.default.weight",
    "layer beyond the last": "model.layers.3.input_layernorm.weight",
    "layer with another number": "model.layers.00.input_layernorm.weight",
    "prompt": "prompt_encoder.weight",
    "head of a task": "score.weight",
    "frequencies": "rope_freqs.weight",
    "other frequencies": "model.layers.0.self_attn.rotary_emb.inv_freq",
}


@pytest.mark.parametrize("name", UNREAD.values(), ids=UNREAD.keys())
def test_tensors_that_no_layer_reads(changed, tmp_path, name):
    folder = changed(tensors={name: VECTOR})
    message = (
        f"{folder}: no layer of the model reads {name}; results without it would be wrong, so take "
        "the files and the config.json of one model"
    )
    with refuses(message):
        BitNetModel.load(folder)
    for kind, write in WRITERS.items():
        with refuses(message):
            write(load_checkpoint(folder), tmp_path / kind)
        assert not (tmp_path / kind).exists()


def test_many_tensors_that_no_layer_reads(changed):
    names = [f"model.layers.{layer}.{name}.bias" for layer in range(3) for name in ("a", "b")]
    folder = changed(tensors=dict.fromkeys(names, VECTOR))
    message = f"{folder}: no layer of the model reads {', '.join(sorted(names)[:3])} and 3 more; "
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}results without them would"):
        BitNetModel.load(folder)


def test_the_head_of_a_tied_model(changed):
    embedding = load_file(changed("bitnet") / "model.safetensors")["model.embed_tokens.weight"]
    same = changed("bitnet", {"lm_head.weight": embedding})
    other = changed("bitnet", {"lm_head.weight": -embedding})
    longer = changed("bitnet", {"lm_head.weight": np.concatenate([embedding, embedding])})
    np.testing.assert_array_equal(
        BitNetModel.load(same).forward([5]), BitNetModel.load(changed("bitnet")).forward([5])
    )
    for folder in (other, longer):
        with pytest.raises(CheckpointError, match=r"no layer of the model reads lm_head\.weight;"):
            BitNetModel.load(folder)


def test_an_adapter_beside_the_model(changed, tmp_path):
    folder = changed()
    source = load_checkpoint(folder)
    (folder / "adapter_config.json").write_text("{}")
    message = (
        f"{folder / 'adapter_config.json'}: the adapter beside the model is not applied, and "
        "results without it would be wrong; merge it into the model, or move it away"
    )
    with refuses(message):
        BitNetModel.load(folder)
    for kind, write in WRITERS.items():
        with refuses(message):
            write(source, tmp_path / kind)


def test_stored_frequencies_that_change_nothing(changed):
    # As files of transformers before version 4.31 have them, for heads of 16 values.
    plain = np.float32(10000) ** -(np.arange(0, 16, 2, dtype=np.float32) / 16)
    name = "model.layers.1.self_attn.rotary_emb.inv_freq"
    BitNetModel.load(changed(tensors={name: plain}))
    with pytest.raises(CheckpointError, match=f"reads {re.escape(name)}; "):
        BitNetModel.load(changed(tensors={name: plain / 4}))


def test_tensors_that_a_configuration_asks_for_are_copied(changed, tmp_path):
    bias = {"model.layers.0.self_attn.q_proj.bias": VECTOR}
    source = load_checkpoint(changed(tensors=bias, attention_bias=True))
    write_huggingface(source, tmp_path / "copy")
    assert load_checkpoint(tmp_path / "copy").tensors[next(iter(bias))].tolist() == [1] * 64
    with pytest.raises(CheckpointError, match=r"config's attention_bias = True is not understood"):
        WRITERS["gguf"](source, tmp_path / "new.gguf")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"logit_scale": 0.5}, "logit_scale = 0.5"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0"),
        ({"sliding_window": 64}, "sliding_window = 64"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
        ({"is_causal": False}, "is_causal = False"),
        ({"layer_types": ["full_attention", "sliding_attention", "full_attention"]}, "layer_types"),
        ({"weight_bits": 2}, "weight_bits = 2"),
        ({"input_bits": 4}, "input_bits = 4"),
        ({"rope_scaling": {"rope_type": "default", "tempo": 2}}, "rope_scaling.tempo = 2"),
        ({"rope_parameters": {"factor": 2.0}}, "rope_parameters.factor = 2.0"),
        (
            {"quantization_config": {"quant_method": "bitnet", "group_size": 128}},
            "quantization_config.group_size = 128",
        ),
        (
            {"quantization_config": {"quant_method": "bitnet", "modules_to_not_convert": ["mlp"]}},
            "quantization_config.modules_to_not_convert = ['mlp']",
        ),
        ({"input_scale": 2.0}, "input_scale = 2.0"),
        ({"use_hadamard": True, "b": 1}, "use_hadamard = True, b = 1"),
        (
            {"transformers_weights": "other.safetensors"},
            "transformers_weights = 'other.safetensors'",
        ),
        (
            {
                "quantization_config": {
                    "quant_method": "bitnet",
                    "linear_class": "autobitlinear",
                    "bits": 2,
                }
            },
            "quantization_config.bits = 2",
        ),
        ({"hidden_activation": "gelu"}, "hidden_activation = 'gelu'"),
    ],
)
def test_keys_that_are_not_understood(changed, tmp_path, keys, words):
    folder = changed(**keys)
    message = (
        f"{folder}: config's {words} is not understood; results without it may be wrong, so delete "
        "it from config.json only if it changes no result"
    )
    with refuses(message):
        BitNetModel.load(folder)
    with refuses(message):
        WRITERS["gguf"](load_checkpoint(folder), tmp_path / "new.gguf")
    # A copy keeps the key.
    write_huggingface(load_checkpoint(folder), tmp_path / "copy")
    with pytest.raises(CheckpointError, match=f"{re.escape(words)} is not understood; "):
        BitNetModel.load(tmp_path / "copy")


def test_that_a_stream_needs_no_key_of_other_parts(changed, tmp_path):
    WRITERS["stream"](load_checkpoint(changed(logit_scale=0.5)), tmp_path / "known")
    with pytest.raises(CheckpointError, match=r"config's use_hadamard = True is not understood; "):
        WRITERS["stream"](load_checkpoint(changed(use_hadamard=True)), tmp_path / "unknown")


def test_keys_of_published_configurations_change_nothing(changed):
    harmless = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "auto_map": {"AutoModelForCausalLM": "modeling_bitnet.BitNetForCausalLM"},
        "dtype": "bfloat16",
        "activation": "swiglu",
        "initializer_range": 0.02,
        "input_bits": 8,
        "is_bitnet_config": True,
        "layer_types": ["full_attention"] * 3,
        "logit_scale": 1.0,
        "mlp_bias": False,
        "pad_token_id": None,
        "pretraining_tp": 1,
        "rope_interleaved": False,
        "rope_scaling": None,
        "sliding_window": None,
        "transformers_version": "4.46.2",
        "use_cache": True,
        "weight_bits": 1,
        "a_key_of_the_future": None,
    }
    plain, full = BitNetModel.load(changed()), BitNetModel.load(changed(**harmless))
    np.testing.assert_array_equal(plain.forward([1, 2, 3]), full.forward([1, 2, 3]))


def test_values_of_another_kind():
    assert strange_keys("config", {"attention_bias": 0}) == StrangeKeys((), ("attention_bias = 0",))
    assert strange_keys("config", {"logit_scale": True}).other == ("logit_scale = True",)
    assert strange_config({"sliding_window": 64, "use_sliding_window": False}) == StrangeKeys()
    assert strange_keys("gguf", {"general.name": "x", "a.b": 2}).unknown == ("a.b = 2",)


def test_the_stored_models_are_understood():
    assert load_checkpoint(PYDOC).strange_keys == StrangeKeys()
    source = load_checkpoint(PYDOC)
    tensors = dict(source.tensors) | {"model.layers.0.mlp.gate_proj.bias": VECTOR}
    with pytest.raises(CheckpointError, match=r"reads model\.layers\.0\.mlp\.gate_proj\.bias; "):
        write_huggingface(replace(source, tensors=tensors), PYDOC / "nowhere")


def test_a_perceptron(tmp_path):
    config = json.loads((DIGITS / "config.json").read_text())
    stored = load_file(DIGITS / "model.safetensors")

    def write(name, tensors, **keys):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config | keys))
        save_file(stored | tensors, folder / "model.safetensors")
        return folder

    folder = write("bias", {"layers.0.bias": VECTOR})
    with pytest.raises(CheckpointError, match=r"no layer of the model reads layers\.0\.bias; "):
        BitNetMLP.load(folder)
    with pytest.raises(CheckpointError, match=r"config's dropout_at_run = 1 is not understood; "):
        BitNetMLP.load(write("key", {}, dropout_at_run=1))
    folder = write("act", {}, hidden_act="silu")
    with refuses(f"{folder}: config's hidden_act must be relu2, not 'silu'"):
        BitNetMLP.load(folder)


def test_float_weights_of_another_quantization(changed):
    folder = changed(quantization_config={"quant_method": "fp8"})
    strange = strange_config(json.loads((folder / "config.json").read_text()))
    assert strange.other == ("quantization_config.quant_method = 'fp8'",)
    assert strange_config({"quantization_config": "x"}).other == ("quantization_config = 'x'",)

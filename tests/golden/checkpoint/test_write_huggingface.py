"""Writer of Hugging Face folders."""

import json
import re
import warnings

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from trilith.golden import (
    CheckpointError,
    load_checkpoint,
    pack_weights,
)
from trilith.golden.checkpoint.compare import compare
from trilith.golden.checkpoint.write_gguf import write_gguf
from trilith.golden.checkpoint.write_huggingface import write_huggingface
from trilith.golden.errors import CheckpointWarning

LLAMA = {
    "model_type": "llama",
    "hidden_act": "silu",
    "quantization_config": {"quant_method": "bitnet", "modules_to_not_convert": ["lm_head"]},
}


Q = "model.layers.0.self_attn.q_proj"


DOWN = "model.layers.0.mlp.down_proj"


@pytest.mark.parametrize("scale_dtype", [np.float32, np.float16])
@pytest.mark.parametrize("divides", [False, True])
def test_that_scales_keep_value_and_direction(tmp_path, tiny, divides, scale_dtype):
    folder, _, scales = tiny(scale_dtype=scale_dtype, **(LLAMA if divides else {}))
    write_huggingface(load_checkpoint(folder), tmp_path / "new")
    stored = load_file(tmp_path / "new" / "model.safetensors")
    for name, scale in scales.items():
        np.testing.assert_array_equal(stored[f"{name}.weight_scale"], scale.astype(np.float32))
    assert compare(load_checkpoint(tmp_path / "new"), load_checkpoint(folder)).rounded_scales == 0


def test_a_warning_of_scales_that_multiply(tmp_path, tiny):
    """A GGUF file of a model whose own files divide by their scales."""
    folder, _, _ = tiny(**LLAMA)
    write_gguf(load_checkpoint(folder), tmp_path / "a.gguf", "i2_s")
    new = tmp_path / "new"
    with pytest.warns(CheckpointWarning) as seen:
        write_huggingface(load_checkpoint(tmp_path / "a.gguf"), new)
    assert str(seen[-1].message) == (
        f"{new}: weight_scale multiplies, as linear_class autobitlinear says. Loaders that always "
        "divide make wrong text; a source whose scales divide keeps them"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_huggingface(load_checkpoint(folder), tmp_path / "again")


def test_that_a_folder_has_one_direction_of_scales(tmp_path, tiny, changed):
    source = load_checkpoint(tiny()[0])
    message = f"{DOWN}: scales of a Hugging Face folder must all multiply or all divide"
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


PARITY = "needs the extra parity: pip install trilith[parity]"


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

"""The arithmetic of the token core beside the float transformer."""

import json
from dataclasses import replace

import numpy as np
import pytest

from trilith.golden.checkpoint.tokenizer import load_tokenizer
from trilith.golden.data import PYDOC
from trilith.golden.network.core_kinds import CoreKindError
from trilith.golden.network.text import bits_per_byte
from trilith.golden.network.token_core import CoreCache, CoreModel, Int8Rows, attend
from trilith.golden.network.transformer import BitNetModel


@pytest.mark.parametrize("family", ["bitnet", "llama"])
def test_logits_are_near_those_in_float(random_model, family):
    model = BitNetModel.load(random_model(family, seed=7))
    core = CoreModel(model=model)
    tokens = np.random.default_rng(0).integers(0, 160, 12)
    logits, floats = core.forward(tokens), model.forward(tokens)
    assert np.abs(logits - floats).mean() < 0.06 * np.abs(floats).mean()


@pytest.mark.parametrize("family", ["bitnet", "llama"])
def test_tokens_one_by_one_or_at_once(random_model, family):
    core = CoreModel(model=BitNetModel.load(random_model(family, seed=7)))
    tokens = np.random.default_rng(0).integers(0, 160, 12)
    cache = CoreCache(core.config)
    alone = np.concatenate([core.forward([token], cache) for token in tokens])
    assert alone.tolist() == core.forward(tokens).tolist()
    assert core.forward(tokens, last=True).tolist() == alone[-1:].tolist()


def test_a_vector_of_zeros_gives_zeros(random_model):
    embedding = np.zeros((160, 64), np.float32)
    model = BitNetModel.load(random_model(seed=7))
    rows = Int8Rows.of(embedding)
    assert not rows.q.any()
    assert not rows.scale.any()
    core = CoreModel(model=model)
    object.__setattr__(core, "embedding", rows)
    assert not core.forward([3]).any()


def test_attention_is_a_mean_of_values():
    rng = np.random.default_rng(1)
    q, k = (rng.integers(-127, 128, (heads, 16)) for heads in (4, 2))
    keys = np.repeat(k[np.newaxis], 5, axis=0)  # Equal keys: equal weights.
    values = rng.integers(-127, 128, (5, 2, 16))
    scales = np.full((5, 2), 2.0**-7)
    mixed = attend((q, np.full((4, 1), 2.0**-7)), (keys, scales), (values, scales))
    means = np.repeat(values.mean(axis=0), 2, axis=0).reshape(-1) * 2.0**-7
    assert mixed == pytest.approx(means, abs=2e-4)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], r"tokens must be integers from 0 to 159, at least one, not \[\]"),
        ([160], r"tokens must be integers from 0 to 159, at least one, not \[160\]"),
        ([-1], r"tokens must be integers from 0 to 159, at least one, not \[-1\]"),
        ([1.0], r"tokens must be integers from 0 to 159, at least one, not \[1.0\]"),
        ([True], r"tokens must be integers from 0 to 159, at least one, not \[True\]"),
        ([[1, 2]], r"tokens must be integers from 0 to 159, at least one, not \[\[1, 2\]\]"),
        (3, r"tokens must be integers from 0 to 159, at least one, not 3"),
        ([0] * 129, "the context must be at most 128 tokens, not 129"),
    ],
)
def test_illegal_tokens(random_model, tokens, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        CoreModel(model=BitNetModel.load(random_model())).forward(tokens)


def test_a_full_context(random_model):
    core = CoreModel(model=BitNetModel.load(random_model(max_position_embeddings=4)))
    cache = CoreCache(core.config)
    core.forward([1, 2, 3, 4], cache)
    with pytest.raises(ValueError, match=r"^the context must be at most 4 tokens, not 5$"):
        core.forward([1], cache)
    assert cache.length == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_size": 23}, "the model's head_size must be even, not 23"),
        ({"kv_heads": 3}, "the model's heads must be a multiple of its kv_heads, 3, not 4"),
    ],
)
def test_models_that_the_core_cannot_compute(random_model, changes, message):
    model = BitNetModel.load(random_model())
    with pytest.raises(ValueError, match=f"^{message}$"):
        CoreModel(model=replace(model, config=replace(model.config, **changes)))


def test_norms_of_queries_and_keys_are_refused(random_model):
    model = BitNetModel.load(random_model("qwen3"))
    with pytest.raises(
        CoreKindError,
        match=r"^no token core can run the model: its model_type 'qwen3' has norms of queries and "
        r"keys \(q_norm, k_norm\); run it in --backend golden or rtl$",
    ):
        CoreModel(model=model)


def test_other_kinds_of_models(random_model):
    model = BitNetModel.load(random_model(), activations="int4")
    with pytest.raises(ValueError, match=r"^the model's activations must be int8, not another k"):
        CoreModel(model=model)
    with pytest.raises(TypeError, match=r"^model must be a BitNetModel, not None$"):
        CoreModel(model=None)


@pytest.mark.long
def test_the_trained_model_keeps_its_quality():
    texts = json.loads((PYDOC / "held_out.json").read_text())
    texts = texts["texts"] if isinstance(texts, dict) else texts
    tokenizer, model = load_tokenizer(PYDOC), BitNetModel.load(PYDOC)
    in_float = bits_per_byte(model, tokenizer, texts)
    assert bits_per_byte(CoreModel(model=model), tokenizer, texts) <= in_float + 0.002

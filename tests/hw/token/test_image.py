"""Models that the compiler of the token core refuses."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from trilith.golden.network.core_kinds import CoreKindError
from trilith.golden.network.layers import BitLinear
from trilith.golden.network.token_core import CoreModel
from trilith.golden.network.transformer import BitNetModel
from trilith.hw import MatVecConfig
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.image import CompileError, compile_image, core_for
from trilith.hw.token.plan import plan_image

CONFIG = CORE_PRESETS["small"]
SIZES = {"head_dim": 24, "max_position_embeddings": 12, "num_hidden_layers": 2}
FORMAT = "must be from 2\\^-126 to 3.4e\\+38, the number format of the core, not"


@pytest.fixture(scope="module")
def core_model(random_model):
    """A model in the arithmetic of the core, with changes."""

    def make(change=lambda model: model, **sizes):
        return CoreModel(model=change(BitNetModel.load(random_model(seed=3, **SIZES | sizes))))

    return make


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hidden_size": 128, "intermediate_size": 128},
            "the model is too large for this token core: its hidden must be at most 64, not 128; "
            "its ffn must be at most 96, not 128",
        ),
        (
            {"max_position_embeddings": 33},
            "the model is too large for this token core: its context must be at most 32, not 33",
        ),
        (
            {"vocab_size": 161, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 28},
            "the model is too large for this token core: its heads must be at most 4, not 8; its "
            "kv_heads must be at most 2, not 4; its head_size must be at most 24, not 28; its "
            "vocabulary must be at most 160, not 161",
        ),
        (
            {"head_dim": 22},
            "the model's head_size must be a multiple of twice the vector lanes, 4, not 22",
        ),
        (
            {"hidden_size": 63},
            "the model's hidden must be a multiple of the vector lanes, 2, not 63",
        ),
        (
            {"intermediate_size": 95},
            "the model's ffn must be a multiple of the vector lanes, 2, not 95",
        ),
        (
            {"num_key_value_heads": 1},
            "the model must have at most 2 heads for each head of keys and values, the core's "
            "maximum, not 4",
        ),
    ],
)
def test_models_that_do_not_fit(core_model, changes, message):
    with pytest.raises(CompileError, match=f"^{message}$"):
        compile_image(core_model(**changes), CONFIG)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_positions": 131_072}, "its context must be at most 65536, not 131072"),
        (
            {"heads": 512, "kv_heads": 512, "head_size": 258},
            "its heads must be at most 256, not 512; its kv_heads must be at most 256, not 512; "
            "its head_size must be at most 256, not 258",
        ),
        (
            {"hidden": 65_600, "ffn": 70_000, "vocabulary": 300_000},
            "its hidden must be at most 65536, not 65600; its ffn must be at most 65536, not "
            "70000; its vocabulary must be at most 262144, not 300000",
        ),
        ({"vocabulary": 1}, "vocabulary_max must be from 2 to 262144, not 1"),
        ({"head_size": 23}, "head_size_max must be even, not 23"),
    ],
)
def test_models_for_which_there_is_no_core(core_model, changes, message):
    sizes = replace(core_model().config, **changes)
    with pytest.raises(CompileError, match=f"^no token core can run the model: {message}$"):
        core_for(sizes)


def test_norms_of_queries_and_keys_are_refused(random_model):
    sizes = BitNetModel.load(random_model("qwen3")).config
    for compiler in (core_for, partial(plan_image, CONFIG)):
        with pytest.raises(
            CoreKindError, match=r"^no token core can run the model: its model_type "
        ):
            compiler(sizes)


@pytest.mark.parametrize(
    ("lanes", "rows", "attention", "width", "beats"),
    [
        # Through the wider way; memory if both are equal, or if the attention takes no more.
        (64, 20, 256, 512, 5010),
        (64, 20, 64, 512, 0),
        (64, 5, 256, 512, 0),
        (64, 5, 512, 256, 20040),
        (80, 4, 256, 256, 20040),
        (80, 4, 64, 256, 20040),
    ],
)
def test_where_the_rows_of_the_head_lie(lanes, rows, attention, width, beats):
    engine = MatVecConfig(lanes=lanes, rows=rows, k_max=2560, n_max=2560)
    config = replace(CORE_PRESETS["pydoc"], engine=engine, attention_lanes=attention,
                     memory_width=width, hidden_max=2560)  # fmt: skip
    assert config.head_on_weights == (beats > 0)
    assert config.head_beats(2560, 501) == beats


def scaled(factor, groups=1):
    """A change of a model: other scales of the first layer's gates."""

    def change(model):
        linears = {**model.layers[0].linears}
        weight = linears["mlp.gate_proj"].weight
        scale = np.repeat(weight.scale, groups, axis=0)
        scale[-1] *= np.float32(factor)
        linears["mlp.gate_proj"] = BitLinear(weight=replace(weight, scale=scale))
        return replace(model, layers=(replace(model.layers[0], linears=linears), *model.layers[1:]))

    return change


@pytest.mark.parametrize("groups", [1, 96])
def test_a_scale_outside_of_the_number_format(core_model, groups):
    name = r"scales of model\.layers\.0\.mlp\.gate_proj"
    with pytest.raises(CompileError, match=rf"^{name}: {FORMAT} \d\.\d+e-39$"):
        compile_image(core_model(scaled(2e-38, groups)), CONFIG)


def embedded(factor):
    """A change of a model: another row of the embedding."""

    def change(model):
        embedding = model.embedding.copy()
        embedding[5] *= np.float32(factor)
        return replace(model, embedding=embedding, head=embedding)

    return change


def test_rows_outside_of_the_number_format(core_model):
    compile_image(core_model(embedded(0)), CONFIG)
    with pytest.raises(CompileError, match=f"^scales of the embedding: {FORMAT} 0$"):
        compile_image(core_model(embedded(1e-37)), CONFIG)


def test_gains_outside_of_the_number_format(core_model):
    def change(model):
        gain = model.final_norm.copy()
        gain[7] = -3.4028235e38
        return replace(model, final_norm=gain)

    message = r"model\.norm: gains must be below 3\.4e\+38 in magnitude, not -3\.4e\+38"
    with pytest.raises(CompileError, match=f"^{message}$"):
        compile_image(core_model(change), CONFIG)


def test_an_epsilon_outside_of_the_number_format(core_model):
    compile_image(core_model(rms_norm_eps=0.0), CONFIG)
    with pytest.raises(CompileError, match=f"^rms_norm_eps: {FORMAT} 1e-40$"):
        compile_image(core_model(rms_norm_eps=1e-40), CONFIG)


@pytest.mark.parametrize("tokens", [3, 5, 6, 7])
def test_a_pass_has_a_power_of_two_of_tokens(core_model, tokens):
    message = f"^no token core can run the model: engine.tokens must be 1, 2, 4 or 8, not {tokens}$"
    with pytest.raises(CompileError, match=message):
        core_for(core_model().config, tokens=tokens)


def test_images_of_cores_with_more_tokens_have_the_same_content(core_model):
    model = core_model()
    one, four = (compile_image(model, core_for(model.config, tokens=count)) for count in (1, 4))
    assert (one.config.tokens, four.config.tokens) == (1, 4)
    assert one.program == four.program
    assert (one.memory == four.memory).all()
    assert (one.weights == four.weights).all()

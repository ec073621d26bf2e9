"""The simulated token core against its golden model: every vector of every token."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from small_core import CONFIG, PAIRS, check_token, small_model

from trilith.golden.checkpoint.tensors import TernaryTensor
from trilith.golden.errors import CheckpointError
from trilith.golden.network.layers import BitLinear
from trilith.golden.network.token_core import CoreCache
from trilith.hw import MatVecConfig
from trilith.hw.token.image import compile_image
from trilith.hw.token.program import Op
from trilith.sim import SimulationError
from trilith.sim.rtl.core_text import CoreNetwork
from trilith.sim.rtl.memory_model import MemoryModel
from trilith.sim.rtl.token_core import GoldenTrace, TokenCoreSimulator


@pytest.fixture(scope="module")
def core_model(random_model):
    """A model in the arithmetic of the core, by family."""
    return partial(small_model, random_model)


def with_stale_cache(image):
    """The image with any bytes where the cache will be: no token may depend on them."""
    memory = image.memory.copy()
    for one in image.program:
        if one.op == Op.ATTEND:
            step = one.fields["scale_step"] + 2 * one.fields["row_step"]
            start, size = one.fields["address"], one.fields["groups"] * step
            memory[start : start + size] = np.random.default_rng(5).integers(0, 256, size)
    return replace(image, memory=memory)


def run(model, tokens, k=3, memory=None, config=CONFIG):
    """Run tokens, and compare all vectors and answers; return the last run."""
    cache, image = CoreCache(model.config), with_stale_cache(compile_image(model, config))
    with TokenCoreSimulator(image, memory=memory, limit=200_000) as core:
        for position, token in enumerate(tokens):
            result = check_token(core, GoldenTrace(model, token, cache), token, position, k)
    return result


def with_scales(model, groups):
    """The model with a scale for each output and each of some groups of inputs."""
    rng = np.random.default_rng(4)

    def scaled(linear):
        weight: TernaryTensor = linear.weight
        n, k = weight.shape
        scale = rng.uniform(0.5, 2, (n, groups)).astype(np.float32) / k**0.5
        return BitLinear(weight=replace(weight, scale=scale, group_size=k // groups, divides=False))

    layers = [
        replace(layer, linears={name: scaled(one) for name, one in layer.linears.items()})
        for layer in model.layers
    ]
    return replace(model, layers=tuple(layers))


@pytest.mark.parametrize("family", ["bitnet", "llama"])
def test_a_whole_context(core_model, family):
    model = core_model(family)
    tokens = np.random.default_rng(1).integers(0, 160, 12).tolist()
    assert not run(model, tokens).error


def test_chunks_with_rows_of_two_positions(core_model):
    assert PAIRS.segments == 2
    tokens = np.random.default_rng(2).integers(0, 160, 12).tolist()
    fast = run(core_model(), tokens, config=PAIRS)
    assert not fast.error
    for memory in (MemoryModel(latency=23, interval=3), MemoryModel(pauses=0.3, seed=4)):
        slow = run(core_model(), tokens, config=PAIRS, memory=memory)
        assert slow.cycles > fast.cycles
        assert not slow.error


def with_core(lanes, rows, attention):
    """The small core with another engine, and other lanes of the attention."""
    engine = MatVecConfig(lanes=lanes, rows=rows, k_max=128, n_max=160)
    return replace(CONFIG, engine=engine, attention_lanes=attention)


@pytest.mark.parametrize(
    ("config", "beat"),
    [
        (PAIRS, 20),
        # Beats of one chunk, of many, of two, and of no common divisor.
        *(
            pytest.param(with_core(*sizes), beat, marks=pytest.mark.long)
            for sizes, beat in (
                ((16, 5, 16), 16), ((64, 20, 16), 256), ((64, 20, 128), 256), ((13, 5, 32), 13),
            )
        ),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize(("family", "vocabulary"), [("bitnet", 157), ("llama", 2), ("llama", 159)])
def test_a_head_in_weight_beats(core_model, config, beat, family, vocabulary):
    assert (config.head_on_weights, config.engine.weight_bytes) == (True, beat)
    model = core_model(family, vocab_size=vocabulary)
    # Rows have bytes that are no legal codes of weights: the engine must not look at them.
    tokens = [1, 0, 1]
    fast = run(model, tokens, 2, config=config)
    assert not fast.error
    rows, chunks = vocabulary, config.row_chunks(64)
    beats = config.head_beats(64, vocabulary)
    # The first beats come before the query, and the last logit and its answers behind the rows.
    assert 0 < fast.by_part["head"] - max(rows * chunks, beats) < 40
    weights = [MemoryModel(weight_interval=4), MemoryModel(pauses=0.4, seed=3)]
    for memory in (*weights, MemoryModel(latency=40, interval=5)):
        slow = run(model, tokens, 2, config=config, memory=memory)
        assert slow.cycles > fast.cycles
        assert not slow.error


def test_slow_memories(core_model):
    model, tokens = core_model(), [5, 6, 7]
    fast = run(model, tokens)
    slow = run(model, tokens, memory=MemoryModel(latency=23, interval=3, weight_interval=2))
    assert slow.cycles > fast.cycles * 1.3


def test_refresh_pauses(core_model):
    model, tokens = core_model(), [5, 6, 7]
    # With answers at once, each pause costs its cycles as long as a memory is waited for.
    fast, slow, slower = (
        run(model, tokens, memory=MemoryModel(refresh_interval=100, refresh_cycles=cycles)).cycles
        for cycles in (0, 10, 50)
    )
    assert fast < slow < 1.15 * fast
    assert 1.5 * fast < slower < 2.2 * fast


@pytest.mark.parametrize("groups", [1, 2])
def test_scales_of_outputs_and_groups(core_model, groups):
    model = core_model("llama", lambda model: with_scales(model, groups))
    assert not run(model, [1, 2, 3]).error


@pytest.mark.parametrize("k", [0, 1, 32])
def test_answers(core_model, k):
    run(core_model(), [9, 9], k)


def test_a_token_of_zeros_and_equal_logits(core_model):
    def zeros(model):
        embedding = model.embedding.copy()
        embedding[4] = 0
        embedding[[7, 8]] = embedding[6]
        return replace(model, embedding=embedding, head=embedding)

    run(core_model(change=zeros), [4, 6, 4], k=32)


def test_values_that_are_too_large_are_an_error(core_model):
    def large(model):
        gains = {**model.layers[0].gains}
        gains["input_layernorm"] = gains["input_layernorm"] * np.float32(1e37)
        embedding = model.embedding * np.float32(1e10)
        layers = (replace(model.layers[0], gains=gains), *model.layers[1:])
        return replace(model, layers=layers, embedding=embedding, head=embedding)

    assert run(core_model(change=large), [1, 2]).error


@pytest.mark.parametrize(
    ("token", "position", "k"), [(160, 0, 1), (255, 0, 1), (3, 12, 1), (3, 31, 1), (3, 0, 33)]
)
def test_commands_out_of_range(core_model, token, position, k):
    image = compile_image(core_model(), CONFIG)
    with TokenCoreSimulator(image, limit=20_000) as core:
        result = core.command(token, position, k)
    assert (result.error, result.tokens, result.vectors) == (True, [], [])


@pytest.fixture(scope="module")
def entered(core_model):
    """A model, and its core after one token."""
    model = core_model()
    with TokenCoreSimulator(compile_image(model, CONFIG), limit=20_000) as core:
        core.run(3, 0, 0)
        yield model, core


@pytest.mark.parametrize(
    ("token", "position", "k", "message"),
    [
        (160, 0, 1, "token must be from 0 to 159, not 160"),
        (-1, 0, 1, "token must be from 0 to 159, not -1"),
        (3, 12, 1, "position must be from 0 to 1, not 12"),
        (3, 2, 1, "position must be from 0 to 1, not 2"),
        (3, 0, 33, "k must be from 0 to 32, not 33"),
        (3, 0, -1, "k must be from 0 to 32, not -1"),
        (3, 0, 2**70, "k must be from 0 to 32, not 1180591620717411303424"),
        (3.0, 0, 1, "token must be an integer, not 3.0"),
    ],
)
def test_what_is_not_sent_to_the_core(entered, token, position, k, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}$"):
        entered[1].run(token, position, k)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], r"tokens must be integers from 0 to 159, at least one, not \[\]"),
        ([1, 160], r"tokens must be integers from 0 to 159, at least one, not \[1, 160\]"),
        ([0] * 13, "the context must be at most 12 tokens, not 13"),
    ],
)
def test_prompts_that_are_refused(entered, prompt, message):
    network = CoreNetwork(*entered)
    with pytest.raises(ValueError, match=f"^{message}$"):
        next(network.generate(prompt))
    assert network.runs == []


def test_a_value_that_is_too_large_ends_a_text(core_model):
    def large(model):
        embedding = model.embedding * np.float32(1e30)
        return replace(model, embedding=embedding, head=embedding)

    model = core_model(change=large)
    with TokenCoreSimulator(compile_image(model, CONFIG), limit=200_000) as core:
        message = r"^the token core reports an error at position 0: a value was too large$"
        with pytest.raises(SimulationError, match=message):
            next(CoreNetwork(model, core).generate([3]))
        core.reset()
        network = CoreNetwork(model, core, overflow=True)
        next(network.generate([3]))
        assert network.runs[-1].error


def test_a_network_needs_its_own_image(core_model, entered):
    with pytest.raises(CheckpointError, match=r"^the image: must be compiled from this model, "):
        CoreNetwork(core_model(rms_norm_eps=1e-6), entered[1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latency": 0}, "latency must be from 1 to 4294967295, not 0"),
        (
            {"refresh_interval": 9, "refresh_cycles": 9},
            "refresh_cycles must be from 0 to 8, not 9",
        ),
        ({"refresh_cycles": 1}, "refresh_cycles must be from 0 to 0, not 1"),
        ({"interval": 2.5}, "interval must be an integer, not 2.5"),
        ({"weight_interval": -1}, "weight_interval must be from 1 to 4294967295, not -1"),
    ],
)
def test_memories_that_cannot_be(values, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}$"):
        MemoryModel(**values)


def test_parameters_of_the_simulator(core_model):
    with pytest.raises(TypeError, match=r"^image must be an Image, not None$"):
        TokenCoreSimulator(None)
    with pytest.raises(ValueError, match=r"^limit must be at least 1, not 0$"):
        TokenCoreSimulator(compile_image(core_model(), CONFIG), limit=0)

"""Faults, pauses and resets of the simulated token core: each ends in a defined way."""

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from small_core import CONFIG, PAIRS, check_token, small_model

from trilith.golden.network.token_core import CoreCache
from trilith.hw.token.image import compile_image
from trilith.hw.token.limits import field_limits
from trilith.hw.token.program import FIELDS, FLAGS, INSTRUCTION_BYTES, Op
from trilith.sim.rtl.core_faults import read_ranges
from trilith.sim.rtl.memory_model import MemoryModel
from trilith.sim.rtl.token_core import GoldenTrace, TokenCoreSimulator
from trilith.sim.tools.errors import SimulationError

#: A token of the model takes about 4,000 cycles.
LIMIT = 200_000


@pytest.fixture(scope="module")
def core_model(random_model):
    """A model in the arithmetic of the core, by family."""
    return partial(small_model, random_model)


@pytest.fixture(scope="module")
def model(core_model):
    return core_model()


@pytest.fixture(scope="module")
def image(model):
    return compile_image(model, CONFIG)


def check_text(core, model, tokens=(3, 5), k=2):
    """Run a text from position 0 on, and compare it."""
    cache = CoreCache(model.config)
    for position, token in enumerate(tokens):
        result = check_token(core, GoldenTrace(model, token, cache), token, position, k)
        assert not result.error


@pytest.fixture(scope="module")
def on_weights(core_model):
    """A model with the image whose rows of the head are weight beats."""
    model = core_model("llama", vocab_size=157)
    return model, compile_image(model, PAIRS)


def fields_of(image, op, nth=0):
    """Fields of the nth instruction of a kind."""
    return [one.fields for one in image.program if one.op is op][nth]


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize(
    "part",
    [
        "program", "angles", "gains", "last gains", "scale of the embedding", "embedding",
        "scale of a key", "key", "scales of the head", "head",
    ],
)  # fmt: skip
def test_a_memory_error_ends_the_token(model, image, part, place):
    first, last = read_ranges(image, 3)[part]
    byte = {"first": first, "middle": (first + last) // 2, "last": last}[place]
    with TokenCoreSimulator(image, memory=MemoryModel(fails_at=byte), limit=LIMIT) as core:
        message = (
            rf"the memory answered a read of byte {byte} with an error; token 3 at position 0 "
            r"ended after \d+ cycles with 0 of 2 answers"
        )
        with pytest.raises(SimulationError, match=f"^{message}$"):
            core.run(3, 0, 2)
        # The error stays until a reset: the next command ends without an answer.
        with pytest.raises(SimulationError, match=r"^the memory answered a read of byte "):
            core.run(3, 0, 2)
        core.reset()
        check_text(core, model)


@pytest.mark.parametrize("part", ["last gains", "scales of the head"])
def test_a_memory_error_in_a_head_of_weight_beats(on_weights, part):
    model, image = on_weights
    assert "head" not in read_ranges(image, 3)
    byte = read_ranges(image, 3)[part][1]
    with TokenCoreSimulator(image, memory=MemoryModel(fails_at=byte), limit=LIMIT) as core:
        for _ in range(2):
            with pytest.raises(SimulationError, match=r" with 0 of 2 answers$"):
                core.run(3, 0, 2)
        core.reset()
        check_text(core, model)


def test_a_memory_error_within_a_prompt(model, image):
    with TokenCoreSimulator(image, memory=MemoryModel(fails_at=0), limit=LIMIT) as core:
        with pytest.raises(SimulationError, match=r" with 0 of 0 answers$"):
            core.run(3, 0, 0)
        core.reset()
        check_text(core, model)


def test_memory_without_the_cache(image):
    cut = replace(image, memory=image.memory[: fields_of(image, Op.ATTEND)["address"] + 8])
    with (
        TokenCoreSimulator(cut, limit=LIMIT) as core,
        pytest.raises(SimulationError, match=r"^the memory has no byte \d+ to write; token 3 at "),
    ):
        core.run(3, 0, 1)


def check_refused(image, k=2):
    """Run a program that the core refuses, twice."""
    with TokenCoreSimulator(image, limit=LIMIT) as core:
        for _ in range(2):
            result = core.command(3, 0, k)
            assert (result.tokens, result.error) == ([], True)


def patched(image, instruction, word, value):
    """The image with another word in an instruction."""
    memory = image.memory.copy()
    start = instruction * INSTRUCTION_BYTES + 4 * word
    memory[start : start + 4] = np.frombuffer(np.uint32(value).tobytes(), np.uint8)
    return replace(image, memory=memory)


#: Instructions have 8 words of memory: whole ones, and a part of one, are missing at the end.
#: A token of a prompt ends at ``HEAD``, and needs no ``END``.
@pytest.mark.parametrize(
    ("words", "k"),
    [*((words, k) for words in (0, 3, 8, 44) for k in (0, 2)), (-8, 2), (-4, 2)],
)
def test_a_program_that_ends_early(image, words, k):
    count = words if words >= 0 else image.program_words + words
    check_refused(replace(image, program_words=count), k)


@pytest.mark.parametrize("operation", [8, 99, 255])
@pytest.mark.parametrize("instruction", [0, 2, 9, -2, -1])
def test_an_unknown_operation(image, instruction, operation):
    check_refused(patched(image, range(len(image.program))[instruction], 0, operation))


def test_answers_without_head(image):
    check_refused(patched(image, len(image.program) - 2, 0, Op.END))


def test_a_head_without_beats(on_weights):
    _, image = on_weights
    assert ("beats", 1) in [(one[1], one[2]) for one in field_limits(PAIRS) if one[0] is Op.HEAD]
    word = 1 + FIELDS[Op.HEAD].index("beats")
    check_refused(patched(image, len(image.program) - 2, word, 0))


@pytest.mark.parametrize("limit", list(field_limits(CONFIG)), ids=lambda limit: f"{limit[:2]}")
def test_counts_out_of_range(image, limit):
    op, field, low, high, flag = limit
    flags = [one.flags for one in image.program]
    index = next(
        index
        for index, one in enumerate(image.program)
        if one.op is op and (flag in (None, "table") or flag in flags[index])
    )
    word = 1 + FIELDS[op].index(field)
    if flag == "table":
        head = image.program[index]
        bits = int(op) | sum(1 << (8 + FLAGS.index(name)) for name in (*head.flags, flag))
        both = {name: head.fields[name] or 1 for name in ("scale_words", "scale_count")}
        for name, value in both.items():
            image = patched(image, index, 1 + FIELDS[op].index(name), value)
        image = patched(image, index, 0, bits)
    for value in (low - 1, high + 1):
        if 0 <= value < 2**32:
            check_refused(patched(image, index, word, value))


def test_the_next_command_after_a_refused_one(model, image):
    with TokenCoreSimulator(image, limit=LIMIT) as core:
        assert core.command(200, 0, 1).error
        cache = CoreCache(model.config)
        for position, token in enumerate((3, 5)):
            check_token(core, GoldenTrace(model, token, cache), token, position, 2)
        core.reset()
        check_text(core, model)


def huge(model, rng):
    """The model with some values near the ends of the number format."""

    def factor(share):
        if rng.random() > share:
            return 1.0
        return float(
            2.0 ** (rng.uniform(50, 126) if rng.random() < 0.75 else rng.uniform(-125, -50))
        )

    def changed(layer):
        return replace(
            layer,
            gains={
                name: (gain * factor(0.1)).clip(-1e38, 1e38).astype(np.float32)
                for name, gain in layer.gains.items()
            },
            linears={
                name: replace(
                    one,
                    weight=replace(
                        one.weight,
                        scale=(one.weight.scale.astype(np.float64) * factor(0.1))
                        .clip(2.0**-120, 2.0**120)
                        .astype(np.float32),
                    ),
                )
                for name, one in layer.linears.items()
            },
        )

    embedding = model.embedding / np.abs(model.embedding).max() * factor(0.4)
    return replace(
        model,
        layers=tuple(map(changed, model.layers)),
        embedding=embedding.astype(np.float32),
        head=embedding.astype(np.float32),
        final_norm=(model.final_norm * factor(0.1)).clip(-1e38, 1e38).astype(np.float32),
    )


def check_overflow(model, k):
    """Run two tokens; the sticky error must be golden's flag, which is returned."""
    cache, overflow = CoreCache(model.config), False
    with TokenCoreSimulator(compile_image(model, CONFIG), limit=LIMIT) as core:
        for position, token in enumerate((3, 5)):
            golden = GoldenTrace(model, token, cache)
            result = check_token(core, golden, token, position, k)
            overflow |= golden.overflow(head=k > 0)
            assert result.error == overflow, position
    return overflow


@pytest.mark.parametrize("family", ["bitnet", "llama"])
def test_random_values_that_are_too_large(core_model, family):
    raised = [
        check_overflow(core_model(family, partial(huge, rng=np.random.default_rng(seed))), k=2)
        for seed in range(12)
    ]
    assert 2 < sum(raised) < 11


def scaled(powers, model):
    """The model with parts of its first layer times powers of two; the largest embedding is 1."""
    first = model.layers[0]

    def times(name, values):
        return (values.astype(np.float64) * 2.0 ** powers.get(name, 0)).astype(np.float32)

    gains = {name: times(name, gain) for name, gain in first.gains.items()}
    linears = {
        name: replace(one, weight=replace(one.weight, scale=times(name, one.weight.scale)))
        for name, one in first.linears.items()
    }
    return replace(
        model,
        embedding=times("embedding", model.embedding / np.abs(model.embedding).max()),
        head=times("head", model.head),
        final_norm=times("final_norm", model.final_norm),
        layers=(replace(first, gains=gains, linears=linears), *model.layers[1:]),
        config=replace(model.config, tied=False),
    )


@pytest.mark.parametrize(
    ("family", "powers", "k", "too_large"),
    [
        ("bitnet", {}, 2, False),
        # Sum of the squares.
        ("bitnet", {"embedding": 60}, 2, False),
        ("bitnet", {"embedding": 70}, 2, True),
        # 127 / largest of a vector: too large, or zero.
        ("bitnet", {"input_layernorm": -124}, 0, True),
        ("bitnet", {"input_layernorm": 126.5}, 0, True),
        # Product with a gain; a prompt's token does not use the last one.
        ("bitnet", {"final_norm": 126, "head": -40}, 2, True),
        ("bitnet", {"final_norm": 126, "head": -40}, 0, False),
        # Scale times factor, and the integers times it.
        ("bitnet", {"self_attn.q_proj": 128}, 0, True),
        # 127 / largest of a head.
        ("bitnet", {"self_attn.q_proj": 124}, 0, False),
        ("bitnet", {"self_attn.q_proj": 126}, 0, True),
        # Scores, and their differences.
        ("bitnet", {"self_attn.q_proj": 62, "self_attn.k_proj": 62}, 0, False),
        ("bitnet", {"self_attn.q_proj": 63, "self_attn.k_proj": 63}, 0, True),
        ("bitnet", {"self_attn.q_proj": 40, "self_attn.k_proj": 100}, 0, True),
        # 127 / largest of the softmax's weights.
        ("bitnet", {"self_attn.v_proj": -100}, 0, False),
        ("bitnet", {"self_attn.v_proj": -116}, 0, True),
        # Logits.
        ("bitnet", {"final_norm": 120, "head": 6}, 2, True),
        ("bitnet", {"final_norm": 120, "head": 6}, 0, False),
        # A sigmoid has limits.
        ("llama", {"mlp.gate_proj": 100, "mlp.up_proj": 20}, 2, False),
    ],
)
def test_values_that_are_too_large(core_model, family, powers, k, too_large):
    assert check_overflow(core_model(family, partial(scaled, powers)), k) == too_large


@pytest.mark.parametrize("seed", range(3))
def test_pauses_on_every_port(model, image, seed):
    memory = MemoryModel(pauses=(0.3, 0.6, 0.9)[seed], seed=seed)
    with TokenCoreSimulator(image, memory=memory, limit=LIMIT) as core:
        # Tokens of a prompt leave peaks behind, which must not reach the next token.
        check_text(core, model, (3, 5, 7), k=0)
        check_text(core, model, (3, 5, 7), k=32)


@pytest.mark.parametrize(("pauses", "points"), [(0.0, 24), (0.5, 8)])
def test_resets_within_a_token(model, image, pauses, points):
    memory = MemoryModel(pauses=pauses, seed=1)
    with TokenCoreSimulator(image, memory=memory, limit=LIMIT) as core:
        check_text(core, model)
        cycles = core.run(7, 2, 1).cycles
        for after in [*range(1, 12), *np.linspace(12, cycles, points).astype(int).tolist()]:
            core.reset(7, 2, 1, cycles=after)
            check_text(core, model)


@pytest.mark.parametrize("pauses", [0.0, 0.5])
def test_resets_within_a_head_of_weight_beats(on_weights, pauses):
    model, image = on_weights
    with TokenCoreSimulator(image, memory=MemoryModel(pauses=pauses, seed=1), limit=LIMIT) as core:
        check_text(core, model)
        run = core.run(7, 2, 1)
        # From the last product to the last answer.
        first = run.cycles - run.by_part["head"] - 60
        for after in np.linspace(first, run.cycles, 8).astype(int).tolist():
            core.reset(7, 2, 1, cycles=after)
            check_text(core, model)


@pytest.mark.parametrize(
    ("memory", "missing"),
    [
        (MemoryModel(latency=10**9), "read_data.valid"),
        (MemoryModel(weight_interval=10**9), "weights.valid"),
        (MemoryModel(pauses=1), "commands.valid"),
        (MemoryModel(), "nothing at the ports"),
    ],
)
def test_a_token_that_does_not_end(image, memory, missing):
    limit = 3000 if memory == MemoryModel() else 10_000
    message = (
        f"the token core stopped: token 3 at position 0 did not end within {limit} cycles; "
        f"missing: {missing}"
    )
    with TokenCoreSimulator(image, memory=memory, limit=limit) as core:
        # A simulation that has stopped says so again.
        for _ in range(2):
            with pytest.raises(SimulationError, match=f"^{re.escape(message)}"):
                core.run(3, 0, 1)


def test_weights_that_are_cut(image):
    message = (
        "the token core stopped: it asks for "
        r"\d+ weight beats from beat \d+ on, and the image has 9"
    )
    with (
        TokenCoreSimulator(replace(image, weights=image.weights[:9]), limit=LIMIT) as core,
        pytest.raises(SimulationError, match=f"^{message}$"),
    ):
        core.run(3, 0, 1)


def test_a_prompt_asks_for_no_rows_of_the_head(on_weights):
    model, image = on_weights
    first = fields_of(image, Op.HEAD)["first_beat"]
    cut = replace(image, weights=image.weights[:first])
    with TokenCoreSimulator(cut, limit=LIMIT) as core:
        check_text(core, model, (3, 5, 7), k=0)
        message = (
            "the token core stopped: it asks for "
            rf"503 weight beats from beat {first} on, and the image has {first}"
        )
        with pytest.raises(SimulationError, match=f"^{message}$"):
            core.run(3, 0, 1)


def test_illegal_weights_are_an_error(model, image):
    weights = image.weights.copy()
    weights[3] = 0xFF
    with TokenCoreSimulator(replace(image, weights=weights), limit=LIMIT) as core:
        result = core.run(3, 0, 2)
    assert (len(result.tokens), result.error) == (2, True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((256, 0, 1), "token must be from 0 to 255, not 256"),
        ((3, 32, 1), "position must be from 0 to 31, not 32"),
        ((3, 0, -1), "k must be from 0 to 63, not -1"),
    ],
)
def test_commands_that_do_not_fit_their_fields(image, values, message):
    with (
        TokenCoreSimulator(image, limit=LIMIT) as core,
        pytest.raises(ValueError, match=f"^{message}$"),
    ):
        core.command(*values)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"latency": 0}, r"latency must be from 1 to \d+, not 0"),
        ({"pauses": 1.5}, r"pauses must be from 0 to 1, not 1\.5"),
        ({"fails_at": -1}, "fails_at must be from 0 to 4294967295, not -1"),
    ],
)
def test_memories_that_do_not_exist(fields, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        MemoryModel(**fields)

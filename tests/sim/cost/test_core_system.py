"""Estimates on token cores: times by part, memory, energy, and models that a core does not run."""

from dataclasses import replace
from math import inf

import pytest

from trilith.golden.checkpoint.load import read_config
from trilith.golden.checkpoint.model_config import ModelConfig
from trilith.golden.data import PYDOC
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.plan import CompileError, plan_image
from trilith.sim.cost.core.cycles import core_cycles
from trilith.sim.cost.core.extension import extended_cycles
from trilith.sim.cost.core_designs import CORE_DESIGNS, CoreDesign
from trilith.sim.cost.core_system import core_sizes, estimate_core, part_seconds
from trilith.sim.cost.memories import MEMORIES, Memory
from trilith.sim.cost.model_shapes import MODELS, find_model
from trilith.sim.cost.profiles import find_profile
from trilith.sim.rtl.memory_model import MemoryModel
from trilith.sim.tools.errors import EstimateError

MODEL = find_model(str(PYDOC))
CORE = CoreDesign(name="pydoc", config=CORE_PRESETS["pydoc"], clock_mhz=100.0, source="a test")


def memory(gigabytes_per_second):
    return Memory(name="m", gigabytes_per_second=gigabytes_per_second, source="a test")


def exact(context, model=None):
    sizes = core_sizes(MODEL, 0)
    return core_cycles(
        CORE.config, plan_image(CORE.config, sizes).program, token=0, position=context - 1,
        memory=model,
    )  # fmt: skip


def test_sizes_are_those_of_the_file():
    """Position limits, activation and heads come from config.json; other fields have no effect."""
    found, expected = core_sizes(MODEL, 7), ModelConfig.read(read_config(PYDOC), PYDOC)
    for name in ("hidden", "ffn", "layers", "heads", "kv_heads", "head_size", "vocabulary",
                 "max_positions", "hidden_act", "tied", "linear_shapes", "norm_sizes"):  # fmt: skip
        assert getattr(found, name) == getattr(expected, name), name
    assert core_sizes(MODELS["llama3-8b"], 77).max_positions == 77
    assert core_sizes(MODELS["bitnet-2b4t"], 77).max_positions == 4096


def test_cycles_are_those_of_the_cycle_model():
    found, full = estimate_core(MODEL, CORE, memory(inf), context=64), exact(64)
    assert abs(found.cycles.cycles - full.cycles) <= 12
    assert found.seconds == pytest.approx(found.cycles.cycles / 100e6)
    assert found.tokens_per_second == pytest.approx(1 / found.seconds)
    assert (found.waiting, found.bound) == ((), "head")


@pytest.mark.parametrize("interval", [2, 5])
def test_a_slow_memory_against_the_cycle_model(interval):
    """A beat and a word take the same time here: both are 64 bytes."""
    assert CORE.config.engine.weight_bytes == CORE.config.memory_width // 8 == 64
    core = replace(CORE, port_gigabytes_per_second=64 / interval * 0.1)
    found = estimate_core(MODEL, core, memory(inf), context=64)
    slow = exact(64, MemoryModel(interval=interval, weight_interval=interval))
    error = found.seconds * 100e6 / slow.cycles - 1
    print(f"a word in {interval} cycles: {error:+.2%} of {slow.cycles} cycles")
    assert abs(error) < 0.03
    assert {"products", "head"} <= set(found.waiting)


@pytest.mark.parametrize("resident", [True, False])
def test_resident_weights_against_the_cycle_model(resident):
    """A memory of 16 bits per cycle: a word of 128 bits in 8 cycles, a weight beat in 32."""
    config = CORE_PRESETS["ulx3s"]
    sizes = replace(core_sizes(MODEL, 0), layers=1, vocabulary=64)
    plan = plan_image(config, sizes)
    memory = MemoryModel(latency=20, interval=8, weight_interval=1 if resident else 32)
    slow = core_cycles(config, plan.program, token=0, position=15, memory=memory)
    cycles = extended_cycles(config, sizes, position=15)
    computes, moves = part_seconds(
        cycles, hertz=1, rate=2, resident_bytes=64 * plan.beats[""] * resident
    )
    found = sum(max(computes[part], moves[part]) for part in computes)
    print(f"{found / slow.cycles - 1:+.2%} of {slow.cycles} cycles")
    assert found == pytest.approx(slow.cycles, rel=0.05)


def test_the_memory_bounds_the_products():
    model = replace(MODEL, sizes=replace(MODEL.sizes, vocabulary=300))
    assert estimate_core(model, CORE, memory(inf), context=1).bound == "compute"
    slow = estimate_core(model, CORE, memory(1), context=1)
    assert slow.bound == "weights"
    read = slow.cycles.bytes_by_part["products"]
    assert read >= MODEL.linear_weights / 5
    assert slow.seconds_by_part["products"] == pytest.approx(read / 0.89e9)


def test_energy_is_that_of_products_and_memory():
    profile = find_profile("jouppi7")
    found = estimate_core(MODEL, CORE, MEMORIES["lpddr5-6400x64"], context=64, profile=profile)
    read = sum(found.cycles.bytes_by_part.values()) - found.cycles.bytes_by_part["attention"]
    assert found.parts.dram == pytest.approx(read * 8 * 9)
    int8 = 0.07 + 0.007 * 22 / 8  # A sum of 64 products of int8 has 22 bits.
    macs = 2 * 256 * 64 * MODEL.layers
    cache = found.cycles.bytes_by_part["attention"] * 8 * 9
    assert found.attention_pj == pytest.approx(macs * int8 + cache)
    assert found.joules_per_token == pytest.approx((found.parts.total + found.attention_pj) * 1e-12)
    assert estimate_core(MODEL, CORE, memory(1), context=64).joules_per_token is None


def test_the_published_board_gives_its_memory():
    core = CORE_DESIGNS["core-kv260"]
    assert core.config.engine.weight_bytes * 8 == 512
    assert core.bandwidth(MEMORIES["ddr4-2400x64"]) == 12.73e9
    assert [one.rate for one in core.published] == [16.78, 18.57, 15.4, 13.87]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("matmulfree-1.3b", "the token core runs transformers, and matmulfree-1.3b is none; "),
        (
            "bonsai-8b",
            "the token core runs models of BitNet and of Llama, and bonsai-8b has norms of "
            "queries and keys; choose another design$",
        ),
        ("qwen2.5-1.5b", "the token core .* and qwen2.5-1.5b has biases; "),
        ("gpt3-125m", "the token core .* has feed-forward layers without a gate; "),
    ],
)
def test_models_that_the_core_does_not_run(model, message):
    with pytest.raises(EstimateError, match=f"^{message}"):
        estimate_core(MODELS[model], CORE_DESIGNS["core"], memory(1))


def test_other_layers_of_a_configuration():
    model = replace(MODEL, sizes=replace(MODEL.sizes, linear_norms=True, hidden_act="gelu"))
    message = "pydoc has a norm in front of each linear layer, the activation gelu; choose "
    with pytest.raises(EstimateError, match=message):
        estimate_core(model, CORE, memory(1))


def test_a_context_and_a_model_beyond_the_maxima():
    message = (
        "^the context must be from 1 to 256, the longest of pydoc on this token core, not 257$"
    )
    with pytest.raises(EstimateError, match=message):
        estimate_core(MODEL, CORE, memory(1), context=257)
    message = "its hidden must be at most 2560, not 4096; its ffn must be at most 6912, not 14336; "
    with pytest.raises(CompileError, match=message):
        estimate_core(MODELS["llama3-8b"], CORE_DESIGNS["core"], memory(1))


def test_widths():
    core = CORE.with_widths({"vector_lanes": 8}, {"rows": 7})
    assert (core.config.vector_lanes, core.config.engine.rows) == (8, 7)
    with pytest.raises(EstimateError, match=r"^vector_lanes must be 1, 2, 4, 8 or 16, not 3$"):
        CORE.with_widths({"vector_lanes": 3}, {})

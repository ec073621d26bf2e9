import re
import time
from dataclasses import replace
from math import inf

import pytest

from trilith.hw import MatVecConfig
from trilith.sim.cost.config_shapes import read_model
from trilith.sim.cost.cycles import matvec_cycles
from trilith.sim.cost.designs import DESIGNS, Design
from trilith.sim.cost.memories import MEMORIES, find_memory
from trilith.sim.cost.model_shapes import MODELS
from trilith.sim.cost.profiles import find_profile
from trilith.sim.cost.system import estimate
from trilith.sim.tools.errors import EstimateError

BITNET = MODELS["bitnet-2b4t"]
ARRAY = DESIGNS["array-1024"]
LPDDR5 = find_memory("lpddr5")
#: The sizes of Qwen3-30B-A3B.
QWEN3_30B = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 151_936,
    "num_experts": 128,
    "num_experts_per_tok": 8,
}


def test_a_token_by_hand():
    result = estimate(BITNET, ARRAY, LPDDR5, context=100)
    config = ARRAY.config
    cycles = 30 * sum(
        matvec_cycles(config, n, k, 1)
        for n, k in (
            (2560, 2560),
            (640, 2560),
            (640, 2560),
            (2560, 2560),
            (6912, 2560),
            (6912, 2560),
            (2560, 6912),
        )
    )
    assert result.cycles == cycles
    assert result.linear_compute == pytest.approx(cycles / 1e9)
    # 1.6 bits a weight at 0.89 of 51.2 GB/s.
    assert result.linear_memory == pytest.approx(2_084_044_800 * 0.2 / (0.89 * 51.2e9))
    assert result.head == pytest.approx(128_256 * 2560 / (0.89 * 51.2e9))
    # 64 MACs a cycle, two products for each of 100 positions.
    assert result.attention == pytest.approx(2 * 2560 * 100 * 30 / 64e9)
    assert result.bound == "weights"
    parts = (result.linear_memory, result.attention, result.head, result.vector)
    assert result.seconds == pytest.approx(sum(parts))
    assert result.tokens_per_second == pytest.approx(1 / sum(parts))
    assert result.joules_per_token is None


def test_energy_of_a_token_by_hand():
    profile = find_profile("jouppi7")
    result = estimate(BITNET, ARRAY, LPDDR5, context=100, profile=profile)
    assert result.parts is not None
    # 20-bit adders but for the down projection's 21; the head in INT8 with 29 bits.
    down = 30 * 2560 * 6912
    others = 2_084_044_800 - down
    head = 128_256 * 2560
    mac = others * 0.007 * 20 / 8 + down * 0.007 * 21 / 8 + head * (0.07 + 0.007 * 27 / 8)
    assert result.parts.mac == pytest.approx(mac)
    assert result.parts.dram == pytest.approx(9 * (2_084_044_800 * 1.6 + head * 8))
    # 6912 activations twice take the published 32 KB; each is read for 16 rows.
    reads = (
        8
        * 30
        * sum(
            k * -(-n // 16)
            for n, k in (
                (2560, 2560),
                (640, 2560),
                (640, 2560),
                (2560, 2560),
                (6912, 2560),
                (6912, 2560),
                (2560, 6912),
            )
        )
    )
    written = 30 * (20 * (2560 + 640 + 640 + 2560 + 6912 + 6912) + 21 * 2560)
    head_bits = 8 * 2560 * 128_256 // 16 + 27 * 128_256
    assert result.parts.sram == pytest.approx((reads + written + head_bits) * 8.5 / 64)
    kv = 2 * 5 * 128 * 30 * (100 + 1)
    macs = 2 * 2560 * 100 * 30
    assert result.attention_pj == pytest.approx(macs * 0.5 + kv * 8 * 9)
    total = result.parts.total + result.attention_pj
    assert result.joules_per_token == pytest.approx(total * 1e-12)


def test_batches_share_passes_and_prompts_are_bound_by_compute():
    one = DESIGNS["array-1024"]
    four = DESIGNS["array-1024x4"]
    single = estimate(BITNET, one, LPDDR5, batch=8)
    shared = estimate(BITNET, four, LPDDR5, batch=8)
    assert single.linear_memory == pytest.approx(4 * shared.linear_memory)
    assert shared.tokens_per_second > 2 * single.tokens_per_second
    prompt = estimate(BITNET, DESIGNS["line"], find_memory("hbm2"), prompt=64)
    assert prompt.bound == "compute"
    assert prompt.work.tokens == 64


def test_engines_share_rows():
    split = replace(ARRAY, engines=4)
    whole = estimate(BITNET, ARRAY, LPDDR5).cycles
    assert whole / 4.2 < estimate(BITNET, split, LPDDR5).cycles < whole / 3.8


def test_where_the_bound_lies():
    fast = replace(ARRAY, clock_mhz=5000.0)
    assert estimate(BITNET, fast, LPDDR5).bound == "weights"
    slow = replace(ARRAY, clock_mhz=50.0, attention_macs_per_cycle=inf)
    assert estimate(BITNET, slow, LPDDR5).bound == "compute"
    assert estimate(BITNET, ARRAY, LPDDR5, context=100_000).bound == "attention and KV"
    serial = replace(ARRAY, vector_elements_per_cycle=0.01)
    assert estimate(BITNET, serial, LPDDR5).bound == "vector operations"
    assert estimate(BITNET, replace(ARRAY, fixed_us=1e6), LPDDR5).bound == "fixed costs"
    on_chip = estimate(BITNET, replace(ARRAY, attention_macs_per_cycle=inf), find_memory("on-chip"))
    assert (on_chip.linear_memory, on_chip.bound) == (0, "compute")


def test_a_mixture_reads_the_experts_of_the_tokens_in_a_pass():
    model = read_model(QWEN3_30B, "x")
    expert, router = 3 * 2048 * 768, 2048 * 128
    attention = 2 * 2048 * (32 + 4) * 128
    assert model.active_weights == 48 * (attention + router + 8 * expert)
    head = 151_936 * 2048
    # One token to a pass: 64 times the eight experts of a token, and the head (1 byte a weight).
    each = estimate(model, ARRAY, LPDDR5, batch=64)
    assert each.weight_bytes == pytest.approx(64 * (0.2 * model.active_weights + head))
    assert 54e9 < each.weight_bytes < 55e9
    assert each.weight_bytes == pytest.approx(64 * estimate(model, ARRAY, LPDDR5).weight_bytes)
    # All tokens in one pass: the distinct experts, each once; one is left out with (15/16)^64.
    shared = replace(
        ARRAY, config=None, weight_format="ternary-1.6", pass_tokens=64, head_format="int8"
    )
    once = estimate(model, shared, LPDDR5, batch=64)
    distinct = 128 * (1 - (15 / 16) ** 64)
    weights = 48 * (attention + router + distinct * expert)
    assert once.weight_bytes == pytest.approx(0.2 * weights + head)
    # An engine of one token to a pass takes the cycles of 64 times a token's experts, but for the
    # loading of activations, which the tokens of an expert share.
    cycles = 64 * estimate(model, ARRAY, LPDDR5).cycles
    assert 0.9 * cycles < each.cycles < cycles
    # Energy moves the same bytes.
    for design, result in ((ARRAY, each), (shared, once)):
        profile = find_profile("jouppi7")
        energy = estimate(model, design, LPDDR5, batch=64, profile=profile)
        assert energy.parts.dram == pytest.approx(8 * result.weight_bytes * 9)
        assert energy.linear_memory == result.linear_memory


@pytest.mark.parametrize(
    ("code", "bits"),
    [
        ("base3", 1.6),
        ("escape", 1.6),
        ("tq1", 1.6),
        ("two_bit", 2),
        ("binary", 1),
        ("sherry", 1.25),
    ],
)
def test_the_weight_code_of_an_engine_decides_its_bytes(code, bits):
    design = replace(ARRAY, config=replace(ARRAY.config, code=code))
    result = estimate(BITNET, design, LPDDR5, profile=find_profile("jouppi7"))
    head = 128_256 * 2560
    assert result.weight_bytes == pytest.approx(2_084_044_800 * bits / 8 + head)
    assert result.linear_memory == pytest.approx(2_084_044_800 * bits / 8 / (0.89 * 51.2e9))
    assert result.parts.dram == pytest.approx(9 * (2_084_044_800 * bits + 8 * head))


def test_a_rate_that_nothing_bounds_is_refused():
    result = estimate(BITNET, DESIGNS["tereffic-hbm"], find_memory("on-chip"))
    message = (
        "nothing bounds the rate of design tereffic-hbm with memory on-chip; choose a memory off "
        "chip, or a design whose MACs per cycle are known"
    )
    with pytest.raises(EstimateError, match=f"^{message}$"):
        _ = result.tokens_per_second


def test_an_estimate_takes_less_than_50_ms():
    model, profile = MODELS["llama3-8b"], find_profile("jouppi7")
    design = replace(
        DESIGNS["block"],
        clock_mhz=123.0,
        config=MatVecConfig(lanes=48, rows=7, tokens=3, k_max=6912, n_max=131_072),
    )
    start = time.process_time()
    estimate(model, design, LPDDR5, prompt=3000, batch=7, profile=profile)
    assert time.process_time() - start < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: estimate(BITNET, ARRAY, LPDDR5, batch=0),
            f"batch must be an integer from 1 to {2**27}, not 0",
        ),
        (
            lambda: estimate(BITNET, ARRAY, LPDDR5, prompt=2**20, batch=100),
            "tokens of all sequences must be at most 16777216, not 104857600",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(EstimateError, match=f"^{message}$"):
        make()


def test_a_matrix_that_no_engine_takes():
    config = {
        "model_type": "llama",
        "hidden_size": 100_000,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 1000,
    }
    message = "the engine must take each matrix of the model: k_max must be from 1 to 65536, not "
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}100000$"):
        estimate(read_model(config, "x"), ARRAY, LPDDR5)


def test_every_design_and_memory_estimates():
    for design in DESIGNS.values():
        assert isinstance(design, Design)
        for memory in MEMORIES.values():
            result = estimate(BITNET, design, memory)
            assert result.seconds >= 0

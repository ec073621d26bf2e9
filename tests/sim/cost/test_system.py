import re
import time
from dataclasses import replace
from math import ceil, inf

import numpy as np
import pytest

from trilith.golden.codes import CODES
from trilith.hw import MatVecConfig
from trilith.sim.cost.comparison import Equal, mac_area, rival
from trilith.sim.cost.config_shapes import read_model
from trilith.sim.cost.cycles import matvec_cycles
from trilith.sim.cost.designs import DESIGNS, Design, find_design
from trilith.sim.cost.memories import MEMORIES, find_memory
from trilith.sim.cost.model_shapes import MODELS
from trilith.sim.cost.profiles import FORMATS, accumulator_bits, find_profile
from trilith.sim.cost.system import estimate
from trilith.sim.cost.validation import NOT_PREDICTED, predict, summary
from trilith.sim.cost.workload import weights_per_pass
from trilith.sim.tools.errors import EstimateError

BITNET = MODELS["bitnet-2b4t"]
ARRAY = DESIGNS["array-1024"]
LPDDR5 = find_memory("lpddr5")


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


def test_passes_over_an_expert_are_those_of_random_choices():
    tokens, chance = 24, 1 / 16
    rng = np.random.default_rng(4)
    chosen = rng.binomial(tokens, chance, 200_000)
    config = QWEN3_30B | {"moe_intermediate_size": 64, "num_hidden_layers": 1}
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
    ("code", "bits"), [("base3", 1.6), ("escape", 1.6), ("tq1", 1.6), ("two_bit", 2), ("binary", 1)]
)
def test_the_weight_code_of_an_engine_decides_its_bytes(code, bits):
    design = replace(ARRAY, config=replace(ARRAY.config, code=code))
    result = estimate(BITNET, design, LPDDR5, profile=find_profile("jouppi7"))
    head = 128_256 * 2560
    assert result.weight_bytes == pytest.approx(2_084_044_800 * bits / 8 + head)
    assert result.linear_memory == pytest.approx(2_084_044_800 * bits / 8 / (0.89 * 51.2e9))
    assert result.parts.dram == pytest.approx(9 * (2_084_044_800 * bits + 8 * head))


def test_every_weight_code_has_one_number_format():
    for name, code in CODES.items():
        (one,) = [one for one in FORMATS.values() if name in one.codes]
        assert one.weight_bits == code.bits_per_trit


@pytest.mark.parametrize(("act_bits", "width"), [(8, 20), (4, 16), (2, 13)])
def test_an_engines_activations_and_accumulators_are_its_own(act_bits, width):
    config = replace(ARRAY.config, act_bits=act_bits, k_max=2560)
    number_format = replace(ARRAY, config=config).number_format
    assert (number_format.act_bits, number_format.weight_bits) == (act_bits, 1.6)
    assert accumulator_bits(number_format, 2560) == config.acc_width == width
    assert f"{number_format.measured} mac" in find_profile("gate:asap7").figures


def test_energy_of_other_machines_is_called_a_lower_bound():
    for name, design in DESIGNS.items():
        ours = design.source.startswith("modelled: the engine's exact cycles")
        assert design.ours == ours
        expected = f"for {name} a lower bound of arithmetic and memory, dynamic only"
        assert design.energy_boundary == ("dynamic only" if ours else expected)


def test_a_rate_that_nothing_bounds_is_refused():
    result = estimate(BITNET, DESIGNS["gpu-bf16"], find_memory("on-chip"))
    message = (
        "nothing bounds the rate of design gpu-bf16 with memory on-chip; choose a memory off chip, "
        "or a design whose MACs per cycle are known"
    )
    with pytest.raises(EstimateError, match=f"^{message}$"):
        _ = result.tokens_per_second


def test_what_is_held_equal():
    profile = find_profile("jouppi7")
    for number_format in ("fp16", "int8"):
        ours, macs = rival(ARRAY, number_format, mode="macs", k=2560)
        assert (ours, macs.full_rate) == (ARRAY, 1024)
        _, area = rival(ARRAY, number_format, mode="area", k=2560)
        ternary = mac_area(FORMATS["ternary-1.6"], 2560) * 1024
        assert mac_area(FORMATS[number_format], 2560) * area.full_rate == pytest.approx(ternary)
        _, power = rival(ARRAY, number_format, mode="power", k=2560, profile=profile)
        each = sum(one.pj for one in profile.mac(FORMATS[number_format], 2560).values())
        assert each * power.full_rate == pytest.approx(1024 * 0.0175)
        ours, bandwidth = rival(ARRAY, number_format, mode="bandwidth", k=2560)
        assert ours.full_rate == bandwidth.full_rate == inf
    # FP16: multiplier and adder; ternary: an adder of 20 bits.
    assert mac_area(FORMATS["fp16"], 2560) == 3000
    assert mac_area(FORMATS["ternary-1.6"], 2560) == 90


def test_equal_bandwidth_at_batch_1_gives_the_ratio_of_bits():
    bare = replace(ARRAY, vector_elements_per_cycle=inf, attention_macs_per_cycle=inf)
    ours, theirs = rival(bare, "fp16", mode="bandwidth", k=2560)
    one, other = (estimate(BITNET, design, LPDDR5) for design in (ours, theirs))
    assert other.linear_memory / one.linear_memory == pytest.approx(10)


def test_published_rates():
    predictions = predict()
    total = summary(predictions)
    assert total["rows"] >= 6
    assert total["median_absolute_error"] <= 0.20
    # The misses stand in the table.
    assert max(abs(one.error) for one in predictions) > 1
    assert {"TerEffic", "VitaLLM"} <= {name.partition(",")[0] for name in NOT_PREDICTED}
    for one in predictions:
        assert one.row.source
        assert one.row.assumptions
    # A prediction does not depend on the rate that it is compared with.
    changed = [replace(one, row=replace(one.row, rate=1.0)) for one in predictions]
    assert [one.rate for one in changed] == [one.rate for one in predictions]


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
        (lambda: find_design("tpu"), "the design must be one of micro, line, .*, not 'tpu'"),
        (lambda: find_memory("ddr9"), r"the memory must be one of ddr3-1333x16, .*, not 'ddr9'"),
        (lambda: replace(ARRAY, clock_mhz=0), "clock_mhz must be above 0, not 0"),
        (lambda: replace(ARRAY, clock_mhz=1e9), r"clock_mhz must be at most 100000, not 1.*"),
        (lambda: replace(ARRAY, reader="dma"), "reader must be one of fabric, .*, not 'dma'"),
        (
            lambda: replace(ARRAY, weight_format="ternary-1.6"),
            "array-1024: exactly one of config and weight_format must be given, not both",
        ),
        (
            lambda: replace(ARRAY, config=None),
            "array-1024: exactly one of config and weight_format must be given, not none",
        ),
        (
            lambda: rival(ARRAY, "fp16", mode="price", k=1),
            f"equal must be one of {', '.join(Equal)}, not 'price'",
        ),
        (
            lambda: rival(ARRAY, "int4", mode="area", k=1),
            "equal area needs the area of 'int8 x int4 mul', which is unknown for 45 nm; known .*",
        ),
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

from dataclasses import replace
from math import inf

import pytest

from trilith.sim.cost.designs import DESIGNS, Design, find_design, sustained
from trilith.sim.cost.memories import EFFICIENCY, find_memory
from trilith.sim.tools.errors import EstimateError

ARRAY = DESIGNS["array-1024"]


def test_energy_of_other_machines_is_called_a_lower_bound():
    for name, design in DESIGNS.items():
        ours = design.source.startswith("modelled: the engine's exact cycles")
        assert design.ours == ours
        expected = f"for {name} arithmetic and memory, lower bound, dynamic only"
        assert design.energy_boundary == ("dynamic only" if ours else expected)


def test_the_fabric_sustains_another_share_of_hbm():
    assert sustained(ARRAY, find_memory("lpddr5")) is EFFICIENCY["fabric"]
    assert sustained(ARRAY, find_memory("hbm2e")) is EFFICIENCY["fabric-hbm"]
    assert sustained(DESIGNS["gpu-bf16"], find_memory("hbm2")) is EFFICIENCY["gpu"]


def test_an_array_of_no_stated_size_shares_nothing():
    """One output for each read of an activation, and one vector for each pass over the weights."""
    bare = Design(
        name="x", reader="fabric", clock_mhz=100, weight_format="int8", source="a test of defaults"
    )
    assert (bare.shared_rows, bare.shared_tokens, bare.engines) == (1, 1, 1)
    assert (bare.buffer_kilobytes, bare.kv_bits, bare.fixed_us) == (8, 16, 0)
    assert bare.number_format.name == "int8"
    assert (bare.head_format, bare.attention_format) == ("fp16", "fp16")
    assert {bare.full_rate, bare.attention_rate, bare.port_bytes_per_cycle} == {inf}
    assert bare.vector_elements_per_cycle == inf
    given = replace(bare, rows=16, pass_tokens=4, sram_kilobytes=32)
    assert (given.shared_rows, given.shared_tokens, given.buffer_kilobytes) == (16, 4, 32)


def test_the_kv260_is_what_its_publication_says():
    """Four engines of 80 trits, two vectors; attention on four A53 of 1333 MHz, a MAC a cycle."""
    kv260 = DESIGNS["kv260"]
    assert (kv260.clock_mhz, kv260.engines, kv260.full_rate) == (250, 4, 4 * 80 * 2)
    assert (kv260.shared_tokens, kv260.shared_rows) == (2, 1)
    assert kv260.attention_rate == pytest.approx(4 * 1333 / 250)
    assert (kv260.head_format, kv260.kv_bits) == ("ternary-1.6", 32)
    assert (kv260.port_bytes_per_cycle, kv260.vector_elements_per_cycle) == (64, 1)
    assert kv260.fixed_us == 1800


@pytest.mark.parametrize(
    ("name", "clock", "macs", "tokens"),
    [("array-1024", 1000, 1024, 1), ("array-1024x4", 1000, 4096, 4), ("block", 250, 1280, 4)],
)
def test_own_arrays(name, clock, macs, tokens):
    own = DESIGNS[name]
    lanes = own.config.lanes
    assert (own.clock_mhz, own.full_rate, own.shared_tokens) == (clock, macs, tokens)
    assert (own.attention_rate, own.vector_elements_per_cycle) == (lanes, lanes)
    assert (own.head_format, own.kv_bits, own.reader) == ("int8", 8, "fabric")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: find_design("tpu"), "the design must be one of micro, line, .*, not 'tpu'"),
        (lambda: replace(ARRAY, clock_mhz=0), "clock_mhz must be from 0.001 to 100000, not 0"),
        (lambda: replace(ARRAY, clock_mhz=1e9), r"clock_mhz must be from 0.001 to 100000, not 1.*"),
        (lambda: replace(ARRAY, reader="dma"), "reader must be one of fabric, .*, not 'dma'"),
        (
            lambda: replace(ARRAY, weight_format="ternary-1.6"),
            "array-1024: exactly one of config and weight_format must be given, not both",
        ),
        (
            lambda: replace(ARRAY, config=None),
            "array-1024: exactly one of config and weight_format must be given, not none",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(EstimateError, match=f"^{message}$"):
        make()

import re
from dataclasses import replace

import pytest
import yaml

from trilith.hw import PRESETS
from trilith.sim.cost.zigzag import zigzag_core
from trilith.sim.gatelevel.table import library_names, load_table
from trilith.sim.tools.errors import EstimateError

BLOCK = replace(PRESETS["block"], code="escape")
CORES = [(BLOCK, "ihp-sg13g2"), (BLOCK, "asap7"), (PRESETS["micro"], "ihp-sg13g2")]


@pytest.mark.parametrize(("config", "library"), CORES)
def test_the_numbers_are_those_of_the_tables(config, library):
    table = load_table(library)
    core = yaml.safe_load(zigzag_core(config, library=library, memory="ddr4").text)
    array = core["operational_array"]
    row = table.best(f"ternaryxint8-{config.code}")
    assert array["sizes"] == [config.lanes, config.rows, config.tokens]
    assert array["unit_energy"] == pytest.approx(row.with_ports_fj / 1000, rel=1e-6)
    assert array["unit_area"] == pytest.approx(row.area / 16, rel=1e-6)
    memories = core["memories"]
    assert next(iter(memories)) == "weight_register"
    buffer = memories["activation_buffer"]
    assert buffer["size"] == 2 * config.k_max * config.tokens * 8
    if library == "ihp-sg13g2":
        macro = next(one for one in table.sram if one.words == 256 and one.bits == 64)
        words = config.lanes * config.tokens / 8
        assert buffer["r_cost"] == pytest.approx(macro.read_pj * words, rel=1e-6)
        assert buffer["area"] == pytest.approx(macro.area * words, rel=1e-6)
    else:
        assert buffer["r_cost"] == pytest.approx(14 * config.lanes * config.tokens / 8, rel=1e-6)
    # 20 pJ per bit of DDR4, and 1.6 bits per weight.
    weights = memories["weight_memory"]
    count = weights["ports"][0]["bandwidth_max"] / 8
    assert weights["r_cost"] == pytest.approx(20 * 1.6 * count, rel=1e-6)
    bits = 19.2 * 8 * 0.89 / table.common_clock
    assert count == min(config.lanes * config.rows, bits // 1.6)


def test_every_number_has_a_label_and_a_source():
    core = zigzag_core(BLOCK, library="ihp-sg13g2", memory="lpddr5")
    shape = {"64", "5", "4", "8", "32", "2048", "512"}
    for line in core.text.splitlines():
        value = re.match(r"\s+(?:size|r_cost|w_cost|area|unit_\w+|bandwidth_max): (\S+)(.*)", line)
        if value and value[1] not in shape:
            assert re.match(r"  # (measured|published|modelled): .{10}", value[2]) or re.match(
                "  # (in unit_|outside|larger)", value[2]
            ), line
    assert {one.label for one in core.numbers.values()} == {"measured", "published", "modelled"}


@pytest.mark.parametrize(("config", "library"), CORES)
def test_stream_finds_its_element_types_and_no_names_of_loops(config, library):
    """Stream 2.1 has int8 as the smallest element type and int32 for sums, and calls its loops
    D0, D1, which its parser refuses in a core's dataflows; so the file has none."""
    core = yaml.safe_load(zigzag_core(config, library=library, memory="ddr4").text)
    assert set(core) == {"name", "operational_array", "memories"}
    assert re.fullmatch(r"\w+", core["name"])
    # Each operand has one memory at the top, where transfers from other cores arrive.
    tops = {}
    for name, memory in core["memories"].items():
        tops |= dict.fromkeys(memory["operands"], name)
        for port in memory["ports"]:
            for access in port["allocation"]:
                operand, _ = access.split(", ")
                least = {"I1": config.act_bits, "I2": 8, "O": 32}[operand]
                assert port["bandwidth_max"] >= least
        assert memory["size"] >= (32 if "O" in memory["operands"] else 8)
    assert tops == {"I1": "activation_memory", "I2": "weight_memory", "O": "activation_memory"}


def test_figures_that_do_not_exist():
    for library in sorted({*library_names()} - {"ihp-sg13g2", "asap7"}):
        with pytest.raises(EstimateError) as error:
            zigzag_core(BLOCK, library=library, memory="ddr4")
        assert str(error.value) == (
            f"the library {library} has no figures of an SRAM; give ihp-sg13g2 or asap7"
        )
    with pytest.raises(EstimateError) as error:
        zigzag_core(BLOCK, library="asap7", memory="on-chip")
    assert str(error.value) == (
        "the memory must be one outside the chip, such as ddr4, not 'on-chip'"
    )


@pytest.mark.parametrize(("config", "library"), CORES)
def test_the_parser_of_zigzag_accepts_the_core(config, library):
    reason = "zigzag-dse is in the extra zigzag"
    validator = pytest.importorskip("zigzag.parser.accelerator_validator", reason=reason)
    factory = pytest.importorskip("zigzag.parser.accelerator_factory", reason=reason)
    core = yaml.safe_load(zigzag_core(config, library=library, memory="ddr4").text)
    checked = validator.AcceleratorValidator(core)
    assert checked.validate()
    made = factory.AcceleratorFactory(checked.normalized_data).create()
    assert made.operational_array.total_unit_count == config.macs_per_clock
    levels = {str(one.memory_instance.name) for one in made.memory_hierarchy.mem_level_list}
    assert len(levels) == 5

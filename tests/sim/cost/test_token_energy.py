import re
from dataclasses import replace

import pytest

from trilith.hw.token.config import CORE_PRESETS
from trilith.sim.cost.core.extension import extended_cycles
from trilith.sim.cost.memories import find_dram
from trilith.sim.cost.model_shapes import MODELS
from trilith.sim.cost.token_energy import (
    CORE,
    DRAM_PARTS,
    LOGIC_PARTS,
    MACHINES,
    _sizes,
    best_units,
    idle_clock,
    token_energy,
)
from trilith.sim.cost.workload import decode
from trilith.sim.gatelevel.core_table import load_core_table, operations
from trilith.sim.gatelevel.table import load_table
from trilith.sim.tools.errors import EstimateError

CORE_TABLE, TABLE = load_core_table("asap7"), load_table("asap7")


def energies(context=512, dram="hbm2e", core=CORE_TABLE):
    memory = find_dram(dram)
    return {
        name: token_energy(machine, core, TABLE, memory, context=context)
        for name, machine in MACHINES.items()
    }


def test_parts_sum_to_the_total():
    for one in energies().values():
        assert tuple(one.logic) == LOGIC_PARTS
        assert tuple(one.dram) == DRAM_PARTS
        assert one.total == pytest.approx(sum([*one.logic.values(), *one.dram.values()]))
        assert all(value > 0 for value in one.logic.values())


@pytest.mark.parametrize("context", [1, 512])
def test_operations_are_those_of_the_cycle_model(context):
    """Products, head and bytes of the cache as the cycle model moves them; MACs as the workload."""
    config, sizes = CORE_PRESETS[CORE], _sizes()
    counts, work = operations(sizes, context), decode(MODELS["bitnet-2b4t"], context)
    assert counts["engine"] == work.linear_macs
    assert counts["dots"] == work.attention_macs // 2 + work.head_macs
    assert counts["mixer"] == work.attention_macs // 2
    cycles = extended_cycles(config, sizes, position=context - 1)
    each = config.engine.lanes * config.engine.rows
    # A beat has the weights of a cycle; the last rows of a matrix fill no whole beat.
    beats = cycles.bytes_by_part["products"] / config.engine.weight_bytes
    assert counts["engine"] == pytest.approx(beats * each, rel=0.02)
    assert cycles.by_part["products"] * each >= counts["engine"]
    assert cycles.by_part["head"] * config.attention_lanes >= work.head_macs
    # Keys and values with their scales, read once.
    cache = energies(context)["ternary"].dram_bytes["cache"]
    assert cycles.bytes_by_part["attention"] == pytest.approx(cache, rel=0.2 if context > 1 else 9)


def test_the_head_of_fp16_is_656_megabytes():
    found = energies()
    assert found["fp16"].dram_bytes["head weights"] == 128_256 * 2560 * 2
    assert found["int8"].dram_bytes["head weights"] == 128_256 * (2560 + 4)
    weights = MODELS["bitnet-2b4t"].linear_weights
    assert found["ternary"].dram_bytes["weights"] == weights * 1.6 / 8
    assert found["w4a16"].dram_bytes["weights"] == weights * 4.125 / 8
    # The cache of FP16 is twice that of int8 without its scales: 4 bytes for each 128.
    ratio = found["fp16"].dram_bytes["cache"] / found["ternary"].dram_bytes["cache"]
    assert ratio == pytest.approx(2 * 128 / 132)


def test_machines_differ_in_their_formats_alone():
    found = energies()
    assert len({one.logic["glue"] for one in found.values()}) == 1
    assert found["int8"].logic["attention"] == found["ternary"].logic["attention"]
    # Two MACs for each score and element of a head: the difference of the two units.
    units, work = best_units(TABLE), decode(MODELS["bitnet-2b4t"], 512)
    wider = units["fp16xfp16-fp32-fused"].with_ports_fj - units["int8xint8"].with_ports_fj
    more = found["fp16"].logic["attention"] - found["int8"].logic["attention"]
    assert more == pytest.approx(work.attention_macs * wider * 1e-15)
    assert found["fp16"].logic["head"] == found["w4a16"].logic["head"]
    shapes = {(row.lanes, row.rows) for row in best_units(TABLE).values()}
    assert len(shapes) == 1
    order = [found[name].logic["products"] for name in ("ternary", "int8", "w4a16", "fp16")]
    assert order == sorted(order)


def test_the_memory_ports_are_charged_for_each_byte_of_cache_and_gains():
    def more(part):
        return replace(part, data_fj=2 * part.data_fj) if part.part == "memory" else part

    (memory,) = (part for part in CORE_TABLE.parts if part.part == "memory")
    added = (more(memory).gated_fj - memory.gated_fj) * 1e-15
    doubled = replace(CORE_TABLE, parts=tuple(map(more, CORE_TABLE.parts)))
    before, after = energies()["ternary"], energies(core=doubled)["ternary"]
    moved = before.dram["cache"] + before.dram["gains"]
    size = moved / (8e-12 * find_dram("hbm2e").pj_per_bit)
    assert after.logic["control"] - before.logic["control"] == pytest.approx(size * added)


def test_the_best_unit_of_a_shape_counts():
    (lanes, rows) = {(row.lanes, row.rows) for row in best_units(TABLE).values()}.pop()
    for name, best in best_units(TABLE).items():
        alike = [
            row.with_ports_fj
            for row in TABLE.rows
            if (row.unit, row.lanes, row.rows, row.operands) == (name, lanes, rows, "trained")
            and row.clock_ghz == TABLE.common_clock
            and row.met
        ]
        assert best.with_ports_fj == min(alike)


def test_a_table_without_a_common_shape():
    bare = replace(TABLE, rows=tuple(row for row in TABLE.rows if row.unit != "int8xint8"))
    message = r"^the table of asap7 must have .* in one shape: 'trilith characterize --all' "
    with pytest.raises(EstimateError, match=message):
        best_units(bare)


@pytest.mark.parametrize("context", [0, 4097])
def test_a_context_beyond_the_model(context):
    message = f"the context must be from 1 to 4096, not {context}"
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        energies(context)


def test_the_clock_of_idle_parts():
    """Parts without flip-flops take none; twice the clock energy takes twice as much."""
    cycles, idle = idle_clock(CORE_TABLE, context=512)
    assert cycles == pytest.approx(3_326_200, rel=1e-3)
    double = replace(
        CORE_TABLE,
        parts=tuple(replace(part, clock_fj=2 * part.clock_fj) for part in CORE_TABLE.parts),
    )
    assert idle_clock(double, context=512)[1] == pytest.approx(2 * idle)


def test_a_library_without_a_core():
    message = r"^the library must be one of .*asap7.*, not 'mine': 'trilith characterize --token-"
    with pytest.raises(EstimateError, match=message):
        load_core_table("mine")

import pytest

from trilith.hw.baselines import BASELINES
from trilith.sim.gatelevel.campaign import all_tasks
from trilith.sim.gatelevel.operands import zero_share
from trilith.sim.gatelevel.table import COMPARED_UNITS, FP16_UNIT, library_names, load_table
from trilith.sim.tools.errors import EstimateError


def test_an_unknown_library_lists_the_known():
    with pytest.raises(EstimateError, match=r"^the library must be one of .*asap7.*, not 'x': "):
        load_table("x")


@pytest.mark.parametrize("library", library_names())
def test_shipped_tables_hold_together(library):
    table = load_table(library)
    assert table.rows
    seen = set()
    for row in table.rows:
        assert row.unit in BASELINES
        kinds = row.internal_fj + row.switching_fj + row.leakage_fj
        assert kinds == pytest.approx(row.energy_fj, rel=1e-3)
        assert sum(row.parts_fj.values()) == pytest.approx(row.energy_fj, rel=1e-3)
        assert row.met == (row.max_ghz >= row.clock_ghz)
        assert row.results >= 8
        assert zero_share(row.operands) is None or row.operands != "trained"
        assert all(len(file["sha256"]) == 64 for file in row.provenance["files"])
        seen.add((row.unit, row.lanes, row.rows, row.levels_per_stage, row.operands, row.clock_ghz))
    assert len(seen) == len(table.rows)
    # A library has one kind of flip-flop, whose clock pins are most of what ports charge.
    each = [row.ports_fj * row.lanes * row.rows / row.flip_flops for row in table.rows]
    assert max(each) < 1.1 * min(each)


@pytest.mark.parametrize("library", library_names())
def test_the_order_of_the_compared_units(library):
    """A ternary MAC takes less than an int8 one, and that less than those with FP16."""
    table = load_table(library)
    energies = {unit: row.energy_fj for unit in COMPARED_UNITS if (row := table.row(unit))}
    order = ["ternaryxint8-escape", "int8xint8", "int4xfp16-fp32-fused", FP16_UNIT]
    assert set(energies) == set(order)
    assert sorted(energies, key=energies.__getitem__) == order
    fp16 = table.row(FP16_UNIT)
    assert fp16 is not None
    assert table.ratio(fp16) == 1


def test_ratios_are_between_equals():
    table = load_table("asap7")
    for levels in (1, 4):
        fp16, ternary = (
            table.row(unit, levels_per_stage=levels) for unit in (FP16_UNIT, "ternaryxint8-escape")
        )
        assert fp16 is not None
        assert ternary is not None
        assert table.ratio(ternary) == fp16.energy_fj / ternary.energy_fj
    # FP16 was not measured in 20 rows.
    engine = table.row("ternaryxint8-escape", lanes=64, rows=20, levels_per_stage=4)
    assert engine is not None
    assert table.ratio(engine) is None


def test_what_a_table_has():
    every = all_tasks()
    assert {task.unit for task in every if task.config.lanes == 16} == set(BASELINES)
    assert len(set(every)) == len(every)
    assert [task.unit for task in all_tasks(glitches=True)] == list(COMPARED_UNITS)
    assert {task.unit for task in all_tasks(unit="int8xint8")} == {"int8xint8"}

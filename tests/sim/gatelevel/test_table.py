import json
import re
from dataclasses import replace

import pytest

from trilith.hw.baselines import BASELINES
from trilith.sim.gatelevel.best import best
from trilith.sim.gatelevel.campaign import all_tasks
from trilith.sim.gatelevel.operands import zero_share
from trilith.sim.gatelevel.rivals import RIVALS, SEARCHED
from trilith.sim.gatelevel.search import best_tasks, further_tasks, search_tasks, variants
from trilith.sim.gatelevel.table import (
    COMPARED_UNITS,
    FP16_UNIT,
    METHOD,
    Table,
    identity,
    library_names,
    load_table,
    read_table,
    table_file,
)
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
        seen.add(identity(vars(row)))
    assert len(seen) == len(table.rows)
    # A library has one kind of flip-flop, whose clock pins are most of what ports charge. Variants
    # with few registers charge relatively more input pins.
    plain, all_of_them = (
        [
            row.ports_fj * row.lanes * row.rows / row.flip_flops
            for row in table.rows
            if not (row.variant and skip)
        ]
        for skip in (True, False)
    )
    assert max(plain) < 1.2 * min(plain)
    assert min(plain) <= 1.2 * min(all_of_them)
    assert max(all_of_them) < 1.5 * min(all_of_them)


@pytest.mark.parametrize("library", library_names())
def test_the_order_of_the_compared_units(library):
    """A ternary MAC takes less than an int8 one, and that less than those with FP16."""
    table = load_table(library)
    energies = {unit: row.energy_fj for unit in COMPARED_UNITS if (row := table.row(unit))}
    order = ["ternaryxint8-escape", "int8xint8", "int4xfp16-fp32-fused", FP16_UNIT]
    assert set(energies) == set(order)
    assert sorted(energies, key=energies.__getitem__) == order
    fp16 = table.best("FP16")
    assert fp16 is not None
    assert table.ratio(fp16) == 1


def test_ratios_are_to_the_best_unit_of_the_same_shape():
    table = load_table("asap7")
    best = min(
        (
            row
            for row in table.rows
            if row.unit in RIVALS["FP16"]
            and (row.lanes, row.rows, row.operands) == (16, 1, "trained")
            and row.clock_ghz == table.common_clock
            and row.met
        ),
        key=lambda row: row.energy_fj + row.ports_fj,
    )
    assert table.best("FP16") == best
    for levels in (1, 4):
        ternary = table.row("ternaryxint8-escape", levels_per_stage=levels)
        assert ternary is not None
        assert table.ratio(ternary) == best.energy_fj / ternary.energy_fj
        assert table.ratio(ternary, ports=True) == best.with_ports_fj / ternary.with_ports_fj
    # FP16 was not measured in 20 rows.
    engine = table.row("ternaryxint8-escape", lanes=64, rows=20, levels_per_stage=4)
    assert engine is not None
    assert table.ratio(engine) is None


def test_the_best_units_of_a_library_itself_are_placed():
    own = load_table("ihp-sg13g2")
    placed = {(task.unit, task.config.variant) for task in all_tasks("ihp-sg13g2", placed=True)}
    assert {(row.unit, row.variant) for row in filter(None, map(own.best, RIVALS))} <= placed


def test_rows_of_ternary_units_also_share_sums_of_pairs():
    code = made_table(("ternaryxint8-base3", "no-sum", 0.5, 30.0, True))
    found = {(task.config.rows, task.config.variant) for task in further_tasks(code)}
    assert found == {(1, "no-sum"), (4, "no-sum"), (4, "no-sum+pair-sums")}


def made_table(*rows):
    """A table of rows that are given as unit, variant, clock, energy and whether it is met."""
    some = load_table("asap7").row("int8xint8")
    return Table(
        library="x",
        node="1 nm",
        sram=(),
        rows=tuple(
            replace(some, unit=u, variant=v, clock_ghz=c, energy_fj=e, ports_fj=1.0, met=m)
            for u, v, c, e, m in rows
        ),
    )


def test_rows_of_an_earlier_method_are_counted():
    table = load_table("asap7")
    methods = [{}, {"method": METHOD}, {"method": METHOD - 1}]
    rows = tuple(replace(table.rows[0], provenance=one) for one in methods)
    assert replace(table, rows=rows).stale == 2


def test_the_best_of_a_format_is_the_cheapest_that_meets_the_clock():
    fused, tree = RIVALS["FP16"]
    table = made_table(
        (fused, "", 0.5, 300.0, True),
        (fused, "", 1.0, 300.0, True),
        (fused, "early-maximum", 0.5, 200.0, True),
        (fused, "early-maximum", 1.0, 200.0, False),
        (tree, "", 0.5, 250.0, True),
        (tree, "", 1.0, 250.0, False),
        ("int8xint8", "", 0.5, 60.0, True),
        ("int8xint8", "", 1.0, 60.0, False),
    )
    assert [row.unit for row in table.ranked("FP16", clock_ghz=0.5)] == [fused, tree, fused]
    assert table.best("FP16", clock_ghz=1.0).variant == ""
    assert table.best("INT8", clock_ghz=1.0) is None
    assert table.common_clock == 0.5
    assert table.missing() == {"INT8": 1.0}
    int8 = table.best("INT8")
    assert table.ratio(int8) == pytest.approx(200 / 60)
    assert table.ratio(int8, ports=True) == pytest.approx(201 / 61)
    (fp16,) = [one for one in best(table) if one.format == "FP16" and one.clock_ghz == 0.5]
    assert (fp16.variant, fp16.with_ports_fj) == ("early-maximum", 201.0)
    assert fp16.over == {"sherry": None, "escape": None, "base3": None}
    assert {task.unit for task in best_tasks(table, count=2)} == {fused, tree, "int8xint8"}
    further = further_tasks(table)
    assert {task.config.variant for task in further if task.unit == fused} == {"early-maximum"}
    assert {task.config.rows for task in further} == {1, 4}


@pytest.mark.parametrize("unit", [unit for units in RIVALS.values() for unit in units])
def test_a_search_has_variants_that_can_be_made(unit):
    found = variants(unit)
    for config in found:
        BASELINES[unit].check(config)
    assert len(set(found)) == len(found)
    assert found[0].variant == ""


@pytest.mark.parametrize("name", RIVALS)
def test_a_search_has_twelve_variants_of_each_format(name):
    tasks = [task for task in search_tasks() if task.unit in RIVALS[name]]
    assert len(set(tasks)) == len(tasks) >= 12


def test_what_a_table_has():
    every = all_tasks(SEARCHED)
    assert {task.unit for task in every if task.config.lanes == 16} == set(BASELINES)
    assert len(set(every)) == len(every)
    assert [task.unit for task in all_tasks("x", glitches=True)] == list(COMPARED_UNITS)
    for unit in ("int8xint8", "fp32xfp32-fp32-tree"):
        assert {task.unit for task in all_tasks("x", unit=unit)} == {unit}


def test_other_libraries_have_what_is_compared_and_what_is_best_in_the_search():
    """The best and the second of each format; not every unit."""
    some, every = all_tasks("x"), all_tasks(SEARCHED)
    assert set(some) < set(every)
    assert set(COMPARED_UNITS) < {task.unit for task in some} < set(BASELINES)
    table = load_table(SEARCHED)
    for name in RIVALS:
        for row in table.ranked(name)[:2]:
            shape = (row.unit, row.variant, row.levels_per_stage)
            assert shape in {
                (one.unit, one.config.variant, one.config.levels_per_stage) for one in some
            }
    for library in ("x", SEARCHED):
        placed = all_tasks(library, placed=True)
        assert all(task.placed for task in placed)
        both = all_tasks(library, placed=True, glitches=True)
        assert both == [replace(task, glitches=True) for task in placed]
        assert {replace(task, placed=False) for task in placed} <= set(some)


def wrong_clock(table):
    table["rows"][1]["clock_ghz"] = "0.1"


def no_clock_pins(table):
    del table["rows"][0]["parts_fj"]["clock"]


def no_lanes(table):
    table["rows"][0]["lanes"] = 0


def infinite(table):
    table["sram"][0]["read_pj"] = float("inf")


def part_in_words(table):
    table["rows"][0]["parts_fj"]["tree"] = "much"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wrong_clock, "rows: 1: the key 'clock_ghz' must be of type float, not '0.1'"),
        (no_clock_pins, "rows: 0: lanes and rows must be 1 or more, and parts_fj must have clock"),
        (no_lanes, "rows: 0: lanes and rows must be 1 or more, and parts_fj must have clock"),
        (infinite, "sram: 0: the key 'read_pj' must be finite; measure it again"),
    ],
)
def test_a_wrong_value_is_refused_by_its_place(tmp_path, change, message):
    table = json.loads(table_file("ihp-sg13g2").read_text())
    change(table)
    file = tmp_path / "gate-x.json"
    file.write_text(json.dumps(table))
    with pytest.raises(EstimateError) as error:
        read_table(file, "x")
    assert str(error.value) == f"{file}: {message}"


def test_a_part_in_words(tmp_path):
    table = json.loads(table_file("ihp-sg13g2").read_text())
    part_in_words(table)
    file = tmp_path / "gate-x.json"
    file.write_text(json.dumps(table))
    start = re.escape(f"{file}: rows: 0: the key 'parts_fj' must be of type ")
    with pytest.raises(EstimateError, match=f"^{start}.*'tree': 'much'"):
        read_table(file, "x")

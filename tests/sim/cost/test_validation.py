import re
from dataclasses import replace
from math import inf, log, nan
from pathlib import Path
from statistics import mean, median

import pytest

from trilith.sim.cost import processors
from trilith.sim.cost.memories import EFFICIENCY
from trilith.sim.cost.processors import ISSUE_SHARE, RUNTIMES
from trilith.sim.cost.validation import NOT_PREDICTED, PUBLISHED, Group, predict, summary
from trilith.sim.tools.errors import EstimateError

ROW = PUBLISHED[0]


def test_a_prediction_does_not_depend_on_the_published_rate():
    predictions = predict()
    changed = predict([replace(one.row, rate=1.0) for one in predictions])
    assert [one.rate for one in changed] == [one.rate for one in predictions]


def test_the_published_energies_of_a_token():
    """From the publications that the rows name, in joules."""
    known = [(one.row.system, one.row.joules_per_token) for one in predict()]
    assert [(system, joules) for system, joules in known if joules is not None] == [
        ("KV260, generation", 0.381),
        ("KV260, four sequences", 0.248),
        ("TerEffic, one U280 with HBM", 0.0633),
        ("TeLLMe v2, KV260", 0.192),
        ("Ryzen 9 5950X, bitnet.cpp", 4.62),
        ("four Cortex-A53 of a KV260, bitnet.cpp", 1.96),
        ("RTX 3060, BF16", 3.67),
    ]


def _misfit():
    """Mean over the fitted processors of the mean |ln(predicted / published)| of their rows."""
    rows = [row for row in PUBLISHED if row.group == "fitted" and row.ran.processor]
    systems = {}
    for one in predict(rows):
        errors = systems.setdefault(one.row.system.partition(",")[0], [])
        errors.append(abs(log(one.rate / one.row.rate)))
    return mean(mean(errors) for errors in systems.values())


def test_constants_are_those_of_the_fit(monkeypatch):
    """No constant, 5 % smaller or larger, fits the group better by more than their rounding."""
    best = _misfit()
    for factor in (0.95, 1.05):
        with monkeypatch.context() as patch:
            share = min(1.0, ISSUE_SHARE.share * factor)
            patch.setattr(processors, "ISSUE_SHARE", replace(ISSUE_SHARE, share=share))
            assert _misfit() > best - 5e-4
        for name, one in RUNTIMES.items():
            with monkeypatch.context() as patch:
                cycles, us = one.cycles_per_call * factor, one.us_per_call * factor
                patch.setitem(RUNTIMES, name, replace(one, cycles_per_call=cycles, us_per_call=us))
                assert _misfit() > best - 5e-4
        for name in ("laptop", "gpu"):
            with monkeypatch.context() as patch:
                share = min(1.0, EFFICIENCY[name].share * factor)
                patch.setitem(EFFICIENCY, name, EFFICIENCY[name]._replace(share=share))
                assert _misfit() > best - 5e-4


def test_the_fitted_group_is_fitted():
    rows = [row for row in PUBLISHED if row.group == "fitted"]
    assert summary(predict(rows))["fitted"]["median_over_systems"] <= 0.15


def test_the_page_has_the_errors():
    """Each system and each group stand on the page with the errors that are computed."""
    page = (Path(__file__).parents[3] / "docs" / "estimates.md").read_text(encoding="utf-8")
    predictions = predict()
    systems = {}
    for one in predictions:
        if one.row.counted:
            key = one.row.group, one.row.system.partition(",")[0]
            systems.setdefault(key, []).append(abs(one.error))
    for (group, system), errors in systems.items():
        line = rf"\| {group} \| {re.escape(system)} \| {len(errors)} \| .* \| "
        assert re.search(rf"^{line}{100 * median(errors):.0f} % \| ", page, re.MULTILINE)
    for group, total in summary(predictions).items():
        line = rf"\| {group} \| .* \| {total['systems']} \| "
        assert re.search(
            rf"^{line}{100 * total['median_over_systems']:.1f} % \|$", page, re.MULTILINE
        )


def test_every_row_states_its_conditions():
    assert {"TerEffic", "VitaLLM"} <= {name.partition(",")[0] for name in NOT_PREDICTED}
    for row in PUBLISHED:
        assert row.source
        assert row.assumptions
        assert (row.joules_per_token is None) == (row.joules_source is None)


def test_groups_share_no_system():
    groups = {group: set() for group in Group}
    for row in PUBLISHED:
        groups[Group(row.group)].add(row.system.partition(",")[0])
    assert groups[Group.CHECKED] == {
        "Raspberry Pi 5",
        "Surface Laptop 7",
        "AGX Orin",
        "A100 of 40 GB",
        "PD-Swap",
        "TeLLMe v2",
    }
    assert not groups[Group.FITTED] & groups[Group.CHECKED]
    assert not groups[Group.FOUND] & (groups[Group.FITTED] | groups[Group.CHECKED])


def test_a_system_counts_by_the_median_of_its_rows():
    (one,) = predict([ROW])
    rates = [one.rate / 1.5, one.rate / 1.1, one.rate]
    rows = [replace(one.row, rate=rate) for rate in rates]
    rows.append(replace(one.row, system="another", rate=one.rate / 1.3))
    rows.append(replace(one.row, system="answered", rate=one.rate / 9, counted=False))
    assert summary(predict(rows)) == {
        "fitted": {
            "rows": 4,
            "median_absolute_error": pytest.approx(0.2),
            "systems": 2,
            "median_over_systems": pytest.approx(0.2),
        }
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "gpt-9"}, "the model must be one of bitnet-2b4t, .*, not 'gpt-9'"),
        ({"design": "tpu", "cores": 2}, "the design must be one of micro, .*, not 'tpu'"),
        ({"memory": "ddr9"}, "the memory must be one of ddr3-1333x16, .*, not 'ddr9'"),
        ({"group": "liked"}, "the group must be one of fitted, checked, found, not 'liked'"),
        ({"cores": 2}, "design kv260 is no processor; omit the key 'cores'"),
        ({"rate": 0}, "rate must be from 1e-06 to 1000000000.0, not 0"),
        ({"rate": -1.0}, "rate must be from 1e-06 to 1000000000.0, not -1.0"),
        ({"rate": nan}, "rate must be from 1e-06 to 1000000000.0, not nan"),
        ({"rate": inf}, "rate must be from 1e-06 to 1000000000.0, not inf"),
        ({"context": 0}, "context must be from 1 to 16777216, not 0"),
        ({"batch": -2}, "batch must be from 1 to 16777216, not -2"),
        ({"shared": 2**40}, "shared must be from 1 to 16777216, not 1099511627776"),
        ({"joules_per_token": 0}, "joules_per_token must be from 1e-09 to 1000000000.0, not 0"),
    ],
)
def test_bad_systems(change, message):
    pattern = f"^{re.escape(f'system {ROW.system!r}: ')}{message}$"
    with pytest.raises(EstimateError, match=pattern):
        replace(ROW, **change)

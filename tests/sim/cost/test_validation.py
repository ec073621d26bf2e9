import re
from dataclasses import replace
from math import inf, nan

import pytest

from trilith.sim.cost.validation import NOT_PREDICTED, PUBLISHED, Group, predict, summary
from trilith.sim.tools.errors import EstimateError

ROW = PUBLISHED[0]


def test_a_prediction_does_not_depend_on_the_published_rate():
    predictions = predict()
    changed = predict([replace(one.row, rate=1.0) for one in predictions])
    assert [one.rate for one in changed] == [one.rate for one in predictions]


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

from dataclasses import replace

from trilith.sim.cost.validation import NOT_PREDICTED, predict, summary


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

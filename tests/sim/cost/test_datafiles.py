import re
from dataclasses import dataclass

import pytest

from trilith.sim.cost.datafiles import DATA, read_data
from trilith.sim.tools.errors import EstimateError
from trilith.sim.tools.records import record


@dataclass(frozen=True, kw_only=True)
class Price:
    pj: float
    source: str
    bits: int | None = None


def sourced(entry):
    """Tell whether every table that holds values, or one around it, has a source."""
    if isinstance(entry, list):
        return all(sourced(one) for one in entry)
    # A profile without figures of its own names the profile that has them.
    if {"source", "reason", "based_on"} & set(entry):
        return True
    nested = [one for one in entry.values() if isinstance(one, dict | list)]
    return bool(nested) and all(sourced(one) for one in nested)


def test_every_entry_has_a_source():
    files = sorted(DATA.rglob("*.toml"))
    assert {file.stem for file in files} >= {"models", "designs", "memories", "jouppi7"}
    for file in files:
        if file.parent.name == "technology":
            assert sourced(read_data(file)), file.name
            continue
        for name, entry in read_data(file).items():
            assert sourced(entry), f"{file.name}: {name}"


def test_values_stay_as_they_are():
    price = record(Price, {"pj": 7, "source": "here"}, "x")
    assert (price, type(price.pj)) == (Price(pj=7.0, source="here"), int)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"pj": 1.0, "source": "here", "joules": 1},
            "x: the key 'joules' is unknown; legal keys are pj, source, bits",
        ),
        ({"pj": 1.0}, "x: the key 'source' is missing; add it"),
        (
            {"pj": "1", "source": "here"},
            "x: the key 'pj' must be of type float, not '1'",
        ),
        (
            {"pj": True, "source": "here"},
            "x: the key 'pj' must be of type float, not True",
        ),
        (
            {"pj": 1, "source": "here", "bits": 1.5},
            "x: the key 'bits' must be of type int | None, not 1.5",
        ),
    ],
)
def test_bad_entries(entry, message):
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        record(Price, entry, "x")


def test_a_bad_file(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("a = [")
    with pytest.raises(EstimateError, match=f"^{re.escape(str(file))}: must be TOML: "):
        read_data(file)

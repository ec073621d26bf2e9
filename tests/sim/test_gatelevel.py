import re
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from trilith.hw.baselines import BASELINES
from trilith.sim.gatelevel import (
    LibertyError,
    Library,
    _expression,
    map_component,
    parse_liberty,
)

LIBRARY = """
/* A small library. */
library (small) {
  time_unit : "1ns";
  nom_voltage : 1.8;
  cell (BUF) {
    area : 2.5
    pin (A) { direction : input; }
    pin (Y) { direction : output; function : "A"; internal_power () { values ( \\
      "1, 2", \\
      "3, 4"); } }
  }
  cell (BIGBUF) {
    area : 9;
    pin(A) { direction : input; }
    pin(Y) { direction : output; function : "A"; }
  }
  cell (DFF) {
    area : 8;
    ff (IQ, IQN) { next_state : "!D"; clocked_on : "CLK"; }
    pin (CLK) { direction : input; }
    pin (D) { direction : input; }
    pin (QN) { direction : output; function : "IQ"; }
  }
  cell (DFFR) {
    area : 5;
    ff (IQ, IQN) { next_state : "D"; clocked_on : "CLK"; clear : "!R"; }
    pin (CLK) { direction : input; }
    pin (D) { direction : input; }
    pin (R) { direction : input; }
    pin (Q) { direction : output; function : "IQ"; }
  }
}
"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path / "build"))
    return tmp_path


def library(folder: Path, text: str) -> Library:
    file = folder / "small.lib"
    file.write_text(text)
    return Library([file])


def test_a_library_is_read(build):
    small = library(build, LIBRARY)
    assert (small.buffer.name, small.buffer.area) == ("BUF", 2.5)
    assert small.flip_flop.name == "DFF"
    assert small.flip_flop.flip_flop == ("IQ", "IQN", "!D", "CLK")
    assert not small.cells["DFFR"].usable
    assert small.time_unit_ps == 1000
    tables = [g for g in parse_liberty(LIBRARY, "x").groups[0].groups if g.names == ["Y"]]
    assert tables[0].groups[0].attributes["values"] == ["1, 2", "3, 4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LIBRARY[:-4], "small.lib must be a Liberty file: one complete library group"),
        (LIBRARY + "}", "small.lib must be a Liberty file, and closes too many braces"),
        ("{", "small.lib must be a Liberty file, and has a brace without a group"),
        ("no library", "small.lib must be a Liberty file: one complete library group"),
        (LIBRARY.replace("internal_power", "x"), "small.lib must have power tables, and has none"),
        (LIBRARY.replace("!D", ""), "small.lib must have a plain flip-flop"),
        (LIBRARY.replace('"A"', '"!A"'), "small.lib must have a buffer"),
    ],
)
def test_a_library_is_refused(build, text, message):
    with pytest.raises(LibertyError, match=f"^{re.escape(message)}$"):
        library(build, text)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            "(!A1 * !B) + (!A2 * !B) + (!C)",
            lambda a1, a2, b, c: (not (a1 and a2) and not b) or not c,
        ),
        ("(A1 A2)' + B'", lambda a1, a2, b, c: not (a1 and a2) or not b),
        ("A1 ^ A2 ^ C", lambda a1, a2, b, c: a1 ^ a2 ^ c),
        ("!(A1+(A2&B))", lambda a1, a2, b, c: not (a1 or (a2 and b))),
        ("1", lambda a1, a2, b, c: 1),
    ],
)
def test_functions(function, expected):
    names = dict(zip(("A1", "A2", "B", "C"), "wxyz", strict=True))
    verilog = _expression(function, names).replace("1'b1", "1")
    for values in product((0, 1), repeat=4):
        found = eval(verilog, dict(zip("wxyz", values, strict=True))) & 1  # As Verilog has it.
        assert found == bool(expected(*values)), values


OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")


@pytest.mark.skipif(shutil.which("sta") is None, reason="sta is missing: apt-get install opensta")
@pytest.mark.skipif(
    not OSU018.exists(), reason="osu018 is missing: apt-get install qflow-tech-osu018"
)
def test_a_netlist_computes_and_its_power_follows_its_activity():
    baseline = BASELINES["int4xint4"]
    unit = baseline.unit(lanes=2, k_max=64)
    netlist = map_component(unit, Library([OSU018]), 20_000)
    rng = np.random.default_rng(0)
    clocks = 300
    w, x = rng.integers(-8, 8, (2, clocks, 2))
    valid = np.ones((clocks, 1), np.uint8)
    outputs, activity = netlist.run(
        {
            "weights": baseline.weight_port(w),
            "activations": baseline.activation_port(x),
            "valid": valid,
            "last": valid,
        }
    )
    expected = baseline.golden(w[:, np.newaxis], x[:, np.newaxis])
    found = baseline.results(outputs["total"], len(unit.total))
    assert np.array_equal(found[unit.latency :], expected[: -unit.latency])
    assert not outputs["done"][: unit.latency].any()

    # OpenSTA ignores activity in silence where its commands come in the wrong order.
    powers = [
        netlist.power({pin: share * value for pin, value in activity.items()})
        for share in (0, 0.5, 1)
    ]
    idle, half, full = (power.total for power in powers)
    assert full - idle == pytest.approx(2 * (half - idle), rel=0.001)
    assert powers[2].parts["product"] > 20 * powers[0].parts["product"]
    assert sum(powers[2].parts.values()) == pytest.approx(full)
    assert powers[2].parts["clock"] == pytest.approx(powers[0].parts["clock"])
    assert powers[2].slack_ps > 0
    assert netlist.flip_flops > 2 * 2 * 4

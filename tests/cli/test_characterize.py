import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TRILITH = Path(sys.executable).parent / "trilith"
OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")

needs_sta = pytest.mark.skipif(
    shutil.which("sta") is None, reason="sta is missing: apt-get install opensta"
)
needs_osu018 = pytest.mark.skipif(
    not OSU018.exists(), reason="osu018 is missing: apt-get install qflow-tech-osu018"
)


def characterize(*arguments, unit="ternaryxint4-escape", path=os.environ["PATH"]):
    return subprocess.run(
        [str(TRILITH), "characterize", "--unit", unit, "--library", "osu018"]
        + [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200", "PATH": path},
        check=False,
    )


@needs_sta
@needs_osu018
def test_a_unit_from_end_to_end():
    arguments = ("--lanes", 5, "--clock-ghz", 0.05, "--liberty", OSU018)
    done = characterize(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["label"] == "measured"
    assert row["met"]
    assert row["max_ghz"] > 0.05
    kinds = sum(row[f"{kind}_fj"] for kind in ("internal", "switching", "leakage"))
    assert kinds == pytest.approx(row["energy_fj"], rel=1e-6)
    assert sum(row["parts_fj"].values()) == pytest.approx(row["energy_fj"], rel=1e-5)
    assert row["parts_fj"]["clock"] > row["energy_fj"] / 10
    assert row["results"] > 50
    assert row["provenance"]["voltage"] == "1.8"
    (file,) = row["provenance"]["files"]
    assert file["file"] == OSU018.name
    assert re.fullmatch(r"[0-9a-f]{64}", file["sha256"])

    done = characterize(*arguments)
    assert done.returncode == 0, done.stderr
    assert f"energy          {row['energy_fj']:.3f} fJ per MAC" in done.stdout
    assert "clock           met; " in done.stdout


@needs_sta
@needs_osu018
def test_a_clock_that_is_not_met_is_said():
    done = characterize("--lanes", 5, "--clock-ghz", 5, "--liberty", OSU018)
    assert done.returncode == 1
    assert "clock           NOT MET: the energies are of a circuit that is too slow" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lanes", 1), "--lanes must be from 2 to 256, not 1"),
        (("--levels-per-stage", 5), "--levels-per-stage must be from 1 to 4, not 5"),
        (("--clock-ghz", 0), "--clock-ghz must be from 0.001 to 100, not 0.0"),
        (("--operands", "x"), "--operands must be one of trained, 2b4t, not 'x'"),
    ],
)
def test_bad_options_are_one_line(arguments, message):
    done = characterize(*arguments, "--liberty", "none.lib")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].endswith(message)
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_unit_is_one_line():
    done = characterize("--liberty", "none.lib", unit="fp7")
    assert done.returncode == 2
    assert re.fullmatch(r"trilith: .*--unit must be one of fp32xfp32.*, not 'fp7'\n", done.stderr)


def test_a_missing_sta_is_one_line(tmp_path):
    done = characterize("--liberty", OSU018, path=str(tmp_path))
    message = (
        "sta must be on PATH and was not found: install OpenSTA (Debian: apt-get install opensta)"
    )
    assert (done.returncode, done.stderr) == (2, f"trilith: {message}\n")


@needs_sta
def test_a_bad_library_is_one_line(tmp_path):
    file = tmp_path / "a.lib"
    file.write_text('library (a) { time_unit : "1ns"; }')
    done = characterize("--liberty", file)
    assert done.returncode == 2
    assert done.stderr == "trilith: a.lib must have power tables, and has none\n"
    file.write_text("library (a) {")
    done = characterize("--liberty", file)
    assert done.returncode == 2
    assert done.stderr == "trilith: a.lib must be a Liberty file: one complete library group\n"
    done = characterize("--liberty", tmp_path / "none.lib")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "none.lib" in done.stderr

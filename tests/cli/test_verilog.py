"""The command ``trilith verilog``, as its users run it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = ("--preset", "micro", "--lanes", "7", "--rows", "1", "--k-max", "30", "--n-max", "9")


def trilith(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from trilith.cli.main import main; main()", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_that_options_override_the_preset(tmp_path: Path) -> None:
    done = trilith(tmp_path, "verilog", *SMALL, "--out", "e.v", "--name", "tiny", "--testbench")
    ends = (".v", ".json", ".md", ".core", ".sdc", ".vlt", "_pack.h", "_pack.py", "_tb.v")
    names = [f"e{end}" for end in ends]
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, names, "")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)
    sidecar = json.loads((tmp_path / "e.json").read_text())
    assert sidecar["top"] == "tiny"
    assert sidecar["parameters"]["lanes"] == 7
    assert sidecar["parameters"]["code"] == "base3"


def test_json_without_a_preset(tmp_path: Path) -> None:
    fields = ("--lanes", "5", "--rows", "1", "--k-max", "9", "--n-max", "3", "--code", "binary")
    done = trilith(tmp_path, "verilog", *fields, "--period-ns", "4", "--out", "e.v", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "top": "trilith_matvec",
        "files": [
            *(f"e.{end}" for end in ("v", "json", "md", "core", "sdc", "vlt")),
            "e_pack.h",
            "e_pack.py",
        ],
    }
    assert "create_clock -name clk -period 4 [get_ports clk]" in (tmp_path / "e.sdc").read_text()


def test_the_axi_wrapper(tmp_path: Path) -> None:
    buses = ("--wrapper", "axi", "--weights-width", "32", "--results-width", "128")
    done = trilith(tmp_path, "verilog", *SMALL, *buses, "--out", "e.v", "--name", "tiny")
    ends = (".v", ".json", ".md", ".core", ".sdc", ".vlt")
    ends += ("_pack.h", "_pack.py", "_regs.h", "_regs.py", "_ip.tcl", "_litex.py")
    names = [f"e{end}" for end in ends]
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, names, "")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)
    sidecar = json.loads((tmp_path / "e.json").read_text())
    widths = {port["name"]: port["width"] for port in sidecar["ports"]}
    assert widths["s_axis_weights_tdata"] == 32
    assert widths["s_axis_activations_tdata"] == 64
    assert widths["m_axis_results_tdata"] == 128
    assert "create_clock -name aclk -period 10 [get_ports aclk]" in (tmp_path / "e.sdc").read_text()
    assert "#define TINY_JOB_START 0x74u" in (tmp_path / "e_regs.h").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--preset", "nope", "--out", "e.v"),
            "--preset must be micro, line, block, bitnet or compact, not 'nope'",
        ),
        (("--out", "e.v"), "--lanes is missing: give it, or give --preset or --core"),
        (
            ("--preset", "micro", "--lanes", "400", "--out", "e.v"),
            "lanes must be from 5 to 320, not 400",
        ),
        (
            (*SMALL, "--code", "x", "--out", "e.v"),
            "--code must be base3, escape, tq1, two_bit, binary or sherry, not 'x'",
        ),
        ((*SMALL, "--out", "e.txt"), "the file to write must end in .v, not 'e.txt'"),
        (
            (*SMALL, "--out", "/proc/e.v"),
            "/proc: must be a writable folder: No such file or directory",
        ),
        (
            (*SMALL, "--family", "z80", "--out", "e.v"),
            "family must be one of xc7, xcup, ecp5, ice40up5k, gw1n9, gw2a18, not 'z80'",
        ),
        (
            ("--preset", "block", "--family", "ice40up5k", "--out", "e.v"),
            "the engine needs 135 SB_RAM40_4K, and ice40up5k (iCE40UP5K) has 30: lower lanes, "
            "tokens or act_bits, or k_max if the buffer is deep",
        ),
        (
            (*SMALL, "--name", "logic", "--testbench", "--out", "e.v"),
            "name must not be 'logic', a reserved word of SystemVerilog; give another name",
        ),
        (
            (*SMALL, "--name", "clk", "--testbench", "--out", "e.v"),
            "name must not be 'clk', which a port or a signal has; give another name",
        ),
        (SMALL, "--out is missing: give it"),
        (
            ("--core", "nope", "--out", "e.v"),
            "--core must be pydoc, pydoc-ecp5, ulx3s, 2b4t, kv260 or small, not 'nope'",
        ),
        (
            ("--core", "small", "--preset", "micro", "--out", "e.v"),
            "--preset must not be given with --core, which does not use it",
        ),
        (
            ("--preset", "micro", "--vector-lanes", "2", "--out", "e.v"),
            "--vector-lanes must not be given without --core, which it is for",
        ),
        (
            ("--core", "small", "--family", "ecp5", "--out", "e.v"),
            "--family must not be given with --core, which does not use it",
        ),
        (
            ("--core", "small", "--vector-lanes", "3", "--out", "e.v"),
            "vector_lanes must be 1, 2, 4, 8 or 16, not 3",
        ),
        (
            ("--core", "small", "--act-bits", "4", "--out", "e.v"),
            "engine.act_bits must be 8, not 4",
        ),
        (
            ("--core", "small", "--hidden-max", "256", "--out", "e.v"),
            "hidden_max must be from 1 to 128, not 256",
        ),
        (("--core", "small", "--out", "e.vhd"), "the file to write must end in .v, not 'e.vhd'"),
        (
            ("--core", "small", "--name", "logic", "--out", "e.v"),
            "name must not be 'logic', a reserved word of SystemVerilog; give another name",
        ),
        ((*SMALL, "--wrapper", "ahb", "--out", "e.v"), "--wrapper must be axi, not 'ahb'"),
        (
            (*SMALL, "--wrapper", "axi", "--testbench", "--out", "e.v"),
            "--testbench must not be given with --wrapper axi, which does not use it",
        ),
        (
            (*SMALL, "--results-width", "64", "--out", "e.v"),
            "--results-width must not be given without --wrapper, which it is for",
        ),
        (
            (*SMALL, "--wrapper", "axi", "--activations-width", "2048", "--out", "e.v"),
            "the width of the activations bus must be 32, 64, 128, 256, 512 or 1024, not 2048",
        ),
    ],
)
def test_bad_input(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = trilith(tmp_path, "verilog", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"trilith: {message}\n")
    assert list(tmp_path.iterdir()) == []

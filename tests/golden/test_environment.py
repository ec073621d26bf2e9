"""The environment of programs that the toolkit starts."""

import os
import sys
from pathlib import Path

from trilith.golden.environment import child_environment, python_environment


def test_only_listed_variables(monkeypatch):
    for name in os.environ:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TMPDIR", "/somewhere")
    monkeypatch.setenv("CXXFLAGS", "-O3")
    assert child_environment() == {
        "PATH": os.defpath,
        "TMPDIR": "/somewhere",
        "LC_ALL": "C",
        "PYTHONUTF8": "1",
    }


def test_a_home_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/proc/nowhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert child_environment()["HOME"] == str(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    assert child_environment()["HOME"] == str(tmp_path / "home")


def test_a_python_finds_the_same_modules(monkeypatch):
    monkeypatch.setattr(sys, "path", ["", "/one", "two"])
    found = python_environment([Path("/first")])["PYTHONPATH"].split(os.pathsep)
    assert found == ["/first", "/one", str(Path("two").absolute())]

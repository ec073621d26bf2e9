"""Runs small shell scripts as external programs."""

import os
import re
import signal
import stat
import sys

import pytest

from trilith.sim import ToolchainError
from trilith.sim.tools.run import TooLongError, run_program


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The file that keeps the output of a failed program ``tool``."""
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path / "build"))
    return tmp_path / "build" / "failed" / "tool.log"


@pytest.fixture
def tool(tmp_path):
    """Make a program from the text of a shell script."""

    def make(text):
        path = tmp_path / "tool"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def fails(message, command, **arguments):
    with pytest.raises(ToolchainError, match=f"^{re.escape(message)}$"):
        run_program(command, **arguments)


def test_both_outputs_in_their_order(tool):
    assert run_program([tool("echo one; echo two >&2; echo three")]) == "one\ntwo\nthree\n"


def test_folder_and_variables(tool, tmp_path):
    program = tool("pwd; echo $COLOR")
    text = run_program([program], folder=tmp_path, variables={"COLOR": "blue"})
    assert text == f"{tmp_path}\nblue\n"


def test_the_environment_is_built_up(tool, monkeypatch):
    for name in os.environ:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    for name in ("MAKEFLAGS", "COCOTB_TESTCASE", "CXXFLAGS", "PYTHONPATH", "LD_PRELOAD"):
        monkeypatch.setenv(name, "")
    lines = run_program([tool("env")]).splitlines()
    assert {line for line in lines if not line.startswith(("PWD=", "_=", "SHLVL=", "OLDPWD="))} == {
        "PATH=/usr/bin:/bin",
        "HOME=/",
        "LC_ALL=C",
        "PYTHONUTF8=1",
    }


def test_programs_of_this_python_are_found_without_path(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    text = run_program(["python", "-c", "import sys; print(sys.prefix)"])
    assert text == f"{sys.prefix}\n"


def test_the_log_grows(tool, tmp_path):
    program, log = tool("echo $1"), tmp_path / "log"
    assert [run_program([program, word], log=log) for word in ("a", "b c")] == ["a\n", "b c\n"]
    assert log.read_text() == f"$ {program} a\na\n$ {program} 'b c'\nb c\n"


def test_a_failure_names_program_status_error_and_log(tool, kept):
    program = tool("echo reading; echo 'ERROR: no such cell'; echo 'make: *** Error 1'; exit 3")
    message = f"tool ended with status 3: ERROR: no such cell (all of its output: {kept})"
    fails(message, [program, "-x"])
    assert kept.read_text().splitlines()[:2] == [f"$ {program} -x", "reading"]


def test_a_traceback_shows_its_error(tool, kept):
    text = "File a.py, line 3\\n    raise ValueError(f'{x} is bad')\\nValueError: 3 is bad"
    program = tool(f'printf "{text}\\n"; exit 1')
    fails(f"tool ended with status 1: ValueError: 3 is bad (all of its output: {kept})", [program])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("echo first; echo last", "first; last"),
        ("printf 'a\\nb\\nc\\n\\n ---\\nd\\n'", "b; c; d"),
        ("true", "it printed nothing"),
        ("printf '\\n \\n~~~^\\n'", "it printed nothing"),
    ],
)
def test_a_failure_without_an_error_line(tool, kept, text, line):
    program = tool(f"{text}; exit 1")
    fails(f"tool ended with status 1: {line} (all of its output: {kept})", [program])


def test_a_signal_has_its_name(tool, kept):
    how = "SIGKILL, as where the memory is full"
    message = f"tool was ended by {how}: it printed nothing (all of its output: {kept})"
    fails(message, [tool(f"kill -{signal.SIGKILL.value} $$")])
    message = (
        f"of a program that was ended by {how}: it printed nothing (all of its output: {kept})"
    )
    fails(f"tool ended with status 137, {message}", [tool("exit 137")])
    message = f"tool was ended by SIGTERM: first (all of its output: {kept})"
    fails(message, [tool("echo first; kill $$")])


def test_output_that_does_not_have_what_is_needed(tool, kept):
    program = tool("echo one; echo two")
    kept_there = f"one; two (all of its output: {kept})"
    fails(
        f"tool ended with status 0 and did not write the end: {kept_there}",
        [program],
        lacks=lambda text: "" if "end" in text else "the end",
    )
    assert kept.read_text() == f"$ {program}\none\ntwo\n"
    assert run_program([program], lacks=lambda text: "") == "one\ntwo\n"


def test_a_file_that_was_not_written(tool, kept, tmp_path):
    (tmp_path / "made").write_text("of an earlier run")
    made = tmp_path / "made"
    fails(
        f"tool ended with status 0 and did not write {made}: so far (all of its output: {kept})",
        [tool("echo so far")],
        folder=tmp_path,
        makes=["made"],
    )
    run_program([tool("echo new > made")], folder=tmp_path, makes=["made"])
    assert made.read_text() == "new\n"


def test_too_slow(tool, kept):
    message = f"tool ran longer than 0.1 s and was stopped: begun (all of its output: {kept})"
    fails(message, [tool("echo begun; exec sleep 60")], timeout=0.1)
    with pytest.raises(TooLongError):
        run_program([tool("exec sleep 60")], timeout=0.1)


def test_not_a_program(tmp_path, kept):
    (tmp_path / "tool").write_text("not executable")
    message = "tool did not start: Permission denied: it printed nothing (all of its output: "
    fails(f"{message}{kept})", [tmp_path / "tool"])


def test_a_failure_is_told_where_nothing_can_be_kept(tool, kept):
    kept.parent.parent.write_text("a file where the folder should be")
    message = (
        f"tool ended with status 1: no space (its output could not be kept: {kept.parent.parent}: "
        "the cache must be a folder that you can write (File exists); set TRILITH_BUILD to another "
        "folder)"
    )
    fails(message, [tool("echo no space; exit 1")])


def test_a_program_that_is_not_there(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    message = "the program sta was not found: install OpenSTA (Debian: apt-get install opensta)"
    fails(message, ["sta"])

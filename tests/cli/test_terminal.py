"""The command in terminals, locales and environments that show or read little."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trilith.golden.data import PYDOC

TRILITH = str(Path(sys.executable).parent / "trilith")
#: Python without UTF-8: it reads and writes ASCII, or Latin-1.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(*arguments, **environment):
    """Run the command; its outputs stay bytes."""
    return subprocess.run(
        [TRILITH, *arguments], capture_output=True, env=os.environ | environment, check=False
    )


def test_files_are_read_as_utf8_in_an_ascii_terminal(tmp_path):
    folder = tmp_path / "Größe µ"
    folder.mkdir()
    for file in PYDOC.iterdir():
        if file.is_file():
            (folder / file.name).symlink_to(file)
    done = run("model", "inspect", os.fsencode(folder), **ASCII)
    assert (done.returncode, done.stderr) == (0, b"")
    done = run("generate", "--max-tokens", "1", "--prompt", "µ".encode(), **ASCII)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"\\xb5")


def test_bytes_that_are_no_text_are_shown():
    for variables in (ASCII, {"PYTHONUTF8": "1"}):
        done = run("model", "inspect", b"no\xffsuch", **variables)
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"trilith: no\\udcffsuch: must be ")
        assert done.stderr.count(b"\n") == 1
    done = run("model", "verify", PYDOC, PYDOC, b"--fo\xffo", **ASCII)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"trilith: No such option: --fo\\xffo\n"


@pytest.mark.parametrize("columns", ["0", "wide"])
def test_any_width(columns):
    done = run("estimate", "--help", COLUMNS=columns, LINES=columns, TERM="dumb")
    assert (done.returncode, done.stderr) == (0, b"")


def test_warnings_are_not_errors():
    done = run("fpga", "boards", "--json", PYTHONWARNINGS="error")
    assert (done.returncode, done.stderr) == (0, b"")
    json.loads(done.stdout)


def test_a_working_directory_that_was_removed(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", f'rmdir "$PWD"; exec "{TRILITH}" sim --part digits'],
        cwd=gone,
        env={name: value for name, value in os.environ.items() if name != "TRILITH_BUILD"},
        capture_output=True,
        text=True,
        check=False,
    )
    message = "trilith: the working directory does not exist any more: change to another one\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_no_memory():
    code = (
        "import sys; from trilith.cli import main, verbs; sys.argv = ['trilith', 'doctor']\n"
        "def run(names): raise MemoryError\n"
        "verbs.run = run; main.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    message = "trilith: the memory is full: free some, or raise the limit (ulimit -v)\n"
    assert (done.returncode, done.stderr) == (2, message)

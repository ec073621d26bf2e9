import errno
import json
import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
import typer

from trilith import __version__
from trilith.cli.main import main


def test_help_lists_the_verbs(command):
    done = command("--help")
    assert done.returncode == 0
    assert "sim" in done.stdout
    assert "doctor" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], {"typer", "rich", "pydantic", "numpy", "amaranth", "cocotb", "matplotlib"}),
        (["--version"], {"typer", "rich", "pydantic", "numpy", "amaranth", "cocotb"}),
        (["estimate"], {"rich", "pydantic", "numpy", "amaranth", "cocotb", "matplotlib"}),
    ],
)
def test_a_quick_verb_imports_nothing_heavy(arguments, heavy):
    code = (
        "import atexit, sys; from trilith.cli.main import main; "
        f"atexit.register(lambda: print(sorted({heavy!r} & set(sys.modules)))); "
        f"sys.argv = {['trilith', *arguments]!r}; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_verb_explains_itself(command):
    names = re.findall(r"^  (\w+)  ", command("--help").stdout, re.MULTILINE)
    assert len(names) == 15
    for name in names:
        module = import_module(f"trilith.cli.{name}")
        group = typer.main.get_command(module.app)
        for command in getattr(group, "commands", {name: group}).values():
            assert "\nExample" in command.help, command.name
            assert all(getattr(one, "help", "x") for one in command.params if not one.hidden)


def test_output_is_ascii_where_the_terminal_is(command):
    done = command("report", "fpga", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    done.stdout.encode("ascii")
    done = command("generate", "--prompt", "µ", "--max-tokens", 1, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("\\xb5")
    done = command("generate", "--prompt", "µ", "--max-tokens", 1, "--json", PYTHONUTF8="0")
    json.loads(done.stdout)


def test_the_version_is_that_of_the_package(command):
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"trilith {__version__}\n", "")


def test_full_disk(monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("trilith.sim.rtl.suite.run_suite", full)
    monkeypatch.setattr("sys.argv", ["trilith", "sim"])
    monkeypatch.setenv("TRILITH_BUILD", "/some/build")
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    message = "trilith: [Errno 28] No space left on device; files go to /some/build (TRILITH_BUILD)"
    assert capsys.readouterr().err.startswith(message)


def test_unknown_verb_and_option(command, refused):
    refused(command("simulate"), "No such command 'simulate'.")
    refused(command("doctor", "--preset"), "No such option: --preset")

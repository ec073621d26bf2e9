"""Completion as a shell asks for it: the script's variables, and the script itself in bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trilith.cli.main import _VERBS, COMPLETE

PROGRAM = Path(sys.executable).with_name("trilith")


def ask(trilith, monkeypatch, typed):
    """The words that may follow what is typed; its last word is not whole, or is empty."""
    monkeypatch.setenv(COMPLETE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"trilith {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split(" "))))
    done = trilith()
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", [*_VERBS]),
        ("ver", ["verilog"]),
        ("--", ["--help"]),
        ("none --x", []),
        ("fpga s", ["simulate", "selftest"]),
        ("verilog --pre", ["--preset"]),
        ("verilog --preset ", ["micro", "line", "block", "bitnet", "compact"]),
        ("verilog --preset=m", ["micro"]),
        # Not whole, and not legal yet.
        ("sim --layer 1 --check", ["--checkpoint"]),
        ("verilog --rows x --rows 8 --lan", ["--lanes"]),
        # Files are the shell's own.
        ("model inspect ", []),
        ("completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_words_that_may_follow(trilith, monkeypatch, typed, words):
    assert ask(trilith, monkeypatch, typed) == words


def test_no_verb_is_imported_for_names_of_verbs():
    code = (
        "import atexit, sys; from trilith.cli.main import main; "
        "atexit.register(lambda: print(*sorted(sys.modules))); sys.argv = ['trilith']; main()"
    )
    environment = {COMPLETE: "complete_bash", "COMP_WORDS": "trilith ", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=True,
    )
    modules = {*done.stdout.splitlines()[-1].split()}
    assert "trilith.cli.verbs" in modules
    assert not modules & {"numpy", "pydantic", *(f"trilith.cli.{verb}" for verb in _VERBS)}


@pytest.mark.parametrize(
    ("asked", "typed", "status", "printed"),
    [
        ("get-args", "trilith ver", 0, "verilog\tWrite an engine as Verilog, with testbench...\n"),
        ("is-args", "trilith ver", 0, ""),
        ("is-args", "trilith model inspect ", 1, ""),
    ],
)
def test_fish_asks_whether_there_are_words(command, asked, typed, status, printed):
    done = command(
        **{
            COMPLETE: "complete_fish",
            "_TYPER_COMPLETE_FISH_ACTION": asked,
            "_TYPER_COMPLETE_ARGS": typed,
        }
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, printed, "")


@pytest.mark.parametrize(("shell", "word"), [("zsh", "compdef"), ("fish", "complete --command")])
def test_scripts(trilith, shell, word):
    done = trilith("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert word in done.stdout
    assert COMPLETE in done.stdout


def test_bash_itself_completes():
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    script = (
        f"source <('{PROGRAM}' completion bash)\n"
        "complete -p trilith\n"
        f"COMP_WORDS=(trilith fpga bo) COMP_CWORD=2\n_trilith_completion '{PROGRAM}'\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "complete -o default -F _trilith_completion trilith",
        "boards",
    ]


def test_an_unknown_shell(command, refused):
    refused(command("completion", "tcsh"), "SHELL must be bash, zsh or fish, not 'tcsh'")
    refused(command("completion"), "SHELL is missing: give bash, zsh or fish")

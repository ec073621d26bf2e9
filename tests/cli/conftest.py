import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from trilith.cli.main import main


@pytest.fixture
def trilith(monkeypatch, capsys):
    """The command in this process: another takes seconds to start on a busy machine."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["trilith", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return SimpleNamespace(
            returncode=end.value.code or 0, stdout=printed.out, stderr=printed.err
        )

    return run


@pytest.fixture
def command():
    """The command in a process of its own, with variables of the environment."""

    def run(*arguments, **environment):
        return subprocess.run(
            [str(Path(sys.executable).parent / "trilith"), *map(str, arguments)],
            capture_output=True,
            text=True,
            env=os.environ | {"COLUMNS": "200"} | environment,
            check=False,
        )

    return run


@pytest.fixture
def refused():
    """Check that a command ended with one line of error, which has a text, and status 2."""

    def check(done, message):
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("trilith: ")
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1

    return check

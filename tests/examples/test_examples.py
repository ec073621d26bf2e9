"""The programs of ``examples/``: each prints what its page shows."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGE = (EXAMPLES / "README.md").read_text(encoding="utf-8")
PROGRAMS = sorted(file.stem for file in EXAMPLES.glob("*.py"))
#: Files that a program writes into the folder that it is given.
WRITTEN = {
    "engine_to_verilog": {"own.v", "own_tb.v", "own.json", "own.md"},
    "sweep_and_plot": {"sweep.csv", "sweep.json", "sweep.png"},
}
#: Numbers that depend on when noise comes, or on the speed of this machine.
VARIABLE = {
    "board_in_simulation": r"(?<=^cycles: )\d+(?=, )|(?<= in )\d+(?= of them$)|(?<=again: )\d+"
}


def shown(name):
    """Output of a program as the page has it."""
    found = re.search(rf"^## `{name}\.py`\n.*?\n```text\n(.*?)```\n", PAGE, re.S | re.M)
    assert found, f"examples/README.md must have the output of {name}.py"
    return found[1]


def run(name, folder):
    """Run a program in a folder of its own."""
    return subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        cwd=folder,
        env={"TRILITH_BUILD": str(ROOT / "build"), **os.environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_that_a_program_prints_what_its_page_shows(name, tmp_path):
    if name == "engine_to_verilog" and shutil.which("iverilog") is None:
        pytest.skip("iverilog is not installed: apt-get install iverilog")
    done = run(name, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    printed, expected = done.stdout, shown(name)
    if name in VARIABLE:
        variable = re.compile(VARIABLE[name], re.M)
        assert len(variable.findall(printed)) == 3
        printed, expected = variable.sub("…", printed), variable.sub("…", expected)
    assert printed == expected
    files = {file.name for file in tmp_path.rglob("*") if file.is_file()}
    assert files >= WRITTEN.get(name, set())
    assert bool(files) == (name in WRITTEN)


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_that_a_folder_that_exists_is_not_overwritten(name, tmp_path):
    default = re.search(r'else "(\w+)"', (EXAMPLES / f"{name}.py").read_text(encoding="utf-8"))
    (tmp_path / default[1]).mkdir()
    done = run(name, tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("FileExistsError: ")
    assert not any((tmp_path / default[1]).iterdir())


@pytest.mark.parametrize("name", PROGRAMS)
def test_that_a_program_is_short_and_imports_no_private_names(name):
    lines = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 75
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    assert not re.search(r"\b_\w+", "\n".join(imports))


def test_that_the_page_lists_every_program():
    assert re.findall(r"^## `(\w+)\.py`$", PAGE, re.M) == [
        *re.findall(r"^\| \[(\w+)\.py\]\(\1\.py\) \|", PAGE, re.M)
    ]
    assert sorted(re.findall(r"^## `(\w+)\.py`$", PAGE, re.M)) == PROGRAMS

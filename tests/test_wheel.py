"""The package as a wheel, installed without extras and run outside the clone."""

import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("golden", "hw", "sim", "fpga", "reports", "cli")
#: Files for readers of the repository, which the program does not read: pages and drawn figures.
READERS = (".md", ".csv", ".png")


def test_every_package_and_every_data_file_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    packages, data = listed["setuptools"]["packages"], listed["setuptools"]["package-data"]
    places = {place: name for name, place in listed["setuptools"]["package-dir"].items()}

    def package(folder):
        return places.get(str(folder), f"trilith.{'.'.join(folder.parts)}")

    known = subprocess.run(
        ["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    files = [Path(line) for line in known.stdout.splitlines()]
    if not files:
        pytest.skip("no clone with git")
    for file in files:
        owner = next(
            folder for folder in (file.parent, *file.parent.parents) if package(folder) in packages
        )
        if file.suffix == ".py":
            assert owner == file.parent, f"pyproject.toml must list the package of {file}"
        elif not file.name.endswith(READERS):
            patterns = data.get(package(owner), [])
            name = str(file.relative_to(owner))
            assert any(fnmatch(name, pattern) for pattern in patterns), f"{file} is in no wheel"


@pytest.mark.long
def test_a_wheel_without_extras(tmp_path):
    def run(*command):
        return subprocess.run(
            [str(one) for one in command], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    source = tmp_path / "source"
    assert run("git", "clone", "--quiet", ROOT, source).returncode == 0
    assert run(sys.executable, "-m", "venv", tmp_path / "my venv").returncode == 0
    python, trilith = (tmp_path / "my venv" / "bin" / name for name in ("python", "trilith"))
    for command in (["wheel", "--no-deps", "--wheel-dir", tmp_path, source], ["install"]):
        wheels = tmp_path.glob("*.whl") if command == ["install"] else ()
        done = run(python, "-m", "pip", *command, *wheels)
        assert done.returncode == 0, done.stderr
    for verb in re.findall(r"^  (\w+)  ", run(trilith, "--help").stdout, re.MULTILINE):
        done = run(trilith, verb, "--help")
        assert (done.returncode, done.stderr) == (0, "")
    done = run(trilith, "doctor", "--json")
    missing = [row for row in json.loads(done.stdout) if row["found"] is None]
    assert done.returncode == 0
    assert all(row["optional"] for row in missing), missing
    done = run(trilith, "sim", "--part", "axi", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failed"] == 0

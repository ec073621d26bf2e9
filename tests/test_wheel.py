"""The package as a wheel, run outside the clone, and as a source distribution."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
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


def test_the_source_distribution_is_the_repository(tmp_path):
    """All files of the repository are in it, so that it can be simulated and tested."""
    source = tmp_path / "source"
    clone = subprocess.run(["git", "clone", "--quiet", ROOT, source], check=False)
    if clone.returncode:
        pytest.skip("no clone with git")
    code = f"import setuptools.build_meta as b; b.build_sdist({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (packed,) = tmp_path.glob("trilith-*.tar.gz")
    with tarfile.open(packed) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    known = subprocess.run(
        ["git", "ls-files"], cwd=source, capture_output=True, text=True, check=True
    )
    assert {*known.stdout.splitlines()} <= names


#: Commands that work from a wheel with the extra plots, in a folder of the user.
COMMANDS = (
    "sim --part axi",
    "verilog --preset micro --testbench --out micro.v",
    "generate --backend rtl --prompt Return --max-tokens 2",
    "estimate bitnet-2b4t --versus fp16",
    "claims",
    "doctor",
    "report figures --out pictures",
)


def pythons():
    """Find the Pythons that the package says it works with: on PATH, and those of pyenv."""
    versions = ["3.11", "3.12", "3.13"]
    own = ".".join(map(str, sys.version_info[:2]))
    for version in dict.fromkeys([own, *versions]):
        of_pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
        names = [sys.executable] if version == own else [f"python{version}", *of_pyenv]
        for name in map(str, names):
            done = (
                subprocess.run([name, "-c", "import venv"], capture_output=True, check=False)
                if shutil.which(name)
                else None
            )
            if done is not None and done.returncode == 0:
                yield pytest.param(name, id=version)
                break


@pytest.mark.long
@pytest.mark.parametrize("python", [*pythons()])
def test_a_wheel_in_a_folder_of_the_user(tmp_path, python):
    place = tmp_path / "my place"
    place.mkdir()
    environment = os.environ | {"HOME": str(place / "home"), "XDG_CACHE_HOME": ""}
    environment.pop("TRILITH_BUILD", None)

    def run(*command):
        return subprocess.run(
            [str(one) for one in command],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    source = tmp_path / "source"
    assert run("git", "clone", "--quiet", ROOT, source).returncode == 0
    assert run(python, "-m", "venv", tmp_path / "my venv").returncode == 0
    own, trilith = (tmp_path / "my venv" / "bin" / name for name in ("python", "trilith"))
    done = run(own, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, source)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(source)
    (wheel,) = tmp_path.glob("*.whl")
    done = run(own, "-m", "pip", "install", wheel)
    assert done.returncode == 0, done.stderr
    for verb in re.findall(r"^  (\w+)  ", run(trilith, "--help").stdout, re.MULTILINE):
        done = run(trilith, verb, "--help")
        assert (done.returncode, done.stderr) == (0, "")
    # The remedy for a missing package works before this one is on an index.
    done = run(trilith, "report", "figures")
    assert done.returncode == 2
    remedy = re.search(r"run (.*)$", done.stderr)
    done = run("sh", "-c", remedy[1])
    assert done.returncode == 0, done.stderr
    version = run(own, "-c", "import trilith; print('trilith', trilith.__version__)")
    assert run(trilith, "--version").stdout == version.stdout != ""
    for line in COMMANDS:
        done = run(trilith, *line.split())
        assert done.returncode == 0, (line, done.stderr)
    made = {path.name for path in place.iterdir()}
    assert made >= {"home", "micro.v", "micro_tb.v", "pictures"}
    assert "build" not in made
    assert (place / "pictures" / "report.html").stat().st_size > 1_000_000
    assert (place / "home" / ".cache" / "trilith" / "trilith-cache").exists()

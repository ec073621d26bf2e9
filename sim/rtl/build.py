"""Builds simulations with Verilator."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cocotb_tools.config
import find_libpython

from ..tools.cache import keep
from ..tools.run import run_program
from ..tools.toolchain import ToolchainError, find_program
from ..tools.verilator import find_verilator

__all__ = ["build_simulation", "cocotb_environment"]

_TRACE = {".fst": ["--trace-fst"], ".vcd": ["--trace-vcd"]}


def build_simulation(
    sources: Sequence[Path],
    *,
    top: str,
    parameters: Mapping[str, int] | None = None,
    waves: Path | None = None,
    main: Path | None = None,
) -> Path:
    """Build an executable simulation, or find it built.

    Kept by a hash of the sources, the flags, and the versions of the tools.

    Parameters
    ----------
    sources : Verilog, SystemVerilog and Verilator control files
    top : name of the top module, whose ports are public to cocotb
    parameters : of the top module
    waves : None, or the file that it is going to write: ``.fst`` or ``.vcd``
    main : a C++ file with ``main``, for a simulation without cocotb; by default cocotb's

    Returns
    -------
    Path of the executable

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    """
    cocotb_main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
    files = [*sources, main or cocotb_main]
    arguments = ["-O3", "--x-assign", "fast", "--x-initial", "fast"]
    if waves is not None:
        arguments += _TRACE[waves.suffix]
    if main is None:
        libraries = cocotb_tools.config.libs_dir
        link = f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator"
        arguments += ["--vpi", "-LDFLAGS", link]
    tools = _Tools()
    design = ["--exe", "--top-module", top, "-o", top]
    design += [f"-G{name}={value}" for name, value in (parameters or {}).items()]
    texts = [f"{file.name}\0{file.read_text()}" for file in files]
    key = [*texts, *design, *arguments, tools.versions]
    with keep("verilator", "\0".join(key)) as (folder, making):
        if making is not None:
            runtime = tools.runtime(arguments)
            work = making.parent / "work"
            tools.verilate([*design, *arguments], files, work)
            for compiled in runtime.iterdir():
                shutil.copy2(compiled, work)
            tools.make(work, top)
            (work / top).rename(making / top)
    return folder / top


class _Tools:
    """Verilator, make and the compiler, as found.

    Raises
    ------
    ToolchainError
        Here and in the methods, if one is missing or fails.
    """

    # Only the hot code is worth the compiler's time: -O3 everywhere takes minutes on a large array.
    _OPTIMIZE = ("OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")

    def __init__(self) -> None:
        self._verilator = find_verilator()
        for program in ("make", "perl"):
            find_program(program)
        compiler = run_program(["g++", "--version"])
        #: What tells one installation from another.
        self.versions = "\0".join(
            [self._verilator.version, str(self._verilator.program), compiler, *self._OPTIMIZE]
        )

    def verilate(self, arguments: Sequence[str], files: Sequence[Path], work: Path) -> None:
        """Generate C++ and makefiles in a new folder ``work``."""
        work.mkdir()
        command = [str(self._verilator.program), "--cc", "--prefix", "Vtop", "--Mdir", str(work)]
        run_program([*command, *arguments, *files], folder=work, makes=["Vtop.mk"])

    def make(self, work: Path, target: str) -> None:
        """Compile a file in ``work``."""
        variables = (*self._verilator.make_variables, *self._OPTIMIZE)
        command = ["make", "-j2", "-f", "Vtop.mk", *variables, target]
        run_program(command, folder=work, makes=[target])

    def runtime(self, arguments: Sequence[str]) -> Path:
        """Folder of Verilator's own runtime, compiled once for all simulations of like arguments.

        Each simulation would compile it anew, which takes longer than most designs do.
        """
        with keep("runtime", "\0".join([*arguments, self.versions])) as (folder, making):
            if making is not None:
                work = making.parent / "work"
                source = making.parent / "empty.v"
                source.write_text("module empty(input wire clk);\nendmodule\n")
                self.verilate(["--top-module", "empty", *arguments], [source], work)
                self.make(work, "libverilated.a")
                for compiled in (*work.glob("verilated*.o"), work / "libverilated.a"):
                    compiled.rename(making / compiled.name)
        return folder


def cocotb_environment(module: str, top: str) -> dict[str, str]:
    """Variables with which a simulation finds Python, cocotb, and the cocotb module ``module``."""
    python = find_libpython.find_libpython()
    if python is None:
        raise ToolchainError(
            "Python must have a shared library for cocotb, and has none: install python3 with "
            "libpython (Debian: apt-get install libpython3-dev; pyenv: --enable-shared)"
        )
    return {
        "COCOTB_TEST_MODULES": module,
        "COCOTB_TOPLEVEL": top,
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "GPI_USERS": f"{python};{cocotb_tools.config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path),
    }

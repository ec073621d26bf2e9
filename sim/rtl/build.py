"""Builds simulations with Verilator."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cocotb_tools.config
import find_libpython
from amaranth.lib import wiring

from ...golden.environment import python_environment
from ...hw.export.verilog import component_verilog
from ..tools.cache import keep
from ..tools.run import run_program
from ..tools.toolchain import ToolchainError, find_program
from ..tools.verilator import find_verilator

__all__ = ["build_component", "build_simulation", "cocotb_environment"]

#: Flags of the linker for a program beside the link ``cocotb``; make reads two dollars as one.
_LINK = "-Wl,-rpath,'$$ORIGIN/cocotb' -Lcocotb -lcocotbvpi_verilator"
_TRACE = {".fst": ["--trace-fst"], ".vcd": ["--trace-vcd"]}


def build_simulation(
    sources: Sequence[Path],
    *,
    top: str,
    parameters: Mapping[str, int] | None = None,
    waves: Path | None = None,
    main: Path | None = None,
) -> Path:
    """Build an executable simulation, unless the cache has it.

    The key of the cache is the text of the sources, the flags, and the versions of the tools.

    Parameters
    ----------
    sources : Verilog, SystemVerilog and Verilator control files
    top : name of the top module, whose ports are public to cocotb
    parameters : values of the top module's Verilog parameters
    waves : None, or a file with the suffix of the waves that the simulation can write: ``.fst`` or
        ``.vcd``
    main : a C++ file with ``main``, for a simulation without cocotb; None is cocotb's ``main``

    Returns
    -------
    Path of the executable.

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
        arguments += ["--vpi", "-LDFLAGS", _LINK]
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
            (making / "cocotb").symlink_to(cocotb_tools.config.libs_dir)
    return folder / top


def build_component(
    component: wiring.Component,
    control: str,
    main: str | None = None,
    *,
    verilog: Path | None = None,
) -> Path:
    """Build a simulation of a component, which becomes the top module ``dut``.

    Its sources stay in the cache, so that they can be read when a tool reports an error.

    Parameters
    ----------
    component : the design
    control : text of a Verilator control file
    main : text of a C++ file with ``main``, see ``build_simulation``
    verilog : the Verilog of the component, if it is written already

    Returns
    -------
    Path of the executable.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    """
    text = verilog.read_text() if verilog else component_verilog(component, "dut")
    texts = {"dut.vlt": control, "dut.v": text, "main.cpp": main}
    sources = {name: text for name, text in texts.items() if text is not None}
    with keep("component", "\0".join(sources.values())) as (folder, making):
        if making is not None:
            for name, text in sources.items():
                (making / name).write_text(text)
    files = [folder / "dut.vlt", folder / "dut.v"]
    return build_simulation(files, top="dut", main=folder / "main.cpp" if main else None)


class _Tools:
    """Verilator, make and the C++ compiler.

    Members
    -------
    versions : text that differs from one installation of the tools to another

    Raises
    ------
    ToolchainError
        From the constructor if a tool is missing, from the methods if one fails.
    """

    # Only code that runs in every cycle is optimized: -O3 for all takes minutes on a large array.
    _OPTIMIZE = ("OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")

    def __init__(self) -> None:
        self._verilator = find_verilator()
        for program in ("make", "perl"):
            find_program(program)
        compiler = run_program(["g++", "--version"])
        self.versions = "\0".join(
            [
                self._verilator.version,
                str(self._verilator.program),
                str(cocotb_tools.config.libs_dir),
                compiler,
                *self._OPTIMIZE,
            ]
        )

    def verilate(self, arguments: Sequence[str], files: Sequence[Path], work: Path) -> None:
        """Generate C++ and makefiles in a new folder ``work``.

        The folder has links to all inputs, and no command names another folder: make reads spaces
        and other characters in a name.
        """
        (work / "sources").mkdir(parents=True)
        for file in files:
            (work / "sources" / file.name).symlink_to(file.absolute())
        (work / "cocotb").symlink_to(cocotb_tools.config.libs_dir)
        if self._verilator.root is not None:
            (work / "verilator").symlink_to(self._verilator.root)
        command = [self._verilator.program, "--cc", "--prefix", "Vtop", "--Mdir", "."]
        run_program(
            [*command, *arguments, *(f"sources/{file.name}" for file in files)],
            folder=work,
            makes=["Vtop.mk"],
            variables=self._verilator.variables,
        )

    def make(self, work: Path, target: str) -> None:
        """Compile the file ``target`` in the folder ``work``."""
        # Verilator's makefile refuses a folder with a space in its name, but never uses the name.
        variables = ("CURDIR=work", *self._verilator.make_variables, *self._OPTIMIZE)
        command = ["make", "-j2", "-f", "Vtop.mk", *variables, target]
        # Temporary files of a compiler that is killed stay in a folder that the next run removes.
        run_program(command, folder=work, makes=[target], variables={"TMPDIR": "."})

    def runtime(self, arguments: Sequence[str]) -> Path:
        """Compile Verilator's runtime library, or find it compiled.

        The library depends only on ``arguments``. Verilator would compile it for each simulation
        again, which takes longer than most designs do.

        Returns
        -------
        The folder of the compiled files.
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


def cocotb_environment(modules: str, top: str, *, path: Sequence[Path] = ()) -> dict[str, str]:
    """The environment in which a simulation finds Python, cocotb, and its testbench.

    Parameters
    ----------
    modules : names of the Python modules with the cocotb tests, separated by commas
    top : name of the top module
    path : folders in which Python looks for modules first

    Raises
    ------
    ToolchainError
        If Python has no shared library.
    """
    python = find_libpython.find_libpython()
    if python is None:
        raise ToolchainError(
            "cocotb needs the shared library of Python, which was not found: install python3 with "
            "libpython (Debian: apt-get install libpython3-dev; pyenv: --enable-shared)"
        )
    return python_environment(path) | {
        "COCOTB_TEST_MODULES": modules,
        "COCOTB_TOPLEVEL": top,
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "GPI_USERS": f"{python};{cocotb_tools.config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
    }

"""Builds simulations with Verilator and keeps them."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cocotb_tools.config
import find_libpython

from .toolchain import ToolchainError, environment, find_program, find_verilator

__all__ = ["build_folder", "build_simulation", "cocotb_environment", "keep"]


def build_folder() -> Path:
    """Where everything that can be made again is kept: ``$TRILITH_BUILD``, or ``build`` here."""
    return Path(os.environ.get("TRILITH_BUILD", "build")).absolute()


@contextmanager
def keep(kind: str, key: str) -> Iterator[tuple[Path, Path | None]]:
    """The folder of something that takes long to make: ``build/<kind>/<hash of key>``.

    Yields the folder and, unless it is there already, an empty folder beside it to make its content
    in; that one is renamed when the block ends without an exception and removed otherwise. So a
    folder is whole or absent, whatever interrupts. Of several processes one makes it and the others
    wait.
    """
    parent = build_folder() / kind
    parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:20]
    folder = parent / digest
    if folder.is_dir():
        yield folder, None
        return
    with open(parent / f"{digest}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            yield folder, None
            return
        for left_over in parent.glob(f"{digest}.*/"):
            shutil.rmtree(left_over)
        with tempfile.TemporaryDirectory(prefix=f"{digest}.", dir=parent) as making:
            inside = Path(making) / "made"
            inside.mkdir()
            yield folder, inside
            inside.rename(folder)


def _run(command: Sequence[str], *, log: Path, cwd: Path) -> None:
    with open(log, "a") as output:
        done = subprocess.run(
            command, cwd=cwd, stdout=output, stderr=output, env=environment(), check=False
        )
    if done.returncode:
        text = log.read_text(errors="replace")
        wrong = [line for line in text.splitlines() if "rror" in line or "No space" in line]
        kept = build_folder() / "failed.log"
        shutil.copy(log, kept)
        raise ToolchainError(
            f"{Path(command[0]).name} must succeed and ended with {done.returncode}: "
            f"{wrong[0].strip() if wrong else 'no message'} (all of it in {kept})"
        )


def build_simulation(
    sources: Sequence[Path], *, top: str, flags: Sequence[str] = (), main: Path | None = None
) -> Path:
    """Build an executable simulation, or find it built.

    Kept by a hash of the sources, the flags, and the versions of the tools.

    Parameters
    ----------
    sources : Verilog, SystemVerilog and Verilator control files
    top : name of the top module, whose ports are public to cocotb
    flags : further arguments of Verilator
    main : a C++ file with ``main``, for a simulation without cocotb; by default cocotb's

    Returns
    -------
    Path of the executable

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    """
    verilator = find_verilator()
    make = find_program("make")
    compiler = find_program("g++")
    find_program("perl")
    libraries = cocotb_tools.config.libs_dir
    cocotb_main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
    files = [*sources, main or cocotb_main]
    # Only the hot code is worth the compiler's time: -O3 everywhere takes minutes on a large array.
    optimize = ("OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")
    arguments = ["--cc", "--exe", "--prefix", "Vtop", "--top-module", top, "-o", top]
    arguments += ["-O3", "--x-assign", "fast", "--x-initial", "fast", *flags]
    if main is None:
        link = f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator"
        arguments += ["--vpi", "-LDFLAGS", link]
    compiler_version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=True
    ).stdout
    key = "\0".join(
        [
            *(f"{file.name}\0{file.read_text()}" for file in files),
            *arguments,
            *optimize,
            verilator.version,
            str(verilator.program),
            compiler_version,
        ]
    )
    with keep("verilator", key) as (folder, making):
        if making is not None:
            work = making.parent / "work"
            work.mkdir()
            log = work / "build.log"
            _run(
                [
                    str(verilator.program),
                    *arguments,
                    "--Mdir",
                    str(work),
                    *(str(file) for file in files),
                ],
                log=log,
                cwd=work,
            )
            _run(
                [make, "-j2", "-f", "Vtop.mk", *verilator.make_variables, *optimize],
                log=log,
                cwd=work,
            )
            (work / top).rename(making / top)
    return folder / top


def cocotb_environment(module: str, top: str) -> dict[str, str]:
    """What a simulation needs to find Python, cocotb and the testbench ``module``."""
    python = find_libpython.find_libpython()
    if python is None:
        raise ToolchainError(
            "Python must have a shared library for cocotb, and has none: install python3 with "
            "libpython (Debian: apt-get install libpython3-dev; pyenv: --enable-shared)"
        )
    return environment() | {
        "COCOTB_TEST_MODULES": module,
        "COCOTB_TOPLEVEL": top,
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "GPI_USERS": f"{python};{cocotb_tools.config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path),
    }

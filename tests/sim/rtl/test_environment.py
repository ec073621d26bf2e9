"""Simulations and builds under variables of other tools, which must not matter."""

import hashlib
import sys

import numpy as np
import pytest

from trilith.golden import ternary_matmul
from trilith.hw import MatVecConfig, MatVecEngine
from trilith.hw.export.verilog import component_verilog
from trilith.sim import MatVecSimulator
from trilith.sim.rtl.build import build_simulation
from trilith.sim.rtl.suite import SWEEP_CONFIGS

#: Variables that change or break a build or a simulation of a program that inherits them.
HOSTILE = {
    "AR": "false",
    "BASH_ENV": "/nowhere",
    "CFLAGS": "-no-such-option",
    "COCOTB_LOG_LEVEL": "nonsense",
    "COCOTB_PDB_ON_EXCEPTION": "1",
    "COCOTB_PLUSARGS": "+nonsense",
    "COCOTB_PREVIEW": "nonsense",
    "COCOTB_RESULTS_FILE": "/nowhere/results.xml",
    "COCOTB_TESTCASE": "no_such_test",
    "COCOTB_TEST_FILTER": "no_such_test",
    "COCOTB_TEST_MODULES": "no_such_module",
    "COCOTB_TOPLEVEL": "no_such_module",
    "COCOTB_USER_COVERAGE": "1",
    "COVERAGE": "1",
    "COVERAGE_PROCESS_START": "/nowhere",
    "CPATH": "/nowhere",
    "CPPFLAGS": "-no-such-option",
    "CXX": "false",
    "CXXFLAGS": "-no-such-option",
    "DEPENDENCIES_OUTPUT": "/nowhere/x.d",
    "GCC_EXEC_PREFIX": "/nowhere/",
    "GPI_EXTRA": "/nowhere/lib.so,none",
    "GPI_LOG_LEVEL": "nonsense",
    "GPI_USERS": "/nowhere/lib.so",
    "LANG": "de_DE.UTF-8",
    "LANGUAGE": "de",
    "LDFLAGS": "-no-such-option",
    "LD_PRELOAD": "",
    "LIBRARY_PATH": "/nowhere",
    "LINK": "false",
    "MAKEFILES": "/nowhere/Makefile",
    "MAKEFLAGS": "-n",
    "MAKELEVEL": "7",
    "MODULE": "no_such_module",
    "OBJCACHE": "false",
    "OPT_FAST": "-no-such-option",
    "PERL5LIB": "/nowhere",
    "PERL5OPT": "-MNoSuchModule",
    "PYGPI_PYTHON_BIN": "/nowhere/python",
    "PYGPI_USERS": "nonsense:nothing",
    "PYTEST_ADDOPTS": "--no-such-option",
    "PYTHONHOME": "/nowhere",
    "PYTHONINSPECT": "1",
    "PYTHONPATH": "/nowhere",
    "PYTHONWARNINGS": "error",
    "RANDOM_SEED": "nonsense",
    "TOPLEVEL": "no_such_module",
    "VERILATOR_BIN": "no_such_program",
    "VERILATOR_ROOT": "/nowhere",
    "VERILATOR_TEST_FLAGS": "--no-such-option",
    "YOWASP_MOUNT": "/nowhere=/nowhere",
}


#: A name whose characters make, the shell, Tcl and linkers read.
FOLDER = 'it\'s "my" $HOME $(pwd) {x} [y] #1 äö\\n;&,:'


@pytest.fixture
def hostile(monkeypatch):
    """Set all hostile variables at once."""

    def set_all():
        for name, value in HOSTILE.items():
            monkeypatch.setenv(name, value)

    return set_all


def test_a_simulation(hostile):
    rng = np.random.default_rng(0)
    trits, q = rng.integers(-1, 2, (9, 50), np.int8), rng.integers(-128, 128, (2, 50), np.int8)
    hostile()
    with MatVecSimulator(SWEEP_CONFIGS[0]) as simulator:
        np.testing.assert_array_equal(simulator.run(trits, q).results, ternary_matmul(trits, q))


def test_an_export(hostile):
    config = MatVecConfig(lanes=5, rows=2, k_max=40, n_max=16)
    before = component_verilog(MatVecEngine(config), "engine")
    hostile()
    assert component_verilog(MatVecEngine(config), "engine") == before


def test_no_command_of_a_build_names_a_folder(monkeypatch, tmp_path):
    commands = []

    def run(command, *, folder=None, makes=(), variables=None):
        commands.append([*command[1:], *(variables or {}).values()])
        for file in makes:
            (folder / file).touch()
        return ""

    folder = tmp_path / FOLDER
    folder.mkdir()
    source = folder / "counter.v"
    source.touch()
    monkeypatch.setenv("TRILITH_BUILD", str(folder / "build"))
    monkeypatch.setattr("trilith.sim.rtl.build.run_program", run)
    program = build_simulation([source], top="counter")
    assert program.is_relative_to(folder)
    assert len(commands) == 5
    assert not [word for command in commands for word in map(str, command) if "/tmp" in word]
    assert not [word for command in commands for word in map(str, command) if sys.prefix in word]


@pytest.mark.long
def test_a_build(hostile, monkeypatch, tmp_path):
    source = tmp_path / "counter.v"
    source.write_text(
        "module counter(input clk, output reg [7:0] q);\n"
        "  initial q = 0;\n  always @(posedge clk) q <= q + 1;\nendmodule\n"
    )

    def build(folder):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv("TRILITH_BUILD", str(tmp_path / folder))
        monkeypatch.setenv("TMPDIR", str(tmp_path / folder))
        return hashlib.sha256(build_simulation([source], top="counter").read_bytes()).hexdigest()

    before = build("before")
    hostile()
    assert build(FOLDER) == before

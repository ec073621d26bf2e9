"""Drives exported engines from C++ that knows nothing but the exported files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exported_driver import driver
from simulators import run

from trilith.hw import MatVecConfig
from trilith.hw.export.package import export_engine
from trilith.sim.tools.verilator import find_verilator

#: Every code, activations of 8, 4 and 2 bits, one token and several, rows that no symbol ends with.
CONFIGS = (
    MatVecConfig(lanes=7, rows=2, tokens=2, code="base3", k_max=40, n_max=9),
    MatVecConfig(lanes=6, rows=2, tokens=3, act_bits=2, code="escape", k_max=33, n_max=11),
    MatVecConfig(lanes=33, rows=1, code="tq1", k_max=70, n_max=5),
    MatVecConfig(lanes=9, rows=3, act_bits=4, code="two_bit", k_max=50, n_max=7),
    MatVecConfig(lanes=5, rows=3, tokens=2, code="binary", k_max=19, n_max=10),
    MatVecConfig(lanes=12, rows=3, tokens=2, act_bits=4, code="sherry", k_max=50, n_max=9),
)


def verilator_include(folder: Path) -> Path:
    """The folder of Verilator's runtime library."""
    verilator = find_verilator()
    root = verilator.root
    if root is None:
        done = run(folder, verilator.program, "-getenv", "VERILATOR_ROOT")
        root = Path(done.stdout.strip())
    return root / "include"


def compile_cpp(folder: Path, *arguments: str | Path) -> None:
    """Compile without optimization: these programs run for a moment only."""
    include = verilator_include(folder)
    paths = ["-I.", "-Iobj", f"-I{include}", f"-I{include / 'vltstd'}"]
    macros = [f"-DVM_{name}=0" for name in ("COVERAGE", "SC", "TIMING", "TRACE")]
    done = run(folder, "g++", "-std=gnu++17", "-O0", *paths, *macros, *arguments)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Objects of Verilator's runtime library, compiled once for all engines."""
    folder = tmp_path_factory.mktemp("runtime")
    for name in ("verilated", "verilated_threads"):
        compile_cpp(folder, "-c", verilator_include(folder) / f"{name}.cpp")
    return list(folder.glob("*.o"))


def build_model(config: MatVecConfig, folder: Path) -> None:
    """Export an engine as ``line.*``, and compile its model."""
    export_engine(config, folder / "line.v", name="line")
    command = ("--cc", "--prefix", "Vtop", "--top-module", "line", "--Mdir", "obj")
    done = run(folder, find_verilator().program, *command, "line.vlt", "line.v")
    assert (done.returncode, done.stderr) == (0, "")
    for source in sorted((folder / "obj").glob("Vtop*.cpp")):
        compile_cpp(folder, "-c", source, "-o", source.with_suffix(".o"))


def drive(folder: Path, files: Path, runtime: list[Path]) -> tuple[int, str]:
    """Build the driver from ``line.json`` and ``line_pack.h`` in ``files``, and run it."""
    (folder / "driver.cpp").write_text(driver(files, "line"))
    objects = sorted((folder / "obj").glob("*.o"))
    compile_cpp(folder, "driver.cpp", *objects, *runtime, "-lpthread", "-o", "driver")
    done = run(folder, folder / "driver")
    return done.returncode, done.stdout


@pytest.mark.parametrize("config", CONFIGS[1:], ids=lambda config: config.code)
def test_a_driver_from_the_exported_files_alone(
    config: MatVecConfig, tmp_path: Path, runtime: list[Path]
) -> None:
    build_model(config, tmp_path)
    status, output = drive(tmp_path, tmp_path, runtime)
    assert status == 0, output
    assert output.startswith("PASS: ")


def swapped_symbols(description: dict[str, Any]) -> None:
    symbols = description["weight_code"]["symbols"]
    symbols[17], symbols[18] = symbols[18], symbols[17]


def legal_symbol(description: dict[str, Any]) -> None:
    description["weight_code"]["symbols"][250] = [0, 0, 0, 0, 0]


def moved_field(description: dict[str, Any]) -> None:
    for end in ("lsb", "msb"):
        description["payloads"]["jobs"]["k"][end] += 1


def more_jobs(description: dict[str, Any]) -> None:
    description["jobs"]["accepted_ahead"] += 1


def late_fault(description: dict[str, Any]) -> None:
    description["faults"]["job"]["cycles"] += 1


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first engine, exported and compiled."""
    folder = tmp_path_factory.mktemp("model")
    build_model(CONFIGS[0], folder)
    return folder


def test_a_driver_for_base3(model: Path, runtime: list[Path]) -> None:
    status, output = drive(model, model, runtime)
    assert status == 0, output
    assert output.startswith("PASS: ")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (swapped_symbols, ", whose trits are others in the JSON file"),
        pytest.param(legal_symbol, "FAIL: ", marks=pytest.mark.long),
        pytest.param(moved_field, "differ in a job word", marks=pytest.mark.long),
        pytest.param(more_jobs, "2 jobs must be accepted ahead, not 1", marks=pytest.mark.long),
        pytest.param(late_fault, "faults must be 0 in cycle ", marks=pytest.mark.long),
    ],
)
def test_that_a_wrong_json_file_fails(
    model: Path,
    tmp_path: Path,
    runtime: list[Path],
    fault: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    description = json.loads((model / "line.json").read_text())
    fault(description)
    (tmp_path / "line.json").write_text(json.dumps(description))
    shutil.copy(model / "line_pack.h", tmp_path)
    status, output = drive(model, tmp_path, runtime)
    assert status == 1
    assert message in output


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        # Two symbols of the table are swapped.
        ("    0, 1, 2, 3,", "    0, 2, 1, 3,", "the header packs "),
        pytest.param(
            *("symbol * 5 + j;", "symbol * 5 + 4 - j;", "the header packs "),
            marks=pytest.mark.long,
        ),
        pytest.param(
            *("i % LINE_LANES * 8;", "(LINE_LANES - 1 - i % LINE_LANES) * 8;", "activation beat"),
            marks=pytest.mark.long,
        ),
        pytest.param("row * 14 + i;", "row * 13 + i;", "result ", marks=pytest.mark.long),
    ],
)
def test_that_a_wrong_header_fails(
    model: Path, tmp_path: Path, runtime: list[Path], right: str, wrong: str, message: str
) -> None:
    header = (model / "line_pack.h").read_text()
    assert header.count(right) == 1
    (tmp_path / "line_pack.h").write_text(header.replace(right, wrong))
    shutil.copy(model / "line.json", tmp_path)
    status, output = drive(model, tmp_path, runtime)
    assert status == 1
    assert message in output


@pytest.mark.long
def test_that_wrong_tables_in_both_fail_in_the_engine(
    model: Path, tmp_path: Path, runtime: list[Path]
) -> None:
    """The same two symbols are swapped in both files, so that only the hardware can tell."""
    description = json.loads((model / "line.json").read_text())
    symbols = description["weight_code"]["symbols"]
    symbols[1], symbols[2] = symbols[2], symbols[1]
    (tmp_path / "line.json").write_text(json.dumps(description))
    header = (model / "line_pack.h").read_text()
    (tmp_path / "line_pack.h").write_text(header.replace("    0, 1, 2, 3,", "    0, 2, 1, 3,"))
    status, output = drive(model, tmp_path, runtime)
    assert status == 1
    assert output.startswith("FAIL: job ")

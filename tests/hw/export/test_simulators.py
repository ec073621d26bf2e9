"""Icarus and Verilator read all exports without a warning, and run the testbench of every preset.

Each testbench also runs with the initial values of registers removed, and those of memories that
start as zeros. In Icarus they are then unknown until the design writes them.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from simulators import icarus, needs_icarus, output, verilator
from tiny_core import TINY

from trilith.hw import PRESETS, MatVecConfig
from trilith.hw.export.axi_package import export_axi
from trilith.hw.export.core_axi_package import export_core_axi
from trilith.hw.export.core_package import export_core
from trilith.hw.export.package import export_engine
from trilith.hw.token.config import CORE_PRESETS
from trilith.sim.tools.verilator import find_verilator

SMALL = MatVecConfig(lanes=7, rows=2, k_max=40, n_max=9)

#: A module of a user without a time unit.
PLAIN = "module user;\n  initial #1 $finish;\nendmodule\n"

#: The same with a time unit of its own.
USERS = f"`timescale 1ns / 10ps\n{PLAIN}"


def small(config: MatVecConfig) -> MatVecConfig:
    """The engine with fewer lanes and rows, and the same tokens, code, target and pipelining."""
    return replace(
        config,
        lanes=min(config.lanes, 16),
        rows=min(config.rows, 3),
        k_max=min(config.k_max, 100),
        n_max=min(config.n_max, 64),
    )


#: Each preset at a small size.
ENGINES = {name: small(config) for name, config in PRESETS.items()}


def without_initial_values(text: str) -> str:
    """Remove all initial values but those of tables, whose words are not all zeros."""
    text, registers = re.subn(r"^  initial \S+ +=.*;\n", "", text, flags=re.M)
    # Zeros of a memory are a loop, or a line for each word where the name is escaped.
    loop = r"^  initial begin : clear_\w+\n.*?^  end\n"
    words = r"^  initial begin\n(?:    \S+ ?\[\d+\] = \d+'[hd]0+;\n)+  end\n"
    text, memories = re.subn(f"{loop}|{words}", "", text, flags=re.M | re.S)
    assert min(registers, memories) > 0
    # A reg may be declared with a value too; no export does that.
    assert not re.search(r"^ *reg\b[^;]*=", text, re.M)
    blocks = re.findall(r"^  initial begin\n(.*?)^  end\n", text, re.M | re.S)
    assert all(re.search(r"\] = \d+'[hd]\w*[1-9a-f]", block) for block in blocks)
    assert text.count("  initial ") == len(blocks)
    return text


def strip(file: Path) -> str:
    """Write ``stripped.v`` beside a file: the same without initial values."""
    file.with_name("stripped.v").write_text(without_initial_values(file.read_text()))
    return "stripped.v"


@needs_icarus
@pytest.mark.parametrize("name", ENGINES)
def test_every_preset_in_icarus(name: str, tmp_path: Path) -> None:
    file = export_engine(ENGINES[name], tmp_path / "line.v", name="line", testbench=True)[0]
    assert icarus(tmp_path, "line.v", "line_tb.v") == (0, "PASS")
    stripped = strip(file)
    assert "initial" not in (tmp_path / stripped).read_text()
    assert icarus(tmp_path, stripped, "line_tb.v") == (0, "PASS")


@needs_icarus
@pytest.mark.parametrize("code", ["base3", "escape", "tq1", "two_bit", "binary", "sherry"])
@pytest.mark.parametrize("target", ["fpga", "compact-fpga", "asic"])
@pytest.mark.long
def test_every_code_without_initial_values(code: str, target: str, tmp_path: Path) -> None:
    config = MatVecConfig(
        lanes=8, rows=3, tokens=2, act_bits=4, code=code, target=target, k_max=50, n_max=20
    )
    file = export_engine(config, tmp_path / "line.v", name="line", testbench=True)[0]
    assert icarus(tmp_path, strip(file), "line_tb.v") == (0, "PASS")


@pytest.mark.parametrize(
    "name",
    [
        "micro",
        *(pytest.param(name, marks=pytest.mark.long) for name in ENGINES if name != "micro"),
    ],
)
def test_every_preset_in_verilator(name: str, tmp_path: Path) -> None:
    """Without initial values, which are random instead."""
    file = export_engine(ENGINES[name], tmp_path / "line.v", name="line", testbench=True)[0]
    assert verilator(tmp_path, strip(file), "line_tb.v", "line_tb", random_values=True) == "PASS"


@needs_icarus
@pytest.mark.long
@pytest.mark.parametrize("name", PRESETS)
def test_presets_at_full_size(name: str, tmp_path: Path) -> None:
    file = export_engine(PRESETS[name], tmp_path / "line.v", name="line", testbench=True)[0]
    assert icarus(tmp_path, strip(file), "line_tb.v") == (0, "PASS")
    assert verilator(tmp_path, "line.v", "line_tb.v", "line_tb", random_values=True) == "PASS"


@needs_icarus
def test_that_a_register_without_reset_is_found(tmp_path: Path) -> None:
    """Initial values hide that the count of room in the result queue has no reset."""
    file = export_engine(SMALL, tmp_path / "line.v", name="line", testbench=True)[0]
    # The first register of several bits that a reset sets is this count.
    wrong, count = re.subn(r"rst \? [2-9]'h\w+ : (\S+);", r"\1;", file.read_text(), count=1)
    assert count == 1
    file.write_text(wrong)
    assert icarus(tmp_path, "line.v", "line_tb.v") == (0, "PASS")
    status, text = icarus(tmp_path, strip(file), "line_tb.v")
    assert status == 0
    assert text.startswith("FAIL: ")


#: Largest sizes of a small core.
SIZES = {
    **{"hidden_max": 32, "ffn_max": 64, "heads_max": 4, "kv_heads_max": 2, "head_size_max": 32},
    **{"context_max": 4, "vocabulary_max": 16, "attention_lanes": 16},
}


@needs_icarus
@pytest.mark.long
@pytest.mark.parametrize("name", ["tiny", *CORE_PRESETS])
def test_token_cores(name: str, tmp_path: Path) -> None:
    """Each preset keeps its lanes for vectors, its memory and its code, at small sizes."""
    core = (CORE_PRESETS | {"tiny": TINY})[name]
    if name != "tiny":
        engine = replace(small(core.engine), k_max=128, n_max=128)
        core = replace(core, engine=engine, **SIZES)
    file = export_core(core, tmp_path / "core.v", name="mycore", testbench=True)[0]
    assert icarus(tmp_path, strip(file), "core_tb.v") == (0, "PASS")
    if name == "tiny":
        assert (
            verilator(tmp_path, "stripped.v", "core_tb.v", "mycore_tb", random_values=True)
            == "PASS"
        )


#: Each kind of export: how to write ``x.v``, the files in order, and the top module.
KINDS = {
    "engine": (lambda file: export_engine(SMALL, file, name="dut", testbench=True), "dut_tb"),
    "axi": (lambda file: export_axi(SMALL, file, name="dut"), "dut"),
    "core": (lambda file: export_core(TINY, file, name="dut", testbench=True), "dut_tb"),
    "core-axi": (lambda file: export_core_axi(TINY, file, name="dut"), "dut"),
}


#: Options of Verilator for a design with two top modules.
LINT = ("--lint-only", "--timing", "--quiet-stats", "-Wno-MULTITOP")


@needs_icarus
@pytest.mark.parametrize(
    "kind",
    [
        "engine",
        "axi",
        *(pytest.param(kind, marks=pytest.mark.long) for kind in ("core", "core-axi")),
    ],
)
def test_that_no_time_unit_is_inherited_or_missing(kind: str, tmp_path: Path) -> None:
    """Alone, in front of and behind a user's file, and in front of one without a time unit."""
    export, top = KINDS[kind]
    export(tmp_path / "x.v")
    (tmp_path / "user.v").write_text(USERS)
    (tmp_path / "plain.v").write_text(PLAIN)
    files = ["x.v", "x_tb.v"] if top == "dut_tb" else ["x.v"]
    for order in (files, files[::-1], ["user.v", *files], [*files, "user.v"]):
        tops = ["-s", top, *(["-s", "user"] if "user.v" in order else [])]
        command = ["iverilog", "-g2005", "-Wall", *tops, "-o", "x.vvp", *order]
        assert output(tmp_path, *command) == ""
        assert output(tmp_path, find_verilator().program, *LINT, *order) == ""
    # A file without a unit, behind the export, inherits the unit of the export.
    behind = [*files, "plain.v"]
    command = ["iverilog", "-g2005", "-s", top, "-s", "user", "-o", "x.vvp"]
    assert output(tmp_path, *command, *behind) == ""
    assert "timescale for user inherited" in output(tmp_path, *command, "-Wall", *behind)
    assert output(tmp_path, find_verilator().program, *LINT, *behind) == ""

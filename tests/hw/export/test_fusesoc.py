"""Runs FuseSoC on an exported core, and on a core that depends on it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from simulators import needs_icarus
from tiny_core import TINY

from trilith.golden.environment import child_environment
from trilith.hw import MatVecConfig
from trilith.hw.export.axi_package import export_axi
from trilith.hw.export.core_package import export_core
from trilith.hw.export.package import export_engine
from trilith.sim.tools.verilator import find_verilator

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fusesoc") is None,
    reason="FuseSoC is not installed: pip install 'trilith[soc]'",
)

CONFIG = MatVecConfig(lanes=7, rows=2, tokens=2, k_max=100, n_max=64)

#: A user's core: linted with FuseSoC's old way to name a tool, and with its flows.
USER = """CAPI=2:
name: "::user:1"
filesets:
  rtl:
    files: [baseline.v]
    file_type: verilogSource
    depend: [line, line_axi]
targets:
  default:
    filesets: [rtl]
    toplevel: baseline
    default_tool: verilator
    tools: {verilator: {mode: lint-only, verilator_options: [-Wall]}}
  flow:
    filesets: [rtl]
    toplevel: baseline
    flow: lint
    flow_options: {tool: verilator}
"""

#: For testbenches in C++; FuseSoC names the tool of a target, but not that of a flow.
PACKERS = {"line_pack.h": "cSource", "line_axi_pack.h": "cSource"}

OURS = {
    "line.v": "verilogSource-2005",
    "line.vlt": "vlt",
    "line_axi.v": "verilogSource-2005",
    "line_axi.vlt": "vlt",
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our cores and the user's, whose top module passes on all of our ports."""
    folder = tmp_path_factory.mktemp("cores")
    export_engine(CONFIG, folder / "line.v", name="line", testbench=True)
    export_axi(CONFIG, folder / "line_axi.v", name="line_axi")
    heads, instances = [], []
    for name in ("line", "line_axi"):
        ports = json.loads((folder / f"{name}.json").read_text())["ports"]
        heads += [f"{port['direction']} [{port['width'] - 1}:0] {port['name']}" for port in ports]
        pins = ", ".join(f".{port['name']}({port['name']})" for port in ports)
        instances.append(f"{name} {name}({pins});\n")
    text = f"module baseline({', '.join(heads)});\nwire own;\n{''.join(instances)}endmodule\n"
    (folder / "baseline.v").write_text(text)
    (folder / "user.core").write_text(USER)
    return folder


def fusesoc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``fusesoc run``; stdout and stderr are both in stdout."""
    return subprocess.run(
        [sys.executable, "-m", "fusesoc.main", "--cores-root", ".", "run", *arguments],
        cwd=folder,
        env=child_environment() | {"HOME": str(folder), "VERILATOR": str(find_verilator().program)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def edam(folder: Path, work: str) -> dict:
    """Files that FuseSoC gives to a tool, with the type of each file by its name."""
    import yaml

    (file,) = (folder / "build").glob(f"{work}/*.eda.yml")
    edam = yaml.safe_load(file.read_text())
    types = {os.path.basename(file["name"]): file["file_type"] for file in edam["files"]}
    return edam | {"files": types}


def test_a_core_that_depends_on_ours(exported: Path) -> None:
    done = fusesoc(exported, "user")
    # The user's only mistake. baseline.v ends as line.v does, and has no waiver of ours.
    assert done.returncode != 0
    message = "src/user_1/baseline.v:2:6: Signal is not driven, nor used: 'own'"
    assert done.stdout.count("%Warning") == 1, done.stdout
    assert f"%Warning-UNUSEDSIGNAL: {message}\n" in done.stdout
    given = edam(exported, "user_1/default-verilator")
    assert given["files"] == OURS | PACKERS | {"baseline.v": "verilogSource"}
    assert given["tool_options"] == {
        "verilator": {"mode": "lint-only", "verilator_options": ["-Wall"]}
    }


def test_a_flow_that_depends_on_ours(exported: Path) -> None:
    done = fusesoc(exported, "--setup", "--target", "flow", "user")
    assert done.returncode == 0, done.stdout
    given = edam(exported, "user_1/flow")
    assert given["files"] == OURS | {"baseline.v": "verilogSource"}
    assert given["flow_options"] == {"tool": "verilator"}


@needs_icarus
def test_our_core_alone(exported: Path) -> None:
    done = fusesoc(exported, "line_axi")
    assert done.returncode == 0, done.stdout
    assert "unknown file type" not in done.stdout
    files = edam(exported, "line_axi_[0-9]*/default-icarus")["files"]
    assert files == {"line_axi.v": "verilogSource-2005"}


def test_that_synthesis_of_our_core_gets_its_clock(exported: Path) -> None:
    done = fusesoc(exported, "--setup", "--tool", "vivado", "line")
    assert done.returncode == 0, done.stdout
    assert edam(exported, "line_[0-9]*/default-vivado")["files"] == {
        "line.v": "verilogSource-2005",
        "line.vlt": "vlt",
        "line.sdc": "SDC",
    }


def test_lint_of_our_core(exported: Path) -> None:
    done = fusesoc(exported, "--target", "lint", "line_axi")
    assert done.returncode == 0, done.stdout
    assert "%Warning" not in done.stdout


@needs_icarus
def test_a_token_core(tmp_path: Path) -> None:
    export_core(TINY, tmp_path / "core.v", testbench=True)
    for target, expected in (("lint", ""), ("sim", "\nPASS\n")):
        done = fusesoc(tmp_path, "--target", target, "trilith_core")
        assert done.returncode == 0, done.stdout
        assert expected in done.stdout
        assert "%Warning" not in done.stdout


@needs_icarus
def test_the_testbench_of_our_core(exported: Path) -> None:
    done = fusesoc(exported, "--target", "sim", "line")
    assert done.returncode == 0, done.stdout
    assert "\nPASS\n" in done.stdout

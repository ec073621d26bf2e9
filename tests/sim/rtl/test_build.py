import re

import pytest

from trilith.sim import ToolchainError
from trilith.sim.rtl.build import build_simulation


@pytest.fixture
def build_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path))
    return tmp_path


def test_a_design_that_does_not_compile(build_folder, tmp_path):
    source = tmp_path / "broken.v"
    source.write_text("module broken(input clk; endmodule\n")
    kept = tmp_path / "failed" / "verilator.log"
    message = rf"^verilator ended with status 1: %Error: .*{re.escape(str(kept))}\)$"
    with pytest.raises(ToolchainError, match=message):
        build_simulation([source], top="broken")
    assert "syntax error" in kept.read_text()


def test_no_compiler(build_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("trilith.sim.rtl.build.find_verilator", lambda: None)
    message = "the program make was not found: install GNU make (Debian: apt-get install make)"
    with pytest.raises(ToolchainError, match=f"^{re.escape(message)}$"):
        build_simulation([], top="none")

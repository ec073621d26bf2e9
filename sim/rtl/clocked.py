"""Runs a component clock by clock on arrays, without Python in the clock loop."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from numpy.typing import NDArray

from ...hw.export.verilog import component_verilog
from ..tools.cache import keep
from ..tools.errors import SimulationError
from ..tools.run import run_program
from .build import build_simulation

__all__ = ["port_bytes", "run_clocked"]

#: Logic on single bits of a vector looks like a loop where one depends on another.
_CONTROL = """`verilator_config
lint_off -rule UNOPTFLAT -file "*.v"
"""


_MAIN = """// The Verilated component between two files, a record per clock in each.

#include <cstdio>

#include "Vtop.h"
#include "verilated.h"

int main(int argc, char** argv) {{
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtop top{{&context}};
    std::FILE* in = std::fopen("in.bin", "rb");
    std::FILE* out = std::fopen("out.bin", "wb");
    if (!in || !out) return 1;
    const auto read = [in](void* port, size_t size) {{
        return std::fread(port, size, 1, in) == 1;
    }};
    const auto write = [out](const void* port, size_t size) {{ std::fwrite(port, size, 1, out); }};
    top.clk = 0;
    top.rst = 1;
    top.eval();
    top.clk = 1;
    top.eval();
    top.rst = 0;
    for (;;) {{
        top.clk = 0;
{reads}
        top.eval();
{writes}
        top.clk = 1;
        top.eval();
    }}
    top.final();
    return std::fclose(out) ? 1 : 0;
}}
"""


def port_bytes(width: int) -> int:
    """Bytes that Verilator keeps a port of so many bits in."""
    for size in (1, 2, 4, 8):
        if width <= 8 * size:
            return size
    return -(-width // 32) * 4


def run_clocked(
    component: wiring.Component, inputs: Mapping[str, NDArray[np.uint8]]
) -> dict[str, NDArray[np.uint8]]:
    """Apply inputs to a component, a row in each clock, after one clock of reset.

    Parameters
    ----------
    component : its ports are ``In`` and ``Out``, without nesting
    inputs : of each input port uint8[clocks, port_bytes(width)], lowest byte first

    Returns
    -------
    Of each output port uint8[clocks, port_bytes(width)]: its value before the clock's edge, so that
    what is combinational answers the row of the same clock.

    Raises
    ------
    SimulationError
        If the simulation fails.
    ToolchainError
        If it cannot be built.
    """
    text = component_verilog(component, "dut")
    members = {
        "__".join(map(str, path)): (member, len(_plain(value)))
        for path, member, value in component.signature.flatten(component)
    }
    ins = {name: width for name, (member, width) in members.items() if member.flow == In}
    outs = {name: width for name, (member, width) in members.items() if member.flow != In}
    main = _MAIN.format(
        reads="\n".join(
            f"        if (!read(&top.{_port(name)}, {port_bytes(width)})) break;"
            for name, width in ins.items()
        ),
        writes="\n".join(
            f"        write(&top.{_port(name)}, {port_bytes(width)});"
            for name, width in outs.items()
        ),
    )
    with keep("clocked", _CONTROL + text + main) as (folder, making):
        if making is not None:
            (making / "dut.v").write_text(text)
            (making / "dut.vlt").write_text(_CONTROL)
            (making / "main.cpp").write_text(main)
    program = build_simulation(
        [folder / "dut.vlt", folder / "dut.v"], top="dut", main=folder / "main.cpp"
    )
    record = np.concatenate([inputs[name] for name in ins], axis=1)
    with tempfile.TemporaryDirectory(prefix="trilith-") as scratch:
        (Path(scratch) / "in.bin").write_bytes(record.tobytes())
        run_program([program], folder=Path(scratch), makes=["out.bin"])
        size = sum(port_bytes(width) for width in outs.values())
        result = np.fromfile(Path(scratch) / "out.bin", np.uint8)
    if len(result) != len(record) * size:
        raise SimulationError(
            f"the simulation wrote {len(result)} bytes of outputs and must write "
            f"{len(record) * size}, {size} in each of {len(record)} cycles"
        )
    result = result.reshape(len(record), size)
    places = np.cumsum([0, *map(port_bytes, outs.values())])
    return {
        name: result[:, start:end]
        for name, start, end in zip(outs, places[:-1], places[1:], strict=True)
    }


def _port(name: str) -> str:
    """What Verilator's C++ calls a port."""
    return name.replace("__", "___05F")


def _plain(value):
    return value.as_value() if hasattr(value, "as_value") else value

"""Runs a component cycle by cycle on arrays, without Python in the loop."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from numpy.typing import NDArray

from ...golden.scratch import scratch_folder
from ...golden.templates import render
from ..tools.errors import SimulationError
from ..tools.run import run_program
from .build import build_component

__all__ = ["CONTROL", "port_bytes", "port_rows", "run_clocked"]

#: Control file: Verilator reports a loop where one bit of a vector depends on another bit of it.
CONTROL = """`verilator_config
lint_off -rule UNOPTFLAT -file "*.v"
"""


def port_bytes(width: int) -> int:
    """Bytes of the C++ variable in which Verilator keeps a port.

    Parameters
    ----------
    width : bits of the port, 1 or more

    Returns
    -------
    1, 2, 4 or 8 bytes for up to 64 bits; beyond them the bytes of whole 32-bit words.
    """
    for size in (1, 2, 4, 8):
        if width <= 8 * size:
            return size
    return -(-width // 32) * 4


def port_rows(values: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Fill rows of bytes with zeros to the bytes that a port takes in each cycle.

    Parameters
    ----------
    values : uint8[cycles, bytes], lowest byte first
    width : bits of the port

    Returns
    -------
    uint8[cycles, port_bytes(width)]
    """
    return np.pad(values, ((0, 0), (0, port_bytes(width) - values.shape[1])))


def run_clocked(
    component: wiring.Component,
    inputs: Mapping[str, NDArray[np.uint8]],
    *,
    verilog: Path | None = None,
) -> dict[str, NDArray[np.uint8]]:
    """Apply inputs to a component, one row in each cycle, after one cycle of reset.

    Parameters
    ----------
    component : a component whose ports are ``In`` and ``Out``, without nesting
    inputs : for each input port uint8[cycles, port_bytes(width)], lowest byte first
    verilog : the Verilog of the component as module ``dut``, if it is written already

    Returns
    -------
    For each output port uint8[cycles, port_bytes(width)]: its values before the rising edge of the
    clock, so that combinational outputs belong to the inputs in the same row.

    Raises
    ------
    SimulationError
        If the simulation does not answer every cycle.
    ToolchainError
        If the simulation cannot be built, or its program fails.
    """
    ins: dict[str, dict[str, Any]] = {}
    outs: dict[str, dict[str, Any]] = {}
    for path, member, value in component.signature.flatten(component):
        name = "__".join(map(str, path))
        # Verilator writes a double underscore of Verilog as the character code of an underscore.
        (ins if member.flow == In else outs)[name] = {
            "name": name.replace("__", "___05F"),
            "size": port_bytes(len(Value.cast(value))),
        }
    main = render(
        "trilith.sim.rtl", "clocked.cpp.jinja", inputs=ins.values(), outputs=outs.values()
    )
    program = build_component(component, CONTROL, main, verilog=verilog)
    rows = np.concatenate([inputs[name] for name in ins], axis=1)
    with scratch_folder() as scratch:
        rows.tofile(scratch / "in.bin")
        run_program([program], folder=scratch, makes=["out.bin"])
        result = np.fromfile(scratch / "out.bin", np.uint8)
    sizes = [port["size"] for port in outs.values()]
    if len(result) != len(rows) * sum(sizes):
        raise SimulationError(
            f"the simulation wrote {len(result)} bytes of outputs and must write "
            f"{len(rows) * sum(sizes)}: {sum(sizes)} in each of {len(rows)} cycles"
        )
    columns = np.split(result.reshape(len(rows), -1), np.cumsum(sizes)[:-1], axis=1)
    return dict(zip(outs, columns, strict=True))

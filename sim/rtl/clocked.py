"""Runs a component cycle by cycle on arrays, without Python in the loop."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from numpy.typing import NDArray

from ...golden.templates import render
from ...hw.export.verilog import component_verilog
from ..tools.cache import keep
from ..tools.errors import SimulationError
from ..tools.run import run_program
from .build import build_simulation

__all__ = ["port_bytes", "run_clocked"]

#: Verilator reports a loop where one bit of a vector depends on another bit of it.
_CONTROL = """`verilator_config
lint_off -rule UNOPTFLAT -file "*.v"
"""


@dataclass(frozen=True, kw_only=True)
class _Port:
    """A port of the Verilated model.

    Parameters
    ----------
    name : the name in Verilator's C++
    size : bytes of the C++ variable
    """

    name: str
    size: int


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


def run_clocked(
    component: wiring.Component, inputs: Mapping[str, NDArray[np.uint8]]
) -> dict[str, NDArray[np.uint8]]:
    """Apply inputs to a component, one row in each cycle, after one cycle of reset.

    Parameters
    ----------
    component : a component whose ports are ``In`` and ``Out``, without nesting
    inputs : for each input port uint8[cycles, port_bytes(width)], lowest byte first

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
    ins: dict[str, _Port] = {}
    outs: dict[str, _Port] = {}
    for path, member, value in component.signature.flatten(component):
        name = "__".join(map(str, path))
        # Verilator writes a double underscore of Verilog as the character code of an underscore.
        port = _Port(name=name.replace("__", "___05F"), size=port_bytes(len(_plain(value))))
        (ins if member.flow == In else outs)[name] = port
    text = component_verilog(component, "dut")
    main = render(
        "trilith.sim.rtl", "clocked.cpp.jinja", inputs=ins.values(), outputs=outs.values()
    )
    with keep("clocked", _CONTROL + text + main) as (folder, making):
        if making is not None:
            (making / "dut.v").write_text(text)
            (making / "dut.vlt").write_text(_CONTROL)
            (making / "main.cpp").write_text(main)
    program = build_simulation(
        [folder / "dut.vlt", folder / "dut.v"], top="dut", main=folder / "main.cpp"
    )
    rows = np.concatenate([inputs[name] for name in ins], axis=1)
    with tempfile.TemporaryDirectory(prefix="trilith-") as scratch:
        rows.tofile(Path(scratch) / "in.bin")
        run_program([program], folder=Path(scratch), makes=["out.bin"])
        result = np.fromfile(Path(scratch) / "out.bin", np.uint8)
    sizes = [port.size for port in outs.values()]
    if len(result) != len(rows) * sum(sizes):
        raise SimulationError(
            f"the simulation wrote {len(result)} bytes of outputs and must write "
            f"{len(rows) * sum(sizes)}: {sum(sizes)} in each of {len(rows)} cycles"
        )
    columns = np.split(result.reshape(len(rows), -1), np.cumsum(sizes)[:-1], axis=1)
    return dict(zip(outs, columns, strict=True))


def _plain(value):
    """The plain Amaranth value behind a view with a layout."""
    return value.as_value() if hasattr(value, "as_value") else value

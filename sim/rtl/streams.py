"""Runs a component whose ports are streams on arrays of beats, without Python in the loop."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amaranth.hdl import Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In
from numpy.typing import NDArray

from ...golden.templates import render
from ..tools.errors import SimulationError
from ..tools.run import run_program
from .build import build_component
from .clocked import CONTROL, port_bytes, port_rows

__all__ = ["StreamRun", "run_streams"]


@dataclass(frozen=True, kw_only=True)
class StreamRun:
    """Everything that passed the streams of a component.

    Parameters
    ----------
    beats : for each output stream uint8[n, bytes], lowest byte first
    cycles : for each stream uint64[n], the cycle of each beat; 0 is the first after the reset
    """

    beats: dict[str, NDArray[np.uint8]]
    cycles: dict[str, NDArray[np.uint64]]


def run_streams(
    component: wiring.Component,
    beats: Mapping[str, NDArray[np.uint8]],
    counts: Mapping[str, int],
    *,
    pauses: Mapping[str, NDArray[np.uint8]] | None = None,
    limit: int = 1_000_000,
) -> StreamRun:
    """Play beats into the input streams of a component until its outputs have given enough.

    Parameters
    ----------
    component : a component whose ports are streams
    beats : for each input stream uint8[n, bytes], lowest byte first
    counts : for each output stream the number of its beats
    pauses : for some streams the idle cycles before each beat, repeated: without valid at an input,
        without ready at an output
    limit : most cycles

    Raises
    ------
    SimulationError
        If the beats have not all passed after ``limit`` cycles.
    ToolchainError
        If the simulation cannot be built, or its program fails.
    """
    ports: dict[bool, list[dict[str, object]]] = {True: [], False: []}
    for name, member in component.signature.members.items():
        if member.is_port or not isinstance(member.signature, stream.Signature):
            raise TypeError(f"each port must be a stream, but {name} is {member!r}")
        port = getattr(component, name)
        wire = name.replace("__", "___05F")
        ports[member.flow == In].append(
            {
                "name": name,
                "size": port_bytes(len(Value.cast(port.payload))),
                "bits": len(Value.cast(port.payload)),
                **{part: f"{wire}___05F{part}" for part in ("payload", "valid", "ready")},
            }
        )
    main = render("trilith.sim.rtl", "streams.cpp.jinja", inputs=ports[True], outputs=ports[False])
    program = build_component(component, CONTROL, main)
    result = StreamRun(beats={}, cycles={})
    with tempfile.TemporaryDirectory(prefix="trilith-") as name:
        scratch = Path(name)
        for port in ports[True]:
            rows = port_rows(beats[str(port["name"])], int(str(port["bits"])))
            rows.tofile(scratch / f"{port['name']}.beats")
        for out, count in counts.items():
            (scratch / f"{out}.count").write_bytes(count.to_bytes(8, "little"))
        for one, pattern in (pauses or {}).items():
            pattern.astype(np.uint8).tofile(scratch / f"{one}.pauses")
        run_program([program, str(limit)], folder=scratch)
        for port in (*ports[True], *ports[False]):
            one = str(port["name"])
            result.cycles[one] = np.fromfile(scratch / f"{one}.cycles", np.uint64)
        for port in ports[False]:
            one = str(port["name"])
            rows = np.fromfile(scratch / f"{one}.out", np.uint8)
            result.beats[one] = rows.reshape(-1, int(str(port["size"])))
    for one, rows in beats.items():
        if len(result.cycles[one]) != len(rows):
            raise SimulationError(
                f"{one} took {len(result.cycles[one])} of {len(rows)} beats in {limit} cycles"
            )
    for one, count in counts.items():
        if len(result.cycles[one]) != count:
            raise SimulationError(
                f"{one} gave {len(result.cycles[one])} of {count} beats in {limit} cycles"
            )
    return result

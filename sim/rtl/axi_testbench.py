"""Runs cocotb testbenches on the AXI wrapper."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from ...golden.scratch import scratch_folder
from ...hw.axi.wrapper import AxiMatVec, BusWidths
from ...hw.config import MatVecConfig
from .cocotb_runner import run_testbench

__all__ = ["run_axi_testbench"]


class ProbedAxiMatVec(wiring.Component):
    """``AxiMatVec``, with the handshakes of the engine inside as outputs.

    The wrapper's counters count these handshakes. The probes add no logic and no latency.

    Parameters
    ----------
    config, widths : the configuration of the wrapper

    Members
    -------
    probe_weights, probe_activations, probe_results : Out(2)
        ``valid`` of the engine's stream, lowest, and ``ready``.

    All other members are those of ``AxiMatVec``.

    Raises
    ------
    TypeError, ValueError
        From ``AxiMatVec``, if a parameter is not legal.
    """

    def __init__(self, config: MatVecConfig, widths: BusWidths) -> None:
        self._inner = AxiMatVec(config, widths)
        handshake = data.StructLayout({"valid": 1, "ready": 1})
        self._streams = ("weights", "activations", "results")
        super().__init__(
            dict(self._inner.signature.members)
            | {f"probe_{name}": Out(handshake) for name in self._streams}
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the ports to those of the wrapper inside, and the probes to its engine."""
        m = Module()
        m.submodules.inner = inner = self._inner
        for name, member in inner.signature.members.items():
            outer, port = getattr(self, name), getattr(inner, name)
            m.d.comb += outer.eq(port) if member.flow == Out else port.eq(outer)
        for name in self._streams:
            stream, probe = getattr(inner.engine, name), getattr(self, f"probe_{name}")
            m.d.comb += [probe.valid.eq(stream.valid), probe.ready.eq(stream.ready)]
        return m


def run_axi_testbench(
    config: MatVecConfig,
    widths: BusWidths,
    *more: str,
    path: Sequence[Path] = (),
) -> tuple[int, list[dict[str, Any]]]:
    """Run jobs on the AXI wrapper, with different pauses on its buses.

    Parameters
    ----------
    config, widths : the configuration of the wrapper
    more : names of Python modules with more cocotb tests for the same simulation
    path : folders in which Python looks for these modules first

    Returns
    -------
    passed : the number of tests that passed
    reports : for each pattern of pauses ``pattern``, ``jobs``, ``macs``, ``seconds`` and
        ``cycles``, which is the wrapper's own counter

    Raises
    ------
    ToolchainError
        If the simulation cannot be built.
    SimulationError
        If a test fails.
    """
    with scratch_folder() as scratch:
        report = scratch / "report.jsonl"
        settings = {"config": asdict(config), "widths": asdict(widths), "report": str(report)}
        passed = run_testbench(
            ProbedAxiMatVec(config, widths),
            "trilith.sim.rtl.testbenches.axi",
            *more,
            path=path,
            variables={"TRILITH_AXI": json.dumps(settings)},
        )
        lines = report.read_text().splitlines() if report.exists() else []
    return passed, [json.loads(line) for line in lines]

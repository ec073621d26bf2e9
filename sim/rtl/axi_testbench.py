"""Holds the AXI wrapper to golden, with ``cocotbext-axi`` as the other end of its buses."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from ...hw.axi.wrapper import AxiMatVec, BusWidths
from ...hw.config import MatVecConfig
from ..tools.toolchain import ToolchainError, remedy
from .cocotb_runner import run_testbench

__all__ = ["ProbedAxiMatVec", "check_cocotbext", "run_axi_testbench"]


class ProbedAxiMatVec(wiring.Component):
    """``AxiMatVec``, and what its counters count: the handshakes of the engine inside.

    Members
    -------
    probe_<stream> : Out(2); ``valid`` lowest, then ``ready``, for weights, activations and results;
        all other members are those of ``AxiMatVec``
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
        """Pass the ports through, and look inside."""
        m = Module()
        m.submodules.inner = inner = self._inner
        for name, member in inner.signature.members.items():
            outer, port = getattr(self, name), getattr(inner, name)
            m.d.comb += outer.eq(port) if member.flow == Out else port.eq(outer)
        for name in self._streams:
            stream, probe = getattr(inner.engine, name), getattr(self, f"probe_{name}")
            m.d.comb += [probe.valid.eq(stream.valid), probe.ready.eq(stream.ready)]
        return m


def check_cocotbext() -> None:
    """Raise ``ToolchainError`` unless ``cocotbext-axi`` is there."""
    if find_spec("cocotbext") is None or find_spec("cocotbext.axi") is None:
        raise ToolchainError(
            "the test of the AXI wrapper needs cocotbext-axi, which is not installed: "
            f"{remedy('cocotbext-axi')}"
        )


def run_axi_testbench(
    config: MatVecConfig, widths: BusWidths, *, tests: Sequence[str] = ()
) -> tuple[int, list[dict[str, Any]]]:
    """Run the testbench of the AXI wrapper.

    Parameters
    ----------
    config, widths : of the wrapper
    tests : names of tests in ``trilith.sim.rtl.testbenches.axi``; by default all

    Returns
    -------
    How many passed, and of each test that runs a series of jobs what it measured: ``pattern``,
    ``jobs``, ``macs``, ``seconds`` and ``cycles``, the counter of the wrapper

    Raises
    ------
    ToolchainError
        If ``cocotbext-axi`` is missing or the simulation cannot be built.
    SimulationError
        If a test fails.
    """
    check_cocotbext()
    with tempfile.TemporaryDirectory(prefix="trilith-") as scratch:
        report = Path(scratch) / "report.jsonl"
        settings = {"config": asdict(config), "widths": asdict(widths), "report": str(report)}
        environment = {"TRILITH_AXI": json.dumps(settings)}
        if tests:
            environment["COCOTB_TEST_FILTER"] = "|".join(rf"\.{name}(/|$)" for name in tests)
        passed = run_testbench(
            ProbedAxiMatVec(config, widths),
            "trilith.sim.rtl.testbenches.axi",
            environment=environment,
        )
        lines = report.read_text().splitlines() if report.exists() else []
    return passed, [json.loads(line) for line in lines]

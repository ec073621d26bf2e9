"""Runs cocotb testbenches on components."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from amaranth.lib import wiring

from ...hw.export.verilog import component_verilog
from ..tools.cache import keep
from ..tools.errors import SimulationError
from ..tools.run import run_program
from ..tools.toolchain import ToolchainError
from .build import build_simulation, cocotb_environment

__all__ = ["run_testbench"]


def run_testbench(
    component: wiring.Component,
    module: str,
    *,
    environment: Mapping[str, str] | None = None,
    waves: Path | None = None,
) -> int:
    """Run all tests of a cocotb module on a component; return how many passed.

    The component is the top module ``dut``. Its ports are visible to the tests, and nothing else.

    Parameters
    ----------
    component : the design
    module : name of the Python module with the tests
    environment : further variables for the tests
    waves : None, or the file to write: ``.fst`` or ``.vcd``

    Raises
    ------
    SimulationError
        If a test fails or none ran; the message has the output of the first failure.
    ToolchainError
        If the simulation cannot be built.
    """
    ports = ["__".join(map(str, path)) for path, _, _ in component.signature.flatten(component)]
    control = ["`verilator_config"]
    control += [f'public_flat_rw -module "dut" -var "{name}"' for name in (*ports, "clk", "rst")]
    text = component_verilog(component, "dut")
    with keep("testbench", "\n".join([*control, text])) as (folder, making):
        if making is not None:
            (making / "dut.v").write_text(text)
            (making / "dut.vlt").write_text("\n".join(control) + "\n")
    program = build_simulation(
        [folder / "dut.vlt", folder / "dut.v"],
        top="dut",
        waves=waves,
    )

    arguments = []
    if waves is not None:
        arguments = ["--trace", "--trace-file", str(waves.absolute())]
    with tempfile.TemporaryDirectory(prefix="trilith-") as scratch:
        stopped = ""
        try:
            run_program(
                [program, *arguments],
                folder=Path(scratch),
                variables=cocotb_environment(module, "dut") | dict(environment or {}),
            )
        except ToolchainError as error:  # cocotb also ends the simulator so after a failed test.
            stopped = str(error)
        report = Path(scratch) / "results.xml"
        cases = ElementTree.parse(report).findall(".//testcase") if report.exists() else []
    failures = {}
    for case in cases:
        for kind in ("failure", "error"):
            if (found := case.find(kind)) is not None:
                failures[case.get("name")] = found.text or found.get("message") or "no message"
    if failures or not cases or stopped:
        raise SimulationError(
            f"the tests of {module} must pass; failed: {', '.join(failures) or 'none'}, "
            f"ran: {len(cases)}\n{next(iter(failures.values()), stopped)}"
        )
    return sum(case.find("skipped") is None for case in cases)

"""Runs cocotb testbenches on components."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from amaranth.lib import wiring

from ...golden.failures import error_line
from ...golden.scratch import scratch_folder
from ..tools.errors import SimulationError
from ..tools.run import keep_output, run_program
from ..tools.toolchain import ToolchainError
from .build import build_component, cocotb_environment

__all__ = ["run_testbench"]


def run_testbench(
    component: wiring.Component,
    *modules: str,
    path: Sequence[Path] = (),
    variables: Mapping[str, str] | None = None,
    verilog: Path | None = None,
) -> int:
    """Run a cocotb testbench on a component.

    The component is the top module ``dut``. The testbench can access the ports and no other signal.

    Parameters
    ----------
    component : the design
    modules : names of the Python modules with the cocotb tests
    path : folders in which Python looks for these modules first
    variables : environment variables for the tests
    verilog : the Verilog of the component, if it is written already; its top module is ``dut``

    Returns
    -------
    The number of tests that passed; tests that were skipped do not count.

    Raises
    ------
    SimulationError
        If a test fails, or if no test ran. A note (``__notes__``) has the output of the first
        failure.
    ToolchainError
        If the simulation cannot be built.
    """
    ports = ["__".join(map(str, names)) for names, _, _ in component.signature.flatten(component)]
    control = ["`verilator_config"]
    control += [f'public_flat_rw -module "dut" -var "{name}"' for name in (*ports, "clk", "rst")]
    program = build_component(component, "\n".join(control) + "\n", verilog=verilog)
    testbench = ",".join(modules)
    with scratch_folder() as scratch:
        status, output = "", ""
        try:
            output = run_program(
                [program],
                folder=scratch,
                variables=cocotb_environment(testbench, "dut", path=path) | dict(variables or {}),
            )
        except ToolchainError as error:  # A failed test also ends so; the report tells more.
            status = str(error)
        report = scratch / "results.xml"
        cases = ElementTree.parse(report).findall(".//testcase") if report.exists() else []
    failures = {}
    for case in cases:
        for kind in ("failure", "error"):
            if (found := case.find(kind)) is not None:
                failures[case.get("name")] = found.text or found.get("message") or ""
    if failures or not cases or status:
        which = f"tests {', '.join(failures)} failed" if failures else "not all tests ran"
        text = next(filter(None, failures.values()), output)
        kept = keep_output(testbench, [program], output)
        reason = status or f"{error_line(text)} ({kept})"
        error = SimulationError(f"{testbench}: {which}; {len(cases)} ran: {reason}")
        if failures:
            error.add_note(text)
        raise error
    return sum(case.find("skipped") is None for case in cases)

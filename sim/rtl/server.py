"""The cocotb side of ``MatVecSimulator``: starts a run for each line that comes in."""

import os
import sys

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

__all__ = ["serve"]


@cocotb.test()
async def serve(dut) -> None:
    """Answer each line on standard input with ``done`` when the harness has finished a run.

    While Python waits for a line, simulated time stands still.
    """
    Clock(dut.clk, 2, unit="step").start()
    with os.fdopen(int(os.environ["TRILITH_ANSWER"]), "w") as answers:
        print("ready", file=answers, flush=True)
        for _ in sys.stdin:
            await FallingEdge(dut.clk)
            dut.start.value = 1
            await FallingEdge(dut.clk)
            dut.start.value = 0
            await RisingEdge(dut.done)
            print("done", file=answers, flush=True)

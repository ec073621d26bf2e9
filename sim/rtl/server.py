"""The cocotb side of ``MatVecSimulator``: starts a run of the harness for each line of input.

``MatVecSimulator`` starts the simulation as a process, with this module as its testbench. Requests
come on standard input. Answers go to the pipe whose file descriptor is in the environment variable
``TRILITH_ANSWER``, since standard output has cocotb's log.
"""

import os
import sys

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

__all__ = ["serve"]


@cocotb.test()
async def serve(dut) -> None:
    """Write ``ready``, then do a run for each line of input and write ``done`` after it.

    Simulated time does not advance while Python waits for a line.

    Parameters
    ----------
    dut : handle of the harness: ``clk``, ``start`` and ``done``
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

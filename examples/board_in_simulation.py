"""Multiply on a simulated board, over its serial line, with noise on the line.

Run it with ``python examples/board_in_simulation.py``. The board's whole design runs in Verilator
behind a pseudo-terminal. On a real board, give ``Link`` the serial port, such as ``/dev/ttyUSB0``.
"""

import numpy as np

from trilith.fpga.boards import SIMULATED
from trilith.fpga.host.board import Board
from trilith.fpga.host.link import Link
from trilith.fpga.host.simulated import Noise, SimulatedBoard
from trilith.golden import ternary_matmul


def main() -> None:
    """Write a matrix to the board once, and multiply it by two sets of vectors."""
    rng = np.random.default_rng(3)
    trits = rng.integers(-1, 2, (40, 120), np.int8)  # W (N, K)
    noise = Noise(flip=0.001, drop=0.001, seed=4)
    with (
        SimulatedBoard(SIMULATED, noise) as simulated,
        Board(Link(simulated.port, SIMULATED.baud)) as board,
    ):
        clock_mhz = board.identity.clock_hz / 1e6
        print(f"the board has the engine {board.config}, {board.config.code}, {clock_mhz:g} MHz")
        resident = board.place(trits)
        print(f"weight memory: {board.used} of {board.identity.beats} beats used")
        for name in ("first", "second"):
            q = rng.integers(-128, 128, (2, 120), np.int8)  # q (T, K)
            results = board.multiply(resident, q)
            equal = int((results == ternary_matmul(trits, q)).sum())
            print(f"{name} product: {equal} of {results.size} integers equal the golden model's")
        print(f"cycles: {board.cycles}, waiting for the line in {board.waits} of them")
        print(f"frames that noise broke, and that were sent again: {board.link.repeated}")


if __name__ == "__main__":
    main()

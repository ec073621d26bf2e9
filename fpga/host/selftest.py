"""Self-test of a board."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...golden.matmul import ternary_matmul
from .board import Board, Resident

__all__ = ["TestRow", "self_test"]


@dataclass(frozen=True, kw_only=True)
class TestRow:
    """Result of a product on the board.

    Parameters
    ----------
    name : the property that it tests
    shape : N x K x T
    passed : whether every integer matches the golden model
    cycles : cycles of its jobs, as the board counted them
    waits : those of them in which the engine waited for the link
    seconds : time that it took, with the link
    """

    name: str
    shape: str
    passed: bool
    cycles: int
    waits: int
    seconds: float


def _row(
    board: Board,
    name: str,
    trits: NDArray[np.int8],
    q: NDArray[np.int8],
    weights: Resident | None = None,
) -> TestRow:
    """Multiply on the board and compare with the golden model."""
    cycles, waits, begin = board.cycles, board.waits, time.monotonic()
    results = board.multiply(weights or trits, q)
    return TestRow(
        name=name,
        shape=f"{len(trits)}x{trits.shape[1]}x{len(q)}",
        passed=bool((results == ternary_matmul(trits, q)).all()),
        cycles=board.cycles - cycles,
        waits=board.waits - waits,
        seconds=time.monotonic() - begin,
    )


def self_test(board: Board, *, seed: int = 0) -> Iterator[TestRow]:
    """Run products that reach every corner of an engine, and compare them with the golden model.

    The shapes lie around lanes, rows and tokens. The sums reach the largest and smallest values.
    Matrices are written at every power of two of the weight memory before the first is used, so
    that an address line that is stuck or crossed shows.

    Parameters
    ----------
    board : the board
    seed : seed of weights and activations

    Yields
    ------
    A row for each product, as soon as it is done.
    """
    rng = np.random.default_rng(seed)
    config = board.config
    low, high = {8: (-128, 127), 4: (-8, 7), 2: (-1, 1)}[config.act_bits]

    def trits(n: int, k: int) -> NDArray[np.int8]:
        values = rng.integers(-1, 2, (n, k), np.int8)
        return values if config.code != "binary" else np.where(values < 0, values, 1)

    def activations(tokens: int, k: int) -> NDArray[np.int8]:
        return rng.integers(low, high + 1, (tokens, k)).astype(np.int8)

    lanes, rows, tokens = config.lanes, config.rows, config.tokens
    for n, k, t in (
        (1, 1, 1),
        (rows, lanes, tokens),
        (rows + 1, lanes + 1, tokens),
        (max(1, rows - 1), max(1, lanes - 1), 1),
        (3 * rows, 2 * lanes, tokens + 1),
    ):
        yield _row(board, "shape", trits(n, k), activations(t, k))
    k = min(config.k_max, lanes * ((board.identity.beats - board.used) // 2))
    for name, weight, x in (
        ("largest sum", -1, low),
        ("smallest sum", 1, low),
        ("largest positive", 1, high),
    ):
        yield _row(board, name, np.full((2, k), weight, np.int8), np.full((1, k), x, np.int8))

    size = 2 * board.beats(rows, 2 * lanes)
    top = board.identity.beats - size
    addresses = sorted({0, top, *(2**bit for bit in range(24) if size <= 2**bit <= top - size)})
    residents = []
    for address in addresses:
        matrix = trits(2 * rows, 2 * lanes)
        residents.append((matrix, board.write(address, matrix)))
    x = activations(1, 2 * lanes)
    for address, (matrix, resident) in zip(addresses, residents, strict=True):
        yield _row(board, f"memory, beat {address}", matrix, x, resident)

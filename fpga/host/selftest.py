"""What a board must get right before it is trusted."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...golden.matmul import ternary_matmul
from .host import Board

__all__ = ["TestRow", "self_test"]


@dataclass(frozen=True, kw_only=True)
class TestRow:
    """A product on the board.

    Parameters
    ----------
    name : what it tests
    shape : N x K x T
    passed : every integer was golden's
    clocks, waits : see ``JobCounters``
    seconds : with the link
    """

    name: str
    shape: str
    passed: bool
    clocks: int
    waits: int
    seconds: float


def self_test(board: Board, *, seed: int = 0) -> Iterator[TestRow]:
    """Run products that reach every corner of an engine, and hold them to golden.

    Shapes around lanes, rows and tokens; the largest sums that there are; and matrices at every
    power of two of the weight memory, all written before the first is used, so that an address line
    that is stuck or crossed shows.
    """
    rng = np.random.default_rng(seed)
    config = board.config
    low, high = {8: (-128, 127), 4: (-8, 7), 2: (-1, 1)}[config.act_bits]

    def row(name: str, trits, q, weights=None) -> TestRow:
        clocks, waits, begin = board.clocks, board.waits, time.monotonic()
        results = board.multiply(weights or trits, q)
        return TestRow(
            name=name,
            shape=f"{len(trits)}x{trits.shape[1]}x{len(q)}",
            passed=bool((results == ternary_matmul(trits, q)).all()),
            clocks=board.clocks - clocks,
            waits=board.waits - waits,
            seconds=time.monotonic() - begin,
        )

    def trits(n: int, k: int):
        values = rng.integers(-1, 2, (n, k), np.int8)
        return values if config.code != "binary" else np.where(values < 0, values, 1)

    def activations(tokens: int, k: int):
        return rng.integers(low, high + 1, (tokens, k)).astype(np.int8)

    lanes, rows, tokens = config.lanes, config.rows, config.tokens
    for n, k, t in (
        (1, 1, 1),
        (rows, lanes, tokens),
        (rows + 1, lanes + 1, tokens),
        (max(1, rows - 1), max(1, lanes - 1), 1),
        (3 * rows, 2 * lanes, tokens + 1),
    ):
        yield row("shape", trits(n, k), activations(t, k))
    k = min(config.k_max, lanes * ((board.identity.beats - board.used) // 2))
    for name, weight, x in (
        ("largest sum", -1, low),
        ("smallest sum", 1, low),
        ("largest positive", 1, high),
    ):
        yield row(name, np.full((2, k), weight, np.int8), np.full((1, k), x, np.int8))

    size = 2 * board.beats(rows, 2 * lanes)
    top = board.identity.beats - size
    addresses = sorted({0, top, *(2**bit for bit in range(24) if size <= 2**bit <= top - size)})
    residents = []
    for address in addresses:
        matrix = trits(2 * rows, 2 * lanes)
        residents.append((matrix, board.write(address, matrix)))
    x = activations(1, 2 * lanes)
    for address, (matrix, resident) in zip(addresses, residents, strict=True):
        yield row(f"memory, beat {address}", matrix, x, resident)

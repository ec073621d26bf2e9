"""Theorem about reads of a word while it is written."""

from proofs.bench import Bench
from proofs.prover import Method
from proofs.theorem import Case, Theorem

from trilith.hw.config import MatVecConfig
from trilith.hw.engine.results import ResultQueue


def collisions(rows: int, tokens: int, depth: int) -> Bench:
    """Reads of the queue's memory at the place of a write in the same cycle."""
    config = MatVecConfig(lanes=5, rows=rows, tokens=tokens, act_bits=2, k_max=5, n_max=rows)
    queue = ResultQueue(config, depth=depth)
    bench = Bench(queue)
    inside, results = bench.inside, queue.results
    writes, reads = inside["left"] != 0, results.ready | ~results.valid
    same = inside["produce"] == inside["consume"]
    collided = bench.past(writes & reads & same)
    bench.claim("unseen", ~(collided & results.valid))
    bench.cover("collision", collided)
    return bench


THEOREMS = [
    Theorem(
        name="result queue: collisions",
        file="hw/engine/results.py",
        statement="A word that is read in the cycle in which it is written is not offered in the "
        "next cycle, so that it does not matter which value the memory returns then.",
        method=Method.STATE,
        cases={
            label: Case(
                build=lambda rows=rows, tokens=tokens, depth=depth: collisions(rows, tokens, depth),
                depth=1,
            )
            for label, rows, tokens, depth in (
                ("1 row, 1 token, depth 5", 1, 1, 5),
                ("2 rows, 3 tokens, depth 9", 2, 3, 9),
            )
        },
    ),
]

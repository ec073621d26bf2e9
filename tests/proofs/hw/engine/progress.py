"""Theorem that the engine comes to the next job within a bound."""

from amaranth.hdl import Mux, Signal, Value
from amaranth.lib import data
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.hw.config import MatVecConfig
from trilith.hw.engine.engine import MatVecEngine

from .engine import TINY_ASIC, TINY_COMPACT, chunks_of, hold_issue, hold_places


class _Worth:
    """Cycles that each kind of work can take, from the next result back to the job.

    Parameters
    ----------
    config : the configuration of the engine
    """

    def __init__(self, config: MatVecConfig) -> None:
        #: The next result, from the first stage of the data path.
        self.next = config.dot_latency + 4
        #: A result that is not taken yet: after it, the next one may be as far as any.
        self.result = self.next + 1
        #: A weight beat: its results, its spacing, and itself.
        self.beat = config.tokens * self.result + self.next + config.tokens + 1
        #: All of a job and what is under way before it.
        beats = -(-config.n_max // config.rows) * config.max_chunks
        self.handover = beats * self.beat + config.queue_depth * self.result
        self.handover += self.next + config.tokens + 1
        #: The check of a job, its activations, and the handover.
        self.job = self.handover + config.tokens * config.max_chunks + 1


def ready_again(config: MatVecConfig) -> Bench:
    """Cycles from a job to the next, without those in which a stream waits for its environment."""
    engine = MatVecEngine(config)
    bench = Bench(engine, visible=False)
    m, inside = bench.m, bench.inside
    issue, under_way = hold_issue(bench, engine), hold_places(bench, engine)
    worth = _Worth(config)
    job = data.View(engine.jobs.p.shape(), inside["loader.job"])
    take, load = engine.jobs.ready, engine.activations.ready
    offered = inside["loader.offer__valid"]
    check = ~take & ~load & ~offered
    # Work of the issue stage and of the queue, which falls in each cycle in which nothing waits.
    ends = [end for end, _ in under_way.ends]
    distance: Value = Mux(under_way.left != 0, 2, _first(ends, 3))
    distance = Mux(engine.results.valid, 0, Mux(under_way.fill != 0, 1, distance))
    beats = _beats(issue, config)
    spacing = inside["spacing"] if config.tokens > 1 else 0
    results = config.queue_depth - inside["room"]
    rank = Signal(range(worth.handover + 1), name="rank")
    m.d.comb += rank.eq(
        Mux(issue.runs, beats * worth.beat, 0) + results * worth.result + distance + spacing
    )
    waits = engine.results.valid & ~engine.results.ready
    waits |= offered & engine.weights.ready & ~engine.weights.valid
    works = bench.past(offered & ~issue.start & ~waits)
    bench.claim("falls", ~works | (rank < bench.past(rank)))
    # Cycles since the acceptance of the job.
    waits |= load & ~engine.activations.valid
    waited = Signal(range(worth.job + 2), name="waited")
    with m.If(take):
        m.d.sync += waited.eq(0)
    with m.Elif(~waits):
        m.d.sync += waited.eq(waited + 1)
    left, tokens_left = ~inside["loader.left_inverted"], inside["loader.tokens_left"]
    # Activation beats that are left: of the present token, and of those behind it.
    chunks = chunks_of(job.k, config)
    rest = (tokens_left - 1) * chunks + chunks_of(left, config)
    bench.claim("rest_tokens", ~load | ((tokens_left >= 1) & (tokens_left <= job.tokens)))
    bench.claim("rest_inputs", ~load | ((left >= 1) & (left <= job.k)))
    work = Mux(check, worth.job, Mux(load, rest + worth.handover, Mux(offered, rank + 1, 0)))
    bench.claim("waited", take | (waited + work <= worth.job))
    bench.claim("bound", waited <= worth.job)
    bench.cover("offered", offered & issue.runs & (waited > 4))
    bench.reach = 16
    return bench


def _first(flags: list[Value], nearest: int) -> Value:
    """Cycles of the last stage that has a flag: ``nearest`` for the last one, or 0 for none."""
    answer: Value = Value.cast(0)
    for stage, flag in enumerate(flags):
        answer = Mux(flag, nearest + len(flags) - 1 - stage, answer)
    return answer


def _beats(issue, config: MatVecConfig) -> Value:
    """Weight beats that are left of the job that is computed."""
    groups = sum(
        [issue.n > config.rows * group for group in range(-(-config.n_max // config.rows))]
    )
    return groups * chunks_of(issue.k, config) - issue.chunk


def _case(config: MatVecConfig) -> Case:
    return Case(build=lambda: ready_again(config), depth=1, faults=40)


_CONFIGS = {
    "5x2x2": MatVecConfig(lanes=5, rows=2, tokens=2, act_bits=2, k_max=10, n_max=3),
    "5x1x1": MatVecConfig(lanes=5, rows=1, act_bits=2, k_max=10, n_max=3),
    "5x2x2, compact": TINY_COMPACT,
    "5x2x3, ASIC": TINY_ASIC,
}

THEOREMS = [
    Theorem(
        name="engine: progress",
        file="hw/engine/engine.py",
        statement="After the acceptance of a job the engine is ready for the next one within a "
        "bound, which follows from the largest job and the depth of the queue. The bound counts "
        "all cycles but those in which a stream keeps the engine waiting: no activation comes to "
        "a job that loads, no weight beat comes for the job before an offered one, or a result "
        "is not taken. While a job waits for the one before it, a measure of the work that is "
        "left falls in each of these cycles.",
        cases={
            f"{name}: {_Worth(config).job} cycles": _case(config)
            for name, config in _CONFIGS.items()
        },
    ),
]

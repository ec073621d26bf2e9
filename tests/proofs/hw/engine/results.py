"""Theorems about the queue of results."""

from amaranth.hdl import Array, Cat, Mux, Signal, Value
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.hw.config import MatVecConfig
from trilith.hw.engine.results import ResultQueue, queue_words

_FILE = "hw/engine/results.py"

#: Promises of the engine to the queue.
_RULES = (
    "The engine keeps the rules below: see the theorem about its credits.",
    "A group is captured only with room for all of its beats.",
    "After a capture of T tokens, the next one follows T cycles later at the earliest.",
    "`clear` is set only with `capture`, or while no captured beat is left.",
    "A group has at least one token.",
)


def order(*, rows: int, tokens: int, depth: int) -> Bench:
    """Follow one beat, any one, from its capture to the output."""
    config = MatVecConfig(lanes=5, rows=rows, tokens=tokens, act_bits=2, k_max=10, n_max=4)
    queue = ResultQueue(config, depth=depth)
    bench = Bench(queue)
    m, inside = bench.m, bench.inside
    taken = queue.results.valid & queue.results.ready
    produce, consume = inside["produce"], inside["consume"]
    fill = (produce - consume)[: len(produce)]
    # Beats that are captured and not yet taken; the tokens of the last group, and its age.
    beats, group = Signal(range(depth + 1)), Signal(range(tokens + 1))
    age = Signal(range(tokens + 1))
    left = Mux(age < group, group - age, 0)
    m.d.sync += beats.eq(beats - taken + Mux(queue.capture, queue.tokens, 0))
    with m.If(queue.capture):
        m.d.sync += [group.eq(queue.tokens), age.eq(0)]
    with m.Elif(age != tokens):
        m.d.sync += age.eq(age + 1)
    bench.assume("room", ~queue.capture | (beats + queue.tokens <= depth))
    bench.assume("apart", ~queue.capture | (left <= 1))
    bench.assume("clear", queue.capture | (queue.clear == 0) | (left == 0))
    bench.assume("tokens", (queue.tokens >= 1) & (queue.tokens <= tokens))
    bench.claim("left", inside["left"] == left)
    bench.claim("group", (group <= tokens) & (age <= tokens))
    bench.claim("sum", beats == left + fill + queue.results.valid)
    bench.claim("depth", beats <= depth)
    bench.claim("words", fill < queue_words(depth))
    bench.claim("busy", queue.busy == (beats != 0))
    if tokens > 1:
        bench.claim("token", (left == 0) | (inside["token"] == age))
    bench.stays("results", queue.results)

    # The followed beat: token ``which`` of a group that ``pick`` selects.
    pick, which = bench.input("pick"), bench.any("which", range(tokens))
    follows, ahead = Signal(name="follows"), Signal(range(depth + 1), name="ahead")
    width = len(Value.cast(queue.results.p))
    beat = Signal(width, name="beat", reset_less=True)
    values = Array(Value.cast(queue.sums[t]) for t in range(tokens))[which]
    cleared = Cat(queue.clear[row].replicate(config.acc_width) for row in range(rows))
    last = queue.last & (which + 1 == queue.tokens)
    with m.If(queue.capture & pick & (which < queue.tokens) & ~follows):
        m.d.sync += [follows.eq(1), ahead.eq(beats - taken + which)]
        m.d.sync += beat.eq(Cat(values & ~cleared, last))
    with m.Elif(follows & taken):
        m.d.sync += [ahead.eq(ahead - 1), follows.eq(ahead != 0)]
    here = follows & (ahead == 0) & queue.results.valid
    bench.claim("result", ~here | (Value.cast(queue.results.p) == beat))
    bench.cover("result", here & taken)
    bench.cover("full", follows & (beats == depth))
    bench.reach = depth + 6
    # Where it is before: in the memory, or in the captured group.
    place = (ahead - queue.results.valid)[: len(produce)]
    stored = inside.word("beats", (consume + place)[: len(produce)], width)
    bench.claim("ahead", ~follows | (ahead < beats))
    elsewhere = follows & ~here
    bench.claim("stored", ~(elsewhere & (place < fill)) | (stored == beat))
    token = Signal(range(tokens + 1), name="token_ahead")
    m.d.comb += token.eq(age + place - fill)
    groups = Value.cast(inside["held"])
    held = Array(groups.word_select(t, width - 1) for t in range(tokens))[token]
    final = inside["held_last"] & (token + 1 == group)
    bench.claim("held", ~(elsewhere & (place >= fill)) | (Cat(held, final) == beat))
    return bench


def _case(rows: int, tokens: int, depth: int) -> Case:
    return Case(build=lambda: order(rows=rows, tokens=tokens, depth=depth), depth=1)


THEOREMS = [
    Theorem(
        name="result queue: order",
        file=_FILE,
        statement="Each captured beat, whichever it is, comes out once and unchanged, behind all "
        "beats before it, with zeros for cleared rows and `last` in the last beat of a last group. "
        "An offered beat stays until it is taken. The memory never overflows.",
        assumptions=_RULES,
        cases={
            "2 rows, 2 tokens, depth 6": _case(2, 2, 6),
            "1 row, 1 token, depth 5": _case(1, 1, 5),
            "1 row, 3 tokens, depth 9": _case(1, 3, 9),
        },
    ),
]

"""Theorem about the order of the largest logits."""

from unittest.mock import patch

from amaranth.hdl import Array, Cat, Mux, Signal, Value
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.hw.config import MatVecConfig
from trilith.hw.token.config import TokenConfig
from trilith.hw.token.topk import TopK

_FILE = "hw/token/topk.py"

SMALLEST = TokenConfig(
    engine=MatVecConfig(lanes=5, rows=2, act_bits=8, k_max=16, n_max=16),
    vector_lanes=1,
    attention_lanes=4,
    memory_width=32,
    hidden_max=16,
    ffn_max=16,
    heads_max=1,
    kv_heads_max=1,
    head_size_max=2,
    context_max=4,
    vocabulary_max=16,
)


def _order(logit: Value) -> Value:
    """A signed integer that grows with a logit."""
    magnitude = logit[:-1]
    return Mux(logit[-1], -magnitude, magnitude)


def order(places_count: int) -> Bench:
    """Follow one logit, any one, by the number of those that go before it."""
    # The queue is the same for any number of places; fewer make the proof short.
    with patch("trilith.hw.token.topk.K_MAX", places_count):
        dut = TopK(SMALLEST)
        bench = Bench(dut, visible=False)
    m, inside = bench.m, bench.inside
    logits, answers = dut.logits, dut.answers
    logit = Value.cast(logits.p.value)
    taken, given = logits.valid & logits.ready, answers.valid & answers.ready
    answering, left = answers.valid, inside["left"]
    bits = len(answers.p.token)
    # Accepted logits of the list, and answers that were given, up to all places.
    count = Signal(range(SMALLEST.vocabulary_max + 1), name="count")
    gone, asked = Signal(range(places_count + 1), name="gone"), Signal.like(dut.k, name="asked")
    last_given = given & (gone + 1 == asked)
    with m.If(taken):
        m.d.sync += count.eq(count + 1)
        with m.If(logits.p.last):
            m.d.sync += [asked.eq(dut.k), gone.eq(0)]
    with m.If(given):
        m.d.sync += gone.eq(gone + 1)
    with m.If(last_given):
        m.d.sync += count.eq(0)
    bench.assume("canonical", (logit[15:23] != 0) | (logit == 0))
    bench.assume("tokens", ~taken | (count < SMALLEST.vocabulary_max))
    most = Mux(count < places_count, count + 1, places_count)
    bench.assume("k", ~(taken & logits.p.last) | ((dut.k >= 1) & (dut.k <= most)))
    # The followed logit: its token, and how many accepted logits go before it.
    pick = bench.input("pick")
    follows, followed = Signal(name="follows"), Signal(24, name="followed", reset_less=True)
    token = Signal(bits, name="followed_token", reset_less=True)
    rank = Signal(range(SMALLEST.vocabulary_max + 1), name="rank")
    places = [Value.cast(inside[f"place{index}"]) for index in range(places_count)]
    keys = [one[:24] for one in places]
    tokens, used = [one[24:-1] for one in places], [one[-1] for one in places]
    at_least = [
        inside_used & (_of_key(key) >= _order(logit).as_signed())
        for inside_used, key in zip(used, keys, strict=True)
    ]
    before = sum(at_least)
    with m.If(taken & pick & ~follows & (before < places_count)):
        m.d.sync += [follows.eq(1), followed.eq(logit), token.eq(count), rank.eq(before)]
    with m.Elif(follows & taken):
        goes_first = _order(logit).as_signed() > _order(followed).as_signed()
        m.d.sync += rank.eq(rank + goes_first)
        with m.If(goes_first & (rank == places_count - 1)):
            m.d.sync += follows.eq(0)
    with m.If(last_given):
        m.d.sync += follows.eq(0)
    # Answers.
    bench.claim("accepts", logits.ready == ~answering)
    here = follows & answering & (rank == gone)
    bench.claim("token", ~here | (answers.p.token == token))
    bench.claim("logit", ~here | (Value.cast(answers.p.logit) == followed))
    bench.claim("last", ~answering | (answers.p.last == (gone + 1 == asked)))
    bench.stays("answers", answers)
    bench.cover("second", here & (gone == 1) & given)
    bench.reach = 6
    # Invariants: the places are in order, and the followed logit is in its own.
    bench.claim("left", ~answering | ((left == asked - gone) & (gone < asked)))
    bench.claim("asked", ~answering | ((asked <= count) & (asked <= places_count)))
    bench.claim("count", (count <= SMALLEST.vocabulary_max) & (answering <= (count != 0)))
    bench.claim("number", inside["token"] == Mux(answering, 0, count[:bits]))
    shift = Mux(answering, gone, 0)
    for index in range(places_count):
        bench.claim(
            f"used{index}", used[index] == (index + shift < count) & (index + shift < places_count)
        )
        if index:
            first, second = _of_key(keys[index - 1]), _of_key(keys[index])
            in_order = (first > second) | ((first == second) & (tokens[index - 1] < tokens[index]))
            bench.claim(f"order{index}", ~used[index] | in_order)
        bench.claim(f"zero{index}", ~used[index] | (keys[index] != 2**23 - 1))
        bench.claim(f"older{index}", answering | ~used[index] | (tokens[index] < count))
    waits = follows & (rank >= shift)
    at = (rank - shift)[: places_count.bit_length() - 1]
    found = Array(places)[at]
    bench.claim("rank", ~follows | ((rank < places_count) & (rank < count)))
    bench.claim("place", ~waits | (found == Cat(_key(followed), token, 1)))
    bench.claim("followed", ~follows | (followed[15:23] != 0) | (followed == 0))
    return bench


def _key(logit: Value) -> Value:
    """The bits of a place for a logit: they grow with it, as an unsigned number."""
    return Cat(logit[:-1] ^ logit[-1].replicate(len(logit) - 1), ~logit[-1])


def _of_key(key: Value) -> Value:
    """The signed integer of a key that grows with its logit."""
    negative = ~key[-1]
    magnitude = key[:-1] ^ negative.replicate(len(key) - 1)
    return Mux(negative, -magnitude, magnitude).as_signed()


THEOREMS = [
    Theorem(
        name="largest logits: order",
        file=_FILE,
        statement="Each logit, whichever it is, is answered with its token if fewer than k others "
        "go before it: larger ones, and equal ones of lower tokens. Their number is the place of "
        "the answer. There are k answers, the last one with `last`. An answer stays until it "
        "is taken.",
        assumptions=(
            "A list has at most `vocabulary_max` logits, and k is from 1 to their number and to "
            "that of the places.",
            "A logit of zero is +0.",
            "The unit has fewer places than the 32 of the core, so that the proof stays short.",
        ),
        cases={
            f"{count} places": Case(
                build=lambda count=count: order(count), depth=1, faults=40, quick=count == 4
            )
            for count in (4, 8)
        },
    ),
]

"""The largest logits."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import K_MAX, TokenConfig, check_core_config
from .element import ELEMENT
from .scores import logit_shape
from .tree import greater

__all__ = ["TopK", "answer_shape"]


def answer_shape(config: TokenConfig) -> data.StructLayout:
    """Layout of an answer.

    Fields
    ------
    token : number of the token
    logit : its logit, an element
    last : the answer is the last one of its list
    """
    return data.StructLayout({"token": range(config.vocabulary_max), "logit": ELEMENT, "last": 1})


class TopK(wiring.Component):
    """Keeps the largest logits in order: the largest first, equal ones by the lowest token.

    The golden function is the order of ``numpy.argsort(-logits, kind="stable")``, cut to k. Each of
    ``K_MAX`` places holds a token and its logit. A new logit goes in front of the first smaller
    one, and pushes it and all that follow one place on. The last place then drops its own.

    A logit that is accepted in cycle 0 is in its place in cycle 1. Behind the last logit the first
    place is the answer. Each answer that is taken moves all places one forward.

    Latency: 1 cycle from the last logit to the first answer. Throughput: one logit per cycle, then
    one answer per cycle. A list of n logits takes n + k cycles, and the next list follows at once.

    Example: the logits 1, 3, 3 and −2 come in cycles 0 to 3, and k is 2. Cycle 4 offers token 1
    with 3, and cycle 5 token 2 with 3 and ``last``. The next logit is accepted in cycle 6.

    Corner cases:

    - ``K_MAX`` places are filled whatever k is. Logits beyond them are forgotten.
    - The first of equal logits stays in front, because only a larger one displaces it.
    - Logits are not accepted while answers are given, and answers wait until they are taken.
    - Answers beyond the number of logits are undefined: k must not be above it.
    - A reset empties all places, and drops the answers that are left.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    k : In(range(K_MAX + 1)); answers to give, from 1 to ``K_MAX`` and at most one for each logit;
        sampled with the last logit
    logits : In(stream of ``logit_shape``); of the tokens from 0 on; ``last`` ends them; ready
        unless answers are given
    answers : Out(stream of ``answer_shape``); depends on registers alone
    busy : Out(1); logits have come, and not all answers are given
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "k": In(range(K_MAX + 1)),
                "logits": In(stream.Signature(logit_shape())),
                "answers": Out(stream.Signature(answer_shape(config))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        logit = Value.cast(self.logits.p.value)
        negative = logit[-1]
        # A number that grows with the logit, so that places compare without a sign: the bits of a
        # negative logit are inverted, and the inverted sign stands on top.
        key = Cat(logit[:-1] ^ negative.replicate(len(logit) - 1), ~negative)
        token = Signal(range(self._config.vocabulary_max))
        place = data.StructLayout({"key": len(key), "token": len(token), "used": 1})
        places = [Signal(place, name=f"place{index}") for index in range(K_MAX)]
        answering, left = Signal(), Signal.like(self.k)
        taken = self.logits.valid & self.logits.ready
        first = places[0]
        given = self.answers.valid & self.answers.ready
        m.d.comb += [
            self.logits.ready.eq(~answering),
            self.answers.valid.eq(answering),
            self.busy.eq(places[0].used),
            self.answers.p.token.eq(first.token),
            Value.cast(self.answers.p.logit).eq(
                Cat(first.key[:-1] ^ (~first.key[-1]).replicate(len(key) - 1), ~first.key[-1])
            ),
            self.answers.p.last.eq(left == 1),
        ]
        # Places are in order, so that all behind the first smaller one are smaller too.
        new = Cat(key, token, 1)
        before_larger = None
        for index, one in enumerate(places):
            larger = Signal(name=f"larger{index}")
            m.d.comb += larger.eq(~one.used | greater(key, one.key))
            with m.If(taken & larger):
                if before_larger is None:
                    m.d.sync += one.eq(new)
                else:
                    m.d.sync += one.eq(Mux(before_larger, Value.cast(places[index - 1]), new))
            with m.Elif(given):
                behind = Value.cast(places[index + 1]) if index < K_MAX - 1 else 0
                m.d.sync += one.eq(behind)
            before_larger = larger
        with m.If(taken):
            m.d.sync += token.eq(token + 1)
            with m.If(self.logits.p.last):
                m.d.sync += [answering.eq(1), left.eq(self.k), token.eq(0)]
        with m.If(given):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 1):
                m.d.sync += answering.eq(0)
                m.d.sync += [one.used.eq(0) for one in places]
        return m

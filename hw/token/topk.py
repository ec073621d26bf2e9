"""The largest logits."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .element import ELEMENT
from .scores import score_shape

__all__ = ["K_MAX", "TopK", "answer_shape"]

#: Most logits that are kept.
K_MAX = 32


def answer_shape(config: TokenConfig) -> data.StructLayout:
    """Layout of an answer: the token, its logit, and whether it is the last of its list."""
    return data.StructLayout({"token": range(config.vocabulary_max), "logit": ELEMENT, "last": 1})


class TopK(wiring.Component):
    """Keeps the largest logits in order: the largest first, equal ones by the lowest token.

    Each of ``K_MAX`` places holds a token and its logit. A new logit goes in front of the first
    smaller one, and pushes it and all that follow one place on.

    Throughput: one logit per cycle; then one answer per cycle.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    k : In(range(K_MAX + 1)); answers to give, 1 or more
    logits : In(stream of ``score_shape``); of the tokens from 0 on; ``last`` ends them
    answers : Out(stream of ``answer_shape``)
    busy : Out(1); logits have come, and not all answers are given
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "k": In(range(K_MAX + 1)),
                "logits": In(stream.Signature(score_shape(config))),
                "answers": Out(stream.Signature(answer_shape(config))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        logit = Value.cast(self.logits.p.value)
        negative = logit[-1]
        # A number that grows with the logit, so that places compare without a sign.
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
        new = Cat(key, token, 1)
        before_larger = None
        for index, one in enumerate(places):
            larger = Signal(name=f"larger{index}")
            m.d.comb += larger.eq(~one.used | (key > one.key))
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

"""Single elements of words of several."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .element import ELEMENT
from .scaler import vector_word

__all__ = ["ElementUnpacker"]


class ElementUnpacker(wiring.Component):
    """Hands on the first elements of a request one by one, and drops the rest.

    Latency: 0. Throughput: one element per cycle.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    counts : In(stream of a number); elements of the next request, 1 or more; accepted when the
        words of the request before have ended
    words : In(stream of L ``elements`` and ``last``); ``last`` ends a request
    elements : Out(stream of an element)
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        words = data.StructLayout({"elements": vector_word(config), "last": 1})
        most = max(config.context_max, config.vocabulary_max)
        super().__init__(
            {
                "counts": In(stream.Signature(range(most + 1))),
                "words": In(stream.Signature(words)),
                "elements": Out(stream.Signature(ELEMENT)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._config.vector_lanes
        left, lane = Signal.like(self.counts.p), Signal(range(lanes))
        active = Signal()
        word = Value.cast(self.words.p.elements)
        word_end = (lane == lanes - 1) | (left <= 1)
        step = Signal()
        m.d.comb += [
            self.counts.ready.eq(~active),
            self.elements.valid.eq(active & (left != 0) & self.words.valid),
            Value.cast(self.elements.p).eq(word.word_select(lane, ELEMENT.size)),
            step.eq(active & self.words.valid & (self.elements.ready | (left == 0))),
            self.words.ready.eq(step & word_end),
        ]
        with m.If(step):
            m.d.sync += [
                lane.eq(Mux(word_end, 0, lane + 1)),
                left.eq(Mux(left == 0, 0, left - 1)),
            ]
            with m.If(word_end & self.words.p.last):
                m.d.sync += active.eq(0)
        with m.If(self.counts.valid & self.counts.ready):
            m.d.sync += [active.eq(1), left.eq(self.counts.p)]
        return m

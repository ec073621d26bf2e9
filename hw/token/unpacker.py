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

    Scales lie in whole words of the memory. A request for them therefore brings elements behind the
    last one that is wanted.

    Latency: 0 cycles from a word to its first element, 1 from a count. Throughput: one element per
    cycle; words that are dropped take a cycle each. The next count is accepted in the cycle after
    the last word, so that one cycle between two requests has no element.

    Example: 6 elements of a request of 4 words, with L = 4. The count is accepted in cycle 0. The
    elements leave in cycles 1 to 6. Words 0 and 1 are taken in cycles 4 and 6, and words 2 and 3
    are dropped in cycles 7 and 8. Cycle 9 accepts the next count.

    Corner cases:

    - A word is taken together with its last wanted element. Its other elements are dropped.
    - An element that is not taken holds the word. Words that are dropped need no ready.
    - A request with fewer elements than the count ends with its last word, and gives fewer.
    - A reset drops the count. The next word then belongs to the next count.

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
    words : In(stream of L ``elements`` and ``last``); ``last`` ends a request; ready depends on
        the valid of the word and on the ready of ``elements``
    elements : Out(stream of an element); depends on the word of the same cycle
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
        # Wanted elements that are left; 0 while the rest of a request is dropped.
        left, lane = Signal.like(self.counts.p), Signal(range(lanes))
        active = Signal()
        word = Value.cast(self.words.p.elements)
        # The word is done behind its last element, behind the last wanted one, or if it is dropped.
        word_end = (lane == lanes - 1) | (left <= 1)
        step = Signal()
        m.d.comb += [
            self.counts.ready.eq(~active),
            self.elements.valid.eq(active & (left != 0) & self.words.valid),
            Value.cast(self.elements.p).eq(word.word_select(lane, ELEMENT.size)),
            # A step hands on an element, or drops a word when none is left.
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

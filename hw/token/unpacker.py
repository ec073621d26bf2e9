"""Scales of rows, from words of elements."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .element import ELEMENT
from .router import element_words
from .scores import segment_elements

__all__ = ["ScaleUnpacker", "scale_count", "scale_pairs"]


def scale_count(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``ScaleUnpacker``.

    Fields
    ------
    single : a scale for each row, of the head; otherwise a key's and a value's for each position
    rows : rows or positions, 1 or more
    """
    most = max(config.context_max, config.vocabulary_max)
    return data.StructLayout({"single": 1, "rows": range(most + 1)})


def scale_pairs(config: TokenConfig) -> data.StructLayout:
    """Layout of the scales of a chunk.

    Fields
    ------
    keys : scale of the key in each segment; a row of the head has only the first one
    values : scale of the value in each segment
    """
    elements = segment_elements(config)
    return data.StructLayout({"keys": elements, "values": elements})


class ScaleUnpacker(wiring.Component):
    """Hands on the scales of a request chunk by chunk, and drops the rest.

    Memory has the scale of a position's key, then that of its value. A chunk of G segments has the
    scales of G positions, which are 2 · G elements. A row of the head has one element.

    Scales lie in whole words of the memory. A request for them therefore brings elements behind the
    last one that is wanted. Segments behind the last position get such elements.

    Latency: 0 cycles from a word to its first scales, 1 from a command. Throughput: the scales of a
    chunk per cycle if they fit a word of L elements; otherwise they take 2 · G / L words, each with
    a cycle, and stay in the last one until they are taken. Words that are dropped take a cycle
    each. The next command is accepted in the cycle after the last word, so that one cycle between
    two requests has no scales.

    Example: L = 4 and one segment. Three positions are 6 elements, in a request of 4 words. The
    command is accepted in cycle 0, and pairs leave in cycles 1 to 3. Words 0 and 1 are taken in
    cycles 2 and 3, and words 2 and 3 are dropped in cycles 4 and 5. Cycle 6 accepts the next one.

    Corner cases:

    - A word is taken together with its last wanted element. Its other elements are dropped.
    - Scales that are not taken hold the word. Words that are dropped need no ready.
    - A request with fewer elements than the command asks for ends with its last word.
    - A reset drops the command. The next word then belongs to the next command.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    commands : In(stream of ``scale_count``); accepted when the words of the request before have
        ended
    words : In(stream of ``element_words``); ``last`` ends a request; ready depends on the ready of
        ``scales``
    scales : Out(stream of ``scale_pairs``); depends on the word of the same cycle
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "commands": In(stream.Signature(scale_count(config))),
                "words": In(stream.Signature(element_words(config))),
                "scales": Out(stream.Signature(scale_pairs(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Choose a part of the word, or collect words up to the last one of a chunk.

        ``place`` is the number of the scales in their word, or of the word in its scales.
        """
        m = Module()
        config = self._config
        lanes, segments = config.vector_lanes, config.segments
        pair = 2 * segments
        single, active = Signal(), Signal()
        # Rows that are left, or positions; without meaning while the rest of a request is dropped.
        left = Signal.like(self.commands.p.rows)
        place = Signal(range(max(lanes, pair)))
        word = Value.cast(self.words.p.elements)
        # Scales are complete in this word, and this word has none behind them.
        whole, word_end = Signal(), Signal()
        if pair <= lanes:
            per_word = lanes // pair
            part = place[: (per_word - 1).bit_length()]
            elements = word.word_select(part, pair * ELEMENT.size)
            m.d.comb += [whole.eq(1), word_end.eq(place == per_word - 1)]
        else:
            per_pair = pair // lanes
            before = Signal((per_pair - 1) * len(word), reset_less=True)
            elements = Cat(before, word)
            m.d.comb += [whole.eq(single | (place == per_pair - 1)), word_end.eq(1)]
            with m.If(self.words.valid & self.words.ready):
                m.d.sync += before.eq(elements[len(word) :])
        with m.If(single):
            m.d.comb += word_end.eq(place == lanes - 1)
        one = word.word_select(place[: (lanes - 1).bit_length()], ELEMENT.size)
        rows = Mux(single, 1, segments)
        # Registers say whether scales are left: all ready signals depend on them.
        some, last_rows = Signal(), Signal()
        given, ready, step = Signal(), Signal(), Signal()
        for segment in range(segments):
            key = elements.word_select(2 * segment, ELEMENT.size)
            m.d.comb += [
                Value.cast(self.scales.p.keys[segment]).eq(Mux(single, one, key)),
                Value.cast(self.scales.p.values[segment]).eq(
                    elements.word_select(2 * segment + 1, ELEMENT.size)
                ),
            ]
        m.d.comb += [
            self.commands.ready.eq(~active),
            self.scales.valid.eq(active & some & whole & self.words.valid),
            given.eq(self.scales.valid & self.scales.ready),
            # A step hands on scales, collects a word, or drops one.
            ready.eq(active & (self.scales.ready | ~some | ~whole)),
            step.eq(ready & self.words.valid),
            self.words.ready.eq(ready & (word_end | (whole & last_rows))),
        ]
        with m.If(step):
            m.d.sync += place.eq(place + 1)
        with m.If(given):
            m.d.sync += [left.eq(left - rows), some.eq(~last_rows), last_rows.eq(left <= 2 * rows)]
        # The place counts within a word, or within scales of several words.
        with m.If(given & self.words.ready):
            m.d.sync += place.eq(0)
        with m.If(self.words.valid & self.words.ready & self.words.p.last):
            m.d.sync += [active.eq(0), place.eq(0)]
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += [active.eq(1), place.eq(0)]
            command = self.commands.p
            m.d.sync += [
                single.eq(command.single),
                left.eq(command.rows),
                some.eq(command.rows != 0),
                last_rows.eq(command.rows <= Mux(command.single, 1, segments)),
            ]
        return m

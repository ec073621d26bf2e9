"""Words of elements on their way from a channel of the memory to the units."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..gearbox import Gearbox
from .config import TokenConfig, check_core_config
from .memory_port import read_word
from .scaler import vector_word

__all__ = ["ElementRouter", "element_words", "route_shape"]

#: Requests of a channel that may be under way.
_ROUTES = 8


def element_words(config: TokenConfig) -> data.StructLayout:
    """Layout of L elements of a request, and whether they end it."""
    return data.StructLayout({"elements": vector_word(config), "last": 1})


def route_shape(config: TokenConfig, outputs: int) -> data.StructLayout:
    """Layout of the route of a request.

    Fields
    ------
    output : number of the output
    skip : words of L elements that are dropped before the first one; less than those of one memory
        word
    count : words that are handed on after them; the rest is dropped
    """
    return data.StructLayout(
        {
            "output": range(max(2, outputs)),
            "skip": range(config.memory_width // 32),
            "count": config.address_bits,
        }
    )


class ElementRouter(wiring.Component):
    """Turns memory words into words of L elements, and hands each request's words to one output.

    An element is a float32 in memory, whose lowest 8 bits are ignored. The lowest element of a
    memory word comes first.

    A memory word that is accepted in cycle 0, with an empty gearbox, is there from cycle 1 on. Its
    words of L elements follow, one per cycle. A route that is accepted in cycle 0 is used from
    cycle 2 on.

    Latency: 1 cycle from a memory word to its first word. Throughput: one word of L elements per
    cycle, handed on or dropped.

    Example: a memory word of 512 bits has 16 elements, and L is 4. To get element 9, a route skips
    2 words and hands on 1. Words 0 and 1 are dropped, word 2 has elements 8 to 11, and word 3 is
    dropped.

    - Last word: ``last`` comes with the last word of a request. If a route drops this word, no
      output gets a ``last``.
    - Stalls: a word whose output is not ready delays all words behind it, those of other outputs
      too. Memory words without a route wait.
    - Reset: it drops routes and words.

    Parameters
    ----------
    config : configuration of the core
    outputs : 1 or more

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    routes : In(stream of ``route_shape``); one for each request, in order; up to 8 wait
    memory : In(stream of ``read_word``); ``last`` ends a request
    outputs : Out(streams of ``element_words``); depend on registers alone
    """

    def __init__(self, config: TokenConfig, *, outputs: int) -> None:
        self._config = config = check_core_config(config)
        self._outputs = outputs
        super().__init__(
            {
                "routes": In(stream.Signature(route_shape(config, outputs))),
                "memory": In(stream.Signature(read_word(config))),
                "outputs": Out(stream.Signature(element_words(config))).array(outputs),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Cut memory words by a gearbox, and count the words of each request."""
        m = Module()
        config = self._config
        lanes, word_bytes = config.vector_lanes, config.memory_width // 8
        m.submodules.gearbox = gearbox = Gearbox(in_bytes=word_bytes, out_bytes=4 * lanes)
        # Whether a word is dropped is known a cycle before: the path from there to the memory port
        # is long. For the first word of a request it stands in the queue.
        entry = data.StructLayout({"route": self.routes.p.shape(), "drop": 1})
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=entry.size, depth=_ROUTES)
        route, drop = (getattr(data.View(entry, queue.r_data), name) for name in ("route", "drop"))
        # Words of the request so far: those from skip to skip + count − 1 are handed on.
        done, following = Signal(config.address_bits), Signal(config.address_bits)
        first, later = Signal(init=1), Signal()
        dropped = Mux(first, drop, later)
        # A dropped word needs no output, so that no unit has to take it.
        taken, ready = Signal(), Signal()
        m.d.comb += [
            queue.w_data.eq(
                Cat(self.routes.p, (self.routes.p.skip != 0) | (self.routes.p.count == 0))
            ),
            queue.w_en.eq(self.routes.valid),
            self.routes.ready.eq(queue.w_rdy),
            gearbox.i.p.data.eq(self.memory.p.data),
            gearbox.i.p.count.eq(word_bytes // gearbox.unit_bytes),
            gearbox.i.p.last.eq(self.memory.p.last),
            gearbox.i.valid.eq(self.memory.valid),
            self.memory.ready.eq(gearbox.i.ready),
            following.eq(done + 1),
            taken.eq(gearbox.o.valid & queue.r_rdy & (dropped | ready)),
            gearbox.o.ready.eq(taken),
            queue.r_en.eq(taken & gearbox.o.p.last),
            ready.eq(Array(output.ready for output in self.outputs)[route.output]),
        ]
        with m.If(taken):
            m.d.sync += [
                done.eq(following),
                first.eq(gearbox.o.p.last),
                later.eq((following < route.skip) | (following >= route.skip + route.count)),
            ]
            with m.If(gearbox.o.p.last):
                m.d.sync += done.eq(0)
        # Element: the upper 24 bits of a float32, sign, exponent and 15 bits of its fraction.
        raw = Value.cast(gearbox.o.p.data)
        elements = Cat(raw[32 * lane + 8 : 32 * (lane + 1)] for lane in range(lanes))
        for index, output in enumerate(self.outputs):
            m.d.comb += [
                Value.cast(output.p.elements).eq(elements),
                output.p.last.eq(gearbox.o.p.last),
                output.valid.eq(gearbox.o.valid & queue.r_rdy & ~dropped & (route.output == index)),
            ]
        return m

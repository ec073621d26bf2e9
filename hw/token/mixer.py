"""Values of heads that share them, mixed by their weights."""

from amaranth.hdl import Array, Cat, EnableInserter, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .converter import IntegerConverter
from .dots import byte_row
from .element import ELEMENT
from .exponentials import score_chunks
from .multiplier import ElementMultiplier
from .pipeline import delay
from .scaler import vector_word
from .softmax import weight_shape
from .tree import tree, tree_latency

__all__ = ["Mixer", "mixer_command"]


def mixer_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``Mixer``.

    Fields
    ------
    vectors : heads that share the values, 1 to ``shared_max``
    chunks : chunks of a row of values, 1 or more; 1 for several segments with a row each
    rows : positions, 1 or more
    words : words of L elements of a head in the vector memory; at most those of a row
    """
    chunks = config.cache_chunks(config.head_size_max)
    return data.StructLayout(
        {
            "vectors": range(config.shared_max + 1),
            "chunks": range(chunks + 1),
            "rows": range(config.context_max + 1),
            "words": range(-(-config.head_size_max // config.vector_lanes) + 1),
        }
    )


class Mixer(wiring.Component):
    """Sums rows of int8 times int8 weights exactly, and scales the sums to elements.

    The golden function is the end of ``attend``: ``round(round(Σ weight · value) · factor)``. Sums
    are exact, so that the order of the positions does not matter.

    A chunk of rows stays for one cycle for each head. With G segments, each of its G rows has a
    weight of its own. The weights of a row of several chunks come with its first chunk, and are
    held for the others. A memory keeps one sum for each lane of each head. The first chunk of rows
    starts the sums, so that no cycle clears them.

    A chunk meets the weights of a head in cycle 0.

    ==========  ==================================================================================
    cycle       register
    ==========  ==================================================================================
    1           products of 16 bits, one for each lane; the sums so far are read
    2           sums in the memory
    ==========  ==================================================================================

    In cycle 0 the last chunk of the last rows meets the last head. Its words then follow. The sums
    of the segments are added, and t is log₂ G.

    ==========  ==================================================================================
    cycle       register
    ==========  ==================================================================================
    3           first sums are read, L of each segment
    4           the sums
    4 + t       sums of the segments
    6 + t       elements of the sums
    8 + t       first word at ``words``
    ==========  ==================================================================================

    Latency: 8 + t cycles from the last chunk to the first word. Throughput: a chunk of a head per
    cycle, which is ``attention_lanes`` products; then one word of L elements per cycle.

    Example: G = 1, 2 heads, rows of 1 chunk, 3 positions and 16 words for each head. The command is
    accepted in cycle 0. Chunks are used in cycles 1 to 6, and words leave in cycles 14 to 45. The
    next command is accepted in cycle 46.

    - Padding: bytes of a row beyond the head are 0, and so are the lanes of the last word that they
      fill.
    - Segments behind the last row: their weights are 0, so that their bytes do not matter.
    - Largest values: a sum has room for ``context_max`` products of −128 and 127.
    - Stalls: rows wait for their weights, and weights wait for their rows. While a word is not
      taken, the pipeline behind the sums keeps its state.
    - Reset: it drops the command. The next command starts the sums again.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    commands : In(stream of ``mixer_command``); one must be offered only after the last word of the
        one before: ready is also high for two cycles behind the last chunk
    weights : In(stream of ``weight_shape``); by chunk of rows, then by head
    rows : In(stream of ``byte_row``); by row, then by chunk; taken with the last head
    factors : In(``shared_max`` elements); of the heads; used from the last chunk to the last word
    ends : Out(1); the last chunk of a command is taken in this cycle
    words : Out(stream of ``elements`` and ``last``); by head; ``last`` ends the last head
    overflow : Out(1); an element of ``words`` was too large
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        words = data.StructLayout({"elements": vector_word(config), "last": 1})
        super().__init__(
            {
                "commands": In(stream.Signature(mixer_command(config))),
                "weights": In(stream.Signature(weight_shape(config))),
                "rows": In(stream.Signature(byte_row(config))),
                "factors": In(data.ArrayLayout(ELEMENT, config.shared_max)),
                "ends": Out(1),
                "words": Out(stream.Signature(words)),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Multiply and accumulate; ``_deliver`` scales the sums.

        A sum that is read in cycle 1 was written in cycle 1 of an earlier chunk. The read port has
        no register, so that even a row of one chunk and one head finds its sum.
        """
        m = Module()
        config = self._config
        lanes, heads = config.attention_lanes, config.shared_max
        # A product is at most 2¹⁴ − 2⁷ in magnitude, as weights are from −127 to 127. A lane has a
        # product of each chunk of rows.
        width = 15 + score_chunks(config).bit_length()
        chunks = config.cache_chunks(config.head_size_max)
        m.submodules.sums = sums = memory.Memory(
            shape=lanes * width, depth=heads << (chunks - 1).bit_length(), init=[]
        )
        write, read = sums.write_port(), sums.read_port(domain="comb")
        command = Signal(mixer_command(config), reset_less=True)
        free, active = Signal(init=1), Signal()
        delivering, delivered = Signal(), Signal()
        vector, chunk = Signal(range(heads)), Signal(range(chunks))
        first, taken = Signal(), Signal()
        # Weights of this row: a row of several chunks uses them again.
        held = Array(Signal(weight_shape(config).size, name=f"weight{i}") for i in range(heads))
        weight = Signal(weight_shape(config))
        # The first chunk of a row brings the weights, one for each head.
        fresh = chunk == 0
        vector_end, chunk_end = vector == command.vectors - 1, chunk == command.chunks - 1
        last_rows = command.rows <= config.segments
        m.d.comb += [
            self.commands.ready.eq(free),
            taken.eq(active & self.rows.valid & (self.weights.valid | ~fresh)),
            self.rows.ready.eq(taken & vector_end),
            self.weights.ready.eq(taken & fresh),
            Value.cast(weight).eq(Mux(fresh, Value.cast(self.weights.p), held[vector])),
            self.ends.eq(taken & vector_end & chunk_end & last_rows),
        ]
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += [command.eq(self.commands.p), active.eq(1), first.eq(1), free.eq(0)]
        with m.If(taken):
            m.d.sync += [
                held[vector].eq(Value.cast(weight)),
                vector.eq(Mux(vector_end, 0, vector + 1)),
            ]
            with m.If(vector_end):
                m.d.sync += chunk.eq(Mux(chunk_end, 0, chunk + 1))
                with m.If(chunk_end):
                    m.d.sync += [first.eq(0), command.rows.eq(command.rows - config.segments)]
                    m.d.sync += active.eq(~last_rows)

        # sum += weight · value, one cycle for the products and one for the sums. The first row has
        # nothing before it.
        # A head has a power of two of places, so that its number is the upper part of the address.
        address = Signal.like(write.addr)
        m.d.comb += address.eq(Cat(chunk, vector))
        issued = delay(m, Cat(taken, first, address), 1)
        old, new = Value.cast(read.data), []
        for lane in range(lanes):
            product = Signal(signed(16), reset_less=True)
            m.d.sync += product.eq(weight[lane // config.segment_bytes] * self.rows.p[lane])
            before = Mux(issued[1], 0, old.word_select(lane, width))
            new.append((before + product)[:width])
        out_address = Signal.like(read.addr)
        m.d.comb += [
            write.addr.eq(issued[2:]),
            write.data.eq(Cat(new)),
            write.en.eq(issued[0]),
            read.addr.eq(Mux(issued[0], issued[2:], out_address)),
        ]
        # The last sum is in the memory two cycles after its chunk.
        ended = delay(m, self.ends, 2)
        with m.If(ended):
            m.d.sync += delivering.eq(1)
        with m.Elif(delivered):
            m.d.sync += [delivering.eq(0), free.eq(1)]
        m.d.comb += delivered.eq(self._deliver(m, command, delivering, old, width, out_address))
        return m

    def _deliver(
        self,
        m: Module,
        command: data.View,
        delivering: Signal,
        sums: Value,
        width: int,
        address: Signal,
    ) -> Value:
        """Scale the sums of one head after the other, a word per cycle.

        A segment of sums has ``segment_bytes / L`` words, and the rest of a head's last chunk is
        left out. Words of several segments are added.

        Parameters
        ----------
        m : module that gets the logic
        command : the running command
        delivering : sums are complete, and not all words are taken
        sums : chunk of sums at ``address``, in the same cycle
        width : bits of a sum
        address : driven here, with the chunk that is read

        Returns
        -------
        Whether the last word leaves.
        """
        config = self._config
        lanes = config.vector_lanes
        per_chunk = config.segment_bytes // lanes
        chunks = config.cache_chunks(config.head_size_max)
        pipeline = Module()
        advance, issuing, done = Signal(), Signal(), Signal()
        m.submodules.pipeline = EnableInserter(advance)(pipeline)
        vector, word = Signal(range(config.shared_max)), Signal.like(command.words)
        piece, chunk = Signal(range(per_chunk)), Signal(range(chunks))
        word_end, vector_end = word == command.words - 1, vector == command.vectors - 1
        m.d.comb += [issuing.eq(delivering & ~done), address.eq(Cat(chunk, vector))]
        with m.If(issuing & advance):
            m.d.sync += [word.eq(word + 1), piece.eq(piece + 1)]
            with m.If(piece == per_chunk - 1):
                m.d.sync += [piece.eq(0), chunk.eq(chunk + 1)]
            with m.If(word_end):
                m.d.sync += [word.eq(0), piece.eq(0), chunk.eq(0), vector.eq(vector + 1)]
                with m.If(vector_end):
                    m.d.sync += [vector.eq(0), done.eq(1)]
        # A register behind the choice of a word keeps it out of the converter's path.
        size = config.segment_bytes * width
        segments = [sums.word_select(index, size) for index in range(config.segments)]
        parts = [
            delay(pipeline, part.word_select(piece, lanes * width), 1, reset_less=True)
            for part in segments
        ]
        out = self._scale(m, pipeline, parts, vector, Cat(issuing, word_end & vector_end))
        last = self.words.valid & self.words.p.last & self.words.ready
        m.d.comb += [
            self.words.valid.eq(out[0]),
            self.words.p.last.eq(out[1]),
            advance.eq(self.words.ready | ~out[0]),
        ]
        with m.If(last):
            m.d.sync += done.eq(0)
        return last

    def _scale(
        self, m: Module, pipeline: Module, parts: list[Value], vector: Value, flags: Value
    ) -> Value:
        """Add the segments of a word of sums, and scale it to elements.

        Parameters
        ----------
        m : module that gets the logic
        pipeline : module whose registers stop while a word is not taken
        parts : L sums of each segment, one cycle after ``vector`` and ``flags``
        vector : number of the head
        flags : whether there is a word, and whether it is the last one

        Returns
        -------
        ``flags`` in the cycle of the elements
        """
        config = self._config
        lanes, width = config.vector_lanes, len(parts[0]) // config.vector_lanes
        factors = Array(Value.cast(self.factors[i]) for i in range(config.shared_max))
        cycles = 1 + tree_latency(config.segments) + IntegerConverter.LATENCY
        factor = delay(pipeline, factors[vector], cycles, reset_less=True)
        out = delay(pipeline, flags, cycles + ElementMultiplier.LATENCY)
        overflows = []
        for lane in range(lanes):
            sums = [part.word_select(lane, width).as_signed() for part in parts]
            total = tree(pipeline, sums, lambda a, b: a + b)
            pipeline.submodules += [
                converter := IntegerConverter(width=Shape.cast(total.shape()).width),
                product := ElementMultiplier(),
            ]
            m.d.comb += [
                converter.integer.eq(total),
                product.a.eq(converter.element),
                Value.cast(product.b).eq(factor),
                self.words.p.elements[lane].eq(product.product),
            ]
            overflows.append(product.overflow)
        m.d.comb += self.overflow.eq(out[0] & Cat(overflows).any())
        return out

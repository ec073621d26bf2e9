"""Dot products of int8 vectors: scores of attention, and logits."""

from amaranth.hdl import Array, Cat, EnableInserter, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .pipeline import delay
from .tree import tree, tree_latency

__all__ = ["DotUnit", "byte_row", "dot_command", "dot_sum", "query_piece", "query_words"]


def byte_row(config: TokenConfig) -> data.ArrayLayout:
    """Layout of a chunk of rows: a signed byte for each attention lane, the first one lowest.

    A chunk has a row of the cache in each of its ``TokenConfig.segments``, the lowest position
    first. With one segment it is a part of a row. Rows of the head fill all segments in turn.
    """
    return data.ArrayLayout(signed(8), config.attention_lanes)


def query_piece(config: TokenConfig) -> data.ArrayLayout:
    """Layout of a piece of a query: a signed byte for each lane of a segment."""
    return data.ArrayLayout(signed(8), config.segment_bytes)


def query_words(config: TokenConfig) -> int:
    """Words of a token in the query buffer: chunks of all heads, or of the vector before the head.

    Both are never in the buffer at the same time. Example: 4 heads of 64 elements and a vector of
    256 elements take 4 words each, with 64 lanes and a memory of 512 bits.
    """
    heads = config.heads_max * config.cache_chunks(config.head_size_max)
    return max(heads, config.row_chunks(config.hidden_max))


def dot_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``DotUnit``.

    Fields
    ------
    head : rows of the head; otherwise rows of the cache, one in each segment
    base : first word of the first query in the buffer; the next query begins ``chunks`` words later
    vectors : queries that share each row, 1 to ``shared_max``
    chunks : chunks of a query and of a row, 1 or more; 1 for several segments with a row each
    rows : rows, 1 or more: positions of the cache, or tokens of the vocabulary
    """
    words = query_words(config)
    return data.StructLayout(
        {
            "head": 1,
            "base": range(words * config.tokens),
            "vectors": range(config.shared_max + 1),
            "chunks": range(words + 1),
            "rows": range(max(config.context_max, config.vocabulary_max) + 1),
        }
    )


def dot_sum(config: TokenConfig) -> data.StructLayout:
    """Layout of the dot products of a query with the rows of a chunk.

    Fields
    ------
    values : the integers, one for each segment; rows of the head have only the first one
    others : segments behind the first one whose integer counts; the rest has no row
    vector : number of the query among those that share the rows
    row_end : the last query of these rows
    last : the last dot products of the command
    """
    # K products of two bytes reach K · 2¹⁴: 15 bits with the sign, log₂ K, and one to spare for the
    # product of −128 and −128, which is 2¹⁴ itself.
    longest = max(config.head_size_max, config.hidden_max)
    width = 15 + (longest - 1).bit_length() + 1
    return data.StructLayout(
        {
            "values": data.ArrayLayout(signed(width), config.segments),
            "others": config.segments - 1,
            "vector": range(config.shared_max),
            "row_end": 1,
            "last": 1,
        }
    )


class DotUnit(wiring.Component):
    """Multiplies rows of int8 with the queries in its buffer, exactly.

    The golden functions are the integer products ``q @ k`` of ``attend``, and those of the head in
    ``CoreModel.forward``. Sums are exact, so that the number of lanes does not change them.

    Rows come in chunks of A = ``attention_lanes`` bytes. Each chunk stays for one cycle for each
    query that shares it, so that it is read once. Dot products come by chunk, then by query.

    The lanes are G segments. With G > 1 a chunk of the cache has a row in each segment, and gives G
    dot products of a query at once. A row of the head, and every row if G is 1, takes whole chunks,
    and gives one dot product.

    A chunk of rows meets a chunk of a query in cycle 0. T is ``tree_latency(A)``.

    ==========  ==================================================================================
    cycle       register
    ==========  ==================================================================================
    1           the query's chunk at the read port of the buffer, and the rows' chunk beside it
    2           products of 16 bits, one for each lane
    2 + T       sum of the products; with G > 1 also the sums of the segments, which waited
    3 + T       ``partial`` sum of the query; after the last chunk also ``sums``
    ==========  ==================================================================================

    Latency: ``latency`` = 3 + T cycles from the last chunk of a query to its dot products.
    Throughput: a chunk of a query per cycle, which is A products. A chunk takes ``vectors`` cycles.
    The first chunk of a command is used at the earliest one cycle after the command is accepted. At
    least one cycle lies between two commands.

    Example: 64 lanes have T = 6. A command with 2 queries, 2 chunks and 3 rows is accepted in cycle
    0. Chunks are used in cycles 1 to 12. The dot products of the first row leave in cycles 12 and
    13, and those of the last row in cycles 20 and 21.

    - Last chunk: rows and queries are padded with zeros, which add nothing. Segments behind the
      last row may have any bytes: ``others`` leaves them out.
    - Queries: a head's piece is copied to all segments. Pieces of the vector in front of the head
      fill them in turn. Segments behind its last piece keep old bytes, and meet zeros of the rows.
    - Largest values: an integer holds the product of two vectors whose bytes are all −128.
    - Stalls: while dot products are not taken, the pipeline and the read port keep their state, and
      no chunk is taken. If no chunk comes, dot products under way still leave.
    - Buffer: queries are written at any time and without a wait. Those of a running command must
      not change.
    - Reset: it drops the command and all dot products under way. The buffer keeps its words.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    queries : In(stream of ``query_piece``); fills the buffer from its first word on; always ready
    clear : In(1); the next of ``queries`` is the first piece; one that comes in the cycle of
        ``clear`` still follows the pieces before
    head : In(1); used with ``clear``: the pieces are those of the vector in front of the head
    commands : In(stream of ``dot_command``); accepted after the last chunk of the one before
    rows : In(stream of ``byte_row``); by row, then by chunk; taken with the last query that shares
        the chunk; ready depends on the valid of ``rows`` and the ready of ``sums``
    ends : Out(1); the last chunk of a command is taken in this cycle
    sums : Out(stream of ``dot_sum``); by chunk, then by query; depends on registers alone
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "queries": In(stream.Signature(query_piece(config))),
                "clear": In(1),
                "head": In(1),
                "commands": In(stream.Signature(dot_command(config))),
                "rows": In(stream.Signature(byte_row(config))),
                "ends": Out(1),
                "sums": Out(stream.Signature(dot_sum(config))),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last chunk of a row to its first dot product."""
        return 3 + tree_latency(self._config.attention_lanes)

    def elaborate(self, platform: object) -> Module:
        """Walk over the rows and the queries; ``_accumulate`` has the arithmetic.

        ``address`` is the place of the chunk that is read, and ``first_address`` that of the first
        query's chunk with the same number.
        """
        m = Module()
        config = self._config
        read = self._buffer(m)
        pipeline = Module()
        advance = Signal()
        m.submodules.pipeline = EnableInserter(advance)(pipeline)
        command = Signal(dot_command(config), reset_less=True)
        active = Signal()
        vector, chunk = Signal(range(config.shared_max)), Signal.like(command.chunks)
        address, first_address = Signal.like(read.addr), Signal.like(read.addr)
        taken, vector_end, chunk_end = Signal(), Signal(), Signal()
        # Rows of a chunk: one of the head, or one in each segment.
        rows, row_end = Signal.like(command.rows), Signal()
        m.d.comb += [
            self.commands.ready.eq(~active),
            taken.eq(active & self.rows.valid),
            vector_end.eq(vector == command.vectors - 1),
            chunk_end.eq(chunk == command.chunks - 1),
            rows.eq(Mux(command.head, 1, config.segments)),
            row_end.eq(vector_end & chunk_end & (command.rows <= rows)),
            self.rows.ready.eq(taken & advance & vector_end),
            self.ends.eq(taken & advance & row_end),
            read.addr.eq(address),
            read.en.eq(advance),
        ]
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += [
                command.eq(self.commands.p),
                active.eq(1),
                address.eq(self.commands.p.base),
                first_address.eq(self.commands.p.base),
            ]
        # address = base + vector · chunks + chunk, by additions alone. Queries follow one another
        # in the buffer, each with all its chunks.
        with m.If(taken & advance):
            m.d.sync += [vector.eq(vector + 1), address.eq(address + command.chunks)]
            with m.If(vector_end):
                m.d.sync += [
                    vector.eq(0),
                    chunk.eq(chunk + 1),
                    address.eq(first_address + 1),
                    first_address.eq(first_address + 1),
                ]
                with m.If(chunk_end):
                    m.d.sync += [
                        chunk.eq(0),
                        command.rows.eq(command.rows - rows),
                        active.eq(~row_end),
                        address.eq(command.base),
                        first_address.eq(command.base),
                    ]
        others = Cat(
            ~command.head & (command.rows > segment) for segment in range(1, config.segments)
        )
        # The flags travel beside the chunk. ``first`` starts the sum, and ``final`` ends it.
        flags = data.StructLayout(
            {
                "valid": 1, "head": 1, "first": 1, "final": 1, "row_end": 1, "last": 1,
                "others": len(others), "vector": len(vector),
            }
        )  # fmt: skip
        issued = Cat(
            taken, command.head, chunk == 0, chunk_end, vector_end, row_end, others, vector
        )
        self._accumulate(m, pipeline, advance, read.data, flags, issued)
        return m

    def _buffer(self, m: Module) -> memory.ReadPort:
        """Fill the query buffer; return its read port.

        Queries are always ready: the buffer has a place for each of them.
        """
        config = self._config
        segments = config.segments
        m.submodules.buffer = buffer = memory.Memory(
            shape=data.ArrayLayout(query_piece(config).size, segments),
            depth=query_words(config) * config.tokens,
            init=[],
        )
        write = buffer.write_port(granularity=1)
        place, segment, head = Signal.like(write.addr), Signal(range(segments)), Signal()
        word_end = Signal()
        m.d.comb += [
            self.queries.ready.eq(1),
            word_end.eq(~head | (segment == segments - 1)),
            write.addr.eq(place),
            *(write.data[index].eq(self.queries.p.as_value()) for index in range(segments)),
            write.en.eq(
                Mux(head, 1 << segment, (1 << segments) - 1)
                & self.queries.valid.replicate(segments)
            ),
        ]
        with m.If(self.queries.valid):
            m.d.sync += [place.eq(place + word_end), segment.eq(Mux(word_end, 0, segment + 1))]
        with m.If(self.clear):
            m.d.sync += [place.eq(0), segment.eq(0), head.eq(self.head)]
        return buffer.read_port()

    def _accumulate(
        self,
        m: Module,
        pipeline: Module,
        advance: Signal,
        query: Value,
        flags: data.StructLayout,
        issued: Value,
    ) -> None:
        """Products, trees and sums; the pipeline stops while dot products are not taken.

        Parameters
        ----------
        m : module of the parts that do not stop
        pipeline : module whose registers keep their state without ``advance``
        advance : driven here: the dot products that are offered are taken, or there are none
        query : chunk of the query, one cycle after it is issued
        flags : layout of ``issued``
        issued : flags of the chunk that is issued
        """
        config = self._config
        lanes, segments = config.attention_lanes, config.segments
        query, row = Value.cast(query), delay(pipeline, self.rows.p, 1, reset_less=True)
        products = []
        for lane in range(lanes):
            product = Signal(signed(16), reset_less=True)
            pipeline.d.sync += product.eq(
                query.word_select(lane, 8).as_signed() * row.word_select(lane, 8).as_signed()
            )
            products.append(product)
        size = config.segment_bytes
        parts = [
            tree(pipeline, products[size * index : size * (index + 1)], _add)
            for index in range(segments)
        ]
        total = tree(pipeline, parts, _add)
        now = data.View(flags, delay(pipeline, issued, 2 + tree_latency(lanes)))
        out = self.sums.p
        # Each query of a row has a sum of its own, as the queries take turns at every chunk.
        shape = Shape.cast(out.values[0].shape())
        partial = Array(
            Signal(shape, name=f"partial{index}", reset_less=True)
            for index in range(config.shared_max)
        )
        value = Signal(shape)
        m.d.comb += value.eq(Mux(now.first, 0, partial[now.vector]) + total)
        with pipeline.If(now.valid):
            pipeline.d.sync += partial[now.vector].eq(value)
        pipeline.d.sync += [
            self.sums.valid.eq(now.valid & now.final),
            out.values[0].eq(value),
            out.others.eq(now.others),
            out.vector.eq(now.vector),
            out.row_end.eq(now.row_end),
            out.last.eq(now.last),
        ]
        if segments > 1:
            # Sums of the segments wait for the total, so that both kinds of rows take as long.
            later = [delay(pipeline, part, tree_latency(segments)) for part in parts]
            for index, part in enumerate(later):
                with pipeline.If(~now.head):
                    pipeline.d.sync += out.values[index].eq(part.as_signed())
        m.d.comb += advance.eq(self.sums.ready | ~self.sums.valid)


def _add(a: Value, b: Value) -> Value:
    """Sum of two values, a bit wider than they are."""
    return a + b

"""Dot products of int8 vectors: scores of attention, and logits."""

from amaranth.hdl import Array, Cat, EnableInserter, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .pipeline import delay
from .tree import tree, tree_latency

__all__ = ["DotUnit", "byte_row", "dot_command", "dot_sum"]


def byte_row(config: TokenConfig) -> data.ArrayLayout:
    """Layout of a chunk of a row: a signed byte for each attention lane, the first one lowest.

    The layout serves rows of keys, of values and of the head, and queries.
    """
    return data.ArrayLayout(signed(8), config.attention_lanes)


def query_words(config: TokenConfig) -> int:
    """Words of the query buffer: chunks of all heads, or of the vector in front of the head.

    Both are never in the buffer at the same time. Example: 4 heads of 64 elements and a vector of
    256 elements take 4 words each, with 64 lanes and a memory of 512 bits.
    """
    heads = config.heads_max * config.row_chunks(config.head_size_max)
    return max(heads, config.row_chunks(config.hidden_max))


def dot_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``DotUnit``.

    Fields
    ------
    base : first word of the first query in the buffer; the next query begins ``chunks`` words later
    vectors : queries that share each row, 1 to ``shared_max``
    chunks : chunks of a query and of a row, 1 or more
    rows : rows, 1 or more: positions of the cache, or tokens of the vocabulary
    """
    words = query_words(config)
    return data.StructLayout(
        {
            "base": range(words),
            "vectors": range(config.shared_max + 1),
            "chunks": range(words + 1),
            "rows": range(max(config.context_max, config.vocabulary_max) + 1),
        }
    )


def dot_sum(config: TokenConfig) -> data.StructLayout:
    """Layout of a dot product.

    Fields
    ------
    value : the integer
    vector : number of the query among those that share the row
    row_end : the last query of a row
    last : the last dot product of the command
    """
    # K products of two bytes reach K · 2¹⁴: 15 bits with the sign, log₂ K, and one to spare for the
    # product of −128 and −128, which is 2¹⁴ itself.
    longest = max(config.head_size_max, config.hidden_max)
    width = 15 + (longest - 1).bit_length() + 1
    return data.StructLayout(
        {"value": signed(width), "vector": range(config.shared_max), "row_end": 1, "last": 1}
    )


class DotUnit(wiring.Component):
    """Multiplies rows of int8 with the queries in its buffer, exactly.

    The golden functions are the integer products ``q @ k`` of ``attend``, and those of the head in
    ``CoreModel.forward``. Sums are exact, so that the number of lanes does not change them.

    A row comes in chunks of ``attention_lanes`` bytes. Each chunk stays for one cycle for each
    query that shares it, so that the row is read once. Dot products come by row, then by query.

    A chunk of a row meets a chunk of a query in cycle 0. T is ``tree_latency(attention_lanes)``.

    ==========  ==================================================================================
    cycle       register
    ==========  ==================================================================================
    1           the query's chunk at the read port of the buffer, and the row's chunk beside it
    2           products of 16 bits, one for each lane
    2 + T       sum of the products
    3 + T       ``partial`` sum of the query; after the last chunk also ``sums``
    ==========  ==================================================================================

    Latency: ``latency`` = 3 + T cycles from the last chunk of a query to its dot product.
    Throughput: a chunk of a query per cycle, which is ``attention_lanes`` products. A row takes
    ``vectors · chunks`` cycles. The first chunk of a command is used at the earliest one cycle
    after the command is accepted. At least one cycle lies between two commands.

    Example: 64 lanes have T = 6. A command with 2 queries, 2 chunks and 3 rows is accepted in cycle
    0. Chunks are used in cycles 1 to 12. The dot products of the first row leave in cycles 12 and
    13, and those of the last row in cycles 20 and 21.

    - Last chunk: rows and queries are padded with zeros to whole chunks, which add nothing.
    - Largest values: ``value`` holds the product of two vectors whose bytes are all −128.
    - Stalls: while a dot product is not taken, the pipeline and the read port keep their state, and
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
    queries : In(stream of ``byte_row``); fills the buffer from its first word on; always ready
    clear : In(1); the next of ``queries`` is the first word; one that comes in the cycle of
        ``clear`` still follows the words before
    commands : In(stream of ``dot_command``); accepted after the last chunk of the one before
    rows : In(stream of ``byte_row``); by row, then by chunk; taken with the last query that shares
        the chunk; ready depends on the valid of ``rows`` and the ready of ``sums``
    sums : Out(stream of ``dot_sum``); by row, then by query; depends on registers alone
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "queries": In(stream.Signature(byte_row(config))),
                "clear": In(1),
                "commands": In(stream.Signature(dot_command(config))),
                "rows": In(stream.Signature(byte_row(config))),
                "sums": Out(stream.Signature(dot_sum(config))),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last chunk of a row to its first dot product."""
        return 3 + tree_latency(self._config.attention_lanes)

    def elaborate(self, platform: object) -> Module:
        """Build the buffer and the walk over its queries; ``_accumulate`` has the arithmetic.

        ``address`` is the place of the chunk that is read, and ``first_address`` that of the first
        query's chunk with the same number.
        """
        m = Module()
        config = self._config
        m.submodules.buffer = buffer = memory.Memory(
            shape=byte_row(config).size, depth=query_words(config), init=[]
        )
        write, read = buffer.write_port(), buffer.read_port()
        pipeline = Module()
        advance = Signal()
        m.submodules.pipeline = EnableInserter(advance)(pipeline)
        m.d.comb += [
            self.queries.ready.eq(1),
            write.data.eq(self.queries.p),
            write.en.eq(self.queries.valid),
            read.en.eq(advance),
        ]
        # Queries are always ready: the buffer has a place for each of them.
        place = Signal.like(write.addr)
        m.d.comb += write.addr.eq(place)
        with m.If(self.queries.valid):
            m.d.sync += place.eq(place + 1)
        with m.If(self.clear):
            m.d.sync += place.eq(0)

        command = Signal(dot_command(config), reset_less=True)
        active = Signal()
        vector, chunk = Signal(range(config.shared_max)), Signal.like(command.chunks)
        address, first_address = Signal.like(read.addr), Signal.like(read.addr)
        taken, vector_end, chunk_end = Signal(), Signal(), Signal()
        m.d.comb += [
            self.commands.ready.eq(~active),
            taken.eq(active & self.rows.valid),
            vector_end.eq(vector == command.vectors - 1),
            chunk_end.eq(chunk == command.chunks - 1),
            self.rows.ready.eq(taken & advance & vector_end),
            read.addr.eq(address),
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
                        command.rows.eq(command.rows - 1),
                        active.eq(command.rows != 1),
                        address.eq(command.base),
                        first_address.eq(command.base),
                    ]
        # The flags travel beside the chunk. ``first`` starts the sum, and ``final`` ends it.
        flags = data.StructLayout(
            {"valid": 1, "first": 1, "final": 1, "row_end": 1, "last": 1, "vector": len(vector)}
        )
        issued = Cat(
            taken, chunk == 0, chunk_end, vector_end, vector_end & (command.rows == 1), vector
        )
        self._accumulate(m, pipeline, advance, read.data, flags, issued)
        return m

    def _accumulate(
        self,
        m: Module,
        pipeline: Module,
        advance: Signal,
        query: Value,
        flags: data.StructLayout,
        issued: Value,
    ) -> None:
        """Products, tree and sums; the pipeline stops while a dot product is not taken.

        Parameters
        ----------
        m : module of the parts that do not stop
        pipeline : module whose registers keep their state without ``advance``
        advance : driven here: the dot product that is offered is taken, or there is none
        query : chunk of the query, one cycle after it is issued
        flags : layout of ``issued``
        issued : flags of the chunk that is issued
        """
        lanes = self._config.attention_lanes
        row = delay(pipeline, self.rows.p, 1, reset_less=True)
        products = []
        for lane in range(lanes):
            product = Signal(signed(16), reset_less=True)
            pipeline.d.sync += product.eq(
                query.word_select(lane, 8).as_signed() * row.word_select(lane, 8).as_signed()
            )
            products.append(product)
        total = tree(pipeline, products, lambda a, b: a + b)
        now = data.View(flags, delay(pipeline, issued, 2 + tree_latency(lanes)))
        out = self.sums.p
        # Each query of a row has a sum of its own, as the queries take turns at every chunk.
        partial = Array(
            Signal(Shape.cast(out.value.shape()), name=f"partial{index}", reset_less=True)
            for index in range(self._config.shared_max)
        )
        value = Signal(Shape.cast(out.value.shape()))
        m.d.comb += value.eq(Mux(now.first, 0, partial[now.vector]) + total)
        with pipeline.If(now.valid):
            pipeline.d.sync += partial[now.vector].eq(value)
        pipeline.d.sync += [
            self.sums.valid.eq(now.valid & now.final),
            out.value.eq(value),
            out.vector.eq(now.vector),
            out.row_end.eq(now.row_end),
            out.last.eq(now.last),
        ]
        m.d.comb += advance.eq(self.sums.ready | ~self.sums.valid)

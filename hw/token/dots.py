"""Dot products of int8 vectors: scores of attention, and logits."""

from amaranth.hdl import Array, Cat, EnableInserter, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .pipeline import delay
from .tree import tree, tree_latency

__all__ = ["DotUnit", "byte_row", "dot_command", "dot_sum"]


def byte_row(config: TokenConfig) -> data.ArrayLayout:
    """Layout of a chunk of a row: a signed byte for each attention lane, the first one lowest."""
    return data.ArrayLayout(signed(8), config.attention_lanes)


def query_words(config: TokenConfig) -> int:
    """Words of the query buffer: chunks of all heads, or of the vector in front of the head."""
    heads = config.heads_max * config.row_chunks(config.head_size_max)
    return max(heads, config.row_chunks(config.hidden_max))


def dot_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``DotUnit``.

    Fields
    ------
    base : first word of the first query in the buffer
    vectors : queries that share each row, 1 or more
    chunks : chunks of a query and of a row
    rows : rows, 1 or more
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
    longest = max(config.head_size_max, config.hidden_max)
    width = 15 + (longest - 1).bit_length() + 1
    return data.StructLayout(
        {"value": signed(width), "vector": range(config.shared_max), "row_end": 1, "last": 1}
    )


class DotUnit(wiring.Component):
    """Multiplies rows of int8 with the queries in its buffer, exactly.

    Each chunk of a row stays for one cycle for each query that shares it, so that the row is read
    once. Dot products come by row, then by query.

    Latency: ``latency`` cycles from the last chunk of a row to its first dot product: one for the
    buffer, one for the products, one for each level of the tree, and one for the sum. Throughput: a
    chunk of a query per cycle, which is ``attention_lanes`` products.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    queries : In(stream of ``byte_row``); fills the buffer from its first word on
    clear : In(1); the next of ``queries`` is the first word
    commands : In(stream of ``dot_command``); accepted after the last chunk of the one before
    rows : In(stream of ``byte_row``); by row, then by chunk
    sums : Out(stream of ``dot_sum``)
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
        # Queries follow one another in the buffer, each with all its chunks.
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
        """Products, tree and sums; the pipeline stops while a dot product is not taken."""
        lanes = self._config.attention_lanes
        row = delay(pipeline, self.rows.p, 1)
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

"""Values of heads that share them, mixed by their weights."""

from amaranth.hdl import Array, Cat, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .converter import IntegerConverter
from .dots import byte_row
from .element import ELEMENT
from .multiplier import ElementMultiplier
from .pipeline import delay
from .scaler import vector_word

__all__ = ["Mixer", "mixer_command"]


def mixer_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``Mixer``.

    Fields
    ------
    vectors : heads that share the values, 1 or more
    chunks : chunks of a row of values
    rows : positions, 1 or more
    words : words of a head in the vector memory
    """
    chunks = config.row_chunks(config.head_size_max)
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

    The golden function is the end of ``CoreModel._mix``:
    ``round(round(Σ weight · value) · factor)``. A chunk of a row stays for one cycle for each head.

    Latency: 2 cycles from the last chunk to the last sum; then the sums leave one word per cycle, 5
    cycles later. Throughput: a chunk of a head per cycle, which is ``attention_lanes`` products.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    commands : In(stream of ``mixer_command``); accepted after the last word of the one before
    weights : In(stream of ``value`` and ``row_end``); by row, then by head
    rows : In(stream of ``byte_row``); by row, then by chunk
    factors : In(``shared_max`` elements); of the heads; used after the last weight
    words : Out(stream of ``elements`` and ``last``); by head; ``last`` ends the last head
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        weight = data.StructLayout({"value": signed(8), "row_end": 1})
        words = data.StructLayout({"elements": vector_word(config), "last": 1})
        super().__init__(
            {
                "commands": In(stream.Signature(mixer_command(config))),
                "weights": In(stream.Signature(weight)),
                "rows": In(stream.Signature(byte_row(config))),
                "factors": In(data.ArrayLayout(ELEMENT, config.shared_max)),
                "words": Out(stream.Signature(words)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Multiply and accumulate; ``_deliver`` scales the sums."""
        m = Module()
        config = self._config
        lanes, heads = config.attention_lanes, config.shared_max
        width = 15 + config.context_max.bit_length()
        chunks = config.row_chunks(config.head_size_max)
        m.submodules.sums = sums = memory.Memory(
            shape=lanes * width, depth=heads << (chunks - 1).bit_length() or 1, init=[]
        )
        write, read = sums.write_port(), sums.read_port(domain="comb")
        command = Signal(mixer_command(config), reset_less=True)
        active, delivering, delivered = Signal(), Signal(), Signal()
        vector, chunk = Signal(range(heads)), Signal(range(chunks))
        first, taken = Signal(), Signal()
        held = Array(Signal(signed(8), name=f"weight{i}") for i in range(heads))
        weight = Signal(signed(8))
        fresh = chunk == 0
        vector_end, chunk_end = vector == command.vectors - 1, chunk == command.chunks - 1
        m.d.comb += [
            self.commands.ready.eq(~active & ~delivering),
            taken.eq(active & self.rows.valid & (self.weights.valid | ~fresh)),
            self.rows.ready.eq(taken & vector_end),
            self.weights.ready.eq(taken & fresh),
            weight.eq(Mux(fresh, self.weights.p.value, held[vector])),
        ]
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += [command.eq(self.commands.p), active.eq(1), first.eq(1)]
        with m.If(taken):
            m.d.sync += [held[vector].eq(weight), vector.eq(Mux(vector_end, 0, vector + 1))]
            with m.If(vector_end):
                m.d.sync += chunk.eq(Mux(chunk_end, 0, chunk + 1))
                with m.If(chunk_end):
                    m.d.sync += [first.eq(0), command.rows.eq(command.rows - 1)]
                    with m.If(command.rows == 1):
                        m.d.sync += active.eq(0)

        # One cycle for the products, one for the sums, which the first row starts.
        address = Signal.like(write.addr)
        m.d.comb += address.eq(Cat(chunk, vector))
        issued = delay(m, Cat(taken, first, address), 1)
        old, new = Value.cast(read.data), []
        for lane in range(lanes):
            product = Signal(signed(16), reset_less=True)
            m.d.sync += product.eq(weight * self.rows.p[lane])
            before = Mux(issued[1], 0, old.word_select(lane, width))
            new.append((before + product)[:width])
        out_address = Signal.like(read.addr)
        m.d.comb += [
            write.addr.eq(issued[2:]),
            write.data.eq(Cat(new)),
            write.en.eq(issued[0]),
            read.addr.eq(Mux(issued[0], issued[2:], out_address)),
        ]
        ended = delay(m, taken & vector_end & chunk_end & (command.rows == 1), 2)
        with m.If(ended):
            m.d.sync += delivering.eq(1)
        with m.Elif(delivered):
            m.d.sync += delivering.eq(0)
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

        Returns
        -------
        Whether the last word leaves.
        """
        config = self._config
        lanes = config.vector_lanes
        per_chunk = max(1, config.attention_lanes // lanes)
        chunks = config.row_chunks(config.head_size_max)
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
        factors = Array(Value.cast(self.factors[i]) for i in range(config.shared_max))
        factor = delay(pipeline, factors[vector], 1 + IntegerConverter.LATENCY)
        integers = sums.word_select(piece, lanes * width)
        held = delay(pipeline, integers, 1)
        out = delay(
            pipeline,
            Cat(issuing, word_end & vector_end),
            1 + IntegerConverter.LATENCY + ElementMultiplier.LATENCY,
        )
        for lane in range(lanes):
            pipeline.submodules += [
                converter := IntegerConverter(width=width),
                product := ElementMultiplier(),
            ]
            m.d.comb += [
                converter.integer.eq(held.word_select(lane, width).as_signed()),
                product.a.eq(converter.element),
                Value.cast(product.b).eq(factor),
                self.words.p.elements[lane].eq(product.product),
            ]
        last = self.words.valid & self.words.p.last & self.words.ready
        m.d.comb += [
            self.words.valid.eq(out[0]),
            self.words.p.last.eq(out[1]),
            advance.eq(self.words.ready | ~out[0]),
        ]
        with m.If(last):
            m.d.sync += done.eq(0)
        return last

"""Integer results of a product, scaled to elements."""

from dataclasses import dataclass

from amaranth.hdl import Array, Cat, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..engine.results import results_shape
from ..gearbox import Gearbox
from .adder import ElementAdder
from .config import TokenConfig, check_core_config
from .converter import IntegerConverter
from .element import ELEMENT
from .multiplier import ElementMultiplier
from .pipeline import delay

__all__ = ["ResultScaler", "scaler_command", "vector_word"]


def vector_word(config: TokenConfig) -> data.ArrayLayout:
    """Layout of a word of the vector memory: an element for each lane, the first one lowest."""
    return data.ArrayLayout(ELEMENT, config.vector_lanes)


def scaler_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``ResultScaler``.

    Fields
    ------
    count : elements of the vector, 1 or more
    bytes : the integers come from ``bytes``, and not from ``results``
    groups : result groups of each output, 1 or more
    table : each scale comes from ``scales``; otherwise all are ``scale``
    scale : scale of the weights, an element
    """
    return data.StructLayout(
        {
            "count": range(max(config.work_max, config.hidden_max) + 1),
            "bytes": 1,
            "groups": range(config.engine.max_chunks + 1),
            "table": 1,
            "scale": ELEMENT,
        }
    )


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Integers in one stage of the lanes.

    Parameters
    ----------
    valid : there is a piece
    count : outputs in the piece; the lanes above have none
    index : number of the piece within its result beat
    first, final : the piece belongs to the first, or to the last, group of its outputs
    last : the piece ends the vector
    """

    valid: Value
    count: Value
    index: Value
    first: Value
    final: Value
    last: Value

    def after(self, m: Module, cycles: int) -> "_Piece":
        """Describe the same piece some cycles later."""
        flags = vars(self)
        later = delay(m, Cat(flags.values()), cycles)
        parts, start = {}, 0
        for name, value in flags.items():
            parts[name] = later[start : start + len(value)]
            start += len(value)
        return _Piece(**parts)


class ResultScaler(wiring.Component):
    """Scales the integer results of a product, and packs them into words of the vector memory.

    The golden function is that of ``CoreModel``: over the groups of scales, from 0 on,
    ``total = round(total + round(round(integer) · round(scale · factor)))``. A result beat of R
    rows takes ``ceil(R / L)`` pieces of L lanes. With more than one group it takes at least
    ``SPACING`` cycles, so that the sum of the group before is there.

    Latency: ``LATENCY`` = 8 cycles from the piece that completes a word to the word: 2 for the
    conversion and the scale, 2 for their product, 3 for the sum, and 1 for the gearbox.
    Throughput: one piece per cycle.

    Parameters
    ----------
    config : configuration of the core; L is ``vector_lanes``

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    commands : In(stream of ``scaler_command``); accepted after the last piece of a vector
    factor : In(stream of an element); accepted with the command
    results : In(stream of ``results_shape``); integers of the engine
    bytes : In(stream of ``values``, L signed bytes)
    scales : In(stream of ``vector_word``); one word for each piece, with ``table``
    words : Out(stream of ``elements`` and ``last``); lanes beyond the end of the vector are 0
    taking_bytes : Out(1); the vector's integers come from ``bytes``, and some are still to come
    overflow : Out(1); a result was too large
    """

    #: Cycles from a piece to its word.
    LATENCY = 8

    #: Least number of cycles of a result beat with several groups.
    SPACING = 4

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        word = vector_word(config)
        super().__init__(
            {
                "commands": In(stream.Signature(scaler_command(config))),
                "factor": In(stream.Signature(ELEMENT)),
                "results": In(stream.Signature(results_shape(config.engine))),
                "bytes": In(stream.Signature(data.ArrayLayout(signed(8), config.vector_lanes))),
                "scales": In(stream.Signature(word)),
                "words": Out(stream.Signature(data.StructLayout({"elements": word, "last": 1}))),
                "taking_bytes": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._config.vector_lanes
        m.submodules.gearbox = gearbox = Gearbox(
            in_bytes=3 * lanes, out_bytes=3 * lanes, unit_bytes=3
        )
        pipeline = Module()
        advance = Signal()
        m.submodules.pipeline = EnableInserter(advance)(pipeline)
        command, factor, piece = self._pieces(m, advance)
        totals, out = self._lanes(pipeline, command, factor, piece)
        words = self.words.p
        m.d.comb += [
            gearbox.i.p.data.eq(Cat(totals)),
            gearbox.i.p.count.eq(out.count),
            gearbox.i.p.last.eq(out.last),
            gearbox.i.valid.eq(out.valid & out.final),
            advance.eq(gearbox.i.ready | ~gearbox.i.valid),
            self.words.valid.eq(gearbox.o.valid),
            gearbox.o.ready.eq(self.words.ready),
            words.last.eq(gearbox.o.p.last),
        ]
        for lane in range(lanes):
            present = gearbox.o.p.count > lane
            m.d.comb += Value.cast(words.elements[lane]).eq(Mux(present, gearbox.o.p.data[lane], 0))
        return m

    def _pieces(self, m: Module, advance: Signal) -> tuple[data.View, data.View, _Piece]:
        """Cut result beats into pieces, and end the vector at its count.

        Rows from the count on, which the engine delivers as 0, have no piece.
        """
        config = self._config
        lanes, rows = config.vector_lanes, config.engine.rows
        per_beat = -(-rows // lanes)
        command = Signal(scaler_command(config), reset_less=True)
        factor = Signal(ELEMENT, reset_less=True)
        active = Signal()
        start = Signal()
        m.d.comb += [
            start.eq(~active & self.commands.valid & self.factor.valid),
            self.taking_bytes.eq(active & command.bytes),
            self.commands.ready.eq(start),
            self.factor.ready.eq(start),
        ]
        index = Signal(range(max(per_beat, self.SPACING)))
        group = Signal.like(command.groups)
        base = Signal.like(command.count)  # Outputs from this result beat on.
        left = Signal.like(command.count)  # Outputs from this piece on.
        in_beat = Signal(range(rows + 1))  # Rows of the beat from this piece on.
        limit, count = Signal(range(lanes + 1)), Signal(range(lanes + 1))
        several = command.groups > 1
        end_index = Signal.like(index)
        slot, source, final, last = Signal(), Signal(), Signal(), Signal()
        beat_end, rest = Signal(), Signal.like(left)
        m.d.comb += [
            limit.eq(Mux(command.bytes | (in_beat >= lanes), lanes, in_beat)),
            count.eq(Mux(left < limit, left, limit)),
            rest.eq(left - count),
            end_index.eq(Mux(several, max(per_beat, self.SPACING) - 1, per_beat - 1)),
            source.eq(Mux(command.bytes, self.bytes.valid, self.results.valid)),
            slot.eq(active & source & (~command.table | self.scales.valid | (index >= per_beat))),
            beat_end.eq(command.bytes | (index == end_index)),
            final.eq(group == command.groups),
            last.eq(final & (left <= limit)),
            self.bytes.ready.eq(slot & advance & command.bytes),
            self.results.ready.eq(slot & advance & ~command.bytes & beat_end),
            self.scales.ready.eq(slot & advance & command.table & (index < per_beat)),
        ]
        with m.If(slot & advance):
            m.d.sync += [index.eq(index + 1), left.eq(rest)]
            m.d.sync += in_beat.eq(Mux(in_beat < lanes, 0, in_beat - lanes))
            with m.If(beat_end):
                m.d.sync += [
                    index.eq(0),
                    in_beat.eq(rows),
                    group.eq(Mux(final, 1, group + 1)),
                    left.eq(Mux(final, rest, base)),
                ]
                with m.If(final):
                    m.d.sync += [base.eq(rest), active.eq(rest != 0)]
        with m.If(start):
            m.d.sync += [
                command.eq(self.commands.p),
                factor.eq(self.factor.p),
                active.eq(1),
                index.eq(0),
                group.eq(1),
                in_beat.eq(rows),
                base.eq(self.commands.p.count),
                left.eq(self.commands.p.count),
            ]
        piece = _Piece(
            valid=slot & (count != 0),
            count=count,
            index=index,
            first=group == 1,
            final=final,
            last=last,
        )
        return command, factor, piece

    def _lanes(
        self, m: Module, command: data.View, factor: data.View, piece: _Piece
    ) -> tuple[list[Value], _Piece]:
        """Convert, scale and add up; return the totals and the piece that they belong to."""
        config = self._config
        lanes, rows = config.vector_lanes, config.engine.rows
        per_beat = -(-rows // lanes)
        scaled, summed = piece.after(m, 4), piece.after(m, 7)
        totals, overflows = [], []
        for lane in range(lanes):
            m.submodules += [
                converter := IntegerConverter(width=max(config.engine.acc_width, 8)),
                scale := ElementMultiplier(),
                product := ElementMultiplier(),
                adder := ElementAdder(),
            ]
            # The rows of this lane, by the number of the piece.
            values = [self.results.p.values[row] for row in range(lane, rows, lanes)]
            integer = Signal(signed(config.engine.acc_width), name=f"integer{lane}")
            if values:
                m.d.comb += integer.eq(Array(values)[piece.index])
            with m.If(command.bytes):
                m.d.comb += integer.eq(self.bytes.p[lane])
            partial = Array(
                Signal(ELEMENT, name=f"partial{lane}_{index}", reset_less=True)
                for index in range(per_beat)
            )
            m.d.comb += [
                converter.integer.eq(integer),
                scale.a.eq(Mux(command.table, Value.cast(self.scales.p[lane]), command.scale)),
                scale.b.eq(factor),
                product.a.eq(converter.element),
                product.b.eq(scale.product),
                Value.cast(adder.a).eq(
                    Mux(scaled.first, 0, Array(map(Value.cast, partial))[scaled.index])
                ),
                adder.b.eq(product.product),
            ]
            for index in range(per_beat):
                with m.If(summed.valid & (summed.index == index)):
                    m.d.sync += partial[index].eq(adder.total)
            totals.append(Value.cast(adder.total))
            overflows.append((product.overflow & scaled.valid) | (adder.overflow & summed.valid))
        m.d.comb += self.overflow.eq(Cat(overflows).any())
        return totals, summed

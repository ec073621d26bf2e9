"""Integer results of a product, scaled to elements."""

from amaranth.hdl import Array, Cat, Const, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..engine.results import results_shape
from ..gearbox import Gearbox
from .adder import ElementAdder
from .config import TokenConfig, check_core_config
from .converter import IntegerConverter
from .element import ELEMENT
from .multiplier import ElementMultiplier
from .pieces import Piece, Place
from .token_beats import TokenBeats
from .tokens import is_token, of_token, token_number

__all__ = ["ResultScaler", "scaled_words", "scaler_command", "vector_word"]


def vector_word(config: TokenConfig) -> data.ArrayLayout:
    """Layout of a word of the vector memory: an element for each lane, the first one lowest.

    Element i of a vector is in lane ``i mod L`` of the vector's word ``i // L``.
    """
    return data.ArrayLayout(ELEMENT, config.vector_lanes)


def scaled_words(config: TokenConfig) -> data.StructLayout:
    """Layout of a word of scaled results.

    Fields
    ------
    elements : the word
    last : it ends the vector of its token
    token : number of the token among those of the command
    """
    token = token_number(config)
    return data.StructLayout({"elements": vector_word(config), "last": 1, "token": token})


def scaler_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``ResultScaler``.

    Fields
    ------
    count : elements of the vector, 1 or more
    bytes : the integers come from ``bytes``, and not from ``results``; ``groups`` must be 1, and
        ``table`` 0
    groups : result groups of each output, 1 or more; the engine's ``group_chunks`` makes them
    table : each scale comes from ``scales``; otherwise all are ``scale``
    scale : scale of the weights or of the bytes, an element; unused with ``table``
    others : tokens behind the first one, each with a vector of its own; 0 with ``bytes``
    """
    return data.StructLayout(
        {
            "count": range(max(config.work_max, config.hidden_max) + 1),
            "bytes": 1,
            "groups": range(config.engine.max_chunks + 1),
            "table": 1,
            "scale": ELEMENT,
            "others": token_number(config),
        }
    )


class ResultScaler(wiring.Component):
    """Scales the integer results of a product, and packs them into words of the vector memory.

    The golden function is ``CoreModel._product``. With ``total`` 0 before the first group of
    scales, each group gives
    ``total = round(total + round(round(integer) · round(scale · factor)))``. Bytes of an embedding
    take the same way, with one group and the factor 1.

    A result beat has R = ``engine.rows`` integers. It is cut into ``ceil(R / L)`` pieces of L lanes
    each, the last of which has the rest. A piece that enters the lanes in cycle 0 passes these
    stages, if no stage stalls.

    =====  =====================================================================================
    cycle  what holds the piece
    =====  =====================================================================================
    0      ``results`` or ``bytes``, and ``scales``
    1      ``IntegerConverter``: the magnitude; ``scale``: the product of the significands
    2      the integer as an element, and the multiplier ``round(scale · factor)``
    3      ``product``: the product of the significands
    4      the scaled integer; ``partial`` gives the sum of the groups before
    5, 6   ``ElementAdder``: the operands in order, then their exact sum
    7      the total; in the last group it enters the gearbox, else ``partial`` stores it
    8      ``words``, if the piece completes a word or ends the vector
    =====  =====================================================================================

    Latency: ``LATENCY`` = 8 cycles from the piece that completes a word to the word: 2 for the
    conversion and the multiplier, 2 for the product, 3 for the sum, and 1 for the gearbox.

    Throughput: one piece per cycle, and so ``ceil(R / L)`` cycles for a result beat. With more than
    one group a result beat takes at least ``SPACING`` = 4 cycles. Between two vectors one cycle has
    no piece: the next command is accepted one cycle after the last result beat, and its first piece
    follows in the cycle after that.

    - **Several tokens.** The result beats of some rows come for each token. With T > 1 they wait in
      registers, a cycle longer. Pieces come by number, then by token, and so do the words: a word
      of scales serves all tokens. With n tokens some rows take ``n · ceil(R / L)`` cycles.
    - **Last result beat.** Rows from ``count`` on have no piece, but the beat keeps its cycles.
    - **Last word.** Lanes beyond the end of the vector are 0. The next vector starts a new word.
      If the last piece fills a word and starts another one, that one is offered a cycle later.
    - **Scales.** With ``table`` each result beat takes ``ceil(R / L)`` words of ``scales``, also
      for rows from ``count`` on. Their order is that of the result beats.
    - **Zero.** A factor, a scale or an integer of 0 gives the element 0, whose sign is positive.
    - **Large values.** An integer of more than 16 bits is rounded half to even: 100,001 becomes
      100,000. A multiplier, a product or a total that is too large becomes the largest element, and
      raises ``overflow``. Lanes without an output raise nothing.
    - **Stall.** All lanes stop while the gearbox cannot take a piece of the last group. No piece
      is accepted then. A piece of an earlier group never stops them.
    - **Reset.** The vector and all pieces are dropped.

    Example: R = 5, L = 4, and a vector of 7 outputs in one group. The command is accepted in cycle
    0. The pieces enter in cycles 1 (rows 0 to 3), 2 (row 4) and 3 (rows 5 and 6). The words are
    offered in cycles 9 and 11; the second one has 3 elements, a zero, and ``last``. The second
    result beat ends in cycle 4, so that the next command is accepted in cycle 5.

    Example of two groups: the integers are 100 and −40, the scales 0.5 and 0.25, and the factor is
    0.5. The total is 100 · 0.25 = 25 after the first group, and 25 − 40 · 0.125 = 20 in the end.

    Parameters
    ----------
    config : configuration of the core; L is ``vector_lanes``

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    commands : In(stream of ``scaler_command``); ready only with a valid ``factor``, and after the
        last result beat of the vector before
    factor : In(stream of T elements); common factor of the vector of each token; accepted with the
        command
    results : In(stream of ``results_shape``); integers of the engine; a beat is accepted in the
        last of its cycles
    bytes : In(stream of L signed bytes); accepted one word per cycle
    scales : In(stream of ``vector_word``); one word for each piece of a result beat, with ``table``
    words : Out(stream of ``scaled_words``); depends on registers alone
    taking_bytes : Out(1); the vector's integers come from ``bytes``, and some are still to come
    overflow : Out(1); a multiplier, a scaled integer or a total was too large
    """

    #: Cycles from a piece to its word.
    LATENCY = 8

    #: Least number of cycles of a result beat with several groups. ``partial`` has a total from
    #: cycle 8 on. The next group reads it 4 cycles after its start.
    SPACING = 4

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        word = vector_word(config)
        super().__init__(
            {
                "commands": In(stream.Signature(scaler_command(config))),
                "factor": In(stream.Signature(data.ArrayLayout(ELEMENT, config.tokens))),
                "results": In(stream.Signature(results_shape(config.engine))),
                "bytes": In(stream.Signature(data.ArrayLayout(signed(8), config.vector_lanes))),
                "scales": In(stream.Signature(word)),
                "words": Out(stream.Signature(scaled_words(config))),
                "taking_bytes": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the cutting into pieces, the lanes, and the gearbox that packs their totals.

        The lanes are a pipeline with one enable. Cutting and gearbox have handshakes of their own.
        """
        m = Module()
        pipeline = Module()
        advance = Signal()
        m.submodules.pipeline = EnableInserter(advance)(pipeline)
        results = self.results
        if self._config.tokens > 1:
            m.submodules.beats = self._beats = TokenBeats(self._config)
            wiring.connect(m, wiring.flipped(self.results), self._beats.i)
            results = self._beats.o
        command, factor, piece = self._pieces(m, results, advance)
        totals, out = self._lanes(pipeline, results.p.values, command, factor, piece)
        self._pack(m, advance, command, totals, out)
        return m

    def _pack(
        self, m: Module, advance: Signal, command: data.View, totals: list[Value], out: Piece
    ) -> None:
        """Pack totals into words, in a gearbox for each token.

        All tokens have the same pieces, so that their words come in turn: none waits for a piece
        that waits for it.

        Parameters
        ----------
        m : module that gets the logic
        advance : driven here: the lanes do not wait
        command : command of the vector
        totals, out : totals of all lanes, and their piece
        """
        lanes, tokens = self._config.vector_lanes, self._config.tokens
        words, turn, packed = self.words.p, Signal.like(self.words.p.token), Signal()
        gearboxes = []
        for token in range(tokens):
            # The unit of the gearbox is an element of 3 bytes. Pieces of fewer than L elements
            # leave it as full words.
            gearbox = Gearbox(in_bytes=3 * lanes, out_bytes=3 * lanes, unit_bytes=3)
            m.submodules[f"gearbox{token}" if tokens > 1 else "gearbox"] = gearbox
            gearboxes.append(gearbox)
            number = Const(token, len(turn))
            m.d.comb += [
                gearbox.i.p.data.eq(Cat(totals)),
                gearbox.i.p.count.eq(out.count),
                gearbox.i.p.last.eq(out.last),
                gearbox.i.valid.eq(is_token(packed, out.token, number)),
                gearbox.o.ready.eq(is_token(self.words.ready, turn, number)),
            ]
        offered = data.View(
            gearboxes[0].o.p.shape(), of_token([one.o.p for one in gearboxes], turn)
        )
        m.d.comb += [
            # Totals of the groups before the last one stay in ``partial``.
            packed.eq(out.valid & out.final),
            advance.eq(of_token([one.i.ready for one in gearboxes], out.token) | ~packed),
            self.words.valid.eq(of_token([one.o.valid for one in gearboxes], turn)),
            words.last.eq(offered.last),
            words.token.eq(turn),
        ]
        if tokens > 1:
            with m.If(self.words.valid & self.words.ready):
                m.d.sync += turn.eq(Mux(turn == command.others, 0, turn + 1))
        for lane in range(lanes):
            present = offered.count > lane
            m.d.comb += Value.cast(words.elements[lane]).eq(Mux(present, offered.data[lane], 0))

    def _pieces(
        self, m: Module, results: stream.Interface, advance: Signal
    ) -> tuple[data.View, Value, Piece]:
        """Cut result beats into pieces, and end the vector at its count.

        A result beat passes in cycles with ``slot`` and ``advance``. Those for rows from the count
        on, which the engine delivers as 0, have no piece. The cycles of ``SPACING`` beyond
        ``ceil(R / L)`` have none either, and take no scales.

        Parameters
        ----------
        m : module that gets the logic
        results : result beats of the token whose turn it is
        advance : the lanes do not wait

        Returns
        -------
        The command, the factor of the piece's token, and the piece
        """
        config = self._config
        lanes, rows = config.vector_lanes, config.engine.rows
        per_beat = -(-rows // lanes)
        command = Signal(scaler_command(config), reset_less=True)
        factors = Signal(self.factor.p.shape(), reset_less=True)
        place = Place.of(config, command, max(per_beat, self.SPACING))
        active, index, token, left = place.active, place.index, place.token, place.left
        start = Signal()
        m.d.comb += [
            start.eq(~active & self.commands.valid & self.factor.valid),
            self.taking_bytes.eq(active & command.bytes),
            self.commands.ready.eq(start),
            self.factor.ready.eq(start),
        ]
        limit, count = Signal(range(lanes + 1)), Signal(range(lanes + 1))
        # A piece of the next group comes SPACING cycles later, with those of other tokens between.
        spaced = [
            max(per_beat, -(-self.SPACING // tokens)) - 1 for tokens in range(1, config.tokens + 1)
        ]
        end_index = Signal.like(index)
        slot, source, final, last = Signal(), Signal(), Signal(), Signal()
        beat_end = Signal()
        m.d.comb += [
            limit.eq(Mux(command.bytes | (place.in_beat >= lanes), lanes, place.in_beat)),
            count.eq(Mux(left < limit, left, limit)),
            end_index.eq(Mux(command.groups > 1, of_token(spaced, command.others), per_beat - 1)),
            source.eq(Mux(command.bytes, self.bytes.valid, results.valid)),
            # Each piece needs its word of scales, even if all of its rows lie beyond the count.
            slot.eq(active & source & (~command.table | self.scales.valid | (index >= per_beat))),
            beat_end.eq(command.bytes | (index == end_index)),
            final.eq(place.group == command.groups),
            last.eq(final & (left <= limit)),
            self.bytes.ready.eq(slot & advance & command.bytes),
            results.ready.eq(slot & advance & ~command.bytes & beat_end),
            self.scales.ready.eq(
                is_token(slot & advance & command.table & (index < per_beat), token, command.others)
            ),
        ]
        if config.tokens > 1:
            m.d.comb += [
                self._beats.enable.eq(active & ~command.bytes),
                self._beats.others.eq(command.others),
                self._beats.token.eq(token),
            ]
        piece = Piece(
            valid=slot & (count != 0),
            count=count,
            index=index,
            token=token,
            first=place.group == 1,
            final=final,
            last=last,
        )
        place.step(m, config, slot & advance, command.others, piece, beat_end=beat_end)
        with m.If(start):
            m.d.sync += [command.eq(self.commands.p), factors.eq(self.factor.p)]
            place.start(m, config, self.commands.p.count)
        return command, of_token([factors[one] for one in range(len(spaced))], token), piece

    def _lanes(
        self, m: Module, values: data.View, command: data.View, factor: Value, piece: Piece
    ) -> tuple[list[Value], Piece]:
        """Convert, scale and add up the integers of a piece.

        ``partial`` of a lane has a total for each piece of a result beat and each token, since all
        groups of these rows are added before the next rows come.

        Parameters
        ----------
        m : module of the lanes, which stops as a whole
        values : integers of the piece's result beat
        command, factor, piece : see ``_pieces``

        Returns
        -------
        The totals of all lanes, and the piece that they belong to, 7 cycles after it entered
        """
        config = self._config
        lanes, rows, tokens = config.vector_lanes, config.engine.rows, config.tokens
        per_beat = -(-rows // lanes)
        # Conversion and product take 2 cycles each, and the sum 3.
        multiplied, scaled, summed = (piece.after(m, cycles) for cycles in (2, 4, 7))
        totals, overflows = [], []
        for lane in range(lanes):
            m.submodules += [
                converter := IntegerConverter(width=max(config.engine.acc_width, 8)),
                scale := ElementMultiplier(),
                product := ElementMultiplier(),
                adder := ElementAdder(),
            ]
            # The rows of this lane, by the number of the piece: row = index · L + lane.
            mine = [values[row] for row in range(lane, rows, lanes)]
            integer = Signal(signed(config.engine.acc_width), name=f"integer{lane}")
            if mine:
                m.d.comb += integer.eq(Array(mine)[piece.index])
            with m.If(command.bytes):
                m.d.comb += integer.eq(self.bytes.p[lane])
            partial = Array(
                Signal(ELEMENT, name=f"partial{lane}_{place}", reset_less=True)
                for place in range(per_beat * tokens)
            )
            m.d.comb += [
                converter.integer.eq(integer),
                scale.a.eq(Mux(command.table, Value.cast(self.scales.p[lane]), command.scale)),
                scale.b.eq(factor),
                product.a.eq(converter.element),
                product.b.eq(scale.product),
                # The first group starts from 0, which leaves the scaled integer as it is.
                Value.cast(adder.a).eq(
                    Mux(scaled.first, 0, Array(map(Value.cast, partial))[scaled.place])
                ),
                adder.b.eq(product.product),
            ]
            for place in range(per_beat * tokens):
                with m.If(summed.valid & (summed.place == place)):
                    m.d.sync += partial[place].eq(adder.total)
            totals.append(Value.cast(adder.total))
            # Scales of lanes without an output have no meaning.
            overflows += [
                operator.overflow & step.valid & (step.count > lane)
                for operator, step in ((scale, multiplied), (product, scaled), (adder, summed))
            ]
        m.d.comb += self.overflow.eq(Cat(overflows).any())
        return totals, summed

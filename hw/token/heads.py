"""Heads of queries, keys and values: turned by their position, and quantized."""

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .adder import ElementAdder
from .config import TokenConfig, check_core_config
from .element import ELEMENT, constant
from .multiplier import ElementMultiplier
from .pipeline import delay
from .quantizer import ElementQuantizer
from .scaler import vector_word
from .special import Function, SpecialFunction
from .tokens import token_number, token_place
from .tree import larger, tree, tree_latency
from .writer import vector_depth, vector_place

__all__ = ["HeadUnit", "heads_command"]


def half_words(config: TokenConfig) -> int:
    """Words of half of the largest head, rounded up: the depth of the memory of angles."""
    return -(-config.head_size_max // (2 * config.vector_lanes))


def heads_command(config: TokenConfig) -> data.StructLayout:
    """Layout of a command of ``HeadUnit``.

    Fields
    ------
    source : address of the first word of the first head
    heads : heads that follow one another, 1 or more
    half : words of half a head, 1 or more
    turn : turn the heads by the position; otherwise they are quantized as they are
    token : number of the token whose heads they are
    """
    return data.StructLayout(
        {
            "source": range(vector_depth(config)),
            "heads": range(config.heads_max + 1),
            "half": range(half_words(config) + 1),
            "turn": 1,
            "token": token_number(config),
        }
    )


class HeadUnit(wiring.Component):
    """Turns heads by rotary positions, and quantizes each with a scale of its own.

    The golden functions are ``rotate_elements`` and ``quantize_elements``. Element i of the first
    half of a head, a, and element i of its second half, b, make a pair. The pair becomes
    ``round(round(a · cos) − round(b · sin))`` and ``round(round(b · cos) + round(a · sin))``. Then
    ``q = rint(y · r)`` with ``r = round(127 · reciprocal(largest))``, and the scale of the head is
    ``round(largest · round(1 / 127))``.

    A head of 2 · h words is read in pairs: word i of its first half, and word i of its second. The
    turned head waits in one of two banks until its largest magnitude is known. Meanwhile the next
    head is read. A command is accepted in cycle 0, the unit was idle, no stage stalls, and t is
    log₂ L.

    ======================  ===================================================================
    cycle                   first head
    ======================  ===================================================================
    1 and 2                 ``address`` has word 0 of the first half, then that of the second
    3                       ``stored`` has the second word; the multipliers get the pair
    8 and 9                 the turned words of the pair are written to a bank
    2 · h                   ``address`` has the last word
    2 · h + 7               the last word is written to the bank
    2 · h + 8               each lane has its largest magnitude; the tree over the lanes begins
    2 · h + 8 + t           the head enters the queue of full banks
    2 · h + 10 + t          the queue offers it; the reciprocal and the scale begin
    2 · h + 13 + t          ``scales`` has its scale
    2 · h + 17 + t          the factor r is there; the bank gets the address of the first word
    2 · h + 20 + t          ``bytes`` has the first word
    4 · h + 19 + t          ``bytes`` has the last word, with ``last``; the bank is freed
    ======================  ===================================================================

    Latency: ``2 · h + 20 + log2(L)`` cycles from the command to its first bytes.

    Throughput: with up to 2 lanes a head every ``2 · h + 10`` cycles, which the quantizer takes.
    With more lanes, two heads take ``4 · h + 19 + log2(L)`` cycles. A third head is read only when
    the first one has left its bank, and the tree delays it. The next command is accepted 3 cycles
    after the last address of a command, so that heads of two commands overlap.

    - **Zero head.** Its bytes and its scale are 0, since the reciprocal of 0 is 0.
    - **Without a turn.** The unit multiplies by the cosine 1 and the sine 0, which changes nothing.
    - **Large values.** A turned element that is too large becomes the largest element. Above a
      largest magnitude of 2¹²⁶ all bytes are 0, and below 2⁻¹²¹ they do not reach 127. Each of
      these raises ``overflow``. Products are at most as large as their element.
    - **Angles.** They must be loaded before a command that turns. The unit does not check it.
    - **Stall.** If ``bytes`` are not taken, quantizing stops, and both banks fill. Then reading
      stops at the start of a head. Reading and turning never stop within a head. A scale that is
      not taken holds the next head, not its own bytes.
    - **Reset.** All heads are dropped, and both banks are free. The angles stay.

    Example: L = 2, and a head (3, 4, 1, 2) with the cosines (0, 1) and the sines (1, 0). The pairs
    are (3, 1) and (4, 2). They become (−1, 3) and (4, 2), so that the turned head is (−1, 4, 3, 2).
    Its bytes are (−32, 127, 95, 64), and its scale is 4 / 127, about 0.0315. Here h and t are 1.
    The scale comes in cycle 16, and the two words of bytes come in cycles 23 and 24.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    table : In(stream of ``vector_word``); for each word of half a head its cosines, then its sines;
        loads the angles of the first token's position, then those of the next ones; always ready
    clear : In(1); the word of ``table`` after this cycle is the first; none may come with it
    half : In; with ``clear``: words of half a head; unused with T = 1
    commands : In(stream of ``heads_command``); accepted when all heads of the command before are
        read
    address : Out; address of the word to read
    stored : In(``vector_word``); one cycle after its address, in every cycle
    bytes : Out(stream of L signed ``values`` and ``last``); ``last`` ends a head
    scales : Out(stream of an element); for each head, before its first bytes
    busy : Out(1); a head is not finished, or a scale is not taken
    overflow : Out(1); a value was too large; high for at least one cycle
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        word = vector_word(config)
        values = data.ArrayLayout(signed(8), config.vector_lanes)
        super().__init__(
            {
                "table": In(stream.Signature(word)),
                "clear": In(1),
                "half": In(range(half_words(config) + 1)),
                "commands": In(stream.Signature(heads_command(config))),
                "address": Out(vector_place(config)),
                "stored": In(word),
                "bytes": Out(stream.Signature(data.StructLayout({"values": values, "last": 1}))),
                "scales": Out(stream.Signature(ELEMENT)),
                "busy": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect the two stages: turning into the banks, and quantizing from them.

        A bank is reserved when the first word of a head is read. It is free again when the last
        bytes of the head are taken. The queue has as many entries as there are banks, so that its
        ready need not be asked.
        """
        m = Module()
        depth = 2 * half_words(self._config)
        # The top bit of an address is the bank. The words of a bank are a power of two.
        m.submodules.banks = banks = memory.Memory(
            shape=vector_word(self._config).size, depth=2 << (depth - 1).bit_length(), init=[]
        )
        # One entry for each full bank: its largest magnitude and its words.
        entry = data.StructLayout({"largest": ELEMENT.size - 1, "words": range(depth + 1)})
        m.submodules.full = full = fifo.SyncFIFOBuffered(width=entry.size, depth=2)
        freed = Signal()
        self._overflows: list[Value] = []
        pushed = self._turn(m, banks.write_port(), data.View(entry, full.w_data), freed)
        done = self._quantize(m, banks.read_port(), data.View(entry, full.r_data), full.r_rdy)
        m.d.comb += [full.w_en.eq(pushed), full.r_en.eq(done), freed.eq(done)]
        m.d.comb += self.busy.eq(~self._idle | self.scales.valid)
        m.d.comb += self.overflow.eq(Cat(self._overflows).any())
        return m

    def _angles(self, m: Module, index: Value, token: Value) -> tuple[list[Value], list[Value]]:
        """Load the angles of the tokens' positions, and read those of a word.

        Words of ``table`` come in twos. The cosines wait for the sines, and both are written at
        once, so that one read gives both.

        Parameters
        ----------
        index : number of the word within half a head
        token : number of the token

        Returns
        -------
        Cosines and sines of the word, one of each for each lane, one cycle after ``index``
        """
        word, lanes = vector_word(self._config), self._config.vector_lanes
        depth, tokens = half_words(self._config), self._config.tokens
        m.submodules.angles = angles = memory.Memory(
            shape=2 * word.size, depth=depth * tokens, init=[]
        )
        write, read = angles.write_port(), angles.read_port()
        cosines, odd = Signal(word.size), Signal()
        place, loading = Signal(range(depth)), Signal(token_number(self._config))
        m.d.comb += [
            self.table.ready.eq(1),
            write.addr.eq(token_place(place, loading)),
            write.data.eq(Cat(cosines, self.table.p)),
            write.en.eq(self.table.valid & odd),
            read.addr.eq(token_place(index, token)),
        ]
        with m.If(self.table.valid):
            m.d.sync += [cosines.eq(self.table.p), odd.eq(~odd), place.eq(place + odd)]
        if tokens > 1:
            half = Signal.like(self.half)
            with m.If(write.en & (place == half - 1)):
                m.d.sync += [place.eq(0), loading.eq(loading + 1)]
            with m.If(self.clear):
                m.d.sync += [half.eq(self.half), loading.eq(0)]
        with m.If(self.clear):
            m.d.sync += [place.eq(0), odd.eq(0)]
        parts = [Value.cast(read.data).word_select(lane, ELEMENT.size) for lane in range(2 * lanes)]
        return parts[:lanes], parts[lanes:]

    def _turn(self, m: Module, write: memory.WritePort, full: data.View, freed: Signal) -> Value:
        """Read heads, turn them into the banks, and find their largest magnitudes.

        Parameters
        ----------
        write : write port of the banks
        full : gets the entry of the bank
        freed : a bank is free again

        Returns
        -------
        Whether ``full`` is complete
        """
        command = Signal(heads_command(self._config), reset_less=True)
        active, second, bank, free = Signal(), Signal(), Signal(), Signal(range(3), init=2)
        index = Signal.like(command.half)
        reading, head_start, head_end = Signal(), Signal(), Signal()
        word = command.source + index + Mux(second, command.half, 0)
        m.d.comb += [
            # The first word of a head needs a free bank.
            reading.eq(active & ((free != 0) | second | (index != 0))),
            self.address.eq(token_place(word, command.token)),
            head_start.eq(reading & ~second & (index == 0)),
            head_end.eq(reading & second & (index == command.half - 1)),
        ]
        with m.If(reading):
            m.d.sync += second.eq(~second)
            with m.If(second):
                m.d.sync += index.eq(Mux(head_end, 0, index + 1))
        with m.If(head_end):
            m.d.sync += [
                command.heads.eq(command.heads - 1),
                command.source.eq(command.source + 2 * command.half),
                active.eq(command.heads != 1),
                bank.eq(~bank),
            ]
        m.d.sync += free.eq(free + freed - head_start)
        self._idle = ~active & (free == 2)

        # A pair is there one cycle after its second address. Its first word is turned in that cycle
        # and its second word one cycle later, from held operands.
        flags = data.StructLayout({"pair": 1, "end": 1, "start": 1, "bank": 1, "index": len(index)})
        issued = Cat(reading & second, head_end, index == 0, bank, index)
        now, before = (data.View(flags, delay(m, issued, cycles)) for cycles in (1, 2))
        with m.If(self.commands.valid & self.commands.ready):
            m.d.sync += [command.eq(self.commands.p), active.eq(1)]
        # The command's fields are used until the second word of the last pair.
        m.d.comb += self.commands.ready.eq(~active & ~now.pair & ~before.pair)
        place = Signal(len(write.addr))
        # The turned words keep their places: i, and half + i.
        half = Mux(before.pair, command.half, 0)
        m.d.comb += place.eq(
            Mux(before.pair, before.index, now.index)
            + half
            + (Mux(before.pair, before.bank, now.bank) << (len(write.addr) - 1))
        )
        operators = ElementMultiplier.LATENCY + ElementAdder.LATENCY
        valid = delay(m, now.pair | before.pair, operators)
        start = delay(m, now.pair & now.start, operators)
        # The largest magnitude of a lane takes a register, and the tree over the lanes the rest.
        at_peak = operators + 1 + tree_latency(len(self.stored))
        end = delay(m, before.pair & before.end, at_peak)
        cosines, sines = self._angles(m, index, command.token)
        turned, peaks = [], []
        for lane, (cosine, sine) in enumerate(zip(cosines, sines, strict=True)):
            result, overflow = self._turn_lane(m, lane, command.turn, before.pair, cosine, sine)
            self._overflows.append(valid & overflow)
            magnitude, largest = result[:-1], Signal(ELEMENT.size - 1, reset_less=True)
            with m.If(valid):
                m.d.sync += largest.eq(Mux(start, magnitude, larger(magnitude, largest)))
            turned.append(result)
            peaks.append(largest)
        m.d.comb += [
            write.addr.eq(delay(m, place, operators, reset_less=True)),
            write.data.eq(Cat(turned)),
            write.en.eq(valid),
            full.largest.eq(tree(m, peaks, larger)),
            full.words.eq(delay(m, command.half << 1, at_peak, reset_less=True)),
        ]
        return end

    def _turn_lane(
        self, m: Module, lane: int, turn: Value, later: Value, cosine: Value, sine: Value
    ) -> tuple[Value, Value]:
        """One lane: ``a · cos − b · sin`` of a pair, and ``b · cos + a · sin`` one cycle later.

        In the first of the two cycles the stored word is b, and the word before it is a. In the
        second one they are the two words before the stored one.

        Parameters
        ----------
        lane : number of the lane
        turn : use the angles; otherwise cos is 1 and sin is 0
        later : this cycle is the second one of the pair
        cosine, sine : those of the pair, in the first cycle

        Returns
        -------
        The turned element, 5 cycles later, as 24 bits, and whether it was too large
        """
        m.submodules += [
            first := ElementMultiplier(),
            second := ElementMultiplier(),
            adder := ElementAdder(),
        ]
        angles = Cat(Mux(turn, cosine, constant(1.0)), Mux(turn, sine, 0))
        angles = Mux(later, delay(m, angles, 1, reset_less=True), angles)
        # first = a · cos, then b · cos; second = b · sin, then a · sin.
        stored = self.stored[lane]
        m.d.comb += [
            Value.cast(first.a).eq(delay(m, stored, 1, reset_less=True)),
            Value.cast(first.b).eq(angles[: ELEMENT.size]),
            Value.cast(second.a).eq(
                Mux(later, delay(m, stored, 2, reset_less=True), Value.cast(stored))
            ),
            Value.cast(second.b).eq(angles[ELEMENT.size :]),
            adder.a.eq(first.product),
            adder.b.eq(second.product),
            adder.subtract.eq(~delay(m, later, ElementMultiplier.LATENCY)),
        ]
        return Value.cast(adder.total), adder.overflow

    def _quantize(self, m: Module, read: memory.ReadPort, full: data.View, ready: Value) -> Value:
        """Quantize full banks in turn: first the scale and the factor of a head, then its words.

        A timer counts the cycles of the scalar operators from the entry on. The multiplier has the
        scale first, and the factor later.

        Parameters
        ----------
        read : read port of the banks
        full : entry of the bank
        ready : the entry is valid

        Returns
        -------
        Whether the bank of the entry ``full`` is done
        """
        m.submodules += [special := SpecialFunction(), multiplier := ElementMultiplier()]
        pipeline = Module()
        advance, out = Signal(), Signal(2)
        m.submodules.quantizers = EnableInserter(advance)(pipeline)
        r = Signal(ELEMENT, reset_less=True)
        busy, reading, bank = Signal(), Signal(), Signal()
        index, timer = Signal.like(full.words), Signal(range(8))
        done, too_large = Signal(), Signal()
        self._overflows.append(too_large)
        # The scale comes first. Its product is there while the reciprocal is computed.
        scaling = timer < SpecialFunction.LATENCY
        at_scale = timer == ElementMultiplier.LATENCY
        at_factor = timer == SpecialFunction.LATENCY + ElementMultiplier.LATENCY
        # A new scale waits until the one before is taken. The timer stands still meanwhile.
        held = at_scale & self.scales.valid & ~self.scales.ready
        m.d.comb += [
            special.function.eq(Function.RECIPROCAL),
            Value.cast(special.x).eq(full.largest),
            Value.cast(multiplier.a).eq(Mux(scaling, full.largest, Value.cast(special.value))),
            Value.cast(multiplier.b).eq(Mux(scaling, constant(1 / 127), constant(127.0))),
            read.addr.eq(Cat(index[: len(read.addr) - 1], bank)),
            read.en.eq(advance),
            done.eq(out.all() & self.bytes.ready),
            self.bytes.valid.eq(out[0]),
            self.bytes.p.last.eq(out[1]),
            # Bytes that are not taken stop the quantizers and the read of the bank.
            advance.eq(self.bytes.ready | ~out[0]),
        ]
        with m.If(self.scales.ready):
            m.d.sync += self.scales.valid.eq(0)
        with m.If(ready & ~busy & ~held):
            m.d.sync += timer.eq(timer + 1)
            with m.If(at_scale):
                m.d.sync += [self.scales.p.eq(multiplier.product), self.scales.valid.eq(1)]
            with m.If(at_factor):
                m.d.sync += [r.eq(multiplier.product), busy.eq(1), reading.eq(1)]
                m.d.sync += [timer.eq(0), index.eq(0)]
                # A head too large for 127 / largest has the factor 0.
                lost = (multiplier.product.exponent == 0) & (full.largest != 0)
                m.d.comb += too_large.eq(multiplier.overflow | lost)
        last = index == full.words - 1
        with m.If(reading & advance):
            m.d.sync += [index.eq(index + 1), reading.eq(~last)]
        with m.If(done):
            m.d.sync += [busy.eq(0), bank.eq(~bank)]
        m.d.comb += out.eq(delay(pipeline, Cat(reading, last), 1 + ElementQuantizer.LATENCY))
        for lane in range(self._config.vector_lanes):
            pipeline.submodules += (quantizer := ElementQuantizer())
            m.d.comb += [
                Value.cast(quantizer.a).eq(Value.cast(read.data).word_select(lane, ELEMENT.size)),
                quantizer.b.eq(r),
                self.bytes.p.values[lane].eq(quantizer.integer),
            ]
        return done

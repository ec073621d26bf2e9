"""Softmax of the scores of heads that share keys, with the scales of the values folded in."""

from amaranth.hdl import Array, Cat, EnableInserter, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import TokenConfig, check_core_config
from .element import ELEMENT
from .exponentials import ExponentialPass, Walk, score_chunks, score_words, walk_end
from .pipeline import delay
from .quantizer import ElementQuantizer
from .scores import score_shape, segment_elements
from .tree import greater, larger, tree, tree_latency

__all__ = ["Softmax", "value_scales", "weight_shape"]


def value_scales(config: TokenConfig) -> data.StructLayout:
    """Layout of the scales of the values of a chunk.

    Fields
    ------
    elements : a scale for each segment
    last : the last chunk of a group
    """
    return data.StructLayout({"elements": segment_elements(config), "last": 1})


def weight_shape(config: TokenConfig) -> data.ArrayLayout:
    """Layout of the weights of a chunk for one head: a signed byte for each segment."""
    return data.ArrayLayout(signed(8), config.segments)


class Softmax(wiring.Component):
    """Turns scores into int8 weights, and a factor for each head.

    The golden function is the middle of ``attend``. ``ExponentialPass`` has its first part: u, a
    quantizer and a factor for each head. Then ``weight = rint(u · quantizer)``.

    Scores are powers of two already: log₂ e is in the factor of the queries. The scores of a group
    of heads wait in one of two buffers, and u replaces them there. Three groups are under way at
    once: one gives scores, one passes the exponentials, and one gives weights. Two buffers are
    enough, because the weights of a group have left before the scores of the next but one begin.

    N is the number of words of scores, which is chunks times heads, and H is the number of heads.
    t is log₂ G for G segments. The last score is taken in cycle 0, and the group before is done.

    ============================  ================================================================
    cycle                         step
    ============================  ================================================================
    1 + t to N + t                pass over the exponentials: addresses of the scores
    f = N + 14 + 2 · t + 11 · H   the last factor is there
    f + 1                         first address of u
    f + 4                         first weights at ``weights``
    f + 3 + N                     last weights; the buffer takes scores from the next cycle on
    ============================  ================================================================

    Latency: ``N + 18 + 2 · t + 11 · H`` cycles from the last score to the first weights.
    Throughput: G scores per cycle in each of the three steps.

    Example: one head has the scores 3 and 4, and both values have the scale 1. Then u is 0.5 and 1,
    and the quantizer is 127. The weights are 64 (63.5, half to even) and 127.

    - One position: the weight is 127.
    - Far scores: at 17 or more below the largest one, the weight is 0.
    - Scales of 0: if all u of a head are 0, its weights and its factor are 0.
    - Segments without a position: their weights are 0, whatever their scores and scales are.
    - Stalls: scores wait for a free buffer. While weights are not taken, their pipeline and the
      read port keep their state. Factors wait until those of the next but one group before them
      are used.
    - Reset: the unit takes scores again, from the first position on.

    Parameters
    ----------
    config : configuration of the core

    Raises
    ------
    TypeError
        If ``config`` is not a ``TokenConfig``.

    Members
    -------
    scores : In(stream of ``score_shape``); by chunk, then by head; ``last`` ends a group
    scales : In(stream of ``value_scales``); by chunk; those of a chunk come before its last scores,
        and those of a group after the weights of the next but one before it; always ready
    weights : Out(stream of ``weight_shape``); by chunk, then by head; depends on registers alone
    factors : Out(``shared_max`` elements); of the heads whose weights leave or have left; they stay
        until ``used``
    used : In(1); the factors of a group are not needed any more
    overflow : Out(1); a value was too large; high for at least one cycle
    """

    def __init__(self, config: TokenConfig) -> None:
        self._config = config = check_core_config(config)
        super().__init__(
            {
                "scores": In(stream.Signature(score_shape(config))),
                "scales": In(stream.Signature(value_scales(config))),
                "weights": Out(stream.Signature(weight_shape(config))),
                "factors": Out(data.ArrayLayout(ELEMENT, config.shared_max)),
                "used": In(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Let the steps take turns at the two buffers.

        A group uses the buffer behind that of the group before. Each step counts its groups by a
        bit of its own. The flags of a buffer tell which step is next.
        """
        m = Module()
        config = self._config
        m.submodules.exponentials = self._pass = step = ExponentialPass(config)
        words = segment_elements(config).size
        buffers = [memory.Memory(shape=words, depth=score_words(config), init=[]) for _ in range(2)]
        m.submodules += buffers
        write = [buffer.write_port() for buffer in buffers]
        read = [buffer.read_port() for buffer in buffers]
        # A buffer is taken from its last score to its last weight. Its scores are full until the
        # pass is done, and its weights are ready from then on. Factors are held up to their use.
        self._taken, self._full, self._ready, held = (
            Array(Signal(name=f"{name}{i}") for i in range(2))
            for name in ("taken", "full", "ready", "held")
        )
        now, used = Signal(), Signal()  # Buffers of the pass, and of the factors that are used.
        self._end = Signal(walk_end(config), reset_less=True)
        place, peaks = self._scores(m)
        quantizers, factors = (
            [
                Array(
                    Signal(ELEMENT.size, name=f"{name}{bank}_{i}") for i in range(config.shared_max)
                )
                for bank in range(2)
            ]
            for name in ("quantizer", "factor")
        )
        m.d.comb += [
            step.go.eq(self._full[now]),
            step.hold.eq(held[now]),
            step.end.eq(self._end),
            self.overflow.eq(step.overflow),
            *(
                Value.cast(step.peaks[i]).eq(_element(Mux(now, peaks[1][i], peaks[0][i])))
                for i in range(config.shared_max)
            ),
            Value.cast(step.scores).eq(Mux(now, read[1].data, read[0].data)),
            *(
                Value.cast(self.factors[i]).eq(Mux(used, factors[1][i], factors[0][i]))
                for i in range(config.shared_max)
            ),
        ]
        self._scales(m, now)
        address, enable = self._weights(m, read, quantizers)
        with m.If(self.used):
            m.d.sync += [held[used].eq(0), used.eq(~used)]
        with m.If(step.done):
            m.d.sync += [self._full[now].eq(0), self._ready[now].eq(1), held[now].eq(1)]
            m.d.sync += now.eq(~now)
        for bank in range(2):
            with m.If(step.have_quantizer & (now == bank)):
                m.d.sync += quantizers[bank][step.vector].eq(Value.cast(step.quantizer))
            with m.If(step.have_factor & (now == bank)):
                m.d.sync += factors[bank][step.vector].eq(Value.cast(step.factor))
            # The largest scores start again from the smallest number.
            with m.If(step.done & (now == bank)):
                m.d.sync += [peak.eq(0) for peak in peaks[bank]]
            # The pass reads and writes while the scores are full, and lags behind its reads.
            passing, scored = self._full[bank], self.scores.valid & self.scores.ready
            m.d.comb += [
                write[bank].addr.eq(Mux(passing, step.target, place)),
                write[bank].data.eq(
                    Mux(passing, Value.cast(step.u), Value.cast(self.scores.p.values))
                ),
                write[bank].en.eq(
                    Mux(passing, step.written, scored) & (Mux(passing, now, self._bank) == bank)
                ),
                read[bank].addr.eq(Mux(passing, step.place, address)),
                read[bank].en.eq(passing | enable),
            ]
        return m

    def _scores(self, m: Module) -> tuple[Signal, list[Array]]:
        """Take scores, and find the largest one of each head.

        Returns
        -------
        Place of the score that is taken; and the largest scores of both buffers, as numbers of
        ``_order``
        """
        config, score = self._config, self.scores.p
        self._bank = bank = Signal()
        m.d.comb += self.scores.ready.eq(~self._taken[bank])
        taken = self.scores.valid & self.scores.ready
        walk = Signal(walk_end(config))
        peaks = [
            Array(Signal(ELEMENT.size, name=f"peak{bank}_{i}") for i in range(config.shared_max))
            for bank in range(2)
        ]
        present = Cat(1, score.others)
        # No score has the number 0, so that it stands for a segment without a position.
        orders = [
            Mux(present[segment], _order(Value.cast(score.values[segment])), 0)
            for segment in range(config.segments)
        ]
        cycles = tree_latency(config.segments)
        largest = tree(m, orders, larger)
        later, vector, its_bank = (delay(m, part, cycles) for part in (taken, score.vector, bank))
        ended = delay(m, taken & score.last, cycles)
        for number in range(2):
            peak = peaks[number][vector]
            with m.If(later & (its_bank == number) & greater(largest, peak)):
                m.d.sync += peak.eq(largest)
        with m.If(taken):
            m.d.sync += walk.place.eq(walk.place + 1)
            with m.If(score.row_end):
                m.d.sync += walk.chunk.eq(walk.chunk + 1)
            with m.If(score.last):
                m.d.sync += [walk.place.eq(0), walk.chunk.eq(0), bank.eq(~bank)]
                m.d.sync += [self._taken[bank].eq(1), self._end.eq(walk)]
                m.d.sync += [self._end.vector.eq(score.vector), self._end.others.eq(score.others)]
        # The pass begins when the last score has passed the tree.
        with m.If(ended):
            m.d.sync += self._full[its_bank].eq(1)
        return walk.place, peaks

    def _scales(self, m: Module, bank: Signal) -> None:
        """Keep the scales of the values of two groups, until the pass reads them.

        Parameters
        ----------
        m : module that gets the logic
        bank : buffer of the pass
        """
        config = self._config
        chunks = score_chunks(config)
        m.submodules.scales = scales = memory.Memory(
            shape=segment_elements(config).size, depth=2 << (chunks - 1).bit_length(), init=[]
        )
        write, read = scales.write_port(), scales.read_port()
        chunk, target = Signal(range(chunks)), Signal()
        m.d.comb += [
            self.scales.ready.eq(1),
            write.addr.eq(_place(chunk, target)),
            write.data.eq(Value.cast(self.scales.p.elements)),
            write.en.eq(self.scales.valid),
            read.addr.eq(_place(self._pass.chunk, bank)),
            Value.cast(self._pass.scales).eq(read.data),
        ]
        with m.If(self.scales.valid):
            m.d.sync += [
                chunk.eq(Mux(self.scales.p.last, 0, chunk + 1)),
                target.eq(target ^ self.scales.p.last),
            ]

    def _weights(
        self, m: Module, read: list[memory.ReadPort], quantizers: list[Array]
    ) -> tuple[Value, Value]:
        """Quantize u; the pipeline stops while weights are not taken.

        An address in cycle 0 has its u at the read port in cycle 1, and its weights in cycle 3.

        Parameters
        ----------
        m : module that gets the logic
        read : ports of the buffers; they keep their word while the pipeline stops
        quantizers : factors of the quantizer for each head, of both buffers

        Returns
        -------
        Address and enable of the buffer whose weights are ready
        """
        config = self._config
        pipeline = Module()
        advance, issuing, done, bank = Signal(), Signal(), Signal(), Signal()
        m.submodules.pipeline = EnableInserter(advance)(pipeline)
        walk = Walk(now=Signal(walk_end(config)), end=self._end)
        m.d.comb += issuing.eq(self._ready[bank] & ~done)
        vector = delay(pipeline, walk.now.vector, 1, reset_less=True)
        out = delay(pipeline, Cat(issuing, walk.last), 1 + ElementQuantizer.LATENCY)
        m.d.comb += [
            advance.eq(self.weights.ready | ~self.weights.valid),
            self.weights.valid.eq(out[0]),
        ]
        for segment in range(config.segments):
            pipeline.submodules[f"quantizer{segment}"] = quantizer = ElementQuantizer()
            u = Mux(bank, read[1].data, read[0].data)
            m.d.comb += [
                self.weights.p[segment].eq(quantizer.integer),
                Value.cast(quantizer.a).eq(u.word_select(segment, ELEMENT.size)),
                Value.cast(quantizer.b).eq(Mux(bank, quantizers[1][vector], quantizers[0][vector])),
            ]
        with m.If(advance & issuing):
            walk.advance(m)
            m.d.sync += done.eq(walk.last)
        with m.If(out[0] & out[1] & self.weights.ready):
            m.d.sync += [done.eq(0), bank.eq(~bank)]
            m.d.sync += [self._ready[bank].eq(0), self._taken[bank].eq(0)]
        return walk.now.place, advance


def _place(chunk: Value, bank: Value) -> Value:
    """Address of a chunk in a memory of two banks; each has a power of two of places."""
    return Cat(chunk, bank)


def _order(element: Value) -> Value:
    """A number of 24 bits that grows with the element, and is not 0.

    Example: −1, 0 and 1 give 0x407FFF, 0x800000 and 0xBF8000.
    """
    negative = element[-1]
    return Cat(element[:-1] ^ negative.replicate(len(element) - 1), ~negative)


def _element(order: Value) -> Value:
    """The element of a number of ``_order``."""
    negative = ~order[-1]
    return Cat(order[:-1] ^ negative.replicate(len(order) - 1), negative)

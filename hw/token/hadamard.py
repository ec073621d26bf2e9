"""Walsh-Hadamard transform of a stream of integers, by adders alone."""

from amaranth.hdl import EnableInserter, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_choice, check_integer
from ...golden.hadamard import HADAMARD_SIZES

__all__ = ["HadamardTransform"]

#: Most lanes, and most bits of an input.
_MOST_LANES, _MOST_BITS = 64, 32


def _beat(lanes: int, width: int) -> data.ArrayLayout:
    """Layout of signed values, the first one lowest."""
    return data.ArrayLayout(signed(width), lanes)


class _Step(wiring.Component):
    """One step of the transform: sums and differences of values that are ``distance`` apart.

    There is no handshake: a surrounding ``EnableInserter`` stops all steps together. A beat is
    taken in every enabled cycle with ``i_valid``, whatever the step delivers.

    Within a beat, for a distance below the lanes, the latency is 1 cycle. Between beats, with
    D = ``distance / lanes``, the first D beats of a block wait in a memory. Each of the next D
    beats gives its sum with the waiting one 1 cycle later, and the difference takes its place. The
    D differences leave one per cycle while the next block begins. They leave without a next block
    too.

    A difference leaves in every enabled cycle, and a beat of the next block arrives in some of
    them. No place is therefore written before its difference has left, and no sum is ready before
    all differences have left.

    Parameters
    ----------
    lanes : values in a beat
    width : bits of a value at the input; a bit more at the output
    distance : places between the values of a pair, a power of two

    Members
    -------
    i : In(``width`` bits for each lane)
    i_valid : In(1); ``i`` has a beat
    o : Out(one bit more for each lane)
    o_valid : Out(1); ``o`` has a beat; it is a register, as ``o`` is
    """

    def __init__(self, *, lanes: int, width: int, distance: int) -> None:
        self._lanes, self._distance = lanes, distance
        super().__init__(
            {
                "i": In(_beat(lanes, width)),
                "i_valid": In(1),
                "o": Out(_beat(lanes, width + 1)),
                "o_valid": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self._distance < self._lanes:
            self._within_a_beat(m)
        else:
            self._between_beats(m)
        return m

    def _within_a_beat(self, m: Module) -> None:
        """Join pairs of lanes."""
        m.d.sync += self.o_valid.eq(self.i_valid)
        for lane in range(self._lanes):
            # The bit of the distance tells the first value of a pair from the second one.
            first, second = self.i[lane & ~self._distance], self.i[lane | self._distance]
            joined = first - second if lane & self._distance else first + second
            m.d.sync += self.o[lane].eq(joined)

    def _between_beats(self, m: Module) -> None:
        """Join each beat of the second half of a block with its partner in the memory."""
        depth = self._distance // self._lanes
        shape = self.o.shape()
        m.submodules.waiting = waiting = Memory(shape=Shape.cast(shape).width, depth=depth, init=[])
        read, write = waiting.read_port(domain="comb"), waiting.write_port()
        place, second = Signal(range(depth)), Signal()
        # Differences that have not left: the place of the next one, and whether there is one.
        leaving, left = Signal(), Signal(range(depth))
        partner, stored = data.View(shape, read.data), Signal(shape)
        m.d.comb += [
            read.addr.eq(Mux(leaving, left, place)),
            write.addr.eq(place),
            write.data.eq(Value.cast(stored)),
            write.en.eq(self.i_valid),
        ]
        m.d.sync += self.o_valid.eq(leaving | (self.i_valid & second))
        for lane in range(self._lanes):
            m.d.comb += stored[lane].eq(Mux(second, partner[lane] - self.i[lane], self.i[lane]))
            m.d.sync += self.o[lane].eq(Mux(leaving, partner[lane], partner[lane] + self.i[lane]))
        with m.If(leaving):
            m.d.sync += [left.eq(left + 1), leaving.eq(left != depth - 1)]
        with m.If(self.i_valid):
            m.d.sync += place.eq(place + 1)
            with m.If(place == depth - 1):
                # Depths are powers of two, but one place has a counter without bits.
                m.d.sync += [second.eq(~second), place.eq(0)]
                with m.If(second):
                    m.d.sync += [leaving.eq(1), left.eq(0)]


class HadamardTransform(wiring.Component):
    """Transforms blocks of n integers: ``y = H x``, exact, with adders and no multiplier.

    H has the entries 1 and −1 in Sylvester's order, and the golden function is
    ``golden.hadamard.walsh_hadamard``. The result is not normalized, so that no bit is lost: it has
    ``log2(n)`` more bits than the input. The factor 1/√n belongs to the scale of the vector. It is
    a shift by ``log2(n) / 2`` for n = 64, 256 and 1,024. Signs of the inputs, which
    some models have in front of the transform, belong to the source of the stream.

    The transform is a row of ``log2(n)`` steps, the farthest pairs first. Step ``i`` replaces two
    values that are ``n / 2^i`` apart by their sum and their difference. Each step has two adders
    for each pair of lanes. Steps between beats keep ``n / lanes − 1`` beats in all.

    Latency: from the first beat of a block to the first beat of its result
    ``n / lanes − 1 + log2(n)`` cycles, the property ``latency``. Throughput: one beat per cycle, a
    block in ``n / lanes`` cycles, blocks back to back. While the output waits, all steps wait.

    Example: n = 64 and 8 lanes. The beats of a block arrive in cycles 0 to 7, and its results leave
    in cycles 13 to 20. A block that arrives in cycles 8 to 15 leaves in cycles 21 to 28.

    Corner cases:

    - Gaps between the beats of a block delay its results and change none.
    - The results of the last block leave without a next one.
    - The smallest input of all n values gives ``−n · 2^(width − 1)``, the smallest result. No input
      overflows.
    - A reset in the middle of a block drops it, and all blocks on their way.

    Parameters
    ----------
    size : n, one of ``HADAMARD_SIZES``
    lanes : values in a beat, a power of two from 1 to 64, and at most n
    width : bits of an input, 2 to 32

    Raises
    ------
    TypeError
        If a parameter is not an integer.
    ValueError
        If a parameter is not legal.

    Members
    -------
    i : In(stream of signed ``width`` bits for each lane); ready depends on the ready of ``o``
    o : Out(stream of signed ``width + log2(size)`` bits for each lane); depends on registers alone
    """

    def __init__(self, *, size: int, lanes: int, width: int = 8) -> None:
        self._size = check_choice("size", size, HADAMARD_SIZES)
        self._lanes = check_integer("lanes", lanes, 1, _MOST_LANES)
        if lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two, not {lanes}")
        self._width = check_integer("width", width, 2, _MOST_BITS)
        super().__init__(
            {
                "i": In(stream.Signature(_beat(lanes, width))),
                "o": Out(stream.Signature(_beat(lanes, width + self.steps))),
            }
        )

    @property
    def steps(self) -> int:
        """Steps of the transform, and bits that a result has more than an input."""
        return self._size.bit_length() - 1

    @property
    def latency(self) -> int:
        """Cycles from the first beat of a block to the first beat of its result."""
        return self._size // self._lanes - 1 + self.steps

    def elaborate(self, platform: object) -> Module:
        m = Module()
        running = ~self.o.valid | self.o.ready
        m.d.comb += self.i.ready.eq(running)
        beat, valid = self.i.payload, self.i.valid
        for index in range(self.steps):
            # The farthest pairs come first: their memory is the largest, and its values narrow.
            step = _Step(
                lanes=self._lanes, width=self._width + index, distance=self._size >> index + 1
            )
            m.submodules[f"step{index}"] = EnableInserter(running)(step)
            m.d.comb += [step.i.eq(beat), step.i_valid.eq(valid)]
            beat, valid = step.o, step.o_valid
        m.d.comb += [self.o.payload.eq(beat), self.o.valid.eq(valid)]
        return m

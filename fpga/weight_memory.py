"""Weights on the chip: written byte by byte over the link, read a beat per clock."""

from dataclasses import dataclass

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MemoryShape", "WeightMemory"]

#: Words of 16 bits in one SB_SPRAM256KA of an iCE40UP5K, which has four.
_SPRAM_WORDS, _SPRAMS = 16_384, 4


@dataclass(frozen=True, kw_only=True)
class MemoryShape:
    """A weight memory.

    Parameters
    ----------
    beats : how many it holds
    words_per_beat : 1, or 2 where a beat is read in two clocks
    spram : made of the iCE40UP5K's four single-port RAMs, 64 bits in all, and not of block RAM
    """

    beats: int
    words_per_beat: int = 1
    spram: bool = False

    def __post_init__(self) -> None:
        if self.words_per_beat not in (1, 2):
            raise ValueError(f"words_per_beat must be 1 or 2, not {self.words_per_beat}")
        words = self.beats * self.words_per_beat
        if self.beats < 1 or self.beats >= 2**24 or (self.spram and words > _SPRAM_WORDS):
            raise ValueError(f"beats must fit the memory, not be {self.beats}")


class WeightMemory(wiring.Component):
    """A single-port memory of weight beats with one address, which counts up.

    Latency: 3 clocks from ``load`` to the first beat (4 with two words). Throughput: a beat in
    ``words_per_beat`` clocks; a word written per clock.

    Parameters
    ----------
    shape : size and make
    beat_bytes : of a beat

    Members
    -------
    load : In(1); set the address, in beats, and begin to read ``count`` beats, if any
    address, count : In(24)
    write : In(stream of words); goes to the address, which then counts up; waits while reading
    beats : Out(stream of beats)
    reading : Out(1); beats are still to come

    Raises
    ------
    ValueError
        If a beat is not a whole number of words, or words do not fit the memory's make.
    """

    def __init__(self, shape: MemoryShape, *, beat_bytes: int) -> None:
        if beat_bytes % shape.words_per_beat:
            raise ValueError(
                f"beat_bytes must be a multiple of {shape.words_per_beat}, not {beat_bytes}"
            )
        self._shape = shape
        #: Bits of a word.
        self.word = 8 * beat_bytes // shape.words_per_beat
        if shape.spram and self.word != 16 * _SPRAMS:
            raise ValueError(f"words of SPRAM must have {16 * _SPRAMS} bits, not {self.word}")
        super().__init__(
            {
                "load": In(1),
                "address": In(24),
                "count": In(24),
                "write": In(stream.Signature(self.word)),
                "beats": Out(stream.Signature(8 * beat_bytes)),
                "reading": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self._shape
        ratio = shape.words_per_beat
        words = shape.beats * ratio
        place = Signal(range(words), reset_less=True)
        left = Signal(range(words + 1))
        read = Signal()
        data = Signal(self.word)
        store = Signal()
        m.d.comb += [
            self.reading.eq((left != 0) | self.beats.valid),
            self.write.ready.eq(~self.reading),
            store.eq(self.write.valid & self.write.ready),
        ]
        if shape.spram and platform is not None:
            for index in range(_SPRAMS):
                part = slice(16 * index, 16 * index + 16)
                m.submodules[f"spram{index}"] = Instance(
                    "SB_SPRAM256KA",
                    i_CLOCK=ClockSignal(),
                    i_ADDRESS=place,
                    i_DATAIN=self.write.p[part],
                    i_MASKWREN=Const(0b1111, 4),
                    i_WREN=store,
                    i_CHIPSELECT=store | read,
                    i_STANDBY=Const(0, 1),
                    i_SLEEP=Const(0, 1),
                    i_POWEROFF=Const(1, 1),  # Low turns it off.
                    o_DATAOUT=data[part],
                )
        else:
            m.submodules.words = storage = memory.Memory(
                shape=self.word, depth=words, init=[], attrs={"ram_style": "block"}
            )
            write_port, read_port = storage.write_port(), storage.read_port()
            m.d.comb += [
                write_port.addr.eq(place),
                write_port.data.eq(self.write.p),
                write_port.en.eq(store),
                read_port.addr.eq(place),
                read_port.en.eq(read),
                data.eq(read_port.data),
            ]
        with m.If(self.load):
            m.d.sync += [
                place.eq(Cat(Const(0, ratio - 1), self.address)),
                left.eq(Cat(Const(0, ratio - 1), self.count)),
            ]
        with m.Elif(store | read):
            m.d.sync += place.eq(place + 1)
        with m.If(read):
            m.d.sync += left.eq(left - 1)

        taken = ~self.beats.valid | self.beats.ready
        if ratio == 1:
            m.d.comb += [read.eq((left != 0) & taken), self.beats.p.eq(data)]
            with m.If(taken):
                m.d.sync += self.beats.valid.eq(left != 0)
        else:
            # The first word of a beat comes in the clock in which the second is read, and waits.
            low = Signal.like(data, reset_less=True)
            first, second = Signal(), Signal()
            m.d.comb += [
                first.eq((left != 0) & ~second & taken),
                read.eq(first | second),
                self.beats.p.eq(Cat(low, data)),
            ]
            m.d.sync += second.eq(first)
            with m.If(second):
                m.d.sync += [low.eq(data), self.beats.valid.eq(1)]
            with m.Elif(self.beats.ready):
                m.d.sync += self.beats.valid.eq(0)
        return m

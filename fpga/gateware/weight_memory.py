"""Weights on the chip: written byte by byte over the link, read a beat per clock."""

from dataclasses import dataclass

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MemoryShape", "WeightMemory"]

#: Words of 16 bits in one SB_SPRAM256KA of an iCE40UP5K, which has four.
_SPRAM_WORDS, _SPRAMS = 16_384, 4


#: Beats that a memory in parts reads ahead, a power of two, and the most parts: with these the
#: first of so many beats is gone before the last is asked for.
_AHEAD, _PARTS = 16, 12


@dataclass(frozen=True, kw_only=True)
class MemoryShape:
    """A weight memory.

    Parameters
    ----------
    beats : how many it holds
    words_per_beat : 1, or 2 where a beat is read in two clocks
    spram : made of the iCE40UP5K's four single-port RAMs, 64 bits in all, and not of block RAM
    parts : 1 to 12; more than one for a memory that spans a chip, see ``WeightMemory``

    Raises
    ------
    ValueError
        If a value is not legal, or there are parts and not one word per beat of block RAM.
    """

    beats: int
    words_per_beat: int = 1
    spram: bool = False
    parts: int = 1

    def __post_init__(self) -> None:
        if self.words_per_beat not in (1, 2):
            raise ValueError(f"words_per_beat must be 1 or 2, not {self.words_per_beat}")
        most = _PARTS if self.words_per_beat == 1 and not self.spram else 1
        if not 1 <= self.parts <= most:
            raise ValueError(f"parts must be from 1 to {most}, not {self.parts}")
        words = self.beats * self.words_per_beat
        if self.beats < 1 or self.beats >= 2**24 or (self.spram and words > _SPRAM_WORDS):
            raise ValueError(f"beats must fit the memory, not be {self.beats}")


class WeightMemory(wiring.Component):
    """A single-port memory of weight beats with one address, which counts up.

    In one part, it is read as the beats are taken. Latency: 3 clocks from ``load`` to the first
    beat (4 with two words). Throughput: a beat in ``words_per_beat`` clocks; a word written per
    clock.

    In several parts, each holds some of a beat's bytes, and addresses and enables go from part to
    part, a register in each: no register reaches farther than its part and the next. What a part
    reads waits in a queue there. Latency: ``parts + 5`` clocks from ``load`` to the first beat.
    Throughput: a beat per clock; a word written in ``parts + 1`` clocks.

    Parameters
    ----------
    shape : size and make
    beat_bytes : of a beat
    rows : of weights in a beat, one behind the other; a part holds the same lanes of all of them

    Members
    -------
    load : In(1); set the address, in beats, and begin to read ``count`` beats, if any; not while
        ``reading``
    address, count : In(24)
    write : In(stream of words); goes to the address, which then counts up; waits while reading
    beats : Out(stream of beats)
    reading : Out(1); beats are still to come, or were to come before a reset

    Raises
    ------
    ValueError
        If a beat is not a whole number of words, words do not fit the memory's make, or a part has
        no byte of a beat.
    """

    def __init__(self, shape: MemoryShape, *, beat_bytes: int, rows: int = 1) -> None:
        if beat_bytes % shape.words_per_beat:
            raise ValueError(
                f"beat_bytes must be a multiple of {shape.words_per_beat}, not {beat_bytes}"
            )
        self._shape = shape
        #: Bits of a word.
        self.word = 8 * beat_bytes // shape.words_per_beat
        if shape.spram and self.word != 16 * _SPRAMS:
            raise ValueError(f"words of SPRAM must have {16 * _SPRAMS} bits, not {self.word}")
        # Of each part. A row's bytes go from the first part to the last.
        self._bytes: list[list[int]] = [[] for _ in range(shape.parts)]
        for index in range(beat_bytes):
            place = (2 * index + 1) * rows % (2 * beat_bytes)
            self._bytes[place * shape.parts // (2 * beat_bytes)].append(index)
        if not all(self._bytes):
            raise ValueError(
                f"parts must have a byte each of {beat_bytes} in {rows} rows, not be {shape.parts}"
            )
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
        ratio = self._shape.words_per_beat
        words = self._shape.beats * ratio
        place = Signal(range(words), reset_less=True)
        left = Signal(range(words + 1))
        # A word goes from or to the address.
        read, stored = Signal(), Signal()
        m.d.comb += stored.eq(self.write.valid & self.write.ready)
        with m.If(self.load):
            m.d.sync += [
                place.eq(Cat(Const(0, ratio - 1), self.address)),
                left.eq(Cat(Const(0, ratio - 1), self.count)),
            ]
        with m.Elif(stored | read):
            m.d.sync += place.eq(place + 1)
        with m.If(read):
            m.d.sync += left.eq(left - 1)
        if self._shape.parts == 1:
            self._whole(m, platform, place, left, read, stored)
        else:
            self._parts(m, place, left, read)
        return m

    def _block_ram(
        self, m: Module, name: str, address: Signal, read: Signal, write: Signal, words: Value
    ) -> Value:
        """A block RAM as a submodule; what it read."""
        m.submodules[name] = storage = memory.Memory(
            shape=len(words),
            depth=self._shape.beats * self._shape.words_per_beat,
            init=[],
            attrs={"ram_style": "block"},
        )
        write_port, read_port = storage.write_port(), storage.read_port()
        m.d.comb += [
            write_port.addr.eq(address),
            write_port.data.eq(words),
            write_port.en.eq(write),
            read_port.addr.eq(address),
            read_port.en.eq(read),
        ]
        return read_port.data

    def _whole(
        self,
        m: Module,
        platform: object,
        place: Signal,
        left: Signal,
        read: Signal,
        stored: Signal,
    ) -> None:
        shape = self._shape
        data = Signal(self.word)
        m.d.comb += [
            self.reading.eq((left != 0) | self.beats.valid),
            self.write.ready.eq(~self.reading),
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
                    i_WREN=stored,
                    i_CHIPSELECT=stored | read,
                    i_STANDBY=Const(0, 1),
                    i_SLEEP=Const(0, 1),
                    i_POWEROFF=Const(1, 1),  # Low turns it off.
                    o_DATAOUT=data[part],
                )
        else:
            m.d.comb += data.eq(
                self._block_ram(m, "words", place, read, stored, Value.cast(self.write.p))
            )
        taken = ~self.beats.valid | self.beats.ready
        if shape.words_per_beat == 1:
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

    def _parts(self, m: Module, place: Signal, left: Signal, read: Signal) -> None:
        # Only what begins something has a reset, which would otherwise reach every part. After a
        # reset, beats that were asked for come and go.
        drain = Signal(init=1)
        # Beats asked for and not yet taken, and those of them that are in every queue.
        ahead = Signal(range(_AHEAD + 1), reset_less=True)
        waiting = Signal.like(ahead)
        valid = Signal(reset_less=True)
        store, storing = Signal(), Signal(reset_less=True)
        taken, arrived = Signal(), Signal()
        m.d.comb += [
            self.reading.eq((left != 0) | (ahead != 0)),
            self.beats.valid.eq(valid),
            read.eq((left != 0) & ~ahead[-1]),
            taken.eq(valid & (self.beats.ready | drain)),
            # What is written stays until the last part has it.
            store.eq(self.write.valid & ~self.reading & ~storing),
        ]
        with m.If(ahead == 0):
            m.d.sync += drain.eq(0)
        with m.If(read & ~taken):
            m.d.sync += ahead.eq(ahead + 1)
        with m.Elif(~read & taken):
            m.d.sync += ahead.eq(ahead - 1)
        with m.If(arrived & ~taken):
            m.d.sync += [waiting.eq(waiting + 1), valid.eq(1)]
        with m.Elif(~arrived & taken):
            m.d.sync += [waiting.eq(waiting - 1), valid.eq(waiting != 1)]
        with m.If(store):
            m.d.sync += storing.eq(1)
        with m.Elif(self.write.ready):
            m.d.sync += storing.eq(0)

        def behind(value: Signal, name: str) -> Signal:
            """A register behind a value."""
            register = Signal.like(value, name=name, reset_less=True)
            m.d.sync += register.eq(value)
            return register

        address, fetch, write, came = place, read, store, read
        for part, indices in enumerate(self._bytes):
            address = behind(address, f"address{part}")
            fetch = behind(fetch, f"fetch{part}")
            write = behind(write, f"write{part}")
            words, data = [
                Cat(value[8 * index : 8 * index + 8] for index in indices)
                for value in (Value.cast(self.write.p), Value.cast(self.beats.p))
            ]
            # Registers on both sides of the block RAMs, which lie far away and answer late.
            given = Signal.like(words, name=f"given{part}", reset_less=True)
            m.d.sync += given.eq(words)
            found = self._block_ram(m, f"words{part}", address, fetch, write, given)
            kept = Signal.like(found, name=f"kept{part}", reset_less=True)
            m.d.sync += kept.eq(found)
            came = behind(behind(fetch, f"coming{part}"), f"came{part}")
            m.submodules[f"queue{part}"] = queue = memory.Memory(
                shape=len(words), depth=_AHEAD, init=[]
            )
            put, get = queue.write_port(), queue.read_port(domain="comb")
            # Each counts for itself, which keeps tools from making the counters one again.
            produce = Signal(range(_AHEAD), name=f"produce{part}", reset_less=True)
            consume = Signal(range(_AHEAD), name=f"consume{part}", reset_less=True)
            with m.If(came):
                m.d.sync += produce.eq(produce + 1)
            with m.If(taken):
                m.d.sync += consume.eq(consume + 1)
            m.d.comb += [
                put.addr.eq(produce),
                put.data.eq(kept),
                put.en.eq(came),
                get.addr.eq(consume),
                data.eq(get.data),
            ]
        m.d.comb += [arrived.eq(came), self.write.ready.eq(write)]

"""Weight memory on the chip: written over the link, read a beat per cycle."""

from dataclasses import dataclass

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...golden.checks import check_flag, check_integer

__all__ = ["MemoryShape", "WeightMemory"]

#: Words of 16 bits in one SB_SPRAM256KA of an iCE40UP5K, and the number of these in the device.
_SPRAM_WORDS, _SPRAMS = 16_384, 4


#: Beats that a memory in parts reads ahead, a power of two, and the most parts. With these numbers
#: the first of so many beats has left before the last is asked for.
_AHEAD, _PARTS = 16, 12


@dataclass(frozen=True, kw_only=True)
class MemoryShape:
    """Shape of a weight memory.

    Parameters
    ----------
    beats : number of beats that it holds, 1 to 2**24 − 1
    words_per_beat : 1, or 2: then reading a beat takes two cycles
    spram : whether it consists of the iCE40UP5K's four single-port RAMs, which have 64 bits
        together, instead of block RAM
    parts : 1 to 12; more than one for a memory that spans a device, see ``WeightMemory``. Several
        parts need one word per beat and block RAM.

    Raises
    ------
    TypeError
        If a field has the wrong type.
    ValueError
        If a value is not legal, or does not go with the others.
    """

    beats: int
    words_per_beat: int = 1
    spram: bool = False
    parts: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "spram", check_flag("spram", self.spram))
        most = _PARTS if self.words_per_beat == 1 and not self.spram else 1
        for name, high in (("beats", 2**24 - 1), ("words_per_beat", 2), ("parts", most)):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), 1, high))
        room = _SPRAM_WORDS // self.words_per_beat
        if self.spram and self.beats > room:
            raise ValueError(f"beats must be at most {room} in SPRAM, not {self.beats}")


class WeightMemory(wiring.Component):
    """A single-port memory of weight beats with one address, which counts up.

    A memory in one part is read as its beats are taken: the block RAM keeps its output until then.
    With two words per beat the first waits in a register until the second has been read.

    A memory in several parts is for devices whose block RAMs lie far apart. Each part holds some
    bytes of a beat. Addresses and enables pass from part to part through a register in each, so
    that no wire is longer than the way to the next part. The words that a part reads wait in a
    queue there. All queues are read in the same cycle, so that a beat is whole again. The memory
    reads ahead by at most as many beats as a queue holds.

    ======= ======================================================================================
    cycle   a beat that is read in several parts
    ======= ======================================================================================
    0       ``load``
    1       the address counts; the beat is asked for
    2 + p   part p has the address in its register
    3 + p   its block RAM has read
    4 + p   the word is in a register behind the block RAM
    5 + p   the word is in the queue; the beat is offered when the last part has it
    ======= ======================================================================================

    Latency: 3 cycles from ``load`` to the first beat (4 with two words); ``parts + 5`` in several
    parts. Throughput: a beat in ``words_per_beat`` cycles, and a word written per cycle; in several
    parts a beat per cycle, and a word written in ``parts + 1`` cycles.

    Parameters
    ----------
    shape : size and kind of RAM
    beat_bytes : bytes of a beat, a multiple of ``words_per_beat``
    rows : rows of weights in a beat, one behind the other; a part holds the same lanes of all rows

    Members
    -------
    load : In(1); set the address and begin to read ``count`` beats; not while ``reading``
    address : In(24); address in beats, with ``load``
    count : In(24); beats to read, with ``load``; 0 to write
    write : In(stream of words of ``word`` bits); a word goes to the address, which then counts up;
        waits while ``reading``
    beats : Out(stream of ``8 · beat_bytes`` bits)
    reading : Out(1); beats are still to come, or were to come before a reset

    Raises
    ------
    TypeError
        If ``shape`` is not a ``MemoryShape``, or a number is not an integer.
    ValueError
        If a beat is not a whole number of words, if words do not fit the kind of RAM, or if a part
        has no byte of a beat.
    """

    def __init__(self, shape: MemoryShape, *, beat_bytes: int, rows: int = 1) -> None:
        if not isinstance(shape, MemoryShape):
            raise TypeError(f"shape must be a MemoryShape, not {shape!r}")
        beat_bytes = check_integer("beat_bytes", beat_bytes, 1)
        rows = check_integer("rows", rows, 1)
        if beat_bytes % shape.words_per_beat:
            raise ValueError(
                f"beat_bytes must be a multiple of {shape.words_per_beat}, not {beat_bytes}"
            )
        self._shape = shape
        self._word = 8 * beat_bytes // shape.words_per_beat
        if shape.spram and self._word != 16 * _SPRAMS:
            raise ValueError(f"words of SPRAM must have {16 * _SPRAMS} bits, not {self._word}")
        # The bytes of each part. A row's bytes go from the first part to the last.
        self._bytes: list[list[int]] = [[] for _ in range(shape.parts)]
        for index in range(beat_bytes):
            place = (2 * index + 1) * rows % (2 * beat_bytes)
            self._bytes[place * shape.parts // (2 * beat_bytes)].append(index)
        if not all(self._bytes):
            raise ValueError(
                f"each part must have one of the {beat_bytes} bytes of a beat in {rows} rows; "
                f"parts must be fewer, not {shape.parts}"
            )
        super().__init__(
            {
                "load": In(1),
                "address": In(24),
                "count": In(24),
                "write": In(stream.Signature(self._word)),
                "beats": Out(stream.Signature(8 * beat_bytes)),
                "reading": Out(1),
            }
        )

    @property
    def word(self) -> int:
        """Bits of a word."""
        return self._word

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ratio = self._shape.words_per_beat
        words = self._shape.beats * ratio
        place = Signal(range(words), reset_less=True)
        left = Signal(range(words + 1))
        # A word is read from the address, or was stored there.
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
        """Add a block RAM as a submodule.

        Parameters
        ----------
        m : the module
        name : name of the submodule; the floorplan finds it by ``words`` and a number
        address : address of reads and writes
        read : read the word at the address
        write : write ``words`` to the address; not together with ``read``
        words : the word to write, which also says how wide the memory is

        Returns
        -------
        The word that was read last, from the cycle after ``read`` on.
        """
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
        """Build a memory in one part.

        Parameters
        ----------
        m : the module
        platform : the platform; without one SPRAM is simulated by block RAM
        place : address of the next word
        left : words that are still to be read
        read : set by this method: the word at the address is read
        stored : a word is stored at the address
        """
        shape = self._shape
        data = Signal(self._word)
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
                    i_POWEROFF=Const(1, 1),  # Active low.
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
            # The first word of a beat comes in the cycle in which the second is read, and waits.
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
        """Build a memory in several parts.

        Parameters
        ----------
        m : the module
        place : address of the next beat
        left : beats that are still to be read
        read : set by this method: the beat at the address is asked for
        """
        # Only control registers have a reset, because a reset of all parts would have a high
        # fan-out. Beats that were asked for before a reset therefore still come: they are drained.
        drain = Signal(init=1)
        # Beats that were asked for and not yet taken, and those of them that are in every queue.
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
            # A word that is written stays on the stream until the last part has stored it.
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

        address, fetch, write, came = place, read, store, read
        for part in range(len(self._bytes)):
            address = _behind(m, address, f"address{part}")
            fetch = _behind(m, fetch, f"fetch{part}")
            write = _behind(m, write, f"write{part}")
            came = self._part(m, part, address, fetch, write, taken)
        m.d.comb += [arrived.eq(came), self.write.ready.eq(write)]

    def _part(
        self, m: Module, part: int, address: Signal, fetch: Signal, write: Signal, taken: Signal
    ) -> Signal:
        """Build the block RAM and the queue of a part.

        Parameters
        ----------
        m : the module
        part : number of the part
        address, fetch, write : the registers of the part: address, and whether to read or write
        taken : the next beat is taken, from the queues of all parts

        Returns
        -------
        Whether a word enters the queue.
        """
        words, data = [
            Cat(value[8 * index : 8 * index + 8] for index in self._bytes[part])
            for value in (Value.cast(self.write.p), Value.cast(self.beats.p))
        ]
        # Registers on both sides of the block RAMs: wires to them are long, and they are slow.
        given = _behind(m, words, f"given{part}")
        found = self._block_ram(m, f"words{part}", address, fetch, write, given)
        kept = _behind(m, found, f"kept{part}")
        came = _behind(m, _behind(m, fetch, f"coming{part}"), f"came{part}")
        m.submodules[f"queue{part}"] = queue = memory.Memory(
            shape=len(words), depth=_AHEAD, init=[]
        )
        put, get = queue.write_port(), queue.read_port(domain="comb")
        # Every queue has counters of its own under names of its own: tools would merge equal
        # counters into one with a high fan-out.
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
        return came


def _behind(m: Module, value: Value, name: str) -> Signal:
    """Add a register behind a value."""
    register = Signal.like(value, name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register

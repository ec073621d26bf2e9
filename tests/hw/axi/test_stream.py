"""AXI4-Stream words to beats and back, against lists of bytes."""

import random
from dataclasses import dataclass, field
from math import gcd

import pytest
from amaranth.sim import Simulator

from trilith.hw.axi.stream import AxiStreamReader, AxiStreamWriter

#: Bits of the bus, and bytes of a beat: narrower, equal, wider, dividing the bus or not.
SIZES = [(32, 1), (32, 3), (32, 4), (32, 8), (32, 20), (64, 5), (64, 20), (128, 16), (64, 6)]
PACES = [(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3)]


def words_of(packet: bytes, size: int) -> list[tuple[int, int, int]]:
    """The bus words (data, keep, last) of a packet."""
    words = []
    for at in range(0, max(len(packet), 1), size):
        piece = packet[at : at + size]
        last = at + size >= len(packet)
        words.append((int.from_bytes(piece, "little"), (1 << len(piece)) - 1, int(last)))
    return words


@dataclass
class Seen:
    """Beats as bytes, and the cycles of words, beats and errors."""

    beats: list[bytes] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    frame: list[int] = field(default_factory=list)
    keep: list[int] = field(default_factory=list)


def read(bits, size, words, *, gap=0.0, stall=0.0):
    """Send bus words through a reader until nothing more comes."""
    reader = AxiStreamReader(bus_bits=bits, beat_bytes=size)
    rng, seen = random.Random(7), Seen()

    async def bench(ctx):
        index, cycle, quiet, offered, waiting = 0, 0, 0, False, None
        while quiet < 20 + size:
            offered = offered or (index < len(words) and rng.random() >= gap)
            if offered:
                for port, value in zip(("tdata", "tkeep", "tlast"), words[index], strict=True):
                    ctx.set(getattr(reader.axis, port), value)
            ctx.set(reader.axis.tvalid, offered)
            ctx.set(reader.beats.ready, rng.random() >= stall)
            quiet += 1
            if ctx.get(reader.beats.valid):
                beat = ctx.get(reader.beats.p).to_bytes(size, "little")
                assert waiting in (None, beat), "a beat on offer must stay"
                waiting = beat
                if ctx.get(reader.beats.ready):
                    seen.beats.append(beat)
                    seen.given.append(cycle)
                    waiting, quiet = None, 0
            else:
                assert waiting is None, "a beat on offer must stay"
            for name in ("frame", "keep"):
                if ctx.get(getattr(reader, name)):
                    getattr(seen, name).append(cycle)
            if offered and ctx.get(reader.axis.tready):
                seen.taken.append(cycle)
                index, offered, quiet = index + 1, False, 0
            await ctx.tick()
            cycle += 1
            assert cycle < 20_000
        assert index == len(words)

    simulator = Simulator(reader)
    simulator.add_clock(1)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


@pytest.mark.parametrize(("bits", "size"), SIZES)
@pytest.mark.parametrize(("gap", "stall"), PACES)
def test_beats_are_the_bytes_of_their_packets(bits, size, gap, stall):
    rng = random.Random(3)
    beats = [rng.randbytes(size) for _ in range(30)]
    packets, at = [], 0
    while at < 30:
        count = rng.randint(1, 6)
        packets.append(b"".join(beats[at : at + count]))
        at += count
    words = [word for packet in packets for word in words_of(packet, bits // 8)]
    seen = read(bits, size, words, gap=gap, stall=stall)
    assert seen.beats == beats
    assert not seen.frame
    assert not seen.keep


@pytest.mark.parametrize(("bits", "size"), SIZES)
def test_the_reader_keeps_the_pace_of_its_wider_side(bits, size):
    """Without TLAST, from the second cycle on: the first one follows a reset."""
    data = random.Random(4).randbytes(12 * size * bits // 8)
    words = [(*word[:2], 0) for word in words_of(data, bits // 8)]
    seen = read(bits, size, words)
    assert seen.beats == [data[at : at + size] for at in range(0, len(data), size)]
    if size * 8 >= bits:
        assert seen.taken == list(range(1, len(words) + 1))
        assert seen.given[0] == seen.taken[-(-size * 8 // bits) - 1] + 1
    else:
        assert seen.taken[0] == 1
        assert seen.given == list(range(2, len(data) // size + 2))


@pytest.mark.parametrize(("bits", "size"), SIZES)
def test_bytes_of_an_incomplete_beat_are_dropped(bits, size):
    """Packets of each length up to a word more than two beats, with a whole beat between them."""
    unit = gcd(bits // 8, size)
    rng, beats, words, torn = random.Random(5), [], [], 0
    for length in range(1, 2 * size + bits // 8 + 1):
        packet, whole = rng.randbytes(length), rng.randbytes(size)
        words += words_of(packet, bits // 8) + words_of(whole, bits // 8)
        beats += [packet[at : at + size] for at in range(0, length - size + 1, size)] + [whole]
        torn += bool(length % unit) + bool(length // unit * unit % size)
    seen = read(bits, size, words)
    assert seen.beats == beats
    assert len(seen.frame) == torn
    assert not seen.keep


def test_a_word_without_bytes_ends_its_packet():
    words = [(0x44332211, 0xF, 0), (0, 0, 1), (0x77665544, 0xF, 1)]
    assert read(32, 4, words).beats == [b"\x11\x22\x33\x44", b"\x44\x55\x66\x77"]
    seen = read(32, 8, words)
    assert (seen.beats, len(seen.frame)) == ([], 2)


@pytest.mark.parametrize(
    ("keep", "last"),
    [(0b1110, 1), (0b0101, 1), (0b1011, 1), (0b0111, 0), (0b0001, 0), (0b1000, 1), (0b1101, 0)],
)
def test_a_wrong_keep_is_an_error_and_its_word_is_full(keep, last):
    words = [(0x03020100, 0xF, 0), (0x07060504, keep, last), (0x0B0A0908, 0xF, 1)]
    seen = read(32, 4, words)
    assert seen.beats == [bytes(range(at, at + 4)) for at in (0, 4, 8)]
    assert seen.keep == [seen.taken[1]]
    assert not seen.frame


@pytest.mark.parametrize("keep", [0, 0xF])
def test_a_word_inside_a_packet_has_all_bytes_or_none(keep):
    words = [(0x03020100, 0xF, 0), (0x07060504, keep, 0), (0x0B0A0908, 0xF, 1)]
    seen = read(32, 4, words)
    assert len(seen.beats) == 2 + (keep == 0xF)
    assert not seen.keep
    assert not seen.frame


@dataclass
class Written:
    """Words of a writer, and the cycles of beats and words; ``empty`` has each cycle."""

    words: list[tuple[int, int, int]] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    valid: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)


def write(bits, size, beats, *, gap=0.0, stall=0.0, clear_at=None):
    """Send beats (bytes, last) through a writer until nothing more comes."""
    writer = AxiStreamWriter(beat_bytes=size, bus_bits=bits)
    rng, seen = random.Random(8), Written()

    async def bench(ctx):
        index, cycle, quiet, offered, waiting = 0, 0, 0, False, None
        while quiet < 20:
            offered = offered or (index < len(beats) and rng.random() >= gap)
            if offered:
                ctx.set(writer.beats.p.data, int.from_bytes(beats[index][0], "little"))
                ctx.set(writer.beats.p.last, beats[index][1])
            ctx.set(writer.beats.valid, offered)
            ctx.set(writer.axis.tready, cycle != clear_at and rng.random() >= stall)
            ctx.set(writer.clear, cycle == clear_at)
            quiet += 1
            if ctx.get(writer.axis.tvalid):
                ports = (writer.axis.tdata, writer.axis.tkeep, writer.axis.tlast)
                data, keep, last = (ctx.get(port) for port in ports)
                data &= (1 << 8 * keep.bit_length()) - 1
                assert waiting in (None, (data, keep, last)), "AXI: a word on offer must stay"
                waiting = (data, keep, last)
                seen.valid.append(cycle)
                if ctx.get(writer.axis.tready):
                    seen.words.append(waiting)
                    seen.given.append(cycle)
                    waiting, quiet = None, 0
            else:
                assert waiting is None, "AXI: a word on offer must stay"
            if offered and ctx.get(writer.beats.ready):
                index, offered, quiet = index + 1, False, 0
                seen.accepted.append(cycle)
            seen.empty.append(ctx.get(writer.empty))
            await ctx.tick()
            cycle += 1
            assert cycle < 20_000

    simulator = Simulator(writer)
    simulator.add_clock(1)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


@pytest.mark.parametrize(("bits", "size"), SIZES)
@pytest.mark.parametrize(("gap", "stall"), PACES)
def test_words_are_the_bytes_of_the_beats(bits, size, gap, stall):
    rng, packet = random.Random(6), b""
    beats, words = [], []
    for index in range(30):
        beat, last = rng.randbytes(size), index == 29 or rng.random() < 0.3
        beats.append((beat, int(last)))
        packet += beat
        if last:
            words += words_of(packet, bits // 8)
            packet = b""
    seen = write(bits, size, beats, gap=gap, stall=stall)
    assert seen.words == words
    assert seen.empty[0]
    assert seen.empty[-1]
    assert not all(seen.empty)


@pytest.mark.parametrize("clear_at", range(2, 12))
@pytest.mark.parametrize("size", [3, 5, 8])
def test_clear_drops_all_but_an_offered_word(size, clear_at):
    """The words after ``clear`` begin with the first beat that the writer takes after it."""
    beats = [(bytes([i] * size), 0) for i in range(1, 21)]
    writer = write(32, size, beats, clear_at=clear_at)
    before = b"".join(beats[i][0] for i, cycle in enumerate(writer.accepted) if cycle < clear_at)
    after = b"".join(beats[i][0] for i, cycle in enumerate(writer.accepted) if cycle > clear_at)
    given = sum(cycle < clear_at for cycle in writer.given) + (clear_at in writer.valid)
    words = words_of(before, 4)[:given] + words_of(after, 4)[: len(after) // 4]
    assert [word[:2] for word in writer.words] == [word[:2] for word in words]
    # A word that is left must wait for the bus; else nothing is left.
    assert writer.empty[clear_at + 1] != (clear_at in writer.valid)

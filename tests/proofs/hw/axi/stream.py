"""Theorems about the ends of AXI4-Stream."""

from amaranth.hdl import Array, Cat, Mux, Signal
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.hw.axi.stream import AxiStreamReader, AxiStreamWriter

_FILE = "hw/axi/stream.py"


def reader(bus_bits: int, beat_bytes: int) -> Bench:
    """Follow one unit of bytes, any one, from a word to a beat; hold the errors to the rules."""
    dut = AxiStreamReader(bus_bits=bus_bits, beat_bytes=beat_bytes)
    bench = Bench(dut)
    m, inside = bench.m, bench.inside
    axis, beats = dut.axis, dut.beats
    level, ended = inside["gearbox.level"], inside["gearbox.ended"]
    bits = len(inside["gearbox.held0"])
    unit = bits // 8
    units_in, units_out = bus_bits // bits, beat_bytes // unit
    places = units_in + units_out - 1
    # TKEEP that marks the lowest bytes only; all or none of them, unless the packet ends.
    keep = axis.tkeep
    lowest = Cat(keep == (1 << count) - 1 for count in range(len(keep) + 1))
    legal = lowest.any() & (axis.tlast | keep.all() | ~keep.any())
    taken = axis.tvalid & axis.tready
    marked = sum(keep)
    count = Mux(legal, marked // unit, units_in)
    bench.claim("keep", dut.keep == (taken & ~legal))
    bench.stays("beats", beats)
    # Followed: unit ``which`` of a word; ``place`` is its place in its beat.
    pick, which = bench.input("pick"), bench.any("which", range(units_in))
    follows, ahead = Signal(name="follows"), Signal(range(places), name="ahead")
    followed = Signal(bits, name="followed", reset_less=True)
    place = Signal(range(units_out), name="place")
    # Units of the packet so far, modulo those of a beat.
    phase = Signal(range(units_out), name="phase")
    leaves = beats.valid & beats.ready
    # Whole units of an incomplete beat at the end of a packet are dropped, all at once.
    dropped = ended & (level != 0) & (level < units_out)
    gone = Mux(leaves, units_out, Mux(dropped, level, 0))
    torn = taken & legal & (marked % unit != 0)
    bench.claim("frame", dut.frame == (torn | dropped))
    with m.If(taken):
        m.d.sync += phase.eq(Mux(axis.tlast, 0, (phase + count) % units_out))
    with m.If(taken & pick & (which < count) & ~follows):
        m.d.sync += [follows.eq(1), ahead.eq(level - gone + which)]
        m.d.sync += place.eq((phase + which) % units_out)
        m.d.sync += followed.eq(axis.tdata.word_select(which, bits))
    with m.Elif(follows):
        m.d.sync += [ahead.eq(ahead - gone), follows.eq(ahead >= gone)]
    here = follows & beats.valid & (ahead < units_out)
    bench.claim("unit", ~here | (beats.p.word_select(place, bits) == followed))
    bench.claim("place", ~here | (ahead == place))
    bench.cover("unit", here & leaves)
    bench.cover("frame", dut.frame)
    bench.reach = units_out + 3
    # Invariants of the gearbox.
    bench.claim("level", level <= places)
    units = Array(inside[f"gearbox.held{index}"] for index in range(places))
    bench.claim("ahead", ~follows | (ahead < level))
    bench.claim("held", ~follows | (units[ahead] == followed))
    bench.claim("modulo", ~follows | (ahead % units_out == place))
    bench.claim("phase", (phase < units_out) & (ended | (level % units_out == phase)))
    bench.claim("ended", ~ended | (phase == 0))
    return bench


def writer(beat_bytes: int, bus_bits: int) -> Bench:
    """Follow one unit of bytes, any one, from a beat to a bus word."""
    dut = AxiStreamWriter(beat_bytes=beat_bytes, bus_bits=bus_bits)
    bench = Bench(dut)
    m, inside = bench.m, bench.inside
    axis, beats, level = dut.axis, dut.beats, inside["gearbox.level"]
    bits = len(inside["gearbox.held0"])
    unit = bits // 8
    units_in, units_out = beat_bytes // unit, bus_bits // bits
    places = units_in + units_out - 1
    taken, pop = beats.valid & beats.ready, axis.tvalid & axis.tready
    marked = sum(axis.tkeep[::unit])
    whole = Cat(axis.tkeep == (1 << unit * count) - 1 for count in range(1, units_out + 1))
    bench.claim("lowest", ~axis.tvalid | whole.any())
    bench.claim("partial", ~axis.tvalid | axis.tlast | axis.tkeep.all())
    bench.word_stays(axis.tvalid, axis.tready, axis.tdata, axis.tkeep, axis.tlast)
    bench.claim("empty", dut.empty == (level == 0))
    pick, which = bench.input("pick"), bench.any("which", range(units_in))
    follows, ahead = Signal(name="follows"), Signal(range(places), name="ahead")
    followed = Signal(bits, name="followed", reset_less=True)
    ends = Signal(name="ends", reset_less=True)
    gone = Mux(pop, marked, 0)
    offered = axis.tvalid & (ahead < marked)
    with m.If(taken & pick & (which < units_in) & ~follows):
        m.d.sync += [follows.eq(1), ahead.eq(level - gone + which)]
        m.d.sync += followed.eq(beats.p.data.word_select(which, bits))
        m.d.sync += ends.eq(beats.p.last & (which == units_in - 1))
    with m.Elif(follows):
        m.d.sync += [ahead.eq(ahead - gone), follows.eq(ahead >= gone)]
        with m.If(dut.clear & ~offered):
            m.d.sync += follows.eq(0)
    here = follows & offered
    bench.claim("unit", ~here | (axis.tdata.word_select(ahead, bits) == followed))
    bench.claim("last", ~(here & ends) | (axis.tlast & (ahead + 1 == marked)))
    bench.cover("last", here & ends & axis.tready)
    bench.cover("clear", here & dut.clear)
    bench.reach = places + 3
    held = Array(inside[f"gearbox.held{index}"] for index in range(places))
    bench.claim("level", level <= places)
    bench.claim("ahead", ~follows | (ahead < level))
    bench.claim("held", ~follows | (held[ahead] == followed))
    ended = inside["gearbox.ended"]
    bench.claim("ends", ~(follows & ends) | (ended & (ahead + 1 == level)))
    return bench


THEOREMS = [
    Theorem(
        name="AXI4-Stream reader",
        file=_FILE,
        statement="Each unit of bytes, whichever it is, leaves once in the beat and at the place "
        "that its number within the packet gives, unless its packet ends inside the beat. `frame` "
        "and `keep` are raised exactly by the documented words. An offered beat stays until it is "
        "taken.",
        cases={
            f"{bus} bits to {beat} bytes": Case(
                build=lambda bus=bus, beat=beat: reader(bus, beat), depth=1, quick=quick
            )
            for bus, beat, quick in (
                (32, 6, True),
                (32, 8, True),
                (64, 4, True),
                (64, 8, True),
                (64, 20, False),
            )
        },
    ),
    Theorem(
        name="AXI4-Stream writer",
        file=_FILE,
        statement="Each unit of bytes of a beat, whichever it is, leaves once, in order, in a byte "
        "that TKEEP marks, unless a clear drops it before it is offered. TLAST marks the word with "
        "the end of a packet; all other words are full. An offered word stays until it is taken, "
        "also during a clear.",
        cases={
            f"{beat} bytes to {bus} bits": Case(
                build=lambda bus=bus, beat=beat: writer(beat, bus), depth=1, quick=quick
            )
            for beat, bus, quick in (
                (6, 32, True),
                (8, 32, True),
                (4, 64, True),
                (20, 64, False),
            )
        },
    ),
]

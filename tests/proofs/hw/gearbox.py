"""Theorems about the gearbox."""

from amaranth.hdl import Array, Mux, Signal, Value
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.hw.gearbox import Gearbox

_FILE = "hw/gearbox.py"


def order(in_bytes: int, out_bytes: int) -> Bench:
    """Follow one unit, any one, from the input to the output."""
    gearbox = Gearbox(in_bytes=in_bytes, out_bytes=out_bytes)
    bench = Bench(gearbox)
    m, inside = bench.m, bench.inside
    unit = 8 * gearbox.unit_bytes
    units_in, units_out = in_bytes // gearbox.unit_bytes, out_bytes // gearbox.unit_bytes
    places = units_in + units_out - 1
    i, o, level = gearbox.i, gearbox.o, inside["level"]
    push, pop = i.valid & i.ready, o.valid & o.ready
    bench.assume("count", i.p.count <= units_in)
    bench.claim("level", level <= places)
    bench.claim("empty", gearbox.empty == (level == 0))
    bench.claim("whole", ~o.valid | (o.p.count == units_out) | o.p.last)
    bench.claim("some", ~o.valid | ((o.p.count >= 1) & (o.p.count <= units_out)))
    # All that is offered stays; units that do not count may change.
    waited = bench.past(o.valid & ~o.ready)
    for name, value in (("count", o.p.count), ("last", o.p.last)):
        bench.claim(f"{name}_stays", ~waited | (o.valid & (value == bench.past(value))))
    for place in range(units_out):
        before = bench.past(o.p.data[place])
        counts = waited & (place < o.p.count)
        bench.claim(f"data{place}_stays", ~counts | (o.p.data[place] == before))
    # The followed unit: place ``which`` of a piece that ``pick`` selects.
    pick, which = bench.input("pick"), bench.any("which", range(units_in))
    follows, ahead = Signal(name="follows"), Signal(range(places), name="ahead")
    followed = Signal(unit, name="followed", reset_less=True)
    ends = Signal(name="ends", reset_less=True)
    leaves = pop & (ahead < o.p.count)
    after = level - Mux(pop, o.p.count, 0)
    with m.If(push & pick & (which < i.p.count) & ~follows):
        m.d.sync += [follows.eq(1), ahead.eq(after + which), followed.eq(i.p.data[which])]
        m.d.sync += ends.eq(i.p.last & (which + 1 == i.p.count))
    with m.Elif(follows):
        with m.If(pop):
            m.d.sync += [ahead.eq(ahead - o.p.count), follows.eq(~leaves)]
        # A clear drops all but an offered piece.
        with m.If(gearbox.clear & ~(o.valid & (ahead < o.p.count))):
            m.d.sync += follows.eq(0)
    units = [Value.cast(o.p.data[place]) for place in range(units_out)]
    here = follows & o.valid & (ahead < o.p.count)
    bench.claim("unit", ~here | (Array(units)[ahead] == followed))
    bench.claim("end", ~(here & ends) | (o.p.last & (ahead + 1 == o.p.count)))
    bench.cover("unit", here & o.ready)
    bench.cover("last", here & o.p.last & (o.p.count <= max(1, units_out - 1)))
    bench.reach = places + 3
    held = [inside[f"held{place}"] for place in range(places)]
    bench.claim("ahead", ~follows | (ahead < level))
    bench.claim("held", ~follows | (Array(held)[ahead] == followed))
    bench.claim("ends", ~(follows & ends) | (inside["ended"] & (ahead + 1 == level)))
    return bench


THEOREMS = [
    Theorem(
        name="gearbox: order",
        file=_FILE,
        statement="Each unit of bytes, whichever it is, leaves once, unchanged and behind all "
        "units before it, unless a clear drops it before it is offered. All pieces but the last of "
        "a packet are full. `last` marks the piece with the last unit of a packet. An offered "
        "piece stays until it is taken, also during a clear.",
        assumptions=("No piece counts more units than it has.",),
        cases={
            f"{one} to {other} bytes": Case(
                build=lambda one=one, other=other: order(one, other), depth=1, quick=quick
            )
            for one, other, quick in (
                (2, 3, True),
                (3, 2, True),
                (8, 20, True),
                (20, 8, True),
                (4, 4, True),
                (4, 16, True),
                (8, 7, False),
            )
        },
    ),
]

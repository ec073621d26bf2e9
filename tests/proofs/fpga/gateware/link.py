"""Theorems about the receiver of frames."""

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Const, DomainRenamer, Mux, Signal, Value
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.fpga.frames import MAX_PAYLOAD
from trilith.fpga.gateware.link import FrameReceiver

_FILE = "fpga/gateware/link.py"

_RULE = ("Bytes do not come in two cycles one after the other.",)

#: CRC-32 of ISO HDLC, bit by bit, the lowest bit first: its reversed polynomial.
_POLYNOMIAL = 0xEDB88320

_BODY, _TRAILER, _BAD = range(3)


def _crc(state: Value, byte: Value) -> Value:
    """The register of the CRC after a byte."""
    bits = list(state)
    for index in range(8):
        out = bits[0] ^ byte[index]
        bits = [
            (bits[place + 1] if place < 31 else Const(0, 1))
            ^ (out if _POLYNOMIAL >> place & 1 else Const(0, 1))
            for place in range(32)
        ]
    return Cat(bits)


def _trailer(state: Value) -> list[Value]:
    bits = Cat(~state, Const(0, 3))
    return [Cat(bits[7 * index : 7 * index + 7], Const(1, 1)) for index in range(5)]


def checked() -> Bench:
    """Frames against a CRC over all bytes since a delimiter but the last five."""
    dut = FrameReceiver()
    bench = Bench(dut, visible=False)
    m, inside = bench.m, bench.inside
    bench.assume("gap", ~(dut.strobe & bench.past(dut.strobe)))
    delimiter = dut.strobe & (dut.data == 0)
    # The last five bytes since the delimiter, the CRC of those before, and their number up to 5.
    last = [Signal(8, name=f"byte{index}") for index in range(5)]
    crcs = [Signal(32, name=f"crc{index}", init=2**32 - 1) for index in range(6)]
    # crcs[i] is the CRC of all bytes but the last i.
    number = Signal(range(6), name="number")
    with m.If(delimiter):
        m.d.sync += [crc.eq(-1) for crc in crcs] + [number.eq(0)]
    with m.Elif(dut.strobe):
        m.d.sync += crcs[0].eq(_crc(crcs[0], dut.data))
        m.d.sync += [crcs[index].eq(crcs[index - 1]) for index in range(1, 6)]
        m.d.sync += last[0].eq(dut.data)
        m.d.sync += [last[index].eq(last[index - 1]) for index in range(1, 5)]
        m.d.sync += number.eq(Mux(number == 5, 5, number + 1))
    good = Cat(last[4 - index] == byte for index, byte in enumerate(_trailer(crcs[5]))).all() & (
        number == 5
    )
    bench.claim("crc", ~dut.frame | bench.past(delimiter & good))
    bench.cover("frame", dut.frame)
    # An empty frame: a delimiter, eight bytes and a delimiter, at most one byte in two cycles.
    bench.reach = 24
    bench.claim("length", ~dut.frame | (dut.length <= MAX_PAYLOAD))
    # Invariants: the CRC of the receiver, and what it compared so far.
    state, trailer = inside["state"], inside["trailer"]
    own = Cat(reversed(list(inside["crc.crc_reg"])))
    bench.claim("number", number <= 5)
    for count in range(6):
        here = (state == _TRAILER) & (trailer == count)
        bench.claim(f"crc{count}", ~here | (own == crcs[count]))
        seen = [
            last[count - 1 - index] == byte
            for index, byte in enumerate(_trailer(crcs[count])[:count])
        ]
        bench.claim(f"seen{count}", ~here | (Cat(seen, Const(1, 1)).all() & (number >= count)))
    bench.claim("body", (state != _BODY) | ((own == crcs[0]) & (trailer == 0)))
    bench.claim("trailer", (state == _BAD) | (trailer <= 5))
    whole = (state == _TRAILER) | ((state == _BODY) & (inside["header"] == 3))
    bench.claim("payload", ~whole | (dut.length <= MAX_PAYLOAD))
    bench.claim("states", state <= _BAD)
    return bench


def forgets() -> Bench:
    """A receiver in any state, whatever came before, beside one that a reset precedes."""
    one, other = FrameReceiver(), FrameReceiver()
    bench = Bench(one, visible=False)
    m, first = bench.m, bench.inside
    m.domains.free = ClockDomain("free", reset_less=True)
    m.d.comb += ClockSignal("free").eq(ClockSignal())
    second = bench.add("second", DomainRenamer("free")(other))
    bench.resets = False
    for name in ("data", "strobe", "take", "address"):
        m.d.comb += getattr(other, name).eq(getattr(one, name))
    since, later = Signal(name="since"), Signal(name="later")
    with m.If(one.strobe & (one.data == 0)):
        m.d.sync += since.eq(1)
    m.d.sync += later.eq(since)
    for name in ("state", "run", "first", "header", "place", "trailer", "crc.crc_reg"):
        bench.claim(name, ~since | (first[name] == second[name]))
    # The last bytes of a header move up one by one.
    for count, name in enumerate(("length", "sequence", "kind"), 1):
        known = since & (first["header"] >= count)
        same = getattr(one, name) == getattr(other, name)
        bench.claim(name, ~known | same)
        bench.claim(f"{name}_framed", ~(later & one.frame) | same)
    inside = since & (first["header"] == 3)
    bench.claim("left", ~inside | (first["left"] == second["left"]))
    bench.claim("whole", (first["state"] != _TRAILER) | (first["header"] == 3))
    bench.claim("frame", ~later | (one.frame == other.frame))
    bench.claim("order", since | ~later)
    return bench


THEOREMS = [
    Theorem(
        name="link: CRC",
        file=_FILE,
        statement="The receiver takes a frame only if the last five bytes before its delimiter are "
        "the CRC-32 of all bytes since the delimiter before, which is computed bit by bit here. "
        "Its length is at most the largest payload.",
        assumptions=_RULE,
        cases={"all bytes": Case(build=checked, depth=1, faults=40)},
    ),
    Theorem(
        name="link: resynchronization",
        file=_FILE,
        statement="After a delimiter, a receiver takes frames in the same cycles as one that was "
        "reset, with the same kind, sequence number and length, whatever state it was in before.",
        cases={"all bytes": Case(build=forgets, depth=1, faults=40)},
    ),
]

"""Theorems about the serial line."""

from amaranth.hdl import Cat, Const, Mux, Signal
from proofs.bench import Bench
from proofs.prover import Method
from proofs.theorem import Case, Theorem

from trilith.fpga.gateware.uart import UartReceiver, UartTransmitter

_FILE = "fpga/gateware/uart.py"


def transmitter(divisor: int) -> Bench:
    """The line against the bits of the byte that was taken."""
    dut = UartTransmitter(divisor=divisor)
    bench = Bench(dut)
    m, inside = bench.m, bench.inside
    taken = dut.data.valid & dut.data.ready
    byte, sends = Signal(8, name="byte"), Signal(name="sends")
    at, cycle = Signal(range(10), name="at"), Signal(range(divisor), name="cycle")
    last = cycle == divisor - 1
    # Cycles of the bit behind a stop bit that no byte followed at once.
    rest = Signal(range(divisor), name="rest")
    m.d.sync += rest.eq(Mux(rest != 0, rest - 1, 0))
    with m.If(sends):
        m.d.sync += cycle.eq(Mux(last, 0, cycle + 1))
        with m.If(last):
            m.d.sync += [at.eq(Mux(at == 9, 0, at + 1)), sends.eq(at != 9)]
            with m.If(at == 9):
                m.d.sync += rest.eq(divisor - 1)
    with m.If(taken):
        m.d.sync += [byte.eq(dut.data.p), sends.eq(1), at.eq(0), cycle.eq(0), rest.eq(0)]
    bits = Cat(Const(0, 1), byte, Const(1, 1))
    bench.claim("line", dut.tx == Mux(sends, bits.bit_select(at, 1), 1))
    bench.claim("busy", dut.busy == sends)
    bench.claim("ready", dut.data.ready == Mux(sends, (at == 9) & last, rest == 0))
    bench.claim("range", (at <= 9) & (cycle < divisor))
    bench.claim("count", inside["count"] == Mux(sends, divisor - 1 - cycle, rest))
    bench.claim("rest", (rest < divisor) & ~(sends & (rest != 0)))
    bench.claim("left", inside["left"] == Mux(sends, 10 - at, 0))
    shifted = (Cat(bits, Const(-1, 10)) >> at)[:10]
    shift = inside["shift"]
    bench.claim("shift", Mux(sends, shift == shifted, shift[0]))
    bench.cover("next", taken & sends)
    bench.reach = 10 * divisor + 2
    return bench


def receiver(divisor: int) -> Bench:
    """A byte that comes on the line, with any number of idle cycles before it."""
    dut = UartReceiver(divisor=divisor)
    bench = Bench(dut)
    m, inside = bench.m, bench.inside
    # The line: idle, or cycle ``cycle`` of bit ``at`` of a byte.
    start, new = bench.input("start"), bench.input("new", 8)
    byte, sends = Signal(8, name="byte"), Signal(name="sends")
    at, cycle = Signal(range(10), name="at"), Signal(range(divisor), name="cycle")
    last = cycle == divisor - 1
    # The synchronizer has no reset: the line must be idle until what it holds is over.
    half = divisor // 2
    age = Signal(range(half + 4), name="age")
    settled = age == half + 3
    with m.If(~settled):
        m.d.sync += age.eq(age + 1)
    ends = settled & (~sends | (last & (at == 9)))
    with m.If(sends):
        m.d.sync += cycle.eq(Mux(last, 0, cycle + 1))
        with m.If(last):
            m.d.sync += [at.eq(Mux(at == 9, 0, at + 1)), sends.eq(at != 9)]
    with m.If(start & ends):
        m.d.sync += [byte.eq(new), sends.eq(1), at.eq(0), cycle.eq(0)]
    bits = Cat(Const(0, 1), byte, Const(1, 1))
    bench.drive("rx", Mux(sends, bits.bit_select(at, 1), 1))
    bench.claim("range", (at <= 9) & (cycle < divisor))
    # The receiver sees the line two cycles later, and begins a byte one cycle after its edge.
    state = Cat(byte, at, cycle, sends)
    for stage in range(3):
        state = bench.past(state)
        legal = (state[8:12] <= 9) & (state[12:-1] < divisor) & (settled | ~state[-1])
        bench.claim(f"legal{stage}", legal)
        bits = Cat(Const(0, 1), state[:8], Const(1, 1))
        line = Mux(state[-1], bits.bit_select(state[8:12], 1), 1)
        if stage < 2:
            here = inside[f"synchronizer.stage{stage}"] == line
            bench.claim(f"line{stage}", here | (age <= stage))
    old, was = state[:8], state[-1]
    place = state[8:12] * divisor + state[12:-1]
    # Cycles since the start of the byte: the receiver counts down to each sample.
    busy, count, bit = inside["busy"], inside["count"], inside["bit"]
    through = place <= 9 * divisor + half - 1
    bench.claim("busy", ~settled | (busy == (was & through)))
    noise = ~busy | ((age != 0) & (bit == 0) & (count + age <= half + 1))
    bench.claim("noise", settled | (noise & ~sends & ~was))
    bench.claim("quiet", age <= half + 3)
    step = place + divisor - half
    for index in range(10):
        inside_bit = busy & (step >= divisor * index) & (step < divisor * (index + 1))
        inside_bit &= was
        bench.claim(f"bit{index}", ~inside_bit | (bit == index))
        bench.claim(f"count{index}", ~inside_bit | (count == divisor * (index + 1) - 1 - step))
        if index >= 1:
            got = min(index - 1, 8)
            if got:
                received = dut.data[8 - got :]
                bench.claim(f"data{index}", ~inside_bit | (received == old[:got]))
    done = bench.past(was & (place == 9 * divisor + half - 1))
    bench.claim("strobe", dut.strobe == done)
    bench.claim("data", ~dut.strobe | (dut.data == bench.past(old)))
    bench.cover("byte", dut.strobe & (dut.data == 0xA5))
    bench.reach = 10 * divisor + half + 12
    return bench


def resynchronizes(divisor: int) -> Bench:
    """An idle line, from any state."""
    dut = UartReceiver(divisor=divisor)
    bench = Bench(dut, resets=False)
    bench.assume("idle", dut.rx)
    bench.claim("quiet", ~bench.inside["busy"] & ~dut.strobe)
    return bench


THEOREMS = [
    Theorem(
        name="UART: transmitter",
        file=_FILE,
        statement="Each byte that is taken leaves as a low start bit, its eight bits, the lowest "
        "first, and a high stop bit, each of `divisor` cycles. The next byte is taken in the last "
        "of these cycles, or else from one bit later on. The line is high otherwise.",
        cases={
            f"divisor {divisor}": Case(build=lambda d=divisor: transmitter(d), depth=1)
            for divisor in (4, 7, 10)
        },
    ),
    Theorem(
        name="UART: receiver",
        file=_FILE,
        statement="Each byte on the line comes out once and unchanged, in the documented cycle, "
        "after any number of idle cycles or none; nothing else comes out.",
        assumptions=(
            "The line has the rate of the receiver, and a bit begins with a cycle.",
            "The line is idle for half a bit and 3 cycles after a reset.",
        ),
        cases={
            f"divisor {divisor}": Case(build=lambda d=divisor: receiver(d), depth=5)
            for divisor in (4, 7, 10)
        },
    ),
    Theorem(
        name="UART: resynchronization",
        file=_FILE,
        statement="After an idle line of ten bits and four cycles, the receiver is idle, whatever "
        "state it was in before.",
        assumptions=("The line is idle.",),
        method=Method.STATE,
        cases={
            f"divisor {divisor}": Case(
                build=lambda d=divisor: resynchronizes(d), depth=10 * divisor + 4
            )
            for divisor in (4, 8)
        },
    ),
]

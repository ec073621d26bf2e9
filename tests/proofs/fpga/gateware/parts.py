"""Theorems about small parts of the boards' top levels."""

from amaranth.hdl import Array, Signal, Value
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.fpga.gateware.byte_cutter import ByteCutter
from trilith.fpga.gateware.serializer import ResultSerializer
from trilith.fpga.gateware.timer import JobTimer
from trilith.hw.config import MatVecConfig


def cutter(size: int) -> Bench:
    """Bytes of the value that was taken last."""
    dut = ByteCutter(size)
    bench = Bench(dut)
    m = bench.m
    taken, left = dut.values.valid & dut.values.ready, dut.bytes.valid & dut.bytes.ready
    bench.assume("bytes", (dut.values.p.bytes >= 1) & (dut.values.p.bytes <= size))
    value = Signal(8 * size, name="whole", reset_less=True)
    count, at = Signal(range(size + 1), name="count"), Signal(range(size + 1), name="at")
    with m.If(taken):
        m.d.sync += [value.eq(dut.values.p.value), count.eq(dut.values.p.bytes), at.eq(0)]
    with m.Elif(left):
        m.d.sync += at.eq(at + 1)
    bench.claim("valid", dut.bytes.valid == (at < count))
    bench.claim("ready", dut.values.ready == (at == count))
    bench.claim("busy", dut.busy == (at != count))
    bench.claim("range", (at <= count) & (count <= size))
    parts = Array(value.word_select(index, 8) for index in range(size))
    bench.claim("byte", ~dut.bytes.valid | (dut.bytes.p == parts[at]))
    bench.stays("bytes", dut.bytes)
    bench.claim("left", bench.inside["left"] == count - at)
    held = bench.inside["value"]
    bench.claim("held", (at == count) | (held == (value >> (at << 3))[: len(held)]))
    bench.reach = 4
    return bench


def serializer(rows: int) -> Bench:
    """Bytes of result beats."""
    config = MatVecConfig(lanes=5, rows=rows, act_bits=2, k_max=10, n_max=4)
    dut = ResultSerializer(config)
    bench = Bench(dut)
    m = bench.m
    beat = Value.cast(dut.results.p)
    size = -(-len(beat) // 8)
    taken, left = dut.results.valid & dut.results.ready, dut.bytes.valid & dut.bytes.ready
    value = Signal(8 * size, name="whole", reset_less=True)
    at = Signal(range(size + 1), name="at", init=size)
    with m.If(taken):
        m.d.sync += [value.eq(beat), at.eq(0)]
    with m.Elif(left):
        m.d.sync += at.eq(at + 1)
    bench.claim("valid", dut.bytes.valid == (at != size))
    bench.claim("ready", dut.results.ready == ((at == size) & ~dut.hold))
    bench.claim("ended", dut.ended == (taken & dut.results.p.last))
    final = value[len(beat) - 1]
    bench.claim("finished", dut.finished == (left & (at == size - 1) & final))
    bench.claim("range", at <= size)
    parts = Array(value.word_select(index, 8) for index in range(size))
    bench.claim("byte", ~dut.bytes.valid | (dut.bytes.p == parts[at]))
    bench.stays("bytes", dut.bytes)
    inside = bench.inside
    bench.claim("left", inside["left"] == size - at)
    held = (value >> (at << 3))[: 8 * size]
    bench.claim("held", (at == size) | (inside["beat"] == held))
    bench.claim("last", (at == size) | (inside["last"] == final))
    bench.cover("finished", dut.finished)
    bench.reach = size + 3
    return bench


def timer() -> Bench:
    """Counts of cycles and of waits since the last start."""
    dut = JobTimer()
    bench = Bench(dut)
    m = bench.m
    # The cycles up to this one since the start, both counted; and the waits behind the start.
    runs, cycles, waits = Signal(name="runs"), Signal(32, name="n"), Signal(32, name="w")
    bench.assume("alone", ~(dut.start & runs))
    known = Signal(name="known")
    stopped = bench.past(dut.stop)
    with m.If(dut.start):
        m.d.sync += [runs.eq(1), known.eq(1), cycles.eq(1), waits.eq(0)]
    with m.Else():
        m.d.sync += [cycles.eq(cycles + runs), waits.eq(waits + (runs & dut.waiting))]
        with m.If(dut.stop):
            m.d.sync += runs.eq(0)
    bench.claim("cycles", ~known | (dut.cycles == cycles))
    late = bench.inside["waited"]
    bench.claim("waits", ~known | ((dut.waits + late)[:32] == waits))
    bench.claim("waited", late == bench.past(runs & dut.waiting))
    bench.claim("runs", bench.inside["counting"] == runs)
    bench.cover("stop", stopped & (cycles > 2))
    bench.reach = 6
    return bench


THEOREMS = [
    Theorem(
        name="byte cutter",
        file="fpga/gateware/byte_cutter.py",
        statement="Each value leaves as the given number of its bytes, the lowest first, each "
        "once. A byte stays until it is taken, and the next value is taken behind the last one.",
        assumptions=("A value has at least one byte, and at most `size`.",),
        cases={f"{size} bytes": Case(build=lambda s=size: cutter(s), depth=1) for size in (3, 8)},
    ),
    Theorem(
        name="result serializer",
        file="fpga/gateware/serializer.py",
        statement="Each result beat leaves as all of its bytes, the lowest first, each once. "
        "`ended` and `finished` mark the last beat and the last byte of a job.",
        cases={
            f"{rows} rows": Case(build=lambda r=rows: serializer(r), depth=1) for rows in (3, 1)
        },
    ),
    Theorem(
        name="job timer",
        file="fpga/gateware/timer.py",
        statement="The count of cycles is exact, from the start to the stop, both counted, modulo "
        "2³². So is the count of waits, one cycle later.",
        assumptions=("A job starts behind the cycle in which another stops.",),
        cases={"32 bits": Case(build=timer, depth=1)},
    ),
]

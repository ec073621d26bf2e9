"""Theorems about the engine as an AXI peripheral."""

from amaranth.hdl import Cat, Mux, Signal, Value
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.hw.axi.wrapper import AxiMatVec, BusWidths
from trilith.hw.config import MatVecConfig
from trilith.hw.engine.loader import job_layout

_FILE = "hw/axi/wrapper.py"

_CONFIG = MatVecConfig(lanes=5, rows=2, act_bits=2, code="two_bit", k_max=10, n_max=4)

#: Cycles in which a job can be started over the bus and give its last result.
_JOB = 30


def _bench() -> tuple[Bench, AxiMatVec]:
    dut = AxiMatVec(_CONFIG, BusWidths(weights=32, activations=32, results=32))
    bench = Bench(dut, visible=False)
    bench.inside.share_clock()
    return bench, dut


def results() -> Bench:
    """Words of results, also while the command reset drops all jobs."""
    bench, dut = _bench()
    names = ("tvalid", "tready", "tdata", "tkeep", "tlast")
    bench.word_stays(*(getattr(dut, f"m_axis_results_{name}") for name in names))
    bench.reach = _JOB
    bench.claim("level", bench.inside["writer.gearbox.level"] <= 2)
    bench.cells = "c:*writer*"
    return bench


def jobs() -> Bench:
    """Jobs that registers start."""
    bench, _ = _bench()
    inside = bench.inside
    layout = job_layout(_CONFIG)
    start = inside["bank.job_start"][0]
    sizes = {name: inside[f"bank.job_{name}"] for name in ("n", "k", "tokens", "group_chunks")}
    limits = {name: 1 << layout[name].width for name in sizes}
    large = Cat(sizes[name] >= limits[name] for name in sizes).any()
    level, enable = inside["queue.level"], inside["queue.w_en"]
    full = level == 4
    bench.claim("queued", enable == (start & ~large))
    fields = [*(sizes[name][: layout[name].width] for name in sizes), inside["bank.job_reuse"]]
    bench.claim("fields", ~enable | (inside["queue.w_data"] == Cat(fields)))
    flags = inside["bank.error"]
    names = {"job": 2, "job_lost": 3}
    bench.claim("lost", ~bench.past(start & ~large & full) | flags[names["job_lost"]])
    bench.claim("large", ~bench.past(start & large) | flags[names["job"]])
    bench.claim("level", level <= 4)
    bench.cover("large", start & large)
    bench.cover("queued", enable)
    bench.reach = 8
    bench.cells = "c:$flatten?dut.$* c:*queue.*"
    return bench


def counters() -> Bench:
    """Performance counters."""
    bench, dut = _bench()
    inside = bench.inside
    clear = inside["bank.control"][1]
    done = dut.m_axis_results_tvalid & dut.m_axis_results_tready & dut.m_axis_results_tlast
    names = ("weights", "activations", "results")
    ports = [getattr(dut.engine, name) for name in names]
    streams = {name: (port.valid, port.ready) for name, port in zip(names, ports, strict=True)}
    events: dict[str, Value] = {
        "jobs_done": done,
        "weight_beats": streams["weights"][0] & streams["weights"][1],
        "wait_weights": ~streams["weights"][0] & streams["weights"][1],
        "wait_activations": ~streams["activations"][0] & streams["activations"][1],
        "wait_results": streams["results"][0] & ~streams["results"][1],
    }
    for name, event in events.items():
        count = inside[name]
        more = Signal(32, name=f"next_{name}")
        bench.m.d.comb += more.eq(Mux(clear, 0, count + event))
        bench.claim(name, count == bench.past(more))
        bench.cover(name, count == 1)
    bench.reach = _JOB
    bench.cells = "c:$flatten?dut.$*"
    return bench


THEOREMS = [
    Theorem(
        name="AXI wrapper: result words",
        file=_FILE,
        statement="An offered word of results stays until it is taken, whatever else happens, the "
        "command `reset` included; so do TLAST and the bytes that TKEEP marks.",
        cases={"5x2x1": Case(build=results, depth=1, faults=40)},
    ),
    Theorem(
        name="AXI wrapper: jobs",
        file=_FILE,
        statement="A job is offered to the queue exactly if it is started and all its numbers fit "
        "their fields, and with the numbers of the registers. A job that does not fit sets `job`; "
        "one that comes to a full queue sets `job_lost`.",
        cases={"5x2x1": Case(build=jobs, depth=1, faults=24)},
    ),
    Theorem(
        name="AXI wrapper: counters",
        file=_FILE,
        statement="Each performance counter changes by one in the cycles of its event, and only "
        "then, modulo 2³², and becomes 0 by its command.",
        cases={"5x2x1": Case(build=counters, depth=1, faults=40)},
    ),
]

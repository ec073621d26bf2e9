"""Theorems about the engine: its accumulators, its credits, and its order of beats."""

from types import SimpleNamespace

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data
from proofs.bench import Bench
from proofs.prover import Method
from proofs.theorem import Case, Theorem

from trilith.hw.config import PRESETS, MatVecConfig
from trilith.hw.engine.dot import add_or_subtract
from trilith.hw.engine.engine import MatVecEngine, _tag_layout

_FILE = "hw/engine/engine.py"


def accumulator(k_max: int, act_bits: int) -> Bench:
    """A step of an accumulator that holds the sum of some products, with a sum of others."""
    config = MatVecConfig(lanes=64, rows=1, act_bits=act_bits, k_max=k_max, n_max=1)
    bench = Bench()
    width, largest = config.acc_width, 2 ** (act_bits - 1) if act_bits > 2 else 1
    held = bench.input("held", width).as_signed()
    added = bench.input("added", config.act_bits + 7).as_signed()
    subtract = bench.input("subtract")
    before, now = bench.input("before", 17), bench.input("now", 17)
    total = before + now
    bench.assume("products", (total <= k_max) & (now <= config.lanes))
    for name, value, count in (("held", held, before), ("added", added, now)):
        most = count * largest
        bench.assume(name, (value <= most) & (-value <= most))
    result = Signal(width, name="result")
    # A module of its own: faults are put below the top of the bench only.
    bench.m.submodules.step = step = Module()
    step.d.comb += result.eq(add_or_subtract(held, added, subtract, width))
    exact = held + Mux(subtract, -added, added)
    bench.claim("exact", result.as_signed() == exact)
    bench.claim("range", (exact <= total * largest) & (-exact <= total * largest))
    bench.cover("largest", result.as_signed() == k_max * largest)
    return bench


class _Pipeline:
    """Results under way in an engine, from its internal registers.

    ``ends`` has, for each stage behind the issue stage, whether it holds the end of a result group,
    and the tokens of that group.
    """

    def __init__(self, bench: Bench, config: MatVecConfig) -> None:
        inside = bench.inside
        self.ends: list[tuple[Value, Value]] = []
        for stage in range(1, config.dot_latency + 2):
            tag = data.View(_tag_layout(config), inside[f"tag{stage}"])
            end = bench.show(f"end{stage}", inside[f"valid{stage}"] & tag.group_end)
            self.ends.append((end, tag.tokens))
        self.left = inside["queue.left"]
        produce, consume = inside["queue.produce"], inside["queue.consume"]
        self.fill = (produce - consume)[: len(produce)]
        self.places = 2 ** len(produce)


def hold_places(bench: Bench, engine: MatVecEngine) -> SimpleNamespace:
    """Claim that room, results under way and queued results add up.

    Returns
    -------
    The stages with the end of a group, each with its tokens, the captured beats that are left, and
    the words in the memory of the queue
    """
    config = engine.config
    inside = bench.inside
    under_way = _Pipeline(bench, config)
    room, depth = inside["room"], config.queue_depth
    results = engine.results
    parts = [Mux(end, tokens, 0) for end, tokens in under_way.ends]
    total = sum([room, *parts, under_way.left, under_way.fill, results.valid])
    bench.claim("sum", total == depth)
    captured = under_way.ends[-1]
    bench.claim("capture", inside["queue.capture"] == captured[0])
    free = depth - under_way.left - under_way.fill - results.valid
    bench.claim("captured_with_room", ~captured[0] | (captured[1] <= free))
    bench.claim("captured_apart", ~captured[0] | (under_way.left <= 1))
    bench.claim("words", under_way.fill < under_way.places)
    bench.claim("room", room <= depth)
    bench.claim("clear", captured[0] | (inside["queue.clear"] == 0) | (under_way.left == 0))
    bench.stays("results", results)
    # Invariants: tokens of jobs are legal, and ends of groups are apart.
    most = config.tokens
    active = inside["reading0"]
    tokens = inside["tokens"]
    legal = (tokens >= 1) & (tokens <= most)
    bench.claim("active_tokens", ~active | legal)
    job = data.View(engine.jobs.p.shape(), inside["loader.job"])
    good = (job.tokens >= 1) & (job.tokens <= most)
    take = engine.jobs.ready
    idle = inside["loader.fsm_state"]
    bench.claim("job_tokens", take | ((idle == 1) & inside["loader.bad"]) | good)
    for stage, (end, count) in enumerate(under_way.ends, 1):
        bench.claim(f"end{stage}_tokens", ~end | ((count >= 1) & (count <= most)))
        waits = len(under_way.ends) - stage
        bench.claim(f"end{stage}_left", ~end | (under_way.left <= waits + 1))
        if most > 1:
            spacing = inside["spacing"]
            bench.claim(f"end{stage}_spacing", ~end | (count <= stage + spacing))
        for later, (other, other_count) in enumerate(under_way.ends[stage:], stage + 1):
            bench.claim(f"end{stage}_{later}", ~(end & other) | (other_count <= later - stage))
    if most > 1:
        bench.claim("spacing", inside["spacing"] < most)
    return SimpleNamespace(ends=under_way.ends, left=under_way.left, fill=under_way.fill)


def places(config: MatVecConfig) -> Bench:
    """Credits of the engine."""
    engine = MatVecEngine(config)
    bench = Bench(engine, visible=False)
    hold_places(bench, engine)
    bench.cover("no_room", bench.inside["room"] < config.tokens)
    bench.reach = 8 + config.latency + config.queue_depth
    return bench


def hold_halves(bench: Bench, engine: MatVecEngine) -> None:
    """Claim that no half of the buffer is written while it is read."""
    config = engine.config
    inside = bench.inside
    loader_bank = inside["loader.bank0"]
    bank = inside["bank0"]
    take, load = engine.jobs.ready, engine.activations.ready
    offered = inside["loader.offer__valid"]
    job = data.View(engine.jobs.p.shape(), inside["loader.job"])
    chunk_bits = (config.max_chunks - 1).bit_length()
    for token in range(config.tokens):
        write = inside["loader.write_enable"][token]
        address = Value.cast(inside["loader.write_address"])
        bits = chunk_bits + 1
        address = address[bits * token : bits * (token + 1)]
        # A compact engine reads a cycle later.
        half = bench.past(inside[f"bank{token}"]) if config.compact else inside[f"bank{token}"]
        bench.claim(f"halves_apart{token}", ~write | (address[0] != half))
        bench.claim(f"halves_same{token}", inside[f"bank{token}"] == bank)
        early = ~engine.jobs.ready & ~engine.activations.ready & (inside["loader.fsm_state"] == 1)
        bench.claim(f"halves_before{token}", ~write | ~early)
        bench.claim(f"halves_loader{token}", inside[f"loader.bank{token}"] == loader_bank)
    bench.claim("halves_idle", ~(take | (~load & ~offered)) | (loader_bank == bank))
    bench.claim("halves_load", ~load | (~job.reuse & (loader_bank != bank)))
    bench.claim("halves_offer", ~offered | job.reuse | (loader_bank != bank))
    bench.claim("halves_reuse", ~(offered & job.reuse) | (loader_bank == bank))


def halves(config: MatVecConfig) -> Bench:
    """Halves of the buffer."""
    engine = MatVecEngine(config)
    bench = Bench(engine, visible=False)
    hold_halves(bench, engine)
    bench.cover("write", bench.inside["loader.write_enable"].any())
    bench.reach = 6
    return bench


def hold_issue(bench: Bench, engine: MatVecEngine) -> SimpleNamespace:
    """Claim the place of each weight beat, by counters of rows, chunks and result groups.

    Returns
    -------
    Facts about the next beat: the job, the chunk, and whether it ends a group or the job
    """
    config = engine.config
    m, inside = bench.m, bench.inside
    job = data.View(engine.jobs.p.shape(), inside["loader.job"])
    start = inside["loader.offer__valid"] & inside["loader.offer__ready"]
    fire = engine.weights.valid & engine.weights.ready
    # The job that is computed: rows that are left, and the chunk within the row and its group.
    runs = Signal(name="runs")
    n, k = Signal(range(config.n_max + 1), name="n"), Signal(range(config.k_max + 1), name="k")
    tokens = Signal(range(config.tokens + 1), name="job_tokens")
    every = Signal.like(job.group_chunks, name="every")
    chunk = Signal(range(config.max_chunks + 1), name="chunk")
    place = Signal(range(1, config.max_chunks + 2), name="place")
    last_chunk = (chunk + 1) * config.lanes >= k
    last = last_chunk & (n <= config.rows)
    ends = last_chunk | (place == every)
    with m.If(fire):
        m.d.sync += [chunk.eq(Mux(last_chunk, 0, chunk + 1)), place.eq(Mux(ends, 1, place + 1))]
        with m.If(last_chunk):
            m.d.sync += n.eq(n - config.rows)
        with m.If(last):
            m.d.sync += runs.eq(0)
    with m.If(start):
        m.d.sync += [runs.eq(1), n.eq(job.n), k.eq(job.k), every.eq(job.group_chunks)]
        m.d.sync += [tokens.eq(job.tokens), chunk.eq(0), place.eq(1)]
    bench.claim("active", inside["reading0"] == runs)
    bench.claim("handover", ~start | ~runs | (fire & last))
    for name, inner, outer in (
        ("last_chunk", inside["last_chunk"], last_chunk),
        ("last_rows", inside["last_rows"], n <= config.rows),
        ("group_end", inside["group_end"], ends),
        ("n", ~inside["n_left_inverted"], n),
        ("tokens", inside["tokens"], tokens),
        ("every", inside["group_chunks"], every),
        ("chunk", inside["chunk0"], chunk),
        ("place", inside["group_chunk"], place),
        ("before_last", inside["before_last"].as_signed() + 2, chunks_of(k, config)),
    ):
        bench.claim(name, ~runs | (inner == outer))
    # Tags of accepted beats: valid rows, and whether the beat is the last one of its job.
    fired = bench.past(fire)
    tag = data.View(_tag_layout(config), inside["tag1"])
    bench.claim("tag_valid", inside["valid1"] == fired)
    for name, inner, outer in (
        ("tag_end", tag.group_end, ends),
        ("tag_last", tag.last, last),
        ("tag_tokens", tag.tokens, tokens),
        ("tag_rows", tag.valid_rows, Mux(n <= config.rows, n, config.rows)),
    ):
        bench.claim(name, ~fired | (inner == bench.past(outer)))
    for token in range(1, config.tokens):
        reads = inside[f"reading{token}"]
        bench.claim(f"reading{token}", ~runs | (reads == (tokens > token)))
        bench.claim(f"chunk{token}", ~runs | (inside[f"chunk{token}"] == chunk))
    bench.claim("address", ~runs | (inside["chunk0"] < config.max_chunks))
    # Invariants: ranges of the job, also of those that the loader holds.
    good = (n >= 1) & (n <= config.n_max) & (k >= 1) & (k <= config.k_max)
    bench.claim("range", ~runs | (good & (chunk * config.lanes < k)))
    bench.claim("place_range", ~runs | ((place >= 1) & (place <= chunk + 1)))
    _loaded(bench, config, engine, job)
    return SimpleNamespace(
        **{"start": start, "fire": fire, "runs": runs, "n": n, "k": k, "tokens": tokens},
        **{"chunk": chunk, "ends": ends, "last": last},
    )


def weight_beats(config: MatVecConfig) -> Bench:
    """Beats of each job."""
    engine = MatVecEngine(config)
    bench = Bench(engine, visible=False)
    issue = hold_issue(bench, engine)
    bench.cover("groups", issue.fire & issue.ends & ((issue.chunk + 1) * config.lanes < issue.k))
    bench.cover("last", issue.fire & issue.last)
    bench.reach = 16
    return bench


def chunks_of(k: Value, config: MatVecConfig) -> Value:
    """The number of chunks of a job: ``ceil(k / lanes)``."""
    return sum([k > config.lanes * chunk for chunk in range(config.max_chunks)])


def _loaded(bench: Bench, config: MatVecConfig, engine: MatVecEngine, job: data.View) -> None:
    """Invariants of the loader that the issue stage needs: the last chunk of the loaded job."""
    inside = bench.inside
    load, offered = engine.activations.ready, inside["loader.offer__valid"]
    before_last = inside["loader.before_last"].as_signed()
    first, left = inside["loader.token_select"][0], ~inside["loader.left_inverted"]
    sizes = (job.n >= 1) & (job.n <= config.n_max) & (job.k >= 1) & (job.k <= config.k_max)
    checking = ~engine.jobs.ready & ~load & ~offered
    bench.claim("job", ~(load | offered | (checking & ~inside["loader.bad"])) | sizes)
    loaded_k = inside["loader.loaded_k"]
    known = before_last + 2 == chunks_of(loaded_k, config)
    bench.claim("loaded", load | (loaded_k == 0) | known)
    bench.claim("offer", ~offered | (loaded_k == job.k))
    done = inside["loader.chunk0"].as_signed() + 1
    bench.claim("final", ~load | (inside["loader.final"] == (left <= config.lanes)))
    bench.claim("left", ~(load & first) | (left + done * config.lanes == job.k))
    bench.claim("done", ~(load & first) | ((done >= 0) & (left >= 1)))
    so_far = (done == 0) | (before_last + 2 == done)
    bench.claim("so_far", ~(load & first) | so_far)
    bench.claim("rest", ~(load & ~first) | (before_last + 2 == chunks_of(job.k, config)))


TINY = MatVecConfig(lanes=5, rows=1, tokens=2, act_bits=2, k_max=10, n_max=3)
TINY_ASIC = MatVecConfig(
    lanes=5, rows=2, tokens=3, act_bits=2, k_max=10, n_max=3, target="asic", levels_per_stage=2
)
TINY_COMPACT = MatVecConfig(
    lanes=5, rows=2, tokens=2, act_bits=2, k_max=10, n_max=3, target="compact-fpga"
)

_CONFIGS = {
    "5x1x2": TINY,
    "5x2x3, ASIC": TINY_ASIC,
    "5x2x2, compact": TINY_COMPACT,
    "micro": PRESETS["micro"],
    "line": PRESETS["line"],
}

THEOREMS = [
    Theorem(
        name="engine: accumulator step",
        file=_FILE,
        statement="If an accumulator holds the sum of n products and a beat adds m others, with "
        "n + m up to `k_max`, then the new value is exact and fits its width.",
        assumptions=(
            "The held value and the added one have at most the magnitude of n and m products.",
        ),
        method=Method.STATE,
        cases={
            f"K up to {k_max:,}, int{bits}": Case(build=lambda k=k_max, b=bits: accumulator(k, b))
            for k_max, bits in (
                (65_536, 8),
                (6912, 8),
                (2560, 8),
                (6912, 4),
                (6912, 2),
                (65_536, 4),
            )
        },
    ),
    Theorem(
        name="engine: halves of the buffer",
        file=_FILE,
        statement="The half of the activation buffer that is written is never the one that is "
        "read, so that the condition on the write enable drops no write.",
        cases={
            name: Case(build=lambda config=config: halves(config), depth=1, faults=40)
            for name, config in _CONFIGS.items()
        },
    ),
    Theorem(
        name="engine: weight beats",
        file=_FILE,
        statement="A job takes exactly ceil(n / rows) × ceil(k / lanes) weight beats. The ends of "
        "its result groups and its last beat are where the fields of the job say, each beat "
        "reads the chunk of its place, which is within the memory, and rows from N on are marked.",
        cases={
            name: Case(build=lambda config=config: weight_beats(config), depth=1, faults=40)
            for name, config in {
                "5x2x2": MatVecConfig(lanes=5, rows=2, tokens=2, act_bits=2, k_max=15, n_max=5),
                "5x2x2, compact": TINY_COMPACT,
                "5x2x3, ASIC": TINY_ASIC,
            }.items()
        },
    ),
    Theorem(
        name="engine: credits",
        file=_FILE,
        statement="Free places, results under way, captured and queued results always add up to "
        "the depth of the queue. Nothing is captured without room, or before the group before is "
        "stored. A result stays until it is taken.",
        cases={
            name: Case(build=lambda config=config: places(config), depth=1, faults=40)
            for name, config in _CONFIGS.items()
        },
    ),
]

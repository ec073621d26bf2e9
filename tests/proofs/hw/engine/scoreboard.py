"""The theorem that every result of the engine is the reference's."""

from types import SimpleNamespace

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value, signed
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.golden.codes import CODES
from trilith.hw.config import MatVecConfig
from trilith.hw.engine.engine import MatVecEngine

from .engine import chunks_of, hold_halves, hold_issue
from .loader import Reference, hold_lanes, hold_loader

#: Bits of the sums of the reference.
_WIDTH = 8


class _Activations:
    """Accepted activations: of the job that is loaded, and of the one that is computed.

    ``known`` says which words are complete in the memory, and ``found`` counts the one that is
    being written too.
    """

    def __init__(self, bench: Bench, config: MatVecConfig, ref: Reference, start: Value) -> None:
        m, inside, job = bench.m, bench.inside, ref.job
        tokens, chunks = range(config.tokens), range(config.max_chunks)
        self.places = [(token, chunk) for token in tokens for chunk in chunks]
        width = config.lanes * config.act_bits
        beat = ref.loader.activations.p
        lanes = []
        for lane in range(config.lanes):
            value = beat[lane]
            counts = lane < ref.left
            if config.act_bits == 2:
                counts &= value != -2
            lanes.append(Mux(counts, value, 0)[: config.act_bits])
        wrote = bench.past(ref.beat)
        at = [bench.past(x) for x in (ref.token, ref.chunk)]
        begins = ref.checking & ~ref.bad & ~job.reuse
        half, loaded = inside["bank0"], ref.loaded_k
        self.computed: dict[tuple[int, int], Signal] = {}
        self._kept: dict[tuple[int, int], Signal] = {}
        for place in self.places:
            token, chunk = place
            name = f"{token}_{chunk}"
            new, old = (Signal(width, name=f"{x}{name}", reset_less=True) for x in ("new", "old"))
            known, kept = Signal(name=f"known{name}"), Signal(name=f"kept{name}")
            found = known | (wrote & (at[0] == token) & (at[1] == chunk))
            m.d.sync += known.eq(found & ~begins)
            with m.If(ref.beat & (ref.token == token) & (ref.chunk == chunk)):
                m.d.sync += new.eq(Cat(lanes))
            with m.If(start):
                m.d.sync += [old.eq(new), kept.eq(found)]
            self.computed[place] = old
            words = [
                inside.word(f"buffer{token}", Cat(Const(bank, 1), Const(chunk, 8)), width)
                for bank in range(2)
            ]
            bench.claim(f"new{name}", ~known | (Mux(ref.bank, words[1], words[0]) == new))
            bench.claim(f"old{name}", ~kept | (Mux(half, words[1], words[0]) == old))
            writes = wrote & (at[0] == token) & (at[1] == chunk)
            if config.act_bits == 2:
                legal = [
                    ~Cat(word[lane : lane + 2] == 2 for lane in range(0, width, 2)).any()
                    for word in (new, old)
                ]
                bench.claim(f"new_legal{name}", ~found | legal[0])
                bench.claim(f"old_legal{name}", ~kept | legal[1])
            data = Value.cast(inside["loader.write_data"])
            bench.claim(f"write{name}", ~writes | (data == new))
            address = Value.cast(inside["loader.write_address"]).word_select(
                token, len(Value.cast(inside["loader.write_address"])) // config.tokens
            )
            enabled = inside["loader.write_enable"][token]
            bench.claim(f"to{name}", ~writes | (enabled & (address == Cat(ref.bank, at[1]))))
            if not chunk:
                bench.claim(f"only{name}", ~enabled | (wrote & (at[0] == token)))
            # Words that must be there: loaded so far, loaded, and those of the computed job.
            so_far = (token < ref.token) & (chunk < chunks_of(job.k, config))
            so_far |= (token == ref.token) & (chunk < ref.chunk)
            bench.claim(f"so_far{name}", ~(ref.loads & so_far) | found)
            later = (token > ref.token) | ((token == ref.token) & (chunk >= ref.chunk))
            bench.claim(f"later{name}", ~(ref.loads & later) | ~found)
            whole = ~ref.loads & (token < ref.loaded_tokens) & (chunk < chunks_of(loaded, config))
            bench.claim(f"whole{name}", ~whole | (loaded == 0) | found)
            self._kept[place] = kept
        offered = ref.loader.offer.valid
        fits = (job.k == loaded) & (job.tokens <= ref.loaded_tokens)
        bench.claim("offered_loaded", ~offered | fits)
        bench.claim("wrote", ~wrote | (at[1] < config.max_chunks))

    def hold(self, bench: Bench, config: MatVecConfig, issue: SimpleNamespace) -> None:
        """Claim that the computed job has all of its words."""
        for (token, chunk), kept in self._kept.items():
            needs = issue.runs & (token < issue.tokens) & (chunk < chunks_of(issue.k, config))
            bench.claim(f"kept{token}_{chunk}", ~needs | kept)


def _trit(config: MatVecConfig, packed: Value, index: int) -> Value:
    """A weight of a beat, by the golden table."""
    code = CODES[config.code]
    field, place = divmod(index, code.field_trits)
    bits = code.field_bits
    table = Array(Const(int(row[place]), signed(2)) for row in code.table)
    return table[packed[bits * field : bits * (field + 1)]]


def scoreboard(config: MatVecConfig) -> Bench:
    """Sums at their capture against the accepted weights and activations."""
    engine = MatVecEngine(config)
    bench = Bench(engine, visible=False)
    m, inside = bench.m, bench.inside
    offer = SimpleNamespace(
        valid=inside["loader.offer__valid"], ready=inside["loader.offer__ready"]
    )
    streams = SimpleNamespace(jobs=engine.jobs, activations=engine.activations, offer=offer)
    ref = hold_loader(bench, config, streams, "loader.")
    hold_lanes(bench, config, ref, "loader.")
    issue = hold_issue(bench, engine)
    hold_halves(bench, engine)
    activations = _Activations(bench, config, ref, issue.start)
    activations.hold(bench, config, issue)
    # The reference takes the products of a beat when it is accepted, and carries them along.
    delay = config.dot_latency + 1
    fire, tag = issue.fire, Cat(issue.ends, issue.last)
    tokens, rows = issue.tokens, Mux(issue.n <= config.rows, issue.n, config.rows)
    for _ in range(delay):
        fire, tag, tokens, rows = (bench.past(x) for x in (fire, tag, tokens, rows))
    started = bench.past(Const(1, 1))
    capture = fire & tag[0]
    bench.claim("capture", inside["queue.capture"] == capture)
    bench.claim("capture_last", ~capture | (inside["queue.last"] == tag[1]))
    bench.claim("capture_tokens", ~capture | (inside["queue.tokens"] == tokens))
    sums = Value.cast(inside["queue.sums"])
    width, clear = config.acc_width, inside["queue.clear"]
    for token in range(config.tokens):
        words = [activations.computed[token, chunk] for chunk in range(config.max_chunks)]
        word = Array(words)[issue.chunk]
        # A token beyond those of the job has no sum until its group ends.
        mixed = Signal(name=f"mixed{token}")
        beyond = token >= issue.tokens
        with m.If(issue.fire):
            m.d.sync += mixed.eq(~issue.ends & (mixed | beyond))
        # A token of the job always has one.
        bench.claim(f"mixed{token}", ~mixed | (issue.runs & beyond))
        for _ in range(delay):
            mixed = bench.past(mixed)
        for row in range(config.rows):
            products = []
            for lane in range(config.lanes):
                value = word.word_select(lane, config.act_bits).as_signed()
                trit = _trit(config, engine.weights.p, row * config.lanes + lane)
                products.append(Mux(trit == 0, 0, Mux(trit == -1, -value, value)).as_signed())
            dot = products[0]
            for product in products[1:]:
                dot = (dot + product)[:_WIDTH].as_signed()
            dot = bench.delay(dot[:_WIDTH], delay).as_signed()
            total = Signal(signed(width), name=f"total{row}_{token}")
            held = Signal(signed(width), name=f"sum{row}_{token}")
            m.d.comb += total.eq(held + dot)
            with m.If(fire):
                m.d.sync += held.eq(Mux(tag[0], 0, total))
            own = inside[f"accumulator{row}_{token}"].as_signed()
            bench.claim(f"sum{row}_{token}", ~started | mixed | (own == held))
            got = sums.word_select(token * config.rows + row, width).as_signed()
            wanted = Mux(row < rows, total, 0)
            there = capture & (token < tokens)
            claim = Mux(clear[row], 0, got) == wanted
            bench.claim(f"result{row}_{token}", ~there | claim)
    bench.cover("capture", capture & started)
    bench.cover("last", capture & tag[1] & (rows == 1))
    bench.reach = 8 + config.dot_latency
    return bench


def _case(quick: bool = True, **shape) -> Case:
    config = MatVecConfig(**({"lanes": 5, "rows": 2, "act_bits": 2, "n_max": 4} | shape))
    depth = config.dot_latency + 3
    return Case(build=lambda: scoreboard(config), depth=depth, quick=quick, faults=40)


THEOREMS = [
    Theorem(
        name="engine: results",
        file="hw/engine/engine.py",
        statement="At the end of each result group exactly one group of sums is captured. It has, "
        "for each row and each token of the job, the sum of the products of the accepted weights "
        "and of the job's activations, which may be those of an earlier job, and 0 for rows from N "
        "on. The last group is marked. With the credits and the order of the result queue, every "
        "result is therefore right, none is lost, and none comes twice.",
        cases={
            "5x2x2, two_bit, ternary": _case(
                code="two_bit", tokens=2, k_max=10, levels_per_stage=4
            ),
            "5x2x1, base3, ternary": _case(code="base3", k_max=10),
            "5x2x1, base3, ternary, compact": _case(
                code="base3", k_max=10, target="compact-fpga", levels_per_stage=2
            ),
            "5x2x2, escape, ternary, ASIC": _case(
                code="escape", tokens=2, k_max=10, target="asic", levels_per_stage=4
            ),
            "5x4x1, binary, ternary, ASIC": _case(
                code="binary", rows=4, n_max=8, k_max=10, target="asic", levels_per_stage=4
            ),
            "8x2x1, sherry, ternary": _case(code="sherry", lanes=8, k_max=16, levels_per_stage=4),
            "5x1x1, tq1, int4": _case(code="tq1", rows=1, act_bits=4, k_max=10, levels_per_stage=4),
        },
    ),
]

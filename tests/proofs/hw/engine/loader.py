"""Theorems about the loader of jobs."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.hw.config import MatVecConfig
from trilith.hw.engine.loader import JobLoader

_FILE = "hw/engine/loader.py"


class Reference:
    """A loader as its documentation describes it: one job at a time, counted beat by beat.

    It knows the fields of the job, the activations that are loaded, and the next beat.
    """

    def __init__(self, bench: Bench, config: MatVecConfig, loader: Any) -> None:
        m = bench.m
        self.config, self.loader, self.bench = config, loader, bench
        self.job = job = Signal(loader.jobs.p.shape(), name="given")
        self.checking, self.running = Signal(name="checking"), Signal(name="running")
        self.loaded_k = Signal(range(config.k_max + 1), name="reference_k")
        self.loaded_tokens = Signal(range(config.tokens + 1), name="reference_tokens")
        self.bank = Signal(name="reference_bank")
        # Beats that are accepted of the job's tokens and chunks.
        self.token = Signal(range(config.tokens + 1), name="reference_token")
        self.chunk = Signal(range(config.max_chunks + 1), name="reference_chunk")
        self.loads = Signal(name="loads")
        self.accept = loader.jobs.valid & loader.jobs.ready
        self.beat = loader.activations.valid & loader.activations.ready
        self.left = Signal(range(config.k_max + 1), name="reference_left")
        m.d.comb += self.left.eq(job.k - self.chunk * config.lanes)
        limits = (
            (job.n, 1, config.n_max),
            (job.k, 1, config.k_max),
            (job.tokens, 1, config.tokens),
            (job.group_chunks, 0, config.max_chunks),
        )
        self.size_bad = Cat((x < low) | (x > high) for x, low, high in limits).any()
        reuse_bad = (self.loaded_k == 0) | (job.k != self.loaded_k)
        reuse_bad |= job.tokens > self.loaded_tokens
        self.bad = self.size_bad | (job.reuse & reuse_bad)
        last_chunk = self.left <= config.lanes
        m.d.sync += self.checking.eq(self.accept)
        with m.If(self.accept):
            m.d.sync += job.eq(loader.jobs.p)
        with m.If(self.checking & ~self.bad):
            m.d.sync += self.running.eq(1)
            with m.If(~job.reuse):
                m.d.sync += [self.token.eq(0), self.chunk.eq(0), self.bank.eq(~self.bank)]
                m.d.sync += [self.loads.eq(1), self.loaded_k.eq(0)]
        with m.If(self.loads & self.beat):
            m.d.sync += self.chunk.eq(Mux(last_chunk, 0, self.chunk + 1))
            with m.If(last_chunk):
                m.d.sync += self.token.eq(self.token + 1)
                with m.If(self.token + 1 == job.tokens):
                    m.d.sync += self.loads.eq(0)
                    m.d.sync += [self.loaded_k.eq(job.k), self.loaded_tokens.eq(job.tokens)]
        with m.If(loader.offer.valid & loader.offer.ready):
            m.d.sync += self.running.eq(0)


def hold_loader(bench: Bench, config: MatVecConfig, loader: Any, part: str = "") -> Reference:
    """Claim what all theorems about the loader need.

    Parameters
    ----------
    loader : has the streams of the loader
    part : path of the loader within the component under proof, with a point behind it
    """
    inside = _Part(bench.inside, part)
    ref = Reference(bench, config, loader)
    job = ref.job
    working = ref.checking | ref.running
    bench.claim("loader_ready", loader.jobs.ready == ~working)
    bench.claim("loader_loading", loader.activations.ready == (ref.running & ref.loads))
    bench.claim("loader_offered", loader.offer.valid == (ref.running & ~ref.loads))
    # Invariants: registers of the loader in terms of the reference.
    bench.claim("loader_one", ~(ref.checking & ref.running) & (~ref.loads | ref.running))
    bench.claim("loader_fields", ~working | (Value.cast(inside["job"]) == Value.cast(job)))
    bench.claim("loader_legal", ~ref.running | ~ref.size_bad)
    bench.claim("loader_flag", ~ref.checking | (inside["bad"] == ref.size_bad))
    for token in range(config.tokens):
        bench.claim(f"loader_bank{token}", inside[f"bank{token}"] == ref.bank)
    idle = ~ref.loads
    bench.claim("loader_loaded_k", ~idle | (inside["loaded_k"] == ref.loaded_k))
    known = idle & (ref.loaded_k != 0)
    bench.claim("loader_loaded_tokens", ~known | (inside["loaded_tokens"] == ref.loaded_tokens))
    chunks = [inside[f"chunk{token}"].as_signed() for token in range(config.tokens)]
    bench.claim("loader_beats", ~ref.loads | ((ref.token < job.tokens) & (ref.left >= 1)))
    bench.claim("loader_left", ~ref.loads | (~inside["left_inverted"] == ref.left))
    bench.claim("loader_chunk_range", ~ref.loads | (ref.chunk < config.max_chunks))
    bench.claim("loader_left_range", ~ref.loads | (ref.chunk * config.lanes < job.k))
    bench.claim("loader_final", ~ref.loads | (inside["final"] == (ref.left <= config.lanes)))
    select = Const(1, config.tokens + 1) << ref.token
    bench.claim("loader_select", ~ref.loads | (inside["token_select"] == select[: config.tokens]))
    bench.claim("loader_tokens", ~ref.loads | (inside["tokens_left"] == job.tokens - ref.token))
    for token, chunk in enumerate(chunks):
        bench.claim(
            f"loader_chunk{token}", ~(ref.loads & (ref.token == token)) | (chunk == ref.chunk - 1)
        )
        bench.claim(f"loader_fresh{token}", ~(ref.loads & (ref.token < token)) | (chunk == -1))
    return ref


def hold_lanes(bench: Bench, config: MatVecConfig, ref: Reference, part: str = "") -> None:
    """Claim which lanes of the next beat are beyond K."""
    inside, lanes = _Part(bench.inside, part), config.lanes
    if config.compact:
        for first in range(0, lanes, 8):
            for place in range(min(8, lanes - first)):
                flag = inside[f"past{first}"][place]
                beyond = first + place >= ref.left
                bench.claim(f"loader_past{first + place}", ~ref.loads | (flag == beyond))
            bench.claim(f"loader_clear{first}", ~ref.checking | (inside[f"past{first}"] == 0))
    else:
        for eight in range(-(-lanes // 8)):
            flag = inside["past_eight"][eight + 1]
            bench.claim(f"loader_eight{eight}", ~ref.loads | (flag == (ref.left[3:] <= eight)))
        bench.claim("loader_eight", ~ref.loads | ~inside["past_eight"][0])
        for place in range(8):
            flag = inside["past_place"][place]
            bench.claim(f"loader_place{place}", ~ref.loads | (flag == (ref.left[:3] <= place)))


class _Part:
    """Signals of a part of a component."""

    def __init__(self, inside: Any, part: str) -> None:
        self._inside, self._part = inside, part

    def __getitem__(self, name: str) -> Signal:
        return self._inside[self._part + name]


def _bench(config: MatVecConfig) -> tuple[Bench, Reference]:
    loader = JobLoader(config)
    bench = Bench(loader)
    bench.reach = 8 + 2 * config.tokens * config.max_chunks
    return bench, hold_loader(bench, config, loader)


def counts(config: MatVecConfig) -> Bench:
    """Handshakes of the loader against the reference, and its offers."""
    bench, ref = _bench(config)
    loader = ref.loader
    bad = bench.past(ref.checking & ref.bad)
    bench.claim("busy", loader.busy == (ref.checking | ref.running))
    bench.claim("bad_job", loader.bad_job == bad)
    offer, job = loader.offer.p, ref.job
    offered = loader.offer.valid
    bench.claim("offer_n", ~offered | (offer.n == job.n))
    bench.claim("offer_tokens", ~offered | (offer.tokens == job.tokens))
    bench.claim("offer_group", ~offered | (offer.group_chunks == job.group_chunks))
    bench.claim("offer_bank", ~offered | (offer.bank == ref.bank))
    bench.stays("offer", loader.offer)
    bench.cover("bad", loader.bad_job)
    bench.cover("reuse", offered & job.reuse)
    bench.cover("load", offered & ~job.reuse & (job.k == config.k_max))
    return bench


def writes(config: MatVecConfig) -> Bench:
    """Words that the loader writes against the reference."""
    bench, ref = _bench(config)
    loader, lanes = ref.loader, config.lanes
    wrote = bench.past(ref.beat)
    token, chunk = bench.past(ref.token), bench.past(ref.chunk)
    left = bench.past(ref.left)
    select = Const(1, config.tokens + 1) << token
    enable = Mux(wrote, select[: config.tokens], 0)
    bench.claim("enable", loader.write_enable == enable)
    addresses = Array(loader.write_address[t] for t in range(config.tokens))[token]
    bench.claim("address", ~wrote | (addresses == Cat(ref.bank, chunk)))
    bench.claim("range", ~wrote | (addresses < 2 * config.max_chunks))
    illegal: Value = Const(0, 1)
    for lane in range(lanes):
        value = loader.activations.p[lane]
        wrong = value == -2 if config.act_bits == 2 else Const(0, 1)
        illegal |= wrong & (lane < ref.left)
        wanted = bench.past(Mux(wrong, 0, value)).as_signed()
        wanted = Mux(lane < left, wanted, 0)
        bench.claim(f"lane{lane}", ~wrote | (loader.write_data[lane] == wanted))
    bench.claim("bad_activation", loader.bad_activation == bench.past(ref.beat & illegal))
    bench.cover("partial", wrote & (left < lanes))
    if config.act_bits == 2:
        bench.cover("illegal", loader.bad_activation)
    hold_lanes(bench, config, ref)
    return bench


_SHAPES = {
    "9 lanes, 2 tokens, ternary": MatVecConfig(
        lanes=9, rows=1, tokens=2, act_bits=2, k_max=23, n_max=6
    ),
    "8 lanes, 1 token, int8": MatVecConfig(lanes=8, rows=1, k_max=24, n_max=6),
    "20 lanes, 3 tokens, compact": MatVecConfig(
        lanes=20, rows=1, tokens=3, act_bits=2, k_max=45, n_max=6, target="compact-fpga"
    ),
}

THEOREMS = [
    Theorem(
        name="job loader: beats",
        file=_FILE,
        statement="A job is refused exactly if it breaks one of the documented rules, 2 cycles "
        "after its acceptance. Another job takes exactly tokens × ceil(k / lanes) activation "
        "beats, or none with `reuse`, and is then offered once, with its own fields.",
        cases={
            name: Case(build=lambda shape=shape: counts(shape), depth=1)
            for name, shape in _SHAPES.items()
        },
    ),
    Theorem(
        name="job loader: words",
        file=_FILE,
        statement="Each activation beat is written once, in the next cycle, to the place of its "
        "token, chunk and half, which is within the memory. Lanes from K on are written as 0, and "
        "so is an illegal value, which raises `bad_activation` exactly then.",
        cases={
            name: Case(build=lambda shape=shape: writes(shape), depth=1)
            for name, shape in _SHAPES.items()
        },
    ),
]

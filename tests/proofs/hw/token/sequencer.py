"""Theorem about the progress of the sequencer of the token core."""

from dataclasses import replace

from amaranth.hdl import Cat, Const, Mux, Signal, Value
from proofs.bench import Bench
from proofs.theorem import Case, Theorem

from trilith.hw.token.config import TokenConfig
from trilith.hw.token.program import INSTRUCTION_BYTES, Op
from trilith.hw.token.sequencer import Sequencer, _State

from .topk import SMALLEST

_NEVER = Const(0, 1)

#: Streams that carry the commands of the units.
_STREAMS = (
    "jobs", "fetch", "scaler", "writer", "normalizer", "gained", "heads", "cache", "attention",
)  # fmt: skip


class _States:
    """The state of a sequencer, and its cycles in which nothing outside keeps it waiting."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        state = Signal(_State, name="present")
        bench.m.d.comb += state.eq(bench.inside["state"])
        self._there = {one: state == one for one in _State}
        bench.claim("states", Cat(self._there.values()).any())
        for one in _State:
            bench.cover(one.name.lower(), self._there[one])

    def __getitem__(self, state: _State) -> Value:
        return self._there[state]

    def count(
        self, state: _State, most: int, *, waits: Value = _NEVER, restarts: Value = _NEVER
    ) -> Signal:
        """Cycles of a state before the present one; all are claimed to be at most ``most``.

        Parameters
        ----------
        state, most : the state, and the most cycles in it
        waits : cycles that do not count
        restarts : the count begins again after this cycle
        """
        count = Signal(range(most + 1), name=f"count_{state.name.lower()}")
        with self._bench.m.If(~self[state] | restarts):
            self._bench.m.d.sync += count.eq(0)
        with self._bench.m.Elif(~waits):
            self._bench.m.d.sync += count.eq(count + 1)
        self._bench.claim(f"most_{state.name.lower()}", ~self[state] | (count < most))
        return count


def _program(bench: Bench, dut: Sequencer, states: _States) -> None:
    """The program is asked for once, is read as far as it is run, and the rest is dropped."""
    inside, program = bench.inside, dut.program
    fetching = inside["fetching"]
    level, ended = inside["gearbox.level"], inside["gearbox.ended"]
    words = INSTRUCTION_BYTES // (len(program.p.data) // 8)
    # Words come after the request, up to the one with ``last``.
    asks, reads = dut.program_requests.valid, Signal(name="reads")
    with bench.m.If(asks & dut.program_requests.ready):
        bench.m.d.sync += reads.eq(1)
    with bench.m.If(program.valid & program.ready & program.p.last):
        bench.m.d.sync += reads.eq(0)
    bench.assume("asked_for", ~program.valid | reads)
    bench.claim("asks", fetching == (asks | reads))
    asked = Signal(name="asked")
    with bench.m.If(asks & dut.program_requests.ready):
        bench.m.d.sync += asked.eq(1)
    with bench.m.If(dut.commands.valid & dut.commands.ready):
        bench.m.d.sync += asked.eq(0)
    bench.claim("once", ~asks | ~(reads | asked))
    # If words are kept, either the last word of the program has come, or more words will come.
    bench.claim("level", level <= words)
    bench.claim("packet", (level == 0) | (fetching != ended))
    fetch, idle = states[_State.FETCH], states[_State.IDLE]
    count = states.count(_State.FETCH, words + 1, waits=fetching & ~program.valid)
    bench.claim("fetched", ~fetch | (count <= level))
    bench.claim("reads", ~(fetch & fetching & (level < words)) | program.ready)
    # A cycle behind the last word, the next command is accepted.
    count = states.count(_State.IDLE, 2, waits=fetching | dut.commands.ready)
    bench.claim("drops", ~(idle & fetching) | program.ready)
    bench.claim("dropped", ~idle | (~fetching & (level == 0)) | (count == 0))


def _products(bench: Bench, dut: Sequencer, states: _States) -> None:
    """Products of the token and the position with their strides take a bit in each cycle."""
    registers = bench.inside.registers()
    begun = registers[[one.name for one in registers].index("embedding_offset") - 1]
    rests = [bench.inside[f"rest{index}"] for index in range(3)]
    bits, multiplies = max(map(len, rests)), states[_State.MULTIPLY]
    again = begun & ~Cat(rests).any() & (dut.number != dut.others)
    count = states.count(_State.MULTIPLY, bits + 2, restarts=again)
    # Each token comes once: in MULTIPLY, and where an instruction runs again for the next one.
    again = bench.past(again) | (bench.past(states[_State.SEND]) & states[_State.WAIT])
    bench.claim("next_token", ~again | (dut.number == bench.past(dut.number) + 1))
    bench.claim("begun", ~begun | multiplies)
    bench.claim("counted", ~multiplies | (begun == (count != 0)))
    for index, rest in enumerate(rests):
        for bit in range(len(rest)):
            bench.claim(f"rest{index}_{bit}", ~(begun & (count > bits - bit)) | ~rest[bit])


def _commands(bench: Bench, dut: Sequencer, states: _States, tokens: int) -> None:
    """Each command is offered until it is taken, but for two conditions of other units."""
    wanted = {name: bench.inside[f"wanted_{name}"] for name in _STREAMS}
    held = dict.fromkeys(_STREAMS, _NEVER)
    held["scaler"] = (dut.op == Op.EMBED) & ~dut.have_scale
    held["attention"] = wanted["normalizer"] | dut.busy_normalizer | dut.busy_heads
    held["attention"] &= dut.op == Op.HEAD
    taken: Value = _NEVER
    for name, one in wanted.items():
        port = getattr(dut, name)
        bench.claim(f"offers_{name}", port.valid == (one & ~held[name]))
        bench.claim(f"only_{name}", ~one | states[_State.SEND])
        taken |= port.valid & port.ready
    waits = ~taken & (dut.waits | Cat(wanted.values()).any())
    left = sum(wanted.values())
    if tokens > 1:
        runs = states[_State.WAIT] | states[_State.SEND] | states[_State.MULTIPLY]
        bench.claim("number", ~runs | (dut.number <= dut.others))
        # PRODUCT commands the normalizer once for each token.
        left += Mux(dut.op == Op.PRODUCT, dut.others - dut.number, 0)
    most = len(_STREAMS) + tokens
    count = states.count(_State.SEND, most, waits=waits)
    bench.claim("left", ~states[_State.SEND] | (count + left < most))


def _progress(tokens: int) -> Bench:
    """Cycles of each state."""
    config: TokenConfig = replace(SMALLEST, engine=replace(SMALLEST.engine, tokens=tokens))
    dut = Sequencer(config)
    bench = Bench(dut, visible=False)
    states = _States(bench)
    _program(bench, dut, states)
    _products(bench, dut, states)
    # An instruction begins as soon as the units that it depends on are idle.
    heads, op = dut.busy_heads, dut.op
    results = dut.busy_vectors | dut.busy_normalizer | dut.busy_attention
    ends = (op == Op.END) | ((op == Op.HEAD) & (dut.k == 0))
    waits = (op == Op.HEADS) & (dut.number == 0) & (dut.busy_vectors | heads)
    waits |= ((op == Op.ATTEND) & heads) | (ends & results) | ((op == Op.EMBED) & dut.embeds)
    states.count(_State.WAIT, 1, waits=Mux(dut.dropping, results | heads, waits))
    _commands(bench, dut, states, tokens)
    bench.reach = 40
    return bench


THEOREMS = [
    Theorem(
        name="sequencer: progress",
        file="hw/token/sequencer.py",
        statement="The sequencer stays in a state beyond a bound only while it waits: for a "
        "command, for a word of its program, for a unit that the instruction needs idle, for the "
        "scale or the row of an embedding, for the memory's requests, or for a unit that does not "
        "take an offered command. Behind a token it also drops the rest of the program, a word in "
        "each cycle in which one comes. The bounds are 17 cycles to read an instruction from a "
        "memory of 32 bits; for each token of `SETUP`, two more than the width of the token or the "
        "position; one cycle to begin an instruction; nine, and one for each token of the pass, to "
        "send commands; two to accept a command. The program is asked for at most once in a pass.",
        assumptions=("Words of the program come after its request, up to the one with `last`.",),
        cases={
            f"{tokens} token{'s' * (tokens > 1)} in a pass": Case(
                build=lambda tokens=tokens: _progress(tokens), depth=1, faults=40
            )
            for tokens in (1, 2, 4)
        },
    ),
]

# amaranth: UnusedElaboratable=no
"""The session of a token core among models of its memory, its core and its weights."""

import random
from zlib import crc32

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.sim import Simulator
from tiny_core import TINY

from trilith.fpga.frames import (
    DONE,
    MAX_PAYLOAD,
    DoneFlag,
    FrameReader,
    Kind,
    address_payload,
    check_payload,
    model_payload,
    token_answers,
    token_payload,
)
from trilith.fpga.gateware.config import CoreTopConfig, ExternalMemory
from trilith.fpga.gateware.core_session import CoreSession
from trilith.fpga.gateware.weight_memory import MemoryShape

BYTES = 4096
CONFIG = CoreTopConfig(
    core=TINY,
    memory=ExternalMemory(kind="block_ram", bytes=BYTES),
    resident=MemoryShape(beats=64),
    clock_hz=8_000_000,
    baud=2_000_000,
)
WORD = CONFIG.word_bytes
#: The elements 3.5 and −2.0.
LOGITS = (
    {"fraction": 0x6000, "exponent": 128, "negative": 0},
    {"fraction": 0, "exponent": 128, "negative": 1},
)
HELLO = (Kind.HELLO, b"abcd")


async def ticks(ctx, count):
    for _ in range(count):
        await ctx.tick()


class Bench:
    """A session, what is around it, and what it answers.

    ``core`` maps a command to the cycles that it takes, its answers, and the faults behind it.
    """

    def __init__(self, frames, *, core=None, seed=0, resets=()):
        self.session = session = CoreSession(CONFIG)
        self.core = core or (lambda *_: (20, [], {}))
        self.rng = random.Random(seed)
        self.memory = bytearray(self.rng.randbytes(BYTES))
        self.frames, self.resets = frames, resets
        self.commands, self.models, self.line, self.free = [], [], bytearray(), []
        self.states = []
        m = Module()
        self.begin = Signal()
        m.submodules.session = ResetInserter(self.begin)(session)
        simulator = Simulator(m)
        simulator.add_clock(1e-6)
        simulator.add_testbench(self.send)
        for process in (
            self.payloads,
            self.requests,
            self.writes,
            self.reads,
            self.core_side,
            self.weights,
            self.idle,
            self.sink,
        ):
            simulator.add_testbench(process, background=True)
        self.pending_writes, self.pending_reads, self.payload = [], [], b""
        simulator.run()

    @property
    def answers(self):
        """Kinds and payloads of the frames that came."""
        return [(frame.kind, frame.payload) for frame in FrameReader().feed(bytes(self.line))]

    @property
    def sessions(self):
        """Answers, cut where an identity begins a session."""
        sessions = []
        for answer in self.answers:
            if answer[0] == Kind.IDENTITY:
                sessions.append([])
            sessions[-1].append(answer)
        return sessions

    async def send(self, ctx):
        session = self.session
        ctx.set(session.tested, 1)
        ctx.set(session.tested_bytes, BYTES)
        for index, (kind, payload) in enumerate(self.frames):
            wait = self.resets[index] if index < len(self.resets) else None
            cycles = 0
            while wait is None and not ctx.get(session.free):
                await ctx.tick()
                cycles += 1
                assert cycles < 20_000, "the session hangs"
            if wait is not None:
                await ticks(ctx, wait)
                ctx.set(self.begin, 1)
                await ctx.tick()
                ctx.set(self.begin, 0)
                self.pending_writes.clear()
                self.pending_reads.clear()
            self.payload = payload
            ctx.set(session.kind, kind)
            ctx.set(session.length, len(payload))
            ctx.set(session.start, 1)
            await ctx.tick()
            ctx.set(session.start, 0)
            # On the line a frame takes longer.
            await ticks(ctx, 100)
        quiet = 0
        while quiet < 100:
            await ctx.tick()
            quiet = 0 if ctx.get(session.active) else quiet + 1
            cycles += 1
            assert cycles < 20_000, "the session hangs"

    async def payloads(self, ctx):
        while True:
            address = ctx.get(self.session.address)
            await ctx.tick()
            byte = self.payload[address] if address < len(self.payload) else 0
            ctx.set(self.session.payload, byte)

    async def requests(self, ctx):
        port = self.session.port.requests
        while True:
            ready = self.rng.random() < 0.5
            ctx.set(port.ready, ready)
            _, _, valid, request = await ctx.tick().sample(port.valid, port.p)
            if valid and ready:
                assert request.address % WORD == 0
                assert request.address + WORD * request.words <= BYTES
                assert 1 <= request.words <= 16
                queue = self.pending_writes if request.write else self.pending_reads
                queue += [request.address + WORD * word for word in range(request.words)]

    async def writes(self, ctx):
        port = self.session.port.write_data
        words = []
        while True:
            ready = self.rng.random() < 0.5
            ctx.set(port.ready, ready)
            _, _, valid, word = await ctx.tick().sample(port.valid, port.p)
            if valid and ready:
                assert word.strobes == 2**WORD - 1
                words.append(word.data)
            while words and self.pending_writes:
                address = self.pending_writes.pop(0)
                self.memory[address : address + WORD] = words.pop(0).to_bytes(WORD, "little")

    async def reads(self, ctx):
        port = self.session.port.read_data
        while True:
            await ticks(ctx, self.rng.randrange(1, 6))
            if self.pending_reads:
                address = self.pending_reads[0]
                word = self.memory[address : address + WORD]
                ctx.set(port.p, {"data": int.from_bytes(word, "little"), "error": 0})
                ctx.set(port.valid, 1)
                while self.pending_reads:
                    _, _, ready = await ctx.tick().sample(port.ready)
                    if ready:
                        break
                if self.pending_reads:
                    self.pending_reads.pop(0)
                ctx.set(port.valid, 0)

    async def core_side(self, ctx):
        session = self.session
        while True:
            ctx.set(session.commands.ready, 1)
            _, _, valid, command, reset = await ctx.tick().sample(
                session.commands.valid, session.commands.p, session.reset
            )
            if not valid:
                continue
            assert not reset
            self.commands.append((command.token, command.position, command.k))
            ctx.set(session.commands.ready, 0)
            ctx.set(session.busy, 1)
            cycles, answers, faults = self.core(*self.commands[-1])
            await ticks(ctx, cycles)
            ctx.set(session.waiting, 1)
            await ctx.tick()
            ctx.set(session.waiting, 0)
            for index, (token, logit) in enumerate(answers):
                last = index == len(answers) - 1
                ctx.set(session.answers.p, {"token": token, "logit": logit, "last": last})
                ctx.set(session.answers.valid, 1)
                while True:
                    _, _, ready, reset = await ctx.tick().sample(
                        session.answers.ready, session.reset
                    )
                    if ready or reset:
                        break
                ctx.set(session.answers.valid, 0)
            ctx.set(session.faults, faults)
            await ctx.tick()
            ctx.set(session.faults, {})
            ctx.set(session.busy, 0)

    async def weights(self, ctx):
        session = self.session
        while True:
            _, _, load, clear, *model = await ctx.tick().sample(
                session.load, session.clear, session.base, session.count, session.resident
            )
            if load:
                # The core is in reset, and the weights are not.
                assert clear == 0b01
                self.models.append((*model, ctx.get(session.program_words)))
                ctx.set(session.loading, 1)
                await ticks(ctx, 30)
                ctx.set(session.loading, 0)

    async def idle(self, ctx):
        session = self.session
        async for _, _, clear in ctx.tick().sample(session.clear):
            ctx.set(session.idle, clear if self.rng.random() < 0.2 else 0)

    async def sink(self, ctx):
        line = self.session.line
        ctx.set(line.ready, 1)
        async for _, _, valid, byte in ctx.tick().sample(line.valid, line.p):
            if valid:
                self.line.append(byte)


def done(answer):
    """Flags of a DONE."""
    kind, payload = answer
    assert kind == Kind.DONE
    return DoneFlag(DONE.unpack(payload)[2])


def written(address, data):
    """Frames that write bytes."""
    places = range(0, len(data), MAX_PAYLOAD)
    frames = [(Kind.WRITE, data[place : place + MAX_PAYLOAD]) for place in places]
    return [(Kind.ADDRESS, address_payload(address)), *frames]


def test_words_are_written_and_checked():
    data = bytes(range(251)) * 2 + b"ab"
    ranges = [(0, BYTES // 8), (1004, 504), (BYTES - 68, 68), (16, 4), (BYTES, 0)]
    frames = [HELLO, *written(1004, data)]
    frames += [check(*one) for one in ranges]
    bench = Bench(frames)
    assert bytes(bench.memory[1004:1508]) == data
    identity, *rest = bench.answers
    assert identity == (Kind.IDENTITY, b"abcd" + CONFIG.identity.encode())
    assert [kind for kind, _ in rest] == [Kind.RESULTS, Kind.DONE] * len(ranges)
    for (address, size), (_, result), answer in zip(ranges, rest[::2], rest[1::2], strict=True):
        assert result == crc32(bench.memory[address : address + size]).to_bytes(4, "little")
        assert done(answer) == 0
        assert DONE.unpack(answer[1])[0] >= size


def test_words_may_be_cut_anywhere_and_end_with_the_memory():
    data = bytes(range(1, 33))
    cut = [(Kind.WRITE, data[place : place + 5]) for place in range(0, 32, 5)]
    bench = Bench([HELLO, address(BYTES - 32), *cut])
    assert bytes(bench.memory[-32:]) == data
    assert len(bench.answers) == 1


def model(**changes):
    """A frame with a model, with some fields changed."""
    fields = {"program_words": 7, "base": 1024, "beats": 100, "resident": 64} | changes
    return Kind.MODEL, model_payload(**fields)


def check(address, size):
    return Kind.CHECK, check_payload(address, size)


def address(place):
    return Kind.ADDRESS, address_payload(place)


def token(*command):
    return Kind.TOKEN, token_payload(*command)


#: Frames that are not legal, by what is wrong. Those in front of the last one are legal.
ILLEGAL = {
    "frames": {
        "an unknown kind": [(9, b"")],
        "a kind of the board": [(0x83, bytes(7))],
        "a job of protocol 1": [(Kind.JOB, bytes(16))],
        "activations of protocol 1": [(Kind.ACTIVATIONS, bytes(16))],
        "an address of protocol 1": [(Kind.ADDRESS, bytes(3))],
        "two jobs in a frame": [(Kind.CHECK, bytes(16))],
        "half a job": [(Kind.TOKEN, bytes(6))],
        "a word that is not whole": [*written(8, b"abc"), check(0, 8)],
        "a token without a model": [token(1, 0, 1)],
    },
    "places": {
        "an address between words": [address(2)],
        "an address outside": [address(BYTES + 4)],
        "an address far outside": [address(2**31)],
        "a check outside": [check(BYTES - 4, 8)],
        "a check that wraps": [check(2**32 - 4, 4)],
        "a check of too much": [check(0, 2**32 - 4)],
        "a check of half a word": [check(4, 2)],
        "words behind the end": [address(BYTES), (Kind.WRITE, bytes(240))],
    },
    "models": {
        "a program too long": [model(program_words=BYTES // WORD + 1)],
        "a program far too long": [model(program_words=2**31)],
        "a base between words": [model(base=1026)],
        "a base too high": [model(base=BYTES - 4)],
        "weights too many": [model(beats=769)],
        "weights far too many": [model(beats=2**24 + 100)],
        "the most weights": [model(beats=2**32 - 1)],
        "more resident beats than beats": [model(beats=63)],
        "more resident beats than block RAM": [model(resident=65)],
        "far more resident beats": [model(resident=2**23)],
        "a token beyond the field": [model(), token(16, 0, 1)],
        "a token far beyond the field": [model(), token(2**23, 0, 1)],
        "a position beyond the field": [model(), token(0, 4, 1)],
        "k beyond the field": [model(), token(0, 0, 64)],
    },
}


@pytest.mark.parametrize("cases", ILLEGAL.values(), ids=ILLEGAL)
def test_what_is_not_legal_is_answered_with_an_error(cases):
    frames = [frame for case in cases.values() for frame in (*case, check(0, 16))]
    bench = Bench([HELLO, *frames])
    crc = crc32(bench.memory[:16]).to_bytes(4, "little")
    found = iter(bench.answers[1:])
    for name, case in cases.items():
        # The legal frames before and behind it are executed.
        jobs = [kind for kind, _ in case[:-1] if kind == Kind.MODEL]
        flags = [done(next(found)) for _ in (*jobs, name)]
        assert flags == [0] * len(jobs) + [DoneFlag.ERROR], name
        assert next(found) == (Kind.RESULTS, crc), name
        assert done(next(found)) == 0, name
    assert next(found, None) is None
    assert bench.commands == []


def test_a_model_is_loaded_and_runs_tokens():
    found = {(5, 0, 0): [], (9, 1, 2): list(zip([7, 11], LOGITS, strict=True))}
    bench = Bench(
        [HELLO, model(), token(5, 0, 0), token(9, 1, 2)],
        core=lambda *command: (50, found[command], {}),
    )
    assert bench.models == [(1024, 100, 64, 7)]
    assert bench.commands == list(found)
    _, begun, prompt, results, last = bench.answers
    assert [done(answer) for answer in (begun, prompt, last)] == [0, 0, 0]
    assert token_answers(results[1]) == ([7, 11], [3.5, -2.0])
    for answer in (prompt, last):
        cycles, waits, _ = DONE.unpack(answer[1])
        assert 50 < cycles < 90
        assert waits == 1


def test_faults_of_the_core_stay_until_the_next_model():
    faults = iter([{"large": 1}, {"stopped": 1}, {}, {}])
    one = token(1, 0, 0)
    bench = Bench(
        [HELLO, model(), one, one, one, model(), one],
        core=lambda *_: (10, [], next(faults)),
    )
    flags = [done(answer) for answer in bench.answers[1:]]
    assert flags == [
        0,
        DoneFlag.LARGE,
        DoneFlag.ERROR | DoneFlag.STOPPED | DoneFlag.LARGE,
        DoneFlag.STOPPED | DoneFlag.LARGE,
        0,
        0,
    ]


def test_a_new_session_begins_at_any_time():
    first = [*written(0, bytes(8)), check(0, 256), model(), token(1, 0, 2)]
    frames, resets = [], []
    for stop in range(len(first) + 1):
        for wait in (0, 30, 200):
            cut = [(Kind.HELLO, bytes([stop, 1, 0, 0])), *first[:stop]]
            whole = [(Kind.HELLO, bytes([stop, 2, 0, 0])), model(), token(1, 0, 2)]
            frames += [*cut, *whole]
            resets += [400, *[None] * stop, wait, None, None]
    bench = Bench(
        frames, core=lambda *_: (40, list(zip([1, 2], LOGITS, strict=True)), {}), resets=resets
    )
    # An identity may be cut, too.
    sessions = [session for session in bench.sessions if session[0][1][1] == 2]
    assert len(sessions) == 3 * (len(first) + 1)
    for session in sessions:
        kinds = [kind for kind, _ in session]
        assert kinds == [Kind.IDENTITY, Kind.DONE, Kind.RESULTS, Kind.DONE]
        assert [done(session[1]), done(session[3])] == [0, 0]
        assert token_answers(session[2][1]) == ([1, 2], [3.5, -2.0])


def test_a_configuration_that_is_none_is_refused():
    with pytest.raises(TypeError, match=r"^config must be a CoreTopConfig, not 5$"):
        CoreSession(5)

# amaranth: UnusedElaboratable=no
"""The top on its two wires, clock by clock."""

from dataclasses import replace

import numpy as np
import pytest
from board_line import BITS, from_line, to_line

from trilith.fpga.boards import SIMULATED
from trilith.fpga.frames import DONE, JOB, MAX_PAYLOAD, Frame, FrameReader, Kind
from trilith.fpga.gateware.top import BoardTop
from trilith.fpga.gateware.weight_memory import MemoryShape
from trilith.golden import ternary_matmul
from trilith.hw.beats import activation_beats, result_values, weight_beats
from trilith.hw.engine.results import results_shape
from trilith.sim.rtl.clocked import run_clocked


def session(config, frames, idle):
    """Send frames back to back; return those that come back, bytes and clocks of the answer."""
    divisor = config.divisor
    sent = to_line(divisor, b"".join(frame.encode() for frame in frames))
    line = np.concatenate([np.ones(20, np.uint8), sent, np.ones(idle, np.uint8)])
    out = run_clocked(BoardTop(config), {"rx": line[:, np.newaxis].astype(np.uint8)})
    data, starts = from_line(divisor, out["tx"][:, 0])
    return list(FrameReader().feed(data)), data, starts


@pytest.mark.parametrize(("words", "parts"), [(1, 1), (2, 1), (1, 2)])
def test_a_job_on_the_wires_at_the_line_rate(words, parts):
    memory = MemoryShape(beats=512, words_per_beat=words, parts=parts)
    config = replace(SIMULATED, memory=memory)
    rng = np.random.default_rng(1)
    n, k = 120, 150
    trits = rng.integers(-1, 2, (n, k), np.int8)
    q = rng.integers(-128, 128, (2, k)).astype(np.int8)
    engine = config.engine
    beats = weight_beats(engine, trits)
    job = {
        "n": n,
        "k": k,
        "tokens": 2,
        "group_chunks": 0,
        "reuse": 0,
        "address": 3,
        "count": len(beats),
    }
    payloads = [(Kind.ADDRESS, (3).to_bytes(3, "little"))]
    for kind, data in (
        (Kind.WRITE, beats.tobytes()),
        (Kind.JOB, b"".join(job[name].to_bytes(size, "little") for name, size in JOB.items())),
        (Kind.ACTIVATIONS, activation_beats(engine, q).tobytes()),
    ):
        payloads += [(kind, data[i : i + MAX_PAYLOAD]) for i in range(0, len(data), MAX_PAYLOAD)]
    frames = [Frame(kind=Kind.HELLO, sequence=99, payload=b"abcd")]
    frames += [
        Frame(kind=kind, sequence=i, payload=payload) for i, (kind, payload) in enumerate(payloads)
    ]
    result_bytes = -(-results_shape(engine).size // 8)
    size = -(-n // engine.rows) * 2 * result_bytes
    answers, data, starts = session(config, frames, 60 * config.divisor * size // 4)

    assert answers[0].kind == Kind.IDENTITY
    assert answers[0].payload == b"abcd" + config.identity.encode()
    # No frame is refused although they come without a gap: the line is full.
    assert {frame.kind for frame in answers[1:]} == {Kind.ACK, Kind.RESULTS, Kind.DONE}
    assert [frame.sequence for frame in answers if frame.kind == Kind.ACK][-1] == len(payloads)
    sent = sum(len(payload) for _, payload in payloads)
    line = sum(len(frame.encode()) for frame in frames[1:])
    assert sent / line > 0.9
    results = [frame for frame in answers if frame.kind == Kind.RESULTS]
    assert [frame.sequence for frame in results] == list(range(len(results)))
    got = b"".join(frame.payload for frame in results)
    assert len(got) == size
    values, _ = result_values(engine, np.frombuffer(got, np.uint8).reshape(-1, result_bytes))
    y = values.reshape(-1, 2, engine.rows).swapaxes(0, 1).reshape(2, -1)[:, :n]
    assert (y == ternary_matmul(trits, q)).all()
    clocks, waits, flags = DONE.unpack(answers[-1].payload)
    assert answers[-1].kind == Kind.DONE
    assert flags == 0
    # All but what the link takes: the weights, in as many clocks as the memory needs.
    assert words * len(beats) <= clocks - waits <= words * len(beats) + 150
    # The way back is as full: from the first byte of the results' frames to their last.
    first = data.index(results[0].encode())
    last = data.index(results[-1].encode()) + len(results[-1].encode()) - 1
    took = starts[last] - starts[first] + BITS * config.divisor
    assert len(got) * BITS * config.divisor / took > 0.8


def test_a_frame_counts_once_and_in_order():
    config = replace(SIMULATED, memory=MemoryShape(beats=64))
    hello = Frame(kind=Kind.HELLO, sequence=0, payload=b"abcd")
    address = [Frame(kind=Kind.ADDRESS, sequence=i, payload=b"\1\0\0") for i in range(5)]
    order = [hello, address[0], address[0], address[2], address[1], address[0], address[2]]
    answers, _, _ = session(config, order, 6000)
    assert [(frame.kind, frame.sequence) for frame in answers[1:]] == [
        (Kind.ACK, 1),  # For both: they waited for the identity.
        (Kind.REFUSAL, 1),  # One is missing.
        (Kind.ACK, 2),
        (Kind.ACK, 2),
        (Kind.ACK, 3),
    ]


def test_a_session_ends_what_is_under_way():
    config = replace(SIMULATED, memory=MemoryShape(beats=64))
    payload = b"".join(
        value.to_bytes(size, "little")
        for value, size in zip((5, 8, 1, 0, 0, 0, 1), JOB.values(), strict=True)
    )
    job = Frame(kind=Kind.JOB, sequence=0, payload=payload)
    # The job waits for activations that never come, and more of them than it can take hang.
    stuck = [
        Frame(kind=Kind.ACTIVATIONS, sequence=1, payload=bytes(20)),
        Frame(kind=Kind.ADDRESS, sequence=2, payload=bytes(3)),
    ]
    again = Frame(kind=Kind.ACTIVATIONS, sequence=1, payload=bytes(8))
    hellos = [Frame(kind=Kind.HELLO, sequence=0, payload=bytes([i] * 4)) for i in (1, 2)]
    frames = [hellos[0], job, *stuck, hellos[1], job, again]
    answers, _, _ = session(config, frames, 8000)
    identities = [frame.payload[0] for frame in answers if frame.kind == Kind.IDENTITY]
    assert identities == [1, 2]
    later = answers[[frame.payload[:1] for frame in answers].index(b"\2") :]
    assert [frame.kind for frame in later] == [
        Kind.IDENTITY,
        Kind.ACK,
        Kind.ACK,
        Kind.RESULTS,
        Kind.DONE,
    ]


def test_a_session_forgets_a_word_that_is_not_whole():
    config = replace(SIMULATED, memory=MemoryShape(beats=64))
    cut = Frame(kind=Kind.WRITE, sequence=0, payload=bytes(3))
    hellos = [Frame(kind=Kind.HELLO, sequence=0, payload=bytes([i] * 4)) for i in (1, 2)]
    answers, _, _ = session(config, [hellos[0], cut, hellos[1]], 4000)
    # The second one comes while the board sends the first identity.
    assert answers[-1].payload[:4] == hellos[1].payload


def job_frame(sequence, **changes):
    """A job of 5 outputs and 8 inputs with some fields changed."""
    job = {"n": 5, "k": 8, "tokens": 1, "group_chunks": 0, "reuse": 0, "address": 0, "count": 1}
    job |= changes
    payload = b"".join(job[name].to_bytes(size, "little") for name, size in JOB.items())
    return Frame(kind=Kind.JOB, sequence=sequence, payload=payload)


@pytest.mark.parametrize(
    "change",
    [
        # The lowest bits alone, as many as the engine's field has, are the numbers of a legal job.
        {"n": 2048 + 5},
        {"n": 2**23 + 5},
        {"k": 2048 + 8},
        {"tokens": 4 + 1},
        {"group_chunks": 256},
        # These fit the engine's fields, and the engine itself finds them out of range.
        {"n": 1025},
        {"tokens": 0},
    ],
    ids=str,
)
def test_a_job_out_of_range_is_answered_with_an_error(change):
    config = replace(SIMULATED, memory=MemoryShape(beats=64))
    engine = config.engine
    assert (engine.n_max, engine.k_max, engine.tokens, engine.max_chunks) == (1024, 1024, 2, 128)
    hellos = [Frame(kind=Kind.HELLO, sequence=0, payload=bytes([i] * 4)) for i in (1, 2)]
    activations = Frame(kind=Kind.ACTIVATIONS, sequence=1, payload=bytes(8))
    frames = [hellos[0], job_frame(0, **change), hellos[1], job_frame(0), activations]
    # The second session begins after the answer of the first.
    frames[2:2] = [Frame(kind=0x7F, sequence=9, payload=bytes(60))]
    answers, _, _ = session(config, frames, 8000)
    kinds = [frame.kind for frame in answers]
    second = kinds.index(Kind.IDENTITY, 1)
    assert [kind for kind in kinds[:second] if kind != Kind.REFUSAL] == [
        Kind.IDENTITY,
        Kind.ACK,
        Kind.DONE,
    ]
    _, _, flags = DONE.unpack(answers[kinds.index(Kind.DONE)].payload)
    assert flags == 1
    # A new session runs jobs again.
    assert kinds[second:] == [Kind.IDENTITY, Kind.ACK, Kind.ACK, Kind.RESULTS, Kind.DONE]
    assert DONE.unpack(answers[-1].payload)[2] == 0

# amaranth: UnusedElaboratable=no
"""The top level with a token core on its two wires: a model of a few words, in block RAM."""

from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from board_line import from_line, to_line
from tiny_core import TINY

import trilith.fpga
from trilith.fpga.frames import (
    DONE,
    MAX_PAYLOAD,
    DoneFlag,
    Frame,
    FrameReader,
    Kind,
    address_payload,
    check_payload,
    model_payload,
    token_answers,
    token_payload,
)
from trilith.fpga.gateware.config import CoreTopConfig, ExternalMemory
from trilith.fpga.gateware.core_top import CoreTop
from trilith.fpga.gateware.weight_memory import MemoryShape
from trilith.golden.network.token_core import CoreCache
from trilith.hw.export.core_testbench import example_model
from trilith.hw.token.image import compile_image
from trilith.sim.rtl.clocked import run_clocked
from trilith.sim.rtl.token_core import GoldenTrace
from trilith.sim.tools.verilog import keep_verilog

CONFIG = CoreTopConfig(
    core=TINY,
    memory=ExternalMemory(kind="block_ram", bytes=2**13),
    resident=MemoryShape(beats=64),
    clock_hz=8_000_000,
    baud=2_000_000,
)
BASE = 4608
#: Cycles in which a token, the copying of weights, and all their answers end.
WORK = 16_000
TEXT = ((5, 0, 0), (9, 1, 3), (2, 2, 12), (11, 3, 1))


@pytest.fixture(scope="module")
def top():
    """Send frames and pauses to the board; return the frames that come back."""
    fpga = Path(trilith.fpga.__file__).parent
    sources = [*(fpga / "gateware").glob("*.py"), fpga / "frames.py", fpga / "identity.py"]
    verilog = keep_verilog(lambda: CoreTop(CONFIG), "dut", repr(CONFIG), *sources)

    def run(pieces):
        levels = [np.ones(20, np.uint8)]
        for piece in pieces:
            if isinstance(piece, int):
                levels.append(np.ones(piece, np.uint8))
            else:
                line = piece if isinstance(piece, bytes) else piece.encode()
                levels.append(to_line(CONFIG.divisor, line))
        levels.append(np.ones(WORK, np.uint8))
        line = np.concatenate(levels)[:, np.newaxis].astype(np.uint8)
        out = run_clocked(CoreTop(CONFIG), {"rx": line}, verilog=verilog)
        # Nothing hangs: at the end nothing moves.
        assert not out["active"][-1, 0]
        data, _ = from_line(CONFIG.divisor, out["tx"][:, 0])
        return list(FrameReader().feed(data))

    return run


@pytest.fixture(scope="module")
def image():
    return compile_image(example_model(TINY), TINY)


@pytest.fixture(scope="module")
def expected():
    """Tokens and logits of the golden model for each command of the text."""
    model = example_model(TINY)
    cache = CoreCache(model.config)
    found = []
    for token, _, k in TEXT:
        logits = GoldenTrace(model, token, cache).logits
        best = np.argsort(-logits, kind="stable")[:k]
        found.append((best.tolist(), logits[best].tolist()))
    return found


def hello(number):
    return Frame(kind=Kind.HELLO, sequence=0, payload=bytes([number] * 4))


def numbered(frames):
    """Frames of a session behind its HELLO, from their kinds and payloads."""
    return [
        Frame(kind=kind, sequence=index % 256, payload=payload)
        for index, (kind, payload) in enumerate(frames)
    ]


def loading(image):
    """Kinds and payloads that load an image."""
    frames = []
    for start, array in ((0, image.memory), (BASE, image.weights)):
        data = array.tobytes()
        frames.append((Kind.ADDRESS, address_payload(start)))
        for place in range(0, len(data), MAX_PAYLOAD):
            frames.append((Kind.WRITE, data[place : place + MAX_PAYLOAD]))
    return frames


def begin(image, resident):
    return Kind.MODEL, model_payload(
        program_words=image.program_words, base=BASE, beats=len(image.weights), resident=resident
    )


def generation(image, resident, first=0):
    """Pieces that begin the model, and run the text."""
    jobs = [begin(image, resident)]
    jobs += [(Kind.TOKEN, token_payload(*command)) for command in TEXT]
    pieces = []
    for frame in numbered([(0, b"")] * first + jobs)[first:]:
        pieces += [frame, WORK]
    return pieces


def texts(answers):
    """Results and flags of each job of the last session."""
    last = max(i for i, frame in enumerate(answers) if frame.kind == Kind.IDENTITY)
    jobs, results = [], b""
    for frame in answers[last:]:
        if frame.kind == Kind.RESULTS:
            results += frame.payload
        elif frame.kind == Kind.DONE:
            jobs.append((results, DoneFlag(DONE.unpack(frame.payload)[2])))
            results = b""
    return jobs


def is_text(jobs, expected):
    """Check that the model was begun, and that all tokens are those of the golden model."""
    assert jobs[0] == (b"", 0)
    assert [token_answers(results) for results, _ in jobs[1:]] == expected
    assert {flags & ~DoneFlag.LARGE for _, flags in jobs} == {0}


@pytest.mark.parametrize("resident", [0, 40])
def test_an_image_is_loaded_and_its_tokens_equal_golden(top, image, expected, resident):
    load = loading(image)
    size = image.memory.size
    checks = [
        (Kind.CHECK, check_payload(0, size)),
        (Kind.CHECK, check_payload(BASE, image.weights.size)),
    ]
    pieces = [hello(1), 6000, *numbered(load)]
    for frame in numbered(load + checks)[len(load) :]:
        pieces += [frame, WORK]
    count = len(load) + len(checks)
    answers = top([*pieces, *generation(image, resident, count)])
    assert answers[0].payload == bytes([1] * 4) + CONFIG.identity.encode()
    assert {frame.kind for frame in answers[1:]} == {Kind.ACK, Kind.RESULTS, Kind.DONE}
    (memory, _), (weights, _), *jobs = texts(answers)
    assert memory == crc32(image.memory.tobytes()).to_bytes(4, "little")
    assert weights == crc32(image.weights.tobytes()).to_bytes(4, "little")
    is_text(jobs, expected)
    cycles, waits, _ = DONE.unpack(answers[-1].payload)
    assert 0 < waits < cycles < WORK


def test_hello_in_the_middle_of_everything(top, image, expected):
    rng = np.random.default_rng(1)
    pieces = [hello(1), 6000, *numbered(loading(image))]
    for number in range(2, 100):
        # A job of each kind is cut, or a frame, or words that are written.
        resident = int(rng.integers(0, 65))
        cut = [
            begin(image, resident),
            (Kind.TOKEN, token_payload(5, 0, 3)),
            (Kind.CHECK, check_payload(0, 4096)),
            (Kind.ADDRESS, address_payload(BASE)),
            (Kind.WRITE, image.weights.tobytes()[:51]),
        ]
        kept = numbered(cut[: int(rng.integers(1, 6))])
        if number % 2:
            # The core is in the middle of a token, whose reads are under way.
            pieces += [hello(number), 4000, kept[0], 4000, numbered(cut[:2])[1]]
            pieces.append(int(rng.integers(0, 3000)))
            continue
        pieces += [hello(number), 4000]
        for frame in kept[:-1]:
            pieces += [frame, int(rng.integers(0, 6000))]
        line = kept[-1].encode()
        pieces += [line[: int(rng.integers(1, len(line) + 1))], int(rng.integers(0, 6000))]
    answers = top([*pieces, hello(100), 4000, *generation(image, 64)])
    is_text(texts(answers), expected)
    assert len({frame.payload[0] for frame in answers if frame.kind == Kind.IDENTITY}) >= 90


def test_damaged_frames_change_nothing(top, image, expected, corrupt):
    rng = np.random.default_rng(2)
    load = numbered(loading(image))
    pieces = [hello(1), 6000]
    for frame in load:
        # A damaged frame may hide the first delimiter of the next one.
        for _ in range(int(rng.integers(0, 3))):
            bad = corrupt(rng, frame.encode())
            pieces += [bad if bad != frame.encode() else b"", b"\0"]
        pieces.append(frame)
    answers = top([*pieces, *generation(image, 17, len(load))])
    is_text(texts(answers), expected)


def test_a_configuration_that_is_none_is_refused():
    with pytest.raises(TypeError, match=r"^config must be a CoreTopConfig, not 5$"):
        CoreTop(5)

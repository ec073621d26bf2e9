import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from core_emulator import IDENTITY, CoreEmulator, made

from trilith.fpga.frames import MODEL, unpack_fields
from trilith.fpga.host.board import Board
from trilith.fpga.host.core_board import CoreBoard
from trilith.fpga.host.core_image import Placement
from trilith.fpga.host.core_selftest import core_self_test
from trilith.fpga.host.core_text import BoardText
from trilith.fpga.host.link import BoardError, Link
from trilith.golden.network.token_core import CoreCache
from trilith.hw.token.config import CORE_PRESETS

BAUD = 2_000_000
EXAMPLE = Path(__file__).parents[3] / "fpga" / "host" / "example.c"


@pytest.fixture(scope="module")
def small():
    """The made model of the small core, and its image."""
    return made()


@pytest.fixture
def opened(small):
    """Open a board of the emulator with faults; both are closed when the test ends."""
    contexts = []

    def start(identity=IDENTITY, **faults):
        emulator = CoreEmulator(*small, identity, **faults)
        context = emulator.running()
        contexts.append(context)
        return emulator, context.__enter__()

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


def core_board(port):
    return CoreBoard(Link(port, BAUD))


def text_of(board, model, image, count=4, **draws):
    """Tokens that follow token 3 on the board."""
    board.load(image)
    board.begin_model(image)
    text = BoardText(model, board)
    tokens = [token for token, _ in zip(text.generate([3], **draws), range(count), strict=False)]
    assert text.difference is None
    return tokens


def golden(model, count=4):
    """Tokens that follow token 3."""
    cache, tokens = CoreCache(model.config), [3]
    while len(tokens) <= min(count, model.config.max_positions):
        tokens.append(int(model.forward(tokens[-1:], cache, last=True)[0].argmax()))
    return tokens[1:]


def test_text(small, opened):
    emulator, port = opened()
    with core_board(port) as board:
        assert board.identity == IDENTITY
        assert text_of(board, *small) == golden(small[0])
        assert (board.cycles, board.waits) == (4006, 400)
        assert board.link.repeated == 0
    image = small[1]
    place = Placement(image=image)
    fields = {"program_words": image.program_words, "base": place.base}
    assert emulator.models == [fields | {"beats": len(image.weights), "resident": 8}]


def test_streamed_weights_keep_none_in_block_ram(small, opened):
    emulator, port = opened()
    with core_board(port) as board:
        board.load(small[1])
        board.begin_model(small[1], stream=True)
    assert emulator.models[0]["resident"] == 0


def test_an_image_has_its_place_without_the_cache(small):
    image = small[1]
    blocks = dict(Placement(image=image).blocks())
    file = Placement(image=image).content()
    assert len(file) == Placement(image=image).bytes
    assert (file[: len(image.memory)] == image.memory).all()  # The cache is zeros.
    base = Placement(image=image).base
    assert (file[base : base + image.weights.size] == image.weights.reshape(-1)).all()
    assert sum(map(len, blocks.values())) < len(image.memory) + image.weights.size
    assert all(not at % 8 and not len(block) % 8 for at, block in blocks.items())


def test_what_is_loaded_is_not_sent_again(small, opened):
    emulator, port = opened()
    with core_board(port) as board:
        first = board.load(small[1])
        assert first.sent == first.bytes == emulator.written
    emulator.memory[9000] ^= 1
    shown = []
    with core_board(port) as board:
        assert board.load(small[1]).sent == small[1].weights.size  # The block of this byte.
        assert board.load(small[1], show=lambda *x: shown.append(x)).sent == 0
    assert shown == [(0, first.bytes), (first.bytes - small[1].weights.size, first.bytes),
                     (first.bytes, first.bytes)]  # fmt: skip


def test_a_block_that_stays_wrong(small, opened):
    def inverted(address, data):
        return bytes(data[:-1]) + bytes([data[-1] ^ 0x80])

    emulator, port = opened(broken=inverted)
    with (
        core_board(port) as board,
        pytest.raises(
            BoardError,
            match=r"^the 5568 bytes of the memory from 0 on must have the checksum [0-9a-f]{8}, "
            r"and have [0-9a-f]{8} after 3 sendings; the memory does not keep them: test the board "
            "with trilith fpga selftest$",
        ),
    ):
        board.load(small[1])
    assert emulator.written == 3 * 5568


def test_loading_at_the_rate_of_a_noisy_line(opened):
    model, image = made(CORE_PRESETS["pydoc"])
    rng = np.random.default_rng(1)
    big = replace(image, weights=rng.integers(0, 243, (4096, 64)).astype(np.uint8))
    identity = replace(IDENTITY, config=image.config)
    emulator = CoreEmulator(model, big, identity, damage=0.01, seed=3)
    with emulator.running() as port, core_board(port) as board:
        before = board.link.sent_bytes
        loaded = board.load(big)
        share = loaded.bytes / (board.link.sent_bytes - before)
        assert board.link.repeated > 10
    assert loaded.sent == loaded.bytes > 262_144
    assert share > 0.9
    for address, block in Placement(image=big).blocks():
        assert emulator.memory[address : address + len(block)] == block.tobytes()


@pytest.mark.parametrize("faults", [{"lose": 0.05}, {"damage": 0.05}], ids=["lose", "damage"])
def test_text_on_a_noisy_line(small, opened, faults, monkeypatch):
    monkeypatch.setattr("trilith.fpga.host.core_board._SILENCE", 0.5)
    # Short frames: bytes are broken ten times as often as in the test of loading.
    _, port = opened(seed=5, **{name: 10 * value for name, value in faults.items()})
    with core_board(port) as board:
        for _ in range(2):
            assert text_of(board, *small) == golden(small[0])
        assert board.link.sessions + board.link.repeated > 1


def test_a_lost_answer_begins_the_model_again(small, opened, monkeypatch):
    emulator, port = opened()
    with core_board(port) as board:
        board.load(small[1])
        board.begin_model(small[1])
        monkeypatch.setattr("trilith.fpga.host.core_board._SILENCE", 0.2)
        job = emulator._job
        lost = iter([True, False])
        monkeypatch.setattr(
            emulator, "_job", lambda *x, **y: iter(()) if next(lost, False) else job(*x, **y)
        )
        assert board.token(3, 0, 1).tokens == golden(small[0])[:1]
        assert board.link.sessions == 2
    assert len(emulator.models) == 2


def test_draws_are_those_of_the_simulated_core(small, opened):
    _, port = opened()
    with core_board(port) as board:
        draws = {"temperature": 2.0, "seed": 7}
        first = text_of(board, *small, **draws)
        assert first == text_of(board, *small, **draws)
        assert first != golden(small[0])


def test_a_wrong_answer_is_seen(small, opened):
    _, port = opened(wrong=1)
    with core_board(port) as board:
        board.load(small[1])
        board.begin_model(small[1])
        text = BoardText(small[0], board)
        next(text.generate([3]))
        right = golden(small[0])[0]
        assert text.difference == f"at position 0 the answer is [{right + 1}], not [{right}]"


def test_a_flag_of_large_values_that_golden_does_not_have(small, opened):
    _, port = opened(flags=4)
    with core_board(port) as board:
        board.load(small[1])
        board.begin_model(small[1])
        text = BoardText(small[0], board)
        next(text.generate([3]))
        assert text.difference == "at position 0 the flag of large values is True, not False"


def test_an_error_of_the_core_names_its_causes(small, opened):
    _, port = opened(flags=1 + 8 + 32)
    with core_board(port) as board:
        board.load(small[1])
        board.begin_model(small[1])
        with pytest.raises(
            BoardError,
            match=r"^/dev/pts/\d+ at 2000000 baud: the token core reported an error on a legal job "
            r"\(weight, memory\); test the board with trilith fpga selftest, and build its "
            "bitstream again$",
        ):
            board.token(3, 0, 1)


def test_a_token_before_a_model(opened):
    _, port = opened()
    with core_board(port) as board, pytest.raises(BoardError, match=r"^a model must have begun"):
        board.token(0, 0, 1)


def test_self_test(opened):
    emulator, port = opened()
    with core_board(port) as board:
        rows = list(core_self_test(board))
    assert all(row.passed for row in rows)
    assert [row.name for row in rows[:2]] == ["memory at the start", "load and checksums"]
    assert [model["resident"] for model in emulator.models] == [8, 0]
    assert len(rows) == 2 + 2 * 4


@pytest.mark.parametrize("found", [0, 2**19])
def test_self_test_of_a_memory_that_failed(opened, found):
    _, port = opened(replace(IDENTITY, tested_bytes=found))
    with core_board(port) as board:
        [row] = core_self_test(board)
    assert (row.passed, row.shape) == (False, f"{found} bytes")


def test_self_test_sees_wrong_answers(opened):
    _, port = opened(wrong=1)
    with core_board(port) as board:
        assert not any(row.passed for row in list(core_self_test(board))[2:])


REFUSED = {
    "failed": (
        {"tested_bytes": 0},
        "the memory must pass the board's test at its start, and failed; connect the board again, "
        "and build its bitstream with a lower clock if that does not help",
    ),
    "smaller": (
        {"tested_bytes": 2**19},
        "the memory must have the 1048576 bytes of the bitstream's design, and the test at the "
        "start found 524288; build a bitstream for the memory chip of this board",
    ),
    "configuration": (
        {"config": replace(IDENTITY.config, context_max=16, ffn_max=100)},
        "the image: must be for the configuration of the board's core, and has ffn_max 96, not "
        "100; context_max 32, not 16; give the model instead, which is then compiled for this "
        "board",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(small, opened, change, message):
    emulator, port = opened(replace(IDENTITY, **change))
    with core_board(port) as board, pytest.raises(BoardError) as error:
        board.load(small[1])
    assert str(error.value) == message
    assert emulator.written == 0


def test_an_image_too_large(small, opened):
    _, port = opened(replace(IDENTITY, memory_bytes=8192, tested_bytes=8192))
    with (
        core_board(port) as board,
        pytest.raises(
            BoardError,
            match=r"^pydoc.image: must fit the 8192 bytes of the board's memory, and takes 10688 "
            r"with its keys and values; it fits (no board|[a-z0-9, -]+)$",
        ),
    ):
        board.load(small[1], name="pydoc.image")


def test_a_board_that_multiplies_has_no_core(opened):
    from trilith.fpga.boards import BOARDS

    _, port = opened(raw=BOARDS["icebreaker"].top.identity.encode())
    with pytest.raises(
        BoardError,
        match=r"^the board must have a token core, and its bitstream speaks protocol 1, that of "
        "boards that multiply matrices: build a bitstream with a token core, such as 'trilith "
        "fpga build --board ulx3s'$",
    ):
        core_board(port)
    # The port is free again.
    Board(Link(port, BAUD)).link.close()


def test_a_board_with_a_core_multiplies_no_matrices(opened):
    _, port = opened()
    with pytest.raises(
        BoardError,
        match=r"^the board must be one that multiplies matrices, and has a token core, which runs "
        "whole models: give 'trilith fpga generate' or 'trilith fpga selftest'$",
    ):
        Board(Link(port, BAUD))


def test_an_unknown_protocol(opened):
    _, port = opened(raw=b"TRLT\x09" + bytes(40))
    with pytest.raises(
        BoardError,
        match=r"^/dev/pts/\d+ at 2000000 baud: the bitstream's protocol must be 1 or 2, not 9; "
        "build the bitstream and the host from one version of trilith$",
    ):
        core_board(port)


def test_a_port_that_goes(small, opened):
    _, port = opened(stops=20)
    with (
        core_board(port) as board,
        pytest.raises(BoardError, match=r"^/dev/pts/\d+ at 2000000 baud: the port failed: "),
    ):
        board.load(small[1])


HOST = """
import sys
from core_emulator import made
from trilith.fpga.host.core_board import CoreBoard
from trilith.fpga.host.link import Link
model, image = made()
with CoreBoard(Link(sys.argv[1], 2_000_000)) as board:
    print("ready", flush=True)
    while True:
        board.load(image)
        board.begin_model(image)
        for position in range(4):
            board.token(3, position, 4)
        board.link.deliver([(2, bytes(4)), *[(3, bytes(240))] * 40])
"""


def test_a_host_killed_in_the_middle_leaves_no_trace(small, opened):
    _, port = opened()
    wait = random.Random(7)
    for _ in range(2):
        host = subprocess.Popen(
            [sys.executable, "-c", HOST, port],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert host.stdout.readline() == "ready\n"
        time.sleep(wait.uniform(0.02, 0.2))
        host.send_signal(signal.SIGKILL)
        host.communicate()
        with core_board(port) as board:
            assert text_of(board, *small) == golden(small[0])


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example in C, compiled."""
    program = tmp_path_factory.mktemp("example") / "example"
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-o", program, EXAMPLE], check=True)

    def run(*arguments):
        return subprocess.run(
            [program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
        )

    return run


def test_the_example_in_c_generates(small, opened, example):
    emulator, port = opened()
    with core_board(port) as board:
        board.load(small[1])
        numbers = unpack_fields(MODEL, board.model_frame(small[1])).values()
    done = example(port, *numbers, 3, 3, golden(small[0])[0])
    assert (done.returncode, done.stderr) == (0, "")
    # Two tokens of a prompt, and those that follow; the context has four.
    assert done.stdout.split() == [str(token) for token in golden(small[0])[1:]]
    emulator.memory[0] ^= 1
    done = example(port, *numbers, 3, 3)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "example: the board ended a job without its answer; load the model again\n"
    )


def test_the_example_in_c_names_the_other_kind_of_board(opened, example):
    _, port = opened()
    done = example(port)
    assert done.returncode == 1
    assert done.stderr == (
        "example: the bitstream's protocol must be 1; give the numbers of a model for a board "
        "with a token core\n"
    )

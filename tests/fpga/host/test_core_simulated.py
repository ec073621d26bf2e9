"""The virtual board with a token core: the design of the ULX3S, and a model of its SDRAM."""

import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from trilith.fpga.boards import BOARDS, SIMULATED_CORE
from trilith.fpga.frames import MAX_PAYLOAD
from trilith.fpga.host.core_board import CoreBoard
from trilith.fpga.host.core_selftest import core_self_test, made_model
from trilith.fpga.host.core_text import BoardText
from trilith.fpga.host.link import Link
from trilith.fpga.host.simulated import Noise, SimulatedBoard
from trilith.golden.checkpoint.tokenizer import load_tokenizer
from trilith.golden.data import PYDOC
from trilith.golden.network import bitnet_2b4t
from trilith.golden.network.random_model import random_model
from trilith.golden.network.token_core import CoreCache, CoreModel
from trilith.golden.network.transformer import BitNetModel
from trilith.hw.token.image import compile_image

CONFIG = SIMULATED_CORE.core
BAUD = SIMULATED_CORE.baud


@pytest.fixture(scope="module")
def made():
    """The made model of the self-test, and its image."""
    model = made_model(CONFIG)
    return model, compile_image(model, CONFIG, name="made")


def text_is_right(board, model, image, *, stream=False):
    """Two tokens of a text; whether they are those of the golden model."""
    board.begin_model(image, stream=stream)
    text = BoardText(model, board)
    list(islice(text.generate([3]), 2))
    return text.difference is None


def test_a_board_that_has_its_image(made):
    with (
        SimulatedBoard(SIMULATED_CORE, image=made[1]) as simulated,
        CoreBoard(Link(simulated.port, BAUD)) as board,
    ):
        assert board.identity == SIMULATED_CORE.identity
        assert board.load(made[1]).sent == 0
        assert text_is_right(board, *made)
        assert text_is_right(board, *made, stream=True)


def test_the_text_of_pydoc():
    model = CoreModel(model=BitNetModel.load(PYDOC))
    image = compile_image(model, CONFIG)
    prompt = load_tokenizer(PYDOC).encode("Return").ids
    with (
        SimulatedBoard(SIMULATED_CORE, image=image) as simulated,
        CoreBoard(Link(simulated.port, BAUD)) as board,
    ):
        board.begin_model(image)
        text = BoardText(model, board)
        assert len(list(islice(text.generate(prompt, temperature=1.0), 1))) == 1
        assert text.difference is None


@pytest.mark.long
def test_a_token_of_a_model_whose_weights_stream():
    """19 million weights: at 50 MHz, more than 21 tokens per second."""
    sizes = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 6}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4}
    config = bitnet_2b4t.CONFIG | sizes | heads
    config |= {"vocab_size": 1024, "max_position_embeddings": 512}
    model = CoreModel(model=random_model(config, seed=1))
    image = compile_image(model, CONFIG)
    golden = model.forward([5], CoreCache(model.config))[0]
    best = np.argsort(-golden, kind="stable")[:4]
    with (
        SimulatedBoard(SIMULATED_CORE, image=image) as simulated,
        CoreBoard(Link(simulated.port, BAUD)) as board,
    ):
        for stream, cycles in ((False, 2_300_000), (True, 2_380_000)):
            board.begin_model(image, stream=stream)
            answer = board.token(5, 0, 4)
            assert answer.tokens == best.tolist()
            assert answer.logits == golden[best].tolist()
            assert answer.cycles < cycles


def test_a_noisy_line_and_the_next_host(made):
    noise = Noise(flip=1e-4, drop=1e-4, seed=3)
    with SimulatedBoard(SIMULATED_CORE, noise) as simulated:
        for _ in range(2):
            with CoreBoard(Link(simulated.port, BAUD)) as board:
                board.load(made[1])
                assert text_is_right(board, *made)


HOST = """
import sys
from trilith.fpga.boards import BOARDS, SIMULATED_CORE
from trilith.fpga.host.core_board import CoreBoard
from trilith.fpga.host.core_selftest import core_self_test
from trilith.fpga.host.link import Link
for seed in range(1, 99):
    with CoreBoard(Link(sys.argv[1], SIMULATED_CORE.baud)) as board:
        print("ready", flush=True)
        list(core_self_test(board, seed=seed))
"""


@pytest.mark.long
@pytest.mark.parametrize("name", ["ulx3s", "ecpix5"])
def test_the_design_of_each_board(name):
    top = BOARDS[name].top
    with SimulatedBoard(top) as simulated, CoreBoard(Link(simulated.port, top.baud)) as board:
        rows = list(core_self_test(board))
    assert len(rows) >= 6
    assert all(row.passed for row in rows)


@pytest.mark.long
def test_a_host_killed_in_the_middle_leaves_no_trace(made):
    wait = random.Random(7)
    with SimulatedBoard(SIMULATED_CORE, image=made[1]) as simulated:
        for _ in range(6):
            host = subprocess.Popen(
                [sys.executable, "-c", HOST, simulated.port], stdout=subprocess.PIPE, text=True
            )
            assert host.stdout.readline() == "ready\n"
            time.sleep(wait.uniform(0.05, 3))
            host.send_signal(signal.SIGKILL)
            host.communicate()
            with CoreBoard(Link(simulated.port, BAUD)) as board:
                assert all(row.passed for row in core_self_test(board))


@pytest.mark.long
def test_loading_at_the_rate_of_a_noisy_line(made):
    image = made[1]
    beats = np.random.default_rng(1).integers(0, 243, (4096, CONFIG.engine.weight_bytes), np.uint8)
    big = replace(image, weights=beats)
    # One frame of the largest size in a hundred is broken.
    noise = Noise(flip=0.01 / (MAX_PAYLOAD + 11), seed=2)
    with (
        SimulatedBoard(SIMULATED_CORE, noise) as simulated,
        CoreBoard(Link(simulated.port, BAUD)) as board,
    ):
        board.load(image)
        link, cycles = board.link, []
        ask = link.ask

        def count(*arguments, **settings):
            answer = ask(*arguments, **settings)
            cycles.append(answer.cycles)
            return answer

        link.ask = count
        before = link.sent_bytes
        loaded = board.load(big)
        # Bytes of the line, and the cycles of the checksums, in which the line of the ULX3S waits:
        # it is slower than the simulated one.
        divisor = BOARDS["ulx3s"].top.divisor
        line = link.sent_bytes - before + sum(cycles) / (10 * divisor)
        assert link.repeated > 0
        assert loaded.sent / line > 0.9
        assert loaded.sent >= 262_144
        assert board.load(big).sent == 0

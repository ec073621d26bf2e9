import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from core_emulator import IDENTITY, CoreEmulator, made
from typer.main import get_command

from trilith.cli.fpga import app
from trilith.fpga.boards import BOARDS
from trilith.golden.checkpoint.tokenizer import load_tokenizer
from trilith.golden.data import PYDOC
from trilith.golden.errors import TrilithError
from trilith.golden.network.token_core import CoreModel
from trilith.golden.network.transformer import BitNetModel
from trilith.hw.token.config import CORE_PRESETS
from trilith.hw.token.image import compile_image
from trilith.hw.token.image_file import write_image
from trilith.sim.rtl.core_text import CoreText

TRILITH = Path(sys.executable).parent / "trilith"
CONFIG = CORE_PRESETS["pydoc-ecp5"]
BOARD = replace(IDENTITY, config=CONFIG, resident_beats=4096)


def process(*arguments):
    """Run the command in a process of its own."""
    return subprocess.run(
        [str(TRILITH), "fpga", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        check=False,
    )


def fpga(*arguments):
    """Run the command in this process, which is faster."""
    out, error = io.StringIO(), ""
    with redirect_stdout(out):
        try:
            status = get_command(app).main([*map(str, arguments)], standalone_mode=False) or 0
        except TrilithError as refusal:
            status, error = refusal.exit_status, f"trilith: {refusal}\n"
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=error)


@pytest.fixture(scope="module")
def pydoc():
    """The model in the repository, and its image for the core of the emulated board."""
    model = CoreModel(model=BitNetModel.load(PYDOC))
    return model, compile_image(model, CONFIG)


@pytest.fixture
def port(pydoc):
    """Terminal of an emulated board that runs the model in the repository."""
    with CoreEmulator(*pydoc, BOARD).running() as name:
        yield name


def test_generate(port):
    done = process("generate", "--port", port, "--max-tokens", 3)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Return a list of")
    assert lines[2].startswith("All 3 answers match the golden model. Measured on the token core")
    assert lines[2].endswith(
        "64x5x1 base3, 2 vector lanes, 16 attention lanes, 128 bits of memory, at 50 MHz:"
    )
    again = json.loads(fpga("generate", "--port", port, "--max-tokens", 3, "--json").stdout)
    assert lines[0] == "Return a list of" + again["text"]
    prompt = again["prompt_tokens"]
    cycles = 1000 + prompt + 1
    assert lines[3:5] == [
        f"the prompt of {prompt} tokens: {sum(range(1000, 1000 + prompt))} cycles",
        f"the last token, at a context of {prompt + 2}: {cycles} cycles, 100 of them waiting for "
        f"the memory; {50e6 / cycles:.1f} tokens per second",
    ]
    assert again["sent_bytes"] == 0 < again["loaded_bytes"]
    assert again["difference"] is None


def test_streamed_weights(pydoc):
    emulator = CoreEmulator(*pydoc, BOARD)
    with emulator.running() as name:
        assert fpga("generate", "--port", name, "--max-tokens", 1, "--stream").returncode == 0
        assert fpga("generate", "--port", name, "--max-tokens", 1).returncode == 0
    beats = len(pydoc[1].weights)
    assert [model["resident"] for model in emulator.models] == [0, beats]


def test_draws_are_those_of_the_simulated_core(port):
    draws = ("--temperature", 1, "--seed", 3, "--max-tokens", 4, "--json")
    done = json.loads(fpga("generate", "--port", port, *draws).stdout)
    model = CoreModel(model=BitNetModel.load(PYDOC))
    prompt = load_tokenizer(PYDOC).encode("Return a list of").ids
    text = GoldenText(model, 1)
    assert done["tokens"] == list(islice(text.generate(prompt, temperature=1.0, seed=3), 4))


class GoldenText(CoreText):
    """Text of the golden model, drawn as ``trilith generate --backend core`` draws."""

    def run_pass(self, tokens, cache, k):
        logits = self._model.forward(tokens, cache, last=True)[0]
        best = np.argsort(-logits, kind="stable")[:k]
        return SimpleNamespace(tokens=best.tolist(), logits=logits[best].tolist())


def test_a_wrong_answer_is_status_1(pydoc):
    with CoreEmulator(*pydoc, BOARD, wrong=1).running() as name:
        done = fpga("generate", "--port", name, "--max-tokens", 3)
    assert (done.returncode, done.stderr) == (1, "")
    assert "\nThe board differs from the golden model: at position " in done.stdout


def test_load_and_generate_from_an_image(port, pydoc, tmp_path):
    image = tmp_path / "pydoc.image"
    write_image(pydoc[1], image)
    loaded = json.loads(fpga("load", "--port", port, image, "--json").stdout)
    assert loaded["sent"] == loaded["bytes"] > 500_000
    assert loaded["beats"] == len(pydoc[1].weights)
    again = fpga("load", "--port", port)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.splitlines() == [
        f"{loaded['bytes']} bytes are in the board's memory, verified by its checksums; 0 of them "
        f"were sent in {again.stdout.split(' in ')[2].split(' s')[0]} s",
        "MODEL: "
        + ", ".join(f"{name} {loaded[name]}" for name in ("program_words", "base", "beats"))
        + f", resident {loaded['resident']}",
    ]
    done = fpga("generate", "--port", port, "--image", image, "--max-tokens", 1, "--json")
    assert json.loads(done.stdout)["sent_bytes"] == 0


def test_self_test(pydoc):
    with CoreEmulator(*made(CONFIG), BOARD).running() as name:
        done = fpga("selftest", "--port", name)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == (
        "token core 64x5x1 base3, 2 vector lanes, 16 attention lanes, 128 bits of memory, at 50 "
        "MHz, 1048576 bytes of memory"
    )
    assert lines[2].split()[:6] == ["PASS", "memory", "at", "the", "start", "1048576"]
    assert lines[-1] == "10 passed, 0 failed; 0 frames repeated, 0 rejected, 1 sessions"


def test_self_test_of_a_memory_that_failed(pydoc):
    with CoreEmulator(*pydoc, replace(BOARD, tested_bytes=0)).running() as name:
        done = fpga("selftest", "--port", name)
    assert done.returncode == 1
    assert done.stdout.splitlines()[2].split()[:6] == ["FAIL", "memory", "at", "the", "start", "0"]


SMALL = {"memory_bytes": 2**18, "tested_bytes": 2**18}
REFUSED = {
    "run": (
        ("run",),
        {},
        "trilith fpga run is for boards that multiply, and this board has a token core, which runs "
        "whole models: give 'trilith fpga generate --port PORT', or 'trilith fpga selftest --port "
        "PORT'",
    ),
    "beyond the context": (
        ("generate", "--beyond-context"),
        {},
        "--beyond-context must not be given for a board with a token core, whose memory has room "
        "for the context alone",
    ),
    "a long prompt": (
        ("generate", "--max-tokens", "300"),
        {},
        "--prompt and --max-tokens must fit into the model's context of 256 tokens, and have 4 and "
        "300: give --max-tokens 252",
    ),
    "a small memory": (
        ("generate",),
        SMALL,
        f"{PYDOC}: must fit the 262144 bytes of the board's memory, and takes 796672 with its keys "
        "and values; it fits BOARDS",
    ),
    "load, a small memory": (
        ("load",),
        SMALL,
        f"{PYDOC}: must fit the 262144 bytes of the board's memory, and takes 796672 with its keys "
        "and values; it fits BOARDS",
    ),
    "a small core": (
        ("load",),
        {"config": replace(CONFIG, context_max=64)},
        f"{PYDOC}: the model is too large for this token core: its context must be at most 64, not "
        "256; it fits BOARDS",
    ),
    "an image for another core": (
        ("load", "IMAGE"),
        {"config": replace(CONFIG, context_max=512)},
        "IMAGE: must be for the configuration of the board's core, and has context_max 256, not "
        "512; give the model instead, which is then compiled for this board",
    ),
    "a failed memory": (
        ("generate",),
        {"tested_bytes": 0},
        "the memory must pass the board's test at its start, and failed; connect the board again, "
        "and build its bitstream with a lower clock if that does not help",
    ),
    "a memory of another size": (
        ("load",),
        {"tested_bytes": 2**19},
        "the memory must have the 1048576 bytes of the bitstream's design, and the test at the "
        "start found 524288; build a bitstream for the memory chip of this board",
    ),
}


@pytest.mark.parametrize(("arguments", "change", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(pydoc, tmp_path, arguments, change, message):
    image = tmp_path / "an.image"
    if "IMAGE" in arguments:
        write_image(pydoc[1], image)
    verb, *rest = (str(image) if word == "IMAGE" else word for word in arguments)
    with CoreEmulator(*pydoc, replace(BOARD, **change)).running() as name:
        done = fpga(verb, "--port", name, *rest)
    assert (done.returncode, done.stdout) == (2, "")
    boards = [name for name, board in BOARDS.items() if hasattr(board.top, "core")]
    boards = [name for name in boards if BOARDS[name].top.memory.bytes >= 796_672]
    right = message.replace("PORT", name).replace("IMAGE", str(image))
    right = right.replace("BOARDS", ", ".join(boards) or "no board")
    assert done.stderr == f"trilith: {right}\n"


def test_an_old_bitstream_has_no_core(pydoc):
    old = BOARDS["icebreaker"].top.identity.encode()
    with CoreEmulator(*pydoc, BOARD, raw=old).running() as name:
        done = fpga("load", "--port", name)
        other = process("generate", "--port", name, "--image", "x.image")
    assert (done.returncode, other.returncode) == (2, 2)
    assert done.stderr == (
        "trilith: the board must have a token core, and its bitstream speaks protocol 1, that of "
        "boards that multiply matrices: build a bitstream with a token core, such as 'trilith "
        "fpga build --board ulx3s'\n"
    )
    assert other.stderr == (
        "trilith: --image must not be given for a board that multiplies, which takes --model\n"
    )


def test_an_unknown_protocol(pydoc):
    with CoreEmulator(*pydoc, BOARD, raw=b"TRLT\x09" + bytes(40)).running() as name:
        done = fpga("generate", "--port", name, "--baud", 2_000_000)
    assert done.returncode == 2
    assert done.stderr == (
        f"trilith: {name} at 2000000 baud: the bitstream's protocol must be 1 or 2, not 9; build "
        "the bitstream and the host from one version of trilith\n"
    )


def test_a_port_that_goes(pydoc):
    with CoreEmulator(*pydoc, BOARD, stops=400).running() as name:
        done = fpga("generate", "--port", name)
    assert done.returncode == 2
    assert "the port failed: " in done.stderr
    assert done.stderr.endswith("; check the cable, and connect the board again\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--port", "/dev/x", "--load"),
            "--load must not be given without --port sim, which it is for",
        ),
        (
            ("--port", "sim", "--seed", "1"),
            "--seed must not be given with --temperature 0, which draws nothing: give "
            "--temperature 1, or leave --seed out",
        ),
        (
            ("--port", "sim", "--beyond-context"),
            "--beyond-context must not be given for a board with a token core, whose memory has "
            "room for the context alone",
        ),
    ],
)
def test_options_that_have_no_effect(arguments, message):
    done = fpga("generate", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"trilith: {message}\n")

import os
import random
import signal
import subprocess
import sys
import termios
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from trilith.fpga.boards import SIMULATED
from trilith.fpga.frames import Frame, FrameReader, Kind
from trilith.fpga.host.board import Board
from trilith.fpga.host.link import BoardError, Link
from trilith.fpga.host.matmul import BoardMatmul
from trilith.fpga.host.selftest import self_test
from trilith.fpga.host.simulated import Noise, SimulatedBoard
from trilith.golden import ternary_matmul
from trilith.golden.checkpoint.tokenizer import load_tokenizer
from trilith.golden.data import PYDOC
from trilith.golden.network.transformer import BitNetModel

BAUD = SIMULATED.baud
EXAMPLE = Path(__file__).parents[3] / "fpga" / "host" / "example.c"


@pytest.fixture(scope="module")
def port():
    """A simulated board without noise, which all tests share: each begins a session of its own."""
    with SimulatedBoard(SIMULATED) as board:
        yield board.port


def product(board, n=12, k=40, tokens=3, seed=0):
    """A product through free memory; whether it is right."""
    rng = np.random.default_rng(seed)
    trits = rng.integers(-1, 2, (n, k), np.int8)
    q = rng.integers(-128, 128, (tokens, k)).astype(np.int8)
    return (board.multiply(trits, q) == ternary_matmul(trits, q)).all()


def test_a_board_says_what_it_is(port):
    with Board(Link(port, BAUD)) as board:
        assert board.identity == SIMULATED.identity


def test_self_test(port):
    with Board(Link(port, BAUD)) as board:
        rows = list(self_test(board))
    assert len(rows) > 20
    assert all(row.passed for row in rows)
    assert board.link.repeated == board.link.rejected == 0
    assert board.link.sessions == 1


def test_self_test_sees_wrong_results(port, monkeypatch):
    monkeypatch.setattr(
        "trilith.fpga.host.selftest.ternary_matmul", lambda w, x: ternary_matmul(w, x) + 1
    )
    with Board(Link(port, BAUD)) as board:
        assert not any(row.passed for row in self_test(board))


@pytest.mark.parametrize(
    "noise",
    [
        Noise(flip=5e-4, seed=1),
        Noise(drop=5e-4, seed=2),
        Noise(repeat=5e-4, seed=3),
        Noise(insert=5e-4, seed=4),
        Noise(flip=2e-4, drop=2e-4, repeat=2e-4, insert=2e-4, seed=5),
    ],
    ids=["flip", "drop", "repeat", "insert", "all"],
)
def test_results_are_right_on_a_noisy_line(noise):
    with SimulatedBoard(SIMULATED, noise) as simulated:
        with Board(Link(simulated.port, BAUD)) as board:
            assert all(row.passed for row in self_test(board))
            # A matrix large enough to be hit.
            assert product(board, n=100, k=300, tokens=4)
        assert board.link.repeated + board.link.sessions > 1


def test_a_line_with_too_much_noise_is_reported():
    with SimulatedBoard(SIMULATED, Noise(flip=0.2)) as simulated:
        with pytest.raises(
            BoardError, match=r"no board answers; load its bitstream, and check --port and --baud"
        ):
            Board(Link(simulated.port, BAUD))


def test_text_on_a_noisy_line():
    tokenizer = load_tokenizer(PYDOC)
    prompt = tokenizer.encode("Return the").ids
    expected = list(islice(BitNetModel.load(PYDOC).generate(prompt), 2))
    noise = Noise(flip=2e-5, drop=2e-5, repeat=2e-5, insert=2e-5, seed=6)
    with SimulatedBoard(SIMULATED, noise) as simulated, Board(Link(simulated.port, BAUD)) as board:
        golden = BitNetModel.load(PYDOC)
        shapes = [m.weight.shape for layer in golden.layers for m in layer.linears.values()]
        multiply = BoardMatmul(board, shapes)
        network = BitNetModel.load(PYDOC, matmul=multiply)
        tokens = list(islice(network.generate(prompt), 2))
    assert tokens == expected
    assert multiply.wrong == 0
    assert multiply.macs == len(prompt) * 1_179_648 + 1_179_648
    assert board.link.repeated + board.link.sessions > 1


HOST = """
import sys
import numpy as np
from trilith.fpga.host.board import Board
from trilith.fpga.host.link import Link
with Board(Link(sys.argv[1], int(sys.argv[2]))) as board:
    rng = np.random.default_rng(0)
    print("ready", flush=True)
    while True:
        trits = rng.integers(-1, 2, (200, 200), np.int8)
        board.multiply(trits, rng.integers(-128, 128, (2, 200)).astype(np.int8))
"""


def test_a_host_killed_in_the_middle_leaves_no_trace(port):
    wait = random.Random(7)
    for _ in range(4):
        host = subprocess.Popen(
            [sys.executable, "-c", HOST, port, str(BAUD)], stdout=subprocess.PIPE, text=True
        )
        assert host.stdout.readline() == "ready\n"
        time.sleep(wait.uniform(0.02, 0.4))
        host.send_signal(signal.SIGKILL)
        host.communicate()
        with Board(Link(port, BAUD)) as board:
            assert product(board)


def test_half_a_frame_and_garbage_do_not_disturb_the_next_host(port):
    line = os.open(port, os.O_WRONLY | os.O_NOCTTY)
    os.write(line, b"\x00\xf3\x03\x00" + bytes(range(1, 200)))
    os.close(line)
    with Board(Link(port, BAUD)) as board:
        assert product(board)


def test_more_than_fits_goes_through_what_is_left(port):
    with Board(Link(port, BAUD)) as board:
        board.used = board.identity.beats - 10
        assert product(board, n=33, k=40)
        board.used = board.identity.beats - 4
        with pytest.raises(
            BoardError,
            match=r"^the weight memory must have 5 free beats for a group of rows of 40 inputs, "
            "not 4; place fewer matrices$",
        ):
            product(board, n=33, k=40)
        with pytest.raises(
            BoardError,
            match=r"^the matrix must fit the 4 beats of the weight memory from 32764 on, not "
            "take 5$",
        ):
            board.place(np.zeros((5, 40), np.int8))


def test_matrices_stay(port):
    rng = np.random.default_rng(1)
    with Board(Link(port, BAUD)) as board:
        placed = []
        for n, k in ((7, 30), (40, 9), (1, 1)):
            trits = rng.integers(-1, 2, (n, k), np.int8)
            placed.append((trits, board.place(trits)))
        for trits, resident in placed[::-1]:
            q = rng.integers(-128, 128, (5, trits.shape[1])).astype(np.int8)
            assert (board.multiply(resident, q) == ternary_matmul(trits, q)).all()


def test_too_large_for_the_engine(port):
    with Board(Link(port, BAUD)) as board:
        with pytest.raises(
            BoardError,
            match=r"^the matrix must have at most 1024 outputs and 1024 inputs, the engine's "
            "maximum, not 1 and 1025$",
        ):
            product(board, n=1, k=1025)


def test_a_job_that_the_board_refuses(port):
    with Board(Link(port, BAUD)) as board:
        # The host takes the engine for a larger one: 2053 outputs do not fit its 11 bits, and their
        # lowest 11 bits would be a legal job of 5.
        board.config = replace(board.config, n_max=4096)
        with pytest.raises(
            BoardError,
            match=r"^/dev/pts/\d+ at 4000000 baud: the engine reported an error on a legal job; "
            "test the board with trilith fpga selftest, and build its bitstream again$",
        ):
            product(board, n=2053, k=8, tokens=1)
        # A new session has begun, in which jobs run again.
        board.config = board.identity.config
        assert product(board)


def test_a_board_that_stops_answering():
    simulated = SimulatedBoard(SIMULATED)
    with Board(Link(simulated.port, BAUD)) as board:
        simulated.close()
        with pytest.raises(
            BoardError, match=r"the (board takes no more frames; check|port failed: )"
        ):
            product(board)


def test_a_port_that_goes_while_the_host_waits():
    simulated = SimulatedBoard(SIMULATED)
    with Board(Link(simulated.port, BAUD)) as board:
        simulated.close()
        with pytest.raises(
            BoardError,
            match=r"^/dev/pts/\d+ at 4000000 baud: the port failed: ",
        ):
            list(board.link._frames(1))


@contextmanager
def fake_board(answer):
    """A terminal behind which a thread answers frames: ``answer(frame, rate)`` gives frames."""
    host, device = os.openpty()

    def run():
        reader = FrameReader()
        while True:
            try:
                data = os.read(host, 4096)
            except OSError:
                return
            for frame in reader.feed(data):
                for one in answer(frame, termios.tcgetattr(host)[4]):
                    os.write(host, one.encode())

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield os.ttyname(device)
    finally:
        os.close(device)
        thread.join(timeout=10)
        os.close(host)


def identity(frame):
    """The answer to ``HELLO``."""
    payload = frame.payload + SIMULATED.identity.encode()
    return Frame(kind=Kind.IDENTITY, sequence=0, payload=payload)


@pytest.mark.parametrize(
    ("rate", "baud"), [(termios.B3000000, 3_000_000), (termios.B1000000, 1_000_000)]
)
def test_the_rate_is_found(rate, baud):
    def answer(frame, at):
        return [identity(frame)] if frame.kind == Kind.HELLO and at == rate else []

    with fake_board(answer) as port, closing(Link(port)) as link:
        assert (link.baud, link.sessions) == (baud, 1)
        # And kept.
        link.begin()
        assert (link.baud, link.sessions) == (baud, 2)


def test_a_rate_that_is_given_is_the_only_one():
    def answer(frame, at):
        return [identity(frame)] if at == termios.B3000000 else []

    with (
        fake_board(answer) as port,
        pytest.raises(BoardError, match=r"^/dev/pts/\d+ at 2000000 baud: no board answers; load"),
    ):
        Link(port, 2_000_000)


def test_a_board_that_refuses_for_ever():
    def answer(frame, at):
        hello = frame.kind == Kind.HELLO
        return [identity(frame) if hello else Frame(kind=Kind.REFUSAL, sequence=0)]

    with (
        fake_board(answer) as port,
        Board(Link(port, BAUD)) as board,
        pytest.raises(
            BoardError,
            match=r"^/dev/pts/\d+ at 4000000 baud: the board takes no more frames; check the "
            "cable, and reset the board$",
        ),
    ):
        product(board)


def test_a_rate_that_no_port_has(port):
    with pytest.raises(ValueError, match=r"^baud must be from 1 to 2147483647, not 1000000000000$"):
        Link(port, 10**12)


def test_a_port_in_use(port):
    with Board(Link(port, BAUD)):
        with pytest.raises(
            BoardError,
            match=r"^/dev/pts/\d+: another program uses this port; end that program first$",
        ):
            Board(Link(port, BAUD))


def test_no_port():
    with pytest.raises(
        BoardError, match=r"^--port: there is no serial port /dev/ttyNOWHERE; ports found: "
    ):
        Link("/dev/ttyNOWHERE", BAUD)


def test_a_file_is_no_port(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        BoardError, match=r"file: this is no serial port, or it cannot run at 4000000 baud: "
    ):
        Link(str(tmp_path / "file"), BAUD)


def test_the_example_in_c(port, tmp_path):
    program = tmp_path / "example"
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-o", program, EXAMPLE], check=True)
    done = subprocess.run([program, port], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "8 lanes x 5 rows x 2 tokens\n+1 * -42 = -42\n"


def test_an_idle_board_sleeps(port):
    with Board(Link(port, BAUD)) as board:
        assert product(board)
        pid = board_pid(port)
        before = cpu_seconds(pid)
        time.sleep(0.5)
        assert cpu_seconds(pid) - before < 0.05


def board_pid(port):
    """Process of the simulation behind a terminal: it has the other end open."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(folder / "exe").endswith("/board") and any(
                os.readlink(file) == port for file in (folder / "fd").iterdir()
            ):
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError(f"no simulation has {port} open")


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": 1.5}, "^flip must be from 0 to 1, not 1.5$"),
        ({"seed": -1}, "^seed must be from 0 to 4294967295, not -1$"),
    ],
)
def test_noise_that_is_none(options, message):
    with pytest.raises(ValueError, match=message):
        Noise(**options)


def test_a_rate_that_no_divisor_makes():
    with pytest.raises(
        ValueError,
        match=r"^baud must be 16000000 Hz divided by an integer of 4 or more, within 2 %, "
        "not 6000000$",
    ):
        replace(SIMULATED, baud=6_000_000)

"""``trilith fpga``: builds bitstreams, and drives boards, real or simulated."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from .generate import encode_prompt, show_tokens

if TYPE_CHECKING:
    from ..fpga.boards import BoardDescription, SocDescription
    from ..fpga.host.host import Board
    from ..hw.config import MatVecConfig

__all__ = ["fpga"]

fpga = typer.Typer(no_args_is_help=True, help="Build bitstreams, and run products on boards.")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object.")]
_Port = Annotated[
    str,
    typer.Option(
        help="Serial port of the board, such as /dev/ttyUSB1; or sim, a small simulated board.",
        show_default=False,
    ),
]
_Baud = Annotated[
    int | None,
    typer.Option(
        help="Of the bitstream. Default: the rates of all boards (trilith fpga boards) are tried.",
        show_default=False,
    ),
]
_Stream = Annotated[
    bool,
    typer.Option(
        "--stream", help="Send what does not fit the board's weight memory with each product."
    ),
]


_Described = TypeVar("_Described")


def _find(name: str, boards: Mapping[str, _Described]) -> _Described:
    if name not in boards:
        raise typer.BadParameter(f"--board must be one of {', '.join(boards)}, not {name!r}")
    return boards[name]


@contextmanager
def _open(port: str, baud: int | None) -> "Iterator[Board]":
    from ..fpga.boards import SIMULATED
    from ..fpga.host.host import Board
    from ..fpga.host.simulated import SimulatedBoard

    if baud is not None and baud < 1:
        raise typer.BadParameter(f"--baud must be at least 1, not {baud}")
    if port == "sim":
        with SimulatedBoard(SIMULATED) as simulated, Board(simulated.port, SIMULATED.baud) as board:
            yield board
        return
    with Board(port, baud) as board:
        yield board


def _describe(board: "Board") -> dict[str, Any]:
    config = board.config
    return {
        "engine": f"{config} {config.code}",
        "act_bits": config.act_bits,
        "k_max": config.k_max,
        "n_max": config.n_max,
        "weight_memory_bytes": board.identity.memory_bytes,
        "clock_hz": board.identity.clock_hz,
    }


def _line(board: "Board") -> str:
    facts = _describe(board)
    return (
        f"engine {facts['engine']} at {facts['clock_hz'] / 1e6:g} MHz, "
        f"{facts['weight_memory_bytes']} bytes for weights"
    )


def _link_facts(board: "Board") -> dict[str, int]:
    link = board.link
    return {
        "sessions": link.sessions,
        "frames_repeated": link.repeated,
        "frames_rejected": link.rejected,
    }


def _row(
    board: "BoardDescription | SocDescription", engine: "MatVecConfig", clock_hz: int
) -> dict[str, Any]:
    return {
        "name": board.name,
        "title": board.title,
        "device": board.device,
        "engine": asdict(engine),
        "macs_per_clock": engine.macs_per_clock,
        "clock_hz": clock_hz,
        "note": board.note,
    }


@fpga.command()
def boards(as_json: _Json = False) -> None:
    """List the boards and what goes on each."""
    from ..fpga.boards import BOARDS, SOCS

    # What there is only where the host's link has its end in the FPGA.
    rows: list[dict[str, Any]] = [
        _row(board, board.top.engine, board.top.clock_hz)
        | {"weight_memory_bytes": board.top.identity.memory_bytes, "baud": board.top.baud}
        for board in BOARDS.values()
    ]
    rows += [
        _row(board, board.engine, board.clock_hz) | {"weight_memory_bytes": None, "baud": None}
        for board in SOCS.values()
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print(
        f"{'name':<13} {'board':<15} {'device':<20} {'engine':<8} {'MACs':>5} {'weights':>8} "
        f"{'MHz':>5} {'baud':>8}"
    )
    for row in rows:
        engine = row["engine"]
        shape = f"{engine['lanes']}x{engine['rows']}x{engine['tokens']}"
        held = row["weight_memory_bytes"]
        memory = f"{held / 1024:.0f} KB" if held else "-"
        print(
            f"{row['name']:<13} {row['title']:<15} {row['device']:<20} {shape:<8} "
            f"{row['macs_per_clock']:>5} {memory:>8} "
            f"{row['clock_hz'] / 1e6:>5g} {row['baud'] or '-':>8}  {row['note']}".rstrip()
        )


@fpga.command()
def build(
    board: Annotated[str, typer.Option(help="Board; trilith fpga boards lists them.")],
    seed: Annotated[
        int | None, typer.Option(help="Of placement by nextpnr; without it 1.", show_default=False)
    ] = None,
    as_json: _Json = False,
) -> None:
    """Build a board's bitstream with yosys, nextpnr and a packer, all from PyPI.

    Writes bitstream, log, nextpnr's report and summary.json into build/fpga/BOARD. Takes minutes;
    ends with status 1 where the clock was not reached. No board here was programmed with it yet.
    For Xilinx boards it writes Verilog, constraints and a script for Vivado there instead, and
    counts cells with yosys: no bitstream, which needs Vivado.

    Examples:
      trilith fpga build --board icebreaker

      trilith fpga build --board arty-a7-35t
    """
    from rich.console import Console

    from ..fpga.boards import BOARDS, SOCS, SocDescription
    from ..fpga.flow.bitstream import build_board
    from ..fpga.flow.vivado import write_sources
    from ..sim.tools.cache import build_folder

    found = _find(board, BOARDS | SOCS)
    if isinstance(found, SocDescription) or found.family == "xc7":
        if seed is not None:
            raise typer.BadParameter(f"--seed must be left out for {board}, which Vivado places")
        make = partial(write_sources, found)
    else:
        if seed is not None and seed < 0:
            raise typer.BadParameter(f"--seed must be 0 or more, not {seed}")
        make = partial(build_board, found, seed=1 if seed is None else seed)
    with Console(stderr=True).status(board) as status:
        summary = make(progress=lambda step: status.update(f"{board}: {step}"))
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        for name, use in summary["used"].items():
            each = summary.get("per_mac", {}).get(name)
            per_mac = f"  {each:.1f} per MAC" if each else ""
            print(f"{name:<12} {use['used']:>6} of {use['available']:>6}{per_mac}")
        if summary["mhz"]:
            reached = "met" if summary["met"] else "missed"
            print(f"clock        {summary['mhz']:.1f} MHz of {summary['clock_mhz']:g}: {reached}")
        print(f"{build_folder() / 'fpga' / board / summary['file']}  ({summary['seconds']} s)")
        if summary["note"]:
            print(summary["note"])
    if summary["met"] is False:
        raise typer.Exit(1)


@fpga.command()
def simulate(
    board: Annotated[
        str | None,
        typer.Option(help="Board whose design to simulate; without it a small one, which is fast."),
    ] = None,
    flip: Annotated[float, typer.Option(help="Probability that a byte has a wrong bit.")] = 0.0,
    drop: Annotated[float, typer.Option(help="Probability that a byte is lost.")] = 0.0,
    repeat: Annotated[float, typer.Option(help="Probability that a byte comes twice.")] = 0.0,
    insert: Annotated[float, typer.Option(help="Probability of a random byte behind one.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of this noise.")] = 0,
) -> None:
    """Run a board's whole design in Verilator behind a pseudo-terminal, and print its path.

    It opens like a serial port, at any baud rate: the line is simulated bit by bit. Runs until it
    is interrupted.

    Examples:
      trilith fpga simulate --flip 1e-4
    """
    from ..fpga.boards import BOARDS, SIMULATED
    from ..fpga.host.simulated import Noise, SimulatedBoard

    config = _find(board, BOARDS).top if board else SIMULATED
    try:
        noise = Noise(flip=flip, drop=drop, repeat=repeat, insert=insert, seed=seed)
    except ValueError as error:
        raise typer.BadParameter(f"--{error}") from None
    with SimulatedBoard(config, noise) as simulated:
        print(simulated.port, flush=True)
        simulated.wait()


@fpga.command()
def selftest(port: _Port, baud: _Baud = None, as_json: _Json = False) -> None:
    """Run products that reach every corner of a board's engine and memory.

    Every integer is held to golden's; a difference ends with status 1. Clocks are the board's own
    count from a job's acceptance to its last result, and behind it those without waiting for the
    link.

    Examples:
      trilith fpga selftest --port /dev/ttyUSB1

      trilith fpga selftest --port sim
    """
    from ..fpga.host.selftest import self_test

    rows = []
    with _open(port, baud) as board:
        if not as_json:
            print(_line(board))
        for row in self_test(board):
            rows.append(row)
            if not as_json:
                print(
                    f"{'PASS' if row.passed else 'FAIL'}  {row.name:<20} {row.shape:>12} "
                    f"{row.clocks:>8} clocks {row.clocks - row.waits:>7} without the link",
                    flush=True,
                )
        facts = _describe(board) | _link_facts(board)
    failed = sum(not row.passed for row in rows)
    if as_json:
        print(json.dumps(facts | {"failed": failed, "rows": [asdict(r) for r in rows]}, indent=2))
    else:
        print(
            f"{len(rows) - failed} passed, {failed} failed; {facts['frames_repeated']} frames "
            f"repeated, {facts['frames_rejected']} rejected, {facts['sessions']} sessions"
        )
    if failed:
        raise typer.Exit(1)


def _check_size(path: Path, shapes: list[tuple[int, int]], board: "Board", stream: bool) -> None:
    """Refuse a checkpoint that does not fit, unless it may be streamed."""
    from ..fpga.boards import fitting_boards, memory_bytes
    from ..fpga.host.host import BoardError

    config = board.config
    for n, k in shapes:
        board.check(f"{path}: a matrix", n, k)
    need, have = memory_bytes(config, shapes), board.identity.memory_bytes
    if need <= have or stream:
        return
    others = fitting_boards(shapes)
    where = f"it fits {', '.join(others)}" if others else "no board here holds so much"
    seconds = (need - have) * 10 / board.link.baud
    raise BoardError(
        f"{path} must fit the {have} bytes of the board's weight memory and takes {need}, "
        f"{need - have} too many; {where}; --stream sends what does not fit with each product, "
        f"{seconds:.2g} s or more per token at {board.link.baud} baud"
    )


@fpga.command()
def run(
    port: _Port,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="A ternary checkpoint. Default: the small model in the repository.",
            show_default=False,
        ),
    ] = None,
    stream: _Stream = False,
    seed: Annotated[int, typer.Option(help="Of the activations.")] = 0,
    baud: _Baud = None,
    as_json: _Json = False,
) -> None:
    """Multiply every matrix of a checkpoint by random activations on the board.

    As many activation vectors as the engine serves at once. Every integer is held to golden's; a
    difference ends with status 1.

    Examples:
      trilith fpga run --port sim
    """
    import time

    import numpy as np

    from ..fpga.host.host import BoardMatmul
    from ..golden.checkpoint.load import load_checkpoint
    from ..golden.data import PYDOC

    path = checkpoint or PYDOC
    tensors = load_checkpoint(path).ternary
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    with _open(port, baud) as board:
        shapes = [tensors[name].shape for name in tensors]
        _check_size(path, shapes, board, stream)
        multiply = BoardMatmul(board, shapes)
        limit = 2 ** (board.config.act_bits - 1)
        if not as_json:
            print(_line(board))
        for name in tensors:
            tensor = tensors[name]
            n, k = tensor.shape
            x = rng.integers(1 - limit, limit, (board.config.tokens, k)).astype(np.int8)
            wrong, clocks, waits, begin = (
                multiply.wrong,
                board.clocks,
                board.waits,
                time.monotonic(),
            )
            multiply(tensor, x)
            row = {
                "name": name,
                "shape": [n, k, len(x)],
                "wrong": multiply.wrong - wrong,
                "clocks": board.clocks - clocks,
                "waits": board.waits - waits,
                "seconds": time.monotonic() - begin,
            }
            rows.append(row)
            if not as_json:
                print(
                    f"{'FAIL' if row['wrong'] else 'PASS'}  {name:<34} {n:>5}x{k}x{len(x)} "
                    f"{row['clocks']:>8} clocks {row['clocks'] - row['waits']:>7} without the link",
                    flush=True,
                )
        facts = _describe(board) | _link_facts(board)
    if as_json:
        print(json.dumps(facts | {"wrong": multiply.wrong, "rows": rows}, indent=2))
    else:
        print(f"{multiply.wrong} results differ from golden's")
    if multiply.wrong:
        raise typer.Exit(1)


@fpga.command()
def generate(
    port: _Port,
    prompt: Annotated[str, typer.Option(help="Text to continue.")] = "Return a list of",
    model: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint, with tokenizer.json. Default: the small model in the repository.",
            show_default=False,
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Tokens to generate at most.")] = 32,
    stream: _Stream = False,
    baud: _Baud = None,
    as_json: _Json = False,
) -> None:
    """Generate text, every ternary matrix product of every layer on the board.

    Each integer is held to golden's; a difference ends with status 1. Norms, attention and the head
    run on the host.

    Examples:
      trilith fpga generate --port sim --prompt "Return a list of" --max-tokens 8
    """
    import time

    from ..fpga.host.host import BoardMatmul
    from ..golden.data import PYDOC
    from ..golden.network.text import load_tokenizer
    from ..golden.network.transformer import BitNetModel

    if max_tokens < 1:
        raise typer.BadParameter(f"--max-tokens must be at least 1, not {max_tokens}")
    path = model or PYDOC
    tokenizer = load_tokenizer(path)
    with _open(port, baud) as board:
        # The products are found by the model's own calls, the matrices by its layers.
        products: list[BoardMatmul] = []
        network = BitNetModel.load(path, matmul=lambda weight, q: products[0](weight, q))
        shapes = [
            (linear.weight.out_features, linear.weight.group_size)
            for layer in network.layers
            for linear in layer.linears.values()
            for _ in range(linear.weight.shape[1] // linear.weight.group_size)
        ]
        _check_size(path, shapes, board, stream)
        products.append(BoardMatmul(board, shapes))
        tokens, times = [], [time.monotonic()]
        clocks, waits = [0], [0]
        prompt_tokens = encode_prompt(tokenizer, prompt, network)
        for token in show_tokens(
            network.generate(prompt_tokens), prompt, max_tokens, network, tokenizer, as_json
        ):
            tokens.append(token)
            times.append(time.monotonic())
            clocks.append(board.clocks)
            waits.append(board.waits)
            if products[0].wrong:
                break
        wrong = products[0].wrong
        facts = _describe(board) | _link_facts(board)
    decoded = len(tokens) - 1
    facts |= {
        "wrong": wrong,
        "prompt_tokens": len(prompt_tokens),
        "clocks_per_token": (clocks[-1] - clocks[1]) / decoded if decoded else None,
        "waits_per_token": (waits[-1] - waits[1]) / decoded if decoded else None,
        "seconds_per_token": (times[-1] - times[1]) / decoded if decoded else None,
        "label": "measured",
    }
    if as_json:
        print(json.dumps({"text": tokenizer.decode(tokens), "tokens": tokens, **facts}, indent=2))
    elif wrong:
        print(f"\n{wrong} results of the board differ from golden's")
    else:
        print(f"\nEvery integer equals golden's. Measured on the engine {facts['engine']}:")
        if decoded:
            work = facts["clocks_per_token"] - facts["waits_per_token"]
            print(
                f"  each token after the first: {work:.0f} clocks, and "
                f"{facts['waits_per_token']:.0f} waiting for the link; "
                f"{facts['seconds_per_token']:.2f} s"
            )
    if wrong:
        raise typer.Exit(1)

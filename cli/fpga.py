"""``trilith fpga``: bitstreams, and products on boards, real or simulated."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .options import (
    I2sOptions,
    JsonOptions,
    OptionError,
    Options,
    command,
    given_fields,
    new_app,
    option,
)
from .output import Column, Table, print_json, print_note, status
from .prompts import Continuation, PromptOptions, model_path

if TYPE_CHECKING:
    from ..fpga.boards import BoardDescription, SocDescription
    from ..fpga.host.board import Board
    from ..fpga.host.matmul import BoardMatmul

__all__ = ["app"]

app = new_app("Build bitstreams, and run products on boards.")

_Described = TypeVar("_Described")


class _PortOptions(JsonOptions):
    port: str = option(
        ..., "Serial port of the board, such as /dev/ttyUSB1; or sim, a small simulated board."
    )
    baud: int | None = option(
        None,
        "Baud rate of the bitstream. Default: the rates of all boards are tried.",
        min=50,
        max=20_000_000,
        excludes=("--port sim",),
    )


class _StreamOptions(_PortOptions):
    stream: bool = option(
        False, "Send the weights that do not fit the board's memory with each product.", "--stream"
    )


def _find(name: str, boards: Mapping[str, _Described]) -> _Described:
    """Find a board's description by name."""
    if name not in boards:
        raise OptionError(f"--board must be one of {', '.join(boards)}, not {name!r}")
    return boards[name]


@contextmanager
def _open(options: _PortOptions) -> "Iterator[Board]":
    """Open a board, or a simulated one."""
    from ..fpga.boards import SIMULATED
    from ..fpga.host.board import Board
    from ..fpga.host.simulated import SimulatedBoard

    if options.port == "sim":
        with SimulatedBoard(SIMULATED) as simulated, Board(simulated.port, SIMULATED.baud) as board:
            yield board
        return
    with Board(options.port, options.baud) as board:
        yield board


def _facts(board: "Board") -> dict[str, Any]:
    """JSON facts of a board's engine and link."""
    config, link = board.config, board.link
    return {
        "engine": f"{config} {config.code}",
        "act_bits": config.act_bits,
        "k_max": config.k_max,
        "n_max": config.n_max,
        "weight_memory_bytes": board.identity.memory_bytes,
        "clock_hz": board.identity.clock_hz,
        "sessions": link.sessions,
        "frames_repeated": link.repeated,
        "frames_rejected": link.rejected,
    }


def _print_products(
    options: _PortOptions, board: "Board", columns: Sequence[Column], products: Iterable[Any]
) -> list[Any]:
    """Print the engine, and each product when it is done; return the products."""
    if not options.as_json:
        facts = _facts(board)
        print_note(
            f"engine {facts['engine']} at {facts['clock_hz'] / 1e6:g} MHz, "
            f"{facts['weight_memory_bytes']} bytes of weight memory"
        )
    return Table(*columns, silent=options.as_json).rows(products)


@command(app)
def boards(options: JsonOptions) -> None:
    """Print the boards and the engine on each.

    Example:
      trilith fpga boards
    """
    from ..fpga.boards import BOARDS, SOCS

    rows = [_board_facts(board) for board in (BOARDS | SOCS).values()]
    if options.as_json:
        print_json(rows)
        return
    Table(
        Column("name", "name", 12, "<"),
        Column("board", "title", 13, "<"),
        Column("device", "device", 19, "<"),
        Column("engine", lambda row: "{lanes}x{rows}x{tokens}".format(**row["engine"]), 7, "<"),
        Column("MACs/cycle", "macs_per_clock"),
        Column(
            "weights, KB",
            lambda row: row["weight_memory_bytes"] and row["weight_memory_bytes"] // 1024,
        ),
        Column("MHz", lambda row: row["clock_hz"] / 1e6, 4, "g"),
        Column("baud", "baud", 7),
        Column("note", "note", form="<"),
    ).rows(rows)


def _board_facts(board: "BoardDescription | SocDescription") -> dict[str, Any]:
    """JSON facts of a board."""
    # A chip with a processor has neither a weight memory nor a serial link in the FPGA.
    top = getattr(board, "top", None)
    design: Any = top or board
    engine = (top or design.core).engine
    return {
        "name": board.name,
        "title": board.title,
        "device": board.device,
        "engine": asdict(engine),
        "macs_per_clock": engine.macs_per_clock,
        "clock_hz": design.clock_hz,
        "note": board.note,
        "weight_memory_bytes": top and top.identity.memory_bytes,
        "baud": top and top.baud,
    }


class _BuildOptions(JsonOptions):
    board: str = option(..., "Board; 'trilith fpga boards' prints them.")
    seed: int | None = option(
        None, "Seed of nextpnr's placement. Default: the board's.", min=0, max=2**31 - 1
    )


@command(app)
def build(options: _BuildOptions) -> bool:
    """Build a board's bitstream with yosys, nextpnr and a packer, all from PyPI.

    Bitstream, log, nextpnr's report and summary.json are written to build/fpga/BOARD. A build
    takes minutes. If the clock frequency is not reached, the command ends with status 1. No board
    has been programmed with these bitstreams yet. For Xilinx boards, the command writes Verilog,
    constraints and a script for Vivado instead, and counts cells with yosys: the bitstream needs
    Vivado.

    Examples:
      trilith fpga build --board icebreaker

      trilith fpga build --board arty-a7-35t
    """
    from ..fpga.boards import BOARDS, SOCS, SocDescription
    from ..fpga.flow.bitstream import build_board
    from ..fpga.flow.vivado import write_sources
    from ..sim.tools.cache import build_folder

    name = options.board
    found = _find(name, BOARDS | SOCS)
    if isinstance(found, SocDescription) or found.family == "xc7":
        if options.seed is not None:
            raise OptionError(f"--seed must not be given for {name}, which Vivado places")
        make = partial(write_sources, found)
    else:
        make = partial(build_board, found, seed=options.seed)
    with status(name) as show:
        summary = make(progress=lambda step: show(f"{name}: {step}"))
    if options.as_json:
        print_json(summary)
    else:
        _print_build(summary)
        print_note(f"{build_folder() / 'fpga' / name / summary['file']}  ({summary['seconds']} s)")
        if summary["note"]:
            print_note(summary["note"])
    return summary["met"] is False


def _print_build(summary: dict[str, Any]) -> None:
    """Print the resources of a build, and its frequency."""
    per_mac = summary.get("per_mac", {})
    Table(
        Column("resource", 0, 12, "<"),
        Column("used", lambda row: row[1]["used"], 6),
        Column("available", lambda row: row[1]["available"]),
        Column("per MAC", lambda row: per_mac.get(row[0]) or None, form=".1f"),
    ).rows(summary["used"].items())
    if summary["mhz"]:
        reached = "met" if summary["met"] else "missed"
        print(f"clock: {summary['mhz']:.1f} MHz of {summary['clock_mhz']:g}: {reached}")


class _SimulateOptions(Options):
    board: str | None = option(
        None, "Board whose design is simulated. Default: a small design, for speed."
    )
    flip: float = option(0.0, "Probability that a byte has a wrong bit.", min=0, max=1)
    drop: float = option(0.0, "Probability that a byte is lost.", min=0, max=1)
    repeat: float = option(0.0, "Probability that a byte comes twice.", min=0, max=1)
    insert: float = option(0.0, "Probability that a random byte follows a byte.", min=0, max=1)
    seed: int = option(
        0,
        "Seed of this noise.",
        min=0,
        max=2**32 - 1,
        needs=("--flip", "--drop", "--repeat", "--insert"),
    )


@command(app)
def simulate(options: _SimulateOptions) -> None:
    """Simulate a board's whole design in Verilator behind a pseudo-terminal, and print its path.

    The path opens like a serial port, at any baud rate: the line is simulated bit by bit. The
    simulation runs until it is interrupted.

    Example:
      trilith fpga simulate --flip 1e-4
    """
    from ..fpga.boards import BOARDS, SIMULATED
    from ..fpga.host.simulated import Noise, SimulatedBoard

    config = _find(options.board, BOARDS).top if options.board else SIMULATED
    with SimulatedBoard(config, Noise(**given_fields(options, Noise))) as simulated:
        print(simulated.port, flush=True)
        simulated.wait()


@command(app)
def selftest(options: _PortOptions) -> bool:
    """Run products that test the limits of a board's engine and memory.

    Every integer is compared with the golden model; a difference ends with status 1. The board
    itself counts the cycles from the acceptance of a job to its last result. The last column is
    without the cycles of waiting for the link.

    Examples:
      trilith fpga selftest --port /dev/ttyUSB1

      trilith fpga selftest --port sim
    """
    from ..fpga.host.selftest import self_test

    columns = (
        Column("result", lambda row: "PASS" if row.passed else "FAIL", form="<"),
        Column("product", "name", 20, "<"),
        Column("N x K x T", "shape", 12),
        Column("cycles", "cycles", 8),
        Column("without the link", lambda row: row.cycles - row.waits),
    )
    with _open(options) as board:
        rows = _print_products(options, board, columns, self_test(board))
        facts = _facts(board)
    failed = sum(not row.passed for row in rows)
    if options.as_json:
        print_json(facts | {"failed": failed, "rows": list(map(_selftest_row, rows))})
    else:
        print_note(
            f"{len(rows) - failed} passed, {failed} failed; {facts['frames_repeated']} frames "
            f"repeated, {facts['frames_rejected']} rejected, {facts['sessions']} sessions"
        )
    return failed > 0


def _selftest_row(row: Any) -> dict[str, Any]:
    """JSON object of a product; its key for cycles is as in earlier versions."""
    return {"clocks" if name == "cycles" else name: value for name, value in asdict(row).items()}


def _check_size(path: Path, shapes: list[tuple[int, int]], board: "Board", stream: bool) -> None:
    """Refuse a checkpoint that does not fit, unless it may be streamed."""
    from ..fpga.boards import fitting_boards, memory_bytes
    from ..fpga.host.link import BoardError

    config = board.config
    for n, k in shapes:
        board.check(f"{path}: a matrix", n, k)
    need, have = memory_bytes(config, shapes), board.identity.memory_bytes
    if need <= have or stream:
        return
    others = fitting_boards(shapes)
    where = f"it fits {', '.join(others)}" if others else "it fits no board"
    seconds = (need - have) * 10 / board.link.baud
    raise BoardError(
        f"{path} must fit the {have} bytes of the board's weight memory and takes {need}, "
        f"{need - have} too many; {where}; --stream sends the rest with each product, which takes "
        f"{seconds:.2g} s or more per token at {board.link.baud} baud"
    )


class _RunOptions(I2sOptions, _StreamOptions):
    checkpoint: Path | None = option(
        None, "A ternary checkpoint. Default: the small model in the repository."
    )
    seed: int = option(0, "Seed of the activations.", min=0, max=2**32 - 1)


@command(app)
def run(options: _RunOptions) -> bool:
    """Multiply every matrix of a checkpoint by random activations on the board.

    A product has as many activation vectors as the engine serves at once. Every integer is
    compared with the golden model; a difference ends with status 1.

    Example:
      trilith fpga run --port sim
    """
    from ..fpga.host.matmul import BoardMatmul
    from ..golden.checkpoint.load import load_checkpoint
    from ..golden.data import PYDOC

    path = options.checkpoint or PYDOC
    tensors = load_checkpoint(path, i2s_layout=str(options.i2s_layout)).ternary
    columns = (
        Column("result", lambda row: "FAIL" if row["wrong"] else "PASS", form="<"),
        Column("matrix", "name", 34, "<"),
        Column("N x K x T", lambda row: "x".join(map(str, row["shape"])), 12),
        Column("cycles", "clocks", 8),
        Column("without the link", lambda row: row["clocks"] - row["waits"]),
    )
    with _open(options) as board:
        shapes = [tensors[name].shape for name in tensors]
        _check_size(path, shapes, board, options.stream)
        multiply = BoardMatmul(board, shapes)
        rows = _print_products(
            options, board, columns, _multiply(multiply, board, tensors, options.seed)
        )
        facts = _facts(board)
    if options.as_json:
        print_json(facts | {"wrong": multiply.wrong, "rows": rows})
    else:
        print(f"{multiply.wrong} results differ from the golden model")
    return multiply.wrong > 0


def _multiply(
    multiply: "BoardMatmul", board: "Board", tensors: Any, seed: int
) -> Iterator[dict[str, Any]]:
    """Multiply each matrix by random activations; yield JSON objects of the products."""
    import time

    import numpy as np

    rng = np.random.default_rng(seed)
    limit = 2 ** (board.config.act_bits - 1)
    for name in tensors:
        tensor = tensors[name]
        x = rng.integers(1 - limit, limit, (board.config.tokens, tensor.shape[1])).astype(np.int8)
        before = (multiply.wrong, board.cycles, board.waits, time.monotonic())
        multiply(tensor, x)
        after = (multiply.wrong, board.cycles, board.waits, time.monotonic())
        counts = (b - a for a, b in zip(before, after, strict=True))
        yield {
            "name": name,
            "shape": [*tensor.shape, len(x)],
            **dict(zip(("wrong", "clocks", "waits", "seconds"), counts, strict=True)),
        }


class _GenerateOptions(PromptOptions, I2sOptions, _StreamOptions):
    """Options of the command."""


@command(app)
def generate(options: _GenerateOptions) -> bool:
    """Generate text, with every ternary product of every layer on the board.

    Each integer is compared with the golden model; a difference ends with status 1. Norms,
    attention and the head run on the host.

    Example:
      trilith fpga generate --port sim --prompt "Return a list of" --max-tokens 8
    """
    import time

    from ..fpga.host.matmul import BoardMatmul
    from ..golden.checkpoint.tokenizer import load_tokenizer
    from ..golden.network.transformer import BitNetModel

    path = model_path(options)
    # The model's calls find the product; its layers give the matrices that the product loads.
    products: list[BoardMatmul] = []
    network = BitNetModel.load(
        path,
        i2s_layout=str(options.i2s_layout),
        matmul=lambda weight, q: products[0](weight, q),
    )
    text = Continuation(options, network, load_tokenizer(path))
    with _open(options) as board:
        shapes = [
            (linear.weight.out_features, linear.weight.group_size)
            for layer in network.layers
            for linear in layer.linears.values()
            for _ in range(linear.weight.shape[1] // linear.weight.group_size)
        ]
        _check_size(path, shapes, board, options.stream)
        products.append(BoardMatmul(board, shapes))
        counts = [(0, 0, time.monotonic())]
        for _ in text.stream():
            counts.append((board.cycles, board.waits, time.monotonic()))
            if products[0].wrong:
                break
        wrong = products[0].wrong
        facts = _facts(board)
    facts |= {"wrong": wrong, "prompt_tokens": len(text.prompt), **_per_token(counts)}
    if options.as_json:
        print_json({"text": text.text, "tokens": text.tokens, "end": text.end, **facts})
    else:
        _print_generated(facts)
    return wrong > 0


def _per_token(counts: list[tuple[int, int, float]]) -> dict[str, Any]:
    """Cycles, waits and seconds of each token after the first, from counts at each token's end."""
    names = ("clocks_per_token", "waits_per_token", "seconds_per_token")
    decoded = len(counts) - 2
    return {
        name: (counts[-1][place] - counts[1][place]) / decoded if decoded else None
        for place, name in enumerate(names)
    } | {"label": "measured"}


def _print_generated(facts: dict[str, Any]) -> None:
    if facts["wrong"]:
        print(f"\n{facts['wrong']} results of the board differ from the golden model")
        return
    print(f"\nAll integers match the golden model. Measured on the engine {facts['engine']}:")
    if facts["clocks_per_token"] is not None:
        work = facts["clocks_per_token"] - facts["waits_per_token"]
        print(
            f"each token after the first: {work:.0f} cycles, and {facts['waits_per_token']:.0f} "
            f"cycles of waiting for the link; {facts['seconds_per_token']:.2f} s"
        )

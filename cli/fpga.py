"""``trilith fpga``: bitstreams, and products on boards, real or simulated."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..golden.input_files import shown
from .fpga_core import CoreRun, compiled_image, load_image, print_loaded
from .fpga_ports import (
    PortOptions,
    StreamOptions,
    board_facts,
    open_board,
    open_core,
    print_products,
)
from .fpga_products import check_size, generate_products, multiply_all
from .options import (
    JsonOptions,
    LayoutOptions,
    ModelOptions,
    OptionError,
    Options,
    argument,
    check_not_read,
    command,
    given_fields,
    new_app,
    option,
    reading,
)
from .output import Column, Table, print_json, print_note, status
from .prompts import DrawOptions, PromptOptions, draws

if TYPE_CHECKING:
    from ..fpga.boards import BoardDescription, SocDescription

__all__ = ["app"]

app = new_app("Build bitstreams, and run products on boards.")

_Described = TypeVar("_Described")


def _find(name: str, boards: Mapping[str, _Described]) -> _Described:
    """Find a board's description by name."""
    if name not in boards:
        raise OptionError(f"--board must be one of {', '.join(boards)}, not {name!r}")
    return boards[name]


@command(app)
def boards(options: JsonOptions) -> None:
    """Print the boards, and the engine or the token core on each.

    Weights is the block RAM for weights. Memory is that of a token core, which holds whole models.

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
        Column("core", lambda row: "yes" if row["core"] else "no", form="<"),
        Column("MACs/cycle", "macs_per_clock"),
        Column(
            "weights, KB",
            lambda row: row["weight_memory_bytes"] and row["weight_memory_bytes"] // 1024,
        ),
        Column("memory, KB", lambda row: row["memory_bytes"] and row["memory_bytes"] // 1024),
        Column("MHz", lambda row: row["clock_hz"] / 1e6, 4, "g"),
        Column("baud", "baud", 7),
        Column("note", "note", form="<"),
    ).rows(rows)


def _board_facts(board: "BoardDescription | SocDescription") -> dict[str, Any]:
    """JSON facts of a board."""
    # A chip with a processor has neither a weight memory nor a serial link in the FPGA.
    top: Any = getattr(board, "top", None)
    design: Any = top or board
    core = getattr(design, "core", None)
    engine = core.engine if core else design.engine
    return {
        "name": board.name,
        "title": board.title,
        "device": board.device,
        "engine": asdict(engine),
        "core": core and asdict(core),
        "macs_per_clock": engine.macs_per_clock,
        "clock_hz": design.clock_hz,
        "note": board.note,
        "weight_memory_bytes": getattr(board, "weight_bytes", None),
        "memory_bytes": top.memory.bytes if top and core else None,
        "sdram_modules": [*getattr(board, "sdram_modules", ())],
        "baud": top and top.baud,
    }


class _BuildOptions(JsonOptions):
    board: str = option(..., "Board; 'trilith fpga boards' prints them.")
    seed: int | None = option(
        None, "Seed of nextpnr's placement. Default: the board's.", min=0, max=2**31 - 1
    )
    sdram_module: str | None = option(
        None, "SDRAM on a board with a token core, such as AS4C32M16. Default: the board's."
    )


@command(app)
def build(options: _BuildOptions) -> bool:
    """Build a board's bitstream with yosys, nextpnr and a packer, all from PyPI.

    Bitstream, log, nextpnr's report and summary.json are written to build/fpga/BOARD in the current
    folder, or to fpga/BOARD in the folder that TRILITH_BUILD names. They replace those of the last
    build. A build
    takes minutes, with a token core half an hour or more. If the clock frequency is not reached,
    the command ends with status 1. No board has been programmed with these bitstreams yet. For
    Xilinx boards, the command writes Verilog,
    constraints and a script for Vivado instead, and counts cells with yosys: the bitstream needs
    Vivado.

    Examples:
      trilith fpga build --board icebreaker

      trilith fpga build --board ulx3s --sdram-module AS4C16M16

      trilith fpga build --board arty-a7-35t
    """
    from ..fpga.boards import BOARDS, SOCS, SocDescription
    from ..fpga.flow.bitstream import build_board
    from ..fpga.flow.vivado import write_sources
    from ..sim.tools.cache import build_folder

    name = options.board
    found = _find(name, BOARDS | SOCS)
    if options.sdram_module is not None:
        found = _with_sdram(found, options.sdram_module)
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


def _with_sdram(board: "BoardDescription | SocDescription", module: str) -> "BoardDescription":
    """Describe a board with the SDRAM that an option names."""
    from ..fpga.boards import BoardDescription

    known = board.sdram_modules if isinstance(board, BoardDescription) else {}
    if not isinstance(board, BoardDescription) or module not in known:
        rule = f"one of {', '.join(known)}" if known else "left out: its design has no SDRAM"
        raise OptionError(f"--sdram-module of {board.name} must be {rule}, not {shown(module)}")
    return board.with_sdram(module)


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

    Examples:
      trilith fpga simulate --flip 1e-4

      trilith fpga simulate --board ulx3s
    """
    from ..fpga.boards import BOARDS, SIMULATED
    from ..fpga.host.simulated import Noise, SimulatedBoard

    config = _find(options.board, BOARDS).top if options.board else SIMULATED
    with SimulatedBoard(config, Noise(**given_fields(options, Noise))) as simulated:
        print(simulated.port, flush=True)
        simulated.wait()


@command(app)
def selftest(options: PortOptions) -> bool:
    """Test the engine of a board and its memory, or its token core.

    On a board that multiplies, products test the limits of the engine and of the weight memory. On
    a board with a token core, the test of the memory at the start is shown, a small made model is
    loaded, and its tokens run, with weights in block RAM and with weights from the memory.

    Every result is compared with the golden model; a difference ends with status 1. The board
    itself counts the cycles of a job. The last column is without the cycles of waiting, for the
    link or for the memory.

    Examples:
      trilith fpga selftest --port /dev/ttyUSB1

      trilith fpga selftest --port sim
    """
    from ..fpga.host.board import Board
    from ..fpga.host.core_selftest import core_self_test
    from ..fpga.host.selftest import self_test

    with open_board(options) as board:
        products = isinstance(board, Board)
        columns = (
            Column("result", lambda row: "PASS" if row.passed else "FAIL", form="<"),
            Column("product" if products else "test", "name", 20 if products else 29, "<"),
            Column("N x K x T" if products else "what", "shape", 12),
            Column("cycles", "cycles", 8),
            Column("without waits", lambda row: row.cycles - row.waits),
        )
        tests = self_test(board) if isinstance(board, Board) else core_self_test(board)
        rows = print_products(options, board, columns, tests)
        facts = board_facts(board)
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


class _RunOptions(LayoutOptions, StreamOptions):
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
    from ..fpga.host.board import Board
    from ..fpga.host.link import BoardError
    from ..fpga.host.matmul import BoardMatmul
    from ..golden.checkpoint.load import load_checkpoint
    from ..golden.data import PYDOC

    path = options.checkpoint or PYDOC
    tensors = load_checkpoint(path, **reading(options)).ternary
    columns = (
        Column("result", lambda row: "FAIL" if row["wrong"] else "PASS", form="<"),
        Column("matrix", "name", 34, "<"),
        Column("N x K x T", lambda row: "x".join(map(str, row["shape"])), 12),
        Column("cycles", "clocks", 8),
        Column("without the link", lambda row: row["clocks"] - row["waits"]),
    )
    with open_board(options) as board:
        if not isinstance(board, Board):
            raise BoardError(
                "trilith fpga run is for boards that multiply, and this board has a token core, "
                "which runs whole models: give 'trilith fpga generate --port "
                f"{options.port}', or 'trilith fpga selftest --port {options.port}'"
            )
        shapes = [tensors[name].shape for name in tensors]
        check_size(path, shapes, board, options.stream)
        multiply = BoardMatmul(board, shapes)
        rows = print_products(
            options, board, columns, multiply_all(multiply, board, tensors, options.seed)
        )
        facts = board_facts(board)
    if options.as_json:
        print_json(facts | {"wrong": multiply.wrong, "rows": rows})
    else:
        print(f"{multiply.wrong} results differ from the golden model")
    return multiply.wrong > 0


class _LoadOptions(ModelOptions, PortOptions):
    source: Path | None = argument(
        None,
        "Model, or an image that 'trilith model compile' wrote for the board's core. Default: the "
        "small model in the repository.",
    )


@command(app)
def load(options: _LoadOptions) -> None:
    """Load a model into the memory of a board with a token core, and verify it.

    A model is compiled for the core of the board. The board computes checksums of its memory. What
    the memory has already is not sent, so that an interrupted loading goes on where it ended.
    'trilith fpga generate' loads its model by itself. The last line has the numbers that a host of
    your own sends to begin the model, such as example.c.

    Examples:
      trilith fpga load --port /dev/ttyUSB0

      trilith fpga load --port /dev/ttyUSB0 pydoc.image
    """
    from ..fpga.frames import MODEL, unpack_fields
    from ..golden.data import PYDOC
    from ..golden.input_files import is_image
    from ..golden.network.token_core import CoreModel
    from ..golden.network.transformer import BitNetModel
    from ..hw.token.image_file import read_image

    path = options.source or PYDOC
    compiled = not is_image(path)
    if not compiled:
        check_not_read(options, path)
    with open_core(options) as board:
        if not compiled:
            image = read_image(path)
        else:
            network = BitNetModel.load(path, **reading(options))
            image = compiled_image(CoreModel(model=network), board.config, path)
        loaded = load_image(board, image, path)
        numbers = unpack_fields(MODEL, board.model_frame(image))
        facts = board_facts(board)
    if options.as_json:
        print_json(facts | {"model": image.model, **asdict(loaded), **numbers})
    else:
        print_loaded(loaded)
        print_note(f"MODEL: {', '.join(f'{name} {value}' for name, value in numbers.items())}")


class _GenerateOptions(DrawOptions, PromptOptions, ModelOptions, StreamOptions):
    image: Path | None = option(
        None,
        "Image of this model for the board's token core, which 'trilith model compile' wrote. "
        "Default: the model is compiled for the board.",
    )
    load: bool = option(
        False,
        "Load the image over the simulated line, which takes minutes. By default the simulated "
        "memory has it at its start.",
        "--load",
        needs=("--port sim",),
    )


@command(app)
def generate(options: _GenerateOptions) -> bool:
    """Generate text on a board.

    A board with a token core runs whole tokens: the model is loaded into its memory once, then only
    token numbers and the largest logits cross the line. The host draws among the 32 likeliest
    tokens above temperature 0. Every answer is compared with the golden model; a difference ends
    with status 1. --port sim simulates the design of the ULX3S with its SDRAM.

    A board that multiplies runs every ternary product of every layer. Each integer is compared with
    the golden model. Norms, attention and the head run on the host.

    Examples:
      trilith fpga generate --port sim --prompt "Return a list of" --max-tokens 4

      trilith fpga generate --port /dev/ttyUSB0 --prompt "Return a list of"
    """
    from ..fpga.host.board import Board

    draws(options)
    if options.port == "sim":
        from ..fpga.boards import SIMULATED_CORE

        run = CoreRun(options, SIMULATED_CORE.core)
        with open_core(options, None if options.load else run.image) as board:
            return run.generate(board, load=options.load)
    with open_board(options) as board:
        if isinstance(board, Board):
            return generate_products(options, board)
        return CoreRun(options, board.config).generate(board, load=True)

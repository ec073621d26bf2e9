"""Ports of boards: options of the commands that open them, and facts of the boards."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .options import JsonOptions, option
from .output import Column, Table, print_note

if TYPE_CHECKING:
    from ..fpga.host.board import Board
    from ..fpga.host.core_board import CoreBoard
    from ..hw.token.image_file import Image

__all__ = [
    "PortOptions",
    "StreamOptions",
    "board_facts",
    "open_board",
    "open_core",
    "print_products",
]


class PortOptions(JsonOptions):
    """Options of a command that opens a board."""

    port: str = option(
        ...,
        "Serial port of the board, such as /dev/ttyUSB1; or sim, a simulated board: for selftest "
        "and run a small one that multiplies, for load and generate the ULX3S with its token core.",
    )
    baud: int | None = option(
        None,
        "Baud rate of the bitstream. Default: the rates of all boards are tried.",
        min=50,
        max=20_000_000,
        excludes=("--port sim",),
    )


class StreamOptions(PortOptions):
    """Options of a command that runs a model on a board."""

    stream: bool = option(
        False,
        "On a board that multiplies: send the weights that do not fit its memory with each "
        "product. On a board with a token core: keep no weight in block RAM; all stream from its "
        "memory.",
        "--stream",
    )


@contextmanager
def open_board(options: PortOptions) -> "Iterator[Board | CoreBoard]":
    """Open a board of either kind, or a simulated one that multiplies."""
    from ..fpga.boards import SIMULATED
    from ..fpga.host.simulated import SimulatedBoard

    if options.port == "sim":
        with (
            SimulatedBoard(SIMULATED) as simulated,
            _connect(simulated.port, SIMULATED.baud) as board,
        ):
            yield board
        return
    with _connect(options.port, options.baud) as board:
        yield board


def _connect(port: str, baud: int | None) -> "Board | CoreBoard":
    """Open a port, and find out by the board's identity what it runs."""
    from ..fpga.host.board import Board
    from ..fpga.host.core_board import CoreBoard
    from ..fpga.host.link import Link
    from ..fpga.identity import CoreIdentity

    link = Link(port, baud)
    return CoreBoard(link) if isinstance(link.identity, CoreIdentity) else Board(link)


@contextmanager
def open_core(options: PortOptions, image: "Image | None" = None) -> "Iterator[CoreBoard]":
    """Open a board with a token core, or a simulated one whose memory has an image at its start."""
    from ..fpga.boards import SIMULATED_CORE
    from ..fpga.host.core_board import CoreBoard
    from ..fpga.host.link import Link
    from ..fpga.host.simulated import SimulatedBoard

    if options.port == "sim":
        with (
            SimulatedBoard(SIMULATED_CORE, image=image) as simulated,
            CoreBoard(Link(simulated.port, SIMULATED_CORE.baud)) as board,
        ):
            yield board
        return
    with CoreBoard(Link(options.port, options.baud)) as board:
        yield board


def board_facts(board: "Board | CoreBoard") -> dict[str, Any]:
    """JSON facts of a board's engine or core, and of its link."""
    from ..fpga.host.board import Board

    link = board.link
    if isinstance(board, Board):
        config = board.config
        facts: dict[str, Any] = {
            "engine": f"{config} {config.code}",
            "act_bits": config.act_bits,
            "k_max": config.k_max,
            "n_max": config.n_max,
            "weight_memory_bytes": board.identity.memory_bytes,
        }
    else:
        facts = {
            "core": str(board.config),
            "memory_bytes": board.identity.memory_bytes,
            "tested_bytes": board.identity.tested_bytes,
            "resident_beats": board.identity.resident_beats,
        }
    return facts | {
        "clock_hz": board.identity.clock_hz,
        "sessions": link.sessions,
        "frames_repeated": link.repeated,
        "frames_rejected": link.rejected,
    }


def print_products(
    options: PortOptions,
    board: "Board | CoreBoard",
    columns: Sequence[Column],
    products: Iterable[Any],
) -> list[Any]:
    """Print the engine or the core, and each product when it is done; return the products."""
    if not options.as_json:
        facts = board_facts(board)
        mhz = f"at {facts['clock_hz'] / 1e6:g} MHz"
        if "engine" in facts:
            print_note(
                f"engine {facts['engine']} {mhz}, {facts['weight_memory_bytes']} bytes of weight "
                "memory"
            )
        else:
            print_note(
                f"token core {facts['core']}, {mhz}, {facts['memory_bytes']} bytes of memory"
            )
    return Table(*columns, silent=options.as_json).rows(products)

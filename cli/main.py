"""The command ``trilith``: its verbs, and the boundary where errors become one line."""

import errno
import os
import sys
from importlib import import_module
from typing import Any

from typer.core import TyperCommand, TyperGroup
from typer.exceptions import Abort, TyperException
from typer.main import get_command

from ..golden.errors import TrilithError

__all__ = ["main"]

#: Verbs with one line of help each. A verb is the ``app`` of the module of its name.
_VERBS = {
    "sim": "Run the generated engine under Verilator and check it against the golden model.",
    "verilog": "Write an engine as Verilog, with testbench and documentation.",
    "model": "Inspect, convert and verify checkpoints.",
    "generate": "Generate text with the golden model or with the simulated engine.",
    "estimate": "Estimate tokens per second and joules per token of a model on a design.",
    "energy": "Print the energy of products and prompts, with every assumption.",
    "sweep": "Estimate a grid of engines and print the best ones.",
    "claims": "Print well-known claims about ternary models, each with our figure and verdict.",
    "characterize": "Measure energy, area and speed of a dot product in a cell library.",
    "fpga": "Build bitstreams, and run products on boards.",
    "report": "Print tables of measured figures, and draw figures.",
    "doctor": "Print the tools that were found and the tools that are missing.",
}


class _Verbs(TyperGroup):
    """The group of all verbs: it imports the module of a verb when the verb is called."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _VERBS:
            return None
        verb = get_command(import_module(f"..{cmd_name}", __name__).app)
        verb.name = cmd_name
        return verb

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])

    def format_help(self, ctx: Any, formatter: Any) -> None:
        # Plain text: the rich form would import more than the rest of the command.
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        with formatter.section("Commands"):
            formatter.write_dl([*_VERBS.items()])
        formatter.write_paragraph()
        formatter.write_text("'trilith COMMAND --help' explains a command and shows examples.")


_APP = _Verbs(
    name="trilith",
    help="Toolkit for hardware that runs ternary neural networks.",
    # Names for "Did you mean …"; the verbs themselves come from get_command.
    commands={name: TyperCommand(name) for name in _VERBS},
)


def _fail(message: str, status: int) -> int:
    print(f"trilith: {message}", file=sys.stderr)
    return status


def _disk_hint(error: OSError) -> str:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ""
    import tempfile

    return (
        f"; files go to {os.environ.get('TRILITH_BUILD', 'build')} (TRILITH_BUILD) and "
        f"{tempfile.gettempdir()} (TMPDIR): free space there, or set these variables"
    )


def main() -> None:
    """Run the command; bad input is one line and status 2, a failed simulation status 1."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal without a character shows its code instead of ending the command.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        sys.exit(_APP(standalone_mode=False))
    except TyperException as error:
        message = error.format_message()  # Empty where help was printed instead.
        sys.exit(_fail(message, 2) if message else 2)
    except (KeyboardInterrupt, Abort):
        sys.exit(_fail("interrupted", 130))
    except OSError as error:
        sys.exit(_fail(f"{error}{_disk_hint(error)}", 2))
    except TrilithError as error:
        sys.exit(_fail(str(error), error.exit_status))

"""The command ``trilith``: its help, and the boundary where errors become one line.

The handlers of signals come first, and all imports that take time come later. The help is printed
without typer, whose import takes longer than everything else here.
"""

import os
import re
import sys
import warnings
from typing import Any

from .stop import end_on_signals
from .streams import prepare_streams, say

__all__ = ["COMPLETE", "main"]

#: Variable with which the script of ``trilith completion`` asks for the words that may follow.
COMPLETE = "_TRILITH_COMPLETE"

#: Verbs with one line of help each. A verb is the ``app`` of the module of its name.
_VERBS = {
    "sim": "Run the generated engine and check it against the golden model.",
    "verilog": "Write an engine as Verilog, with testbench and documentation.",
    "model": "Inspect, convert and verify checkpoints.",
    "generate": "Generate text with the golden model or the simulated engine.",
    "estimate": "Estimate speed and energy of a language model on a design.",
    "energy": "Print the energy of products and prompts.",
    "zigzag": "Write an engine as a core for the explorers ZigZag and Stream.",
    "sweep": "Estimate a grid of engines and print the best ones.",
    "claims": "Print claims about ternary models, with figures and verdicts.",
    "characterize": "Measure energy, area and speed of a unit in a cell library.",
    "fpga": "Build bitstreams, and run products on boards.",
    "report": "Print tables of measured figures, and draw figures.",
    "cache": "Print what is in the cache of built simulations, or empty it.",
    "doctor": "Print the tools that were found and the tools that are missing.",
    "completion": "Print a script with which a shell completes commands and options.",
}

_HELP = """\
Usage: trilith COMMAND [OPTIONS]
       trilith --version

Toolkit for hardware that runs ternary neural networks.

Commands:
{verbs}

'trilith COMMAND --help' explains a command and shows examples."""


def _fail(message: str, status: int) -> int:
    # A value as long as a file hides the rule.
    shortened = re.sub(r"\S{400,}", lambda long: f"{long[0][:100]}...{long[0][-100:]}", message)
    say(shortened)
    return status


def _disk_hint() -> str:
    """Say where large files go, where a disk is full."""
    import tempfile

    from ..sim.tools.cache import cache_folder

    return (
        f"; files go to {cache_folder()} (TRILITH_BUILD) and "
        f"{tempfile.gettempdir()} (TMPDIR): free space there, or set these variables"
    )


def _run() -> int:
    """Run the verb; return the exit status of bad input, or of the verb."""
    if asked := os.environ.get(COMPLETE):
        return _complete(asked)
    if sys.argv[1:] in ([], ["--help"]):
        verbs = "\n".join(f"  {name:<14}{text}" for name, text in _VERBS.items())
        print(_HELP.format(verbs=verbs))
        return 0
    if sys.argv[1:2] == ["--version"]:
        from .. import __version__

        print(f"trilith {__version__}")
        return 0
    from typer.exceptions import TyperException

    from ..golden.errors import CheckpointWarning, TrilithError
    from ..golden.files import full_disk
    from .verbs import run

    warnings.simplefilter("always", CheckpointWarning)
    warnings.showwarning = _show_warning
    try:
        return run(_VERBS)
    except TyperException as error:
        message = error.format_message()  # Empty where help was printed instead.
        return _fail(message, 2) if message else 2
    except OSError as error:
        if not os.stat(os.curdir).st_nlink:
            return _fail("the working directory does not exist any more: change to another one", 2)
        return _fail(f"{error}{_disk_hint() if full_disk(error) else ''}", 2)
    except TrilithError as error:
        return _fail(str(error), error.exit_status)
    except MemoryError:
        return _fail("the memory is full: free some, or raise the limit (ulimit -v)", 2)
    except ImportError as error:
        return _fail(f"{error}; 'trilith doctor' says how to install what is missing", 2)


def _complete(asked: str) -> int:
    """Complete a command line; a message would stand in the middle of what is typed."""
    from .verbs import complete

    try:
        return complete(_VERBS, COMPLETE, asked)
    except Exception:
        return 1


def _show_warning(message: Warning | str, *_: Any) -> None:
    """Print a warning in one line, without a place in the source."""
    from ..golden.errors import TrilithError

    say(f"warning: {TrilithError(str(message))}")


def main() -> None:
    """Run the command; bad input is one line and status 2, a failed simulation status 1."""
    end_on_signals()
    from .terminal import set_up

    prepare_streams()
    set_up()
    status = _run()
    sys.stdout.flush()
    sys.exit(status)

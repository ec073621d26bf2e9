"""Standard streams that may be closed, full, or read by nobody."""

import os
import sys
from contextlib import suppress
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any

from .stop import end_command

__all__ = ["prepare_streams", "say"]


class _Output(FileIO):
    """Standard output, which ends the command when it takes no more."""

    def write(self, data: Any) -> int:
        """Write bytes. A pipe whose reader has ended, such as ``head``, is no error."""
        try:
            return super().write(data)
        except BrokenPipeError:
            end_command(0, "")
        except OSError as error:
            from ..golden.files import full_disk

            rule = "the disk is full" if full_disk(error) else "must be writable"
            end_command(2, f"standard output: {rule} ({error.strerror})")


def prepare_streams() -> None:
    """Make the standard streams safe to write to.

    A closed stream becomes one that takes everything; else the next file that is opened would get
    its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
            stream = TextIOWrapper(BufferedWriter(FileIO(number, "w")) if number else FileIO(0))
            setattr(sys, name, stream)
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, TextIOWrapper):  # Not in a test.
        raw = _Output(sys.stdout.fileno(), "w", closefd=False)
        sys.stdout = TextIOWrapper(
            raw if sys.stdout.write_through else BufferedWriter(raw),  # type: ignore[arg-type]
            encoding=sys.stdout.encoding,
            line_buffering=sys.stdout.line_buffering,
            write_through=sys.stdout.write_through,
        )


def say(message: str) -> None:
    """Print a line on the error output, unless that takes no more."""
    with suppress(OSError):
        print(f"trilith: {message}", file=sys.stderr, flush=True)

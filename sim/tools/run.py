"""Runs external programs: each is started, logged and checked in the same way."""

import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...golden.environment import child_environment
from ...golden.errors import OutputError
from ...golden.failures import ending, error_line
from .cache import use_cache
from .toolchain import ToolchainError, find_program

__all__ = ["TooLongError", "keep_output", "run_program"]


class TooLongError(ToolchainError):
    """A program ran longer than it may, and was stopped."""


def run_program(
    command: Sequence[str | Path],
    *,
    folder: Path | None = None,
    log: Path | None = None,
    makes: Sequence[str | Path] = (),
    variables: Mapping[str, str] | None = None,
    timeout: float | None = None,
    lacks: Callable[[str], str] = lambda text: "",
) -> str:
    """Run a program to its end and return all that it printed.

    A failed program's output is kept as ``failed/<program>.log`` in the cache, whether or not there
    is a log, because a log may stand in a temporary folder.

    Parameters
    ----------
    command : the program and its arguments; ``find_program`` finds a program without a path
    folder : the working directory; None is the current one
    log : the file to which the command line and the output are appended while the program runs
    makes : files in ``folder`` that the program must write; they are removed before it starts.
        Some programs (YoWASP's) can end with status 0 and without their output file.
    variables : variables to add to those of ``child_environment``
    timeout : None, or the number of seconds after which the program is stopped
    lacks : function from the output to what is missing in it; empty where all is there

    Returns
    -------
    The text of standard output and standard error, in the order in which it was written.

    Raises
    ------
    ToolchainError
        If the program is missing, does not start, ends with a status other than 0, takes too long
        (``TooLongError``), or does not write a file of ``makes`` or all of its output. The message
        names the program, the status, the first line that reports an error, and the file that keeps
        the output.
    """
    name = Path(command[0]).name
    program = find_program(name) if str(command[0]) == name else str(command[0])
    files = [(folder or Path()) / file for file in makes]
    for file in files:
        file.unlink(missing_ok=True)
    with tempfile.TemporaryFile() if log is None else log.open("ab+") as output:
        output.write(f"$ {shlex.join(map(str, command))}\n".encode())
        output.flush()
        start, kind = output.tell(), ToolchainError
        try:
            status = subprocess.run(
                [program, *map(str, command[1:])],
                cwd=folder,
                env=child_environment() | dict(variables or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=timeout,
                check=False,
            ).returncode
            failure = ending(status) if status else ""
        except subprocess.TimeoutExpired:
            failure, kind = f"ran longer than {timeout:g} s and was stopped", TooLongError
        except OSError as error:
            failure = f"did not start: {error.strerror}"
        output.seek(start)
        text = output.read().decode(errors="replace")
    missing = ", ".join(str(file) for file in files if not file.exists()) or lacks(text)
    if missing and not failure:
        failure = f"ended with status 0 and did not write {missing}"
    if failure:
        kept = keep_output(name, command, text)
        raise kind(f"{name} {failure}: {error_line(text)} ({kept})")
    return text


def keep_output(name: str, command: Sequence[str | Path], text: str) -> str:
    """Keep the output of a program that failed, in the cache.

    Parameters
    ----------
    name : name of the file, without ``.log``
    command : the program and its arguments
    text : all that the program printed

    Returns
    -------
    A phrase that says where it is
    """
    try:
        kept = use_cache() / "failed" / f"{name}.log"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(f"$ {shlex.join(map(str, command))}\n{text}")
    except (OSError, OutputError) as error:  # It must not hide the failure of the program.
        return f"its output could not be kept: {getattr(error, 'strerror', error)}"
    return f"all of its output: {kept}"

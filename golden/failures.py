"""Failures of programs in one phrase: how a program ended, and what it printed about that."""

import re
import signal

__all__ = ["ending", "error_line"]

#: Longest line in a message.
_LONGEST = 300

#: Source lines of a Python traceback, such as ``raise ValueError(``, do not match.
_ERROR = re.compile(
    r"error\b(?!\()|no space left|out of memory|undefined reference|assertion .*failed",
    re.IGNORECASE,
)

#: Lines that follow from others: a program's count of its errors, and the end of its caller.
_RESULT = re.compile(
    r"(g?make(\[\d+\])?: |collect2: error: |compilation terminated|%Error: Exiting due to )"
)

#: Colors of a terminal.
_COLORS = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


def error_line(text: str) -> str:
    """Find the line of a program's output that explains its failure.

    Parameters
    ----------
    text : all that the program printed

    Returns
    -------
    The first line that reports an error and follows from no other, or else the last three lines;
    without surrounding blanks, and shortened in the middle to 300 characters.
    """
    printed = [_COLORS.sub("", line).strip() for line in text.splitlines()]
    # Rules and marks under a line of source say nothing.
    lines = [line for line in printed if any(map(str.isalnum, line))]
    causes = [line for line in lines if not _RESULT.match(line)]
    found = next(filter(_ERROR.search, causes), "") or "; ".join((causes or lines)[-3:])
    half = _LONGEST // 2
    if len(found) > _LONGEST:
        found = f"{found[:half]}...{found[-half:]}"
    return found or "it printed nothing"


def ending(status: int) -> str:
    """Describe how a program ended.

    Parameters
    ----------
    status : as ``subprocess`` returns it, negative for a signal. A shell or make that runs another
        program adds 128 to that one's signal.
    """
    if status < 0:
        return f"was ended by {_signal(-status)}"
    if status > 128 and (name := _signal(status - 128)):
        return f"ended with status {status}, of a program that was ended by {name}"
    return f"ended with status {status}"


def _signal(number: int) -> str:
    """Name a signal; the text is empty where there is none of this number."""
    if number not in signal.valid_signals():
        return ""
    try:
        name = signal.Signals(number).name
    except ValueError:  # Signals of real-time programs have numbers only.
        name = f"signal {number}"
    return f"{name}, as where the memory is full" if name == "SIGKILL" else name

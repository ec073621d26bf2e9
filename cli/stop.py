"""The end of a command at any moment: one line, an exit status, and nothing left behind.

A signal's handler ends the process itself. An exception in its place could rise in a finalizer or
in a callback of an import, where Python prints it and goes on.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any, NoReturn

__all__ = ["end_command", "end_on_signals"]

#: Signals that end a command, and the line that says so.
_LINES = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "stopped by SIGTERM",
    signal.SIGHUP: "stopped by SIGHUP",
}

#: Seconds that a child has to end by itself, so that it can remove its own files.
_GRACE = 2.0

#: The process that prints the line: not its forks, which have its handlers.
_speaker = 0


def end_on_signals() -> None:
    """Set the handlers of this process. A signal that is ignored stays so, as ``nohup`` asks."""
    global _speaker
    _speaker = os.getpid()
    for number in _LINES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _: Any) -> None:
    """Handle a signal."""
    end_command(128 + number, _LINES[signal.Signals(number)])


def end_command(status: int, line: str) -> NoReturn:
    """End the children, remove the temporary folders, and end the process.

    Parameters
    ----------
    status : exit status of the process
    line : the reason, which is printed on the error output; empty where nobody need know
    """
    for one in _LINES:
        signal.signal(one, signal.SIG_IGN)
    if line and os.getpid() == _speaker:
        # A progress bar may have hidden the cursor of a terminal.
        clear = "\r\x1b[K\x1b[?25h" if os.isatty(2) else ""
        with suppress(OSError):  # Nobody may read it.
            os.write(2, f"{clear}trilith: {line}\n".encode())
    _end_children()
    # Without the module there are no folders; half imported, it has not made one.
    scratch = sys.modules.get("trilith.golden.scratch")
    getattr(scratch, "remove_scratch", lambda: None)()
    os._exit(status)


def _end_children() -> None:
    """End all processes that descend from this one, those that do not end by themselves too."""
    _adopt_orphans()
    begin = time.monotonic()
    while (passed := time.monotonic() - begin) < 2 * _GRACE and (children := _descendants()):
        for child in children:
            with suppress(OSError):  # It may just have ended.
                os.kill(child, signal.SIGTERM if passed < _GRACE else signal.SIGKILL)
        time.sleep(0.01)


def _adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends first, where Linux allows it.

    A compiler that is started in the instant of a signal would otherwise be nobody's child.
    """
    with suppress(Exception):
        import ctypes

        set_child_subreaper = 36  # linux/prctl.h
        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def _descendants() -> list[int]:
    """List the processes that descend from this one and have not ended; parents come first."""
    parents = {}
    try:
        entries = os.listdir("/proc")
    except OSError:
        return []
    for entry in entries:
        if entry.isdecimal():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    # The name, in parentheses, may have any character; then state and parent.
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except (OSError, ValueError):
                continue  # It has just ended.
            if state not in b"ZX":
                parents[int(entry)] = int(parent)
    found = [os.getpid()]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]

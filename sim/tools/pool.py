"""Processes that share work, and end with the process that started them."""

import os
import signal
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

__all__ = ["process_pool"]


def process_pool(workers: int | None, *, start: str | None = None) -> ProcessPoolExecutor:
    """Start worker processes, which handle signals as this process does.

    Parameters
    ----------
    workers : number of processes; None is the number of CPUs
    start : "fork" or "spawn", see ``multiprocessing``; None is the system's default

    Returns
    -------
    The pool. Its processes end when this process is gone, whatever has ended it.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return ProcessPoolExecutor(
        workers,
        mp_context=get_context(start),
        initializer=_start_worker,
        initargs=({number: signal.getsignal(number) for number in numbers},),
    )


def _start_worker(handlers: Mapping[int, Any]) -> None:
    """Set the handlers of signals in a worker, and watch its parent."""
    for number, handler in handlers.items():
        signal.signal(number, handler)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait until the parent is gone, and end this process."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)

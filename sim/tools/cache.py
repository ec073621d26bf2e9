"""The cache of files that take long to make."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...golden.files import new_folder

__all__ = ["build_folder", "keep"]


def build_folder() -> Path:
    """Folder of all files that can be made again.

    Returns
    -------
    The folder that the environment variable ``TRILITH_BUILD`` names, or ``build`` in the working
    directory.
    """
    return Path(os.environ.get("TRILITH_BUILD", "build")).absolute()


@contextmanager
def keep(kind: str, key: str) -> Iterator[tuple[Path, Path | None]]:
    """Find a folder of the cache, or let the caller fill it.

    A folder of the cache is whole or absent, whatever interrupts its making. If several processes
    ask for the same folder, one makes it and the others wait.

    Parameters
    ----------
    kind : what the folder holds, such as ``verilator``; folders of a kind stand together
    key : text that decides the content: sources, options, and versions of the tools

    Yields
    ------
    folder : ``<build folder>/<kind>/<hash of key>``
    making : None if the folder exists; else a new folder for the content, which becomes ``folder``
        when the block ends, and is removed if the block raises. The block may put temporary files
        beside it, into its parent.
    """
    parent = build_folder() / kind
    parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:20]
    folder = parent / digest
    if folder.is_dir():
        yield folder, None
        return
    with open(parent / f"{digest}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            yield folder, None
            return
        with new_folder(folder) as making:
            yield folder, making

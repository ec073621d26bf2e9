"""The cache of everything that takes long to make."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...golden.files import new_folder

__all__ = ["build_folder", "keep"]


def build_folder() -> Path:
    """Where everything that can be made again is kept: ``$TRILITH_BUILD``, or ``build`` here."""
    return Path(os.environ.get("TRILITH_BUILD", "build")).absolute()


@contextmanager
def keep(kind: str, key: str) -> Iterator[tuple[Path, Path | None]]:
    """The folder of something that takes long to make: ``build/<kind>/<hash of key>``.

    Yields the folder and, unless it is there already, an empty folder beside it to make its content
    in; that one is renamed when the block ends without an exception and removed otherwise. So a
    folder is whole or absent, whatever interrupts. Of several processes one makes it and the others
    wait.
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
        # Folders that a killed process has left: nobody else fills this one while it is locked.
        for left_over in parent.glob(f".{digest}.*/"):
            shutil.rmtree(left_over)
        with new_folder(folder) as making:
            yield folder, making

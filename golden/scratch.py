"""Temporary folders that nothing leaves behind: no exception, no signal, and no killed process.

A folder is locked while its process lives. The lock of a killed process is free, so that the next
process that works at the same place finds its folder, and removes it.
"""

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Scratch", "remove_scratch", "scratch_folder"]

#: Names of temporary folders, with the number of the process.
_NAME = re.compile(r"\.trilith-(\d+)-[0-9a-f]{8}\.partial")


class Scratch:
    """A temporary folder of this process, and the moves of its content to its final place.

    Parameters
    ----------
    place : the folder to make it in; missing folders are made, and removed again by ``close`` if
        they are empty

    Members
    -------
    path : the folder, readable by its user only

    Raises
    ------
    OSError
        If the folder cannot be made.
    """

    #: Folders that are not closed yet, also those of the process that this one was forked from.
    _open: list["Scratch"] = []  # noqa: RUF012

    def __init__(self, place: Path) -> None:
        place = place.absolute()
        self._process = os.getpid()
        self._lock = -1
        self._moves: list[tuple[Path, Path, Path]] = []
        missing = [folder for folder in (place, *place.parents) if not folder.exists()]
        self._parents = missing
        self.path = place / f".trilith-{self._process}-{secrets.token_hex(4)}.partial"
        # A signal may end the process at any moment from here on, and calls ``remove_scratch``.
        self._open.append(self)
        try:
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
            _remove_stale(place)
            self.path.mkdir(mode=0o700)
            self._lock = os.open(self.path, os.O_RDONLY)
            with suppress(OSError):  # Some file systems have no locks: nothing is stale there.
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            self.close()
            raise

    def publish(self, moves: Sequence[tuple[Path, Path]]) -> None:
        """Move files or folders out of the folder, all or none; each replaces what is there.

        Parameters
        ----------
        moves : the present and the final path of each
        """
        old = self.path / ".old"
        old.mkdir()
        self._moves = [(new, final, old / str(number)) for number, (new, final) in enumerate(moves)]
        for new, final, kept in self._moves:
            if final.is_dir():
                final.rename(kept)
            elif final.exists():
                try:
                    os.link(final, kept)  # The name is never without a file.
                except OSError:
                    final.rename(kept)
            new.rename(final)
        self._moves = []

    def close(self) -> None:
        """Undo moves that are not complete, and remove the folder and all that it holds."""
        if self._process != os.getpid():  # A fork's copy; the folder is its parent's.
            return
        for new, final, kept in reversed(self._moves):
            if not new.exists() and (final.is_dir() or kept.is_dir()):
                final.rename(new)
            elif not new.exists() and not kept.exists():
                final.unlink(missing_ok=True)
            if kept.exists():
                kept.replace(final)
        self._moves = []
        shutil.rmtree(self.path, ignore_errors=True)
        for folder in self._parents:
            with suppress(OSError):  # Not empty.
                folder.rmdir()
        if self._lock >= 0:
            with suppress(OSError):
                os.close(self._lock)
            self._lock = -1
        if self in self._open:
            self._open.remove(self)

    @classmethod
    def close_all(cls) -> None:
        """Close the folders of this process."""
        for one in reversed(cls._open):
            with suppress(OSError):
                one.close()


def remove_scratch() -> None:
    """Remove all temporary folders of this process, before a signal ends it."""
    Scratch.close_all()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a temporary folder for the files of a block, which is removed after it.

    Yields
    ------
    The folder, in the place that the environment variable ``TMPDIR`` names.

    Raises
    ------
    OSError
        If the folder cannot be made.
    """
    scratch = Scratch(Path(tempfile.gettempdir()))
    try:
        yield scratch.path
    finally:
        scratch.close()


def _remove_stale(place: Path) -> None:
    """Remove the folders of killed processes."""
    try:
        entries = list(os.scandir(place))
    except OSError:
        return
    for entry in entries:
        found = _NAME.fullmatch(entry.name)
        if not found or not entry.is_dir(follow_symlinks=False) or _lives(int(found[1])):
            continue
        try:
            lock = os.open(entry.path, os.O_RDONLY)
        except OSError:
            continue
        try:
            # A process of another container or machine has another number here, and the lock.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(entry.path, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)


def _lives(process: int) -> bool:
    """Find out whether a process of this machine has a number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True

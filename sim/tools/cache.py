"""The cache of files that take long to make, and the folder of what a user asked for."""

import fcntl
import functools
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...golden.errors import OutputError
from ...golden.files import full_disk, new_folder
from ...golden.scratch import Scratch

__all__ = [
    "CacheKind",
    "build_folder",
    "cache_folder",
    "cache_kinds",
    "clear_cache",
    "keep",
    "use_cache",
]

#: File that marks a cache; only names of temporary files begin with a dot. A process that uses the
#: cache holds a shared lock on it to its end.
_MARK = "trilith-cache"
_MARK_TEXT = (
    "This folder is a cache. 'trilith cache' shows it, and 'trilith cache --clear' empties it.\n"
)
#: Names of an entry and of its lock.
_ENTRY = re.compile(r"[0-9a-f]{20}")
_LOCK = re.compile(r"[0-9a-f]{20}\.lock")


@dataclass(frozen=True, kw_only=True)
class CacheKind:
    """The entries of one kind in the cache.

    Parameters
    ----------
    kind : what the entries are, such as ``verilator``; ``failed`` are the outputs of programs that
        failed
    entries : number of entries
    size_bytes : size of their files
    oldest_s, newest_s : seconds since the oldest and the newest one was made
    """

    kind: str
    entries: int
    size_bytes: int
    oldest_s: float
    newest_s: float


def cache_folder() -> Path:
    """Folder of the cache, which all processes of a user share.

    Returns
    -------
    The folder that the environment variable ``TRILITH_BUILD`` names; else ``trilith`` in the one
    that ``XDG_CACHE_HOME`` names, if that is absolute; else ``~/.cache/trilith``.

    Raises
    ------
    OutputError
        If neither is set and the user has no home.
    """
    if named := os.environ.get("TRILITH_BUILD"):
        return Path(named).absolute()
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not caches.is_absolute():
        try:
            caches = Path.home() / ".cache"
        except RuntimeError:
            raise OutputError(
                "the cache has no place, because there is no home directory; set TRILITH_BUILD to "
                "a folder"
            ) from None
    return caches / "trilith"


def build_folder() -> Path:
    """Folder of what a user asked for without a name, such as the bitstream of a board.

    Returns
    -------
    The folder that the environment variable ``TRILITH_BUILD`` names, or ``build`` in the working
    directory.
    """
    return Path(os.environ.get("TRILITH_BUILD") or "build").absolute()


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    """Turn an error of the system in a block into one line that says where the cache is.

    Raises
    ------
    OutputError
        If the block cannot write, and the disk is not full.
    """
    try:
        yield
    except OSError as error:
        if full_disk(error):
            raise
        raise OutputError(
            f"{root}: the cache must be a folder that you can write ({error.strerror}); set "
            "TRILITH_BUILD to another folder"
        ) from None


def use_cache() -> Path:
    """Make the folder of the cache, and keep it from being cleared until this process ends.

    Returns
    -------
    The folder.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    root = cache_folder()
    _hold(root)
    return root


@functools.cache
def _hold(root: Path) -> int:
    """Mark a folder as a cache; return the open file that has its lock."""
    mark = root / _MARK
    with _writing(root):
        root.mkdir(parents=True, exist_ok=True)
        whole = mark.is_file() and mark.stat().st_size == len(_MARK_TEXT)
        held = os.open(mark, os.O_RDONLY if whole else os.O_RDWR | os.O_CREAT, 0o644)
        if not whole:
            os.write(held, _MARK_TEXT.encode())
    fcntl.flock(held, fcntl.LOCK_SH)
    return held


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
    folder : ``<cache folder>/<kind>/<hash of key>``
    making : None if the folder exists; else a new folder for the content, which becomes ``folder``
        when the block ends, and is removed if the block raises. The block may put temporary files
        beside it, into its parent.

    Raises
    ------
    OutputError
        If the cache cannot be written.
    """
    root = use_cache()
    digest = hashlib.sha256(key.encode()).hexdigest()[:20]
    folder = root / kind / digest
    if folder.is_dir():
        yield folder, None
        return
    with _writing(root):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock_file = folder.with_suffix(".lock")
        lock_file.touch()
    with open(lock_file, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            yield folder, None
            return
        with new_folder(folder) as making:
            yield folder, making


def cache_kinds() -> list[CacheKind]:
    """Measure the cache.

    Returns
    -------
    The kinds that have entries, by name.
    """
    found = []
    for kind, entries in _entries(cache_folder()).items():
        ages, sizes = [], {}
        for entry in entries:
            with suppress(OSError):  # Another process may have removed it.
                ages.append(time.time() - entry.stat().st_mtime)
            for file in (entry, *entry.rglob("*")):
                with suppress(OSError):
                    status = file.lstat()
                    # Some files have a name in several entries.
                    sizes[status.st_ino] = 0 if file.is_dir() else status.st_size
        if ages:
            found.append(
                CacheKind(
                    kind=kind,
                    entries=len(ages),
                    size_bytes=sum(sizes.values()),
                    oldest_s=max(0.0, *ages),
                    newest_s=max(0.0, min(ages)),
                )
            )
    return found


def _entries(root: Path) -> dict[str, list[Path]]:
    """List the entries of a cache by kind, and nothing that anyone else put there."""
    found: dict[str, list[Path]] = {}
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.is_symlink() or not folder.is_dir():
            continue
        for one in sorted(folder.iterdir()):
            log = folder.name == "failed" and one.suffix == ".log" and one.is_file()
            if not one.is_symlink() and (log or (_ENTRY.fullmatch(one.name) and one.is_dir())):
                found.setdefault(folder.name, []).append(one)
    return found


def clear_cache() -> list[CacheKind]:
    """Remove the entries of the cache, and nothing else from its folder.

    Returns
    -------
    The kinds that were removed, as ``cache_kinds`` measures them.

    Raises
    ------
    OutputError
        If the folder is no cache, cannot be written, or is used by another process.
    """
    root = cache_folder()
    if not root.exists():
        return []
    mark = root / _MARK
    if not mark.is_file():
        raise OutputError(
            f"{root}: is not a cache of trilith, because it has no file {_MARK}; nothing was "
            "removed"
        )
    with _writing(root), open(mark) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{root}: another process of trilith uses the cache; clear it after that has ended"
            ) from None
        removed = cache_kinds()
        for kind, entries in _entries(root).items():
            scratch = Scratch(root / kind)
            try:
                for entry in entries:  # An entry that is half removed must not look whole.
                    entry.rename(scratch.path / entry.name)
            finally:
                scratch.close()
        for folder in root.iterdir():
            if folder.is_symlink() or not folder.is_dir():
                continue
            for one in folder.iterdir():
                if _LOCK.fullmatch(one.name):
                    one.unlink()
            with suppress(OSError):  # Somebody else's files are in it.
                folder.rmdir()
    return removed

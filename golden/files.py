"""Files that are written whole or not at all, and JSON that is not trusted."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import CheckpointError, OutputError

__all__ = [
    "Progress",
    "ignore_progress",
    "new_file",
    "new_files",
    "new_folder",
    "read_json",
    "write_text",
]

#: Largest JSON file in bytes. A real config.json has a few kilobytes.
_JSON_LIMIT = 64 * 2**20


#: Called with the number of tensors that are done, and the number of all.
Progress = Callable[[int, int], None]


def ignore_progress(done: int, total: int) -> None:
    """Show no progress."""


def read_json(file: Path) -> dict[str, Any]:
    """Read an object from a JSON file that is not trusted.

    Parameters
    ----------
    file : at most 64 MiB

    Returns
    -------
    The object's values by key.

    Raises
    ------
    CheckpointError
        If the file cannot be read, is too large, is not JSON, or holds no object.
    """
    try:
        size = file.stat().st_size
        value = json.loads(file.read_bytes()) if size <= _JSON_LIMIT else None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: must be readable JSON: {error}") from None
    if size > _JSON_LIMIT:
        raise CheckpointError(f"{file}: must have at most {_JSON_LIMIT} bytes")
    if not isinstance(value, dict):
        raise CheckpointError(f"{file}: must hold an object, not a {type(value).__name__}")
    return value


@contextmanager
def new_files(folder: Path) -> Iterator[Path]:
    """Write several files of a folder, all or none.

    The files are written in a temporary folder. When the block ends without an exception, they move
    to ``folder`` and replace older files of the same names. After an exception none has moved.

    Parameters
    ----------
    folder : must exist

    Yields
    ------
    The temporary folder, which lies in ``folder``.

    Raises
    ------
    OutputError
        If ``folder`` cannot be written, or the name of a file is the name of a folder there.
    OSError
        If a file cannot be moved.
    """
    try:
        scratch = tempfile.TemporaryDirectory(prefix=".partial-", dir=folder)
    except OSError as error:
        raise OutputError(f"{folder}: must be a writable folder: {error.strerror}") from None
    with scratch as name:
        making = Path(name)
        yield making
        files = sorted(making.iterdir())
        for file in files:
            _check_file_name(folder / file.name)
        moved: list[Path] = []
        try:
            for file in files:
                moved.append(file.replace(folder / file.name))
        except OSError:
            for file in moved:
                file.unlink(missing_ok=True)
            raise


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """Write a file, whole or not at all.

    Parameters
    ----------
    file : the final name, in a folder that exists; an older file of this name is replaced

    Yields
    ------
    The name to write to, which lies in a temporary folder beside ``file``.

    Raises
    ------
    OutputError
        If the folder cannot be written, or ``file`` is a folder.
    OSError
        If the file cannot be moved.
    """
    _check_file_name(file)
    with new_files(file.parent) as making:
        yield making / file.name


def write_text(file: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all, as ``new_file`` does.

    Parameters
    ----------
    file : the final name, in a folder that exists; an older file of this name is replaced
    text : the content

    Raises
    ------
    OutputError
        If the folder cannot be written, or ``file`` is a folder.
    OSError
        If the file cannot be written.
    """
    with new_file(file) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Fill a new folder, which takes its name only when the block ends without an exception.

    Parameters
    ----------
    folder : must not exist, or be empty; missing parents are made

    Yields
    ------
    The empty folder to fill, which lies in a temporary folder beside ``folder``.

    Raises
    ------
    OutputError
        If ``folder`` is a file or a folder that is not empty.
    OSError
        If the folder cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: must not exist yet; remove it, or give another name")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        # The temporary folder is the user's alone (mode 0700); the folder inside is not.
        inside = Path(scratch) / folder.name
        inside.mkdir()
        yield inside
        inside.replace(folder)


def _check_file_name(file: Path) -> None:
    """Refuse the name of a folder."""
    if file.is_dir():
        raise OutputError(f"{file}: must be a file, not a folder; give another name")

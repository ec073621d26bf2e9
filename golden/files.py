"""Files that are written whole or not at all, and JSON that is not trusted."""

import errno
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import CheckpointError, OutputError
from .input_files import mistaken, unreadable
from .scratch import Scratch

__all__ = [
    "Progress",
    "check_new_folder",
    "check_outputs",
    "full_disk",
    "ignore_progress",
    "naming_full_disk",
    "new_file",
    "new_files",
    "new_folder",
    "read_json",
    "write_text",
]

#: Largest JSON file in bytes, and most lists and objects in it. A real config.json has a few
#: kilobytes, and the largest lists of tensors have about ten megabytes.
_JSON_LIMIT = 64 * 2**20
_JSON_PARTS = 2**20


#: Called with the number of tensors that are done, and the number of all.
Progress = Callable[[int, int], None]


def ignore_progress(done: int, total: int) -> None:
    """Show no progress."""


def read_json(file: Path) -> dict[str, Any]:
    """Read an object from a JSON file that is not trusted.

    Parameters
    ----------
    file : at most 64 MiB, with at most 2²⁰ lists and objects

    Returns
    -------
    The object's values by key.

    Raises
    ------
    CheckpointError
        If the file cannot be read, is too large, is not JSON, or holds no object.
    """
    if message := unreadable(file, "JSON"):
        raise CheckpointError(message)
    size = file.stat().st_size
    if size > _JSON_LIMIT:
        raise CheckpointError(f"{file}: must have at most {_JSON_LIMIT} bytes, not {size}")
    text = file.read_bytes()
    parts = text.count(b"[") + text.count(b"{")
    if parts > _JSON_PARTS:
        raise CheckpointError(
            f"{file}: must have at most {_JSON_PARTS} lists and objects, not {parts}"
        )
    try:
        value = json.loads(text)
        if b"\\u" in text:
            # JSON can hold halves of surrogate pairs, which no other text can.
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise CheckpointError(f"{file}: must have fewer lists or objects inside another") from None
    except ValueError as error:
        raise CheckpointError(mistaken(file, "JSON", error)) from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{file}: must hold an object, not a {type(value).__name__}")
    return value


def full_disk(error: OSError) -> bool:
    """Find out whether an error of the system says that there is no space left.

    NumPy's ``tofile`` gives no number of the error, but only how many items it wrote.
    """
    if error.errno is None:
        return re.search(r"\d+ requested and \d+ written", str(error)) is not None
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_outputs(
    files: Iterable[Path], *, inputs: Iterable[Path] = (), force: bool = False
) -> None:
    """Refuse names of files that must not be written. The writers of this module call it too.

    Parameters
    ----------
    files : files to write; missing folders are no fault
    inputs : files and folders that are read: no file to write is one of them, or inside one
    force : replace files that exist

    Raises
    ------
    OutputError
        If a name is twice in ``files``, or is that of an input, of a file that exists, or of
        anything that is not a regular file: a folder, a symbolic link, a device, a pipe, a socket.
    """
    files, inputs = list(files), list(inputs)
    for place, file in enumerate(files):
        if file.name in ("", "..") or file.is_dir():
            raise OutputError(f"{file}: must be a file, not a folder; give another name")
        _check_place(file, inputs)
        if file.is_symlink():
            raise OutputError(f"{file}: must not be a symbolic link; give another name")
        if not file.exists():
            twice = file in files[:place]
        elif not file.is_file():
            raise OutputError(
                f"{file}: must be a regular file, not a device, a pipe or a socket; give another "
                "name"
            )
        elif not force:
            raise OutputError(
                f"{file}: exists already; give another name, or --force to replace it"
            )
        else:
            twice = any(_same(file, other) for other in files[:place])
        if twice:
            raise OutputError(f"{file}: must not be written twice; give another name")


def check_new_folder(folder: Path, *, inputs: Iterable[Path] = ()) -> None:
    """Refuse the name of a folder that must not be made.

    Parameters
    ----------
    folder : folder to make
    inputs : see ``check_outputs``

    Raises
    ------
    OutputError
        If the folder is inside an input, or is a symbolic link, a file, or not empty.
    """
    _check_place(folder, list(inputs))
    try:
        new = not folder.is_symlink() and (not folder.exists() or not any(folder.iterdir()))
    except OSError:
        new = False
    if not new:
        raise OutputError(f"{folder}: must not exist yet; remove it, or give another name")


def _check_place(path: Path, inputs: Sequence[Path]) -> None:
    """Refuse a path that is an input or inside one, or whose folder cannot be."""
    for folder in path.absolute().parents:
        if folder.exists() or folder.is_symlink():
            if not folder.is_dir():
                raise OutputError(f"{path}: {folder} must be a folder; give another name")
            break
    place = Path(os.path.realpath(path))
    for source in inputs:
        if any(_same(one, source) for one in (place, *place.parents)):
            rule = f"{'inside ' * source.is_dir()}the input {source}"
            raise OutputError(f"{path}: must not be {rule}; give another name")


def _same(path: Path, other: Path) -> bool:
    """Find out whether two paths are one file: by links, by hard links, in any spelling."""
    try:
        return path.samefile(other)
    except OSError:
        return os.path.realpath(path) == os.path.realpath(other)


@contextmanager
def naming_full_disk(target: Path) -> Iterator[None]:
    """Give an error that the disk is full the name of the file that a block writes.

    Raises
    ------
    OutputError
        If the disk is full.
    """
    try:
        yield
    except OSError as error:
        if not full_disk(error):
            raise
        raise OutputError(
            f"{target}: the disk is full ({error.strerror or error}); free space there, or write "
            "to another one"
        ) from None


@contextmanager
def _writing(target: Path) -> Iterator[Scratch]:
    """Make a temporary folder beside a target, and remove it after the block."""
    with naming_full_disk(target):
        try:
            scratch = Scratch(target.parent)
        except OSError as error:
            if full_disk(error):
                raise
            raise OutputError(
                f"{target.parent}: must be a writable folder: {error.strerror}"
            ) from None
        try:
            yield scratch
        finally:
            scratch.close()


@contextmanager
def new_files(
    files: Iterable[Path], *, inputs: Iterable[Path] = (), force: bool = False
) -> Iterator[Path]:
    """Write several files of a folder, all or none.

    The files are written in a temporary folder, under their own names. When the block ends without
    an exception, they move to their places. After an exception, or a signal that ends ``trilith``,
    none has moved, and nothing else is left.

    Parameters
    ----------
    files : the final names, in one folder; missing folders are made. The block need not write
        all of them.
    inputs, force : see ``check_outputs``, whose rules hold before the block and after it

    Yields
    ------
    The temporary folder, which lies beside the files.

    Raises
    ------
    OutputError
        If a name is refused, the folder cannot be written, or the disk is full.
    OSError
        If a file cannot be written for another reason.
    """
    files, inputs = list(files), list(inputs)
    check_outputs(files, inputs=inputs, force=force)
    with _writing(files[0]) as scratch:
        making = scratch.path / "new"
        making.mkdir()
        yield making
        check_outputs(files, inputs=inputs, force=force)
        made = [(making / file.name, file) for file in files]
        scratch.publish([(new, final) for new, final in made if new.exists()])


@contextmanager
def new_file(file: Path, *, inputs: Iterable[Path] = (), force: bool = False) -> Iterator[Path]:
    """Write a file, whole or not at all, as ``new_files`` does.

    Parameters
    ----------
    file : the final name
    inputs, force : see ``check_outputs``

    Yields
    ------
    The name to write to, which lies in a temporary folder beside ``file``.

    Raises
    ------
    OutputError, OSError
        See ``new_files``.
    """
    with new_files([file], inputs=inputs, force=force) as making:
        yield making / file.name


def write_text(file: Path, text: str, *, force: bool = False) -> None:
    """Write a text in UTF-8, whole or not at all, as ``new_files`` does.

    Parameters
    ----------
    file : the final name
    text : the content
    force : see ``check_outputs``

    Raises
    ------
    OutputError, OSError
        See ``new_files``.
    """
    with new_file(file, force=force) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def new_folder(folder: Path, *, inputs: Iterable[Path] = (), force: bool = False) -> Iterator[Path]:
    """Fill a new folder, which takes its name only when the block ends without an exception.

    Parameters
    ----------
    folder : must not exist, or be empty; missing parents are made
    inputs : see ``check_outputs``
    force : replace a folder that exists, with all that it holds. No name that a user gives may
        be replaced so.

    Yields
    ------
    The empty folder to fill, which lies in a temporary folder beside ``folder``.

    Raises
    ------
    OutputError
        If the name is refused, see ``check_new_folder``, or the disk is full.
    OSError
        If a file cannot be written for another reason.
    """
    inputs = list(inputs)
    if not force:
        check_new_folder(folder, inputs=inputs)
    with _writing(folder) as scratch:
        # The temporary folder is the user's alone (mode 0700); the folder inside is not.
        making = scratch.path / "new"
        making.mkdir()
        yield making
        if not force:
            check_new_folder(folder, inputs=inputs)
        scratch.publish([(making, folder)])

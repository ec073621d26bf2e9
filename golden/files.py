"""Files written whole or not at all, and JSON that is not trusted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import CheckpointError

__all__ = ["Progress", "ignore_progress", "new_folder"]

#: A real config.json has a few kilobytes; parsing a larger one would only cost memory.
_JSON_LIMIT = 64 * 2**20


def read_json(file: Path) -> dict[str, Any]:
    """An object from a JSON file that is not trusted."""
    try:
        if file.stat().st_size > _JSON_LIMIT:
            raise CheckpointError(f"{file}: must have at most {_JSON_LIMIT} bytes")
        value = json.loads(file.read_bytes())
    except CheckpointError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: must be readable JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{file}: must hold an object, not a {type(value).__name__}")
    return value


#: Called with how many tensors are done, and of how many.
Progress = Callable[[int, int], None]


def ignore_progress(done: int, total: int) -> None:
    """No progress is shown."""


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name only when all went well.

    Raises
    ------
    CheckpointError
        If there is something of that name already.
    OSError
        If it cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder}: must not exist yet; remove it, or give another name")
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    beside.mkdir(parents=True)
    try:
        yield beside
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """A file to write, which takes its name, and replaces its elder, only when all went well.

    Raises
    ------
    CheckpointError
        If a folder has that name.
    """
    if file.is_dir():
        raise CheckpointError(f"{file}: must be a file's name, and is a folder")
    beside = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        yield beside
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)

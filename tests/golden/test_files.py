"""Writers that leave whole files or none, and the reader of untrusted JSON."""

import os
import re
from pathlib import Path

import pytest

from trilith.golden.errors import CheckpointError, OutputError
from trilith.golden.files import new_file, new_files, new_folder, read_json, write_text


class _StopError(Exception):
    """Stops a block that writes."""


def refuses(kind: type[Exception], message: str):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def _write_and_stop(partial: Path, *names: str) -> None:
    for name in names:
        (partial / name).write_text("new")
    raise _StopError


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


def test_that_a_file_replaces_an_older_one_when_it_is_complete(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old ü\n")
    with new_file(file) as partial:
        partial.write_text("new\n")
        assert file.read_bytes() == "old ü\n".encode()
    assert contents(tmp_path) == {"a.txt": "new\n"}
    assert len(list(tmp_path.iterdir())) == 1
    assert file.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_that_an_exception_leaves_the_older_files(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(_StopError), new_file(tmp_path / "a") as partial:
        _write_and_stop(partial.parent, partial.name)
    with pytest.raises(_StopError), new_files(tmp_path) as making:
        _write_and_stop(making, "a", "b")
    assert contents(tmp_path) == {"a": "old"}
    assert len(list(tmp_path.iterdir())) == 1


def test_that_of_several_files_all_are_written_or_none(tmp_path):
    with new_files(tmp_path) as making:
        for name in "abc":
            (making / name).write_text(name)
    assert contents(tmp_path) == {"a": "a", "b": "b", "c": "c"}
    (tmp_path / "d").mkdir()
    message = f"{tmp_path / 'd'}: must be a file, not a folder; give another name"
    with refuses(OutputError, message), new_files(tmp_path) as making:
        (making / "a").write_text("new")
        (making / "d").write_text("new")
    assert contents(tmp_path) == {"a": "a", "b": "b", "c": "c"}
    with refuses(OutputError, message), new_file(tmp_path / "d"):
        pytest.fail("the name is refused before anything is written")


def test_that_files_need_a_folder(tmp_path):
    missing = tmp_path / "missing"
    message = f"{missing}: must be a writable folder: No such file or directory"
    with refuses(OutputError, message):
        write_text(missing / "a", "")


def test_that_a_folder_appears_when_it_is_complete(tmp_path):
    folder = tmp_path / "parent" / "new"
    with pytest.raises(_StopError), new_folder(folder) as partial:
        _write_and_stop(partial, "a")
    assert not list(folder.parent.iterdir())
    with new_folder(folder) as partial:
        (partial / "a").write_text("a")
        assert not folder.exists()
    assert contents(folder) == {"a": "a"}
    assert folder.stat().st_mode & 0o777 == 0o777 & ~_umask()
    assert list(folder.parent.iterdir()) == [folder]


def test_that_a_folder_must_be_new_or_empty(tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    with new_folder(folder) as partial:
        (partial / "a").write_text("a")
    for taken in (folder, folder / "a"):
        message = f"{taken}: must not exist yet; remove it, or give another name"
        with refuses(OutputError, message), new_folder(taken):
            pytest.fail("the name is refused before anything is written")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be readable JSON: Expecting property name enclosed in double quotes: .*"),
        ("[1]", "must hold an object, not a list"),
        ("[" * 100_000, "must be readable JSON: .*recursion.*"),
    ],
)
def test_that_untrusted_json_is_refused_in_one_line(tmp_path, text, message):
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(file))}: {message}$"):
        read_json(file)
    file.write_text('{"a": 1}')
    assert read_json(file) == {"a": 1}


def test_that_a_huge_json_file_is_not_read(tmp_path):
    file = tmp_path / "config.json"
    with file.open("wb") as stream:
        stream.truncate(64 * 2**20 + 1)
    with refuses(CheckpointError, f"{file}: must have at most 67108864 bytes"):
        read_json(file)

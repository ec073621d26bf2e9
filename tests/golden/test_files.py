"""Writers that leave whole files or none, and the reader of untrusted JSON."""

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trilith.golden.errors import CheckpointError, OutputError
from trilith.golden.files import (
    check_outputs,
    new_file,
    new_files,
    new_folder,
    read_json,
    write_text,
)


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
    message = f"{file}: exists already; give another name, or --force to replace it"
    with refuses(OutputError, message), new_file(file):
        pytest.fail("the name is refused before anything is written")
    with new_file(file, force=True) as partial:
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
    with pytest.raises(_StopError), new_file(tmp_path / "a", force=True) as partial:
        _write_and_stop(partial.parent, partial.name)
    names = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(_StopError), new_files(names, force=True) as making:
        _write_and_stop(making, "a", "b")
    with pytest.raises(_StopError), new_file(tmp_path / "new" / "folders" / "a") as partial:
        _write_and_stop(partial.parent, partial.name)
    assert contents(tmp_path) == {"a": "old"}
    assert len(list(tmp_path.iterdir())) == 1


def test_that_of_several_files_all_are_written_or_none(tmp_path):
    names = [tmp_path / name for name in "abcd"]
    with new_files(names) as making:
        for name in "abc":
            (making / name).write_text(name)
    assert contents(tmp_path) == {"a": "a", "b": "b", "c": "c"}
    message = f"{tmp_path / 'd'}: must be a file, not a folder; give another name"
    with refuses(OutputError, message), new_files(names, force=True) as making:
        (making / "a").write_text("new")
        (making / "d").write_text("new")
        (tmp_path / "d").mkdir()
    with refuses(OutputError, message), new_files(names, force=True):
        pytest.fail("the name is refused before anything is written")
    assert contents(tmp_path) == {"a": "a", "b": "b", "c": "c"}
    with refuses(OutputError, f"{names[0]}: must not be written twice; give another name"):
        check_outputs(names[:2] * 2, force=True)


@pytest.mark.parametrize("links", [True, False])
def test_that_moves_are_undone(tmp_path, monkeypatch, links):
    for name in "abcd":
        (tmp_path / name).write_text(f"old {name}")
    (tmp_path / "b").unlink()
    rename = Path.rename

    def fail_at_d(path, target):
        if target == tmp_path / "d":
            raise _StopError
        return rename(path, target)

    def no_links(*paths):
        raise OSError

    monkeypatch.setattr(Path, "rename", fail_at_d)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    names = [tmp_path / name for name in "abcd"]

    def write():
        with new_files(names, force=True) as making:
            for name in "abcd":
                (making / name).write_text(f"new {name}")

    with pytest.raises(_StopError):
        write()
    assert contents(tmp_path) == {name: f"old {name}" for name in "acd"}
    assert len(list(tmp_path.iterdir())) == 3


def test_that_the_folders_of_killed_processes_are_removed(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from trilith.golden.files import *"
        "\nwith new_file(Path(sys.argv[1]) / 'a') as file:"
        "\n    file.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".trilith-")
    others = [
        tmp_path / ".trilith-1-00000000.partial",  # A process with this number lives.
        tmp_path / ".trilith-4194305-00000001.partial",  # The process of another machine.
        tmp_path / ".trilith-notes",
    ]
    for folder in others:
        folder.mkdir()
    lock = os.open(others[1], os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    write_text(tmp_path / "a", "whole")
    os.close(lock)
    assert contents(tmp_path) == {"a": "whole"}
    assert sorted(tmp_path.glob(".*")) == others


def test_that_a_folder_must_be_writable():
    message = "/proc: must be a writable folder: No such file or directory"
    with refuses(OutputError, message):
        write_text(Path("/proc/a"), "")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("524288 requested and 1024 written"), "524288 requested and 1024 written"),
    ],
)
def test_that_a_full_disk_is_called_so(tmp_path, error, text):
    file = tmp_path / "a"
    message = f"{file}: the disk is full ({text}); free space there, or write to another one"
    with refuses(OutputError, message), new_file(file):
        raise error
    assert not list(tmp_path.iterdir())


def test_that_a_folder_appears_when_it_is_complete(tmp_path):
    folder = tmp_path / "parent" / "new"
    with pytest.raises(_StopError), new_folder(folder) as partial:
        _write_and_stop(partial, "a")
    assert not folder.parent.exists()
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


def test_that_a_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "folder"
    for text in ("old", "new"):
        with new_folder(folder, force=True) as partial:
            (partial / text).write_text(text)
    with pytest.raises(_StopError), new_folder(folder, force=True) as partial:
        _write_and_stop(partial, "half")
    assert contents(folder) == {"new": "new"}
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{",
            "must be JSON: Expecting property name enclosed in .*; it begins with '{'",
        ),
        ("[1]", "must hold an object, not a list"),
        (r'{"a": "\ud800"}', "must be JSON: .*surrogates not allowed; it begins with .*"),
        ("[" * 100_000, "must have fewer lists or objects inside another"),
        ("[" * 2**20 + "]{", "must have at most 1048576 lists and objects, not 1048577"),
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
    with refuses(CheckpointError, f"{file}: must have at most 67108864 bytes, not 67108865"):
        read_json(file)

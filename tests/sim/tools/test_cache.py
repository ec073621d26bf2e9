import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trilith.golden.errors import OutputError
from trilith.sim.tools import cache
from trilith.sim.tools.cache import cache_folder, cache_kinds, clear_cache, keep, use_cache
from trilith.sim.tools.run import keep_output


@pytest.fixture
def build_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path))
    return tmp_path


def entries(folder):
    return sorted(path.name for path in (folder / "kind").iterdir() if path.suffix != ".lock")


def test_what_is_made_is_kept(build_folder):
    with keep("kind", "key") as (folder, making):
        (making / "file").write_text("made")
        assert not folder.exists()
    assert (folder / "file").read_text() == "made"
    with keep("kind", "key") as (same, making):
        assert same == folder
        assert making is None
    with keep("kind", "other key") as (other, making):
        assert other != folder
        assert making is not None


def test_an_interrupted_build_leaves_nothing(build_folder):
    def interrupted():
        with keep("kind", "key") as (_, making):
            (making / "half").write_text("written")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert entries(build_folder) == []
    with keep("kind", "key") as (_, making):
        assert list(making.iterdir()) == []


def test_what_a_killed_build_left_is_removed(build_folder):
    def die(folder):
        os.environ["TRILITH_BUILD"] = str(folder)
        with keep("kind", "key") as (_, making):
            (making / "half").write_text("written")
            os._exit(1)

    process = multiprocessing.get_context("fork").Process(target=die, args=[build_folder])
    process.start()
    process.join()
    assert len(entries(build_folder)) == 1
    with keep("kind", "key") as (folder, making):
        assert list(making.iterdir()) == []
    assert entries(build_folder) == [folder.name]


def make(folder, made):
    os.environ["TRILITH_BUILD"] = str(folder)
    with keep("kind", "key") as (_, making):
        made.put(making is not None)


def test_of_two_at_once_one_builds(build_folder):
    context = multiprocessing.get_context("fork")
    made = context.Queue()
    processes = [context.Process(target=make, args=[build_folder, made]) for _ in range(4)]
    for process in processes:
        process.start()
    assert sorted(made.get() for _ in processes) == [False, False, False, True]
    for process in processes:
        process.join()


@pytest.mark.parametrize(
    ("named", "caches", "place"),
    [
        ("/a/b", "/x", "/a/b"),
        (None, "/x", "/x/trilith"),
        ("", "/x", "/x/trilith"),
        # The specification of XDG: a path that is not absolute is ignored.
        (None, "x", "/home/me/.cache/trilith"),
        (None, "", "/home/me/.cache/trilith"),
        (None, None, "/home/me/.cache/trilith"),
    ],
)
def test_the_place(monkeypatch, named, caches, place):
    for name, value in (("TRILITH_BUILD", named), ("XDG_CACHE_HOME", caches)):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(
            name, value
        )
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path(place)


@pytest.mark.parametrize("named", ["/a/b", "", None])
def test_the_place_of_results(monkeypatch, tmp_path, named):
    monkeypatch.setenv("TRILITH_BUILD", named or "")
    if named is None:
        monkeypatch.delenv("TRILITH_BUILD")
    monkeypatch.chdir(tmp_path)
    assert cache.build_folder() == (Path(named) if named else tmp_path / "build")


def test_no_home(monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    for name in ("TRILITH_BUILD", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", none)
    message = (
        "the cache has no place, because there is no home directory; set TRILITH_BUILD to a folder"
    )
    with pytest.raises(OutputError, match=f"^{message}$"):
        cache_folder()


def test_a_place_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "trilith"
    monkeypatch.setenv("TRILITH_BUILD", str(folder))
    message = (
        rf"{folder}: the cache must be a folder that you can write \(Not a directory\); set "
        "TRILITH_BUILD to another folder"
    )
    with pytest.raises(OutputError, match=f"^{message}$"), keep("kind", "key"):
        pass
    assert keep_output("tool", ["tool"], "text").startswith(
        f"its output could not be kept: {folder}: the cache must be a folder that you can write"
    )


def test_a_cache_that_is_only_read(build_folder):
    with keep("kind", "key"):
        pass
    script = (
        "import os\nfrom trilith.sim.tools.cache import keep\n"
        "open_file = os.open\n"
        "def read_only(path, flags, mode=0o777):\n"
        "    if flags & os.O_RDWR: raise PermissionError(13, 'Permission denied')\n"
        "    return open_file(path, flags, mode)\n"
        "os.open = read_only\n"
        "with keep('kind', 'key') as (folder, making): print(making)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("None\n", "")


def in_another_process(function, *arguments):
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


def fill():
    """Fill a cache, where another program has files too."""
    for key, size in (("key", 1000), ("other", 500)):
        with keep("kind", key) as (_, making):
            (making / "file").write_bytes(bytes(size))
    keep_output("tool", ["tool"], "text")
    root = use_cache()
    for name in ("notes.txt", "kind/notes.txt", "fpga/ulx3s/top.bit", "failed/notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")
    if not (root / "kind" / "01234567890123456789").is_symlink():
        (root / "kind" / "01234567890123456789").symlink_to(root / "fpga")


def test_clearing_removes_only_what_the_cache_wrote(build_folder):
    in_another_process(fill)
    (kind,) = [one for one in cache_kinds() if one.kind == "kind"]
    assert (kind.entries, kind.size_bytes) == (2, 1500)
    assert 0 <= kind.newest_s <= kind.oldest_s < 60
    removed = clear_cache()
    assert [(one.kind, one.entries) for one in removed] == [("failed", 1), ("kind", 2)]
    assert cache_kinds() == []
    files = {str(path.relative_to(build_folder)) for path in build_folder.rglob("*")}
    assert files == {
        *("trilith-cache", "notes.txt", "kind", "kind/notes.txt", "kind/01234567890123456789"),
        *("fpga", "fpga/ulx3s", "fpga/ulx3s/top.bit", "failed", "failed/notes.txt"),
    }
    in_another_process(fill)
    assert [one.entries for one in cache_kinds()] == [1, 2]


def test_a_folder_that_is_no_cache_is_not_cleared(build_folder):
    entry = build_folder / "kind" / "0123456789abcdef0123"
    entry.mkdir(parents=True)
    message = (
        f"{build_folder}: is not a cache of trilith, because it has no file trilith-cache; "
        "nothing was removed"
    )
    with pytest.raises(OutputError, match=f"^{message}$"):
        clear_cache()
    assert entry.is_dir()


def test_a_cache_in_use_is_not_cleared(build_folder):
    script = (
        "from trilith.sim.tools.cache import keep\n"
        "with keep('kind', 'key'): pass\n"
        "print('used', flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout.readline() == "used\n"
        message = (
            f"{build_folder}: another process of trilith uses the cache; clear it after that has "
            "ended"
        )
        with pytest.raises(OutputError, match=f"^{message}$"):
            clear_cache()
        assert [one.entries for one in cache_kinds()] == [1]
        user.communicate("\n")
    assert [one.entries for one in clear_cache()] == [1]

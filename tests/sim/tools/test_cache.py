import multiprocessing
import os

import pytest

from trilith.sim.tools.cache import keep


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

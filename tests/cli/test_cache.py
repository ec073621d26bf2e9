import json
import subprocess
import sys

import pytest


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home directory with a space in its name, and no other place for the cache."""
    monkeypatch.delenv("TRILITH_BUILD", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    (tmp_path / "my home").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my home"


def test_the_entries_of_another_process(trilith, home):
    folder = home / ".cache" / "trilith"
    assert trilith("cache").stdout == f"folder  {folder}\nholds   0 entries, 0.0 MB\n"
    assert not folder.exists()
    script = (
        "from trilith.sim.tools.cache import keep\n"
        "with keep('netlist', 'key') as (_, making): (making / 'a').write_bytes(bytes(1_500_000))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert trilith("cache").stdout.splitlines() == [
        f"folder  {folder}",
        "holds   1 entry, 1.5 MB",
        "kind          entries        MB  oldest, days  newest, days",
        "netlist             1       1.5           0.0           0.0",
    ]
    (kind,) = json.loads(trilith("cache", "--json").stdout)["kinds"]
    assert (kind["kind"], kind["entries"], kind["size_bytes"]) == ("netlist", 1, 1_500_000)
    done = trilith("cache", "--clear")
    assert done.stdout.splitlines()[1] == "removed  1 entry, 1.5 MB"
    assert [path.name for path in folder.iterdir()] == ["trilith-cache"]
    cleared = json.loads(trilith("cache", "--clear", "--json").stdout)
    assert cleared == {"folder": str(folder), "cleared": True, "size_bytes": 0, "kinds": []}


@pytest.mark.long
def test_all_folders_share_a_cache(command, trilith, home):
    folder = home / ".cache" / "trilith"
    out = home / "line.v"
    done = command("verilog", "--preset", "micro", "--testbench", "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert out.exists()
    done = command("sim", "--part", "digits")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in home.parent.iterdir()] == ["my home"]
    lines = trilith("cache").stdout.splitlines()
    assert lines[0] == f"folder  {folder}"
    assert "verilator" in [line.split()[0] for line in lines[2:]]
    found = json.loads(trilith("cache", "--json").stdout)
    assert (found["folder"], found["cleared"]) == (str(folder), False)
    assert found["size_bytes"] == sum(kind["size_bytes"] for kind in found["kinds"]) > 100_000


def test_a_folder_that_is_no_cache(trilith, refused, tmp_path, monkeypatch):
    monkeypatch.setenv("TRILITH_BUILD", str(tmp_path))
    refused(trilith("cache", "--clear"), f"{tmp_path}: is not a cache of trilith, because it has")


def test_a_home_that_cannot_be_written(command, refused, home):
    home.rmdir()
    home.touch()
    done = command("sim", "--part", "digits")
    refused(done, f"{home}/.cache/trilith: the cache must be a folder that you can write (Not a ")

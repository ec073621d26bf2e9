"""Signals, broken pipes, full disks: one line, nothing left behind, and the next run is right."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

SMALL = ("--lanes", "5", "--rows", "1", "--k-max", "9", "--n-max", "3")
#: 450 points, which processes share.
GRID = ("--rows", "1,2,4,8,16,32", "--tokens", "1,2,3,4,5", "--clock-mhz", "100,200,300")
GRID += ("--context", "1,2,3,4,5")

#: Quick commands that write, with ``{}`` for the name of what they write.
COMMANDS = {
    "tq1_0": "model convert source {}.gguf --to tq1_0",
    "i2_s": "model convert source {}.gguf --to i2_s",
    "huggingface": "model convert source {} --to huggingface",
    "stream": "model convert source {} --to stream",
    "sweep": f"sweep {' '.join(GRID)} --out {{}}",
    "verilog": f"verilog {' '.join(SMALL)} --testbench --out {{}}.v",
    "axi": f"verilog {' '.join(SMALL)} --wrapper axi --out {{}}.v",
}
#: Commands that take longer, and write into the build folder too.
SLOW = {
    "figures": "report figures --out {}",
    "build": "generate --backend rtl --preset micro --max-tokens 1",
}
LINES = {
    signal.SIGINT: "trilith: interrupted\n",
    signal.SIGTERM: "trilith: stopped by SIGTERM\n",
    signal.SIGHUP: "trilith: stopped by SIGHUP\n",
    signal.SIGKILL: "",
}


@dataclass
class End:
    status: int
    stderr: str
    #: Processes of the command that were alive after it.
    left: list[int]


def session(leader: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[3]) == leader and words[0] not in "ZX":
            found.append(int(entry))
    return found


class Workplace:
    """A folder in which commands run, with their own temporary folder and build folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("work", "tmp", "build"):
            (folder / name).mkdir()

    def run(self, command: str, number: int = 0, seconds: float = 0.0, group: bool = False) -> End:
        """Run a command, and send it a signal after some seconds, unless it has ended."""
        with (self.folder / "err").open("w+") as err:
            process = subprocess.Popen(
                [Path(sys.executable).parent / "trilith", *command.split()],
                cwd=self.folder / "work",
                env=os.environ
                | {
                    "TMPDIR": str(self.folder / "tmp"),
                    "TRILITH_BUILD": str(self.folder / "build"),
                },
                stdout=subprocess.DEVNULL,
                stderr=err,
                start_new_session=True,
                # A shell's background job ignores SIGINT, and so do its children.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            try:
                process.wait(seconds if number else None)
            except subprocess.TimeoutExpired:
                (os.killpg if group else os.kill)(process.pid, number)
                process.wait()
            left = session(process.pid)
            if left and number == signal.SIGKILL:
                # Workers notice the end of their parent; other programs may go on for a while.
                os.killpg(process.pid, signal.SIGKILL)
            err.seek(0)
            return End(process.returncode, err.read(), left)

    def files(self, under: str, name: str = "") -> dict[str, bytes]:
        """Contents of the files in a folder by path, of those whose name begins so."""
        top = self.folder / under
        return {
            str(file.relative_to(top)): file.read_bytes()
            for file in sorted(top.rglob("*"))
            if file.is_file() and file.relative_to(top).parts[0].startswith(name)
        }

    def hidden(self, under: str) -> list[str]:
        """Folders that should not be there."""
        return [str(file) for file in (self.folder / under).rglob(".trilith-*")]

    def forget(self) -> None:
        """Empty the build folder."""
        for path in (self.folder / "build").iterdir():
            shutil.rmtree(path)

    def remove(self, name: str) -> None:
        for path in (self.folder / "work").glob(f"{name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def place(tmp_path, tiny, monkeypatch):
    made = Workplace(tmp_path)
    tiny("work/source")
    return made


def check_end(place: Workplace, name: str, end: End, number: int, whole: dict[str, bytes]) -> str:
    """Check what a killed command leaves; say at what stage it was."""
    found = place.files("work", name)
    partial = {f"{name}.partial"}
    if number != signal.SIGKILL:
        assert end.left == []
        assert place.hidden("work") == place.hidden("build") == []
        assert list((place.folder / "tmp").iterdir()) == []
        assert set(found) <= partial or found == whole, (set(found), set(whole))
    else:
        # The next run removes temporary folders, which may lie in a folder that is written to.
        found = {file: data for file, data in found.items() if "/.trilith-" not in f"/{file}"}
    for file in set(found) - partial:
        assert found[file] == whole[file]
    if end.status == 0:
        assert (end.stderr, found) == ("", whole)
        return "ended before"
    early = end.status == -number or "KeyboardInterrupt" in end.stderr
    if number != signal.SIGKILL and early:
        # Python itself was starting, and had not come to the first line of a function of ours.
        assert not re.search("/cli/.*, in (?!<module>)", end.stderr)
        return "starting"
    expected = -number if number == signal.SIGKILL else 128 + number
    assert (end.status, end.stderr) == (expected, LINES[signal.Signals(number)])
    return "stopped"


def soak(place: Workplace, commands: dict[str, str], kills: int, seed: int) -> Counter:
    """Kill commands at random times, run each again, and compare; count the stages."""
    chance = random.Random(seed)
    wholes, warnings, seconds = {}, {}, {}
    for kind, command in commands.items():
        begin = time.monotonic()
        run = place.run(command.format("again"))
        assert run.status == 0
        warnings[kind] = run.stderr
        seconds[kind] = time.monotonic() - begin
        wholes[kind] = place.files("work", "again")
        place.remove("again")
    stages: Counter = Counter()
    kinds = [*commands] * -(-kills // len(commands))
    for kind in kinds[:kills]:
        whole = wholes[kind]
        if kind == "build":
            place.forget()
        number = chance.choice([signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
        command = commands[kind].format("again")
        end = place.run(command, number, chance.uniform(0, seconds[kind]), number == signal.SIGINT)
        end = replace(end, stderr=end.stderr.removeprefix(warnings[kind]))
        stage = check_end(place, "again", end, number, whole)
        stages[kind, number.name, stage] += 1
        print(f"{stages.total():4} {kind:12} {number.name:8} {stage}", flush=True)
        if not whole or place.files("work", "again") != whole:
            force = "" if kind in ("build", "huggingface", "stream") else " --force"
            again = place.run(command + force)
            done = (again.status, again.stderr, again.left)
            assert done == (0, warnings[kind], []), (kind, number)
            assert place.hidden("tmp") == []
        assert place.files("work", "again") == whole, (kind, number)
        assert place.hidden("work") == []
        place.remove("again")
    return stages


def test_a_few_kills(place):
    commands = {kind: COMMANDS[kind] for kind in ("tq1_0", "sweep")}
    assert soak(place, commands, kills=3, seed=1).total() == 3


@pytest.mark.long
def test_many_kills(place):
    stages = soak(place, COMMANDS, kills=189, seed=2)
    stages += soak(place, {"figures": SLOW["figures"]}, kills=6, seed=3)
    stages += soak(place, {"build": SLOW["build"]}, kills=5, seed=4)
    assert stages.total() == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_one_line_and_a_status(place, number):
    code = (
        "import os, signal, sys, time; from trilith.cli import main\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "def stop(*_):\n"
        f"    os.kill(os.getpid(), {number:d})\n"
        "    time.sleep(60)\n"
        "main._run = stop; main.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", LINES[number])


def test_children_end_too(tmp_path):
    # One child ignores SIGTERM, and has a child itself.
    code = (
        "import os, signal, subprocess, sys, time; from trilith.cli import main\n"
        "from trilith.golden.scratch import scratch_folder\n"
        "def stop(*_):\n"
        "    with scratch_folder() as scratch:\n"
        "        subprocess.Popen(['sh', '-c', 'trap \"\" TERM; sleep 60 & sleep 60'])\n"
        "        print(os.getpid(), flush=True)\n"
        "        time.sleep(0.2)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(60)\n"
        "main._run = stop; main.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        start_new_session=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (143, LINES[signal.SIGTERM])
    assert list(tmp_path.iterdir()) == []
    assert session(int(done.stdout)) == []


def test_a_worker_ends_with_its_parent():
    code = (
        "import os, signal; from trilith.sim.tools.pool import process_pool\n"
        "pool = process_pool(1); print(pool.submit(os.getpid).result(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    for _ in range(500):
        status = Path("/proc", done.stdout.strip(), "stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)
    pytest.fail("the worker goes on")


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        check=False,
    )


@pytest.mark.parametrize("verb", ["--help", "estimate --json"])
def test_a_reader_may_end(verb):
    done = shell(f"trilith {verb} | true")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unbuffered", ["", "PYTHONUNBUFFERED=1 "])
def test_a_full_disk_behind_standard_output(unbuffered):
    done = shell(f"{unbuffered}trilith estimate > /dev/full")
    line = "trilith: standard output: the disk is full (No space left on device)\n"
    assert (done.returncode, done.stderr) == (2, line)


def test_closed_streams():
    done = shell("trilith estimate <&- >&- && trilith nosuch <&- >&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")
    assert re.match("trilith: No such command", shell("trilith nosuch >&-").stderr)

"""Process that imports the large packages once, and forks a child for each run of tests.

``tests/mutation/bench.py`` starts it in a copy of the checkout. A request is one line of JSON on
standard input:

- ``tests``: names of tests by file, in the order in which they run; an empty list means all
- ``seconds``: limit of the processor's time
- ``measure``: whether the lines that each test executes are recorded

The answer is one line of JSON, which the file descriptor of the first argument takes:

- ``status``: ``passed``, ``failed``, ``timeout``, ``none`` (no test ran), or ``broken`` (the child
  ended in another way)
- ``failed``: names of the tests that failed
- ``seconds``: time of each test
- ``lines``: the tests that execute each line, by file, as masks
"""

import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import coverage
import pytest

#: Packages that tests import, and that no mutant changes.
PACKAGES = (
    "amaranth.back.rtlil",
    "amaranth.lib.fifo",
    "amaranth.lib.memory",
    "amaranth.lib.stream",
    "amaranth.sim",
    "cocotb_tools.runner",
    "gguf",
    "jinja2",
    "ml_dtypes",
    "numpy",
    "numpy.testing",
    "rich.progress",
    "rich.table",
    "safetensors.numpy",
    "tokenizers",
    "typer",
)
#: A process may wait for others: a run takes at most this many times its processor time.
_WAIT = 10.0
#: Seconds in which a process must end after its answer.
_LAST_WORDS = 5.0
#: Bytes of memory that a run may take.
MEMORY = 6 * 2**30
ROOMS = ("golden", "hw", "sim")


class Selection:
    """Plugin of pytest: runs given tests in their order, and records times, failures and lines."""

    def __init__(self, tests: dict[str, list[str]], measured: coverage.Coverage | None) -> None:
        self.order = {name: i for i, name in enumerate(chain(*tests.values()))}
        self.whole = {file for file, names in tests.items() if not names}
        self.measured = measured
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the selected tests, and sort them."""
        last = len(self.order)
        items[:] = sorted(
            (x for x in items if x.nodeid in self.order or x.nodeid.split("::")[0] in self.whole),
            key=lambda item: self.order.get(item.nodeid, last),
        )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        """Record the lines of a test, with those of the fixtures that it is the first to use."""
        if self.measured:
            self.measured.switch_context(item.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the time and the result of one part of a test."""
        if not report.skipped:
            self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a file that cannot be imported as a test that fails."""
        if report.failed:
            self.failed.append(report.nodeid)


def _lines(measured: coverage.Coverage, tests: list[str]) -> dict[str, dict[str, str]]:
    """Tests that execute each line, as a hexadecimal mask: bit i is test i; imports have none."""
    data, found = measured.get_data(), {}
    bits = {name: 1 << i for i, name in enumerate(tests)}
    for file in sorted(data.measured_files()):
        contexts = data.contexts_by_lineno(file)
        found[os.path.relpath(file)] = {
            str(line): f"{sum(bits.get(name, 0) for name in names):x}"
            for line, names in contexts.items()
        }
    return found


def run_tests(request: dict[str, Any]) -> dict[str, Any]:
    """Run the tests of a request in this process."""
    measured = None
    if request["measure"]:
        sources = [str(Path(room).absolute()) for room in ROOMS]
        measured = coverage.Coverage(data_file=None, source=sources, config_file=False)
        measured.start()
    selection = Selection(request["tests"], measured)
    options = ["-q", "-p", "no:cacheprovider", "--basetemp=scratch"]
    # Parameters of tests that are left out hold components that nobody elaborates, and Amaranth
    # warns of them after the last test.
    options += ["-p", "no:unraisableexception"]
    options += [] if measured else ["-x"]
    options += ["--long"] if request.get("long") else []
    status = pytest.main([*options, *request["tests"]], plugins=[selection])
    answer: dict[str, Any] = {"seconds": selection.seconds, "failed": selection.failed}
    if measured:
        measured.stop()
        answer["lines"] = _lines(measured, list(selection.seconds))
    kinds = {0: "passed", 1: "failed", 2: "failed", 5: "none"}
    answer["status"] = "failed" if selection.failed else kinds.get(int(status), "broken")
    return answer


def _end(child: int) -> None:
    """End a child, and the programs that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request from a child of this process."""
    begin = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        limit = int(request["seconds"]) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        with open("output.log", "w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        with os.fdopen(writing, "w") as pipe:
            json.dump(run_tests(request), pipe)
        os._exit(0)
    os.close(writing)
    with suppress(PermissionError, ProcessLookupError):
        os.setpgid(child, child)
    parts, status, ended = [], "broken", None
    process = os.pidfd_open(child)
    try:
        while True:
            left = max(0.0, begin + _WAIT * request["seconds"] - time.monotonic())
            # Standard input ends when the process that waits for the answer ends or is interrupted.
            if reading not in select.select([reading, sys.stdin], [], [], left)[0]:
                status = "timeout"
                break
            if not (part := os.read(reading, 1 << 20)):
                break
            parts.append(part)
        # The answer ends before the process does: how it ends by itself tells a crash from a limit.
        select.select([process], [], [], _LAST_WORDS if status != "timeout" else 0)
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    finally:
        _end(child)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(process)
    if ended is not None and ended.si_status == signal.SIGXCPU and ended.si_code != os.CLD_EXITED:
        status = "timeout"
    answer = {"status": status, "failed": [], "seconds": {}}
    if status != "timeout":
        with suppress(ValueError):
            answer = json.loads(b"".join(parts))
    return answer


def main() -> None:
    """Serve requests until standard input ends."""
    for package in PACKAGES:
        importlib.import_module(package)
    gc.freeze()
    # Nobody reads the answer to a request that was interrupted.
    with suppress(BrokenPipeError), os.fdopen(int(sys.argv[1]), "w") as answers:
        for line in sys.stdin:
            print(json.dumps(serve(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()

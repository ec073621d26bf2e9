"""Copy of the checkout in which tests run against changed sources."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Python imports this module at each start, so that programs that a test starts find the copy too.
_REDIRECT = '''"""Lets the packages of an editable installation be found in this copy."""

import sys

for name, module in list(sys.modules.items()):
    if name.startswith("__editable___trilith"):
        old, new = module.MAPPING["trilith.golden"].removesuffix("/golden"), {copy!r}
        for key, value in module.MAPPING.items():
            module.MAPPING[key] = new + value.removeprefix(old)
        for paths in module.NAMESPACES.values():
            paths[:] = [new + path.removeprefix(old) for path in paths]
'''


def _snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file in a folder, by path."""
    found = {}
    for parent, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(parent, name)
            with suppress(FileNotFoundError):
                status = os.lstat(path)
                found[path] = (status.st_size, status.st_mtime_ns)
    return found


class Bench:
    """Copy of a checkout, with a build folder of its own and a server that runs its tests.

    Parameters
    ----------
    source : the checkout: files that git knows, or does not ignore, are copied
    folder : the copy; what is there is replaced, except the build folder
    """

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self.folder = source.absolute(), folder.absolute()
        self.build = self.folder / "build"
        self._server: subprocess.Popen[str] | None = None
        self._copy()

    def _copy(self) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=self.source,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.split("\0")
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.iterdir():
            if old.name != "build":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        for name in filter(None, listed):
            if (self.source / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.source / name, self.folder / name)
        # pytest finds its settings here, and links to the repository's own files are there too.
        redirect = _REDIRECT.format(copy=str(self.folder))
        (self.folder / "redirect").mkdir()
        (self.folder / "redirect" / "sitecustomize.py").write_text(redirect)

    def _variables(self) -> dict[str, str]:
        """Environment of programs that find the packages of the copy."""
        paths = [self.folder / "redirect", Path(__file__).parents[1]]
        return os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "TRILITH_BUILD": str(self.build),
            "OPENBLAS_NUM_THREADS": "1",
        }

    def _start(self) -> subprocess.Popen[str]:
        reading, writing = os.pipe()
        server = subprocess.Popen(
            [sys.executable, "-m", "mutation.server", str(writing)],
            cwd=self.folder,
            env=self._variables(),
            stdin=subprocess.PIPE,
            pass_fds=(writing,),
            # Ctrl-C reaches this process alone, which then stops the server.
            process_group=0,
            text=True,
        )
        os.close(writing)
        self._answers = os.fdopen(reading)
        return server

    def run(
        self,
        tests: Mapping[str, Sequence[str]],
        seconds: float,
        *,
        measure: bool = False,
        long: bool = False,
    ) -> dict[str, Any]:
        """Run tests in the copy, until the first fails; see ``mutation.server`` for the answer.

        Raises
        ------
        RuntimeError
            If the server ends without an answer.
        """
        if self._server is None or self._server.poll() is not None:
            self._server = self._start()
        assert self._server.stdin is not None
        request = {"tests": dict(tests), "seconds": seconds, "measure": measure, "long": long}
        try:
            with suppress(BrokenPipeError):
                self._server.stdin.write(json.dumps(request) + "\n")
                self._server.stdin.flush()
            answer = self._answers.readline()
        except BaseException:
            # The tests of an interrupted run must not go on while the copy is restored.
            self.close()
            raise
        if not answer:
            self.close()
            raise RuntimeError(
                f"the server of tests ended with status {self._server.returncode}; start again"
            )
        return json.loads(answer)

    def run_changed(
        self, file: str, text: str, tests: Mapping[str, Sequence[str]], seconds: float
    ) -> dict[str, Any]:
        """Run tests while a file of the copy has another text; then restore the copy."""
        path = self.folder / file
        original = path.read_text()
        before = _snapshot(self.build)
        try:
            self._write(path, text)
            return self.run(tests, seconds)
        finally:
            self._write(path, original)
            # Builds of changed hardware have keys of their own. Everything else goes, because a
            # changed cache may have written it.
            if not file.startswith("hw/"):
                for name, found in _snapshot(self.build).items():
                    if before.get(name) != found:
                        self._forget(Path(name))

    def netlists(self, file: str, text: str | None = None) -> str:
        """Fingerprint of the netlists that contain a file's hardware; empty if there are none.

        Parameters
        ----------
        file : a source file of ``hw``
        text : what the file holds; None for what it has in the checkout
        """
        path = self.folder / file
        original = path.read_text()
        try:
            self._write(path, original if text is None else text)
            return subprocess.run(
                [sys.executable, "-m", "mutation.netlists", file],
                cwd=self.folder,
                env=self._variables(),
                capture_output=True,
                text=True,
                check=False,
            ).stdout.strip()
        finally:
            self._write(path, original)

    def _write(self, path: Path, text: str) -> None:
        """Write a source file; its compiled form could have the same time and size."""
        for old in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            old.unlink()
        path.write_text(text)

    def _forget(self, file: Path) -> None:
        """Remove the entry of the build folder that a file belongs to."""
        parts = file.relative_to(self.build).parts
        entry = self.build.joinpath(*parts[:2])
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop the server, and the tests that run."""
        if self._server is not None and self._server.stdin is not None:
            with suppress(BrokenPipeError):
                self._server.stdin.close()
            # A server that writes an answer would wait for its reader for ever.
            self._answers.close()
            self._server.wait()

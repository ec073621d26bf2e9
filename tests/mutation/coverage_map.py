"""Which tests execute which lines, measured once for each file of tests."""

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from .bench import Bench
from .operators import Mutant

#: A test that measures time or memory would fail by chance beside other processes.
_CLOCKS = ("process_time", "perf_counter", "monotonic", "tracemalloc", "time.time")
#: Tests faster than this many seconds run before all others.
_QUICK = 0.3
#: Seconds of tests that run first.
_FIRST = 10.0


def digest(text: str) -> str:
    """Short hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def scopes_of(source: str) -> dict[str, tuple[int, int]]:
    """First and last line of each function and class of a source text, by its dotted name."""
    found: dict[str, tuple[int, int]] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}.{child.name}" if prefix else child.name
                found[name] = (child.lineno, child.end_lineno or child.lineno)
                visit(child, name)
            else:
                visit(child, prefix)

    visit(ast.parse(source), "")
    return found


def _timed(text: str) -> set[str]:
    """Names of the functions of a file of tests that look at a clock, or at memory."""
    return {
        node.name
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and any(x in ast.unparse(node) for x in _CLOCKS)
    }


class Measured:
    """Tests of one file, the time of each, and the lines that each executes.

    Parameters
    ----------
    file : the file of tests
    found : what was stored
    """

    def __init__(self, file: str, found: dict[str, Any]) -> None:
        self.file, self.found = file, found
        self.names = list(found["seconds"])
        wrong, timed = set(found["failed"]), set(found["timed"])
        self.useful = [
            name not in wrong and name.split("::")[-1].split("[")[0] not in timed
            for name in self.names
        ]

    @cached_property
    def total(self) -> float:
        """Seconds of all tests."""
        return sum(self.found["seconds"].values())

    def seconds(self, names: Iterable[str]) -> float:
        """Seconds of some tests."""
        return sum(self.found["seconds"][name] for name in names)

    def covering(self, mutant: Mutant, source: str) -> list[str]:
        """Tests that execute a mutant's lines, or its function where the file has changed since.

        A line outside of all functions runs when the file is imported: any test may see what it
        made, if one of its file executes something in the mutant's file.
        """
        known = self.found["sources"].get(mutant.file)
        if known is None:
            return []
        masks = {int(line): int(mask, 16) for line, mask in known["lines"].items()}
        union = 0
        if known["digest"] == digest(source):
            first, last = mutant.lines
            found = [masks[line] for line in range(first, last + 1) if line in masks]
            for mask in found:
                union |= mask
        else:
            found = [int(known["scopes"].get(mutant.scope, "0"), 16)]
            union = found[0]
        if not union and (found and not any(found)):
            union = -1
        return [name for i, name in enumerate(self.names) if union >> i & 1 and self.useful[i]]


class CoverageMap:
    """All measured files of tests.

    Parameters
    ----------
    source : the checkout
    folder : where the measurements are stored
    rooms : folders of ``tests`` that are measured
    """

    def __init__(self, source: Path, folder: Path, rooms: Iterable[str]) -> None:
        self.source, self.folder = source, folder
        self.files = sorted(
            str(file.relative_to(source))
            for room in rooms
            for file in (source / "tests" / room).rglob("test_*.py")
        )
        self.measured: dict[str, Measured] = {}

    def _store(self, file: str) -> Path:
        text = (self.source / file).read_text()
        return self.folder / f"{file.replace('/', '__')}.{digest(text)}.json"

    def load(self) -> list[str]:
        """Load what is stored; return the files of tests that are not."""
        missing = []
        for file in self.files:
            store = self._store(file)
            if store.exists():
                self.measured[file] = Measured(file, json.loads(store.read_text()))
            else:
                missing.append(file)
        return missing

    def measure(self, file: str, bench: Bench) -> Measured:
        """Run all tests of a file once and store which lines each executes."""
        answer = bench.run({file: []}, 1800, measure=True)
        return self.keep(file, answer)

    def keep(self, file: str, answer: dict[str, Any]) -> Measured:
        """Store an answer of the server."""
        sources = {}
        for name, lines in answer.get("lines", {}).items():
            path = self.source / name
            if not name.endswith(".py") or not any(int(mask, 16) for mask in lines.values()):
                continue
            text = path.read_text()
            scopes = {}
            for scope, (first, last) in scopes_of(text).items():
                mask = 0
                for line in range(first + 1, last + 1):
                    mask |= int(lines.get(str(line), "0"), 16)
                if mask:
                    scopes[scope] = f"{mask:x}"
            sources[name] = {"digest": digest(text), "lines": lines, "scopes": scopes}
        found = {
            "seconds": answer["seconds"],
            "failed": answer["failed"],
            "timed": sorted(_timed((self.source / file).read_text())),
            "sources": sources,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        store = self._store(file)
        partial = store.with_suffix(".part")
        partial.write_text(json.dumps(found))
        partial.replace(store)
        self.measured[file] = Measured(file, found)
        return self.measured[file]

    def stages(self, mutant: Mutant, source: str, readers: set[str]) -> list[dict[str, list[str]]]:
        """Tests for a mutant, the nearest first, in stages that run one after the other.

        Parameters
        ----------
        mutant : the mutant
        source : the text of its file without the change
        readers : source files that read its file, if it is a data file: tests that execute
            anything in them count
        """
        covering: dict[str, list[str]] = {}
        for file, one in self.measured.items():
            names = one.covering(mutant, source)
            for reader in readers:
                if reader in one.found["sources"]:
                    names = [n for i, n in enumerate(one.names) if one.useful[i]]
            if names:
                seconds = one.found["seconds"]
                covering[file] = sorted(names, key=lambda name, s=seconds: s[name])
        near = self.near(mutant.file)
        order = sorted(
            covering,
            key=lambda file: (
                near.index(file) if file in near[:1] else 1,
                self.measured[file].seconds(covering[file]),
            ),
        )
        quick = self._quickest(covering)
        left = {f: [x for x in covering[f] if x not in quick.get(f, [])] for f in order}
        groups = [[f for f in group if left[f]] for group in (order[:2], order[2:10], order[10:])]
        stages = [quick] if quick else []
        stages += [self._stage(group, left) for group in groups if group]
        # Others beside it, or beside a test that executes the line: a process of their own may
        # execute it, or they look at what a fixture, a cache or an import has made.
        others = {
            file: [name for name in self._all(file) if name not in covering.get(file, [])]
            for file in (*near, *(file for file in order if file not in near))
        }
        known = [file for file in others if others[file]]
        unmeasured = [{file: []} for file in near if file not in self.measured]
        return stages + ([self._stage(known, others)] if known else []) + unmeasured

    def _quickest(self, covering: dict[str, list[str]]) -> dict[str, list[str]]:
        """The quickest of some tests: most mutants end here, also those that never end."""
        seconds = {
            (file, name): self.measured[file].found["seconds"][name]
            for file, names in covering.items()
            for name in names
        }
        chosen: dict[str, list[str]] = {}
        total = 0.0
        for file, name in sorted(seconds, key=seconds.__getitem__):
            total += seconds[file, name]
            if total > _FIRST:
                break
            chosen.setdefault(file, []).append(name)
        return chosen

    def names(self, file: str) -> list[str]:
        """Names of the measured tests of a file."""
        return self.measured[file].names if file in self.measured else []

    def _all(self, file: str) -> list[str]:
        """Names of all tests of a file that can tell; none if the file is not measured."""
        one = self.measured.get(file)
        if one is None:
            return []
        return [name for i, name in enumerate(one.names) if one.useful[i]]

    def _stage(self, files: list[str], covering: dict[str, list[str]]) -> dict[str, list[str]]:
        """Quick tests of each file first, then the slow ones."""
        seconds = {
            name: self.measured[f].found["seconds"][name] for f in files for name in covering[f]
        }
        quick = {f: [name for name in covering[f] if seconds[name] < _QUICK] for f in files}
        slow = {f: [name for name in covering[f] if seconds[name] >= _QUICK] for f in files}
        return {f: quick[f] + slow[f] for f in files}

    def near(self, file: str) -> list[str]:
        """Files of tests beside a source file: that of its name first, then those of its folder.

        A folder without tests is tested from the folder around it.
        """
        path = Path(file)
        folder = Path(f"tests/{path.parent}".removesuffix("/data"))
        first = [f"{folder}/test_{path.stem}.py", f"{folder}s/test_{path.stem}.py"]
        others: list[str] = []
        while not others and folder.name:
            others = [one for one in self.files if Path(one).parent == folder]
            if not others:
                first.append(f"{folder.parent}/test_{folder.name}.py")
            folder = folder.parent
        return [one for one in first if one in self.files] + [x for x in others if x not in first]

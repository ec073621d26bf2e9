"""Campaigns: mutated files through a reader, compared with a naive reader of the same bytes."""

import time
import tracemalloc
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Self

import numpy as np

from trilith.golden.errors import CheckpointWarning, TrilithError

from .mutation import mutate, other_bytes, paths, remember

#: One case in this number is measured by tracemalloc, which makes a reader four times slower, and
#: one by the memory of the process, which has that of libraries in C++ and Rust too.
_MEASURED = 16
#: Bytes that a reader may take beside twice the file: Python's objects, tables, messages, and the
#: unpacked matrices that are compared.
CONSTANT = 4 * 2**20
#: Seconds of processor time: other load on the machine does not count.
_LONGEST = 5.0
_MOST_FAILURES = 25


class Traced:
    """The largest memory of Python's objects in a block, in bytes."""

    def __enter__(self) -> Self:
        tracemalloc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


class Resident:
    """The largest growth of the process in a block, in bytes; 0 where the system does not tell."""

    def __enter__(self) -> Self:
        with suppress(OSError):
            # Linux: the peak is set to what is used now.
            Path("/proc/self/clear_refs").write_text("5")
        self._before = self._status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.peak = self._status("VmHWM") - self._before

    @staticmethod
    def _status(key: str) -> int:
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
        except OSError:
            return 0
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


class _Unmeasured(nullcontext):
    peak = 0


#: Which remainders of a seed are measured, and how.
_METERS = {1: Traced, 9: Resident}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A reader and what is needed to fuzz it.

    Parameters
    ----------
    tree : a valid file
    dump : the files of a tree, by name; it takes any tree
    read : the product's reader of a folder with these files; what it returns is compared
    naive : an obviously right reader of the same folder; any exception means "no such file". None
        where there is none, and only the way in which the reader ends is judged
    share : cases of a million
    raw : some files have changed bytes, too
    """

    name: str
    tree: Any
    dump: Callable[[Any], dict[str, bytes]]
    read: Callable[[Path], Any]
    naive: Callable[[Path], Any] | None
    share: int
    raw: bool = True

    def __post_init__(self) -> None:
        remember(self.tree)

    @cached_property
    def places(self) -> list[tuple[int, ...]]:
        """All places of the tree."""
        return list(paths(self.tree))


@dataclass(frozen=True)
class Near:
    """Expected floats whose last bits depend on the order of sums; None equals everything."""

    values: np.ndarray | None

    def equals(self, found: Any) -> bool:
        """Compare with what a reader found."""
        if self.values is None:
            return True
        same = (found.dtype, found.shape) == (self.values.dtype, self.values.shape)
        most = np.abs(self.values).max(initial=0)
        return same and np.allclose(found, self.values, rtol=0, atol=1e-5 * most)


@dataclass
class Outcome:
    """Outcome of a campaign: files read and refused, failures in words, CPU seconds."""

    read: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def files_of(target: Target, seed: int) -> tuple[dict[str, bytes], list[str]]:
    """Make the files of a seed, and the list of changes; seed 0 is the valid file."""
    if not seed:
        return target.dump(target.tree), []
    rng = Random(f"{target.name} {seed}")
    tree, changes = target.tree, []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        tree, change = mutate(tree, target.places, rng)
        changes.append(change)
    files = target.dump(tree)
    if target.raw and files and rng.random() < 0.12:
        name = rng.choice(list(files))
        head = files[name][:2048] if rng.random() < 0.7 else files[name]
        files[name] = other_bytes(head, rng) + files[name][len(head) :]
        changes.append(f"bytes of {name}")
    return files, changes


def run(target: Target, folder: Path, cases: int, first: int = 0) -> Outcome:
    """Run the seeds from ``first``; nothing but a TrilithError or the right result is accepted."""
    outcome, begin = Outcome(), time.process_time()
    written: dict[str, bytes] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Random weights do not show the layout of I2_S.
        warnings.simplefilter("ignore", CheckpointWarning)
        for seed in range(first, first + cases):
            files, changes = files_of(target, seed)
            for name, data in files.items():
                if written.get(name) != data:
                    (folder / name).write_bytes(data)
            for name in written.keys() - files.keys():
                (folder / name).unlink()
            written = files
            if failure := _case(target, folder, outcome, seed, sum(map(len, files.values()))):
                outcome.failures.append(f"{target.name} seed {seed}: {failure}; {changes}")
                if len(outcome.failures) == _MOST_FAILURES:
                    break
    outcome.seconds = time.process_time() - begin
    return outcome


def _case(target: Target, folder: Path, outcome: Outcome, seed: int, size: int) -> str | None:
    """Read one file; return what is wrong with the outcome."""
    meter = _METERS.get(seed % _MEASURED, _Unmeasured)()
    begin = time.process_time()
    try:
        with meter:
            found = target.read(folder)
    except TrilithError as error:
        outcome.refused += 1
        found, message = None, str(error)
        if not message.isprintable() or not message.strip():
            return f"a message of other than one line: {message!r:.200}"
    except BaseException as error:  # A panic of Rust is no Exception.
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {error!s:.200}"
    if (peak := meter.peak) > 2 * size + CONSTANT:
        return f"{peak} bytes of memory for {size} of the file"
    if (seconds := time.process_time() - begin) > _LONGEST:
        return f"{seconds:.2f} s"
    if found is None:
        return None
    outcome.read += 1
    if target.naive is None:
        return None
    try:
        expected = target.naive(folder)
    except Exception as error:
        return f"read, though it cannot be: {type(error).__name__}: {error!s:.200}"
    return difference(found, expected)


def difference(found: Any, expected: Any, path: str = "") -> str | None:
    """Say where two results differ; numbers must have one type, and NaN equals NaN."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if found.keys() != expected.keys():
            return f"{path}: keys differ: {sorted(map(str, found.keys() ^ expected.keys()))[:6]}"
        pairs = ((f"{path}.{key}", found[key], expected[key]) for key in expected)
        return next((text for key, a, b in pairs if (text := difference(a, b, key))), None)
    if isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        if len(found) != len(expected):
            return f"{path}: {len(found)} entries, not {len(expected)}"
        each = enumerate(zip(found, expected, strict=True))
        return next(
            (text for i, (a, b) in each if (text := difference(a, b, f"{path}[{i}]"))), None
        )
    if isinstance(expected, Near):
        return None if expected.equals(found) else f"{path}: {found}, not about {expected.values}"
    if isinstance(expected, np.ndarray):
        same = (
            found.dtype == expected.dtype
            and found.shape == expected.shape
            and (bool((found == expected).all()) or found.tobytes() == expected.tobytes())
        )
        return None if same else f"{path}: arrays differ"
    if type(found) is type(expected) and (found == expected or found != found):
        return None
    return f"{path}: {found!r:.80}, not {expected!r:.80}"

"""Samples mutants of each room, runs the nearest tests against each, and keeps the results."""

import json
import time
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from .bench import Bench
from .coverage_map import CoverageMap, digest, scopes_of
from .operators import Mutant, legal, mutants_of, rank

#: Folder of each room, and whether the folders inside it belong to it.
ROOMS = {
    "golden numerics": ("golden", False),
    "golden/checkpoint": ("golden/checkpoint", True),
    "golden/network": ("golden/network", True),
    "hw": ("hw", False),
    "hw/engine": ("hw/engine", True),
    "hw/axi": ("hw/axi", True),
    "hw/token": ("hw/token", True),
    "hw/export": ("hw/export", True),
    "hw/baselines": ("hw/baselines", True),
    "sim/tools": ("sim/tools", True),
    "sim/rtl": ("sim/rtl", True),
    "sim/gatelevel": ("sim/gatelevel", True),
    "sim/cost": ("sim/cost", True),
}
#: Folders whose tests may kill a mutant.
TESTED = ("golden", "hw", "sim")
#: Most seconds of tests, as measured, that a mutant may take: at first, and if it survives these.
BUDGETS = (5.0, 240.0)
#: A run of tests may take the measured seconds of a processor, and some more. Changed hardware is
#: built again: this many times the seconds.
REBUILT, START = 4.0, 20.0
#: Seconds of a file of tests that is not measured.
_UNKNOWN = 20.0


@dataclass(frozen=True)
class Result:
    """Outcome of the tests of a mutant.

    Parameters
    ----------
    name, room : the mutant and its room
    line : line of the file
    source : hash of the file
    tests : hash of the tests that the result rests on: the file of the test that failed, or all
    status : ``killed``, ``timeout`` (the tests did not end), ``equivalent`` or ``survived``
    by : the test that failed
    run : number of tests that could have failed
    left : number of tests that were left out, because they take too long
    budget : most seconds of tests, as measured, that it was given
    seconds : time of the whole
    """

    name: str
    room: str
    line: int
    source: str
    status: str
    tests: str = ""
    by: str = ""
    run: int = 0
    left: int = 0
    budget: float = 0.0
    seconds: float = 0.0


def files_of(source: Path, room: str) -> list[str]:
    """Source and data files of a room."""
    folder, deep = ROOMS[room]
    found = (source / folder).rglob("*") if deep else (source / folder).glob("*")
    return sorted(
        str(path.relative_to(source))
        for path in found
        if path.suffix in (".py", ".toml") and path.name != "__init__.py"
    )


def sample(source: Path, room: str, count: int, seed: int) -> list[Mutant]:
    """Choose mutants of a room: first places, each with the same chance, then a change of each."""
    places: dict[str, list[Mutant]] = {}
    for file in files_of(source, room):
        for mutant in mutants_of(file, (source / file).read_text()):
            places.setdefault(mutant.place, []).append(mutant)
    chosen: list[Mutant] = []
    for place in sorted(places, key=lambda place: rank(seed, place)):
        ranked = sorted(places[place], key=lambda mutant: rank(seed, mutant.name))
        source_text = (source / ranked[0].file).read_text()
        chosen += [one for one in ranked if legal(one, source_text)][:1]
        if len(chosen) == count:
            break
    return chosen


def _same_code(a: types.CodeType, b: types.CodeType) -> bool:
    """Whether two code objects do the same; the lines they come from may differ."""
    names = ("co_code", "co_names", "co_varnames", "co_freevars", "co_argcount", "co_flags")
    if any(getattr(a, name) != getattr(b, name) for name in names):
        return False
    if len(a.co_consts) != len(b.co_consts):
        return False
    return all(
        _same_code(x, y)
        if isinstance(x, types.CodeType) and isinstance(y, types.CodeType)
        else (type(x), repr(x)) == (type(y), repr(y))
        for x, y in zip(a.co_consts, b.co_consts, strict=True)
    )


def equivalent(mutant: Mutant, source: str) -> bool:
    """Whether Python compiles a mutant to the same code as its source."""
    if mutant.file.endswith(".toml"):
        return False
    codes = [compile(text, mutant.file, "exec") for text in (source, mutant.apply(source))]
    return _same_code(*codes)


class Store:
    """Results in a file, one a line; the last one of a mutant counts.

    Parameters
    ----------
    file : the results of this machine
    saved : results that the checkout holds; they come first
    """

    def __init__(self, file: Path, saved: Path) -> None:
        self.file, self.saved = file, saved
        self.results: dict[tuple[str, str], Result] = {}
        #: The last kill of a mutant by a test, whatever its source was then.
        self.kills: dict[str, Result] = {}
        for one in (saved, file):
            for line in one.read_text().splitlines() if one.exists() else ():
                self._keep(Result(**json.loads(line)))

    def _keep(self, result: Result) -> None:
        self.results[result.name, result.source] = result
        if "::" in result.by:
            self.kills[result.name] = result

    def add(self, result: Result) -> None:
        """Keep a result."""
        self._keep(result)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")

    def save(self, results: Iterable[Result]) -> None:
        """Put results among those of the checkout, so that another machine can go on."""
        kept = self.saved.read_text().splitlines() if self.saved.exists() else []
        lines = {json.loads(line)["name"]: line for line in kept}
        lines |= {one.name: json.dumps(asdict(one)) for one in results}
        self.saved.write_text("".join(f"{line}\n" for line in lines.values()))


def tests_digest(source: Path) -> str:
    """Hash of all tests but those of the mutator."""
    files = sorted(
        file for file in (source / "tests").rglob("*.py") if "mutation" not in file.parts
    )
    return digest("".join(file.read_text() for file in files))


def readers_of(source: Path, file: str) -> set[str]:
    """Source files that name a data file."""
    if not file.endswith(".toml"):
        return set()
    name = Path(file).name
    folder = source / Path(file).parts[0]
    return {
        str(path.relative_to(source)) for path in folder.rglob("*.py") if name in path.read_text()
    }


class Campaign:
    """Runs mutants of a checkout in a copy of it.

    Parameters
    ----------
    source : the checkout
    build : folder for the copy, the measurements and the results
    number : number of the copy: each process needs its own
    """

    def __init__(self, source: Path, build: Path, number: int = 0) -> None:
        self.source = source
        self.bench = Bench(source, build / f"copy{number}")
        self.map = CoverageMap(source, build / "measured", TESTED)
        self.store = Store(build / "results.jsonl", source / "tests/mutation/results.jsonl")
        self.tests = tests_digest(source)
        self._netlists: dict[str, str] = {}

    def measure(self) -> Iterator[str]:
        """Measure the files of tests that are new or have changed; yield each name before."""
        for file in self.map.load():
            yield file
            self.map.measure(file, self.bench)

    def try_mutant(self, mutant: Mutant, room: str, budget: float = BUDGETS[-1]) -> Result:
        """Find out whether a test kills a mutant; a result that still holds is not made again.

        Parameters
        ----------
        mutant, room : the mutant, and the room of its file
        budget : most seconds of tests, as measured
        """
        source = (self.source / mutant.file).read_text()
        found = self.stored(mutant, source)
        if found is None or (found.status == "survived" and found.left and budget > found.budget):
            found = self._run(mutant, room, source, budget)
            self.store.add(found)
        return found

    def stored(self, mutant: Mutant, source: str) -> Result | None:
        """The stored result of a mutant, unless the tests that it rests on have changed."""
        found = self.store.results.get((mutant.name, digest(source)))
        holds = found and (found.status == "equivalent" or found.tests == self._rests_on(found.by))
        return found if holds else None

    def _rests_on(self, by: str) -> str:
        """Hash of the file of the test that killed a mutant; of all tests if none is named."""
        file = self.bench.folder / by.split("::")[0]
        return digest(file.read_text()) if file.is_file() else self.tests

    def _run(self, mutant: Mutant, room: str, source: str, budget: float) -> Result:
        begin = time.monotonic()
        status, by, run, left, spent = "survived", "", 0, 0, 0.0
        if equivalent(mutant, source):
            status = "equivalent"
        else:
            stages = self.map.stages(mutant, source, readers_of(self.source, mutant.file))
            stages = self._killer(mutant) + stages
            for stage in stages:
                kept, dropped = self._within(stage, budget - spent)
                left += dropped
                if not kept:
                    continue
                spent += self._seconds(kept)
                status, by, count = self._judge(mutant, source, kept)
                run += count
                if status != "survived":
                    break
        if status == "survived" and self._same_netlists(mutant, source):
            status = "equivalent"
        return Result(
            name=mutant.name,
            room=room,
            line=mutant.lines[0],
            source=digest(source),
            status=status,
            tests="" if status == "equivalent" else self._rests_on(by),
            by=by,
            run=run,
            left=left,
            budget=budget,
            seconds=round(time.monotonic() - begin, 2),
        )

    def kills_again(self, mutant: Mutant) -> bool | None:
        """Whether the test that killed a mutant before still does; None if none is known.

        It needs no measurement.

        Raises
        ------
        RuntimeError
            If the test is gone, or fails or does not end without the change.
        """
        kill = self.store.kills.get(mutant.name)
        if kill is None:
            return None
        tests = {kill.by.split("::")[0]: [kill.by]}
        seconds = START + REBUILT * max(_UNKNOWN, kill.seconds)
        source = (self.source / mutant.file).read_text()
        answer = self.bench.run_changed(mutant.file, mutant.apply(source), tests, seconds)
        if self.bench.run(tests, seconds)["status"] != "passed":
            raise RuntimeError(f"{kill.by} must pass without the change")
        return kill.by in answer["failed"]

    def _killer(self, mutant: Mutant) -> list[dict[str, list[str]]]:
        """A stage of the test that killed a mutant before, if it is still there."""
        kill = self.store.kills.get(mutant.name)
        if kill is None:
            return []
        file = kill.by.split("::")[0]
        known = self.map.measured.get(file)
        return [{file: [kill.by]}] if known is not None and kill.by in known.names else []

    def _judge(
        self, mutant: Mutant, source: str, tests: dict[str, list[str]]
    ) -> tuple[str, str, int]:
        """Run tests against a mutant; return its status, what killed it, and their number.

        A test that also fails without the change does not count, and the others run.

        Raises
        ------
        RuntimeError
            If the tests end without an answer, or take too long, whatever the source is.
        """
        left = dict(tests)
        while left:
            times = REBUILT if mutant.file.startswith("hw/") else 1.0
            seconds = START + times * self._seconds(left)
            answer = self.bench.run_changed(mutant.file, mutant.apply(source), left, seconds)
            count = len(answer["seconds"])
            if answer["status"] in ("passed", "none"):
                return "survived", "", count
            failed = answer["failed"][:1]
            file = failed[0].split("::")[0] if failed else ""
            # A file that cannot be imported fails as a whole.
            again = {file: failed if "::" in failed[0] else []} if failed else left
            if self.bench.run(again, seconds)["status"] == "passed":
                status = "timeout" if answer["status"] == "timeout" else "killed"
                return status, failed[0] if failed else answer["status"], count
            if not failed:
                raise RuntimeError(
                    f"the tests must end without any change; see {self.bench.folder}/output.log"
                )
            names = [name for name in left[file] or self.map.names(file) if name not in failed]
            left = {name: ones for name, ones in left.items() if name != file}
            if names and "::" in failed[0]:
                left[file] = names
        return "survived", "", 0

    def _same_netlists(self, mutant: Mutant, source: str) -> bool:
        """Whether a mutant in code that makes hardware changes no netlist of its room."""
        if not (mutant.file.startswith("hw/") and mutant.file.endswith(".py")):
            return False
        if "elaborate" not in mutant.scope and "m:Module" not in self._signature(mutant, source):
            return False
        folder = str(Path(mutant.file).parent)
        if folder not in self._netlists:
            self._netlists[folder] = self.bench.netlists(mutant.file)
        before = self._netlists[folder]
        return bool(before) and before == self.bench.netlists(mutant.file, mutant.apply(source))

    @staticmethod
    def _signature(mutant: Mutant, source: str) -> str:
        """Parameters of the function that a mutant is in."""
        first = scopes_of(source).get(mutant.scope, (0, 0))[0]
        return "".join(source.split("\n")[max(first - 1, 0) : first + 3]).replace(" ", "")

    def _seconds(self, tests: Mapping[str, list[str]]) -> float:
        return sum(
            self.map.measured[file].seconds(names) if names else _UNKNOWN
            for file, names in tests.items()
        )

    def _within(
        self, tests: Mapping[str, list[str]], seconds: float
    ) -> tuple[dict[str, list[str]], int]:
        """Keep the tests that fit into some seconds; return them and the number of the others."""
        kept: dict[str, list[str]] = {}
        left = 0
        for file, names in tests.items():
            if not names and seconds > 0:
                kept[file] = []
            for name in names:
                one = self.map.measured[file].found["seconds"][name]
                if one <= seconds:
                    kept.setdefault(file, []).append(name)
                    seconds -= one
                else:
                    left += 1
        return kept, left

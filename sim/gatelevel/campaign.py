"""Campaigns that measure all units of a library and store them as its table.

Each row has a key: a hash of the unit's Verilog, the operands, the clocks, the method and the files
of the library. A second campaign measures only rows whose key has changed.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...golden.files import check_outputs, read_json, write_text
from ...hw.baselines import BASELINES, Choice, DotConfig
from ..tools.errors import EstimateError
from ..tools.pool import process_pool
from ..tools.toolchain import find_program
from ..tools.verilog import keep_verilog
from .arrays import measure_arrays
from .characterize import K_MAX, Task, characterize
from .library import Library
from .operands import BEATS
from .placed import check_layout
from .rivals import SEARCHED
from .search import best_tasks
from .sram import read_sram
from .systolic import measure_systolic
from .systolic_energy import SYSTOLIC_FORMATS
from .table import COMPARED_UNITS, LANES, METHOD, identity, library_names, load_table

__all__ = ["Campaign", "all_tasks", "store_arrays", "store_sram"]

#: The ternary unit of the comparison.
_TERNARY = "ternaryxint8-escape"

#: Shares of zero trits at which the ternary unit is measured, too.
_ZERO_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)

#: Fields of a row that not every measurement of its unit has.
_ADDED = ("glitches_fj", "glitch_transitions", "placed")

_Row = dict[str, Any]


def all_tasks(
    library: str, *, unit: str | None = None, glitches: bool = False, placed: bool = False
) -> list[Task]:
    """List all tasks of a table, the units of the comparison first and the largest units last.

    Parameters
    ----------
    library : name of the library; that of the search, see ``SEARCHED``, has all units, further
        shapes of the units of the comparison, and engines that are placed
    unit : key of ``BASELINES``, to list only its tasks, of any library; None lists all
    glitches : list only the units of the comparison, in their first shape, with glitches; with
        ``placed`` the placed ones
    placed : list only the units of the comparison, with the whole tree in one stage, and the best
        of each format at the common clock, of the search and of the library's own table, placed

    The best and the second variant of each format are those of the stored search: at all its clocks
    for the library of the search, and at the common clock for others.
    """
    if placed:
        found = [_task(name, levels=4) for name in COMPARED_UNITS]
        found += [*(_engines() if library == SEARCHED else []), *_best(library, count=1)]
        found += _own_best(library)
        found = [replace(one, placed=True, glitches=glitches) for one in found]
    elif glitches:
        found = [_task(name, glitches=True) for name in COMPARED_UNITS]
    else:
        found = _compared() + (_further() if library == SEARCHED or unit else [])
        have = {(one.unit, one.config) for one in found}
        found += [one for one in _best(library, count=2) if (one.unit, one.config) not in have]
    return [one for one in dict.fromkeys(found) if unit in (None, one.unit)]


def _task(
    unit: str,
    lanes: int = LANES,
    rows: int = 1,
    levels: int = 1,
    more: Sequence[str] = (),
    choices: Sequence[Choice] = (),
    glitches: bool = False,
) -> Task:
    """Make a task on trained operands, and on more."""
    config = DotConfig(
        lanes=lanes, k_max=K_MAX, rows=rows, levels_per_stage=levels, choices=choices
    )
    return Task(unit=unit, config=config, sources=("trained", *more), glitches=glitches)


def _engines() -> list[Task]:
    """List ternary units at the widths of engines; those with choices take the least energy."""
    lean, shared = [Choice.NO_PRODUCT], [Choice.NO_PRODUCT, Choice.PAIR_SUMS]
    return [
        _task(_TERNARY, lanes=80, levels=4),
        _task(_TERNARY, lanes=64, rows=20, levels=4),
        _task(_TERNARY, lanes=80, levels=4, choices=lean),
        _task(_TERNARY, lanes=64, rows=20, levels=4, choices=shared),
    ]


def _compared() -> list[Task]:
    """List the units of the comparison with one level per stage, and with the whole tree in one.

    The latter are also measured in rows that share the activations.
    """
    shares = [f"2b4t:{share}" for share in _ZERO_SHARES]
    found = [
        _task(name, more=("2b4t", *(shares if name == _TERNARY else ()))) for name in COMPARED_UNITS
    ]
    found += [_task(name, rows=rows, levels=4) for rows in (1, 4) for name in COMPARED_UNITS]
    return found + _engines()


def _further() -> list[Task]:
    """List what only the library of the search has: widths, the code ``sherry``, and all units."""
    found = [_task(_TERNARY, lanes=80, levels=levels) for levels in (1, 2, 3)]
    found += [_task(name, lanes=80, levels=4) for name in COMPARED_UNITS if name != _TERNARY]
    found += [_task("ternaryxint8-sherry", rows=rows, levels=4) for rows in (1, 4)]
    rest = [name for name in BASELINES if name not in COMPARED_UNITS]
    # Trees of floating-point adders, and FP32, are the largest.
    rest.sort(key=lambda name: (name.endswith("tree"), name.startswith("fp32")))
    return found + [_task(name) for name in rest]


def _best(library: str, *, count: int) -> list[Task]:
    """List the best tasks of the stored search, see ``best_tasks``; none without one."""
    if SEARCHED not in library_names():
        return []
    searched = load_table(SEARCHED)
    all_clocks = library == SEARCHED and count > 1
    return best_tasks(
        searched, count=count, clocks_ghz=None if all_clocks else [searched.common_clock]
    )


def _own_best(library: str) -> list[Task]:
    """List the best units in the stored table of a library itself; none without one."""
    if library not in library_names():
        return []
    table = load_table(library)
    table = replace(table, rows=tuple(row for row in table.rows if not row.stale))
    return best_tasks(table, count=1, clocks_ghz=[table.common_clock]) if table.rows else []


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """Measurements of a library at some clocks, and the table that stores them.

    Parameters
    ----------
    file : the table; it is made if there is none
    library : name of the library, for the record
    node : process and voltage, for the record; empty keeps the table's
    liberty : Liberty files, see ``Library``
    clocks_ghz : clocks in GHz, the fastest first; units are mapped for that one
    """

    file: Path
    library: str
    node: str
    liberty: Sequence[Path]
    clocks_ghz: Sequence[float]

    def run(
        self,
        tasks: Sequence[Task],
        *,
        jobs: int = 1,
        progress: Callable[[int, int, str], None] = lambda done, total, names: None,
    ) -> Iterator[_Row | tuple[Task, Exception]]:
        """Measure the tasks that the table lacks, and write the table after each.

        Parameters
        ----------
        tasks : see ``all_tasks``
        jobs : processes, one for each task that runs
        progress : called with the number of tasks that are done, the number of all tasks, and
            the names of the running ones

        Yields
        ------
        New rows as they are measured; a task and its exception if it failed

        Raises
        ------
        EstimateError
            If the table is damaged, or is that of another library; or if units are to be placed
            and the wires of the library are not known.
        OutputError
            If the table cannot be written.
        LibertyError
            If the library cannot be used.
        ToolchainError
            If a tool is missing.
        """
        find_program("sta")
        if any(task.placed for task in tasks):
            check_layout(self.library)
        hashes = [one["sha256"] for one in Library(self.liberty).provenance]
        table = _load(self.file, self.library, self.node, self.liberty)
        have = {row["key"]: row for row in table["rows"]}
        missing = []
        for task in tasks:
            keys = _keys(task, self.clocks_ghz, hashes)
            if not all(k in have and _has_all(have[k], task) for k in keys):
                missing.append((task, keys))
        total = len(tasks)
        progress(total - len(missing), total, "")
        running: dict[Future, tuple[Task, list[str]]] = {}
        with process_pool(jobs, start="spawn") as pool:
            try:
                while missing or running:
                    while missing and len(running) < jobs:
                        task, keys = missing.pop(0)
                        running[pool.submit(self._measure, task)] = task, keys
                    names = ", ".join(task.name for task, _ in running.values())
                    progress(total - len(missing) - len(running), total, names)
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        task, keys = running.pop(future)
                        try:
                            rows = future.result()
                        except (RuntimeError, ValueError) as error:
                            yield task, error
                            continue
                        for key, row in zip(keys, rows, strict=True):
                            _put(table, row | {"key": key})
                        _store(self.file, table)
                        yield from rows
                progress(total, total, "")
            finally:
                for future in running:
                    future.cancel()

    def _measure(self, task: Task) -> list[_Row]:
        """Measure the rows of a task, in a process of its own."""
        rows = characterize(task, self.library, self.liberty, self.clocks_ghz)
        return [_round(asdict(row)) for row in rows]


def store_sram(file: Path, *, library: str, node: str, macros: Sequence[Path]) -> list[_Row]:
    """Store the energies of memory macros in a table, in place of the stored ones.

    Parameters
    ----------
    file, library, node : see ``Campaign``
    macros : Liberty files, one for each macro, see ``read_sram``

    Returns
    -------
    The fields of ``Sram`` for each macro.

    Raises
    ------
    EstimateError
        If the table is damaged, or is that of another library.
    OutputError
        If the table cannot be written.
    LibertyError
        If a file is not one of a macro.
    """
    table = _load(file, library, node, macros)
    found = [asdict(read_sram(macro)) for macro in macros]
    _store(file, table | {"sram": found})
    return found


def _has_all(row: _Row, task: Task) -> bool:
    """Whether a row of a unit has what a task asks for."""
    return (row["glitches_fj"] is not None or not task.glitches) and (
        row["placed"] is not None or not task.placed
    )


def store_arrays(
    file: Path,
    *,
    library: str,
    liberty: Sequence[Path],
    progress: Callable[[int, int, str], None] = lambda done, total, names: None,
) -> dict[str, list[_Row]]:
    """Store the energies of systolic arrays in a table, in place of the stored ones.

    Parameters
    ----------
    file, library, liberty : see ``Campaign``
    progress : see ``Campaign.run``

    Returns
    -------
    ``arrays``, the fields of ``ArrayEnergy`` for each measurement of a published array, and
    ``systolic``, those of ``SystolicEnergy`` for each format.

    Raises
    ------
    EstimateError
        If the table is damaged, or is that of another library; or if nothing is published for
        the library.
    OutputError
        If the table cannot be written.
    LibertyError
        If the library cannot be used.
    ToolchainError
        If a tool is missing or fails.
    SimulationError
        If the netlist of a cell does not match the golden model.
    """
    table = _load(file, library, "", liberty)
    total = 1 + len(SYSTOLIC_FORMATS)
    progress(0, total, "published arrays")
    arrays = [_round(asdict(one)) for one in measure_arrays(liberty, library)]
    systolic, some = [], Library(liberty)
    for place, name in enumerate(SYSTOLIC_FORMATS):
        progress(place + 1, total, f"systolic, {name}")
        systolic.append(_round(asdict(measure_systolic(name, some))))
    progress(total, total, "")
    _store(file, table | {"arrays": arrays, "systolic": systolic})
    return {"arrays": arrays, "systolic": systolic}


def _keys(task: Task, clocks: Sequence[float], hashes: Sequence[str]) -> list[str]:
    """Compute the key of each row of a task, by source and clock."""
    text = keep_verilog(task.make_unit, "unit", f"{task.unit} {task.config}").read_text()
    # A choice may concern synthesis alone.
    more = [*task.config.choices, *hashes]
    return [
        hashlib.sha256(
            json.dumps([text, source, clock, clocks[0], BEATS, METHOD, *more]).encode()
        ).hexdigest()[:16]
        for source in task.sources
        for clock in clocks
    ]


def _round(value: Any) -> Any:
    """Round to five digits, which are more than the accuracy of the figures."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _round(one) for key, one in value.items()}
    return value


def _store(file: Path, table: Mapping[str, Any]) -> None:
    """Write a table, whole or not at all; a row is a line, so that changes can be seen."""
    # Origins to which no row refers any more are left out.
    used = sorted({row["provenance"] for row in table["rows"]})
    rows = [row | {"provenance": used.index(row["provenance"])} for row in table["rows"]]
    in_lines = {"systolic": table["systolic"]} if "systolic" in table else {}
    in_lines["rows"] = rows
    others = {key: value for key, value in table.items() if key not in in_lines}
    others["provenance"] = [table["provenance"][place] for place in used]
    text = json.dumps(others, indent=1)[:-2]
    for key, entries in in_lines.items():
        lines = ",\n".join(map(json.dumps, entries))
        text += f',\n "{key}": [\n{lines}\n]'
    text += "\n}\n"
    write_text(file, text, force=True)


def _load(file: Path, library: str, node: str, liberty: Sequence[Path]) -> dict[str, Any]:
    """Load a table to add rows to it; make an empty one if there is none."""
    check_outputs([file], inputs=liberty, force=True)
    table = {"library": library, "node": node, "provenance": [], "sram": [], "rows": []}
    if file.exists():
        stored = read_json(file)
        try:
            table |= stored | {"node": node or stored["node"]}
            if not all("key" in row for row in stored["rows"]):
                raise ValueError("a row has no key")
            if stored["library"] != library:
                raise ValueError(f"it is of the library {stored['library']!r}, not {library!r}")
        except (ValueError, KeyError, TypeError) as error:
            raise EstimateError(
                f"{file}: the file must be a table of measured figures: {error!r}"
            ) from None
    return table


def _put(table: dict[str, Any], row: _Row) -> None:
    """Put a row in the place of the one that it replaces.

    If its key is the same, it keeps what only the replaced one has: glitches and placement.
    """
    origins, rows = table["provenance"], table["rows"]
    if row["provenance"] not in origins:
        origins.append(row["provenance"])
    kept = {name: value for name, value in row.items() if name not in ("library", "label")}
    kept["provenance"] = origins.index(row["provenance"])
    for old in [one for one in rows if identity(one) == identity(kept)]:
        if old["key"] == kept["key"]:
            kept |= {name: old[name] for name in _ADDED if kept[name] is None}
        rows.remove(old)
    rows.append(kept)
    rows.sort(key=identity)

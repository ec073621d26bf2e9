"""Fills the tables of measured dot products.

Rows are kept by a hash of all that decides them, so that filling a table again measures what
changed.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ...golden.files import write_text
from ...hw.baselines import BASELINES, DotUnit
from ..tools.errors import EstimateError
from ..tools.toolchain import find_program
from ..tools.verilog import keep_verilog
from .characterize import K_MAX, METHOD, characterize
from .netlist import Library
from .operands import BEATS
from .sram import read_sram
from .table import HEADLINES, LANES

__all__ = ["Task", "fill", "fill_sram", "tasks"]

#: Shares of zero trits at which the ternary unit is measured too.
ZERO_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Rows that share a netlist: see ``characterize``."""

    unit: str
    lanes: int
    rows: int
    levels_per_stage: int
    sources: tuple[str, ...]
    glitches: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.unit}, {self.lanes} lanes x {self.rows} rows, {self.levels_per_stage} levels"


def tasks(*, unit: str | None = None, glitches: bool = False) -> list[Task]:
    """All that a table has, the units of the comparison first and the large ones last.

    Parameters
    ----------
    unit : only this one
    glitches : only ``HEADLINES``, with unit delays too
    """

    def task(
        unit: str, lanes: int = LANES, rows: int = 1, levels: int = 1, more: Sequence[str] = ()
    ) -> Task:
        return Task(
            unit=unit,
            lanes=lanes,
            rows=rows,
            levels_per_stage=levels,
            sources=("trained", *more),
            glitches=glitches,
        )

    ternary = "ternaryxint8-escape"
    shares = [f"2b4t:{share}" for share in ZERO_SHARES]
    found = [task(name, more=() if glitches else ("2b4t",)) for name in HEADLINES]
    if not glitches:
        found[0] = task(ternary, more=("2b4t", *shares))
        found += [task(ternary, lanes=80, levels=levels) for levels in (1, 2, 3, 4)]
        found.append(task(ternary, lanes=64, rows=20, levels=4))
        # The whole tree between two registers, with rows that share the activations too, and what
        # stands beside the engine's own width.
        found += [task(name, rows=rows, levels=4) for rows in (1, 4) for name in HEADLINES]
        found += [task(name, lanes=80, levels=4) for name in HEADLINES if name != ternary]
        rest = [name for name in BASELINES if name not in HEADLINES]
        # Trees of floating-point adders, and FP32, are the largest.
        rest.sort(key=lambda name: (name.endswith("tree"), name.startswith("fp32")))
        found += [task(name) for name in rest]
    return [one for one in found if unit in (None, one.unit)]


def _verilog(task: Task) -> str:
    """Verilog of the task's unit as module ``unit``, from the cache."""

    def unit() -> DotUnit:
        return BASELINES[task.unit].unit(
            lanes=task.lanes,
            k_max=K_MAX,
            rows=task.rows,
            levels_per_stage=task.levels_per_stage,
        )

    what = f"{task.unit} {task.lanes} {task.rows} {task.levels_per_stage} {K_MAX}"
    return keep_verilog(unit, "unit", what).read_text()


def _keys(task: Task, clocks: Sequence[float], hashes: Sequence[str]) -> list[str]:
    """Hashes of all that decides a task's rows."""
    text = _verilog(task)
    return [
        hashlib.sha256(
            json.dumps([text, source, clock, clocks[0], BEATS, METHOD, *hashes]).encode()
        ).hexdigest()[:16]
        for source in task.sources
        for clock in clocks
    ]


def _round(value: Any) -> Any:
    """Five digits are more than the figures are worth."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _round(one) for key, one in value.items()}
    return value


def _measure(task: Task, files: Sequence[Path], name: str, clocks: Sequence[float]) -> list[dict]:
    """The rows of a task, in a process of its own."""
    rows = characterize(
        task.unit,
        name,
        files,
        clocks_ghz=clocks,
        lanes=task.lanes,
        rows=task.rows,
        levels_per_stage=task.levels_per_stage,
        sources=task.sources,
        glitches=task.glitches,
    )
    return [_round(asdict(row)) for row in rows]


def _write(file: Path, table: Mapping[str, Any]) -> None:
    """All of it or nothing; a row is a line."""
    # Of those that are still needed.
    used = sorted({row["provenance"] for row in table["rows"]})
    rows = ",\n".join(
        json.dumps(row | {"provenance": used.index(row["provenance"])}) for row in table["rows"]
    )
    others = {key: value for key, value in table.items() if key != "rows"}
    others["provenance"] = [table["provenance"][place] for place in used]
    text = json.dumps(others, indent=1)[:-2] + f',\n "rows": [\n{rows}\n]\n}}\n'
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, text)


def _stored(file: Path, library: str, node: str) -> dict[str, Any]:
    """A table to fill."""
    table = {"library": library, "node": node, "provenance": [], "sram": [], "rows": []}
    if file.exists():
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            table |= stored | {"node": node or stored["node"]}
            if not all("key" in row for row in stored["rows"]):
                raise ValueError("a row has no key")
        except (ValueError, KeyError, TypeError) as error:
            raise EstimateError(f"{file}: must be a table of measured figures: {error!r}") from None
    return table


def _put(table: dict[str, Any], row: dict[str, Any]) -> None:
    """Put a row in the place of the one that it replaces, with what that one knew of glitches."""

    def identity(one: Mapping[str, Any]) -> tuple:
        names = ("unit", "lanes", "rows", "levels_per_stage", "operands", "clock_ghz")
        return tuple(one[name] for name in names)

    origins, rows = table["provenance"], table["rows"]
    if row["provenance"] not in origins:
        origins.append(row["provenance"])
    kept = {name: value for name, value in row.items() if name not in ("library", "label")}
    kept["provenance"] = origins.index(row["provenance"])
    for old in [one for one in rows if identity(one) == identity(kept)]:
        if old["key"] == kept["key"] and kept["glitches_fj"] is None:
            kept |= {name: old[name] for name in ("glitches_fj", "glitch_transitions")}
        rows.remove(old)
    rows.append(kept)
    rows.sort(key=identity)


def fill_sram(
    file: Path, *, library: str, node: str, macros: Sequence[Path]
) -> list[dict[str, Any]]:
    """Put memory macros' energies into a table, instead of those that it has.

    Parameters
    ----------
    file, library, node : see ``fill``
    macros : see ``read_sram``

    Raises
    ------
    EstimateError
        If the table is damaged.
    LibertyError
        If one is not a macro.
    """
    found = [asdict(read_sram(macro)) for macro in macros]
    _write(file, _stored(file, library, node) | {"sram": found})
    return found


def fill(
    file: Path,
    *,
    library: str,
    node: str,
    liberty: Sequence[Path],
    clocks_ghz: Sequence[float],
    wanted: Sequence[Task],
    jobs: int = 1,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Iterator[dict[str, Any] | tuple[Task, Exception]]:
    """Measure what a table lacks and write it after each unit.

    Parameters
    ----------
    file : of the table; made where there is none
    library, node : for the record
    liberty : see ``Library``
    clocks_ghz : the fastest first, which units are mapped for
    wanted : see ``tasks``
    jobs : processes
    progress : told how many tasks are done, of how many, and what is next

    Yields
    ------
    New rows as they are measured; a task and its exception where it failed

    Raises
    ------
    EstimateError
        If the table is damaged.
    LibertyError
        If the library cannot be used.
    ToolchainError
        If a tool is missing.
    """
    find_program("sta")
    hashes = [one["sha256"] for one in Library(liberty).provenance]
    table = _stored(file, library, node)
    have = {row["key"]: row for row in table["rows"]}
    missing = []
    for task in wanted:
        keys = _keys(task, clocks_ghz, hashes)
        done = all(k in have and (have[k]["glitches_fj"] or not task.glitches) for k in keys)
        if not done:
            missing.append((task, keys))
    total = len(wanted)
    progress(total - len(missing), total, "")
    running: dict[Future, tuple[Task, list[str]]] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            while missing or running:
                while missing and len(running) < jobs:
                    task, keys = missing.pop(0)
                    future = pool.submit(_measure, task, liberty, library, clocks_ghz)
                    running[future] = task, keys
                left = len(missing) + len(running)
                progress(total - left, total, ", ".join(task.name for task, _ in running.values()))
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task, keys = running.pop(future)
                    try:
                        rows = future.result()
                    except (RuntimeError, ValueError) as error:
                        yield task, error
                        continue
                    for key, row in zip(keys, rows, strict=True):
                        _put(table, row | {"key": key})
                    _write(file, table)
                    yield from rows
            progress(total, total, "")
        finally:
            for future in running:
                future.cancel()

"""The table of measured dot products: what is in it, how it is filled, and how it is read.

A library's table is ``sim/data/gate-<library>.json``: its files, node and corner, and a row for
each unit, operands and clock. Rows are kept by a hash of all that decides them, so that filling a
table again measures what changed.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ..hw.baselines import BASELINES
from ..hw.verilog import component_verilog
from .characterize import K_MAX, METHOD, characterize
from .gatelevel import Library
from .operands import BEATS

__all__ = ["DATA", "HEADLINES", "Task", "fill", "tasks"]

#: Where the tables are.
DATA = Path(__file__).parent / "data"

#: The units of the comparison that also run 2B4T-like operands, and glitches where asked.
HEADLINES = (
    "ternaryxint8-escape",
    "fp16xfp16-fp32-fused",
    "int8xint8",
    "int4xfp16-fp32-fused",
)

#: Shares of zero trits at which the ternary unit is measured too.
ZERO_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Rows that share a netlist: see ``characterize``."""

    unit: str
    lanes: int
    levels_per_stage: int
    sources: tuple[str, ...]
    glitches: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.unit}, {self.lanes} lanes, {self.levels_per_stage} levels"


def tasks(*, unit: str | None = None, glitches: bool = False) -> list[Task]:
    """All that a table has, the units of the comparison first and the large ones last.

    Parameters
    ----------
    unit : only this one
    glitches : only ``HEADLINES``, with unit delays too
    """

    def task(unit: str, lanes: int = 16, levels: int = 1, more: Sequence[str] = ()) -> Task:
        sources = ("trained", *more)
        return Task(
            unit=unit, lanes=lanes, levels_per_stage=levels, sources=sources, glitches=glitches
        )

    ternary = HEADLINES[0]
    shares = [f"2b4t:{share}" for share in ZERO_SHARES]
    found = [task(name, more=("2b4t",)) for name in HEADLINES]
    if not glitches:
        found[0] = task(ternary, more=("2b4t", *shares))
        found += [task(ternary, 80, levels) for levels in (1, 2, 3, 4)]
        rest = [name for name in BASELINES if name not in HEADLINES]
        # Trees of floating-point adders, and FP32, are the largest.
        rest.sort(key=lambda name: (name.endswith("tree"), name.startswith("fp32")))
        found += [task(name) for name in rest]
    return [one for one in found if unit in (None, one.unit)]


def _key(task: Task, source: str, clock: float, first: float, hashes: Sequence[str]) -> str:
    """A hash of all that decides a row."""
    unit = BASELINES[task.unit].unit(
        lanes=task.lanes, k_max=K_MAX, levels_per_stage=task.levels_per_stage
    )
    what = [component_verilog(unit, "unit"), source, clock, first, BEATS, METHOD, *hashes]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


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
        Library(files),
        name,
        clocks_ghz=clocks,
        lanes=task.lanes,
        levels_per_stage=task.levels_per_stage,
        sources=task.sources,
        glitches=task.glitches,
    )
    return [_round(asdict(row)) for row in rows]


def _write(file: Path, table: Mapping[str, Any]) -> None:
    """All of it or nothing; a row is a line."""
    rows = ",\n".join(json.dumps(row) for row in table["rows"])
    others = {key: value for key, value in table.items() if key != "rows"}
    text = json.dumps(others, indent=1)[:-2] + f',\n "rows": [\n{rows}\n]\n}}\n'
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as made:
        made.write(text)
    os.chmod(made.name, 0o644)
    os.replace(made.name, file)


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
    LibertyError
        If the library cannot be used.
    """
    provenance = Library(liberty).provenance
    hashes = [one["sha256"] for one in provenance]
    table: dict[str, Any] = {"library": library, "node": node, "provenance": [], "rows": []}
    if file.exists():
        table |= json.loads(file.read_text(encoding="utf-8"))
        table["node"] = node
    file.parent.mkdir(parents=True, exist_ok=True)

    def identity(row: Mapping[str, Any]) -> tuple:
        return tuple(
            row[key] for key in ("unit", "lanes", "levels_per_stage", "operands", "clock_ghz")
        )

    have = {row["key"]: row for row in table["rows"]}
    missing = []
    for task in wanted:
        keys = [
            _key(task, source, clock, clocks_ghz[0], hashes)
            for source in task.sources
            for clock in clocks_ghz
        ]
        done = all(k in have and (have[k]["glitches_fj"] or not task.glitches) for k in keys)
        if not done:
            missing.append((task, keys))
    total = len(wanted)
    progress(total - len(missing), total, "")
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running: dict[Future, tuple[Task, list[str]]] = {}
        queue = list(missing)
        try:
            while queue or running:
                while queue and len(running) < jobs:
                    task, keys = queue.pop(0)
                    future = pool.submit(_measure, task, liberty, library, clocks_ghz)
                    running[future] = task, keys
                left = len(queue) + len(running)
                progress(total - left, total, ", ".join(task.name for task, _ in running.values()))
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    task, keys = running.pop(future)
                    try:
                        rows = future.result()
                    except (RuntimeError, ValueError) as error:
                        yield task, error
                        continue
                    for key, row in zip(keys, rows, strict=True):
                        origin = row.pop("provenance")
                        if origin not in table["provenance"]:
                            table["provenance"].append(origin)
                        row |= {"provenance": table["provenance"].index(origin), "key": key}
                        del row["library"], row["label"]
                        same = identity(row)
                        old = [one for one in table["rows"] if identity(one) == same]
                        if old and old[0]["key"] == key and row["glitches_fj"] is None:
                            row |= {
                                name: old[0][name] for name in ("glitches_fj", "glitch_transitions")
                            }
                        table["rows"] = [one for one in table["rows"] if identity(one) != same]
                        table["rows"].append(row)
                        yield row
                    table["rows"].sort(key=identity)
                    _write(file, table)
        finally:
            for future in running:
                future.cancel()

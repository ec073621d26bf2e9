"""Estimates over a grid of engines and systems, in local processes or on a cluster, resumable."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ...golden.files import new_files, write_text
from ...hw.config import MatVecConfig
from ..tools.errors import EstimateError
from .comparison import mac_area
from .designs import own_design
from .memories import find_memory
from .model_shapes import find_model
from .profiles import find_profile
from .system import estimate

__all__ = ["Grid", "pareto", "run_sweep"]

#: Points that a process takes at a time.
_CHUNK = 200

#: Most points of a grid.
_MOST = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Values of each axis of a sweep; every combination of them is a point.

    Parameters
    ----------
    models : names or files of models, see ``find_model``
    lanes, rows, tokens : sizes of the engine, see ``MatVecConfig``
    clocks : clock frequencies in MHz
    memories : names of memories, see ``find_memory``
    contexts, batches : tokens that a sequence attends to, and sequences; 1 to 2²⁰
    code : weight code of the engine, which sets the bits of a weight
    profile : energy figures, see ``find_profile``

    Raises
    ------
    EstimateError
        If there is no point, there are more than a million, or a value is not legal.
    """

    models: tuple[str, ...]
    lanes: tuple[int, ...]
    rows: tuple[int, ...]
    tokens: tuple[int, ...] = (1,)
    clocks: tuple[float, ...] = (250.0,)
    memories: tuple[str, ...] = ("lpddr5",)
    contexts: tuple[int, ...] = (512,)
    batches: tuple[int, ...] = (1,)
    code: str = "base3"
    profile: str = "jouppi7"

    def __post_init__(self) -> None:
        if not 1 <= len(self) <= _MOST:
            raise EstimateError(f"a sweep must have from 1 to {_MOST} points, not {len(self)}")
        find_profile(self.profile)
        for name in self.models:
            find_model(name)
        for name in self.memories:
            find_memory(name)
        for lanes, rows, tokens in product(self.lanes, self.rows, self.tokens):
            _config(lanes, rows, tokens, self.code)
        for name, values in (("context", self.contexts), ("batch", self.batches)):
            for value in values:
                if not 1 <= value <= 2**20:
                    raise EstimateError(f"{name} must be from 1 to {2**20}, not {value}")
        for clock in self.clocks:
            own_design("sweep", _config(64, 1, 1, self.code), clock)

    def __len__(self) -> int:
        return prod(len(values) for values in self._axes)

    @property
    def _axes(self) -> tuple[Sequence[Any], ...]:
        """The values of all axes, the fastest one last."""
        return (
            self.models,
            self.memories,
            self.contexts,
            self.batches,
            self.lanes,
            self.rows,
            self.tokens,
            self.clocks,
        )

    def points(self) -> Iterator[tuple[Any, ...]]:
        """Return an iterator over all points, in order."""
        return product(*self._axes)


def _config(lanes: int, rows: int, tokens: int, code: str) -> MatVecConfig:
    """Make the configuration of a point's engine."""
    try:
        return MatVecConfig(
            lanes=lanes, rows=rows, tokens=tokens, code=code, k_max=6912, n_max=131_072
        )
    except ValueError as error:
        raise EstimateError(str(error)) from None


def _evaluate(grid: Grid, chunk: Sequence[tuple[int, tuple[Any, ...]]]) -> list[dict[str, Any]]:
    """Return the rows of some points."""
    profile = find_profile(grid.profile)
    models = {name: find_model(name) for name in grid.models}
    rows = []
    for index, (name, memory, context, batch, lanes, height, tokens, clock) in chunk:
        config = _config(lanes, height, tokens, grid.code)
        design = own_design("sweep", config, clock)
        model = models[name]
        result = estimate(
            model, design, find_memory(memory), context=context, batch=batch, profile=profile
        )
        area = mac_area(design.number_format, model.widest_k) * config.macs_per_clock
        rows.append(
            {
                "index": index,
                "model": name,
                "memory": memory,
                "context": context,
                "batch": batch,
                "lanes": lanes,
                "rows": height,
                "tokens": tokens,
                "clock_mhz": clock,
                "macs_per_clock": config.macs_per_clock,
                "arithmetic_mm2_45nm": area * 1e-6,
                "tokens_per_second": result.tokens_per_second,
                "joules_per_token": result.joules_per_token,
                "bound": result.bound,
            }
        )
    return rows


def pareto(rows: Sequence[dict[str, Any]]) -> list[bool]:
    """Tell which rows are on the Pareto front of their task.

    A row is on the front if no other row of the same task has at most its area and energy, at least
    its speed, and one of the three better. A task is a model, a memory, a context and a batch.

    Parameters
    ----------
    rows : rows of ``run_sweep``

    Returns
    -------
    A value for each row, in order
    """
    on_front = [False] * len(rows)
    tasks: dict[tuple[Any, ...], list[int]] = {}
    for place, row in enumerate(rows):
        key = tuple(row[name] for name in ("model", "memory", "context", "batch"))
        tasks.setdefault(key, []).append(place)
    for places in tasks.values():
        costs = np.array(
            [
                [
                    rows[place]["arithmetic_mm2_45nm"],
                    rows[place]["joules_per_token"],
                    -rows[place]["tokens_per_second"],
                ]
                for place in places
            ]
        )
        # A row that beats another comes before it in this order.
        front = np.empty((0, 3))
        for place in np.lexsort(costs.T[::-1]):
            cost = costs[place]
            beaten = (front <= cost).all(axis=1) & (front < cost).any(axis=1)
            if not beaten.any():
                front = np.vstack([front, cost])
                on_front[places[place]] = True
    return on_front


def run_sweep(
    grid: Grid,
    out: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Estimate every point of a grid, and write ``OUT.csv`` and ``OUT.json``.

    Finished points are kept in ``OUT.partial`` until the end. An interrupted sweep continues from
    there.

    Parameters
    ----------
    grid : the points
    out : name of the files, without an ending
    scheduler : address of a Dask scheduler; None for local processes
    workers : local processes; by default as many as there are CPUs
    progress : function of the points done and of all points, called as the sweep proceeds

    Returns
    -------
    A row per point in the grid's order; ``pareto`` is true for rows on the front

    Raises
    ------
    EstimateError
        If ``OUT.partial`` belongs to another sweep, Dask is needed and missing, or the scheduler
        does not answer.
    OutputError
        If a folder has the name of a file to write.
    """
    partial = out.with_name(f"{out.name}.partial")
    key = hashlib.sha256(json.dumps(asdict(grid)).encode()).hexdigest()
    rows: dict[int, dict[str, Any]] = {}
    if partial.exists():
        rows = _read_partial(partial, key)
    missing = [point for point in enumerate(grid.points()) if point[0] not in rows]
    chunks = [missing[at : at + _CHUNK] for at in range(0, len(missing), _CHUNK)]
    progress(len(rows), len(grid))
    for done in _finished(grid, chunks, scheduler, workers):
        if not rows:
            out.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps({"sweep": key}) + "\n", encoding="utf-8")
        with partial.open("a", encoding="utf-8") as log:
            log.write("".join(f"{json.dumps(row)}\n" for row in done))
        rows.update((row["index"], row) for row in done)
        progress(len(rows), len(grid))
    table = [rows[index] for index in range(len(grid))]
    for row, front in zip(table, pareto(table), strict=True):
        del row["index"]
        row["pareto"] = front
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    described = {"grid": asdict(grid), "label": "modelled", "rows": table}
    with new_files(out.parent) as making:
        (making / f"{out.name}.csv").write_text(text.getvalue(), encoding="utf-8")
        (making / f"{out.name}.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
    partial.unlink(missing_ok=True)
    return table


def _read_partial(partial: Path, key: str) -> dict[int, dict[str, Any]]:
    """Read the rows of an interrupted sweep, whose last line may be incomplete."""
    lines = partial.read_text(encoding="utf-8").split("\n")
    try:
        same = json.loads(lines[0]) == {"sweep": key}
    except ValueError:
        same = False
    if not same:
        raise EstimateError(
            f"{partial}: must belong to the same sweep, to be continued, not to another one; "
            "remove the file, or choose another --out"
        )
    rows = {}
    whole = [lines[0]]
    for line in lines[1:-1]:
        row = json.loads(line)
        rows[row["index"]] = row
        whole.append(line)
    if lines[-1]:
        write_text(partial, "\n".join(whole) + "\n")
    return rows


def _finished(
    grid: Grid,
    chunks: Iterable[Sequence[tuple[int, tuple[Any, ...]]]],
    scheduler: str | None,
    workers: int | None,
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of chunks as they are done."""
    if scheduler is not None:
        try:
            from distributed import Client, as_completed
        except ImportError:
            raise EstimateError(
                "--scheduler needs Dask; install it: python -m pip install 'trilith[cluster]'"
            ) from None
        try:
            client = Client(scheduler, timeout=10)
        except (OSError, ValueError) as error:
            raise EstimateError(f"--scheduler must be a Dask scheduler: {error}") from None
        with client:
            futures = [client.submit(_evaluate, grid, chunk) for chunk in chunks]
            for future in as_completed(futures):
                yield future.result()
        return
    chunks = list(chunks)
    if len(chunks) <= 1:
        for chunk in chunks:
            yield _evaluate(grid, chunk)
        return
    with ProcessPoolExecutor(workers) as pool:
        pending = {pool.submit(_evaluate, grid, chunk) for chunk in chunks}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)

"""Estimates over a grid of engines and systems, in local processes or on a cluster, resumable."""

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ...golden.checks import check_integer
from ...golden.errors import OutputError
from ...golden.files import check_outputs, naming_full_disk, new_files, write_text
from ...golden.input_files import shown
from ...hw.config import MatVecConfig
from ..tools.errors import EstimateError, estimate_errors
from ..tools.pool import process_pool
from ..tools.toolchain import remedy
from .comparison import mac_area
from .designs import own_design
from .memories import Memory, find_memory
from .model_shapes import MODELS, find_model
from .profiles import Profile, find_profile
from .system import estimate

__all__ = ["Grid", "pareto", "run_sweep"]

#: Points that a process takes at a time.
_CHUNK = 200

#: Most points of a grid.
_MOST = 1_000_000

#: Axes of a grid, the fastest one last: the column of the table, and the field of ``Grid``.
_AXES = {
    "model": "models",
    "memory": "memories",
    "context": "contexts",
    "batch": "batches",
    "lanes": "lanes",
    "rows": "rows",
    "tokens": "tokens",
    "clock_mhz": "clocks",
}

#: Results of a point by the column of the table, and their types.
_RESULTS = {
    "macs_per_clock": int,
    "arithmetic_mm2_45nm": float,
    "tokens_per_second": float,
    "joules_per_token": float,
    "bound": str,
}
_KINDS = {int: "a positive integer", float: "a positive number", str: "a text"}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Values of each axis of a sweep; every combination of them is a point.

    Parameters
    ----------
    models : names or files of models, see ``find_model``
    lanes, rows, tokens : sizes of the engine, see ``MatVecConfig``
    clocks : clock frequencies in MHz
    memories : memories by the names that they have in the table
    contexts, batches : tokens that a sequence attends to, and sequences; 1 to 2²⁰
    code : weight code of the engine, which sets the bits of a weight
    profile : energy figures

    Raises
    ------
    TypeError
        If a size is not an integer, or a clock frequency is not a number.
    EstimateError
        If there is no point, there are more than a million, or a value is not legal.
    """

    models: tuple[str, ...]
    lanes: tuple[int, ...]
    rows: tuple[int, ...]
    tokens: tuple[int, ...] = (1,)
    clocks: tuple[float, ...] = (250.0,)
    memories: Mapping[str, Memory] = field(
        default_factory=lambda: {"lpddr5": find_memory("lpddr5")}
    )
    contexts: tuple[int, ...] = (512,)
    batches: tuple[int, ...] = (1,)
    code: str = "base3"
    profile: Profile = field(default_factory=lambda: find_profile("jouppi7"))

    def __post_init__(self) -> None:
        if not 1 <= len(self) <= _MOST:
            raise EstimateError(f"a sweep must have from 1 to {_MOST} points, not {len(self)}")
        for name in self.models:
            find_model(name)
        for lanes, rows, tokens in product(self.lanes, self.rows, self.tokens):
            _config(lanes, rows, tokens, self.code)
        for name, values in (("context", self.contexts), ("batch", self.batches)):
            with estimate_errors():
                for value in values:
                    check_integer(name, value, 1, 2**20)
        for clock in self.clocks:
            own_design("sweep", _config(64, 1, 1, self.code), clock)

    def __len__(self) -> int:
        return prod(len(getattr(self, axis)) for axis in _AXES.values())

    def points(self) -> Iterator[tuple[Any, ...]]:
        """Return an iterator over all points, in order."""
        return product(*(getattr(self, axis) for axis in _AXES.values()))


def _config(lanes: int, rows: int, tokens: int, code: str) -> MatVecConfig:
    """Make the configuration of a point's engine."""
    with estimate_errors():
        return MatVecConfig(
            lanes=lanes, rows=rows, tokens=tokens, code=code, k_max=6912, n_max=131_072
        )


def _evaluate(grid: Grid, chunk: Sequence[tuple[int, tuple[Any, ...]]]) -> list[dict[str, Any]]:
    """Return the rows of some points."""
    models = {name: find_model(name) for name in grid.models}
    rows = []
    for index, values in chunk:
        point = dict(zip(_AXES, values, strict=True))
        config = _config(point["lanes"], point["rows"], point["tokens"], grid.code)
        design = own_design("sweep", config, point["clock_mhz"])
        model = models[point["model"]]
        result = estimate(
            model,
            design,
            grid.memories[point["memory"]],
            context=point["context"],
            batch=point["batch"],
            profile=grid.profile,
        )
        area = mac_area(design.number_format, model.widest_k) * config.macs_per_clock
        rows.append(
            {
                "index": index,
                **point,
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
    costs = np.array(
        [
            [row["arithmetic_mm2_45nm"], row["joules_per_token"], -row["tokens_per_second"]]
            for row in rows
        ]
    )
    for places in tasks.values():
        # A row that beats another comes before it in this order.
        front = np.empty((0, 3))
        for place in np.array(places)[np.lexsort(costs[places].T[::-1])]:
            cost = costs[place]
            beaten = (front <= cost).all(axis=1) & (front < cost).any(axis=1)
            if not beaten.any():
                front = np.vstack([front, cost])
                on_front[place] = True
    return on_front


def run_sweep(
    grid: Grid,
    out: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Estimate every point of a grid, and write ``OUT.csv`` and ``OUT.json``.

    Finished points are kept in ``OUT.partial`` until the end. An interrupted sweep continues from
    there. Missing folders are made.

    Parameters
    ----------
    grid : the points
    out : name of the files, without an ending
    scheduler : address of a Dask scheduler; None for local processes
    force : replace ``OUT.csv`` and ``OUT.json`` where they exist
    workers : local processes; by default as many as there are CPUs
    progress : function of the points done and of all points, called as the sweep proceeds

    Returns
    -------
    A row per point in the grid's order; ``pareto`` is true for rows on the front

    Raises
    ------
    EstimateError
        If ``OUT.partial`` is damaged or belongs to another sweep, Dask is needed and missing, or
        the scheduler does not answer.
    OutputError
        If a name is refused, see ``check_outputs``.
    """
    if out.name in ("", ".."):
        raise OutputError(f"{out}: must be a name, to which .csv and .json are added")
    files = [out.with_name(f"{out.name}{end}") for end in (".csv", ".json")]
    inputs = [Path(name) for name in grid.models if name not in MODELS]
    check_outputs(files, inputs=inputs, force=force)
    partial = out.with_name(f"{out.name}.partial")
    check_outputs([partial], inputs=inputs, force=True)
    key = _key(grid)
    rows = _read_partial(partial, grid, key) if partial.exists() else {}
    missing = [point for point in enumerate(grid.points()) if point[0] not in rows]
    chunks = [missing[at : at + _CHUNK] for at in range(0, len(missing), _CHUNK)]
    progress(len(rows), len(grid))
    for done in _finished(grid, chunks, scheduler, workers):
        if not rows:
            write_text(partial, json.dumps({"sweep": key}) + "\n", force=True)
        with naming_full_disk(partial), partial.open("a", encoding="utf-8") as log:
            log.write("".join(f"{json.dumps(row)}\n" for row in done))
        rows.update((row["index"], row) for row in done)
        progress(len(rows), len(grid))
    table = [rows[index] for index in range(len(grid))]
    for row, front in zip(table, pareto(table), strict=True):
        del row["index"]
        row["pareto"] = front
    described = {"grid": _without_infinity(asdict(grid)), "label": "modelled", "rows": table}
    with new_files(files, inputs=inputs, force=force) as making:
        with (making / files[0].name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
        (making / files[1].name).write_text(json.dumps(described, indent=1), encoding="utf-8")
    partial.unlink(missing_ok=True)
    return table


def _without_infinity(value: Any) -> Any:
    """Replace infinite numbers, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {key: _without_infinity(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [*map(_without_infinity, value)]
    return None if value == math.inf else value


def _key(grid: Grid) -> str:
    """Make a text that differs where a sweep's rows may: its values, models, figures, version."""
    models = [find_model(name) for name in grid.models]
    parts = (asdict(grid), models, version("trilith"))
    return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()


def _read_partial(partial: Path, grid: Grid, key: str) -> dict[int, dict[str, Any]]:
    """Read the rows of an interrupted sweep.

    The last line is dropped where it has no end: the sweep was writing it. Nothing else may be
    damaged.
    """
    *lines, rest = partial.read_bytes().split(b"\n")
    header = _parsed(lines[0]) if lines else None
    if not isinstance(header, dict) or [*header] != ["sweep"]:
        raise EstimateError(
            f"{partial}: must begin with the name of a sweep, to be continued, and does not; "
            "remove the file, or choose another --out"
        )
    if header["sweep"] != key:
        raise EstimateError(
            f"{partial}: must belong to the same sweep, to be continued, not to one of other "
            "options, other figures of a model, or another version; remove the file, or choose "
            "another --out"
        )
    points = list(grid.points())
    rows: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines[1:], 2):
        row = _parsed(line)
        wrong = _wrong(row, points)
        if not wrong and row["index"] in rows:
            wrong = f"the index {row['index']} must be there once, not twice"
        if wrong:
            raise EstimateError(
                f"{partial}: line {number}: {wrong}; remove the file to start the sweep again"
            )
        rows[row["index"]] = row
    if rest:
        write_text(partial, "".join(f"{line.decode()}\n" for line in lines), force=True)
    return rows


def _parsed(line: bytes) -> Any:
    """Parse a line of JSON; None where it is none."""
    try:
        return json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _wrong(row: Any, points: Sequence[tuple[Any, ...]]) -> str:
    """Find out why a row does not belong to a grid's points; the text is empty if it does."""
    if not isinstance(row, dict):
        return "must be an object in JSON"
    columns = ("index", *_AXES, *_RESULTS)
    if tuple(row) != columns:
        return f"the keys must be {', '.join(columns)}"
    index = row["index"]
    if type(index) is not int or not 0 <= index < len(points):
        return f"the index must be an integer from 0 to {len(points) - 1}, not {shown(index)}"
    point = tuple(row[axis] for axis in _AXES)
    if point != points[index]:
        return f"must be the point {points[index]} of the index {index}, not {shown(point)}"
    for name, kind in _RESULTS.items():
        value = row[name]
        if type(value) is not kind or (kind is not str and not 0 < value < math.inf):
            return f"{name} must be {_KINDS[kind]}, not {shown(value)}"
    return ""


@contextmanager
def _executor(scheduler: str | None, workers: int | None) -> Iterator[Executor]:
    """Start local processes, or connect to a Dask scheduler."""
    if scheduler is None:
        with process_pool(workers) as pool:
            yield pool
        return
    try:
        from distributed import Client
    except ImportError:
        raise EstimateError(
            f"--scheduler needs Dask, which is not installed: {remedy('distributed')}"
        ) from None
    try:
        client = Client(scheduler, timeout=10)
    except Exception as error:  # Dask raises errors of many kinds, assertions among them.
        reason = str(error) or f"{type(error).__name__} in Dask"
        raise EstimateError(f"--scheduler must be a Dask scheduler: {reason}") from None
    with client:
        yield client.get_executor()


def _finished(
    grid: Grid,
    chunks: Sequence[Sequence[tuple[int, tuple[Any, ...]]]],
    scheduler: str | None,
    workers: int | None,
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of chunks as they are done."""
    if scheduler is None and len(chunks) <= 1:
        yield from (_evaluate(grid, chunk) for chunk in chunks)
        return
    with _executor(scheduler, workers) as executor:
        futures = [executor.submit(_evaluate, grid, chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

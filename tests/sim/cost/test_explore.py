import csv
import json
import re
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from trilith.sim.cost import explore as sweep
from trilith.sim.cost.explore import Grid, pareto, run_sweep
from trilith.sim.cost.memories import find_memory
from trilith.sim.cost.model_shapes import MODELS
from trilith.sim.tools.errors import EstimateError

GRID = Grid(
    models=("bitnet-2b4t", "trilm-190m"),
    lanes=(20, 40),
    rows=(1, 2, 4, 8, 16),
    tokens=(1, 4),
    clocks=(250.0, 500.0),
    memories={name: find_memory(name) for name in ("lpddr5", "hbm2")},
    batches=(1, 8),
)


def test_a_sweep_writes_every_point(tmp_path):
    seen = []
    rows = run_sweep(
        GRID, tmp_path / "out", workers=1, progress=lambda done, total: seen.append((done, total))
    )
    assert len(rows) == len(GRID) == 320
    assert seen[0] == (0, 320)
    assert seen[-1] == (320, 320)
    stored = json.loads((tmp_path / "out.json").read_text())
    assert stored["rows"] == rows
    with open(tmp_path / "out.csv") as file:
        table = list(csv.DictReader(file))
    assert [float(row["tokens_per_second"]) for row in table] == [
        row["tokens_per_second"] for row in rows
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"out.json", "out.csv"}
    point = next(row for row in rows if (row["lanes"], row["rows"], row["batch"]) == (40, 8, 8))
    config = sweep._config(40, 8, point["tokens"], "base3")
    design = sweep.own_design("x", config, point["clock_mhz"])
    memory = find_memory(point["memory"])
    alone = sweep.estimate(MODELS[point["model"]], design, memory, batch=8)
    assert point["tokens_per_second"] == alone.tokens_per_second


def test_no_row_of_the_front_is_beaten(tmp_path):
    rows = run_sweep(GRID, tmp_path / "out", workers=1)
    task = ("model", "memory", "context", "batch")

    def beats(one, other):
        costs = [
            (row["arithmetic_mm2_45nm"], row["joules_per_token"], -row["tokens_per_second"])
            for row in (one, other)
        ]
        return (
            all(one[name] == other[name] for name in task)
            and all(a <= b for a, b in zip(*costs, strict=True))
            and costs[0] != costs[1]
        )

    naive = [not any(beats(other, row) for other in rows) for row in rows]
    assert [row["pareto"] for row in rows] == naive
    assert pareto(rows) == naive
    assert any(naive)
    assert not all(naive)


def test_an_interrupted_sweep_resumes(tmp_path, monkeypatch):
    whole = run_sweep(GRID, tmp_path / "whole", workers=1)
    evaluate = sweep._evaluate
    chunks = []

    def once(grid, chunk):
        if chunks:
            raise KeyboardInterrupt
        chunks.append(chunk)
        return evaluate(grid, chunk)

    monkeypatch.setattr(sweep, "_CHUNK", 100)
    monkeypatch.setattr(
        sweep,
        "_finished",
        lambda grid, chunks, *_: (sweep._evaluate(grid, chunk) for chunk in chunks),
    )
    monkeypatch.setattr(sweep, "_evaluate", once)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(GRID, tmp_path / "out")
    partial = tmp_path / "out.partial"
    assert len(partial.read_text().splitlines()) == 101
    assert not (tmp_path / "out.csv").exists()
    # The last line was being written.
    partial.write_text(partial.read_text() + '{"index": 100, "mod')
    again = []
    monkeypatch.setattr(
        sweep, "_evaluate", lambda grid, chunk: again.append(len(chunk)) or evaluate(grid, chunk)
    )
    assert run_sweep(GRID, tmp_path / "out") == whole
    assert again == [100, 100, 20]
    assert not partial.exists()


def test_the_weight_code_changes_bytes_and_energy(tmp_path):
    grid = Grid(models=("bitnet-2b4t",), lanes=(64,), rows=(64,), clocks=(1000.0,))
    rates, joules = {}, {}
    for code in ("binary", "base3", "two_bit"):
        (row,) = run_sweep(replace(grid, code=code), tmp_path / code)
        rates[code], joules[code] = row["tokens_per_second"], row["joules_per_token"]
    assert rates["binary"] > rates["base3"] > rates["two_bit"]
    # LPDDR5: 9 pJ for each bit of 2,084,044,800 weights.
    assert joules["base3"] - joules["binary"] == pytest.approx(2_084_044_800 * 0.6 * 9e-12)
    assert joules["two_bit"] - joules["base3"] == pytest.approx(2_084_044_800 * 0.4 * 9e-12)


def test_another_sweep_is_not_continued(tmp_path):
    (tmp_path / "out.partial").write_text('{"sweep": "other"}\n')
    message = (
        f"{tmp_path / 'out.partial'}: must belong to the same sweep, to be continued, not to one "
        "of other options, other figures of a model, or another version; remove the file, or "
        "choose another --out"
    )
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        run_sweep(GRID, tmp_path / "out")


@pytest.fixture
def partial(tmp_path):
    """A partial sweep of three points of four."""
    grid = Grid(models=("trilm-190m",), lanes=(20, 40), rows=(1, 2))
    rows = sweep._evaluate(grid, [*enumerate(grid.points())][:3])
    file = tmp_path / "out.partial"
    lines = [json.dumps(one) for one in ({"sweep": sweep._key(grid)}, *rows)]
    return SimpleNamespace(grid=grid, file=file, lines=lines, rows=rows, out=tmp_path / "out")


COLUMNS = (
    "index, model, memory, context, batch, lanes, rows, tokens, clock_mhz, macs_per_clock, "
    "arithmetic_mm2_45nm, tokens_per_second, joules_per_token, bound"
)
POINT = "('trilm-190m', 'lpddr5', 512, 1, 20, 2, 1, 250.0) of the index 1"
DAMAGES = {
    "no JSON": (b'{"index": 1, "mod', "must be an object in JSON"),
    "an empty line": (b"", "must be an object in JSON"),
    "zeros": (bytes(40), "must be an object in JSON"),
    "no UTF-8": (b'{"index": "\xff"}', "must be an object in JSON"),
    "UTF-16": ('{"index": 1}'.encode("utf-16"), "must be an object in JSON"),
    "deep": (b"[" * 200_000, "must be an object in JSON"),
    "a long integer": (b"9" * 10_000, "must be an object in JSON"),
    "an array": (b"[1]", "must be an object in JSON"),
    "no index": (b'{"model": "trilm-190m"}', f"the keys must be {COLUMNS}"),
    "another column": ({"front": True}, f"the keys must be {COLUMNS}"),
    "an index beyond the grid": (
        {"index": 4},
        "the index must be an integer from 0 to 3, not 4",
    ),
    "a negative index": ({"index": -1}, "the index must be an integer from 0 to 3, not -1"),
    "a true index": ({"index": True}, "the index must be an integer from 0 to 3, not True"),
    "a text as index": ({"index": "1"}, "the index must be an integer from 0 to 3, not '1'"),
    "an array as index": ({"index": []}, "the index must be an integer from 0 to 3, not []"),
    "another point": (
        {"index": 1, "lanes": 40},
        f"must be the point {POINT}, not ('trilm-190m', 'lpddr5', 512, 1, 40, 2, 1, 250.0)",
    ),
    "a repeated index": ({"index": 0, "rows": 1}, "the index 0 must be there once, not twice"),
    "a text as result": (
        {"tokens_per_second": "fast"},
        "tokens_per_second must be a positive number, not 'fast'",
    ),
    "no number": ({"joules_per_token": float("nan")}, "must be a positive number, not nan"),
    "infinity": ({"tokens_per_second": float("inf")}, "must be a positive number, not inf"),
    "a negative result": ({"joules_per_token": -1.0}, "must be a positive number, not -1.0"),
    "no bound": ({"bound": None}, "bound must be a text, not None"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_lines_of_a_partial_sweep(partial, damage):
    line, message = DAMAGES[damage]
    lines = [one.encode() for one in partial.lines]
    lines[2] = line if isinstance(line, bytes) else json.dumps(partial.rows[1] | line).encode()
    damaged = b"\n".join(lines) + b"\n"
    partial.file.write_bytes(damaged)
    message = f"{re.escape(message)}; remove the file to start the sweep again"
    place = re.escape(f"{partial.file}: line 3: ")
    with pytest.raises(EstimateError, match=rf"^{place}(\w+ )?{message}$"):
        run_sweep(partial.grid, partial.out)
    # Nothing is lost.
    assert partial.file.read_bytes() == damaged
    assert [*partial.file.parent.iterdir()] == [partial.file]


@pytest.mark.parametrize("begin", [b"", b"\n", b"\xff\n", b"[]\n", b"{}\n", b'{"sweep"', bytes(99)])
def test_a_file_that_is_no_partial_sweep(partial, begin):
    partial.file.write_bytes(begin)
    message = (
        f"{partial.file}: must begin with the name of a sweep, to be continued, and does not; "
        "remove the file, or choose another --out"
    )
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}$"):
        run_sweep(partial.grid, partial.out)
    assert partial.file.read_bytes() == begin


@pytest.mark.parametrize("tail", [b"", b'{"index": 3', b"\xff\xfe", bytes(4096)])
def test_a_line_that_was_being_written_is_dropped(partial, monkeypatch, tail):
    whole = run_sweep(partial.grid, partial.out.with_name("whole"))
    partial.file.write_bytes("".join(f"{line}\n" for line in partial.lines).encode() + tail)
    evaluate, again = sweep._evaluate, []
    monkeypatch.setattr(
        sweep, "_evaluate", lambda grid, chunk: again.extend(chunk) or evaluate(grid, chunk)
    )
    assert run_sweep(partial.grid, partial.out) == whole
    assert [index for index, _ in again] == [3]


def test_a_sweep_of_another_version_or_model_is_not_continued(partial, monkeypatch, tmp_path):
    key = sweep._key(partial.grid)
    assert sweep._key(replace(partial.grid, rows=(2, 1))) != key
    monkeypatch.setattr(sweep, "version", lambda name: "0.0.1")
    assert sweep._key(partial.grid) != key
    config = {"model_type": "llama", "hidden_act": "silu", "vocab_size": 100, "hidden_size": 256}
    config |= {"intermediate_size": 512, "num_attention_heads": 4}
    keys = set()
    for layers in (1, 2):
        (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}))
        grid = replace(partial.grid, models=(str(tmp_path / "config.json"),))
        keys.add(sweep._key(grid))
    assert len(keys) == 2


def test_processes_share_the_work(tmp_path):
    grid = Grid(models=("trilm-190m",), lanes=tuple(range(5, 55)), rows=tuple(range(1, 11)))
    rows = run_sweep(grid, tmp_path / "out", workers=2)
    assert [(row["lanes"], row["rows"]) for row in rows] == [
        (lanes, height) for lanes in range(5, 55) for height in range(1, 11)
    ]


def test_a_thousand_points_take_little(tmp_path):
    grid = Grid(models=("bitnet-2b4t",), lanes=tuple(range(5, 255, 5)), rows=tuple(range(1, 21)))
    start = time.process_time()
    sweep._evaluate(grid, list(enumerate(grid.points())))
    # 10,000 points within 20 s on two cores are 4 ms each.
    assert time.process_time() - start < 4


def test_dask(tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        by_cluster = run_sweep(GRID, tmp_path / "out", scheduler=cluster.scheduler_address)
    assert by_cluster == run_sweep(GRID, tmp_path / "local", workers=1)


def test_an_absent_scheduler_leaves_nothing(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")

    def client(address, timeout):
        raise OSError(f"no answer from {address}")

    monkeypatch.setattr(distributed, "Client", client)
    message = "--scheduler must be a Dask scheduler: no answer from tcp://x:1"
    with pytest.raises(EstimateError, match=f"^{message}$"):
        run_sweep(GRID, tmp_path / "out", scheduler="tcp://x:1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lanes": (4,)}, "lanes must be from 5 to 320, not 4"),
        ({"rows": ()}, "a sweep must have from 1 to 1000000 points, not 0"),
        (
            {"lanes": tuple(range(5, 305)) * 50, "rows": tuple(range(1, 65)), "tokens": (1, 2)},
            "a sweep must have from 1 to 1000000 points, not 1920000",
        ),
        ({"batches": (0,)}, "batch must be from 1 to 1048576, not 0"),
        ({"clocks": (-1.0,)}, "clock_mhz must be from 0.001 to 100000, not -1.0"),
        ({"models": ("x",)}, "the model must be a config.json, a "),
    ],
)
def test_bad_grids(fields, message):
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}"):
        Grid(**{"models": ("bitnet-2b4t",), "lanes": (64,), "rows": (1,)} | fields)

import csv
import json
import re
import time
from dataclasses import replace

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
    memories=("lpddr5", "hbm2"),
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
    message = f"{tmp_path / 'out.partial'}: must belong to the same sweep, to be continued, "
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}"):
        run_sweep(GRID, tmp_path / "out")


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
        ({"clocks": (-1.0,)}, "clock_mhz must be above 0, not -1.0"),
        ({"memories": ("x",)}, "the memory must be one of "),
        ({"models": ("x",)}, "the model must be a config.json, a "),
        ({"profile": "x"}, "the energy profile must be one of "),
    ],
)
def test_bad_grids(fields, message):
    with pytest.raises(EstimateError, match=f"^{re.escape(message)}"):
        Grid(**{"models": ("bitnet-2b4t",), "lanes": (64,), "rows": (1,)} | fields)

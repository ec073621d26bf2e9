"""``trilith sweep``: estimates over a grid of engines and systems."""

from itertools import groupby
from pathlib import Path

from ..hw.config import WeightCode
from .options import command, force_option, new_app, option, parse_list
from .output import Column, Table, print_json, print_note, progress
from .technology import TechnologyOptions, chosen_technology

__all__ = ["app"]

app = new_app()


class _Options(TechnologyOptions):
    out: Path = option(
        ..., "Name of the files without an ending: OUT.csv and OUT.json are written."
    )
    model: str = option("bitnet-2b4t", "Models, separated by commas.")
    lanes: str = option("64", "Lanes, separated by commas.")
    rows: str = option("1,2,4,8,16,32,64", "Rows, separated by commas.")
    tokens: str = option("1,4", "Activation vectors of a pass, separated by commas.")
    clock_mhz: str = option("250,1000", "Clock frequencies in MHz, separated by commas.")
    memory: str | None = option(
        None,
        "Memories, separated by commas. Default: lpddr5, or the first memory of --technology.",
    )
    context: str = option("512", "Contexts in tokens, separated by commas.")
    batch: str = option("1", "Numbers of sequences, separated by commas.")
    code: WeightCode = option(WeightCode.BASE3, "Weight code of all engines.")
    scheduler: str | None = option(
        None, "Address of a Dask scheduler. Default: processes on this machine."
    )
    force: bool = force_option()
    as_json: bool = option(False, "Print the Pareto front as JSON.", "--json")


@command(app)
def sweep(options: _Options) -> None:
    """Estimate every combination, and print the Pareto front (modelled).

    The front has the least arithmetic area (45 nm), the least energy and the most tokens per
    second, for each model, memory, context and batch. An interrupted sweep keeps its results in
    OUT.partial. When it is started again, it continues there.

    Example:
      trilith sweep --rows 4,8,16,32 --memory lpddr5,hbm2 --batch 1,16 --out build/sweep
    """
    from ..sim.cost.explore import Grid, run_sweep

    technology = chosen_technology(options)
    names = (options.memory or technology.default_memory).split(",")
    grid = Grid(
        models=tuple(options.model.split(",")),
        lanes=parse_list("--lanes", options.lanes, int, 5, 320),
        rows=parse_list("--rows", options.rows, int, 1, 64),
        tokens=parse_list("--tokens", options.tokens, int, 1, 8),
        clocks=parse_list("--clock-mhz", options.clock_mhz, float, 0.001, 1e5),
        memories={name: technology.memory(name) for name in names},
        contexts=parse_list("--context", options.context, int, 1, 2**20),
        batches=parse_list("--batch", options.batch, int, 1, 2**20),
        code=options.code,
        profile=technology.profile,
    )
    with progress("estimating") as show:
        table = run_sweep(
            grid,
            options.out,
            scheduler=options.scheduler,
            force=options.force,
            progress=lambda done, _: show(done, len(grid)),
        )
    front = [row for row in table if row["pareto"]]
    if options.as_json:
        energy = technology.text
        print_json({"points": len(table), "front": front, "energy": energy, "label": "modelled"})
        return
    for task, rows in groupby(front, key=lambda row: [row[name] for name in _TASK]):
        print_note("{}, {}, context {}, batch {}".format(*task))
        Table(*_COLUMNS).rows(rows)
        print()
    print_note(f"energy: {technology.text}; area: 45 nm")
    print_note(
        f"{len(front)} of {len(table)} points are on a front; all points are in {options.out}.csv "
        f"and {options.out}.json."
    )


#: Columns of a point that a front has in common.
_TASK = ("model", "memory", "context", "batch")

_COLUMNS = (
    Column("lanes x rows x tokens", "{lanes} x {rows} x {tokens}".format_map, 0, "<"),
    Column("MHz", "clock_mhz", 5, "g"),
    Column("mm2 (45 nm)", "arithmetic_mm2_45nm", form=".3f"),
    Column("tokens/s", "tokens_per_second", 9, ".2f"),
    Column("mJ/token", lambda row: row["joules_per_token"] * 1e3, 9, ".3f"),
    Column("bound", "bound", form="<"),
)

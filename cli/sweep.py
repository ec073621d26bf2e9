"""``trilith sweep``: estimates over a grid of engines and systems."""

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["sweep"]


def _values(option: str, text: str, kind: type) -> tuple:
    try:
        return tuple(kind(value) for value in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"--{option} must be numbers separated by commas, not {text!r}"
        ) from None


def sweep(
    out: Annotated[
        Path,
        typer.Option(help="Name of the files without an ending: OUT.csv and OUT.json are written."),
    ],
    model: Annotated[str, typer.Option(help="Models, separated by commas.")] = "bitnet-2b4t",
    lanes: Annotated[str, typer.Option(help="Lanes, separated by commas; as all below.")] = "64",
    rows: Annotated[str, typer.Option(help="Rows.")] = "1,2,4,8,16,32,64",
    tokens: Annotated[str, typer.Option(help="Activation vectors of a pass.")] = "1,4",
    clock: Annotated[str, typer.Option(help="Clocks in MHz.")] = "250,1000",
    memory: Annotated[str, typer.Option(help="Memories.")] = "lpddr5",
    context: Annotated[str, typer.Option(help="Contexts.")] = "512",
    batch: Annotated[str, typer.Option(help="Sequences.")] = "1",
    code: Annotated[str, typer.Option(help="Weight code of the engines, one.")] = "base3",
    profile: Annotated[
        str, typer.Option(help="Energy figures, as of 'trilith energy'.")
    ] = "jouppi7",
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler. Default: processes on this machine."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the Pareto front as JSON.")
    ] = False,
) -> None:
    """Estimate every combination, and print those that no other beats (modelled).

    The front is of least arithmetic area (45 nm), least energy and most tokens per second, for each
    model, memory, context and batch. A sweep that is interrupted keeps what it has in OUT.partial
    and continues there when it is started again.

    Example:
      trilith sweep --rows 4,8,16,32 --memory lpddr5,hbm2 --batch 1,16 --out build/sweep
    """
    from rich.console import Console
    from rich.progress import Progress

    from ..sim.cost.explore import Grid, run_sweep

    grid = Grid(
        models=tuple(model.split(",")),
        lanes=_values("lanes", lanes, int),
        rows=_values("rows", rows, int),
        tokens=_values("tokens", tokens, int),
        clocks=_values("clock", clock, float),
        memories=tuple(memory.split(",")),
        contexts=_values("context", context, int),
        batches=_values("batch", batch, int),
        code=code,
        profile=profile,
    )
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("estimating", total=len(grid))
        table = run_sweep(
            grid,
            out,
            scheduler=scheduler,
            progress=lambda done, total: bar.update(task, completed=done),
        )
    front = [row for row in table if row["pareto"]]
    if as_json:
        print(json.dumps({"points": len(table), "front": front, "label": "modelled"}, indent=2))
        return
    print(
        f"{'model':<16} {'memory':<16} {'context':>7} {'batch':>5} {'lanes x rows x tokens':<21} "
        f"{'MHz':>6} {'mm2 45 nm':>9} {'tokens/s':>10} {'mJ/token':>9}  bound"
    )
    for row in front:
        shape = f"{row['lanes']} x {row['rows']} x {row['tokens']}"
        print(
            f"{row['model']:<16} {row['memory']:<16} {row['context']:>7} {row['batch']:>5} "
            f"{shape:<21} {row['clock_mhz']:>6g} {row['arithmetic_mm2_45nm']:>9.3f} "
            f"{row['tokens_per_second']:>10.2f} {row['joules_per_token'] * 1e3:>9.3f}  "
            f"{row['bound']}"
        )
    print(
        f"{len(front)} of {len(table)} points are on a front; all are in {out}.csv and {out}.json"
    )

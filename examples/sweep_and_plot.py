"""Estimate a grid of engines, find the best of them, and plot all.

Run it with ``python examples/sweep_and_plot.py FOLDER``. The new folder gets ``sweep.csv``,
``sweep.json`` and ``sweep.png``. All figures are modelled. The plot needs the extra ``plots``.
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from trilith.sim.cost.explore import Grid, run_sweep


def main(folder: Path) -> None:
    """Run the sweep, print its front and draw it."""
    grid = Grid(
        models=("bitnet-2b4t",),
        lanes=(64,),
        rows=(1, 2, 4, 8, 16, 32),
        tokens=(1, 4),
        clocks=(250.0, 1000.0),
        batches=(4,),
    )
    folder.mkdir(parents=True)
    table = run_sweep(grid, folder / "sweep")
    front = [row for row in table if row["pareto"]]
    print(f"points: {len(table)}, on the Pareto front: {len(front)} (modelled)")
    best = max(table, key=lambda row: row["tokens_per_second"])
    print(
        f"fastest: {best['lanes']}x{best['rows']}x{best['tokens']} at {best['clock_mhz']:g} MHz, "
        f"{best['tokens_per_second']:.1f} tokens per second, bound: {best['bound']}"
    )

    figure = Figure(layout="constrained")
    axes = figure.add_subplot(
        xscale="log",
        xlabel="area of the arithmetic, mm² in 45 nm (modelled)",
        ylabel="tokens per second (modelled)",
        title="BitNet b1.58 2B4T, batch 4, LPDDR5",
    )
    looks = ((table, "o", "all points"), (front, "*-", "front of area, energy and speed"))
    for rows, look, label in looks:
        ordered = sorted(rows, key=lambda row: row["arithmetic_mm2_45nm"])
        points = [(row["arithmetic_mm2_45nm"], row["tokens_per_second"]) for row in ordered]
        axes.plot(*zip(*points, strict=True), look, label=label)
    axes.legend()
    figure.savefig(folder / "sweep.png")
    print(f"plot: {folder / 'sweep.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "sweep"))

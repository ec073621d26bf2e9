"""``make plots``: the figures, the numbers behind each, and a page with all of them."""

import base64
import html
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...golden.files import new_files
from ...sim.cost.designs import DESIGNS, Design
from ...sim.cost.energy import Product, matmul_energy, ternary_ratios
from ...sim.cost.explore import Grid, run_sweep
from ...sim.cost.memories import DRAM, EFFICIENCY, find_memory
from ...sim.cost.model_shapes import GPT3, MODELS
from ...sim.cost.paper import paper_energy
from ...sim.cost.profiles import FORMATS, find_profile
from ...sim.cost.system import estimate
from ...sim.cost.validation import predict, summary
from ..claims import QUALITY, claims
from .gate import GATE_FIGURES, PUBLISHED_MAC_ENERGIES
from .style import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SETTINGS, SKY, Drawing, save

__all__ = ["FIGURES", "draw", "main"]

_STYLES = {
    "fp32": (BLACK, "v", "-"),
    "fp16": (RED, "o", "-"),
    "bf16": (PINK, "P", "--"),
    "int8": (ORANGE, "s", "-."),
    "w4a16": (PINK, "^", ":"),
    "ternary-2.0": (SKY, "d", "--"),
    "ternary-1.6": (BLUE, "D", "-"),
    "binary": (GREEN, "*", ":"),
}


_MODEL = "bitnet-2b4t"


def _any(number_format: str) -> Design:
    """Arithmetic of a format that is never the bound, 16 rows to a read, weights read once."""
    return Design(
        name=number_format,
        reader="fabric",
        clock_mhz=1000.0,
        weight_format=number_format,
        pass_tokens=2**20,
        rows=16,
        source="modelled",
    )


def _stack(
    axes: Axes, names: Sequence[str], parts: dict[str, list[float]], *, legend: bool = True
) -> None:
    colors = {
        "MAC": (BLUE, ""),
        "register": (BLACK, ""),
        "SRAM": (ORANGE, "//"),
        "DRAM": (SKY, ".."),
        "attention": (PINK, "xx"),
    }
    bottom = [0.0] * len(names)
    for part, values in parts.items():
        color, hatch = colors[part]
        axes.bar(
            names,
            values,
            bottom=bottom,
            color=color,
            hatch=hatch,
            label=part,
            edgecolor="white",
            linewidth=0.5,
        )
        bottom = [low + value for low, value in zip(bottom, values, strict=True)]
    for place, value in enumerate(bottom):
        axes.annotate(f"{value:.3g}", (place, value), ha="center", va="bottom", fontsize=9)
    axes.tick_params(axis="x", rotation=40)
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.12)
    if legend:
        axes.legend(frameon=False)


def _matmul() -> Drawing:
    profile = find_profile("jouppi7")
    names = ["fp16", "bf16", "int8", "w4a16", "ternary-2.0", "ternary-1.6", "binary"]
    figure = Figure(figsize=(13, 8.4), layout="constrained")
    axes = figure.subplots(2, 2)
    rows: list[dict[str, Any]] = []
    n, k, tokens = 6912, 2560, 64
    for place, (dram, label) in enumerate(
        ((None, "weights on chip"), ("lpddr5", "weights from LPDDR5, once for 64 tokens"))
    ):
        parts: dict[str, list[float]] = {"MAC": [], "register": [], "SRAM": [], "DRAM": []}
        for name in names:
            energy = matmul_energy(
                Product(n=n, k=k, tokens=tokens, rows=16, pass_tokens=tokens),
                FORMATS[name],
                profile,
                DRAM[dram] if dram else None,
            )
            macs = n * k * tokens
            for part in parts:
                value = getattr(energy, part.lower()) / macs
                parts[part].append(value)
                rows.append({"panel": label, "format": name, "part": part, "pj_per_mac": value})
        shown = {part: values for part, values in parts.items() if any(values)}
        _stack(axes[0][place], names, shown)
        axes[0][place].set(ylabel="energy per MAC (pJ)", title=f"A product, {label}")
    model = MODELS[_MODEL]
    parts = {"MAC": [], "SRAM": [], "DRAM": [], "attention": []}
    for name in names:
        result = estimate(
            model, _any(name), find_memory("lpddr5"), context=512, batch=64, profile=profile
        )
        assert result.parts is not None
        values = {
            "MAC": result.parts.mac,
            "SRAM": result.parts.sram,
            "DRAM": result.parts.dram,
            "attention": result.attention_pj,
        }
        for part, value in values.items():
            parts[part].append(value * 1e-9 / 64)
            rows.append({"panel": "token", "format": name, "part": part, "mj": value * 1e-9 / 64})
    _stack(axes[1][0], names, parts)
    axes[1][0].set(
        ylabel="energy per token (mJ)",
        title="A token of 2B4T, batch 64, context 512, LPDDR5",
    )
    ratios = {
        f"{bits}-bit add": value for bits, value in ternary_ratios(profile, (8, 20, 24, 32)).items()
    }
    ratios |= {"bits moved, 1.6": 16 / 1.6, "bits moved, 2.0": 16 / 2.0}
    colors = [RED, *[BLUE] * 3, *[SKY] * 2]
    last = axes[1][1]
    last.barh(list(ratios)[::-1], list(ratios.values())[::-1], color=colors[::-1])
    for place, value in enumerate(list(ratios.values())[::-1]):
        last.annotate(
            f"{value:.1f}x", (value, place), xytext=(4, 0), va="center", textcoords="offset points"
        )
    last.set(
        xscale="log",
        xlim=(5, 130),
        xlabel="FP16 over ternary (log scale)",
        title="What one ternary accumulate is taken to be;\nred: the published 71.4x",
    )
    last.set_xticks([5, 10, 20, 50, 100], labels=["5", "10", "20", "50", "100"])
    last.grid(axis="y", visible=False)
    rows += [{"panel": "ratio", "format": name, "ratio": value} for name, value in ratios.items()]
    return Drawing(
        figure=figure,
        rows=rows,
        title="Energy of a matrix product by number format",
        caption="Modelled from published figures (jouppi7: Jouppi et al., ISCA 2021, 7 nm): "
        f"arithmetic only, no registers, clock, wires or decoding. W ({n}, {k}), {tokens} tokens; "
        "activations from 8 KB of SRAM, each read shared by 16 rows; integer adders as wide as the "
        f"sum. LPDDR5: {DRAM['lpddr5'].pj_per_bit:g} pJ/bit, {DRAM['lpddr5'].boundary}. Token: "
        "16-bit head and cache, attention in FP16.",
    )


def _prefill() -> Drawing:
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    rows: list[dict[str, Any]] = []
    models = list(GPT3.values())
    sizes = [model.linear_weights / 1e9 for model in models]
    for bits, label, style in (
        (32, "FP32", _STYLES["fp32"]),
        (16, "FP16", _STYLES["fp16"]),
        (1, "BitNet", _STYLES["ternary-1.6"]),
    ):
        energies = [paper_energy(model, bits=bits) for model in models]
        color, marker, line = style
        axes.plot(
            sizes,
            [one.total for one in energies],
            color=color,
            marker=marker,
            linestyle=line,
            label=label,
        )
        if bits == 1:
            axes.plot(
                sizes,
                [one.attention for one in energies],
                color=PINK,
                marker="x",
                linestyle=":",
                label="of BitNet: FP16 attention",
            )
        rows += [
            {
                "series": label,
                "model": model.name,
                "weights_g": size,
                "joules": one.total,
                "attention_joules": one.attention,
            }
            for model, size, one in zip(models, sizes, energies, strict=True)
        ]
    published = {
        "llama3.2-1b": 0.258,
        "gemma3-1b": 0.186,
        "qwen2.5-1.5b": 0.347,
        "smollm2-1.7b": 0.425,
        "minicpm-2b": 0.649,
        "bitnet-2b4t": 0.028,
    }
    where = [MODELS[name].linear_weights / 1e9 for name in published]
    axes.scatter(
        where,
        list(published.values()),
        facecolors="none",
        edgecolors=GREEN,
        s=90,
        linewidths=1.8,
        zorder=3,
        label="published, 2B4T report",
    )
    for name, size in zip(published, where, strict=True):
        bits = 1 if name == _MODEL else 16
        ours = paper_energy(MODELS[name], bits=bits).total
        rows.append(
            {
                "series": "published",
                "model": name,
                "weights_g": size,
                "joules": published[name],
                "recipe_joules": ours,
            }
        )
        axes.plot([size], [ours], color=BLACK, marker=".", linestyle="none")
    axes.plot([], [], color=BLACK, marker=".", linestyle="none", label="the recipe for the same")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="weights of linear layers (10⁹)",
        ylabel="energy of a 512-token prompt (J)",
    )
    axes.legend(frameon=False)
    return Drawing(
        figure=figure,
        rows=rows,
        title="Energy of a 512-token prompt over model sizes",
        caption="Modelled by the recipe of BitNet's Table 1 (arXiv 2310.11453) from figures of "
        "Jouppi et al., 7 nm: arithmetic only, an 8-bit add for each ternary MAC, attention in "
        "FP16 as a full square, no head. GPT-3 shapes, 125M to 70B. Rings: published in arXiv "
        "2504.12285; dots: the same recipe on those models.",
    )


def _batch() -> Drawing:
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    rows: list[dict[str, Any]] = []
    profile = find_profile("jouppi7")
    batches = [2**power for power in range(0, 11)]
    for name in ("fp16", "int8", "w4a16", "ternary-1.6"):
        joules = []
        for batch in batches:
            result = estimate(
                MODELS[_MODEL],
                _any(name),
                find_memory("hbm2"),
                context=512,
                batch=batch,
                profile=profile,
            )
            joules.append((result.joules_per_token or 0) * 1e3)
            rows.append({"format": name, "batch": batch, "mj_per_token": joules[-1]})
        color, marker, line = _STYLES[name]
        axes.plot(batches, joules, color=color, marker=marker, linestyle=line, label=name)
    floor = estimate(
        MODELS[_MODEL], _any("fp16"), find_memory("hbm2"), context=512, profile=profile
    )
    axes.axhline(
        floor.attention_pj * 1e-9,
        color=BLACK,
        linestyle=(0, (1, 3)),
        label="attention alone, all formats",
    )
    rows.append({"format": "attention", "batch": 1, "mj_per_token": floor.attention_pj * 1e-9})
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="sequences that share a pass over the weights",
        ylabel="energy per token (mJ)",
    )
    axes.set_xscale("log", base=2)
    axes.legend(frameon=False)
    return Drawing(
        figure=figure,
        rows=rows,
        title="Energy of a token against batch, BitNet 2B4T's shape",
        caption="Modelled: jouppi7 (7 nm, published figures, arithmetic only), weights and cache "
        f"from HBM2 at {DRAM['hbm2'].pj_per_bit:g} pJ/bit ({DRAM['hbm2'].boundary}), context 512, "
        "16-bit head and cache, 16 rows to an activation read, weights read once a step. Dynamic "
        "energy of products and memory.",
    )


def _roofline() -> Drawing:
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    rows: list[dict[str, Any]] = []
    peak = 1024 * 1000e6
    share, _ = EFFICIENCY["fabric"]
    bandwidth = share * find_memory("lpddr5").gigabytes_per_second * 1e9
    for name in ("fp16", "int8", "w4a16", "ternary-2.0", "ternary-1.6", "binary"):
        each = FORMATS[name].weight_bits / 8
        ridge = peak * each / bandwidth
        vectors = sorted([*(2.0**power for power in range(10)), ridge])
        rate = [min(peak, bandwidth / each * one) / 1e9 for one in vectors]
        color, marker, line = _STYLES[name]
        axes.plot(vectors, rate, color=color, linestyle=line, linewidth=1.8)
        axes.plot(
            [ridge],
            [peak / 1e9],
            color=color,
            marker=marker,
            markersize=9,
            linestyle=line,
            label=f"{name}: {each:g} bytes, ridge at {ridge:.1f}",
        )
        rows += [
            {"format": name, "vectors": one, "gmac_per_s": value, "ridge": ridge}
            for one, value in zip(vectors, rate, strict=True)
        ]
    axes.set(
        xlabel="activation vectors that share a pass over the weights",
        ylabel="10⁹ MACs per second (two operations each)",
        yscale="log",
    )
    axes.set_xscale("log", base=2)
    axes.legend(frameon=False, title="bytes per weight, and vectors at the ridge")
    return Drawing(
        figure=figure,
        rows=rows,
        title="Roofline, with a ridge per bytes per weight",
        caption="Modelled: 1024 MACs a clock at 1 GHz; LPDDR5-6400, 64 bits, 51.2 GB/s of which "
        f"{share:.0%} are sustained ({EFFICIENCY['fabric'][1]}). Weights are the only traffic.",
    )


def _pareto() -> Drawing:
    grid = Grid(
        models=(_MODEL,),
        lanes=(20, 40, 64, 80, 128, 160),
        rows=(1, 2, 4, 8, 16, 32, 64),
        tokens=(1, 2, 4, 8),
        clocks=(250.0, 500.0, 1000.0),
        batches=(8,),
    )
    with tempfile.TemporaryDirectory(prefix="trilith-") as folder:
        rows = run_sweep(grid, Path(folder) / "sweep", workers=1)
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for tokens, color, marker in (
        (1, RED, "o"),
        (2, ORANGE, "s"),
        (4, GREEN, "^"),
        (8, BLUE, "D"),
    ):
        for front in (False, True):
            some = [row for row in rows if row["tokens"] == tokens and row["pareto"] == front]
            axes.scatter(
                [row["arithmetic_mm2_45nm"] for row in some],
                [row["joules_per_token"] * 1e3 for row in some],
                s=[14 + 6 * row["tokens_per_second"] ** 0.5 for row in some],
                facecolors=color if front else "none",
                edgecolors=color,
                marker=marker,
                alpha=0.9 if front else 0.35,
                label=f"{tokens} vector{'s' * (tokens > 1)} a pass" if front else None,
            )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="arithmetic area (mm², 45 nm)",
        ylabel="energy per token (mJ)",
    )
    axes.set_yticks([10, 20, 30, 40, 60], labels=["10", "20", "30", "40", "60"])
    axes.minorticks_off()
    axes.legend(
        title="filled: on the front of area, energy, speed\nsize: tokens/s",
        loc="upper right",
        bbox_to_anchor=(1, 0.93),
    )
    return Drawing(
        figure=figure,
        rows=rows,
        title="Area and energy of the sweep, BitNet 2B4T, eight sequences",
        caption=f"Modelled: {len(rows)} engines of 20 to 160 lanes, 1 to 64 rows, 250 to 1000 "
        "MHz, exact cycles, LPDDR5, context 512; energy by jouppi7 (7 nm, arithmetic only); "
        "area of adders by Horowitz's 45 nm figures. Two nodes: compare within an axis.",
    )


def _published() -> Drawing:
    predictions = predict()
    total = summary(predictions)
    figure = Figure(figsize=(9.5, 7), layout="constrained")
    axes = figure.subplots()
    low, high = 0.05, 2000
    axes.plot([low, high], [low, high], color=BLACK, linewidth=1, label="predicted = published")
    axes.fill_between(
        [low, high],
        [0.8 * low, 0.8 * high],
        [1.2 * low, 1.2 * high],
        color="#DDDDDD",
        label="within 20 %",
    )
    systems = list(dict.fromkeys(one.row.system.partition(",")[0] for one in predictions))
    markers = "oDs^vP*Xdp<>"
    colors = [BLUE, ORANGE, GREEN, RED, SKY, PINK, BLACK]
    for index, system in enumerate(systems):
        some = [one for one in predictions if one.row.system.partition(",")[0] == system]
        axes.scatter(
            [one.row.rate for one in some],
            [one.rate for one in some],
            color=[colors[index % 7] if one.row.counted else "none" for one in some],
            edgecolors=colors[index % 7],
            marker=markers[index],
            s=70,
            zorder=3,
            label=system,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(low, high),
        ylim=(low, high),
        xlabel="published (tokens/s)",
        ylabel="predicted (tokens/s)",
    )
    axes.legend(frameon=False, fontsize=9)
    rows = [
        {
            "system": one.row.system,
            "model": one.row.model,
            "published": one.row.rate,
            "predicted": one.rate,
            "error": one.error,
            "bound": one.bound,
            "counted": one.row.counted,
            "assumptions": one.row.assumptions,
            "source": one.row.source,
        }
        for one in predictions
    ]
    return Drawing(
        figure=figure,
        rows=rows,
        title="Predicted against published tokens per second",
        caption=f"Modelled against measured by others; median absolute error of {total['rows']} "
        f"rows {total['median_absolute_error']:.0%}, of {total['systems']} systems "
        f"{total['median_over_systems']:.0%}. One set of constants; hollow: not counted. Sources "
        "and assumptions: the table, and 'trilith estimate --validation'.",
    )


def _measured() -> Drawing:
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots()
    kinds = {"float": (RED, "o"), "int8": (ORANGE, "s"), "ternary": (BLUE, "D")}
    points = [*PUBLISHED_MAC_ENERGIES]
    profile = find_profile("jouppi7")
    for name, kind in (("fp16", "float"), ("int8", "int8"), ("ternary-1.6", "ternary")):
        pj = sum(figure.pj for figure in profile.mac(FORMATS[name], 2560).values())
        points.append((f"jouppi7, {name}: arithmetic only", "7 nm", kind, pj, "modelled"))
    points.sort(key=lambda point: -point[3])
    for place, (_, node, kind, pj, words) in enumerate(points):
        color, marker = kinds[kind]
        modelled = words == "modelled"
        axes.plot(
            [pj],
            [place],
            color=color,
            marker=marker,
            markersize=9,
            linestyle="none",
            markerfacecolor="none" if modelled else color,
        )
        axes.annotate(
            f"{pj:.3g} pJ, {node}",
            (pj, place),
            xytext=(9, 0),
            va="center",
            textcoords="offset points",
            fontsize=9,
        )
    axes.set_yticks(range(len(points)), labels=[point[0] for point in points])
    axes.set(xscale="log", xlabel="energy per MAC (pJ, log scale)", xlim=(1e-3, 20))
    for kind, (color, marker) in kinds.items():
        axes.plot([], [], color=color, marker=marker, linestyle="none", label=kind)
    axes.legend(frameon=False, title="kind of MAC; hollow: modelled")
    rows = [
        {"work": name, "node": node, "kind": kind, "pj_per_mac": pj, "as_published": words}
        for name, node, kind, pj, words in points
    ]
    return Drawing(
        figure=figure,
        rows=rows,
        title="Published energies per MAC, of different nodes and boundaries",
        caption="Published, each in its own node, voltage and boundary, none scaled: a ratio of "
        "two of them is not a ratio of formats. Two operations are a MAC; VitaLLM and TOM by "
        "power, tokens per second and the model's linear weights. Hollow: modelled by published "
        "figures of arithmetic (Jouppi et al., ISCA 2021).",
    )


#: Figures by file name.
FIGURES: dict[str, Callable[[], Drawing]] = {
    "matmul_energy": _matmul,
    "prefill_energy": _prefill,
    "batch_energy": _batch,
    "roofline": _roofline,
    "pareto": _pareto,
    "published": _published,
    "measured": _measured,
    **GATE_FIGURES,
}


def draw(folder: Path, names: Iterable[str] = FIGURES) -> list[Path]:
    """Draw figures as PNG and SVG with a CSV each, and ``report.html`` with those drawn.

    Returns
    -------
    The files, the page last
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, sections = [], []
    with new_files(folder) as making, mpl.rc_context(SETTINGS):
        for name in names:
            drawing = FIGURES[name]()
            files += save(drawing, making / name)
            data = base64.b64encode((making / f"{name}.png").read_bytes()).decode()
            sections.append(
                f"<h2>{html.escape(drawing.title)}</h2>\n"
                f'<img alt="{html.escape(drawing.title)}" src="data:image/png;base64,{data}">\n'
                f"<p>{html.escape(drawing.caption)}</p>\n"
                f"<details><summary>{len(drawing.rows)} numbers ({name}.csv)</summary>"
                f"{_table(drawing.rows)}</details>"
            )
        page = making / "report.html"
        page.write_text(_page(sections), encoding="utf-8")
    return [folder / file.name for file in (*files, page)]


def _table(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))

    def cell(value: Any) -> str:
        text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
        return f"<td>{html.escape(text)}</td>"

    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "\n".join(f"<tr>{''.join(cell(row.get(name)) for name in names)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _page(sections: Sequence[str]) -> str:
    shown = [
        {
            "claim": row.claim,
            "verdict": row.verdict,
            "figure": row.figure,
            "how": f"{row.label}: {row.how}",
        }
        for row in claims()
    ]
    design = DESIGNS["array-1024"]
    profile, memory = find_profile("jouppi7"), find_memory("lpddr5")
    estimates = []
    for name in ("ternary-1.6", "fp16", "int8", "w4a16"):
        one = (
            design
            if name == "ternary-1.6"
            else replace(
                design, config=None, macs_per_cycle=design.full_rate, rows=16, weight_format=name
            )
        )
        result = estimate(MODELS[_MODEL], one, memory, profile=profile)
        estimates.append(
            {
                "weights": name,
                "tokens per second": result.tokens_per_second,
                "mJ per token": (result.joules_per_token or inf) * 1e3,
                "bound": result.bound,
            }
        )
    quality = [{"model": name, "mean score, %": score} for name, score in QUALITY.items()]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Trilith: cycles, energy and claims</title>
<style>
body {{ font-family: sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
img {{ max-width: 100%; }}
table {{ border-collapse: collapse; font-size: 0.85rem; }}
td, th {{ border: 1px solid #ccc; padding: 0.2rem 0.5rem; text-align: left; vertical-align: top; }}
details {{ max-height: 30rem; overflow: auto; }}
</style>
</head>
<body>
<h1>Trilith: cycles, energy and claims</h1>
<p>Every number is modelled from published figures unless its caption says otherwise; the captions
name sources and what is left out.</p>
<h2>An estimate</h2>
<p>BitNet 2B4T, 1024 MACs a clock at 1 GHz, LPDDR5-6400x64, context 512, batch 1, jouppi7. Equal
MACs; the ternary row has the engine's exact cycles.</p>
{_table(estimates)}
<h2>Claims</h2>
{_table(shown)}
<p>Quality beside energy: mean of the benchmarks of arXiv 2504.12285, Table 1 (published).</p>
{_table(quality)}
{chr(10).join(sections)}
</body>
</html>
"""


def main() -> None:
    """Draw all figures into ``reports/figures``."""
    for file in draw(Path(__file__).parent):
        print(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


if __name__ == "__main__":
    main()

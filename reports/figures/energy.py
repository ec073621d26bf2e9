"""Figures of modelled energy: products, prompts and tokens."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...sim.cost.designs import Design
from ...sim.cost.energy import Product, matmul_energy, ternary_ratios
from ...sim.cost.memories import DRAM, find_memory
from ...sim.cost.model_shapes import GPT3, MODELS
from ...sim.cost.paper import paper_energy
from ...sim.cost.profiles import FORMATS, find_profile
from ...sim.cost.system import estimate
from .style import BLACK, BLUE, FORMAT_LOOKS, GREEN, ORANGE, PINK, RED, SKY, Drawing

__all__ = ["ENERGY_FIGURES"]

_MODEL = "bitnet-2b4t"


def _unbound(number_format: str) -> Design:
    """Make a design whose arithmetic is never the bound: 16 rows per read, weights read once."""
    return Design(
        name=number_format,
        reader="fabric",
        clock_mhz=1000.0,
        weight_format=number_format,
        pass_tokens=2**20,
        rows=16,
        source="modelled",
    )


def _stack(axes: Axes, names: Sequence[str], parts: dict[str, list[float]]) -> None:
    """Draw stacked bars with their totals."""
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
    axes.legend(frameon=False)


_FORMATS = ("fp16", "bf16", "int8", "w4a16", "ternary-2.0", "ternary-1.6", "binary")
#: Shape of the product in the figure: outputs, inputs, activation vectors.
_N, _K, _TOKENS = 6912, 2560, 64


def _product_panel(axes: Axes, dram: str | None, label: str) -> Iterator[dict[str, Any]]:
    """Draw the energy of a product by format; yield its numbers."""
    parts: dict[str, list[float]] = {"MAC": [], "register": [], "SRAM": [], "DRAM": []}
    product = Product(n=_N, k=_K, tokens=_TOKENS, rows=16, pass_tokens=_TOKENS)
    for name in _FORMATS:
        energy = matmul_energy(
            product, FORMATS[name], find_profile("jouppi7"), DRAM[dram] if dram else None
        )
        for part, values in parts.items():
            value = getattr(energy, part.lower()) / (_N * _K * _TOKENS)
            values.append(value)
            yield {"panel": label, "format": name, "part": part, "pj_per_mac": value}
    _stack(axes, _FORMATS, {part: values for part, values in parts.items() if any(values)})
    axes.set(ylabel="energy per MAC (pJ)", title=f"A product, {label}")


def _token_panel(axes: Axes) -> Iterator[dict[str, Any]]:
    """Draw the energy of a token by format; yield its numbers."""
    batch = 64
    parts: dict[str, list[float]] = {"MAC": [], "SRAM": [], "DRAM": [], "attention": []}
    for name in _FORMATS:
        result = estimate(
            MODELS[_MODEL],
            _unbound(name),
            find_memory("lpddr5"),
            context=512,
            batch=batch,
            profile=find_profile("jouppi7"),
        )
        assert result.parts is not None
        energy = result.parts
        energies = (energy.mac, energy.sram, energy.dram, result.attention_pj)
        for (part, values), pj in zip(parts.items(), energies, strict=True):
            values.append(pj * 1e-9 / batch)
            yield {"panel": "token", "format": name, "part": part, "mj": values[-1]}
    _stack(axes, _FORMATS, parts)
    axes.set(ylabel="energy per token (mJ)", title="A token of 2B4T, batch 64, context 512, LPDDR5")


def _ratio_panel(axes: Axes) -> Iterator[dict[str, Any]]:
    """Draw the ratios of FP16 to ternary by the cost of an accumulate; yield them."""
    profile = find_profile("jouppi7")
    ratios = {
        f"{bits}-bit add": value for bits, value in ternary_ratios(profile, (8, 20, 24, 32)).items()
    }
    ratios |= {"bits moved, 1.6": 16 / 1.6, "bits moved, 2.0": 16 / 2.0}
    colors = [RED, *[BLUE] * 3, *[SKY] * 2]
    axes.barh(list(ratios)[::-1], list(ratios.values())[::-1], color=colors[::-1])
    for place, value in enumerate(list(ratios.values())[::-1]):
        axes.annotate(
            f"{value:.1f}x", (value, place), xytext=(4, 0), va="center", textcoords="offset points"
        )
    axes.set(
        xscale="log",
        xlim=(5, 130),
        xlabel="FP16 over ternary (log scale)",
        title="Assumed cost of one ternary accumulate;\nred: the published 71.4x",
    )
    axes.set_xticks([5, 10, 20, 50, 100], labels=["5", "10", "20", "50", "100"])
    axes.grid(axis="y", visible=False)
    for name, value in ratios.items():
        yield {"panel": "ratio", "format": name, "ratio": value}


def _matmul() -> Drawing:
    figure = Figure(figsize=(13, 8.4), layout="constrained")
    axes = figure.subplots(2, 2)
    rows = [
        *_product_panel(axes[0][0], None, "weights on chip"),
        *_product_panel(axes[0][1], "lpddr5", f"weights from LPDDR5, once for {_TOKENS} tokens"),
        *_token_panel(axes[1][0]),
        *_ratio_panel(axes[1][1]),
    ]
    return Drawing(
        figure=figure,
        rows=rows,
        title="Energy of a matrix product by number format",
        caption="Modelled from published figures (jouppi7: Jouppi et al., ISCA 2021, 7 nm): "
        "arithmetic only, without registers, clock, wires and decoding. "
        f"W ({_N}, {_K}), {_TOKENS} tokens; activations from 8 KB of SRAM, each read shared by 16 "
        "rows; integer adders as wide as the sum. "
        f"LPDDR5: {DRAM['lpddr5'].pj_per_bit:g} pJ/bit, {DRAM['lpddr5'].boundary}. Token: 16-bit "
        "head and cache, attention in FP16.",
    )


def _recipe_lines(axes: Axes) -> Iterator[dict[str, Any]]:
    """Draw the recipe's energies over GPT-3's sizes; yield them."""
    models = list(GPT3.values())
    sizes = [model.linear_weights / 1e9 for model in models]
    for bits, label, look in (
        (32, "FP32", FORMAT_LOOKS["fp32"]),
        (16, "FP16", FORMAT_LOOKS["fp16"]),
        (1, "BitNet", FORMAT_LOOKS["ternary-1.6"]),
    ):
        energies = [paper_energy(model, bits=bits) for model in models]
        axes.plot(sizes, [one.total for one in energies], **asdict(look), label=label)
        if bits == 1:
            axes.plot(
                sizes,
                [one.attention for one in energies],
                color=PINK,
                marker="x",
                linestyle=":",
                label="part of BitNet: FP16 attention",
            )
        for model, size, one in zip(models, sizes, energies, strict=True):
            yield {
                "series": label,
                "model": model.name,
                "weights_g": size,
                "joules": one.total,
                "attention_joules": one.attention,
            }


#: Energies of a prompt in J, from the report of BitNet b1.58 2B4T (arXiv 2504.12285).
_REPORTED = {
    "llama3.2-1b": 0.258,
    "gemma3-1b": 0.186,
    "qwen2.5-1.5b": 0.347,
    "smollm2-1.7b": 0.425,
    "minicpm-2b": 0.649,
    "bitnet-2b4t": 0.028,
}


def _reported_points(axes: Axes) -> Iterator[dict[str, Any]]:
    """Draw published energies, and the recipe's for the same models; yield both."""
    sizes = {name: MODELS[name].linear_weights / 1e9 for name in _REPORTED}
    axes.scatter(
        list(sizes.values()),
        list(_REPORTED.values()),
        facecolors="none",
        edgecolors=GREEN,
        s=90,
        linewidths=1.8,
        zorder=3,
        label="published, 2B4T report",
    )
    for name, joules in _REPORTED.items():
        ours = paper_energy(MODELS[name], bits=1 if name == _MODEL else 16).total
        axes.plot([sizes[name]], [ours], color=BLACK, marker=".", linestyle="none")
        yield {
            "series": "published",
            "model": name,
            "weights_g": sizes[name],
            "joules": joules,
            "recipe_joules": ours,
        }
    axes.plot([], [], color=BLACK, marker=".", linestyle="none", label="the recipe for the same")


def _prefill() -> Drawing:
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    rows = [*_recipe_lines(axes), *_reported_points(axes)]
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
                _unbound(name),
                find_memory("hbm2"),
                context=512,
                batch=batch,
                profile=profile,
            )
            joules.append((result.joules_per_token or 0) * 1e3)
            rows.append({"format": name, "batch": batch, "mj_per_token": joules[-1]})
        axes.plot(batches, joules, **asdict(FORMAT_LOOKS[name]), label=name)
    floor = estimate(
        MODELS[_MODEL], _unbound("fp16"), find_memory("hbm2"), context=512, profile=profile
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


#: Figures by file name.
ENERGY_FIGURES: dict[str, Callable[[], Drawing]] = {
    "matmul_energy": _matmul,
    "prefill_energy": _prefill,
    "batch_energy": _batch,
}

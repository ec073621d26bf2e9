"""Figures of modelled energy: products, prompts and tokens."""

from collections.abc import Callable, Iterator
from typing import Any

from matplotlib.axes import Axes

from ...sim.cost.designs import Design
from ...sim.cost.energy import Product, matmul_energy, ternary_ratios
from ...sim.cost.memories import DRAM, find_memory
from ...sim.cost.model_shapes import GPT3, MODELS
from ...sim.cost.paper import paper_energy
from ...sim.cost.profiles import FORMATS, find_profile
from ...sim.cost.system import Estimate, estimate
from .style import BLACK, BLUE, GREEN, PINK, RED, SKY, Drawing, looks, note, stack

__all__ = ["ENERGY_FIGURES"]

_MODEL = "bitnet-2b4t"


def _token(number_format: str, memory: str, *, batch: int = 1) -> Estimate:
    """Estimate a token of 2B4T whose arithmetic is never the bound.

    16 rows share a read of an activation, and weights are read once a step.
    """
    design = Design(
        name=number_format,
        reader="fabric",
        clock_mhz=1000.0,
        weight_format=number_format,
        pass_tokens=2**20,
        rows=16,
        source="modelled",
    )
    return estimate(
        MODELS[_MODEL],
        design,
        find_memory(memory),
        context=512,
        batch=batch,
        profile=find_profile("jouppi7"),
    )


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
    stack(axes, "energies", _FORMATS, {part: some for part, some in parts.items() if any(some)})
    axes.set(ylabel="energy per MAC (pJ)", title=f"A product, {label}")


def _token_panel(axes: Axes) -> Iterator[dict[str, Any]]:
    """Draw the energy of a token by format; yield its numbers."""
    batch = 64
    parts: dict[str, list[float]] = {"MAC": [], "SRAM": [], "DRAM": [], "attention": []}
    for name in _FORMATS:
        result = _token(name, "lpddr5", batch=batch)
        assert result.parts is not None
        energy = result.parts
        energies = (energy.mac, energy.sram, energy.dram, result.attention_pj)
        for (part, values), pj in zip(parts.items(), energies, strict=True):
            values.append(pj * 1e-9 / batch)
            yield {"panel": "token", "format": name, "part": part, "mj": values[-1]}
    stack(axes, "energies", _FORMATS, parts)


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
        note(axes, f"{value:.1f}x", (value, place), xytext=(4, 0), va="center", fontsize=10)
    axes.grid(axis="y", visible=False)
    for name, value in ratios.items():
        yield {"panel": "ratio", "format": name, "ratio": value}


def _matmul() -> Drawing:
    drawing = Drawing("matmul_energy")
    (chip, dram), (token, ratio) = drawing.figure.subplots(2, 2)
    drawing.label(token=token, ratio=ratio)
    drawing.rows = [
        *_product_panel(chip, None, "weights on chip"),
        *_product_panel(dram, "lpddr5", f"weights from LPDDR5, once for {_TOKENS} tokens"),
        *_token_panel(token),
        *_ratio_panel(ratio),
    ]
    drawing.values = {"n": _N, "k": _K, "tokens": _TOKENS, "dram": DRAM["lpddr5"]}
    return drawing


def _recipe_lines(axes: Axes) -> Iterator[dict[str, Any]]:
    """Draw the recipe's energies over GPT-3's sizes; yield them."""
    models = list(GPT3.values())
    sizes = [model.linear_weights / 1e9 for model in models]
    for bits, label, name in (
        (32, "FP32", "fp32"),
        (16, "FP16", "fp16"),
        (1, "BitNet", "ternary-1.6"),
    ):
        energies = [paper_energy(model, bits=bits) for model in models]
        axes.plot(sizes, [one.total for one in energies], **looks("formats")[name], label=label)
        if bits == 1:
            part, label_of_part = (
                [one.attention for one in energies],
                "part of BitNet: FP16 attention",
            )
            axes.plot(sizes, part, color=PINK, marker="x", linestyle=":", label=label_of_part)
        for model, size, one in zip(models, sizes, energies, strict=True):
            yield {
                "series": label,
                "model": model.name,
                "weights_g": size,
                "joules": one.total,
                "attention_joules": one.attention,
            }


def _reported_points(axes: Axes, reported: dict[str, float]) -> Iterator[dict[str, Any]]:
    """Draw published energies in J, and the recipe's for the same models; yield both."""
    sizes = {name: MODELS[name].linear_weights / 1e9 for name in reported}
    axes.scatter(
        list(sizes.values()),
        list(reported.values()),
        facecolors="none",
        edgecolors=GREEN,
        s=90,
        linewidths=1.8,
        zorder=3,
        label="published, 2B4T report",
    )
    for name, joules in reported.items():
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
    drawing = Drawing("prefill_energy")
    axes = drawing.axes()
    drawing.rows = [*_recipe_lines(axes), *_reported_points(axes, drawing.data["reported"])]
    axes.legend(frameon=False)
    return drawing


def _batch() -> Drawing:
    drawing = Drawing("batch_energy")
    axes = drawing.axes()
    batches = [2**power for power in range(11)]
    for name in ("fp16", "int8", "w4a16", "ternary-1.6"):
        results = [_token(name, "hbm2", batch=batch) for batch in batches]
        joules = [(result.joules_per_token or 0) * 1e3 for result in results]
        drawing.rows += [
            {"format": name, "batch": batch, "mj_per_token": mj}
            for batch, mj in zip(batches, joules, strict=True)
        ]
        axes.plot(batches, joules, **looks("formats")[name], label=name)
    floor = _token("fp16", "hbm2").attention_pj * 1e-9
    label = "attention alone, all formats"
    axes.axhline(floor, color=BLACK, linestyle=(0, (1, 3)), label=label)
    drawing.rows.append({"format": "attention", "batch": 1, "mj_per_token": floor})
    axes.set_xscale("log", base=2)
    axes.legend(frameon=False)
    drawing.values = {"dram": DRAM["hbm2"]}
    return drawing


#: Figures by file name.
ENERGY_FIGURES: dict[str, Callable[[], Drawing]] = {
    "matmul_energy": _matmul,
    "prefill_energy": _prefill,
    "batch_energy": _batch,
}

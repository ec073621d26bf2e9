"""Figures of modelled energy: products, prompts and tokens."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ...sim.cost.designs import Design
from ...sim.cost.energy import Product, matmul_energy, ternary_ratios
from ...sim.cost.formats import FORMATS
from ...sim.cost.memories import DRAM, find_memory
from ...sim.cost.model_shapes import GPT3, MODELS
from ...sim.cost.paper import paper_energy
from ...sim.cost.profiles import find_profile
from ...sim.cost.system import Estimate, estimate
from ...sim.gatelevel.table import load_table
from .style import Drawing, legend_below, looks, note, patch, stack

__all__ = ["ENERGY_FIGURES"]

_MODEL = "bitnet-2b4t"

#: Measured units, which have every number format, and published memories of the same node.
_PROFILE = "gate:asap7"


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
        profile=find_profile(_PROFILE),
    )


#: Number formats of the products, the largest first.
_SHOWN = (
    "fp16",
    "bf16",
    "w4a16",
    "fp8",
    "int8",
    "int4",
    "ternary-2.0",
    "ternary-1.6",
    "ternary-1.25",
    "binary",
)
#: Outputs and inputs of the product in the figure.
_N, _K = 6912, 2560


def _labels(names: Sequence[str]) -> list[str]:
    """Names of number formats in figures."""
    return [looks("formats")[name]["label"] for name in names]


def _product_panel(
    axes: Axes, memory: str, bit: float | None, tokens: int
) -> Iterator[dict[str, Any]]:
    """Draw the energy of a product by format; yield its numbers.

    Parameters
    ----------
    axes : where to draw
    memory : name of the memory of the weights
    bit : its energy in pJ per bit; None for that of LPDDR5
    tokens : activation vectors that share a read of the weights
    """
    profile = find_profile(_PROFILE)
    dram = DRAM["lpddr5"] if bit is None else replace(DRAM["lpddr5"], pj_per_bit=bit)
    product = Product(n=_N, k=_K, tokens=tokens, rows=16, pass_tokens=tokens)
    parts: dict[str, list[float]] = {part: [] for part in looks("energies")}
    for name in _SHOWN:
        energy = matmul_energy(product, FORMATS[name], profile, dram)
        values = {
            "logic": energy.mac,
            "registers": energy.register,
            "activations": energy.sram,
            "weights": energy.dram,
        }
        for part, pj in values.items():
            parts[part].append(pj / product.macs)
            yield {
                "memory": memory,
                "tokens": tokens,
                "format": name,
                "part": part,
                "pj_per_mac": pj / product.macs,
            }
    stack(axes, "energies", _labels(_SHOWN), parts)
    vectors = "one token" if tokens == 1 else f"{tokens} tokens share a read"
    axes.set_title(f"Weights from {memory}, {vectors}")


def _matmul() -> Drawing:
    drawing = Drawing("matmul_energy")
    grid = drawing.figure.subplots(2, 2, sharey=True)
    sram = find_profile(_PROFILE).sram_bit(1024)
    for line, (memory, bit) in zip(grid, (("1 MB of SRAM", sram), ("LPDDR5", None)), strict=True):
        for axes, tokens in zip(line, (1, 64), strict=True):
            drawing.rows += _product_panel(axes, memory, bit, tokens)
    for axes in grid[1]:
        axes.set_xlabel("energy per MAC (pJ)")
    handles = [patch(look) for look in looks("energies").values()]
    legend_below(drawing.figure, handles, 4)
    drawing.values = {
        "n": _N,
        "k": _K,
        "dram": DRAM["lpddr5"],
        "sram": sram,
        "node": find_profile(_PROFILE).node,
    }
    return drawing


def _ratio() -> Drawing:
    drawing = Drawing("ternary_ratio")
    axes = drawing.axes()
    adds = ternary_ratios(find_profile("jouppi7"), (8, 20, 24, 32))
    table = load_table("asap7")
    fp16, ternary = (table.best(unit) for unit in ("fp16xfp16-fp32-fused", "ternaryxint8-escape"))
    assert fp16 is not None
    assert ternary is not None
    measured = fp16.with_ports_fj / ternary.with_ports_fj
    points = [
        *(("published", f"an addition of {bits} bits", value) for bits, value in adds.items()),
        ("weight bits", "weight bits that are moved, 1.6 for 16", 16 / 1.6),
        ("weight bits", "weight bits that are moved, 2 for 16", 16 / 2),
        ("measured", "a whole unit with registers (ASAP7)", measured),
    ]
    for place, (kind, label, value) in enumerate(points):
        look = looks("ratios")[kind]
        axes.plot([value], [place], **look, markersize=9)
        note(axes, f"{value:.1f}×", (value, place), xytext=(9, 0), va="center")
        drawing.rows.append({"kind": kind, "ternary": label, "fp16_over_it": value})
    axes.set_yticks(range(len(points)), labels=[label for _, label, _ in points])
    axes.set_ylim(len(points) - 0.5, -0.5)
    handles = [Line2D([], [], markersize=8, **look) for look in looks("ratios").values()]
    axes.legend(handles=handles, loc="lower right")
    return drawing


def _recipe_lines(axes: Axes) -> Iterator[dict[str, Any]]:
    """Draw the recipe's energies over GPT-3's sizes; yield them."""
    models = list(GPT3.values())
    sizes = [model.linear_weights / 1e9 for model in models]
    for bits, name in ((32, "fp32"), (16, "fp16"), (1, "ternary-1.6")):
        label = "BitNet" if bits == 1 else f"FP{bits}"
        energies = [paper_energy(model, bits=bits) for model in models]
        axes.plot(
            sizes, [one.total for one in energies], **{**looks("formats")[name], "label": label}
        )
        for model, size, one in zip(models, sizes, energies, strict=True):
            yield {
                "series": label,
                "model": model.name,
                "weights_g": size,
                "joules": one.total,
                "attention_joules": one.attention,
            }
    attention = [paper_energy(model, bits=1).attention for model in models]
    axes.plot(sizes, attention, **looks("lines")["attention"])
    axes.legend(loc="upper left")


def _reported_points(axes: Axes, reported: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Draw published energies in mJ, and the recipe's for the same models; yield both in J."""
    names = sorted(reported, key=lambda name: reported[name]["joule"])
    ours = [paper_energy(MODELS[name], bits=1 if name == _MODEL else 16).total for name in names]
    published = [reported[name]["joule"] for name in names]
    places = range(len(names))
    axes.plot([1e3 * one for one in published], places, **looks("lines")["published"])
    axes.plot([1e3 * one for one in ours], places, **looks("lines")["recipe"])
    for place, value in enumerate(published):
        note(axes, f"{1e3 * value:.0f}", (1e3 * value, place), xytext=(9, 0), va="center")
    axes.set_yticks(places, labels=[reported[name]["label"] for name in names])
    axes.set_xlim(0, 1.25e3 * max(published))
    axes.legend(loc="lower right")
    for name, joules, one in zip(names, published, ours, strict=True):
        yield {
            "series": "published",
            "model": name,
            "weights_g": MODELS[name].linear_weights / 1e9,
            "joules": joules,
            "recipe_joules": one,
        }


def _prefill() -> Drawing:
    drawing = Drawing("prefill_energy")
    sizes, models = drawing.figure.subplots(1, 2)
    drawing.label(sizes=sizes, models=models)
    drawing.rows = [*_recipe_lines(sizes), *_reported_points(models, drawing.data["reported"])]
    return drawing


def _batch() -> Drawing:
    drawing = Drawing("batch_energy")
    axes = drawing.axes()
    batches = [2**power for power in range(11)]
    for name in ("fp16", "fp8", "int8", "w4a16", "ternary-1.6"):
        results = [_token(name, "hbm2", batch=batch) for batch in batches]
        joules = [(result.joules_per_token or 0) * 1e3 for result in results]
        drawing.rows += [
            {"format": name, "batch": batch, "mj_per_token": mj}
            for batch, mj in zip(batches, joules, strict=True)
        ]
        axes.plot(batches, joules, **looks("formats")[name])
    floor = _token("fp16", "hbm2").attention_pj * 1e-9
    axes.plot(batches, [floor] * len(batches), **looks("lines")["attention alone"])
    drawing.rows.append({"format": "attention", "batch": 1, "mj_per_token": floor})
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, labels=[str(one) for one in batches])
    axes.legend(title="weights × activations")
    drawing.values = {"dram": DRAM["hbm2"], "node": find_profile(_PROFILE).node}
    return drawing


#: Figures by file name.
ENERGY_FIGURES: dict[str, Callable[[], Drawing]] = {
    "matmul_energy": _matmul,
    "ternary_ratio": _ratio,
    "prefill_energy": _prefill,
    "batch_energy": _batch,
}

"""Figures of the token core: where the cycles of a token go, and what wider parts save."""

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from ...hw.token.config import CORE_PRESETS, TokenConfig
from ...sim import cost
from ...sim.cost.core.extension import extended_cycles
from ...sim.cost.core_system import core_sizes
from ...sim.cost.model_shapes import MODELS
from ...sim.tools.cache import keep
from .style import Drawing, legend_below, looks, note, patch, stack

__all__ = ["CONFIG", "CONTEXT", "CORE_FIGURES", "SHOWN", "shown"]

_MODEL = "bitnet-2b4t"

#: The core of the figures, and the context at which its widths change.
CONFIG, CONTEXT = CORE_PRESETS["2b4t"], 1024


def _sources() -> str:
    """Digest of the sources that decide the cycles."""
    root = Path(cost.__file__).parents[2]
    files = sorted(
        [*root.glob("sim/cost/core/*.py"), *root.glob("hw/token/*.py"), root / "hw/config.py"]
    )
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _cycles(config: TokenConfig, context: int) -> dict[str, int]:
    """Return the cycles of a token by part, from the cache of builds if they are there."""
    sizes = core_sizes(MODELS[_MODEL], config.context_max)
    key = f"{_sources()} {config!r} {sizes!r} {context}"
    with keep("core-cycles", key) as (folder, making):
        if making:
            parts = extended_cycles(config, sizes, position=context - 1).by_part
            (making / "parts.json").write_text(json.dumps(parts), encoding="utf-8")
    return json.loads((folder / "parts.json").read_text(encoding="utf-8"))


#: Parts of the figures, and those of the cycle model that each one joins.
SHOWN = {
    "products": ("products",),
    "head": ("head",),
    "attention": ("attention",),
    "norms, quantizers": ("norms",),
    "rotation, cache": ("heads",),
    "rest": ("results", "sequencing"),
}


def shown(config: TokenConfig, context: int) -> dict[str, float]:
    """Return the million cycles of each part that is shown."""
    cycles = _cycles(config, context)
    return {name: sum(cycles[part] for part in parts) / 1e6 for name, parts in SHOWN.items()}


def _contexts() -> Drawing:
    drawing = Drawing("core_context")
    contexts = (1, 64, 256, 512, 1024, 2048, 4096)
    found = {context: shown(CONFIG, context) for context in contexts}
    others = [name for name in SHOWN if name not in ("products", "head")]
    panels = {"token": [*SHOWN], "others": others}
    axes = dict(zip(panels, drawing.figure.subplots(1, 2, sharey=True), strict=True))
    for panel, names in panels.items():
        parts = {name: [one[name] for one in found.values()] for name in names}
        stack(axes[panel], "core_parts", [f"{one:,}" for one in contexts], parts)
    legend_below(drawing.figure, [patch(look) for look in looks("core_parts").values()], 6)
    drawing.label(**axes)
    drawing.rows = [
        {"context": context, "part": name, "mega_cycles": value}
        for context, parts in found.items()
        for name, value in parts.items()
    ]
    drawing.values = {"config": CONFIG, "model": _MODEL}
    return drawing


def _lanes() -> Drawing:
    drawing = Drawing("core_lanes")
    widths = {"vector_lanes": (1, 2, 4, 8, 16), "attention_lanes": (16, 32, 64, 128, 256, 512)}
    axes = dict(zip(widths, drawing.figure.subplots(1, 2, sharey=True), strict=True))
    for field, lanes in widths.items():
        found = [shown(replace(CONFIG, **{field: one}), CONTEXT) for one in lanes]
        total = [sum(parts.values()) for parts in found]
        lines = {"all": total, **{name: [parts[name] for parts in found] for name in SHOWN}}
        for one, value, before in zip(lanes[1:], total[1:], total, strict=False):
            text = f"{round(value / before - 1, 2) + 0:+.0%}"
            note(axes[field], text, (one, value), xytext=(0, 7), ha="center")
        for name, values in lines.items():
            axes[field].plot(lanes, values, **looks("core_lines")[name], label=name)
            drawing.rows += [
                {"width": field, "lanes": one, "part": name, "mega_cycles": value}
                for one, value in zip(lanes, values, strict=True)
            ]
        axes[field].set_xscale("log", base=2)
        axes[field].set_xticks(lanes, labels=[str(one) for one in lanes])
    handles, _ = axes["vector_lanes"].get_legend_handles_labels()
    legend_below(drawing.figure, handles, 7)
    drawing.label(**axes)
    drawing.values = {"config": CONFIG, "model": _MODEL, "context": CONTEXT}
    return drawing


#: Figures by file name.
CORE_FIGURES: dict[str, Callable[[], Drawing]] = {
    "core_context": _contexts,
    "core_lanes": _lanes,
}

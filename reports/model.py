"""Report of one's own model as an HTML page: contents of its files, and estimates on designs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf
from typing import Any

from ..golden.checkpoint.statistics import TensorStatistics
from ..sim.cost.assumptions import capacity_text, design_text, memory_text, model_text
from ..sim.cost.comparison import Equal, rival
from ..sim.cost.designs import DESIGNS, Design
from ..sim.cost.memories import Memory
from ..sim.cost.model_file import ModelFile
from ..sim.cost.profiles import Profile
from ..sim.cost.provenance import used_figures
from ..sim.cost.system import estimate
from ..sim.cost.technology import Technology
from ..sim.tools.errors import EstimateError
from .html import HtmlTable, html_page

__all__ = ["model_page"]

#: Engines of the estimate, from 40 to 4096 MACs per cycle.
_DESIGNS = ("micro", "bitnet", "array-1024", "array-1024x4")

#: Number formats that the last but one engine is compared with, at as many MACs per cycle.
_RIVALS = ("fp16", "int8", "w4a16")


def model_page(file: ModelFile, memory: Memory, technology: Technology, context: int) -> str:
    """Make the report of a model.

    Parameters
    ----------
    file : the model
    memory : memory of all designs of the estimate
    technology : energies of the estimate; the zeros of the model replace theirs
    context : tokens that the estimated token attends to

    Returns
    -------
    One HTML file, which needs no network

    Raises
    ------
    EstimateError
        If no design can run the model.
    """
    profile, zeros = technology.profile, "those of the energies' source"
    if file.zero_fraction is not None:
        profile = profile.with_zeros(file.zero_fraction)
        zeros = f"{file.zero_fraction:.2%} of the trits, from the files"
        zeros += "" if profile.zeros else "; these energies do not depend on them"
    designs, rows = _estimates(file, memory, profile, context)
    assumptions = {
        "step": f"a token of 1 sequence at context {context}",
        "model": model_text(file.model),
        "capacity": f"{memory.name}: {capacity_text(memory)}",
        "energy": technology.text,
        "zeros": zeros,
        **{f"design {one.name}": f"{design_text(one)}; {one.energy_boundary}" for one in designs},
        **_memories(designs, memory),
    }
    figures = used_figures(file.model, designs, memory, profile)
    return html_page(
        "model.html.jinja",
        f"Model {file.path.resolve().name}",
        path=str(file.path),
        not_counted=file.not_counted,
        facts=HtmlTable.of(_named(_facts(file))),
        parts=HtmlTable.of(_parts(file)),
        kinds=HtmlTable.of(_kinds(file)),
        matrices=HtmlTable.of(_matrix(one) for one in file.matrices),
        estimates=HtmlTable.of(rows),
        assumptions=HtmlTable.of(_named(assumptions)),
        figures=HtmlTable.of(
            {"figure": name, "pJ": one.pj, "label": one.label, "source": one.source}
            for name, one in figures.items()
        ),
    )


def _named(texts: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": text} for name, text in texts.items()]


def _memories(designs: Iterable[Design], memory: Memory) -> dict[str, str]:
    """Rates that the designs get from the memory; designs with the same rate share a text."""
    names: dict[str, list[str]] = {}
    for one in designs:
        names.setdefault(memory_text(one, memory), []).append(one.name)
    if len(names) == 1:
        return {"memory": next(iter(names))}
    return {f"memory of {'; '.join(those)}": text for text, those in names.items()}


def _facts(file: ModelFile) -> dict[str, str]:
    """Sizes of the model, and formats of its weights."""
    model = file.model
    facts = {
        "layers": f"{model.layers}",
        "hidden size": f"{model.hidden:,}",
        "vocabulary": f"{model.vocabulary:,}",
        "weights in linear layers": f"{model.linear_weights:,}",
        "weights in all": f"{model.parameters:,}",
    }
    if model.heads:
        facts["attention"] = (
            f"{model.heads} heads of {model.head_size} values, {model.kv_heads} heads for keys "
            "and values"
        )
    if model.experts:
        facts["experts"] = f"{model.experts}, of which a token takes {model.active_experts}"
    for one in model.linears:
        facts[f"linear {one.name}"] = f"{one.count:,} of {one.n:,} outputs x {one.k:,} inputs"
    sizes = [one.stored_bytes for one in file.modules.values()]
    if sizes and all(sizes):
        facts["all tensors"] = f"{sum(sizes):,} bytes (measured)"
    return facts | file.facts


def _part(name: str) -> str:
    """Part of the model that a module outside of the layers is."""
    return {"model.embed_tokens": "embedding", "lm_head": "head"}.get(name, "other tensors")


def _parts(file: ModelFile) -> Iterable[dict[str, Any]]:
    """Bytes of each part of the model."""
    parts: dict[str, list[int]] = {}
    for name, module in file.modules.items():
        part = _part(name)
        if name.startswith("model.layers."):
            part = f"{'matrices' if module.matrix else 'vectors'} of the layers"
        parts.setdefault(part, []).append(module.stored_bytes)
    all_known = all(map(all, parts.values()))
    total = sum(map(sum, parts.values()))
    for part, sizes in parts.items():
        yield {
            "part": part,
            "modules": len(sizes),
            "bytes": sum(sizes) if all(sizes) else None,
            "share, %": 100 * sum(sizes) / total if all_known else None,
        }


def _kinds(file: ModelFile) -> Iterable[dict[str, Any]]:
    """Modules that differ in the number of their layer or expert alone, as one row."""
    counted = {one.name: one for one in file.matrices}
    kinds: dict[tuple[Any, ...], list[str]] = {}
    for name, module in file.modules.items():
        one = counted.get(name)
        shape = (one.n, one.k) if one else module.shape
        kind = re.sub(r"\.\d+(?=\.)", ".*", name), shape, module.type_name
        kinds.setdefault(kind, []).append(name)
    for (kind, shape, type_name), names in kinds.items():
        sizes = [file.modules[name].stored_bytes for name in names]
        yield {
            "module": kind,
            "count": len(names),
            "shape": " x ".join(map(str, shape)) or "1",
            "stored type": type_name,
            "bytes": sum(sizes) if all(sizes) else None,
            "zeros, %": _zeros([counted[name] for name in names if name in counted]),
        }


def _zeros(matrices: list[TensorStatistics]) -> float | None:
    """Share of zeros among the trits of matrices of one shape, in percent."""
    if not matrices:
        return None
    return 100 * sum(one.zero_fraction for one in matrices) / len(matrices)


def _matrix(one: TensorStatistics) -> dict[str, Any]:
    return {
        "matrix": one.name,
        "N": one.n,
        "K": one.k,
        "stored type": one.stored_type,
        "bytes": one.stored_bytes,
        "bits per weight": one.stored_bits_per_weight,
        "scales": one.scales,
        "zeros, %": 100 * one.zero_fraction,
        "entropy, bits per trit": one.entropy_bits_per_trit,
    }


def _estimates(
    file: ModelFile, memory: Memory, profile: Profile, context: int
) -> tuple[list[Design], list[dict[str, Any]]]:
    """Estimate a token on each design; a design that cannot run the model has the reason."""
    designs = [DESIGNS[name] for name in _DESIGNS]
    if file.head is not None:
        designs = [replace(one, stored_head=file.head.number_format) for one in designs]
    ours = designs[_DESIGNS.index("array-1024")]
    k = file.model.widest_k
    designs += [rival(ours, one, mode=Equal.MACS, k=k, profile=profile)[1] for one in _RIVALS]
    able, rows, refused = [], [], None
    for design in designs:
        row: dict[str, Any] = {
            "design": design.name,
            "weights": design.number_format.name,
            "head": design.head.name,
            "cache, bits": design.kv_bits,
            "MACs/cycle": None if design.full_rate == inf else design.full_rate,
            "MHz": design.clock_mhz,
        }
        try:
            found = estimate(file.model, design, memory, context=context, profile=profile)
            joules = found.joules_per_token
            row |= {
                "tokens/s": found.tokens_per_second,
                "mJ/token": None if joules is None else 1e3 * joules,
                "bound": found.bound,
            }
            able.append(design)
        except EstimateError as error:
            refused = refused or error
            row["bound"] = f"not estimated: {error}"
        rows.append(row)
    if not able and refused is not None:
        raise refused
    return able, rows

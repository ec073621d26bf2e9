"""``trilith estimate``: time and energy of a language model on a design."""

import json
from dataclasses import asdict, replace
from math import inf
from typing import Annotated, Any

import typer

__all__ = ["estimate"]


def estimate(
    model: Annotated[
        str, typer.Argument(help="Name of a model, a config.json, or the folder that holds one.")
    ] = "bitnet-2b4t",
    design: Annotated[str, typer.Option(help="What multiplies.")] = "array-1024",
    memory: Annotated[
        str, typer.Option(help="ddr3, ddr4, lpddr4, lpddr5, hbm2, hbm2e, on-chip, and others.")
    ] = "lpddr5",
    context: Annotated[int, typer.Option(help="Tokens that each sequence attends to.")] = 512,
    batch: Annotated[int, typer.Option(help="Sequences.")] = 1,
    prompt: Annotated[
        int | None,
        typer.Option(help="Estimate a prompt of so many tokens instead of decoding."),
    ] = None,
    clock: Annotated[float | None, typer.Option(help="MHz. Default: the design's.")] = None,
    profile: Annotated[
        str, typer.Option(help="Energy figures: horowitz45, jouppi7, bitnet-paper, gate:LIBRARY.")
    ] = "jouppi7",
    versus: Annotated[
        str | None, typer.Option(help="Number formats to compare with, such as fp16,int8,w4a16.")
    ] = None,
    equal: Annotated[
        str, typer.Option(help="What --versus holds equal: macs, area, bandwidth or power.")
    ] = "macs",
    validation: Annotated[
        bool, typer.Option("--validation", help="Print predictions of published systems instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Estimate tokens per second and joules per token, and where the bound lies (modelled).

    Clocks are those of the linear layers, one product after the other; for our engines they are the
    RTL's own count. Energy is dynamic: arithmetic, activation buffer and memory, without static
    power, clock tree, wires or host.

    Examples:
      trilith estimate bitnet-2b4t --design array-1024 --memory lpddr5 --versus fp16,int8,w4a16

      trilith estimate llama3-8b --memory hbm2 --batch 16 --versus fp16 --equal area

      trilith estimate --validation
    """
    from ..sim.cost.comparison import Equal, rival
    from ..sim.cost.designs import find_design, sustained
    from ..sim.cost.memories import find_memory
    from ..sim.cost.model_shapes import find_model
    from ..sim.cost.profiles import find_profile
    from ..sim.cost.system import Estimate
    from ..sim.cost.system import estimate as compute

    if validation:
        _print_validation(as_json)
        return
    shape, chosen, store = find_model(model), find_design(design), find_memory(memory)
    figures = find_profile(profile)
    if clock is not None:
        chosen = replace(chosen, clock_mhz=clock)
    designs = [chosen]
    if equal not in [*Equal]:
        raise typer.BadParameter(f"--equal must be one of {', '.join(Equal)}, not {equal!r}")
    k = shape.widest_k
    for number_format in (versus or "").split(",") if versus else ():
        designs[0], other = rival(chosen, number_format, mode=equal, k=k, profile=figures)
        designs.append(other)
    results = [
        compute(shape, one, store, context=context, batch=batch, prompt=prompt, profile=figures)
        for one in designs
    ]
    efficiency, reason = sustained(chosen, store)
    rate = store.gigabytes_per_second
    assumptions = {
        "model": f"{shape.name}: {shape.linear_weights / 1e9:.3f} G weights in linear layers, "
        f"{shape.parameters / 1e9:.3f} G in all ({shape.source})",
        "step": f"{batch} x prompt of {prompt} tokens"
        if prompt
        else f"a token of {batch} sequences at context {context}",
        "design": f"{chosen.full_rate:g} MACs a clock at {chosen.clock_mhz:g} MHz, "
        f"activation buffer counted as {chosen.buffer_kilobytes} KB of SRAM, "
        f"{chosen.shared_tokens} activation vectors a pass over the weights, "
        f"head in {chosen.head_format}, {chosen.kv_bits}-bit cache ({chosen.source})",
        "memory": store.name
        if rate == inf
        else f"{store.name}: {rate:g} GB/s, of which {efficiency:.0%} ({reason})",
        "energy": f"{figures.name}: {figures.node}; {figures.boundary}; {chosen.energy_boundary}",
        "label": "modelled",
    }
    if versus:
        assumptions["versus"] = (
            f"equal {equal}: {Equal(equal).meaning}; rivals are always fully used"
        )

    def row(one: Any, result: Estimate) -> dict[str, Any]:
        return {
            "design": one.name,
            "weights": one.number_format.name,
            "macs_per_clock": None if one.full_rate == inf else one.full_rate,
            "tokens_per_second": result.tokens_per_second,
            "joules_per_token": result.joules_per_token,
            "bound": result.bound,
            "seconds": result.seconds,
            "linear_compute_s": result.linear_compute,
            "linear_memory_s": result.linear_memory,
            "attention_s": result.attention,
            "head_s": result.head,
            "vector_s": result.vector,
            "fixed_s": result.fixed,
            "linear_cycles": result.cycles,
            "weight_bytes": result.weight_bytes,
            "kv_bytes": result.kv_bytes,
            "energy_pj": {**asdict(result.parts), "attention": result.attention_pj}
            if result.parts
            else None,
        }

    rows = [row(one, result) for one, result in zip(designs, results, strict=True)]
    if as_json:
        print(json.dumps({"rows": rows, "assumptions": assumptions}, indent=2))
        return
    print(
        f"{'design':<24} {'weights':<12} {'MACs/clock':>10} {'kclocks':>9} {'tokens/s':>9} "
        f"{'mJ/token':>9}  "
        f"{'bound':<18} {'ms: compute':>11} {'weights':>8} {'attention':>9} {'head':>7} "
        f"{'vector':>7}  mJ/token: MAC / register / SRAM / weights / attention"
    )
    for line, result in zip(rows, results, strict=True):
        parts, tokens = line["energy_pj"] or {}, result.work.tokens
        energies = " / ".join(f"{value * 1e-9 / tokens:.3g}" for value in parts.values())
        macs = "any" if line["macs_per_clock"] is None else f"{line['macs_per_clock']:.5g}"
        print(
            f"{line['design']:<24} {line['weights']:<12} {macs:>10} {result.cycles / 1e3:>9.1f} "
            f"{result.tokens_per_second:>9.2f} {(result.joules_per_token or 0) * 1e3:>9.3f}  "
            f"{result.bound:<18} {result.linear_compute * 1e3:>11.3f} "
            f"{result.linear_memory * 1e3:>8.3f} {result.attention * 1e3:>9.3f} "
            f"{result.head * 1e3:>7.3f} {result.vector * 1e3:>7.3f}  {energies}"
        )
    for name, text in assumptions.items():
        print(f"{name}: {text}")


def _print_validation(as_json: bool) -> None:
    """Print predicted against published rates."""
    from ..sim.cost.memories import EFFICIENCY
    from ..sim.cost.validation import NOT_PREDICTED, predict, summary

    predictions = predict()
    total = summary(predictions)
    if as_json:
        rows = [
            {**asdict(one.row), "predicted": one.rate, "error": one.error, "bound": one.bound}
            for one in predictions
        ]
        table = {"rows": rows, "summary": total, "not_predicted": NOT_PREDICTED}
        print(json.dumps(table | {"efficiency": EFFICIENCY, "label": "modelled"}, indent=2))
        return
    print(f"{'system':<40} {'model':<15} {'published':>9} {'predicted':>9} {'error':>6}  bound")
    for one in predictions:
        print(
            f"{one.row.system:<40} {one.row.model:<15} {one.row.rate:>9.2f} {one.rate:>9.2f} "
            f"{one.error:>+6.0%}  {one.bound}{'' if one.row.counted else '  (not counted)'}"
        )
    print(
        f"median absolute error of {total['rows']} counted rows: "
        f"{total['median_absolute_error']:.1%}; of {total['systems']} systems: "
        f"{total['median_over_systems']:.1%}"
    )
    for name, reason in NOT_PREDICTED.items():
        print(f"not predicted  {name}: {reason}")
    for kind, (share, source) in EFFICIENCY.items():
        print(f"constant       bandwidth that a {kind} reader sustains: {share:.0%} ({source})")
    for one in predictions:
        print(
            f"assumed        {one.row.system}, {one.row.model}: {one.row.assumptions} "
            f"({one.row.source})"
        )

"""``trilith estimate``: time and energy of a language model on a design."""

from collections.abc import Callable
from dataclasses import asdict, replace
from math import inf
from typing import TYPE_CHECKING, Any

from ..hw.config import MatVecConfig
from ..hw.token.config import TokenConfig
from ..sim.cost.comparison import Equal
from .options import JsonOptions, argument, command, config_fields, given_fields, new_app, option
from .output import Column, Table, print_facts, print_json, print_note

if TYPE_CHECKING:
    from ..sim.cost.system import Design, Estimate, Memory

__all__ = ["app"]

app = new_app()


#: Designs that are token cores: the keys of ``sim.cost.core_designs.CORE_DESIGNS``.
CORES = ("--design core", "--design core-kv260")


class _System(JsonOptions):
    model: str = argument(
        "bitnet-2b4t", "Name of a model, a config.json or its folder, or a file of a model."
    )
    design: str = option("array-1024", "Design that multiplies; an unknown name prints all names.")
    memory: str = option(
        "lpddr5", "Memory: ddr3, ddr4, lpddr4, lpddr5, hbm2, hbm2e, on-chip, others."
    )
    bandwidth: float | None = option(
        None, "Bandwidth of the memory in GB/s. Default: that of --memory.", min=0.001, max=1e6
    )
    capacity: float | None = option(
        None,
        "Capacity of the memory in GB; a model that needs more is refused. Default: no limit.",
        min=1e-6,
        max=1e6,
    )
    context: int = option(
        512, "Tokens that each sequence attends to.", min=1, max=2**27, excludes=("--prompt",)
    )
    batch: int = option(1, "Number of sequences.", min=1, max=2**24, excludes=CORES)
    prompt: int | None = option(
        None,
        "Estimate a prompt of this many tokens instead of decoding.",
        min=1,
        max=2**24,
        excludes=CORES,
    )
    clock: float | None = option(
        None, "Clock frequency in MHz. Default: the design's.", min=0.001, max=1e5
    )
    profile: str = option(
        "jouppi7", "Energy figures: horowitz45, jouppi7, bitnet-paper, gate:LIBRARY."
    )
    versus: str | None = option(
        None, "Number formats to compare with, such as fp16,int8,w4a16.", excludes=CORES
    )
    equal: Equal = option(
        Equal.MACS, "Quantity that is equal in all designs of --versus.", needs=("--versus",)
    )
    validation: bool = option(
        False, "Print predictions of published systems instead.", "--validation", alone=True
    )


_EngineOptions = config_fields(MatVecConfig, "lanes", "rows", needs=CORES)
_CoreOptions = config_fields(
    TokenConfig, "vector_lanes", "attention_lanes", "memory_width", needs=CORES
)


class _Options(_CoreOptions, _EngineOptions, _System):  # type: ignore[misc]
    """Options of the command, those of a token core's widths included."""


@command(app)
def estimate(options: _Options) -> None:
    """Estimate tokens per second, joules per token, and the bound of both (modelled).

    Cycles are those of the linear layers, one product after the other. For our engines they equal
    the cycles of the RTL. Energy is dynamic: arithmetic, activation buffer and memory. Static
    power, clock tree, wires and host are not included. For machines of others it is called
    "arithmetic and memory, lower bound", and published energies stand beside it.

    With --design core, the token core runs whole tokens, and each part of a token has the cycles of
    the core's cycle model. core-kv260 has as many products as a published system, and its memory.

    Examples:
      trilith estimate bitnet-2b4t --design array-1024 --memory lpddr5 --versus fp16,int8,w4a16

      trilith estimate llama3-8b --memory hbm2 --batch 16 --versus fp16 --equal area

      trilith estimate llama3-8b --memory lpddr5 --bandwidth 120 --capacity 8

      trilith estimate --design core --context 2048 --vector-lanes 4

      trilith estimate --validation
    """
    if options.validation:
        _print_validation(options.as_json)
        return
    from ..sim.cost.comparison import rival
    from ..sim.cost.core_designs import CORE_DESIGNS, CoreDesign
    from ..sim.cost.datafiles import find
    from ..sim.cost.designs import DESIGNS
    from ..sim.cost.memories import find_memory
    from ..sim.cost.model_shapes import find_model
    from ..sim.cost.profiles import find_profile
    from ..sim.cost.system import estimate as compute

    shape, memory = find_model(options.model), find_memory(options.memory)
    if options.bandwidth is not None:
        memory = replace(memory, gigabytes_per_second=options.bandwidth, source="given")
    if options.capacity is not None:
        memory = replace(memory, gigabytes=options.capacity)
    chosen = find("design", options.design, {**DESIGNS, **CORE_DESIGNS})
    profile = find_profile(options.profile)
    if options.clock is not None:
        chosen = replace(chosen, clock_mhz=options.clock)
    if isinstance(chosen, CoreDesign):
        from .estimate_core import print_core

        core = chosen.with_widths(
            given_fields(options, _CoreOptions), given_fields(options, _EngineOptions)
        )
        print_core(shape, core, memory, profile, options.context, as_json=options.as_json)
        return
    designs = [chosen]
    k = shape.widest_k
    for number_format in options.versus.split(",") if options.versus else ():
        designs[0], other = rival(chosen, number_format, mode=options.equal, k=k, profile=profile)
        designs.append(other)
    results = [
        compute(
            shape,
            design,
            memory,
            context=options.context,
            batch=options.batch,
            prompt=options.prompt,
            profile=profile,
        )
        for design in designs
    ]
    rows = [_row(design, result) for design, result in zip(designs, results, strict=True)]
    assumptions = _assumptions(options, shape, chosen, memory, profile)
    published = _published_energy(chosen.name)
    if options.as_json:
        print_json({"rows": rows, "assumptions": assumptions, "published_energy": published})
        return
    Table(*_columns(chosen)).rows(zip(designs, results, strict=True))
    print_facts([*assumptions.items(), *(("published", _energy_text(one)) for one in published)])


def _published_energy(design: str) -> list[dict[str, Any]]:
    """Published energies of a design's system."""
    from ..sim.cost.validation import PUBLISHED

    return [
        {
            "system": one.system,
            "model": one.model,
            "joules_per_token": one.joules_per_token,
            "source": one.joules_source,
        }
        for one in PUBLISHED
        if one.design == design and one.joules_per_token is not None
    ]


def _energy_text(one: dict[str, Any]) -> str:
    """Fact of a published energy."""
    return f"{one['joules_per_token']:g} J/token, {one['system']}, {one['model']} ({one['source']})"


def _assumptions(
    options: _Options, shape: Any, design: "Design", memory: "Memory", profile: Any
) -> dict[str, str]:
    """Inputs of an estimate, with their sources."""
    from ..sim.cost.designs import sustained

    efficiency, reason = sustained(design, memory)
    rate = memory.gigabytes_per_second
    assumptions = {
        "model": f"{shape.name}: {shape.linear_weights / 1e9:.3f} G weights in linear layers, "
        f"{shape.parameters / 1e9:.3f} G in all ({shape.source})",
        "step": f"{options.batch} x prompt of {options.prompt} tokens"
        if options.prompt
        else f"a token of {options.batch} sequences at context {options.context}",
        "design": f"{design.full_rate:g} MACs per cycle at {design.clock_mhz:g} MHz, "
        f"activation buffer counted as {design.buffer_kilobytes} KB of SRAM, "
        f"{design.shared_tokens} activation vectors per pass over the weights, "
        f"head in {design.head_format}, {design.kv_bits}-bit cache ({design.source})",
        "memory": memory.name
        if rate == inf
        else f"{memory.name}: {rate:g} GB/s, of which {efficiency:.0%} ({reason})",
        "capacity": "not limited" if memory.gigabytes == inf else f"{memory.gigabytes:g} GB",
        "energy": f"{profile.name}: {profile.node}; {profile.boundary}; {design.energy_boundary}",
        "label": "modelled",
    }
    if options.versus:
        assumptions["versus"] = (
            f"equal {options.equal}: {options.equal.meaning}; rivals are always fully used"
        )
    return assumptions


def _energy_key(ours: bool) -> str:
    """Return the key of the energy of a token in JSON."""
    return "joules_per_token" if ours else "arithmetic_and_memory_lower_bound_joules_per_token"


_TIMES = ("linear_compute", "linear_memory", "attention", "head", "vector", "calls", "fixed")


def _row(design: "Design", result: "Estimate") -> dict[str, Any]:
    """JSON object of a design's estimate."""
    return {
        "design": design.name,
        "weights": design.number_format.name,
        "macs_per_clock": None if design.full_rate == inf else design.full_rate,
        "tokens_per_second": result.tokens_per_second,
        _energy_key(design.ours): result.joules_per_token,
        "bound": result.bound,
        "seconds": result.seconds,
        **{f"{name}_s": getattr(result, name) for name in _TIMES},
        "linear_cycles": result.cycles,
        "weight_bytes": result.weight_bytes,
        "kv_bytes": result.kv_bytes,
        "energy_pj": {**asdict(result.parts), "attention": result.attention_pj}
        if result.parts
        else None,
    }


def _ms(name: str) -> Callable[[tuple[Any, Any]], float]:
    """Make the cell of one of the times of an estimate."""
    return lambda row: 1e3 * getattr(row[1], name)


def _mj(part: str) -> Callable[[tuple[Any, Any]], float | None]:
    """Make the cell of one of the energies of an estimate."""

    def cell(row: tuple[Any, Any]) -> float | None:
        result = row[1]
        if result.parts is None:
            return None
        pj = result.attention_pj if part == "attention" else getattr(result.parts, part)
        return pj * 1e-9 / result.work.tokens

    return cell


def _columns(design: "Design") -> tuple[Column, ...]:
    """Columns of a design and its estimate."""
    from ..sim.cost.designs import LOWER_BOUND

    head = "mJ/token" if design.ours else f"{LOWER_BOUND}, mJ/token"
    energy = Column(head, lambda row: (row[1].joules_per_token or 0) * 1e3, form=".3f")
    return (*_RATES, energy, *_PARTS)


_RATES = (
    Column("design", lambda row: row[0].name, 22, "<"),
    Column("weights", lambda row: row[0].number_format.name, 11, "<"),
    Column("MACs/cycle", lambda row: row[0].full_rate, form=".5g"),
    Column("kcycles", lambda row: row[1].cycles / 1e3, 8, ".1f"),
    Column("tokens/s", lambda row: row[1].tokens_per_second, form=".2f"),
)
_PARTS = (
    Column("bound", lambda row: row[1].bound, 9, "<"),
    Column("ms: compute", _ms("linear_compute"), form=".3f"),
    Column("weights", _ms("linear_memory"), 8, ".3f"),
    Column("attention", _ms("attention"), form=".3f"),
    Column("head", _ms("head"), 7, ".3f"),
    Column("vector", _ms("vector"), 7, ".3f"),
    Column("calls", _ms("calls"), 7, ".3f"),
    Column("mJ/token: MAC", _mj("mac"), form=".3g"),
    Column("register", _mj("register"), form=".3g"),
    Column("SRAM", _mj("sram"), 6, ".3g"),
    Column("weights", _mj("dram"), form=".3g"),
    Column("attention", _mj("attention"), form=".3g"),
)


def _print_validation(as_json: bool) -> None:
    """Print predicted against published rates, by group."""
    from ..sim.cost.designs import LOWER_BOUND
    from ..sim.cost.memories import EFFICIENCY
    from ..sim.cost.processors import ISSUE_SHARE, RUNTIMES
    from ..sim.cost.validation import NOT_PREDICTED, Group, predict, summary

    predictions = predict()
    total = summary(predictions)
    if as_json:
        rows = [
            {
                **asdict(one.row),
                "predicted": one.rate,
                "error": one.error,
                "bound": one.bound,
                _energy_key(False): one.joules_per_token,
            }
            for one in predictions
        ]
        constants = {
            "efficiency": EFFICIENCY,
            "issue_share": asdict(ISSUE_SHARE),
            "runtimes": {name: asdict(one) for name, one in RUNTIMES.items()},
        }
        table = {"rows": rows, "summary": total, "not_predicted": NOT_PREDICTED}
        print_json(table | constants | {"label": "modelled"})
        return
    for group in Group:
        print_note(f"{group}: {group.meaning}")
        if group not in total:
            print_note("no system yet")
            continue
        Table(*_validation(LOWER_BOUND)).rows(one for one in predictions if one.row.group == group)
        one = total[group]
        print_note(
            f"{group}: median absolute error over {one['systems']} systems "
            f"{one['median_over_systems']:.1%}, over {one['rows']} counted rows "
            f"{one['median_absolute_error']:.1%}\n"
        )
    facts = [("not predicted", f"{name}: {reason}") for name, reason in NOT_PREDICTED.items()]
    facts += _constants()
    facts += [
        (
            "assumed",
            f"{one.row.system}, {one.row.model}: {one.row.assumptions} ({one.row.source})",
        )
        for one in predictions
    ]
    print_facts(facts)


def _constants() -> list[tuple[str, str]]:
    """Constants of all predictions, with their sources."""
    from ..sim.cost.memories import EFFICIENCY
    from ..sim.cost.processors import ISSUE_SHARE, RUNTIMES

    facts = [
        ("constant", f"bandwidth that the reader {kind} sustains: {share:.0%} ({source})")
        for kind, (share, source) in EFFICIENCY.items()
    ]
    facts.append(
        (
            "constant",
            f"vector instructions that a kernel starts, of those that the cores can start: "
            f"{ISSUE_SHARE.share:.0%} ({ISSUE_SHARE.source})",
        )
    )
    for name, one in RUNTIMES.items():
        cost = (
            f"{one.cycles_per_call:g} cycles" if one.cycles_per_call else f"{one.us_per_call:g} µs"
        )
        facts.append(("constant", f"operator call, {name}: {cost} ({one.source})"))
    return facts


def _validation(lower_bound: str) -> tuple[Column, ...]:
    """Columns of a prediction; no ratio is made of the two energies."""
    return (
        Column("system", lambda one: one.row.system, 43, "<"),
        Column("model", lambda one: one.row.model, 15, "<"),
        Column("published, tokens/s", lambda one: one.row.rate, form=".2f"),
        Column("predicted, tokens/s", "rate", form=".2f"),
        Column("error", "error", 5, "+.0%"),
        Column("bound", "bound", 14, "<"),
        Column("published, J/token", lambda one: one.row.joules_per_token, form=".3g"),
        Column(f"{lower_bound}, J/token", "joules_per_token", form=".3g"),
        Column("note", lambda one: "" if one.row.counted else "not counted", form="<"),
    )

"""``trilith estimate``: time and energy of a language model on a design."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..hw.config import MatVecConfig
from ..hw.token.config import TokenConfig
from ..sim.cost.assumptions import capacity_text, design_text, memory_text, model_text
from ..sim.cost.comparison import Equal
from .estimate_text import (
    figure_rows,
    figure_texts,
    file_texts,
    money,
    price_texts,
    print_estimates,
    row,
)
from .options import (
    JsonOptions,
    OptionError,
    argument,
    command,
    config_fields,
    force_option,
    given_fields,
    new_app,
    option,
)
from .output import print_facts, print_json, progress
from .technology import TechnologyOptions, chosen_technology

if TYPE_CHECKING:
    from ..sim.cost.designs import Design
    from ..sim.cost.memories import Memory
    from ..sim.cost.model_file import ModelFile
    from ..sim.cost.technology import Technology
    from ..sim.cost.workload import ModelShape

__all__ = ["app"]

app = new_app()


#: Designs that are token cores: the keys of ``sim.cost.core_designs.CORE_DESIGNS``.
CORES = ("--design core", "--design core-kv260")


class _System(JsonOptions):
    model: str = argument(
        "bitnet-2b4t", "Name of a model, a config.json or its folder, or a file of a model."
    )
    design: str = option("array-1024", "Design that multiplies; --list prints all names.")
    memory: str | None = option(
        None,
        "Memory; --list prints all names. Default: lpddr5, or the first memory of --technology.",
    )
    bandwidth_gb_s: float | None = option(
        None, "Bandwidth of the memory in GB/s. Default: that of --memory.", min=0.001, max=1e6
    )
    capacity_gb: float | None = option(
        None,
        "Capacity of the memory in GB; a model that needs more is refused. Default: that of "
        "--memory.",
        min=1e-6,
        max=1e6,
    )
    memory_pj_per_bit: float | None = option(
        None,
        "Energy to move a bit out of the memory in pJ. Default: that of --memory.",
        min=0,
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
    clock_mhz: float | None = option(
        None, "Clock frequency in MHz. Default: the design's.", min=0.001, max=1e5
    )
    head: str | None = option(
        None,
        "Number format of the head in all rows. Default: that of the model's file, or of the "
        "design; that of a rival is its own.",
        excludes=CORES,
    )
    cache_bits: int | None = option(
        None,
        "Bits of a stored key or value in all rows. Default: those of the design; a rival has "
        "those of its own activations.",
        min=1,
        max=64,
        excludes=CORES,
    )
    versus: str | None = option(
        None, "Number formats to compare with, such as fp16,int8,w4a16.", excludes=CORES
    )
    equal: Equal = option(
        Equal.MACS, "Quantity that is equal in all designs of --versus.", needs=("--versus",)
    )


class _Others(TechnologyOptions):
    write_technology: Path | None = option(
        None,
        "Write the chosen energies and the memory to this technology file instead.",
        alone=True,
        beside=(
            *("--profile", "--technology", "--memory", "--bandwidth-gb-s", "--capacity-gb"),
            *("--memory-pj-per-bit", "--force"),
        ),
    )
    force: bool = force_option(needs=("--write-technology",))
    validation: bool = option(
        False, "Print predictions of published systems instead.", "--validation", alone=True
    )
    names: bool = option(
        False, "Print all designs, models, memories and profiles instead.", "--list", alone=True
    )


_EngineOptions = config_fields(MatVecConfig, "lanes", "rows", "tokens", "code")
_CoreOptions = config_fields(
    TokenConfig, "vector_lanes", "attention_lanes", "memory_width", needs=CORES
)


class _Options(_CoreOptions, _EngineOptions, _Others, _System):  # type: ignore[misc]
    """Options of the command, those of an engine and of a token core's widths included."""


@command(app)
def estimate(options: _Options) -> None:
    """Estimate tokens per second, joules per token, and the bound of both (modelled).

    Cycles are those of the linear layers, one product after the other. For our engines they equal
    the cycles of the RTL. Energy is dynamic: arithmetic, activation buffer and memory. Static
    power, clock tree, wires and host are not included. For machines of others it is called
    "arithmetic and memory, lower bound", and published energies stand beside it.

    A file of a model gives its shapes, the number format of its head, and the share of zeros of its
    weights. --lanes, --rows, --tokens and --code change the engine of the design.

    With --design core, the token core runs whole tokens, and each part of a token has the cycles of
    the core's cycle model. core-kv260 has as many products as a published system, and its memory.

    Examples:
      trilith estimate bitnet-2b4t --design array-1024 --memory lpddr5 --versus fp16,int8,w4a16

      trilith estimate model.gguf --lanes 80 --rows 8 --code escape --clock-mhz 400

      trilith estimate --profile jouppi7 --write-technology my.toml

      trilith estimate llama3-8b --technology my.toml --bandwidth-gb-s 120 --capacity-gb 8

      trilith estimate --design core --context 2048 --vector-lanes 4

      trilith estimate --list
    """
    if options.validation:
        from .estimate_validation import print_validation

        print_validation(as_json=options.as_json)
        return
    if options.names:
        from .estimate_list import print_names

        print_names(as_json=options.as_json)
        return
    from ..sim.cost.core_designs import CORE_DESIGNS, CoreDesign
    from ..sim.cost.datafiles import find
    from ..sim.cost.designs import DESIGNS

    technology = chosen_technology(options)
    memory = _memory(options, technology)
    if options.write_technology is not None:
        _write(options, technology, memory)
        return
    chosen = find("design", options.design, {**DESIGNS, **CORE_DESIGNS})
    if options.clock_mhz is not None:
        chosen = replace(chosen, clock_mhz=options.clock_mhz)
    if isinstance(chosen, CoreDesign):
        from .estimate_core import print_core

        core = chosen.with_widths(
            given_fields(options, _CoreOptions), given_fields(options, _EngineOptions)
        )
        shape, file = _model(options.model)
        technology = _with_zeros(technology, file)
        facts = {**_model_facts(shape, file), "capacity": capacity_text(memory)}
        print_core(shape, core, memory, technology, options.context, facts, options.as_json)
        return
    _print_designs(options, _own_engine(options, chosen), memory, technology)


def _model(name: str) -> "tuple[ModelShape, ModelFile | None]":
    """Find a model, and read its file if it is one."""
    from ..sim.cost.model_shapes import MODELS

    if name in MODELS:
        return MODELS[name], None
    from ..sim.cost.model_file import read_model_file

    with progress("reading") as show:
        file = read_model_file(Path(name), progress=show)
    return file.model, file


def _model_facts(shape: "ModelShape", file: "ModelFile | None") -> dict[str, str]:
    """Assumptions on the model."""
    return {"model": model_text(shape), **file_texts(file)}


def _with_zeros(technology: "Technology", file: "ModelFile | None") -> "Technology":
    """Return the figures for the share of zeros that a file has."""
    if file is None or file.zero_fraction is None:
        return technology
    return replace(technology, profile=technology.profile.with_zeros(file.zero_fraction))


def _memory(options: _Options, technology: "Technology") -> "Memory":
    """Find the memory, with the values that are given."""
    from ..sim.cost.memories import Dram

    memory = technology.memory(options.memory)
    if options.bandwidth_gb_s is not None:
        memory = replace(
            memory, gigabytes_per_second=options.bandwidth_gb_s, source="--bandwidth-gb-s"
        )
    if options.capacity_gb is not None:
        memory = replace(memory, gigabytes=options.capacity_gb)
    if options.memory_pj_per_bit is not None:
        dram = Dram(
            name=memory.name,
            pj_per_bit=options.memory_pj_per_bit,
            boundary="as given",
            source="--memory-pj-per-bit",
            label="given",
        )
        memory = replace(memory, dram=dram)
    return memory


def _write(options: _Options, technology: "Technology", memory: "Memory") -> None:
    """Write a technology file."""
    from ..golden.files import new_file
    from ..sim.cost.technology import technology_text

    file, inputs = options.write_technology, [options.technology] if options.technology else []
    assert file is not None
    memories = {**technology.memories, memory.name: memory}
    text = technology_text(replace(technology, memories=memories))
    with new_file(file, inputs=inputs, force=options.force) as partial:
        partial.write_text(text, encoding="utf-8")
    if options.as_json:
        print_json({"out": str(file)})
    else:
        print(file)


def _own_engine(options: _Options, design: "Design") -> "Design":
    """Return a design with the engine that the options change."""
    from ..sim.cost.designs import own_design
    from ..sim.tools.errors import estimate_errors

    given = given_fields(options, _EngineOptions)
    if not given:
        return design
    if not design.ours or design.config is None:
        names = ", ".join(f"--{name}" for name in given)
        raise OptionError(
            f"{names} must not be given with --design {design.name}, which has no engine of this "
            "project; choose array-1024 or another one that --list calls ours"
        )
    with estimate_errors():
        config = replace(design.config, **given)
    return own_design(f"{config} {config.code}", config, design.clock_mhz)


def _print_designs(
    options: _Options, chosen: "Design", memory: "Memory", technology: "Technology"
) -> None:
    """Estimate a design and its rivals, and print them."""
    from ..sim.cost.comparison import rival
    from ..sim.cost.provenance import used_figures
    from ..sim.cost.system import estimate as compute

    shape, file = _model(options.model)
    technology = _with_zeros(technology, file)
    profile = technology.profile
    if file is not None and file.head is not None:
        chosen = replace(chosen, stored_head=file.head.number_format)
    designs, k = [chosen], shape.widest_k
    for number_format in options.versus.split(",") if options.versus else ():
        designs[0], other = rival(chosen, number_format, mode=options.equal, k=k, profile=profile)
        designs.append(other)
    designs = [_as_given(options, one) for one in designs]
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
    pairs = [*zip(designs, results, strict=True)]
    used = used_figures(shape, designs, memory, profile)
    assumptions = _assumptions(options, designs[0], memory, technology)
    assumptions = {**_model_facts(shape, file), **assumptions}
    costs = money(technology, results[0].tokens_per_second, results[0].joules_per_token)
    published = _published_energy(chosen.name)
    if options.as_json:
        print_json(
            {
                "rows": [row(*pair) for pair in pairs],
                "assumptions": assumptions,
                "figures": figure_rows(used),
                "price": technology.price and {**asdict(technology.price), **costs},
                "published_energy": published,
            }
        )
        return
    print_estimates(pairs)
    print_facts(
        [
            *assumptions.items(),
            *figure_texts(used),
            *price_texts(technology, costs),
            *(("published", _energy_text(one)) for one in published),
        ]
    )


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


def _as_given(options: _Options, design: "Design") -> "Design":
    """Return a design with the head and the cache that the options give."""
    if options.head is not None:
        design = replace(design, head_format=options.head, stored_head=None)
    if options.cache_bits is not None:
        design = replace(design, kv_bits=options.cache_bits)
    return design


def _assumptions(
    options: _Options, design: "Design", memory: "Memory", technology: "Technology"
) -> dict[str, str]:
    """Inputs of an estimate, with their sources."""
    assumptions = {
        "step": f"{options.batch} x prompt of {options.prompt} tokens"
        if options.prompt
        else f"a token of {options.batch} sequence{'s' * (options.batch > 1)} at context "
        f"{options.context}",
        "design": design_text(design),
        "memory": memory_text(design, memory),
        "capacity": capacity_text(memory),
        "energy": f"{technology.text}; {design.energy_boundary}",
        "label": "modelled",
    }
    if options.versus:
        assumptions["versus"] = (
            f"equal {options.equal}: {options.equal.meaning(technology.profile)}; rivals are "
            "always fully used, and have the head and the cache of their own format"
        )
    return assumptions

"""``trilith energy``: the energy of matrix products and prompts."""

from dataclasses import asdict
from enum import StrEnum
from typing import Any

from .energy_mac import mac
from .energy_token import token
from .options import JsonOptions, command, given_fields, new_app, option
from .output import Column, Table, print_facts, print_json, print_note
from .technology import TechnologyOptions, chosen_technology

__all__ = ["app"]

app = new_app("Print the energy of products and prompts, with every assumption.")
command(app)(mac)
command(app)(token)


class _Sram(StrEnum):
    """Capacities of published SRAMs in KB; ``trilith.sim.cost.profiles`` has the same."""

    SMALL, MIDDLE, LARGE = "8", "32", "1024"


class _MatmulOptions(TechnologyOptions, JsonOptions):
    n: int = option(..., "Outputs.", min=1, max=2**31)
    k: int = option(..., "Inputs.", min=1, max=2**31)
    tokens: int = option(1, "Activation vectors.", min=1, max=2**31)
    dram: str = option(
        "lpddr5",
        "Memory of the weights: ddr3 to hbm2e, one of --technology, or none for on-chip weights.",
    )
    rows: int = option(
        16, "Outputs that share one read of an activation from its buffer.", min=1, max=2**31
    )
    pass_tokens: int = option(
        1,
        "Activation vectors that share one pass over the weights.",
        min=1,
        max=2**31,
        excludes=("--dram none",),
    )
    sram: _Sram = option(_Sram.SMALL, "Activation buffer in KB.")
    adder_bits: int | None = option(
        None,
        "Width of an integer addition in bits. Default: the accumulator's width for K.",
        min=1,
        max=64,
    )


@command(app)
def matmul(options: _MatmulOptions) -> None:
    """Print the energy of W (n, k) @ x (tokens, k) in each number format (modelled).

    Examples:
      trilith energy matmul --n 6912 --k 2560

      trilith energy matmul --n 2560 --k 2560 --tokens 512 --pass-tokens 512 --profile horowitz45
    """
    from ..sim.cost.energy import Product, matmul_energy
    from ..sim.cost.formats import FORMATS
    from ..sim.cost.memories import find_dram
    from ..sim.cost.profiles import MissingFigureError

    technology = chosen_technology(options)
    profile, own = technology.profile, technology.memories.get(options.dram)
    memory = None if options.dram == "none" else own.dram if own else find_dram(options.dram)
    product = Product(**given_fields(options, Product), sram_kilobytes=int(options.sram))
    found, refused = [], {}
    for number_format in FORMATS.values():
        try:
            parts = matmul_energy(product, number_format, profile, memory)
        except MissingFigureError as error:
            refused[number_format.name] = str(error).partition(";")[0]
            continue
        mac = profile.mac(number_format, options.k, options.adder_bits)
        found.append((number_format.name, parts, mac))
    assumptions = {
        "profile": technology.text,
        "weights": f"{options.dram}: {memory.pj_per_bit:.3g} pJ/bit, {memory.boundary} "
        f"({memory.source})"
        if memory
        else "on chip, not moved",
        "activations": f"read from {options.sram} KB of SRAM, each read shared by {options.rows} "
        "outputs; results written to the same",
        "passes": f"weights read once for {options.pass_tokens} activation vectors",
        "label": "modelled",
    }
    if options.as_json:
        rows = [
            {
                "format": name,
                **{f"{part}_pj": value for part, value in asdict(parts).items()},
                "total_pj": parts.total,
                "figures": {part: asdict(figure) for part, figure in mac.items()},
            }
            for name, parts, mac in found
        ]
        print_json({"rows": rows, "refused": refused, **assumptions})
        return
    _print_matmul(found)
    print_facts(refused)
    print_facts(assumptions)


def _print_matmul(found: list[tuple[str, Any, Any]]) -> None:
    """Print the energies of a product: name, parts, and figures of a MAC of each format."""
    fp16 = next((parts for name, parts, _ in found if name == "fp16"), None)
    name = Column("format", 0, 12, "<")
    print_note("nJ of the product")
    Table(
        name,
        Column("MAC", lambda row: row[1].mac / 1e3, 11, ".2f"),
        Column(
            "register",
            lambda row: row[1].register / 1e3 if "register" in row[2] else None,
            0,
            ".2f",
        ),
        Column("SRAM", lambda row: row[1].sram / 1e3, 11, ".2f"),
        Column("DRAM", lambda row: row[1].dram / 1e3, 11, ".2f"),
        Column("total", lambda row: row[1].total / 1e3, 11, ".2f"),
    ).rows(found)
    print_note("\nFP16 over the format, and pJ of a MAC")
    Table(
        name,
        Column("MAC", lambda row: fp16 and fp16.mac / row[1].mac, 6, ".1f"),
        Column("total", lambda row: fp16 and fp16.total / row[1].total, 6, ".1f"),
        Column(
            "pJ per MAC",
            lambda row: ", ".join(f"{part} {figure.pj:.4g}" for part, figure in row[2].items()),
            form="<",
        ),
    ).rows(found)
    print()


class _PaperOptions(JsonOptions):
    config: list[str] | None = option(
        None,
        "Model: config.json, its folder, or a name; may be repeated. Default: the GPT-3 shapes "
        "of the paper.",
    )
    tokens: int = option(512, "Tokens of the prompt.", min=1, max=2**20)


@command(app)
def paper(options: _PaperOptions) -> None:
    """Print energies by BitNet's recipe for any model, and what its "71.4 times" leaves out.

    The recipe (arXiv 2310.11453, Table 1) counts arithmetic only. Attention is in FP16, as a full
    square. In the 1-bit rows, a MAC is one 8-bit addition. All figures are modelled from published
    ones.

    Examples:
      trilith energy paper

      trilith energy paper --config bitnet-2b4t --tokens 1024
    """
    from ..sim.cost.energy import ternary_ratios
    from ..sim.cost.model_shapes import GPT3, find_model
    from ..sim.cost.paper import paper_energy, paper_ratio
    from ..sim.cost.profiles import find_profile

    tokens = options.tokens
    models = [find_model(name) for name in options.config or ()] or list(GPT3.values())
    nodes = {"7 nm": find_profile("bitnet-paper"), "45 nm": find_profile("horowitz45")}
    energies = {
        (model.name, bits, node): paper_energy(model, bits=bits, tokens=tokens, profile=profile)
        for model in models
        for bits in (32, 16, 1)
        for node, profile in nodes.items()
    }
    ratios = {model.name: paper_ratio(model, tokens=tokens) for model in models}
    widths = ternary_ratios(nodes["7 nm"], (8, 20, 24, 32))
    old = ternary_ratios(nodes["45 nm"], (8,))[8]
    if options.as_json:
        rows = [
            {
                "model": model.name,
                "bits": bits,
                **{node: asdict(energies[model.name, bits, node]) for node in nodes},
            }
            for model in models
            for bits in (32, 16, 1)
        ]
        print_json(
            {
                "tokens": tokens,
                "energies_j": rows,
                "fp16_over_bitnet_7nm": ratios,
                "fp16_mac_over_add_7nm": widths,
                "fp16_mac_over_8_bit_add_45nm": old,
                "label": "modelled",
            }
        )
        return
    print(f"Energy of a prompt of {tokens} tokens by BitNet's recipe (modelled)")
    _print_recipe(energies)
    print("\nFP16 over BitNet, the whole prompt at 7 nm (modelled)")
    _print_totals(energies, ratios)
    print("\nAn FP16 MAC over one ternary accumulate, by the assumed cost of the latter (modelled)")
    notes = {
        8: ", 7 nm (the paper's figure)",
        20: ", 7 nm (the accumulator's real width at K = 2560)",
    }
    costs = [
        (ratio, f"{bits}-bit add{notes.get(bits, ', 7 nm')}") for bits, ratio in widths.items()
    ]
    costs.append((old, "8-bit add, 45 nm"))
    costs += [(16 / bits, f"bits moved, 16 against {bits} per weight") for bits in (2.0, 1.6)]
    Table(Column("ratio", 0, 6, ".1f"), Column("cost", 1, form="<")).rows(costs)


def _print_recipe(energies: dict[tuple[str, int, str], Any]) -> None:
    """Print the energies of models by the recipe, at both process nodes."""
    pairs = [
        (model, bits, new, energies[model, bits, "45 nm"])
        for (model, bits, node), new in energies.items()
        if node == "7 nm"
    ]
    Table(
        Column("model", 0, 14, "<"),
        Column("weights", lambda row: f"{row[1]} bit"),
        Column("J at 7 nm: MUL", lambda row: row[2].multiply, form=".3f"),
        Column("ADD", lambda row: row[2].add, 7, ".3f"),
        Column("attention", lambda row: row[2].attention, form=".3f"),
        Column("J at 45 nm: MUL", lambda row: row[3].multiply, form=".3f"),
        Column("ADD", lambda row: row[3].add, 7, ".3f"),
    ).rows(pairs)


def _print_totals(energies: dict[tuple[str, int, str], Any], ratios: dict[str, float]) -> None:
    """Print the totals of FP16 and BitNet, and their ratio."""
    Table(
        Column("model", 0, 14, "<"),
        Column("ratio", 1, 6, ".1f"),
        Column("FP16, J", lambda row: energies[row[0], 16, "7 nm"].total, 8, ".3f"),
        Column("BitNet, J", lambda row: energies[row[0], 1, "7 nm"].total, 8, ".3f"),
    ).rows(ratios.items())

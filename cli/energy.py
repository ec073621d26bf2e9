"""``trilith energy``: what matrix products and prompts cost, by published or measured figures."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

__all__ = ["energy"]

energy = typer.Typer(
    no_args_is_help=True, help="Energy of products and prompts, with every assumption named."
)


@energy.command()
def matmul(
    n: Annotated[int, typer.Option(help="Outputs.")],
    k: Annotated[int, typer.Option(help="Inputs.")],
    tokens: Annotated[int, typer.Option(help="Activation vectors.")] = 1,
    profile: Annotated[
        str,
        typer.Option(help="Figures: horowitz45, jouppi7, bitnet-paper, or gate:LIBRARY."),
    ] = "jouppi7",
    dram: Annotated[
        str, typer.Option(help="Where weights are: ddr3 to hbm2e, or none for weights on chip.")
    ] = "lpddr5",
    rows: Annotated[
        int, typer.Option(help="Outputs that share one read of an activation from its buffer.")
    ] = 16,
    pass_tokens: Annotated[
        int, typer.Option(help="Activation vectors that share one pass over the weights.")
    ] = 1,
    sram: Annotated[int, typer.Option(help="Activation buffer, KB: 8, 32 or 1024.")] = 8,
    adder_bits: Annotated[
        int | None,
        typer.Option(help="Width of an integer addition. Default: the accumulator's for this K."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Energy of W (n, k) @ x (tokens, k) in each number format, in nJ (modelled).

    Examples:
      trilith energy matmul --n 6912 --k 2560

      trilith energy matmul --n 2560 --k 2560 --tokens 512 --pass-tokens 512 --profile horowitz45
    """
    from ..sim.cost.energy import Product, matmul_energy
    from ..sim.cost.memories import find_dram
    from ..sim.cost.profiles import FORMATS, MissingFigureError, find_profile

    figures = find_profile(profile)
    memory = None if dram == "none" else find_dram(dram)
    product = Product(
        n=n,
        k=k,
        tokens=tokens,
        rows=rows,
        pass_tokens=pass_tokens,
        sram_kilobytes=sram,
        adder_bits=adder_bits,
    )
    rows_out, refused = [], []
    for number_format in FORMATS.values():
        try:
            parts = matmul_energy(product, number_format, figures, memory)
        except MissingFigureError as error:
            refused.append((number_format.name, str(error).partition(";")[0]))
            continue
        mac = figures.mac(number_format, k, adder_bits)
        rows_out.append((number_format.name, parts, mac))
    fp16 = next((parts for name, parts, _ in rows_out if name == "fp16"), None)
    assumptions = {
        "profile": f"{figures.name}: {figures.node}; {figures.boundary}",
        "weights": f"{dram}: {memory.pj_per_bit:.3g} pJ/bit, {memory.boundary} ({memory.source})"
        if memory
        else "on chip, not moved",
        "activations": f"read from {sram} KB of SRAM, each read shared by {rows} outputs; results "
        "written to the same",
        "passes": f"weights read once for {pass_tokens} activation vectors",
        "label": "modelled",
    }
    if as_json:
        table = [
            {
                "format": name,
                **{f"{part}_pj": value for part, value in asdict(parts).items()},
                "total_pj": parts.total,
                "figures": {part: asdict(figure) for part, figure in mac.items()},
            }
            for name, parts, mac in rows_out
        ]
        print(json.dumps({"rows": table, "refused": dict(refused), **assumptions}, indent=2))
        return
    print(
        f"{'format':<12} {'MAC':>10} {'register':>9} {'SRAM':>10} {'DRAM':>10} {'total':>10}  "
        f"{'FP16 / it: MAC':>14} {'total':>6}   nJ"
    )
    for name, parts, mac in rows_out:
        ratios = f"{fp16.mac / parts.mac:>14.1f} {fp16.total / parts.total:>6.1f}" if fp16 else ""
        register = f"{parts.register / 1e3:>9.2f}" if "register" in mac else f"{'-':>9}"
        print(
            f"{name:<12} {parts.mac / 1e3:>10.2f} {register} {parts.sram / 1e3:>10.2f} "
            f"{parts.dram / 1e3:>10.2f} {parts.total / 1e3:>10.2f}  {ratios}   "
            + ", ".join(f"{part} {figure.pj:.4g} pJ" for part, figure in mac.items())
        )
    for name, reason in refused:
        print(f"{name:<12} {reason}")
    for name, text in assumptions.items():
        print(f"{name}: {text}")


@energy.command()
def paper(
    config: Annotated[
        list[str] | None,
        typer.Option(
            help="A model: config.json, its folder, or a name; may be repeated. Default: the "
            "GPT-3 shapes of the paper.",
            show_default=False,
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens of the prompt.")] = 512,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """BitNet's energy recipe on any model, and what its "71.4 times" leaves out.

    The recipe (arXiv 2310.11453, Table 1): arithmetic only; attention in FP16, the full square; in
    the 1-bit rows a MAC is one 8-bit addition. All figures modelled from published ones.

    Examples:
      trilith energy paper

      trilith energy paper --config bitnet-2b4t --config model/config.json
    """
    from ..sim.cost.energy import ternary_ratios
    from ..sim.cost.model_shapes import GPT3, find_model
    from ..sim.cost.paper import paper_energy, paper_ratio
    from ..sim.cost.profiles import find_profile

    if not 1 <= tokens <= 2**20:
        raise typer.BadParameter(f"--tokens must be from 1 to {2**20}, not {tokens}")
    models = [find_model(name) for name in config] if config else list(GPT3.values())
    nodes = {"7 nm": find_profile("bitnet-paper"), "45 nm": find_profile("horowitz45")}
    rows = [
        {
            "model": model.name,
            "bits": bits,
            **{
                node: asdict(paper_energy(model, bits=bits, tokens=tokens, profile=profile))
                for node, profile in nodes.items()
            },
        }
        for model in models
        for bits in (32, 16, 1)
    ]
    ratios = {model.name: paper_ratio(model, tokens=tokens) for model in models}
    widths = ternary_ratios(nodes["7 nm"], (8, 20, 24, 32))
    old = ternary_ratios(nodes["45 nm"], (8,))[8]
    if as_json:
        table = {
            "tokens": tokens,
            "energies_j": rows,
            "fp16_over_bitnet_7nm": ratios,
            "fp16_mac_over_add_7nm": widths,
            "fp16_mac_over_8_bit_add_45nm": old,
            "label": "modelled",
        }
        print(json.dumps(table, indent=2))
        return
    print(f"Energy in J of a prompt of {tokens} tokens by BitNet's recipe (modelled)")
    print(
        f"{'model':<18} {'weights':>8}  {'7 nm: MUL':>10} {'ADD':>7} {'attention':>10}  "
        f"{'45 nm: MUL':>11} {'ADD':>7}"
    )
    for row in rows:
        new, before = row["7 nm"], row["45 nm"]
        print(
            f"{row['model']:<18} {row['bits']:>4} bit  {new['multiply']:>10.3f} {new['add']:>7.3f} "
            f"{new['attention']:>10.3f}  {before['multiply']:>11.3f} {before['add']:>7.3f}"
        )
    print("\nFP16 / BitNet, whole prompt at 7 nm, and the total of each in J")
    for model in models:
        fp16, bitnet = (paper_energy(model, bits=bits, tokens=tokens).total for bits in (16, 1))
        print(f"{model.name:<18} {ratios[model.name]:>6.1f}   {fp16:>8.3f} {bitnet:>8.3f}")
    print("\nAn FP16 MAC over one ternary accumulate, by what the latter is taken to cost")
    for width, ratio in widths.items():
        note = "the paper's figure" if width == 8 else "the accumulator's real width at K = 2560"
        print(
            f"{ratio:>6.1f}   {width:>2}-bit add, 7 nm" + (f" ({note})" if width in (8, 20) else "")
        )
    print(f"{old:>6.1f}    8-bit add, 45 nm")
    for bits in (2.0, 1.6):
        print(f"{16 / bits:>6.1f}   bits moved at batch 1, 16 against {bits} per weight")


_ROWS = (1, 2, 4, 8, 16, 32, 64)


@energy.command()
def mac(
    library: Annotated[
        list[str] | None,
        typer.Option(help="Cell library; may be repeated. Default: all.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Measured energy per MAC of all dot products at gate level, and ratios to FP16.

    From the stored tables, which 'trilith characterize --all' fills: no library and no tool is
    needed. Cells only, with decoder and all registers; no wires and no clock tree. "with ports"
    adds the charge of the pins that no cell drives, clock pins above all. FP16 is the fused dot
    product with an FP32 result, of as many lanes, rows and adder levels per stage, or - where that
    was not measured. The activation buffer, where one is known, is 8 KB, for 2560 outputs.

    Examples:
      trilith energy mac

      trilith energy mac --library asap7 --json
    """
    from ..sim.cost.energy import buffered
    from ..sim.gatelevel.table import library_names, load_table

    found = []
    for name in library or library_names():
        table = load_table(name)
        buffers = buffered(table, _ROWS, n=2560)
        found.append((table, buffers))
    if as_json:
        document = [
            {
                "library": table.library,
                "node": table.node,
                "common_clock_ghz": table.common_clock,
                "rows": [
                    asdict(row)
                    | {
                        "with_ports_fj": row.with_ports_fj,
                        "fp16_over_it": table.ratio(row),
                        "fp16_over_it_with_ports": table.ratio(row, ports=True),
                    }
                    for row in table.rows
                ],
                "sram": [asdict(macro) for macro in table.sram],
                "with_buffer": [asdict(one) for one in buffers],
            }
            for table, buffers in found
        ]
        print(json.dumps({"libraries": document, "label": "measured"}, indent=2))
        return
    for place, (table, buffers) in enumerate(found):
        if place:
            print()
        _print_table(table)
        _print_buffers(table, buffers)


def _print_table(table: Any) -> None:
    from ..sim.gatelevel.table import FP16_UNIT

    clocks = table.clocks
    print(f"{table.library}: {table.node} (measured; fJ per MAC)")
    heads = " ".join(f"{f'{clock:g} GHz':>10}" for clock in clocks)
    print(
        f"{'unit':<24} {'lanes x rows':>12} {'levels':>6} {'operands':<9} {heads} {'FP16/it':>8} "
        f"{'with ports':>10} {'ratio then':>10} {'clock pins':>10} {'leakage':>8} {'glitches':>9} "
        f"{'max GHz':>8} {'area/MAC':>9}"
    )
    slow = False
    for row in table.rows:
        if row.clock_ghz != table.common_clock:
            continue
        energies = []
        for clock in clocks:
            one = table.row(
                row.unit,
                clock_ghz=clock,
                lanes=row.lanes,
                rows=row.rows,
                levels_per_stage=row.levels_per_stage,
                operands=row.operands,
            )
            slow = slow or bool(one and not one.met)
            energies.append(f"{one.energy_fj:.1f}{'' if one.met else '!'}" if one else "-")
        ratio, other = (
            "-" if value is None else f"{value:.2f}"
            for value in (table.ratio(row), table.ratio(row, ports=True))
        )
        glitches = "-" if row.glitches_fj is None else f"{row.glitches_fj:.1f}"
        shape = f"{row.lanes} x {row.rows}"
        print(
            f"{row.unit:<24} {shape:>12} {row.levels_per_stage:>6} {row.operands:<9} "
            + " ".join(f"{text:>10}" for text in energies)
            + f" {ratio:>8} {row.with_ports_fj:>10.1f} {other:>10} "
            f"{row.parts_fj['clock']:>10.1f} {row.leakage_fj:>8.3f} {glitches:>9} "
            f"{row.max_ghz:>8.3f} {row.area_per_mac:>9.2f}"
        )
    print(f"all columns behind the energies are at {table.common_clock:g} GHz")
    print(
        "with ports: the charge of the pins that no cell drives added, of the clock pins and those "
        "at the inputs; ratio then: FP16/it with ports in both; clock pins: the part of the energy "
        "that flip-flops take inside for being clocked; glitches: the energy with them, without "
        "ports"
    )
    glitchy = [row for row in table.rows if row.glitches_fj and row == table.row(row.unit)]
    fp16 = next((row for row in glitchy if row.unit == FP16_UNIT), None)
    for row in glitchy:
        if fp16 is None:
            break
        both = (fp16.glitches_fj + fp16.ports_fj) / (row.glitches_fj + row.ports_fj)
        print(
            f"FP16/it with glitches: {row.unit} {fp16.glitches_fj / row.glitches_fj:.2f}, with "
            f"ports too {both:.2f}"
        )
    if slow:
        print("!: the clock is not met; the energy is of a circuit that is too slow")
    refused = max((row.refused for row in table.rows), default=0.0)
    if refused:
        print(
            f"lower bounds: for up to {refused:.0%} of the outputs' transitions the library's "
            "internal energy is so negative that cells would give energy; it counts as zero"
        )
    for origin in dict.fromkeys(json.dumps(row.provenance) for row in table.rows):
        one = json.loads(origin)
        files = ", ".join(f"{file['file']} {file['sha256'][:12]}" for file in one["files"])
        print(
            f"from {files}; {one['voltage']} V, {one['temperature']} C; yosys {one['yosys']}, "
            f"OpenSTA {one['opensta']}; {one['activity']}; {one['date']}"
        )


def _print_buffers(table: Any, buffers: list[Any]) -> None:
    if not buffers:
        print("activation buffer: no memory of this node is known")
        return
    print(
        f"with an activation buffer of 8 KB ({buffers[0].label}: {buffers[0].source}), by the rows "
        "that share a read, fJ per MAC, ports included"
    )
    print(f"{'unit':<24} {'without':>9} " + " ".join(f"{rows:>9}" for rows in _ROWS))
    for unit in dict.fromkeys(one.unit for one in buffers):
        some = [one for one in buffers if one.unit == unit]
        print(
            f"{unit:<24} {some[0].mac_fj:>9.1f} "
            + " ".join(f"{one.mac_fj + one.buffer_fj:>9.1f}" for one in some)
        )

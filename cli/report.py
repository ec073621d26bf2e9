"""``trilith report``: tables of measured figures, figures of energy, and pages of models."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..golden.input_files import shown
from ..hw.config import WeightCode
from .options import JsonOptions, OptionError, Options, command, force_option, new_app, option
from .output import Column, Table, print_facts, print_json, print_note, print_published, status
from .report_model import model

__all__ = ["app"]

app = new_app("Print tables of measured figures, draw figures, and describe a model.")


#: Families of FPGAs that dot products are measured in, and those of engines.
_BaselineFamily = StrEnum("_BaselineFamily", ["XCUP", "ECP5"])
_Family = StrEnum("_Family", ["XCUP", "ECP5", "ICE40"])


class _AreaOptions(JsonOptions):
    core: bool = option(
        False, "Measure the token core and each of its parts, and no engine alone.", "--core"
    )
    sweep: bool = option(
        False,
        "Measure every engine of lanes 8 to 320, rows 1 to 20, tokens 1 and 4, each activation "
        "width and code, or the headlines only. The sweep takes hours; an interrupted one "
        "continues.",
        "--sweep/--quick",
        excludes=("--core",),
    )
    family: list[_Family] | None = option(
        None,
        "Family of FPGAs to measure; may be repeated. Default: all; in a sweep, xcup; of the core, "
        "xcup and ecp5.",
    )
    board: str | None = option(
        None,
        "With --core: measure the core of a board with its AXI masters, such as kv260.",
        needs=("--core",),
        excludes=("--family",),
    )
    code: list[WeightCode] | None = option(
        None, "Weight code to measure; may be repeated.", excludes=("--core",)
    )
    max_macs: int | None = option(
        None,
        "Largest number of MACs per cycle to measure.",
        min=1,
        max=2**20,
        excludes=("--core",),
    )


@command(app)
def area(options: _AreaOptions) -> None:
    """Measure area and speed with yosys and nextpnr, and print them beside published figures.

    LUT includes shift registers (SRL) and memories (LUTRAM) made of look-up tables. After routing
    it is the device's logic cells. Blocks is the blocks of logic, such as CLBs, that look-up tables
    and flip-flops need. Levels is the look-up tables in the longest path; a carry chain counts as
    one. Measurements are kept in the cache, see 'trilith cache', and not repeated.

    With --core the rows are parts of the token core. One synthesis gives them all, and does not
    optimize across their ports. On ecp5 the core as a whole is placed and routed too, out of
    context, which takes about half an hour. With --board the core is that of a board, with its
    AXI masters, and published figures stand below.

    Examples:
      trilith report area

      trilith report area --core --family ecp5

      trilith report area --core --board kv260

      trilith report area --sweep --family xcup --code escape --max-macs 400
    """
    from ..fpga.flow.area import measure
    from ..reports.area import quick_units, sweep_units

    if options.core:
        _print_core(options)
        return
    if options.sweep:
        units = [unit for name in options.family or ["xcup"] for unit in sweep_units(name)]
    else:
        units = [unit for unit in quick_units() if unit.family in (options.family or list(_Family))]
    units = [
        unit
        for unit in units
        if unit.config.code in (options.code or WeightCode)
        and (options.max_macs is None or unit.macs <= options.max_macs)
    ]
    if not units:
        raise OptionError("--family, --code and --max-macs must leave an engine to measure")
    _print_measured(
        options, _AREA, {unit.name: unit for unit in units}, measure, "lut", lambda row: row.macs
    )


def _print_core(options: _AreaOptions) -> None:
    """Measure the token core in each family, and print its parts, the largest first."""
    from ..fpga.boards import SOCS
    from ..fpga.flow.core_area import CORE_FAMILIES, measure_core
    from ..reports.area import core_config
    from ..reports.published import published_figures

    families = options.family or CORE_FAMILIES
    for name in families:
        if name not in CORE_FAMILIES:
            raise OptionError(
                f"--family must be {' or '.join(CORE_FAMILIES)} with --core, not '{name}'"
            )
    cores: dict[str, tuple[Any, ...]]
    if options.board is None:
        cores = {name: (core_config(name), name) for name in families}
    elif options.board in SOCS:
        soc = SOCS[options.board]
        cores = {options.board: (soc.core, soc.family, soc.buses)}
    else:
        raise OptionError(f"--board must be {' or '.join(SOCS)}, not {shown(options.board)}")
    published = published_figures("core") if options.board else ()
    with status("measuring") as show:

        def measured() -> Iterator[Any]:
            for name, core in cores.items():
                show(f"measuring the token core in {name}")
                yield from measure_core(*core)

        rows = Table(*_CORE, silent=options.as_json).rows(measured())
    if options.as_json:
        others = {"published": [asdict(one) for one in published]} if published else {}
        core = [asdict(row) | {"blocks": row.blocks} for row in rows]
        print_json({"core": core, **others, "blocks": _used_blocks(rows)})
        return
    print_published(published)
    _note_blocks(rows)
    for note in dict.fromkeys(f"{row.family}: {row.core}" for row in rows):
        print_note(note)
    for tool in dict.fromkeys(f"{row.tool}: {row.command}" for row in rows):
        print_note(f"measured with {tool}")


_CORE = (
    Column("label", "label", 8, "<"),
    Column("part", "part", 19, "<"),
    Column("family", "family", form="<"),
    Column("LUT", "lut", 6),
    Column("LUTRAM", "lutram"),
    Column("FF", "ff", 6),
    Column("blocks", "blocks", 6, ".0f"),
    Column("carry", "carry", 6),
    Column("BRAM", "bram"),
    Column("DSP", "dsp"),
    Column("levels", "levels"),
    Column("MHz", "mhz", 6, ".1f"),
)


def _used_blocks(rows: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Find the block of logic of each family of some rows."""
    from ..fpga.flow.blocks import BLOCKS

    return {family: asdict(BLOCKS[family]) for family in dict.fromkeys(row.family for row in rows)}


def _note_blocks(rows: Iterable[Any]) -> None:
    """Print the block of logic of each family of some rows."""
    from ..fpga.flow.blocks import BLOCKS

    for family in dict.fromkeys(row.family for row in rows):
        print_note(f"blocks of {family}: {BLOCKS[family]}; the scarcer of the two decides")


def _print_measured(
    options: JsonOptions,
    columns: Sequence[Column],
    units: Mapping[str, Any],
    measure: Callable[[Any], Any],
    others: str,
    macs: Callable[[Any], int],
) -> None:
    """Measure units, and print each one's row as it comes, and published figures.

    Parameters
    ----------
    options : options of the command
    columns : columns of a row
    units : units by name
    measure : function that measures a unit and returns its row
    others : table of the published figures
    macs : function that finds the MACs per cycle of a row
    """
    from ..fpga.flow.blocks import BLOCKS
    from ..reports.peers import PEER_COMMAND, PEER_FAMILY, peers
    from ..reports.published import published_figures

    with status("measuring") as show:

        def measured() -> Iterator[Any]:
            for done, (name, unit) in enumerate(units.items()):
                show(f"measuring {done + 1} of {len(units)}: {name}")
                yield measure(unit)

        rows = Table(*columns, silent=options.as_json).rows(measured())
    published = published_figures(others)
    compared = peers() if others == "lut" and PEER_FAMILY in {row.family for row in rows} else ()
    if options.as_json:
        figures = [
            asdict(row)
            | {"per_mac": row.lut / macs(row), "ff_per_mac": row.ff / macs(row)}
            | {"blocks": row.blocks, "blocks_per_mac": row.blocks / macs(row)}
            for row in rows
        ]
        print_json(
            {
                "measured": figures,
                "peers": [
                    asdict(peer)
                    | {"blocks_per_mac": peer.blocks_per_mac}
                    | {"family": PEER_FAMILY, "command": PEER_COMMAND}
                    for peer in compared
                ],
                "published": [asdict(one) for one in published],
                "blocks": _used_blocks(rows),
            }
        )
        return
    print_facts(
        (
            peer.label,
            f"{peer.design}: {peer.lut_per_mac:g} LUT6, {peer.ff_per_mac:g} FF and "
            f"{peer.blocks_per_mac:.2f} {BLOCKS[PEER_FAMILY].name} per MAC ({peer.what})",
        )
        for peer in compared
    )
    print_published(published)
    _note_blocks(rows)
    for tool in sorted({f"{row.tool}: {row.command}" for row in rows}):
        print_note(f"measured with {tool}")


_AREA = (
    Column("label", "label", 8, "<"),
    Column("unit", "unit", 7, "<"),
    Column("lanes x rows x tokens", lambda row: f"{row.lanes} x {row.rows} x {row.tokens}", 0, "<"),
    Column("activation bits", "act_bits"),
    Column("code", "code", 7, "<"),
    Column("family", "family", form="<"),
    Column("target", "target", 12, "<"),
    Column("levels/stage", "levels_per_stage"),
    Column("LUT", "lut", 7),
    Column("LUT/MAC", "per_mac", form=".2f"),
    Column("FF", "ff", 7),
    Column("FF/MAC", "ff_per_mac", form=".2f"),
    Column("blocks", "blocks", 6, ".0f"),
    Column("blocks/MAC", "blocks_per_mac", form=".2f"),
    Column("SRL", "srl", 5),
    Column("LUTRAM", "lutram"),
    Column("carry", "carry", 6),
    Column("mux", "wide_mux"),
    Column("BRAM", "bram"),
    Column("DSP", "dsp"),
    Column("levels", "levels"),
    Column("MHz", lambda row: row.mhz or None, 6, ".1f"),
)


@command(app)
def fpga(options: JsonOptions) -> None:
    """Print each board's engine, the figures of its last build, and its estimated speed.

    GMAC/s are at full rate, for one token and for as many tokens as the engine serves at once.
    Tokens per second are modelled. Of engines: cycles of the cycle model and bytes on the link,
    without the host's own time. Of token cores behind a link: cycles and bytes of the cycle model
    at a context of 64, and the rate of the memory. The small model is the one of the repository;
    its weights are in block RAM as far as they fit, or all come from the core's memory. The made
    model has 19 million ternary weights. The largest models have BitNet's shape. Logic, flip-flops
    (FF), block RAM and frequency are measured after routing. Where a row says so, they are counted
    after synthesis only. On iCE40 flip-flops are a part of the logic cells. Nothing was run on a
    board.

    Example:
      trilith report fpga
    """
    from ..reports.fpga import board_rows
    from ..reports.published import published_figures

    rows, published = board_rows(), published_figures("board")
    if options.as_json:
        others = [asdict(figure) for figure in published]
        boards = [asdict(row) | {"blocks": row.blocks} for row in rows]
        print_json({"boards": boards, "published": others, "blocks": _used_blocks(rows)})
        return
    Table(*_BOARDS).rows(rows)
    print_note(
        "measured: logic, FF, BRAM and MHz, by each build's tools; modelled: tokens/s and s/token. "
        "Built and simulated, not run on hardware."
    )
    for row in rows:
        seeds = _built(row, "mhz_by_seed") or {}
        if len(seeds) > 1:
            found = ", ".join(f"{mhz:.1f} MHz with seed {seed}" for seed, mhz in seeds.items())
            print_note(f"measured: {row.title}: {found}")
    for row in rows:
        if row.largest is not None:
            print_note(f"modelled: largest model of BitNet's shape on {row.title}: {row.largest}")
    print_note(
        "GMAC/s and tokens/s assume the clock of the column 'clock'. A row without MHz was not "
        "placed: whether its board reaches this clock is not known."
    )
    print_published(published)
    _note_blocks(rows)


def _built(row: Any, *keys: str) -> Any:
    """Find a figure of a board's last build; None where it was not measured."""
    value = row.measured
    for key in keys:
        value = value and value.get(key)
    return value or None


_BOARDS = (
    Column("board", "title", 13, "<"),
    Column("engine", "engine", 7, "<"),
    Column("MACs/cycle", "macs"),
    Column("logic", "logic", 6),
    Column("logic/MAC", lambda row: row.logic and row.logic / row.macs, form=".1f"),
    Column("FF", "flip_flops", 6),
    Column("FF/MAC", lambda row: row.flip_flops and row.flip_flops / row.macs, form=".1f"),
    Column("blocks/MAC", lambda row: row.blocks and row.blocks / row.macs, form=".2f"),
    Column("BRAM", lambda row: _built(row, "used", "block RAM", "used")),
    Column("MHz", lambda row: _built(row, "mhz"), 5, ".1f"),
    Column("clock, MHz", "clock_mhz", form="g"),
    Column("GMAC/s, 1 token", "gmacs_single", form=".2f"),
    Column("GMAC/s, full", "gmacs_full", form=".2f"),
    Column("weights, KB", lambda row: row.weight_bytes and row.weight_bytes // 1024),
    Column("memory, KB", lambda row: row.memory_bytes and row.memory_bytes // 1024),
    Column("small model, tokens/s", "model_tokens", form=".1f"),
    Column("streamed", "model_streamed_tokens", form=".1f"),
    Column("made model", "made_tokens", form=".1f"),
    Column("2B4T by link, s/token", "big_seconds", form=".0f"),
    Column("2B4T by DRAM, tokens/s", "big_memory_tokens", form=".2f"),
    Column(
        "note",
        lambda row: "synthesized, not placed" if row.measured and not row.placed else "",
        form="<",
    ),
)


class _BaselineOptions(JsonOptions):
    name: list[str] | None = option(None, "Dot product to measure; may be repeated.")
    family: _BaselineFamily = option(_BaselineFamily.XCUP, "Family of FPGAs.")
    lanes: int = option(8, "Products per cycle.", min=2, max=320)


@command(app)
def baselines(options: _BaselineOptions) -> None:
    """Measure the dot products that the ternary one is compared with, in look-up tables alone.

    A name is weights x activations, then the format of the sum and the form, or the weight code.
    Levels is the look-up tables in the longest path; a carry chain counts as one. Turns is the
    number of dot products that an accumulator serves in turn.

    Example:
      trilith report baselines --name fp16xfp16-fp32-fused --name int8xint8 --lanes 16
    """
    from ..fpga.flow.area import measure_baseline
    from ..hw.baselines import BASELINES, DotConfig

    for name in options.name or ():
        if name not in BASELINES:
            raise OptionError(f"--name must be one of {', '.join(BASELINES)}, not {name!r}")
    for name in options.name or BASELINES:
        try:
            BASELINES[name].check(DotConfig(lanes=options.lanes, k_max=1))
        except ValueError as error:
            raise OptionError(f"--{error}; or give --name for other dot products") from None
    _print_measured(
        options,
        _BASELINES,
        {name: name for name in options.name or BASELINES},
        lambda name: measure_baseline(name, options.family, options.lanes),
        "mac",
        lambda row: row.lanes,
    )


_BASELINES = (
    Column("label", "label", 8, "<"),
    Column("dot product", "name", 22, "<"),
    Column("family", "family", form="<"),
    Column("lanes", "lanes"),
    Column("LUT", "lut", 6),
    Column("LUT/MAC", lambda row: row.lut / row.lanes, form=".1f"),
    Column("FF", "ff", 6),
    Column("FF/MAC", lambda row: row.ff / row.lanes, form=".1f"),
    Column("blocks/MAC", lambda row: row.blocks / row.lanes, form=".2f"),
    Column("DSP", "dsp"),
    Column("levels", "levels"),
    Column("latency, cycles", "latency"),
    Column("turns", "interleave"),
)


class _FiguresOptions(Options):
    out: Path = option(Path("figures"), "Folder to write to.", metavar="FOLDER")
    force: bool = force_option()


@command(app)
def figures(options: _FiguresOptions) -> None:
    """Draw all figures: PNG, SVG, CSV, and report.html, one page with all, the claims and boards.

    Each caption says which numbers are measured, published or modelled. The command takes one
    to four minutes. It needs matplotlib (the extra plots).

    Example:
      trilith report figures --out figures
    """
    from ..sim.tools.toolchain import ToolchainError, remedy

    if find_spec("matplotlib") is None:
        raise ToolchainError(f"matplotlib is not installed: {remedy('matplotlib')}")
    from ..reports.figures.plots import draw

    with status("drawing"):
        files = draw(options.out, force=options.force)
    for file in files:
        print(file)


command(app)(model)

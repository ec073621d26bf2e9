"""The command ``trilith``: parses arguments and prints what the rooms below return."""

import errno
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from ..golden.errors import TrilithError
from .characterize import characterize
from .claims import claims
from .energy import energy
from .estimate import estimate
from .fpga import fpga
from .generate import generate
from .model import model
from .sweep import sweep

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Toolkit for hardware that runs ternary neural networks.",
)


def _fail(message: str, status: int) -> int:
    print(f"trilith: {message}", file=sys.stderr)
    return status


@app.callback()
def _trilith() -> None:
    """Toolkit for hardware that runs ternary neural networks."""


@app.command()
def sim(
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="Part to run: sweep, digits, language, bitnet or axi; may be repeated. "
            "Default: all."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="A checkpoint of BitNet b1.58 2B4T (folder, safetensors or GGUF file): run "
            "the matrices of one of its layers instead of the suite.",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[int, typer.Option(help="Layer of the checkpoint, 0 to 29.")] = 0,
    waves: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write waves to, a file per engine: FST, or VCD where lz4.h is missing.",
            metavar="FOLDER",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Run the generated engine under Verilator and hold every result to the golden model.

    One line per case: what it is, the shape N x K x T (outputs, inputs, activation vectors), the
    engine lanes x rows x tokens, the weight code, clock cycles, utilization (MACs done of MACs
    possible in those cycles), and MACs simulated per second. All figures are measured.

    Examples:
      trilith sim

      trilith sim --part digits

      trilith sim --checkpoint bitnet-b1.58-2B-4T --layer 0
    """
    from rich.console import Console

    from ..sim.rtl.suite import PARTS, run_suite

    if checkpoint is not None:
        if part:
            raise typer.BadParameter("--part and --checkpoint exclude each other")
        part = ["bitnet"]
    if not 0 <= layer < 30:
        raise typer.BadParameter(f"--layer must be from 0 to 29, not {layer}")
    for name in part or ():
        if name not in PARTS:
            raise typer.BadParameter(f"--part must be one of {', '.join(PARTS)}, not {name!r}")
    console = Console(stderr=True)
    results = []
    with console.status("building simulations") as status:
        for result in run_suite(
            part or list(PARTS),
            checkpoint=checkpoint,
            layer=layer,
            waves=waves,
            built=lambda done, total: status.update(f"building simulations: {done} of {total}"),
        ):
            results.append(result)
            if not as_json:
                print(_case_line(result), flush=True)
    passed = sum(result.passed for result in results)
    failed = len(results) - passed
    if as_json:
        cases = [asdict(result) for result in results]
        print(json.dumps({"passed": passed, "failed": failed, "cases": cases}, indent=2))
    else:
        print(f"{passed} passed, {failed} failed")
    if failed:
        raise typer.Exit(1)


def _case_line(result) -> str:
    name = f"{result.part}: {result.name}"
    line = (
        f"{'PASS' if result.passed else 'FAIL'}  {name:<42} {result.shape:>13} on "
        f"{result.engine:<8} {result.code:<8} {result.cycles:>8} cycles "
        f"{result.utilization:>6.1%} {result.macs_per_second / 1e6:>8.2f} MMAC/s"
    )
    return f"{line}  {result.detail}".rstrip()


app.command()(generate)
app.command()(characterize)
app.add_typer(model, name="model")
app.add_typer(energy, name="energy")
app.add_typer(fpga, name="fpga")
app.command()(estimate)
app.command()(claims)
app.command()(sweep)

report = typer.Typer(no_args_is_help=True, help="Print tables of measured figures.")
app.add_typer(report, name="report")


@report.command()
def area(
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep/--quick",
            help="Every engine of lanes 8 to 320, rows 1 to 20, tokens 1 and 4, each activation "
            "width and code (hours, resumed where it stopped), or the headlines only.",
        ),
    ] = False,
    family: Annotated[
        list[str] | None,
        typer.Option(help="Keep to a family: xcup, ecp5 or ice40; may be repeated. Sweeps: xcup."),
    ] = None,
    code: Annotated[
        list[str] | None, typer.Option(help="Keep to a weight code; may be repeated.")
    ] = None,
    max_macs: Annotated[
        int | None, typer.Option(help="Leave out what does more multiply-accumulates per clock.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Measure area and speed with yosys and nextpnr, and print them beside published figures.

    LUT counts shift registers and memories made of look-up tables; after routing it is the device's
    logic cells. Levels are look-up tables in the longest path, a carry chain being one. What was
    measured before is kept under build/ and not measured again.

    Examples:
      trilith report area

      trilith report area --sweep --family xcup --code escape --max-macs 400
    """
    from rich.console import Console

    from ..golden.codes import CODES
    from ..reports.area import FAMILIES, PUBLISHED, measure, quick_units, sweep_units

    for option, values, legal in (("family", family, FAMILIES), ("code", code, CODES)):
        for value in values or ():
            if value not in legal:
                raise typer.BadParameter(
                    f"--{option} must be one of {', '.join(legal)}, not {value!r}"
                )
    if sweep:
        units = [unit for name in family or ["xcup"] for unit in sweep_units(name)]
    else:
        units = [unit for unit in quick_units() if unit.family in (family or FAMILIES)]
    units = [
        unit
        for unit in units
        if unit.config.code in (code or CODES) and (max_macs is None or unit.macs <= max_macs)
    ]
    rows = []
    if not as_json:
        print(_AREA_HEAD)
    with Console(stderr=True).status("measuring") as status:
        for done, unit in enumerate(units):
            status.update(f"measuring {done + 1} of {len(units)}: {unit.name}")
            rows.append(measure(unit))
            if not as_json:
                print(_area_line(rows[-1]), flush=True)
    if as_json:
        measured = [asdict(row) | {"per_mac": row.per_mac} for row in rows]
        published = [asdict(figure) for figure in PUBLISHED]
        print(json.dumps({"measured": measured, "published": published}, indent=2))
        return
    for figure in PUBLISHED:
        print(f"published  {figure.design}: {figure.figure} ({figure.what})")
    for tool in sorted({f"{row.tool}: {row.command}" for row in rows}):
        print(f"measured with {tool}")


_AREA_HEAD = (
    f"{'':<10} {'unit':<8} {'lanes x rows x tokens':<21} {'bits':>5}  {'code':<8}  {'family':<6} "
    f"{'LUT':>7} {'per MAC':>8} {'SRL':>5} {'LUTRAM':>6} {'FF':>7} {'carry':>6} {'mux':>5} "
    f"{'BRAM':>5} {'DSP':>4} {'levels':>6} {'MHz':>6}"
)


def _area_line(row) -> str:
    shape = f"{row.lanes} x {row.rows} x {row.tokens}"
    mhz = f"{row.mhz:.1f}" if row.mhz else "-"
    return (
        f"{row.label:<10} {row.unit:<8} {shape:<21} {row.act_bits:>5}  {row.code:<8}  "
        f"{row.family:<6} {row.lut:>7} {row.per_mac:>8.2f} {row.srl:>5} {row.lutram:>6} "
        f"{row.ff:>7} {row.carry:>6} {row.wide_mux:>5} {row.bram:>5} {row.dsp:>4} "
        f"{row.levels:>6} {mhz:>6}"
    )


@report.command(name="fpga")
def fpga_report(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Print what goes on each board, what its last build measured, and what it would do.

    GMAC/s are at full rate, for one token and for as many as the engine serves at once. Tokens per
    second are modelled: clocks of the cycle model and bytes on the link, without the host's own
    time. Logic, block RAM and frequency are measured after routing, or where a row says so logic
    and block RAM after synthesis alone; nothing was run on a board.
    """
    from ..reports.fpga import PUBLISHED_BOARDS, board_rows

    rows = board_rows()
    if as_json:
        boards = [asdict(row) for row in rows]
        published = [asdict(figure) for figure in PUBLISHED_BOARDS]
        print(json.dumps({"boards": boards, "published": published}, indent=2))
        return
    print(
        f"{'board':<15} {'engine':<8} {'MACs':>5} {'logic':>6} {'/MAC':>5} {'BRAM':>5} {'MHz':>6} "
        f"{'of':>4} {'GMAC/s: 1':>9} {'full':>6} {'weights':>8} {'model':>10} {'2B4T by link':>12} "
        f"{'by DRAM':>10}"
    )
    for row in rows:
        built = row.measured
        logic = (
            f"{row.logic:>6} {row.logic / row.macs:>5.1f}" if row.logic else f"{'-':>6} {'-':>5}"
        )
        ram = f"{built['used']['block RAM']['used']:>5}" if built else f"{'-':>5}"
        mhz = f"{built['mhz']:>6.1f}" if built and built["mhz"] else f"{'-':>6}"
        dram = f"{row.big_memory_tokens:.2f} tok/s" if row.big_memory_tokens else "-"
        held = f"{row.weight_bytes // 1024} KB" if row.weight_bytes else "-"
        model = f"{row.model_tokens:.1f} tok/s" if row.model_tokens else "-"
        big = f"{row.big_seconds:.0f} s/t" if row.big_seconds else "-"
        note = "  synthesized, not placed" if built and not row.placed else ""
        print(
            f"{row.title:<15} {row.engine:<8} {row.macs:>5} {logic} {ram} {mhz} "
            f"{row.clock_mhz:>4g} "
            f"{row.gmacs_single:>9.2f} {row.gmacs_full:>6.2f} {held:>8} "
            f"{model:>10} {big:>12} {dram:>10}{note}"
        )
    print(
        "measured: logic, BRAM and MHz, by the tools of each build; modelled: the tokens; GMAC/s "
        "and tokens are at the clock of the column 'of', not known to be reached without MHz"
    )
    for figure in PUBLISHED_BOARDS:
        print(f"published  {figure.design}: {figure.figure} ({figure.what})")


@report.command()
def baselines(
    name: Annotated[
        list[str] | None, typer.Option(help="Keep to a dot product; may be repeated.")
    ] = None,
    family: Annotated[str, typer.Option(help="xcup or ecp5.")] = "xcup",
    lanes: Annotated[int, typer.Option(help="Products per clock, 2 to 320.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Measure the dot products that the ternary one is compared with, in look-up tables alone.

    Names are weights x activations, then the format of the sum and the form, or the weight code.
    Levels are look-up tables in the longest path, a carry chain being one; latency is in clocks;
    turns is how many dot products an accumulator serves in turn.

    Examples:
      trilith report baselines --name fp16xfp16-fp32-fused --name int8xint8 --lanes 16
    """
    from rich.console import Console

    from ..hw.baselines import BASELINES
    from ..reports.area import PUBLISHED_MACS, measure_baseline

    if family not in ("xcup", "ecp5"):
        raise typer.BadParameter(f"--family must be one of xcup, ecp5, not {family!r}")
    if not 2 <= lanes <= 320:
        raise typer.BadParameter(f"--lanes must be from 2 to 320, not {lanes}")
    for value in name or ():
        if value not in BASELINES:
            raise typer.BadParameter(f"--name must be one of {', '.join(BASELINES)}, not {value!r}")
    rows = []
    if not as_json:
        print(
            f"{'':<10} {'dot product':<24} {'family':<6} {'lanes':>5} {'LUT':>7} {'per MAC':>8} "
            f"{'FF':>7} {'DSP':>4} {'levels':>6} {'latency':>7} {'turns':>5}"
        )
    with Console(stderr=True).status("measuring") as status:
        for value in name or BASELINES:
            status.update(f"measuring {value}")
            row = measure_baseline(value, family, lanes)
            rows.append(row)
            if not as_json:
                print(
                    f"{row.label:<10} {row.name:<24} {row.family:<6} {row.lanes:>5} {row.lut:>7} "
                    f"{row.lut / row.lanes:>8.1f} {row.ff:>7} {row.dsp:>4} {row.levels:>6} "
                    f"{row.latency:>7} {row.interleave:>5}",
                    flush=True,
                )
    if as_json:
        measured = [asdict(row) | {"per_mac": row.lut / row.lanes} for row in rows]
        published = [asdict(figure) for figure in PUBLISHED_MACS]
        print(json.dumps({"measured": measured, "published": published}, indent=2))
        return
    for figure in PUBLISHED_MACS:
        print(f"published  {figure.design}: {figure.figure} ({figure.what})")
    print(f"measured with {rows[0].tool}: {rows[0].command}")


@report.command("energy")
def energy_figures(
    out: Annotated[Path, typer.Option(help="Folder to write to.", metavar="FOLDER")] = Path(
        "energy-figures"
    ),
) -> None:
    """Draw energy at gate level from the stored tables: PNG, SVG and CSV each, and a page of all.

    Energy per MAC by format and its ratio to FP16; what it is spent on; energy against the share of
    zero weights; area against energy, with published chips. Measured, but for what is marked
    published. Needs matplotlib (the extra plots), and neither a library nor OpenSTA.

    Examples:
      trilith report energy --out figures
    """
    from importlib.util import find_spec

    from ..sim.tools.toolchain import ToolchainError

    if find_spec("matplotlib") is None:
        raise ToolchainError("figures need matplotlib: pip install 'trilith[plots]'")
    from ..reports.figures.gate import GATE_FIGURES
    from ..reports.figures.plots import draw

    for file in draw(out, GATE_FIGURES):
        print(file)


@app.command()
def verilog(
    out: Annotated[
        Path,
        typer.Option(help="Verilog file to write, ending in .v.", show_default=False),
    ],
    preset: Annotated[
        str | None,
        typer.Option(
            help="Configuration to start from: micro, line, block or bitnet. Without it --lanes, "
            "--rows, --k-max and --n-max are needed.",
            show_default=False,
        ),
    ] = None,
    lanes: Annotated[
        int | None, typer.Option(help="Products of one output summed per clock; 5 to 320.")
    ] = None,
    rows: Annotated[int | None, typer.Option(help="Outputs computed at once; 1 to 64.")] = None,
    tokens: Annotated[
        int | None,
        typer.Option(help="Activation vectors served by one pass over the weights; 1 to 8."),
    ] = None,
    act_bits: Annotated[
        int | None, typer.Option(help="Bits of an activation: 8, 4, or 2 for ternary ones.")
    ] = None,
    code: Annotated[
        str | None,
        typer.Option(help="How weights are packed: base3, escape, tq1, two_bit or binary."),
    ] = None,
    k_max: Annotated[
        int | None, typer.Option(help="Largest K (inputs) of a job; sets the buffer's depth.")
    ] = None,
    n_max: Annotated[int | None, typer.Option(help="Largest N (outputs) of a job.")] = None,
    levels_per_stage: Annotated[
        int | None,
        typer.Option(help="Adder levels between two registers, 1 to 4; fewer for a faster clock."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="fpga or asic: registers or gates in front of the adders, equal results."
        ),
    ] = None,
    name: Annotated[
        str, typer.Option(help="Top module; submodules are NAME__..., so two exports can meet.")
    ] = "trilith_matvec",
    testbench: Annotated[
        bool, typer.Option("--testbench", help="Write the self-checking testbench too.")
    ] = False,
    wrapper: Annotated[
        str | None,
        typer.Option(
            help="axi: the engine behind AXI4-Stream and AXI4-Lite, with register map, C header, "
            "and scripts for Vivado and LiteX.",
            show_default=False,
        ),
    ] = None,
    weights_width: Annotated[
        int | None,
        typer.Option(
            help="With --wrapper: bits of the weights bus, 32 to 1024. Default: the narrowest "
            "that carries a beat per clock.",
            show_default=False,
        ),
    ] = None,
    activations_width: Annotated[
        int | None,
        typer.Option(help="The same for activations. Default: 64.", show_default=False),
    ] = None,
    results_width: Annotated[
        int | None, typer.Option(help="The same for results. Default: 64.", show_default=False)
    ] = None,
    period_ns: Annotated[float, typer.Option(help="Clock period in the SDC file, ns.")] = 10.0,
    family: Annotated[
        str | None,
        typer.Option(
            help="Refuse what does not fit the block RAM of xc7, xcup, ecp5, ice40up5k, gw1n9 or "
            "gw2a18.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Write an engine as Verilog, with all that its users need and no Python.

    Beside OUT.v: OUT.json (ports, bit fields, latencies, memories), OUT.md (the same for people,
    with stream rules and the order of beats), OUT.core (FuseSoC), OUT.sdc, OUT.vlt (Verilator
    -Wall), and with --testbench OUT_tb.v, which prints PASS or the first difference. Options
    override the preset. All files are written, or none.

    With --wrapper axi OUT.v is AXI IP, OUT.md has its register map, and beside it are OUT_regs.h,
    OUT_regs.py, OUT_ip.tcl (packs it for Vivado) and OUT_litex.py, and no testbench.

    Examples:
      trilith verilog --preset line --out line.v --testbench

      trilith verilog --preset micro --code escape --family ice40up5k --out micro.v

      trilith verilog --preset line --wrapper axi --name ternary_line --out line.v

      iverilog -o tb line.v line_tb.v && vvp tb
    """
    from dataclasses import replace

    from ..hw.axi.wrapper import BusWidths
    from ..hw.config import PRESETS, MatVecConfig
    from ..hw.export.axi_package import export_axi
    from ..hw.export.package import ExportError, export_engine

    options = {
        "lanes": lanes,
        "rows": rows,
        "tokens": tokens,
        "act_bits": act_bits,
        "code": code,
        "k_max": k_max,
        "n_max": n_max,
        "levels_per_stage": levels_per_stage,
        "target": target,
    }
    given: dict[str, Any] = {field: x for field, x in options.items() if x is not None}
    if preset is not None and preset not in PRESETS:
        raise ExportError(f"--preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    if preset is None:
        for field in ("lanes", "rows", "k_max", "n_max"):
            if field not in given:
                option = f"--{field.replace('_', '-')}"
                raise ExportError(f"{option} must be given where --preset is not")
    buses = {"weights": weights_width, "activations": activations_width, "results": results_width}
    widths = {bus: bits for bus, bits in buses.items() if bits is not None}
    if wrapper not in (None, "axi"):
        raise ExportError(f"--wrapper must be axi, not {wrapper!r}")
    for bus in widths:
        if wrapper is None:
            raise ExportError(f"--{bus}-width must be given with --wrapper axi only")
    if wrapper and testbench:
        raise ExportError("--testbench must not be given with --wrapper axi: it is the engine's")
    try:
        config = replace(PRESETS[preset], **given) if preset else MatVecConfig(**given)
        bus_widths = replace(BusWidths.of(config), **widths)
    except ValueError as error:
        raise ExportError(str(error)) from None
    common: dict[str, Any] = {"name": name, "period_ns": period_ns, "family": family}
    if wrapper:
        files = export_axi(config, out, widths=bus_widths, **common)
    else:
        files = export_engine(config, out, testbench=testbench, **common)
    if as_json:
        print(json.dumps({"top": name, "files": [str(file) for file in files]}, indent=2))
    else:
        for file in files:
            print(file)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Print which tools were found, what is missing, and how to get it.

    Ends with status 1 if something that 'make sim' needs is missing.
    """
    from ..sim.tools.doctor import doctor as look

    tools = look()
    if as_json:
        print(json.dumps([asdict(tool) for tool in tools], indent=2))
    else:
        for tool in tools:
            state = f"found    {tool.found}" if tool.found else f"missing  {tool.remedy}"
            optional = ", optional" if tool.optional else ""
            print(f"{tool.name:<30} {state}  (for {tool.needed_for}{optional})")
    if any(tool.found is None and not tool.optional for tool in tools):
        raise typer.Exit(1)


def main() -> None:
    """Run the command; bad input is one line and status 2, a failed simulation status 1."""
    try:
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        message = error.format_message()  # Empty where help was printed instead.
        sys.exit(_fail(message, 2) if message else 2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(_fail("interrupted", 130))
    except OSError as error:
        message = str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            message += (
                f"; files go to {os.environ.get('TRILITH_BUILD', 'build')} (TRILITH_BUILD) and "
                f"{tempfile.gettempdir()} (TMPDIR): free space there, or set these variables"
            )
        sys.exit(_fail(message, 2))
    except TrilithError as error:
        sys.exit(_fail(str(error), error.exit_status))

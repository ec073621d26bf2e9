"""``trilith verilog``: an engine as Verilog with its testbench and documentation."""

from dataclasses import MISSING, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..hw.axi.wrapper import BusWidths
from ..hw.config import PRESETS, MatVecConfig
from .options import (
    JsonOptions,
    OptionError,
    Preset,
    command,
    config_fields,
    force_option,
    given_fields,
    new_app,
    option,
)
from .output import print_json

__all__ = ["app"]

app = new_app()


class _Wrapper(StrEnum):
    AXI = "axi"


class _Start(JsonOptions):
    out: Path = option(..., "Verilog file to write, ending in .v.")
    preset: Preset | None = option(
        None,
        "Configuration to start from. Without it --lanes, --rows, --k-max and --n-max are "
        "required.",
    )


_EngineOptions = config_fields(MatVecConfig)


class _Options(_EngineOptions, _Start):  # type: ignore[misc]
    name: str = option(
        "trilith_matvec",
        "Top module. Names of submodules begin with NAME__, so that two exports can be used "
        "together.",
    )
    testbench: bool = option(
        False,
        "Write the self-checking testbench too; it is the bare engine's.",
        "--testbench",
        excludes=("--wrapper axi",),
    )
    wrapper: _Wrapper | None = option(
        None,
        "axi: the engine behind AXI4-Stream and AXI4-Lite, with register map, C header, and "
        "scripts for Vivado and LiteX.",
    )
    weights_width: int | None = option(
        None,
        "With --wrapper: width of the weights bus in bits, 32 to 1024. Default: the narrowest "
        "that carries a beat per cycle.",
        needs=("--wrapper",),
    )
    activations_width: int | None = option(
        None,
        "With --wrapper: width of the activations bus in bits. Default: 64.",
        needs=("--wrapper",),
    )
    results_width: int | None = option(
        None,
        "With --wrapper: width of the results bus in bits. Default: 64.",
        needs=("--wrapper",),
    )
    period_ns: float = option(10.0, "Clock period in the SDC file, ns.", min=0.01, max=1e6)
    family: str | None = option(
        None,
        "Family of FPGAs whose block RAM the engine must fit: xc7, xcup, ecp5, ice40up5k, gw1n9 "
        "or gw2a18.",
    )
    force: bool = force_option()


@command(app)
def verilog(options: _Options) -> None:
    """Write an engine as Verilog, with everything that its users need except Python.

    The files beside OUT.v are: OUT.json (ports, bit fields, latencies, memories), OUT.md (the same
    as text, with stream rules and the order of beats), OUT.core (FuseSoC), OUT.sdc, and OUT.vlt
    (Verilator -Wall). With --testbench, OUT_tb.v prints PASS or the first difference. Options
    override the preset. Either all files are written or none. Files that exist are replaced only
    with --force. Missing folders are made.

    With --wrapper axi, OUT.v is AXI IP and OUT.md has its register map. OUT_regs.h, OUT_regs.py,
    OUT_ip.tcl (which packs the IP for Vivado) and OUT_litex.py are added; there is no testbench.

    Examples:
      trilith verilog --preset line --out line.v --testbench

      trilith verilog --preset micro --code escape --family ice40up5k --out micro.v

      trilith verilog --preset line --wrapper axi --name ternary_line --out ternary_line.v

      iverilog -o tb line.v line_tb.v && vvp tb
    """
    from ..hw.export.axi_package import export_axi
    from ..hw.export.package import export_engine

    config, widths = _configuration(options)
    common: dict[str, Any] = {
        "name": options.name,
        "period_ns": options.period_ns,
        "family": options.family,
        "force": options.force,
    }
    if options.wrapper:
        files = export_axi(config, options.out, widths=widths, **common)
    else:
        files = export_engine(config, options.out, testbench=options.testbench, **common)
    if options.as_json:
        print_json({"top": options.name, "files": [str(file) for file in files]})
    else:
        for file in files:
            print(file)


def _configuration(options: _Options) -> tuple[MatVecConfig, BusWidths]:
    """Configuration of the engine and widths of the wrapper's buses."""
    given = given_fields(options, _EngineOptions)
    if options.preset is None:
        for one in fields(MatVecConfig):
            if one.default is MISSING and one.name not in given:
                option = f"--{one.name.replace('_', '-')}"
                raise OptionError(f"{option} is missing: give it, or give --preset")
    buses = {one.name: getattr(options, f"{one.name}_width") for one in fields(BusWidths)}
    widths = {bus: bits for bus, bits in buses.items() if bits is not None}
    try:
        preset = PRESETS[options.preset] if options.preset else None
        config = replace(preset, **given) if preset else MatVecConfig(**given)
        return config, replace(BusWidths.of(config), **widths)
    except ValueError as error:
        raise OptionError(str(error)) from None

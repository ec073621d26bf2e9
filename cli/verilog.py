"""``trilith verilog``: an engine or a token core as Verilog with testbench and documentation."""

from dataclasses import MISSING, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..hw.axi.wrapper import BusWidths
from ..hw.config import PRESETS, MatVecConfig
from ..hw.token.config import TokenConfig
from .core_options import CoreOptions, CorePreset, core_config
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

if TYPE_CHECKING:
    from ..hw.axi.core_wrapper import CoreBuses

__all__ = ["app"]

app = new_app()


class _Wrapper(StrEnum):
    AXI = "axi"


class _Start(JsonOptions):
    out: Path = option(..., "Verilog file to write, ending in .v.")
    preset: Preset | None = option(
        None,
        "Engine to start from. Without it --lanes, --rows, --k-max and --n-max are required.",
        excludes=("--core",),
    )
    core: CorePreset | None = option(
        None,
        "Write a token core instead of an engine: the configuration to start from. The options of "
        "the engine change its engine.",
    )


_EngineOptions = config_fields(MatVecConfig)


class _Options(CoreOptions, _EngineOptions, _Start):  # type: ignore[misc]
    name: str | None = option(
        None,
        "Top module. Names of submodules begin with NAME__, so that two exports can be used "
        "together. Default: trilith_matvec, or trilith_core with --core.",
    )
    testbench: bool = option(
        False,
        "Write the self-checking testbench too. An engine's runs some jobs, and a core's runs two "
        "tokens of a made model.",
        "--testbench",
        excludes=("--wrapper axi",),
    )
    wrapper: _Wrapper | None = option(
        None,
        "axi: the engine behind AXI4-Stream and AXI4-Lite, with register map, C header, and "
        "scripts for Vivado and LiteX. A core gets AXI4 masters instead of streams, and no LiteX.",
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
        excludes=("--core",),
    )
    results_width: int | None = option(
        None,
        "With --wrapper: width of the results bus in bits. Default: 64.",
        needs=("--wrapper",),
        excludes=("--core",),
    )
    period_ns: float = option(10.0, "Clock period in the SDC file, ns.", min=0.01, max=1e6)
    family: str | None = option(
        None,
        "Family of FPGAs whose block RAM the engine must fit: xc7, xcup, ecp5, ice40up5k, gw1n9 "
        "or gw2a18.",
        excludes=("--core",),
    )
    force: bool = force_option()


@command(app)
def verilog(options: _Options) -> None:
    """Write an engine or a token core as Verilog, with all that its users need except Python.

    The files beside OUT.v are: OUT.json (ports, bit fields, weight code, latencies, memories),
    OUT.md (the same as text, with stream rules and the order of beats), OUT.core (FuseSoC),
    OUT.sdc, and OUT.vlt (Verilator -Wall). An engine also gets OUT_pack.h and OUT_pack.py, which
    pack operands into beats in C and Python. With --testbench, OUT_tb.v prints PASS or the first
    difference. Options override the preset. Either all files are written or none. Files that exist
    are replaced only with --force. Missing folders are made.

    With --wrapper axi, OUT.v is AXI IP and OUT.md has its register map. OUT_regs.h, OUT_regs.py,
    OUT_ip.tcl (which packs the IP for Vivado) and OUT_litex.py are added; there is no testbench.

    With --core, OUT.v is a token core: from a token to the largest logits of the next one.
    trilith model compile --core, with the same options, makes the image of a model for it. With
    --wrapper axi the core has AXI4 masters for weights and memory, and its registers on AXI4-Lite.

    Examples:
      trilith verilog --preset line --out line.v --testbench

      trilith verilog --preset micro --code escape --family ice40up5k --out micro.v

      trilith verilog --preset line --wrapper axi --name ternary_line --out ternary_line.v

      iverilog -o tb line.v line_tb.v && vvp tb

      trilith verilog --core pydoc --context-max 512 --out core.v --testbench

      trilith verilog --core kv260 --wrapper axi --out kv260.v
    """
    name = options.name or ("trilith_core" if options.core else "trilith_matvec")
    files = _export(options, name)
    if options.as_json:
        print_json({"top": name, "files": [str(file) for file in files]})
    else:
        for file in files:
            print(file)


def _export(options: _Options, name: str) -> list[Path]:
    """Write the files of an engine or a core; return them."""
    from ..hw.export.axi_package import export_axi
    from ..hw.export.core_axi_package import export_core_axi
    from ..hw.export.core_package import export_core
    from ..hw.export.package import export_engine

    common: dict[str, Any] = {
        "name": name,
        "period_ns": options.period_ns,
        "force": options.force,
    }
    if options.core:
        core = core_config(options)
        if options.wrapper:
            return export_core_axi(core, options.out, buses=_core_buses(core, options), **common)
        return export_core(core, options.out, testbench=options.testbench, **common)
    config, widths = _configuration(options)
    common["family"] = options.family
    if options.wrapper:
        return export_axi(config, options.out, widths=widths, **common)
    return export_engine(config, options.out, testbench=options.testbench, **common)


def _core_buses(core: TokenConfig, options: _Options) -> "CoreBuses":
    """Shapes of the masters of a core."""
    from ..hw.axi.core_wrapper import CoreBuses

    buses = CoreBuses.of(core)
    try:
        return replace(buses, weights=options.weights_width) if options.weights_width else buses
    except ValueError as error:
        raise OptionError(str(error)) from None


def _configuration(options: _Options) -> tuple[MatVecConfig, BusWidths]:
    """Configuration of the engine and widths of the wrapper's buses."""
    given = given_fields(options, _EngineOptions)
    if options.preset is None:
        for one in fields(MatVecConfig):
            if one.default is MISSING and one.name not in given:
                option = f"--{one.name.replace('_', '-')}"
                raise OptionError(f"{option} is missing: give it, or give --preset or --core")
    buses = {one.name: getattr(options, f"{one.name}_width") for one in fields(BusWidths)}
    widths = {bus: bits for bus, bits in buses.items() if bits is not None}
    try:
        preset = PRESETS[options.preset] if options.preset else None
        config = replace(preset, **given) if preset else MatVecConfig(**given)
        return config, replace(BusWidths.of(config), **widths)
    except ValueError as error:
        raise OptionError(str(error)) from None

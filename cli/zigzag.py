"""``trilith zigzag``: an engine as a core for the explorers ZigZag and Stream."""

from dataclasses import replace
from pathlib import Path

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
from .output import print_facts, print_json

__all__ = ["app"]

app = new_app()


class _Start(JsonOptions):
    out: Path = option(..., "YAML file to write.")
    preset: Preset = option(Preset.BLOCK, "Engine to start from.")
    library: str = option(
        "ihp-sg13g2",
        "Cell library of the stored tables; ihp-sg13g2 is the one whose SRAM is measured too.",
    )
    memory: str = option("ddr4", "Memory outside the chip, as in trilith estimate.")
    force: bool = force_option()


_EngineOptions = config_fields(MatVecConfig)


class _Options(_EngineOptions, _Start):  # type: ignore[misc]
    """Options of the command, those of the engine included."""


@command(app)
def zigzag(options: _Options) -> None:
    """Write an engine as a core for ZigZag and Stream, with the stored measured figures.

    The file has the energy of a MAC, the accesses of the activation buffer and of the memory
    outside, bandwidths and areas. A comment behind each number has its label and source. The clock
    is the fastest at which each format of the library has a unit that meets it.

    Example:
      trilith zigzag --preset block --code escape --out block.yaml
    """
    from ..golden.files import write_text
    from ..sim.cost.zigzag import zigzag_core

    try:
        config = replace(PRESETS[options.preset], **given_fields(options, _EngineOptions))
    except ValueError as error:
        raise OptionError(str(error)) from None
    core = zigzag_core(config, library=options.library, memory=options.memory)
    write_text(options.out, core.text, force=options.force)
    if options.as_json:
        print_json({"out": str(options.out), **core.as_dict()})
    else:
        print(options.out)
        print_facts({name: str(number) for name, number in core.numbers.items()})

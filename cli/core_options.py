"""Options that shape a token core."""

from dataclasses import fields, replace
from enum import StrEnum
from typing import Any

from ..hw.config import MatVecConfig
from ..hw.token.config import CORE_PRESETS, TokenConfig
from .options import OptionError, config_fields, given_fields

__all__ = ["CoreOptions", "CorePreset", "core_config"]


class CorePreset(StrEnum):
    """Names of cores; ``trilith.hw.token.config.CORE_PRESETS`` has the same."""

    PYDOC = "pydoc"
    PYDOC_ECP5 = "pydoc-ecp5"
    ULX3S = "ulx3s"
    BITNET_2B4T = "2b4t"
    KV260 = "kv260"
    SMALL = "small"


#: Fields of a core that are numbers.
_NUMBERS = [one.name for one in fields(TokenConfig) if one.name != "engine"]


#: Options of the fields of ``TokenConfig``, but for its engine.
CoreOptions = config_fields(TokenConfig, *_NUMBERS, needs=("--core",))


def core_config(options: Any) -> TokenConfig:
    """Configure the core that options ask for: a preset, and fields of it and of its engine.

    Parameters
    ----------
    options : has ``core``, the preset; and may have fields of the names of both configurations

    Raises
    ------
    OptionError
        If the configuration is not legal.
    """
    preset = CORE_PRESETS[options.core]
    try:
        engine = replace(preset.engine, **given_fields(options, MatVecConfig))
        given = {
            name: value
            for name, value in given_fields(options, TokenConfig).items()
            if name in _NUMBERS
        }
        return replace(preset, engine=engine, **given)
    except ValueError as error:
        raise OptionError(str(error)) from None

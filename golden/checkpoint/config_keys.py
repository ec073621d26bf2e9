"""Checks of single keys of Hugging Face's ``config.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

__all__ = ["ConfigKeys"]


class ConfigKeys:
    """The keys of a configuration, each checked when it is read.

    Parameters
    ----------
    config : content of ``config.json``; of a model of several media the part of its text model
    where : file or folder, for messages
    """

    def __init__(self, config: Mapping[str, Any], where: Path | str) -> None:
        text = config.get("text_config")
        self.config = config if not isinstance(text, dict) else text
        self.where = where

    def missing(self, key: str) -> CheckpointError:
        """Make the error for a key that is not there."""
        return CheckpointError(
            f"{self.where}: config's {key} is missing; take the model's own config.json"
        )

    def wrong(self, key: str, rule: str) -> CheckpointError:
        """Make the error for a key whose value breaks a rule."""
        value = self.config.get(key)
        return CheckpointError(f"{self.where}: config's {key} must be {rule}, not {value!r}")

    def integer(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """Read an integer from ``least`` to 2**31 - 1; ``null`` counts as absent."""
        value = self.config.get(key)
        if value is None:
            if default is None:
                raise self.missing(key)
            return default
        if type(value) is not int or not least <= value < 2**31:
            raise self.wrong(key, f"an integer from {least} to 2**31 - 1")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Read a finite number from 0; ``null`` counts as absent."""
        value = self.config.get(key)
        if value is None:
            if default is None:
                raise self.missing(key)
            return default
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            raise self.wrong(key, "a finite number from 0")
        return float(value)

    def boolean(self, key: str, default: bool) -> bool:
        """Read true or false; ``null`` counts as absent."""
        value = self.config.get(key)
        if value is None:
            return default
        if type(value) is not bool:
            raise self.wrong(key, "true or false")
        return value

    def text(self, key: str) -> str:
        """Read a string; an absent one is empty."""
        value = self.config.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, "a string")
        return value or ""

    def rope(self) -> ConfigKeys:
        """Return the keys of the object on rotary positions, which has two names."""
        for key in ("rope_scaling", "rope_parameters"):
            if value := self.config.get(key):
                if not isinstance(value, dict):
                    raise self.wrong(key, "an object")
                return ConfigKeys(value, self.where)
        return ConfigKeys({}, self.where)

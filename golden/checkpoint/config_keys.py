"""Checks of single keys of Hugging Face's ``config.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..input_files import shown

__all__ = ["ConfigKeys"]

#: Largest legal values of integers, many times those of any model; 2**31 - 1 for other keys.
_LARGEST = {
    "hidden_size": 2**20,
    "intermediate_size": 2**22,
    "moe_intermediate_size": 2**22,
    "shared_expert_intermediate_size": 2**22,
    "num_hidden_layers": 10_000,
    "num_attention_heads": 2**16,
    "num_key_value_heads": 2**16,
    "head_dim": 2**16,
    "vocab_size": 2**24,
    "num_experts": 2**16,
    "num_local_experts": 2**16,
    "num_experts_per_tok": 2**16,
}

#: Legal ranges of numbers.
_RANGES = {"rms_norm_eps": (0.0, 1.0), "rope_theta": (1.0, 1e15), "factor": (1e-3, 1e6)}


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
        return CheckpointError(f"{self.where}: config's {key} must be {rule}, not {shown(value)}")

    def integer(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """Read an integer from ``least`` to the key's largest."""
        most = _LARGEST.get(key, 2**31 - 1)
        rule = f"an integer from {least} to {most}"
        return self._value(key, default, lambda x: type(x) is int and least <= x <= most, rule)

    def number(self, key: str, default: float | None = None) -> float:
        """Read a number in the key's range."""
        low, high = _RANGES.get(key, (0.0, 1e30))
        rule = f"a number from {low:g} to {high:g}"
        value = self._value(
            key, default, lambda x: type(x) in (int, float) and low <= x <= high, rule
        )
        return float(value)

    def boolean(self, key: str, default: bool) -> bool:
        """Read true or false."""
        return self._value(key, default, lambda x: type(x) is bool, "true or false")

    def text(self, key: str) -> str:
        """Read a string; an absent one is empty."""
        return self._value(key, "", lambda x: isinstance(x, str), "a string")

    def tokens(self, key: str, default: int | None = None) -> tuple[int, ...]:
        """Read the number of a token, or a list of numbers; none where the value is ``null``."""
        value = self.config.get(key, default)
        numbers = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(one) is int and 0 <= one < 2**31 for one in numbers):
            raise self.wrong(key, "the number of a token, or a list of numbers")
        return tuple(numbers)

    def _value(self, key: str, default: Any, legal: Callable[[Any], bool], rule: str) -> Any:
        """Read a legal value, or the default where there is one; ``null`` counts as absent."""
        value = self.config.get(key)
        if value is None:
            if default is None:
                raise self.missing(key)
            return default
        if not legal(value):
            raise self.wrong(key, rule)
        return value

    def rope(self) -> ConfigKeys:
        """Return the keys of the object on rotary positions, which has two names."""
        for key in ("rope_scaling", "rope_parameters"):
            if value := self.config.get(key):
                if not isinstance(value, dict):
                    raise self.wrong(key, "an object")
                return ConfigKeys(value, self.where)
        return ConfigKeys({}, self.where)

"""Refusal of models with kinds of layers that are not computed here, by their names."""

import tomllib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

__all__ = ["refuse_layer_kinds", "shown_by_config"]

#: The kinds, and words for the places that show them.
_KINDS: list[dict[str, Any]] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
)["kinds"]
_PLACES = {
    "model_types": "model_type",
    "layer_types": "layer_types with",
    "architectures": "general.architecture",
    "tensors": "tensor",
}


def shown_by_config(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """List the words of a ``config.json`` that show kinds of layers.

    Parameters
    ----------
    config : content of the file; a ``text_config`` counts too

    Returns
    -------
    Values by the fields of ``layer_kinds.toml``
    """
    text = config.get("text_config")
    parts = [config, text] if isinstance(text, dict) else [config]
    kinds = [part.get("layer_types") for part in parts]
    return {
        "model_types": _texts(part.get("model_type") for part in parts),
        "layer_types": _texts(kind for one in kinds if isinstance(one, list) for kind in one),
    }


def _texts(values: Iterable[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def refuse_layer_kinds(where: Path, shown: Mapping[str, Iterable[str]]) -> None:
    """Refuse a model with layers that are not computed here.

    Parameters
    ----------
    where : file or folder, for the message
    shown : values of a file by the fields of ``layer_kinds.toml``

    Raises
    ------
    CheckpointError
        If a value shows such a layer. The message names each kind, and what shows it.
    """
    found = []
    for kind in _KINDS:
        for field, values in shown.items():
            patterns = kind.get(field, ())
            value = next((x for x in values if any(fnmatchcase(x, p) for p in patterns)), None)
            if value is not None:
                found.append(f"{kind['name']} ({_PLACES[field]} {value!r})")
                break
    if found:
        raise CheckpointError(
            f"{where}: layers of the model are not computed here: {' and '.join(found)}; take a "
            "model of dense layers with full attention, such as bitnet, llama or qwen3"
        )

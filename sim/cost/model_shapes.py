"""Shapes of language models that are known by name, or described by a ``config.json``."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..tools.errors import EstimateError
from ..tools.records import record
from .datafiles import DATA, read_data
from .sizes import TransformerSizes
from .transformer import transformer_shape
from .workload import Linear, ModelShape

__all__ = ["GPT3", "MODELS", "find_model", "read_shape"]

_FILE = DATA / "models.toml"


@dataclass(frozen=True, kw_only=True)
class _MatmulFreeSizes:
    """Sizes of a MatMul-free LM (arXiv 2406.02528).

    Parameters
    ----------
    hidden : values of a token between two layers
    ffn : inner values of the gated feed-forward layer
    layers : layers, each of a gated recurrence (i, f, g, o) instead of attention, and feed-forward
    vocabulary : tokens that the model knows
    tied : the embedding is the head too
    """

    hidden: int
    ffn: int
    layers: int
    vocabulary: int
    tied: bool


def _matmul_free(name: str, sizes: _MatmulFreeSizes, *, source: str) -> ModelShape:
    """Derive the shape of a MatMul-free LM from its sizes."""
    hidden, ffn, layers = sizes.hidden, sizes.ffn, sizes.layers
    shapes = {
        **dict.fromkeys(("i", "f", "g", "o"), (hidden, hidden)),
        "gate": (ffn, hidden),
        "up": (ffn, hidden),
        "down": (hidden, ffn),
    }
    return ModelShape(
        name=name,
        hidden=hidden,
        layers=layers,
        vocabulary=sizes.vocabulary,
        linears=tuple(
            Linear(name=kind, n=n, k=k, count=layers, active=layers)
            for kind, (n, k) in shapes.items()
        ),
        heads=0,
        kv_heads=0,
        head_size=0,
        windows=(),
        norm_elements=(sum(k for _, k in shapes.values()) + hidden) * layers,
        gate_elements=(2 * hidden + ffn) * layers,
        tied=sizes.tied,
        source=source,
    )


def _named_shape(kind: str, sizes: dict[str, Any], source: str) -> ModelShape:
    """Derive a shape from an entry of the data file."""
    name = sizes.pop("name")
    where = f"{_FILE}: {name}"
    if kind == "matmul_free":
        return _matmul_free(name, record(_MatmulFreeSizes, sizes, where), source=source)
    if "windows" in sizes:
        sizes["windows"] = tuple((one.get("tokens"), one["layers"]) for one in sizes["windows"])
    return transformer_shape(name, record(TransformerSizes, sizes, where), source=source)


def _named(group: str) -> Iterator[ModelShape]:
    """Yield the models of a group of the data file."""
    shared = dict(read_data(_FILE)[group])
    kind, source, models = (shared.pop(key) for key in ("kind", "source", "models"))
    for model in models:
        yield _named_shape(kind, shared | model, source)


#: Models by name, from ``data/models.toml``.
MODELS: dict[str, ModelShape] = {
    model.name: model for group in read_data(_FILE) for model in _named(group)
}

#: GPT-3's shapes by name: the models of the energy figures in BitNet's papers.
GPT3: dict[str, ModelShape] = {model.name: MODELS[model.name] for model in _named("gpt3")}


def find_model(name: str) -> ModelShape:
    """Find a model by name, or read one from a file.

    Parameters
    ----------
    name : a key of ``MODELS``; or a ``config.json``, its folder, a safetensors file beside it, or a
        GGUF file

    Raises
    ------
    EstimateError
        If there is no such name and no such file, or the kind of attention is not known.
    CheckpointError
        If the file is not JSON, or does not describe a known model.
    """
    return MODELS[name] if name in MODELS else read_shape(Path(name))


def read_shape(path: Path) -> ModelShape:
    """Read the shape of a model from its file, see ``find_model``.

    Raises
    ------
    EstimateError, CheckpointError
        As ``find_model``.
    """
    # Only a file needs the readers: an estimate of a named model starts without them.
    from ...golden.checkpoint.load import read_config
    from ...golden.input_files import shown
    from .config_shapes import read_model

    if not os.path.exists(path):  # Unlike the method, it knows names that cannot be.
        raise EstimateError(
            "the model must be a config.json, a folder or a file of a model, or one of "
            f"{', '.join(MODELS)}, not {shown(str(path))}"
        )
    model = read_model(read_config(path), str(path))
    if model.name not in ("config", "model"):
        return model
    return replace(model, name=path.parent.name or "model")

"""A model of one's own: what an estimate takes from its files."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...golden.errors import CheckpointError
from ...golden.input_files import is_safetensors
from ..tools.errors import EstimateError
from .formats import FORMATS, NumberFormat
from .model_shapes import read_shape
from .workload import ModelShape

if TYPE_CHECKING:
    from ...golden.checkpoint.statistics import TensorStatistics
    from ...golden.checkpoint.stored import StoredModule

__all__ = ["ModelFile", "StoredWeights", "read_model_file"]

#: Names of the modules in the layers.
_LAYER = re.compile(r"model\.layers\.\d+\.")


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """Weights as a file holds them.

    Parameters
    ----------
    type_name : type, or types with commas between, in the words of the file's format
    stored_bytes : bytes in the file, scales included; 0 where the size of a type is not known
    weights : number of weights
    """

    type_name: str
    stored_bytes: int
    weights: int

    @property
    def bits_per_weight(self) -> float | None:
        """Bits of the file per weight, scales included; None where they are not known."""
        return 8 * self.stored_bytes / self.weights if self.stored_bytes else None

    @property
    def number_format(self) -> NumberFormat:
        """Number format of the arithmetic, with the bits that the file stores.

        Integers of other types are widened to eight bits before they multiply.
        """
        from ...golden.checkpoint.gguf_layouts import LAYOUTS

        one = next((one for one in FORMATS.values() if self.type_name in one.stored), None)
        if one is None:
            one = FORMATS["ternary-2.0" if self.type_name in LAYOUTS else "int8"]
        bits = self.bits_per_weight
        return replace(one, name=self.type_name, weight_bits=bits or one.weight_bits)

    def __str__(self) -> str:
        bits = self.bits_per_weight
        return self.type_name if bits is None else f"{self.type_name}, {bits:.4g} bits per weight"


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """Facts of a model's files.

    Parameters
    ----------
    path : the file or folder
    model : shape of the model, from its configuration
    linears : weights of the linear layers without the head; None without weights
    embedding : weights of the embedding; None without weights
    head : weights of the head: those of the embedding, where ``model.tied``; None without weights
    zero_fraction : share of zeros among the trits of the linear layers, counted; None where they
        are not ternary or were not read
    entropy_bits_per_trit : entropy of single trits, weighted by the sizes of the matrices; None
        with ``zero_fraction``
    not_counted : why there is no ``zero_fraction``; empty where there is one
    modules : all modules of the files by Hugging Face's name; empty without weights
    matrices : statistics of each ternary matrix; empty without ``zero_fraction``
    """

    path: Path
    model: ModelShape
    linears: StoredWeights | None = None
    embedding: StoredWeights | None = None
    head: StoredWeights | None = None
    zero_fraction: float | None = None
    entropy_bits_per_trit: float | None = None
    not_counted: str = ""
    modules: Mapping[str, "StoredModule"] = field(default_factory=dict)
    matrices: tuple["TensorStatistics", ...] = ()

    @property
    def facts(self) -> dict[str, str]:
        """Facts by name, each a text for a table or a page."""
        tied = ", the embedding as head" if self.model.tied else ""
        found = {
            "linear layers": self.linears,
            "embedding": self.embedding,
            "head": f"{self.head}{tied}" if self.head else None,
        }
        if self.zero_fraction is None:
            found["zeros"] = f"not counted: {self.not_counted}"
        else:
            found["zeros"] = (
                f"{self.zero_fraction:.2%} of the trits, {self.entropy_bits_per_trit:.4f} bits of "
                "entropy per trit (measured)"
            )
        return {name: str(fact) for name, fact in found.items() if fact is not None}


def read_model_file(
    path: Path, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> ModelFile:
    """Read the facts of a model, and count the zeros of its ternary matrices.

    Parameters
    ----------
    path : a folder with ``config.json``, a safetensors file beside one, a GGUF file; or a
        ``config.json``, which has the shape alone
    progress : function of the matrices that are counted and of all, called after each

    Raises
    ------
    CheckpointError
        If a file is damaged, or its metadata do not describe a known model.
    EstimateError
        If the kind of attention is not known, or the file does not hold the whole model.
    """
    # The readers take longer to import than an estimate of a named model takes.
    from ...golden.checkpoint.stored import stored_modules

    model = read_shape(path)
    try:
        files = _files(path)
    except CheckpointError as error:
        return ModelFile(path=path, model=model, not_counted=str(error))
    if not files:
        return ModelFile(path=path, model=model, not_counted=f"{path} has no weights")
    modules = stored_modules(files)
    found = {name: one for name, one in modules.items() if one.matrix and _LAYER.match(name)}
    layers = {int(name.split(".")[2]) for name in found}
    if missing := [place for place in range(model.layers) if place not in layers]:
        raise EstimateError(
            f"{path}: must hold the {model.layers} layers of its configuration, and layer "
            f"{missing[0]} is missing; name the folder with all files of the model"
        )
    embedding = _module(path, modules, "model.embed_tokens", model)
    head = embedding if model.tied else _module(path, modules, "lm_head", model)
    counted, reason = _count(path, progress)
    weights = sum(one.n * one.k for one in counted)

    def mean(name: str) -> float | None:
        if not counted:
            return None
        return sum(getattr(one, name) * one.n * one.k for one in counted) / weights

    return ModelFile(
        path=path,
        model=model,
        linears=StoredWeights(
            type_name=", ".join(sorted({one.type_name for one in found.values()})),
            stored_bytes=sum(one.stored_bytes for one in found.values())
            * all(one.stored_bytes for one in found.values()),
            weights=model.linear_weights,
        ),
        embedding=embedding,
        head=head,
        zero_fraction=mean("zero_fraction"),
        entropy_bits_per_trit=mean("entropy_bits_per_trit"),
        not_counted=reason,
        modules=modules,
        matrices=tuple(counted),
    )


def _files(path: Path) -> list[Path]:
    """List the files with a model's weights; none for a ``config.json``."""
    from ...golden.checkpoint.load import weight_files

    if path.is_dir():
        return weight_files(path)
    with path.open("rb") as file:
        head = file.read(9)
    return [path] if head[:4] == b"GGUF" or is_safetensors(head) else []


def _module(
    path: Path, modules: Mapping[str, "StoredModule"], name: str, model: ModelShape
) -> StoredWeights:
    """Find the weights of the embedding or of the head."""
    if name not in modules:
        raise EstimateError(
            f"{path}: the tensor {name}.weight is missing; name the folder with all files of the "
            "model, or state in its configuration that the embedding is the head "
            "(tie_word_embeddings)"
        )
    one = modules[name]
    return StoredWeights(
        type_name=one.type_name, stored_bytes=one.stored_bytes, weights=model.head_weights
    )


def _count(
    path: Path, progress: Callable[[int, int], None]
) -> tuple[list["TensorStatistics"], str]:
    """Count the trits of all matrices; say why where they are not ternary."""
    from ...golden.checkpoint.load import load_checkpoint
    from ...golden.checkpoint.statistics import statistics

    found: list[TensorStatistics] = []
    try:
        checkpoint = load_checkpoint(path)
        for name in checkpoint.ternary:
            found.append(statistics(checkpoint, name))
            progress(len(found), len(checkpoint.ternary))
    except CheckpointError as error:
        return [], str(error)
    return found, ""

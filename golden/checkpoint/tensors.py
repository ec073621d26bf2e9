"""Ternary tensors, lazy views of a file's tensors, and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..checks import check_array, check_integer, first_place
from ..errors import CheckpointError, within
from .i2_s import I2SReading
from .packing import check_packed, pack_weights, unpack_weights
from .rotations import Rotations

__all__ = ["Checkpoint", "LazyTensors", "StrangeKeys", "TernaryTensor", "input_files"]

#: Files beside a checkpoint's file that belong to the same model.
_BESIDE = ("*.json", "*.safetensors", "tokenizer.model", "merges.txt", "chat_template*", "LICENSE*")

_T = TypeVar("_T")


class _MissingTensorError(CheckpointError, KeyError):
    """A checkpoint has no such tensor. This is a KeyError too, as for every mapping."""

    __str__ = Exception.__str__


@dataclass(frozen=True, kw_only=True)
class TernaryTensor:
    """A matrix of trits with its scales.

    ``W[n, k] = trits[n, k] · scale[n // (N / S), k // group_size]``, or the quotient where
    ``divides``. The rows are divided in S equal blocks and each row in groups of ``group_size``;
    each block of a group has its own scale.

    Parameters
    ----------
    name : Hugging Face's name of the module: ``model.layers.0.self_attn.q_proj``
    packed : uint8[ceil(N / 4), K] in the layout of ``pack_weights``; may be memory-mapped
    out_features : N
    scale : float32[S, K / group_size] with the values of the file, finite and positive; 0 is legal
        for a block of zeros
    group_size : K where there is one group
    divides : the trits are divided by the scale, as ``transformers`` does for ``linear_class``
        bitlinear; else they are multiplied

    Raises
    ------
    CheckpointError
        If shapes or types do not fit each other, a code is 3, or a scale is not legal.
    """

    name: str
    packed: NDArray[np.uint8]
    out_features: int
    scale: NDArray[np.float32]
    group_size: int
    divides: bool = False

    def __post_init__(self) -> None:
        for name in ("out_features", "group_size"):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), 0))
        check_array("scale", self.scale)
        with within(self.name):
            check_packed(self.packed, self.out_features)
        k = self.packed.shape[1]
        if not 0 < self.group_size <= k or k % self.group_size:
            raise CheckpointError(
                f"{self.name}: group_size must divide K = {k}, not be {self.group_size}"
            )
        scale = self.scale
        if (
            scale.dtype != np.float32
            or scale.ndim != 2
            or scale.shape[1] != k // self.group_size
            or not scale.shape[0]
            or self.out_features % scale.shape[0]
        ):
            raise CheckpointError(
                f"{self.name}: scale must be float32[S, {k // self.group_size}] where S divides "
                f"N = {self.out_features}, not {scale.dtype} of shape {scale.shape}"
            )
        legal = np.isfinite(scale) & (scale >= 0) & np.isfinite(self.multiplier)
        rule = "positive with a finite inverse" if self.divides else "not negative"
        rule = f"finite and {rule}"
        if legal.all() and not scale.all():
            # A scale of 0 is that of a block of zeros, or an underflow.
            blocks = self.trits.reshape(len(scale), -1, scale.shape[1], self.group_size)
            legal = (scale > 0) | ~blocks.any(axis=(1, 3))
            rule = "above 0 where weights are not 0"
        if not legal.all():
            block, group = first_place(~legal)
            place = f"output {block * self.out_features // len(scale)}, "
            place += f"input {group * self.group_size}"
            raise CheckpointError(
                f"{self.name}: scales must be {rule}, not {scale[block, group]} from {place} on; "
                "the file is damaged, or was written after an overflow"
            )

    @property
    def multiplier(self) -> NDArray[np.float32]:
        """The scales as factors: where they divide, their inverses, rounded to float32."""
        if not self.divides:
            return self.scale
        with np.errstate(divide="ignore", over="ignore"):
            return np.float32(1) / self.scale

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)."""
        return self.out_features, self.packed.shape[1]

    @property
    def trits(self) -> NDArray[np.int8]:
        """The trits int8[N, K], unpacked at each access."""
        return unpack_weights(self.packed, self.out_features)

    @classmethod
    def from_trits(
        cls,
        name: str,
        trits: NDArray[np.int8],
        scale: NDArray[np.float32] | np.float32 | float,
        group_size: int | None = None,
    ) -> Self:
        """Pack trits.

        Parameters
        ----------
        name : Hugging Face's name of the module
        trits : int8[N, K]
        scale : float32[S, K / group_size], or a number for the whole matrix
        group_size : weights of a row that share a scale; None for all K
        """
        scale = np.asarray(scale, np.float32)
        return cls(
            name=name,
            packed=pack_weights(trits),
            out_features=trits.shape[0],
            scale=scale if scale.ndim else scale.reshape(1, 1),
            group_size=trits.shape[1] if group_size is None else group_size,
        )


class LazyTensors(Mapping[str, _T]):
    """Tensors by name, each read at every access.

    Parameters
    ----------
    where : file or folder, for messages
    readers : function that reads each tensor

    Raises
    ------
    CheckpointError
        At an access, if there is no such tensor, or the reader refuses it.
    """

    def __init__(self, where: Path, readers: dict[str, Callable[[], _T]]) -> None:
        self._where = where
        self._readers = readers

    def __getitem__(self, name: str) -> _T:
        if name not in self._readers:
            raise _MissingTensorError(
                f"{self._where}: must contain the tensor {name!r}; it has {len(self._readers)} "
                f"others, such as {min(self._readers, default='none')!r}"
            )
        return self._readers[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


@dataclass(frozen=True)
class StrangeKeys:
    """Keys of a configuration that Trilith does not use as the file states them.

    Parameters
    ----------
    unknown : keys that Trilith does not know, with their values where those are short
    other : keys that it knows, with values that change results
    """

    unknown: tuple[str, ...] = ()
    other: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model's configuration and tensors, as ``load_checkpoint`` reads them.

    Parameters
    ----------
    path : the file or folder
    config : content of ``config.json``; for GGUF the same keys, derived from the file's metadata
    format : format of the ternary weights, such as ``huggingface packed`` or ``gguf TQ1_0``
    scale_convention : meaning of the stored scales, in words
    ternary : matrices of trits by Hugging Face's module name, without ``.weight``
    stored : type of each matrix in the file, and its bytes there, scales included
    tensors : all other tensors (embeddings, norms, a separate head) by Hugging Face's name, with
        ``.weight``, memory-mapped in their stored type (bfloat16 as ``ml_dtypes.bfloat16``)
    i2_s : layout of a GGUF file's matrices in I2_S, and how sure it is; None without such matrices
    strange_keys : keys of the file that are not understood; see ``understood.py``
    rotations : matrices whose inputs pass through a Hadamard transform; None without such matrices
    """

    path: Path
    config: dict[str, Any]
    format: str
    scale_convention: str
    ternary: Mapping[str, TernaryTensor]
    stored: Mapping[str, tuple[str, int]]
    tensors: Mapping[str, NDArray]
    i2_s: I2SReading | None = None
    strange_keys: StrangeKeys = StrangeKeys()
    rotations: Rotations | None = None


def input_files(path: Path) -> list[Path]:
    """List the files and folders that a checkpoint consists of, which nothing may be written over.

    Parameters
    ----------
    path : a checkpoint's folder or file

    Returns
    -------
    The folder; or the file, and the configuration, the tokenizer and the shards beside it.
    """
    if path.is_dir():
        return [path]
    return [path, *(file for pattern in _BESIDE for file in path.parent.glob(pattern))]

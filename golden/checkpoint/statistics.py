"""Statistics of a checkpoint's matrices: zeros, entropy, and stored bits per weight."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .packing import count_trits
from .tensors import Checkpoint

__all__ = ["TensorStatistics", "statistics"]


@dataclass(frozen=True, kw_only=True)
class TensorStatistics:
    """Statistics of one matrix.

    Parameters
    ----------
    name, n, k : name of the module, outputs and inputs
    stored_type, stored_bytes : type and bytes in the file, scales included
    scales : number of scales
    group_size : weights of a row that share a scale
    zero_fraction : share of zeros among the trits
    entropy_bits_per_trit : entropy of single trits, at most log2(3) = 1.585
    """

    name: str
    n: int
    k: int
    stored_type: str
    stored_bytes: int
    scales: int
    group_size: int
    zero_fraction: float
    entropy_bits_per_trit: float

    @property
    def stored_bits_per_weight(self) -> float:
        """Bits of the file per weight, scales included."""
        return 8 * self.stored_bytes / (self.n * self.k)

    @property
    def granularity(self) -> str:
        """The weights that share a scale, in words."""
        blocks = self.scales * self.group_size // self.k
        rows = self.n // blocks
        outputs = "" if rows == self.n else "output" if rows == 1 else f"{rows} outputs"
        inputs = "" if self.group_size == self.k else f"{self.group_size} inputs"
        return " and ".join(one for one in (outputs, inputs) if one) or "matrix"

    def as_dict(self) -> dict[str, Any]:
        """Return all statistics by name."""
        return asdict(self) | {
            "granularity": self.granularity,
            "stored_bits_per_weight": self.stored_bits_per_weight,
        }


def statistics(checkpoint: Checkpoint, name: str) -> TensorStatistics:
    """Read one matrix and count its trits.

    Parameters
    ----------
    checkpoint : checkpoint that has the matrix
    name : Hugging Face's name of the module

    Raises
    ------
    CheckpointError
        If the matrix is missing or wrong.
    """
    tensor = checkpoint.ternary[name]
    n, k = tensor.shape
    p = count_trits(tensor.packed, n) / (n * k)
    p_positive = p[p > 0]
    stored_type, stored_bytes = checkpoint.stored[name]
    return TensorStatistics(
        name=name,
        n=n,
        k=k,
        stored_type=stored_type,
        stored_bytes=stored_bytes,
        scales=tensor.scale.size,
        group_size=tensor.group_size,
        zero_fraction=float(p[1]),
        entropy_bits_per_trit=float(-(p_positive * np.log2(p_positive)).sum()) + 0.0,
    )
